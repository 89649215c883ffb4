"""Whole games of the environment openspiel in verl's rollout: the policy plays one seat of a game, turn by turn.

    actor_rollout_ref.rollout.agent.default_agent_loop=openspiel_game
    actor_rollout_ref.rollout.agent.agent_loop_config_path=train/config/agent_loop/openspiel_game.yaml

What a session gives verl (`AgentLoopOutput`s, several only where a chat needs several sequences: `token_chat.py`):

* The reward is the game's score (`games.match`), known here, so that no reward worker is asked. verl's GRPO compares
  the sessions of a task by it, and gives every sequence of a session its advantage.
* Only tokens that the policy sampled for its own seat are trained on. Against `self` it is asked for the other seats as
  well, in chats of their own; those tokens are not trained on: their reward would be another one.
* Training games are written to `games.jsonl` in the run's directory, which also decides the opponent: `games.records`.
  Validation plays the last opponent of the list, at every step.

A fault of ours is no lost game: see `env_faults`.
"""

from __future__ import annotations

import asyncio
import functools
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import ray
from omegaconf import DictConfig, OmegaConf
from verl.experimental.agent_loop.agent_loop import AgentLoopBase, AgentLoopMetrics, AgentLoopOutput

from answer_metrics import answer_metrics
from env_adapter import Challenge, EnvError, Score, shared_env_adapter
from env_faults import FaultCounter, watched
from games.match import Match
from games.records import FILE, GameRecords
from games.whole_games import is_game, new_match
from token_chat import TokenChat

NAME = "openspiel_game"

faults = FaultCounter("game_agent_loop.py")


class GameAgentLoop(AgentLoopBase):
    """verl makes one for every session. `answer_tokens` is the most that the policy may say in one reply."""

    def __init__(self, *args: Any, answer_tokens: int, name: str = NAME, tools: Any = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.answer_tokens = answer_tokens

    async def run(self, sampling_params: dict[str, Any], **row: Any) -> list[AgentLoopOutput]:
        limit = OmegaConf.select(self.config, "reward.custom_reward_function.reward_kwargs.env_error_limit")
        with watched(faults, 0.05 if limit is None else float(limit), "playing a game"):
            return await _Session(self, sampling_params, row).play()

    def token_chat(self) -> TokenChat:
        rollout = self.rollout_config
        return TokenChat(
            self.continuous_token_builder.build_initial_tokens,
            rollout.prompt_length,
            rollout.response_length,
            self.answer_tokens,
            rollout.get("max_model_len"),
        )


class _Session:
    """One game of a task. Raises EnvError where the row is not one of dataset-manager.py in mode=game."""

    def __init__(self, agent_loop: GameAgentLoop, sampling_params: dict[str, Any], row: dict[str, Any]) -> None:
        self.loop = agent_loop
        self.sampling_params = {**sampling_params, "max_tokens": agent_loop.answer_tokens}
        self.row = row
        info = row["extra_info"]
        self.challenge = Challenge.from_json(info["challenge"])
        self.trains = info["split"] == "train"
        self.settings = shared_env_adapter(info["env"], info["adapter_config"]).settings
        self.request_ids: dict[int, str] = {}
        self.chats: dict[int, TokenChat] = {}
        self.seconds = {"policy": 0.0, "opponents": 0.0}
        self.preempted = 0
        self.weights: list[int] = []
        """The global steps whose weights the replies come from."""

    async def play(self) -> list[AgentLoopOutput]:
        opponent = await self._opponent()
        match = new_match(self.challenge.extra, opponent)
        while True:
            started = time.monotonic()
            threads = _thinkers(self.loop.rollout_config.agent.num_workers)
            await asyncio.get_running_loop().run_in_executor(threads, match.advance)
            self.seconds["opponents"] += time.monotonic() - started
            if match.over:
                break
            await self._ask(match)
        own = self.chats[match.seat]
        if not own.sequences:
            raise EnvError(
                f"task {self.challenge.task_id}: the first turn of {match.case.name} has no room in "
                f"data.max_prompt_length={self.loop.rollout_config.prompt_length}: raise it"
            )
        if self.trains:
            await self._record(match, opponent)
        return self._outputs(match, own)

    async def _opponent(self) -> str:
        if not is_game(self.challenge.extra):
            raise EnvError(f"task {self.challenge.task_id} is a single decision: this agent loop needs mode=game")
        names = self.challenge.extra["opponents"]
        if not self.trains or len(names) == 1:
            return names[-1]
        rule = (names, self.settings.promote_at, self.settings.promote_games)
        step, game = int(self.row["global_steps"]), self.challenge.extra["game"]
        return await _ask_records(self.loop.config, "opponent", step, game, *rule)

    async def _ask(self, match: Match) -> None:
        seat = match.to_answer
        chat = self.chats.setdefault(seat, self.loop.token_chat())
        ids = await self._prompt(chat, match)
        if ids is None:
            match.give_up()
            return
        started = time.monotonic()
        output = await self.loop.server_manager.generate(
            request_id=self.request_ids.setdefault(seat, uuid4().hex),
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
        match.answer(self.loop.tokenizer.decode(output.token_ids, skip_special_tokens=True))

    async def _prompt(self, chat: TokenChat, match: Match) -> list[int] | None:
        """The tokens to sample from, with fewer of the earlier turns where all have no room; None: not even one has."""
        while True:
            ids = await asyncio.get_running_loop().run_in_executor(None, chat.prompt, match.messages)
            if ids is not None or not match.forget():
                return ids

    async def _record(self, match: Match, opponent: str) -> None:
        extra, sequences = self.challenge.extra, self.chats[match.seat].sequences
        record = {
            "step": int(self.row["global_steps"]),
            "task_id": self.challenge.task_id,
            "game": extra["game"],
            "seat": match.seat,
            "opponent": opponent,
            "score": match.result.score,
            "won": match.result.won,
            "ending": match.result.ending,
            "turns": match.result.turns,
            "illegal": match.result.illegal,
            "tokens": sum(map(sum, (row.mask for row in sequences))),
            "sequences": len(sequences),
            "policy_s": round(self.seconds["policy"], 3),
            "opponents_s": round(self.seconds["opponents"], 3),
        }
        await _ask_records(self.loop.config, "add", record)

    def _outputs(self, match: Match, chat: TokenChat) -> list[AgentLoopOutput]:
        metrics = match.result.metrics | {"opponent_strength": match.opponent.strength}
        info = answer_metrics(self.challenge, Score(match.result.score, metrics), faults.count(False))
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
                reward_score=match.result.score,
                num_turns=2 * row.answers,
                metrics=AgentLoopMetrics(
                    generate_sequences=self.seconds["policy"],
                    tool_calls=self.seconds["opponents"],
                    num_preempted=self.preempted,
                ),
                extra_fields=dict(extra_fields),
            )
            for row in chat.sequences
        ]


@functools.cache
def _thinkers(num_workers: int) -> ThreadPoolExecutor:
    """Where opponents think, this worker's share of the cores: the event loop goes on, verl's executor stays free."""
    return ThreadPoolExecutor(max(1, (os.cpu_count() or 1) // num_workers), thread_name_prefix="opponent")


async def _ask_records(config: DictConfig, method: str, *arguments: Any) -> Any:
    records = _records(config.trainer.default_local_dir, _resumed_from(config))
    if isinstance(records, GameRecords):
        return getattr(records, method)(*arguments)
    return await getattr(records, method).remote(*arguments)


@functools.cache
def _records(directory: str, earlier: str | None) -> Any:
    """The run's records: one actor for all workers of a cluster; without a cluster, an object of this process."""
    arguments = (Path(directory) / FILE, earlier and Path(earlier))
    if not ray.is_initialized():
        return GameRecords(*arguments)
    actor: Callable[..., Any] = ray.remote(num_cpus=0)(GameRecords)
    return actor.options(name=f"{NAME}_records", get_if_exists=True).remote(*arguments)


def _resumed_from(config: DictConfig) -> str | None:
    """The records of another run whose checkpoint this one starts from."""
    if config.trainer.resume_mode != "resume_path":
        return None
    return str(Path(config.trainer.resume_from_path).parent / FILE)
