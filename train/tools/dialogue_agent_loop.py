"""Tasks that are done turn by turn in verl's rollout: what the agent loops of all environments share.

    class GameAgentLoop(DialogueAgentLoop):        # an entry of train/config/agent_loop/*.yaml names it
        faults, doing, session_class = FaultCounter("game_agent_loop.py"), "playing a game", GameSession

A session begins the task's `Dialogue` (env_adapter.py), the same that an evaluation goes through, and asks the policy
whenever the dialogue wants a reply. What it gives verl (`AgentLoopOutput`s, several only where a chat needs several
sequences: `token_chat.py`):

* The reward is the dialogue's score, known here, so that no reward worker is asked. verl's GRPO compares the sessions
  of a task by it, and gives every sequence of a session its advantage.
* Only tokens that the policy sampled are trained on, as they were sampled.

A fault of ours is no wrong answer: see `env_faults`.
"""

from __future__ import annotations

import asyncio
import functools
import os
import time
from collections.abc import Hashable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar
from uuid import uuid4

from omegaconf import OmegaConf
from verl.experimental.agent_loop.agent_loop import AgentLoopBase, AgentLoopMetrics, AgentLoopOutput

from answer_metrics import answer_metrics
from env_adapter import Challenge, Dialogue, EnvError, Score, shared_env_adapter
from env_faults import FaultCounter, watched
from token_chat import TokenChat


class DialogueSession:
    """One dialogue of a task. Raises EnvError where the row is not one of dataset-manager.py with such a task."""

    def __init__(self, agent_loop: DialogueAgentLoop, sampling_params: dict[str, Any], row: dict[str, Any]) -> None:
        self.loop = agent_loop
        self.sampling_params = {**sampling_params, "max_tokens": agent_loop.answer_tokens}
        self.row = row
        info = row["extra_info"]
        self.challenge = Challenge.from_json(info["challenge"])
        self.trains = info["split"] == "train"
        self.adapter = shared_env_adapter(info["env"], info["adapter_config"])
        self.request_ids: dict[Hashable, str] = {}
        self.chats: dict[Hashable, TokenChat] = {}
        self.seconds = {"policy": 0.0, "world": 0.0}
        self.preempted = 0
        self.weights: list[int] = []
        """The global steps whose weights the replies come from."""

    async def begin(self) -> Dialogue:
        return self.adapter.dialogue(self.challenge)

    def asked(self, dialogue: Dialogue) -> Hashable:
        """Whose chat it is that the policy is asked in."""
        return self.trained(dialogue)

    def trained(self, dialogue: Dialogue) -> Hashable:
        """Whose chat is trained on."""
        return ""

    def metrics(self, dialogue: Dialogue, score: Score) -> dict[str, float]:
        """What verl shows; the same keys in every session of a run."""
        return dict(score.metrics)

    async def ended(self, dialogue: Dialogue, chat: TokenChat) -> None:
        """Called once, with the chat that is trained on."""

    async def run(self) -> list[AgentLoopOutput]:
        dialogue = await self.begin()
        try:
            while True:
                started = time.monotonic()
                threads = _threads(self.loop.rollout_config.agent.num_workers)
                await asyncio.get_running_loop().run_in_executor(threads, dialogue.advance)
                self.seconds["world"] += time.monotonic() - started
                if dialogue.over:
                    break
                await self._ask(dialogue)
            chat = self.chats.get(self.trained(dialogue))
            if not chat or not chat.sequences:
                raise EnvError(
                    f"task {self.challenge.task_id}: the first turn of {self.challenge.group or self.challenge.env} "
                    f"has no room in data.max_prompt_length={self.loop.rollout_config.prompt_length}: raise it"
                )
            await self.ended(dialogue, chat)
            return self._outputs(dialogue, chat)
        finally:
            dialogue.close()

    async def _ask(self, dialogue: Dialogue) -> None:
        speaker = self.asked(dialogue)
        chat = self.chats.setdefault(speaker, self.loop.token_chat())
        ids = await self._prompt(chat, dialogue)
        if ids is None:
            dialogue.give_up()
            return
        started = time.monotonic()
        output = await self.loop.server_manager.generate(
            request_id=self.request_ids.setdefault(speaker, uuid4().hex),
            prompt_ids=ids,
            sampling_params=dict(self.sampling_params),
            priority=int(self.row.get("priority", 0)),
        )
        self.seconds["policy"] += time.monotonic() - started
        if not output.token_ids:
            raise EnvError(f"task {self.challenge.task_id}: the rollout gave no token ({output.stop_reason})")
        self.preempted += output.num_preempted or 0
        self.weights += [output.extra_fields[key] for key in ("min_global_steps", "max_global_steps")]
        chat.sampled(output.token_ids, output.log_probs, output.routed_experts)
        dialogue.answer(self.loop.tokenizer.decode(output.token_ids, skip_special_tokens=True))

    async def _prompt(self, chat: TokenChat, dialogue: Dialogue) -> list[int] | None:
        """The tokens to sample from, with fewer of the earlier turns where all have no room; None: not even one has."""
        while True:
            ids = await asyncio.get_running_loop().run_in_executor(None, chat.prompt, dialogue.messages)
            if ids is not None or not dialogue.forget():
                return ids

    def _outputs(self, dialogue: Dialogue, chat: TokenChat) -> list[AgentLoopOutput]:
        score = dialogue.score()
        named = Score(score.value, self.metrics(dialogue, score))
        info = answer_metrics(self.challenge, named, self.loop.faults.count(False))
        steps = [step for step in self.weights if step is not None]
        extra_fields = {
            "reward_extra_info": info,
            "min_global_steps": min(steps, default=None),
            "max_global_steps": max(steps, default=None),
            "turn_scores": [],
            "tool_rewards": [],
        }
        return [
            AgentLoopOutput(
                prompt_ids=row.prompt_ids,
                response_ids=row.response_ids,
                response_mask=row.mask,
                response_logprobs=row.log_probs or None,
                routed_experts=row.routed_experts,
                reward_score=score.value,
                num_turns=2 * row.answers,
                metrics=AgentLoopMetrics(
                    generate_sequences=self.seconds["policy"],
                    tool_calls=self.seconds["world"],
                    num_preempted=self.preempted,
                ),
                extra_fields=dict(extra_fields),
            )
            for row in chat.sequences
        ]


class DialogueAgentLoop(AgentLoopBase):
    """verl makes one for every session. `answer_tokens` is the most that the policy may say in one reply."""

    faults: ClassVar[FaultCounter]
    doing: ClassVar[str]
    """What failed, for the message that stops the run: 'playing a game'."""
    session_class: ClassVar[type[DialogueSession]] = DialogueSession

    def __init__(self, *args: Any, answer_tokens: int, name: str = "", tools: Any = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.answer_tokens = answer_tokens

    async def run(self, sampling_params: dict[str, Any], **row: Any) -> list[AgentLoopOutput]:
        limit = OmegaConf.select(self.config, "reward.custom_reward_function.reward_kwargs.env_error_limit")
        with watched(self.faults, 0.05 if limit is None else float(limit), self.doing):
            return await self.session_class(self, sampling_params, row).run()

    def token_chat(self) -> TokenChat:
        rollout = self.rollout_config
        return TokenChat(
            self.continuous_token_builder.build_initial_tokens,
            rollout.prompt_length,
            rollout.response_length,
            self.answer_tokens,
            rollout.get("max_model_len"),
        )


@functools.cache
def _threads(num_workers: int) -> ThreadPoolExecutor:
    """Where the world goes on (opponents think, commands run), this worker's share of the cores: the event loop goes on
    as well, and verl's executor stays free."""
    return ThreadPoolExecutor(max(1, (os.cpu_count() or 1) // num_workers), thread_name_prefix="world")
