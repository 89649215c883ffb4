"""Dyck language: complete a sequence of brackets.

    [ ( { } [ ]     → ) ]

`dyck_language2` is the same with longer sequences of all four kinds of brackets.
"""

from __future__ import annotations

import re
from random import Random
from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from env_adapter import SettingsError
from logic.brackets import PAIRS, closing, random_prefix
from logic.family import FINAL_LINE, Family, Language

_INSTRUCTIONS = {
    "en": "Complete the sequence so that every bracket is closed by its own kind, in the right order. The brackets are "
    "{kinds}.",
    "zh": "补全括号序列，使每个括号都按正确的顺序由同类括号闭合。括号有：{kinds}。",
}
_FORM = {"en": "only the closing brackets that are missing", "zh": "所缺的右括号，不要写别的"}


@dataclass(frozen=True)
class Parameters:
    min_length: Annotated[int, Field(ge=1, le=1000)]
    max_length: Annotated[int, Field(ge=1, le=1000)]
    min_missing: Annotated[int, Field(ge=1, le=40)]
    max_missing: Annotated[int, Field(ge=1, le=40)]
    """Closing brackets to find; 40 and the spaces between them fit into one statement."""
    kinds: Annotated[int, Field(ge=1, le=len(PAIRS))] = 3


@dataclass(frozen=True)
class Puzzle:
    text: Annotated[str, Field(pattern=r"^[()\[\]{}<>]{1,1000}$")]
    kinds: Annotated[int, Field(ge=1, le=len(PAIRS))]


class DyckLanguage(Family[Puzzle, str]):
    name = "dyck_language"
    puzzle_type = Puzzle
    levels = {  # noqa: RUF012
        "easy": Parameters(4, 10, 1, 3),
        "medium": Parameters(8, 20, 2, 6),
        "hard": Parameters(20, 40, 4, 10),
    }

    def make(self, rng: Random, parameters: Parameters) -> Puzzle:
        lengths = range(parameters.min_length, parameters.max_length + 1)
        missing = range(parameters.min_missing, parameters.max_missing + 1)
        fitting = [(n, depth) for n in lengths for depth in missing if depth <= n and (n - depth) % 2 == 0]
        if not fitting:
            raise SettingsError(
                f"{self.name}: no sequence of {parameters.min_length} to {parameters.max_length} brackets lacks "
                f"{parameters.min_missing} to {parameters.max_missing} (min_length, max_length, min_missing, "
                "max_missing; length and missing are both even or both odd)"
            )
        length, depth = rng.choice(fitting)
        kinds = "".join(PAIRS)[: parameters.kinds]
        return Puzzle(random_prefix(rng, length, depth, kinds), parameters.kinds)

    def instructions(self, puzzle: Puzzle, language: Language) -> str:
        kinds = " ".join(f"{left}{right}" for left, right in list(PAIRS.items())[: puzzle.kinds])
        return f"{_INSTRUCTIONS[language].format(kinds=kinds)} {FINAL_LINE[language].format(form=_FORM[language])}"

    def question(self, puzzle: Puzzle, language: Language) -> str:
        return " ".join(puzzle.text)

    def solve(self, puzzle: Puzzle) -> str:
        return " ".join(closing(puzzle.text))

    def parse(self, text: str, puzzle: Puzzle) -> str | None:
        bare = text.replace(" ", "")
        return bare if re.fullmatch(r"[)\]}>]+", bare) else None

    def is_right(self, answer: str, puzzle: Puzzle) -> bool:
        return answer == closing(puzzle.text)

    def guess(self, puzzle: Puzzle, rng: Random) -> str:
        closers = list(PAIRS.values())[: puzzle.kinds]
        return " ".join(rng.choice(closers) for _ in closing(puzzle.text))


class DyckLanguage2(DyckLanguage):
    name = "dyck_language2"
    levels = {  # noqa: RUF012
        "easy": Parameters(20, 40, 3, 8, kinds=4),
        "medium": Parameters(40, 80, 6, 14, kinds=4),
        "hard": Parameters(80, 160, 12, 30, kinds=4),
    }
