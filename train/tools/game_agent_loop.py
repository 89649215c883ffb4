"""Whole games of the environment openspiel in verl's rollout: the policy plays one seat of a game, turn by turn.

    actor_rollout_ref.rollout.agent.default_agent_loop=openspiel_game
    actor_rollout_ref.rollout.agent.agent_loop_config_path=train/config/agent_loop/openspiel_game.yaml

How a session goes, and what it gives verl, is in `dialogue_agent_loop.py`. What is particular to games:

* The reward is the game's score (`games.match`). Against `self` the policy is asked for the other seats as well, in
  chats of their own; those tokens are not trained on: their reward would be another one.
* Training games are written to `games.jsonl` in the run's directory, which also decides the opponent: `games.records`.
  Validation plays the last opponent of the list, at every step.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ray
from omegaconf import DictConfig

from dialogue_agent_loop import DialogueAgentLoop, DialogueSession
from env_adapter import EnvError, Score
from env_faults import FaultCounter
from games.match import Match
from games.records import FILE, GameRecords
from games.whole_games import is_game, new_match
from token_chat import TokenChat

NAME = "openspiel_game"


class GameSession(DialogueSession):
    """One game of a task. Raises EnvError where the row is not one of dataset-manager.py in mode=game."""

    async def begin(self) -> Match:
        if not is_game(self.challenge.extra):
            raise EnvError(f"task {self.challenge.task_id} is a single decision: this agent loop needs mode=game")
        return new_match(self.challenge.extra, await self._opponent())

    def asked(self, match: Match) -> int:
        return match.to_answer

    def trained(self, match: Match) -> int:
        return match.seat

    def metrics(self, match: Match, score: Score) -> dict[str, float]:
        return score.metrics | {"opponent_strength": match.opponent.strength}

    async def _opponent(self) -> str:
        names = self.challenge.extra["opponents"]
        if not self.trains or len(names) == 1:
            return names[-1]
        settings = self.adapter.settings
        rule = (names, settings.promote_at, settings.promote_games)
        step, game = int(self.row["global_steps"]), self.challenge.extra["game"]
        return await _ask_records(self.loop.config, "opponent", step, game, *rule)

    async def ended(self, match: Match, chat: TokenChat) -> None:
        if not self.trains:
            return
        record = {
            "step": int(self.row["global_steps"]),
            "task_id": self.challenge.task_id,
            "game": self.challenge.extra["game"],
            "seat": match.seat,
            "opponent": match.opponent.name,
            "score": match.result.score,
            "won": match.result.won,
            "ending": match.result.ending,
            "turns": match.result.turns,
            "illegal": match.result.illegal,
            "tokens": sum(map(sum, (row.mask for row in chat.sequences))),
            "sequences": len(chat.sequences),
            "policy_s": round(self.seconds["policy"], 3),
            "opponents_s": round(self.seconds["world"], 3),
        }
        await _ask_records(self.loop.config, "add", record)


class GameAgentLoop(DialogueAgentLoop):
    faults = FaultCounter("game_agent_loop.py")
    doing = "playing a game"
    session_class = GameSession


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
