"""A small environment that follows the whole contract, for the tests of what is built on it.

    "What is 3 + 4? Answer with the number alone."   →   "7"

Its settings make it fail in every way that the layers above must handle.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any, ClassVar

import pytest
from pydantic.dataclasses import dataclass

import env_adapter
from env_adapter import Challenge, EnvError, Score, parse_settings


@dataclass
class ToySettings:
    num_tasks: int = 200
    long_every: int = 0
    """Every so manieth prompt is about 400 characters longer; 0: none."""


class ToyAdapter:
    name = "toy"
    built: ClassVar[list[ToySettings]] = []
    """The settings of every adapter that was built."""

    def __init__(self, config: Mapping[str, Any] | None = None) -> None:
        self.settings = parse_settings(ToySettings, config)
        self.built.append(self.settings)

    def num_tasks(self) -> int:
        return self.settings.num_tasks

    def validate(self) -> None: ...

    def generate(self, task_id: int) -> Challenge:
        if not 0 <= task_id < self.settings.num_tasks:
            raise IndexError(task_id)
        a, b = divmod(task_id, 10)
        long_every = self.settings.long_every
        story = "Think of apples. " * 24 if long_every and (task_id + 1) % long_every == 0 else ""
        content = f"{story}What is {a} + {b}? Answer with the number alone."
        return Challenge(self.name, task_id, [{"role": "user", "content": content}], {"sum": a + b})

    def evaluate(self, response: str, challenge: Challenge) -> Score:
        if response == "pull the plug":
            raise EnvError("the sandbox is down")
        if response == "hit the bug":
            raise ZeroDivisionError("a bug in the adapter")
        if response == "name a metric acc":
            return Score(0.0, {"acc": 0.0})
        answer = response.strip()
        well_formed = answer.isascii() and answer.isdigit() and len(answer) < 6
        value = float(well_formed and int(answer) == challenge.extra["sum"])
        return Score(value, {"well_formed": float(well_formed)})

    def reference_answer(self, challenge: Challenge) -> str:
        return str(challenge.extra["sum"])

    def random_answer(self, challenge: Challenge, seed: int) -> str:
        return str(random.Random(seed).randrange(100))


def register(monkeypatch: pytest.MonkeyPatch) -> type[ToyAdapter]:
    """Adds the environment "toy" for one test, with no adapter built yet."""
    monkeypatch.setitem(env_adapter.REGISTRY, "toy", "toy_env:ToyAdapter")
    monkeypatch.setattr(ToyAdapter, "built", [])
    env_adapter._build_shared.cache_clear()
    return ToyAdapter
