"""What a type of logic task has to say: how a puzzle is made, shown, solved and checked.

    family = FAMILIES["game_of_24"]
    puzzle = family.make(Random("0:game_of_24:7"), family.levels["medium"])     # Puzzle(numbers=[3, 8, 8, 13], …)
    family.instructions(puzzle, "en"), family.question(puzzle, "en")            # what the model sees
    family.parse("(8 - 3) * 8 - 16", puzzle)                                    # what it says, or None for other texts
    family.is_right(answer, puzzle)

A puzzle holds JSON values and is all that its check needs. Nothing here runs a text of the model as code.
"""

from __future__ import annotations

import dataclasses
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from random import Random
from typing import Any, ClassVar, Generic, Literal, TypeVar

from env_adapter import SettingsError

Language = Literal["en", "zh"]
PuzzleT = TypeVar("PuzzleT")
AnswerT = TypeVar("AnswerT")
MAX_TRIES = 200
"""Draws until one fits the parameters."""

FINAL_LINE = {
    "en": 'You may reason first. End with one line: "Answer: " and then {form}.',
    "zh": "可以先推理。最后单独一行写“Answer: ”，后面写{form}。",
}


class Family(ABC, Generic[PuzzleT, AnswerT]):
    """One type of task."""

    name: ClassVar[str]
    puzzle_type: ClassVar[type]
    """A dataclass of pydantic: it checks what comes back from JSON."""
    levels: ClassVar[Mapping[str, Any]]
    """Difficulty → parameters, dataclasses of pydantic of one type."""

    @abstractmethod
    def make(self, rng: Random, parameters: Any) -> PuzzleT:
        """A puzzle that is a pure function of both. Raises SettingsError where there is none in bounded tries."""

    @abstractmethod
    def instructions(self, puzzle: PuzzleT, language: Language) -> str:
        """The rules, and the form of the answer: the system message."""

    @abstractmethod
    def question(self, puzzle: PuzzleT, language: Language) -> str:
        """The puzzle itself: the user message."""

    @abstractmethod
    def solve(self, puzzle: PuzzleT) -> str:
        """A right answer, in the form that is asked for."""

    @abstractmethod
    def parse(self, text: str, puzzle: PuzzleT) -> AnswerT | None:
        """What a short text says as an answer, or None where it has not the form of one. Never raises."""

    @abstractmethod
    def is_right(self, answer: AnswerT, puzzle: PuzzleT) -> bool:
        """Whether a parsed answer solves the puzzle."""

    @abstractmethod
    def guess(self, puzzle: PuzzleT, rng: Random) -> str:
        """An answer of the right form and no particular merit."""

    def key(self, puzzle: PuzzleT) -> str:
        """Equal for puzzles that are the same task."""
        return json.dumps(dataclasses.asdict(puzzle), sort_keys=True)

    def never_repeats(self, parameters: Any) -> bool:
        """Whether there are so many puzzles that two draws are never equal (of more than 10^15)."""
        return False


def draw(make: Callable[[], PuzzleT | None], impossible: str) -> PuzzleT:
    """The first puzzle that is not None. Raises SettingsError, which says what is `impossible`, after MAX_TRIES."""
    for _ in range(MAX_TRIES):
        puzzle = make()
        if puzzle is not None:
            return puzzle
    raise SettingsError(f"{impossible}: none was found in {MAX_TRIES} tries. Ask for less, or leave the setting out")
