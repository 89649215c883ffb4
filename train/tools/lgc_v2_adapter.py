"""Logic tasks made on the fly, and checked by a program: the environment `lgc-v2`.

The two messages of a task of game_of_24, and its answers:

    Combine the numbers with +, -, *, / and parentheses to make 24. Use each number exactly once, as it stands. You may
    reason first. End with one line: "Answer: " and then the expression alone.

    Numbers: 10, 10, 3, 5

    "(10 - 10 / 5) * 3" scores 1.0, "3 * 10 - 5" leaves a number out and scores 0.

Tasks are counted type by type from 0, as every environment counts them. The number that stands for a task in data sets,
type id * 100,000,000 + seed, is in `Challenge.extra["task_number"]`; the setting `task_numbers` makes tasks from it.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import asdict, field
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, NonNegativeInt, PositiveInt, ValidationError
from pydantic.dataclasses import dataclass

from answer_text import final_statement, spellings
from env_adapter import Challenge, EnvError, Score, SettingsError, StrList, parse_settings
from logic.distinct import DistinctSeeds, make_puzzle
from logic.families import FAMILIES, SEEDS_PER_TYPE, TASK_TYPES, task_number, type_and_seed
from logic.family import Family, Language

__all__ = ["TASK_TYPES", "LogicAdapter", "LogicSettings"]

MAX_STATEMENT = 250
"""Characters of an answer: a grid of 9 by 9 with spaces and bars is the longest."""


def _json_of_text(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) else value


def _numbers_of_text(value: Any) -> Any:
    if isinstance(value, str):
        return [number for number in value.replace(",", " ").split() if number]
    return [value] if isinstance(value, int) else value


@dataclass(frozen=True)
class LogicSettings:
    """Ids run type by type: task `index_of_type * num_tasks_per_type + k` is task k of that type."""

    task_types: StrList = field(default_factory=lambda: list(TASK_TYPES))
    """Which types, in this order; empty: all."""
    num_tasks_per_type: PositiveInt = 500
    seed: int = 0
    """Other seeds give other puzzles."""
    difficulty: Literal["easy", "medium", "hard"] = "medium"
    parameters: Annotated[dict[str, dict[str, Any]], BeforeValidator(_json_of_text)] = field(default_factory=dict)
    """Type → what to change of its difficulty, such as {"sudoku": {"min_empty": 20, "max_empty": 20}}."""
    language: Language = "en"
    task_numbers: Annotated[list[NonNegativeInt], BeforeValidator(_numbers_of_text)] = field(default_factory=list)
    """Exactly these tasks, by type id * 100,000,000 + seed, instead of `task_types` and `num_tasks_per_type`."""


class LogicAdapter:
    """The environment `lgc-v2` (see `env_adapter.EnvAdapter`). Raises SettingsError for settings it cannot serve."""

    name = "lgc-v2"

    def __init__(self, config: Mapping[str, Any] | None = None) -> None:
        self.settings = parse_settings(LogicSettings, config)
        self._types = self.settings.task_types or list(TASK_TYPES)
        for name in [*self._types, *self.settings.parameters]:
            if name not in FAMILIES:
                raise SettingsError(f"unknown task type {name!r}: known are {', '.join(TASK_TYPES)}")
        if len(set(self._types)) < len(self._types):
            raise SettingsError(f"task_types={','.join(self._types)} names a type twice")
        if self.settings.num_tasks_per_type > SEEDS_PER_TYPE:
            raise SettingsError(f"num_tasks_per_type={self.settings.num_tasks_per_type}: at most {SEEDS_PER_TYPE}")
        self._parameters = {name: self._parameters_of(name) for name in TASK_TYPES}
        self._seeds = {
            name: DistinctSeeds(FAMILIES[name], self._parameters[name], self.settings.seed) for name in self._types
        }
        for number in self.settings.task_numbers:
            type_and_seed(number)

    def _parameters_of(self, name: str) -> Any:
        level = FAMILIES[name].levels[self.settings.difficulty]
        changes = self.settings.parameters.get(name, {})
        try:
            return parse_settings(type(level), {**asdict(level), **changes})
        except SettingsError as error:
            raise SettingsError(f"parameters of {name}: {error}") from error

    def num_tasks(self) -> int:
        return len(self.settings.task_numbers) or len(self._types) * self.settings.num_tasks_per_type

    def validate(self) -> None:
        """Find every puzzle that the settings promise: it takes as long as making them.

        Raises SettingsError for a difficulty without puzzles, or with too few.
        """
        if not self.settings.task_numbers:
            for name in self._types:
                self._puzzle(name, self._seeds[name][self.settings.num_tasks_per_type - 1])
            return
        keys: dict[str, int] = {}
        for number in self.settings.task_numbers:
            name, seed = type_and_seed(number)
            key = f"{name} {FAMILIES[name].key(self._puzzle(name, seed))}"
            if key in keys:
                raise SettingsError(f"task_numbers: {keys[key]} and {number} are the same task")
            keys[key] = number

    def generate(self, task_id: int) -> Challenge:
        if not 0 <= task_id < self.num_tasks():
            raise IndexError(f"task id {task_id} is outside 0 … {self.num_tasks() - 1}")
        if self.settings.task_numbers:
            name, seed = type_and_seed(self.settings.task_numbers[task_id])
        else:
            index, number = divmod(task_id, self.settings.num_tasks_per_type)
            name = self._types[index]
            seed = self._seeds[name][number]
        family, puzzle = FAMILIES[name], self._puzzle(name, seed)
        messages = [
            {"role": "system", "content": family.instructions(puzzle, self.settings.language)},
            {"role": "user", "content": family.question(puzzle, self.settings.language)},
        ]
        extra = {"task_type": name, "task_number": task_number(name, seed), "puzzle": asdict(puzzle)}
        return Challenge(self.name, task_id, messages, extra)

    def _puzzle(self, name: str, seed: int) -> Any:
        return make_puzzle(FAMILIES[name], self._parameters[name], self.settings.seed, seed)

    def evaluate(self, response: str, challenge: Challenge) -> Score:
        """Metrics: `answered` (in the right form), and `solved`, which is the reward: 1 or 0."""
        family, puzzle = _open(challenge)
        answer = _find_answer(response, family, puzzle)
        try:
            solved = float(answer is not None and family.is_right(answer, puzzle))
        except (LookupError, ValueError) as error:
            raise EnvError(f"corrupted challenge {challenge.task_id}: {error}") from error
        return Score(solved, {"answered": float(answer is not None), "solved": solved})

    def reference_answer(self, challenge: Challenge) -> str | None:
        family, puzzle = _open(challenge)
        return family.solve(puzzle)

    def random_answer(self, challenge: Challenge, seed: int) -> str | None:
        family, puzzle = _open(challenge)
        return family.guess(puzzle, random.Random(f"{seed}:{challenge.task_id}"))


def _open(challenge: Challenge) -> tuple[Family[Any, Any], Any]:
    """The family and the puzzle of a challenge. Raises EnvError when it is not one that `generate` made."""
    try:
        family = FAMILIES[challenge.extra["task_type"]]
        return family, family.puzzle_type(**challenge.extra["puzzle"])
    except (KeyError, TypeError, ValidationError) as error:
        raise EnvError(f"corrupted challenge {challenge.task_id}: {error!r} in {str(challenge.extra)[:300]}") from error


def _find_answer(response: str, family: Family[Any, Any], puzzle: Any) -> Any | None:
    """The first spelling of the final statement that has the form of an answer."""
    # A colon as Chinese is typed is a colon: no answer has one.
    statement = final_statement(response.replace("：", ":"), MAX_STATEMENT)
    if statement is None:
        return None
    parsed = (family.parse(form, puzzle) for form in spellings(statement))
    return next((answer for answer in parsed if answer is not None), None)
