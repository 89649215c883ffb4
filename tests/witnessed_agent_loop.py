"""Agent loops with a witness of what the rollout's servers were asked and gave, and verl was given.

    - {name: openspiel_game, _target_: witnessed_agent_loop.WitnessedAgentLoop, answer_tokens: 1, witness: /tmp/games}
    - {name: swe_agent, _target_: witnessed_agent_loop.WitnessedSweAgentLoop, answer_tokens: 16, witness: /tmp/agents}

Each session leaves one JSON file in the directory `witness`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from uuid import uuid4

from verl.experimental.agent_loop.agent_loop import AgentLoopOutput

from game_agent_loop import GameAgentLoop
from swe_agent_loop import SweAgentLoop


class _Listening:
    def __init__(self, servers: Any, heard: list[dict[str, Any]]) -> None:
        self._servers, self._heard = servers, heard

    async def generate(self, **request: Any) -> Any:
        output = await self._servers.generate(**request)
        self._heard.append(
            {"prompt": list(request["prompt_ids"]), "tokens": list(output.token_ids), "log_probs": output.log_probs}
        )
        return output


class _Witnessed:
    def __init__(self, *args: Any, witness: str, server_manager: Any, **kwargs: Any) -> None:
        self._heard: list[dict[str, Any]] = []
        super().__init__(*args, server_manager=_Listening(server_manager, self._heard), **kwargs)
        self._witness = Path(witness)

    async def run(self, sampling_params: dict[str, Any], **row: Any) -> list[AgentLoopOutput]:
        outputs = await super().run(sampling_params, **row)
        given = [
            {
                "prompt": output.prompt_ids,
                "response": output.response_ids,
                "mask": output.response_mask,
                "log_probs": output.response_logprobs,
                "reward": output.reward_score,
                "info": output.extra_fields["reward_extra_info"],
            }
            for output in outputs
        ]
        session = {"split": row["extra_info"]["split"], "step": int(row["global_steps"]), "heard": self._heard}
        file = self._witness / uuid4().hex  # whole or not there: the run may be killed
        file.write_text(json.dumps({**session, "given": given}))
        file.rename(file.with_suffix(".json"))
        return outputs


class WitnessedAgentLoop(_Witnessed, GameAgentLoop): ...


class WitnessedSweAgentLoop(_Witnessed, SweAgentLoop): ...
