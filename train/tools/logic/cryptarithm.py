"""Cryptarithm: which digit does each letter stand for?

      O G N
    + X R O
      E G G     → E=9, G=6, N=5, O=1, R=0, X=8

Puzzles and the check of a sum are reasoning-gym's (`reasoning_gym.algorithmic.cryptarithm`); any mapping that solves
the sum is right. Its scorer pays 0.01 for any mapping and reads a letter that is given twice, so answers are read here.
"""

from __future__ import annotations

import re
from random import Random
from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from env_adapter import SettingsError
from logic.family import FINAL_LINE, Family, Language
from reasoning_gym_package import CryptarithmConfig, CryptarithmDataset, verify_cryptarithm_solution

Word = Annotated[str, Field(pattern=r"^[A-Z]{1,9}$")]
Digit = Annotated[int, Field(ge=0, le=9)]
_INSTRUCTIONS = {
    "en": "Each letter stands for a digit of its own, and no number begins with 0. Find digits that make the sum "
    "right.",
    "zh": "每个字母代表一个数字，不同字母代表不同数字，任何数都不以 0 开头。求出使算式成立的数字。",
}
_FORM = {"en": "the digit of every letter, such as A=1, B=2", "zh": "每个字母对应的数字，如 A=1, B=2"}
_HINT = {"en": "Known: {}", "zh": "已知：{}"}


@dataclass(frozen=True)
class Parameters:
    min_words: Annotated[int, Field(ge=2, le=9)]
    max_words: Annotated[int, Field(ge=2, le=9)]
    hints: Annotated[int, Field(ge=0, le=10)] = 0
    """Letters whose digits are told; at least one is left to find."""


@dataclass(frozen=True)
class Puzzle:
    words: list[Word]
    total: Word
    hints: dict[str, Digit]
    solution: dict[str, Digit]


class Cryptarithm(Family[Puzzle, dict[str, int]]):
    name = "cryptarithm"
    puzzle_type = Puzzle
    levels = {"easy": Parameters(2, 2, 4), "medium": Parameters(2, 3, 2), "hard": Parameters(2, 4)}  # noqa: RUF012

    def make(self, rng: Random, parameters: Parameters) -> Puzzle:
        if parameters.min_words > parameters.max_words:
            raise SettingsError(
                f"cryptarithm: min_words={parameters.min_words} is more than max_words={parameters.max_words}"
            )
        config = CryptarithmConfig(parameters.min_words, parameters.max_words, seed=rng.getrandbits(62), size=1)
        made = CryptarithmDataset(config)[0]["metadata"]
        solution = dict(sorted(made["letter_to_digit"].items()))
        known = sorted(rng.sample(sorted(solution), min(parameters.hints, len(solution) - 1)))
        return Puzzle(
            made["words_letters"], made["result_letters"], {letter: solution[letter] for letter in known}, solution
        )

    def instructions(self, puzzle: Puzzle, language: Language) -> str:
        return f"{_INSTRUCTIONS[language]} {FINAL_LINE[language].format(form=_FORM[language])}"

    def question(self, puzzle: Puzzle, language: Language) -> str:
        lines = [f"{' + '.join(puzzle.words)} = {puzzle.total}"]
        if puzzle.hints:
            lines.append(_HINT[language].format(_written(puzzle.hints)))
        return "\n".join(lines)

    def solve(self, puzzle: Puzzle) -> str:
        return _written(puzzle.solution)

    def parse(self, text: str, puzzle: Puzzle) -> dict[str, int] | None:
        if not re.fullmatch(r"[A-Z] ?= ?[0-9](?:(?:, ?|; ?| )[A-Z] ?= ?[0-9])*", text, re.ASCII):
            return None
        pairs = re.findall(r"([A-Z]) ?= ?([0-9])", text)
        answer = {letter: int(digit) for letter, digit in pairs}
        return answer if len(answer) == len(pairs) else None

    def is_right(self, answer: dict[str, int], puzzle: Puzzle) -> bool:
        if any(answer.get(letter) != digit for letter, digit in puzzle.hints.items()):
            return False
        right, _ = verify_cryptarithm_solution(answer, puzzle.words, puzzle.total, allow_leading_zero=False)
        return right

    def guess(self, puzzle: Puzzle, rng: Random) -> str:
        digits = rng.sample(range(10), len(puzzle.solution))
        return _written(dict(zip(puzzle.solution, digits, strict=True)))


def _written(digits: dict[str, int]) -> str:
    return ", ".join(f"{letter}={digit}" for letter, digit in digits.items())
