"""Which step of a worked bracket matching is the first wrong one?

    Sequence: [ ( ) ]
    Step 1: read "[", open: [
    Step 2: read "(", open: [ (
    Step 3: read ")", open: [ (
    Step 4: read "]", open: [           → 3

0 where every step is right. After an error the steps go on from what they show, so that it is seldom undone.
"""

from __future__ import annotations

import re
from random import Random
from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from env_adapter import SettingsError
from logic.brackets import PAIRS, random_prefix
from logic.family import FINAL_LINE, Family, Language

_INSTRUCTIONS = {
    "en": "Below, a sequence of brackets is read one at a time, and each step lists the brackets that are open after "
    "it, outermost first: an opening bracket is added at the end, a closing one takes away its partner. Find the first "
    "step whose list is wrong.",
    "zh": "下面逐个读取一个括号序列，每一步列出读完之后尚未闭合的括号（最外层在前）："
    "左括号加到末尾，右括号去掉与之配对的左括号。找出第一个列表有错的步骤。",
}
_FORM = {"en": "its number, or 0 if every step is right", "zh": "该步骤的编号；如果每一步都对，写 0"}
_WORDS = {
    "en": ("Sequence: {}", 'Step {}: read "{}", open: {}', "none"),
    "zh": ("序列：{}", "第 {} 步：读取“{}”，未闭合：{}", "无"),
}


@dataclass(frozen=True)
class Parameters:
    min_steps: Annotated[int, Field(ge=2, le=200)]
    max_steps: Annotated[int, Field(ge=2, le=200)]
    max_errors: Annotated[int, Field(ge=1, le=20)] = 1
    """Errors in one task, at most; later ones do not change the answer."""
    faultless: Annotated[float, Field(ge=0, le=1)] = 0.1
    """The share of tasks without an error."""
    kinds: Annotated[int, Field(ge=1, le=len(PAIRS))] = 3


@dataclass(frozen=True)
class Puzzle:
    text: Annotated[str, Field(pattern=r"^[()\[\]{}<>]{1,200}$")]
    shown: list[Annotated[str, Field(pattern=r"^[(\[{<]*$")]]
    """The brackets that each step says are open."""


class DyckLanguageReasoningErrors(Family[Puzzle, int]):
    name = "dyck_language_reasoning_errors"
    puzzle_type = Puzzle
    levels = {  # noqa: RUF012
        "easy": Parameters(4, 10),
        "medium": Parameters(10, 24),
        "hard": Parameters(24, 60, max_errors=3, kinds=4),
    }

    def make(self, rng: Random, parameters: Parameters) -> Puzzle:
        if parameters.min_steps > parameters.max_steps:
            raise SettingsError(
                f"{self.name}: min_steps={parameters.min_steps} is more than max_steps={parameters.max_steps}"
            )
        kinds = "".join(PAIRS)[: parameters.kinds]
        length = rng.randint(parameters.min_steps, parameters.max_steps)
        depth = rng.choice([depth for depth in range(min(length, 6) + 1) if (length - depth) % 2 == 0])
        text = random_prefix(rng, length, depth, kinds)
        number = 0 if rng.random() < parameters.faultless else rng.randint(1, min(parameters.max_errors, length))
        wrong_at = set(rng.sample(range(length), number))
        shown, before = [], ""
        for step, bracket in enumerate(text):
            before = _next(before, bracket)
            if step in wrong_at:
                before = _damaged(before, rng, kinds)
            shown.append(before)
        return Puzzle(text, shown)

    def instructions(self, puzzle: Puzzle, language: Language) -> str:
        return f"{_INSTRUCTIONS[language]} {FINAL_LINE[language].format(form=_FORM[language])}"

    def question(self, puzzle: Puzzle, language: Language) -> str:
        sequence, step, none = _WORDS[language]
        lines = [sequence.format(" ".join(puzzle.text))]
        for number, (bracket, shown) in enumerate(zip(puzzle.text, puzzle.shown, strict=True), 1):
            lines.append(step.format(number, bracket, " ".join(shown) or none))
        return "\n".join(lines)

    def solve(self, puzzle: Puzzle) -> str:
        return str(first_error(puzzle))

    def parse(self, text: str, puzzle: Puzzle) -> int | None:
        match = re.fullmatch(r"(?:step )?([0-9]{1,3})", text, re.ASCII | re.IGNORECASE)
        return int(match[1]) if match else None

    def is_right(self, answer: int, puzzle: Puzzle) -> bool:
        return answer == first_error(puzzle)

    def guess(self, puzzle: Puzzle, rng: Random) -> str:
        return str(rng.randint(0, len(puzzle.text)))


def first_error(puzzle: Puzzle) -> int:
    """The number of the first step that shows another list than the right one, or 0.

    Raises ValueError for a puzzle that `make` did not make.
    """
    right = ""
    if len(puzzle.text) != len(puzzle.shown):
        raise ValueError(f"{len(puzzle.text)} brackets and {len(puzzle.shown)} steps")
    for number, (bracket, shown) in enumerate(zip(puzzle.text, puzzle.shown, strict=True), 1):
        right = _next(right, bracket)
        if shown != right:
            return number
    return 0


def _next(before: str, bracket: str) -> str:
    """The open brackets after this one. A closing one takes the last away, whatever it is: an error goes on."""
    return before + bracket if bracket in PAIRS else before[:-1]


def _damaged(shown: str, rng: Random, kinds: str) -> str:
    """Another list: one bracket more, fewer, or of another kind, or two of different kinds exchanged."""
    others = [shown + kind for kind in kinds]
    if shown:
        others.append(shown[:-1])
        place = rng.randrange(len(shown))
        others += [shown[:place] + kind + shown[place + 1 :] for kind in kinds if kind != shown[place]]
    if len(shown) > 1 and shown[-1] != shown[-2]:
        others.append(shown[:-2] + shown[-1] + shown[-2])
    return rng.choice(others)
