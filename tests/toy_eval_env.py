"""A small environment for the tests of the tools: sums, with an exact answer and a well-formed one.

Task 3: "What is 3 + 9? Answer with one number."   "12" scores 1, another number 0.5, anything else 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic.dataclasses import dataclass

from env_adapter import Challenge, EnvError, Score, SettingsError, parse_settings


@dataclass(frozen=True)
class ToySettings:
    tasks: int = 40
    greeting: str = ""
    fail_generate: bool = False
    fail_evaluate_from: int = 10**9
    """Task ids from here on cannot be scored."""
    no_answers: bool = False


class ToyAdapter:
    name = "toy"

    def __init__(self, config: Mapping[str, Any] | None = None) -> None:
        self.settings = parse_settings(ToySettings, config)
        if self.settings.tasks < 1:
            raise SettingsError("tasks must be at least 1")

    def num_tasks(self) -> int:
        return self.settings.tasks

    def validate(self) -> None: ...

    def generate(self, task_id: int) -> Challenge:
        if self.settings.fail_generate:
            raise EnvError("the toy shop\nis closed")
        if not 0 <= task_id < self.settings.tasks:
            raise IndexError(task_id)
        a, b = task_id, 3 * task_id
        prompt = f"{self.settings.greeting}What is {a} + {b}? Answer with one number."
        return Challenge("toy", task_id, [{"role": "user", "content": prompt}], {"sum": a + b})

    def evaluate(self, response: str, challenge: Challenge) -> Score:
        if challenge.task_id >= self.settings.fail_evaluate_from:
            raise EnvError("the sandbox is down")
        text = response.strip()
        formed = text.isascii() and text.isdigit()
        exact = formed and text == str(challenge.extra["sum"])
        return Score(1.0 if exact else 0.5 if formed else 0.0, {"exact": float(exact), "length": float(len(text))})

    def reference_answer(self, challenge: Challenge) -> str | None:
        return None if self.settings.no_answers else str(challenge.extra["sum"])

    def random_answer(self, challenge: Challenge, seed: int) -> str | None:
        return None if self.settings.no_answers else str(seed % 1000)
