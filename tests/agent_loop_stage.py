"""verl's side of an agent loop, with a scripted policy in place of the rollout's servers.

    stage = AgentLoopStage(tokenizer, "openspiel", {"mode": "game"}, LOOPS, tmp_path)
    outputs, server = stage.session(lambda prompt: "4")
    check_masks(outputs, server)

A policy says something to a prompt, the text of its tokens: any number of replies are asked for, one after the other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hydra
from omegaconf import DictConfig, OmegaConf
from transformers import PreTrainedTokenizerBase
from verl.experimental.agent_loop.agent_loop import AgentLoopOutput, DictConfigWrap, ToolListWrap
from verl.utils.dataset.rl_dataset import get_dataset_class
from verl.workers.rollout.replica import TokenOutput

from verl_stage import compose_config

Policy = Callable[[str], str]


class Server:
    """What an agent loop knows of the rollout; it keeps what it was asked and what it gave."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, policy: Policy, end: str = "<|im_end|>") -> None:
        self.tokenizer, self.policy, self.end = tokenizer, policy, end
        self.asked: list[tuple[str, list[int], list[int], list[float]]] = []
        self.step = 0

    async def generate(
        self, request_id: str, *, prompt_ids: list[int], sampling_params: dict[str, Any], priority: int
    ) -> TokenOutput:
        await asyncio.sleep(0)
        reply = self.policy(self.tokenizer.decode(prompt_ids))
        ids = self.tokenizer.encode(reply + self.end, add_special_tokens=False) if reply != "no token" else []
        ids = ids[: sampling_params["max_tokens"]]
        log_probs = [-1.0 / (1000 * len(self.asked) + place + 1) for place in range(len(ids))]
        self.asked.append((request_id, list(prompt_ids), ids, log_probs))
        self.step += 1
        return TokenOutput(
            token_ids=ids,
            log_probs=log_probs,
            stop_reason="completed",
            num_preempted=1,
            extra_fields={"min_global_steps": self.step, "max_global_steps": self.step},
        )


class AgentLoopStage:
    """The config, the dataset's rows, and sessions. `loops` is the YAML list with the agent loop."""

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, env: str, settings: dict[str, Any], loops: Path, directory: Path
    ) -> None:
        self.tokenizer, self.loops = tokenizer, loops
        self.config: DictConfig = compose_config(f"data.custom_cls.config.env={env}", "data.train_batch_size=4")
        OmegaConf.set_struct(self.config, False)
        self.config.data.custom_cls.config.adapter_config = settings
        self.config.trainer.default_local_dir = str(directory)

    def row(self, index: int = 0, step: int = 1, split: str = "train") -> dict[str, Any]:
        dataset = get_dataset_class(self.config.data)([split], self.tokenizer, self.config.data)
        return {**dataset[index], "global_steps": step, "session_id": 0, "uid": "a"}

    def session(
        self, policy: Policy, row: dict[str, Any] | None = None, **loop: Any
    ) -> tuple[list[AgentLoopOutput], Server]:
        server = Server(self.tokenizer, policy, loop.pop("end", "<|im_end|>"))

        (outputs,) = self.sessions(server, [row or self.row()], **loop)
        return outputs, server

    def sessions(self, server: Server, rows: list[dict[str, Any]], **loop: Any) -> list[list[AgentLoopOutput]]:
        """All at once, as verl's worker runs them."""
        (entry,) = OmegaConf.load(self.loops)

        async def run(row: dict[str, Any]) -> list[AgentLoopOutput]:
            agent_loop = hydra.utils.instantiate(
                config=OmegaConf.merge(entry, loop),
                trainer_config=DictConfigWrap(self.config),
                server_manager=server,
                tokenizer=self.tokenizer,
                processor=None,
                hf_model_type="llama",
                dataset_cls=None,
                data_config=DictConfigWrap(self.config.data),
                tools=ToolListWrap([]),
            )
            return await agent_loop.run({"temperature": 1.0, "logprobs": True}, **row)

        async def run_all() -> list[list[AgentLoopOutput]]:
            return await asyncio.gather(*map(run, rows))

        return asyncio.run(run_all())


def check_masks(outputs: list[AgentLoopOutput], server: Server) -> None:
    """What the policy sampled is in the rows once, unmasked, after the very tokens that it was sampled after."""
    asked = iter(server.asked)
    for output in outputs:
        assert len(output.response_ids) == len(output.response_mask) == len(output.response_logprobs)
        place = 0
        while place < len(output.response_ids):
            if not output.response_mask[place]:
                assert output.response_logprobs[place] == 0
                place += 1
                continue
            _, prompt_ids, ids, log_probs = next(asked)
            assert output.prompt_ids + output.response_ids[:place] == prompt_ids
            assert output.response_ids[place : place + len(ids)] == ids
            assert output.response_logprobs[place : place + len(ids)] == log_probs
            assert output.response_mask[place : place + len(ids)] == [1] * len(ids)
            place += len(ids)
    assert next(asked, None) is None
