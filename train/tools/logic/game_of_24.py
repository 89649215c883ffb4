"""Game of 24: reach 24 with four numbers, each used once.

    1, 5, 5, 5      → 5 * (5 - 1 / 5)

The answer is read by a small grammar of whole numbers, + - * / and parentheses, and worked out in fractions.
"""

from __future__ import annotations

import functools
import operator
import re
from collections.abc import Callable
from fractions import Fraction
from random import Random
from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from env_adapter import SettingsError
from logic.family import FINAL_LINE, Family, Language, draw

_INSTRUCTIONS = {
    "en": "Combine the numbers with +, -, *, / and parentheses to make {target}. Use each number exactly once, as it "
    "stands.",
    "zh": "用 +、-、*、/ 和括号把这些数字组合成 {target}。每个数字恰好用一次，不能拼接。",
}
_FORM = {"en": "the expression alone", "zh": "算式本身"}
_QUESTION = {"en": "Numbers: {}", "zh": "数字：{}"}
_SIGNS = str.maketrans({"×": "*", "·": "*", "÷": "/", "−": "-", "（": "(", "）": ")"})
_OPERATORS: dict[str, Callable[[Fraction, Fraction], Fraction]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
}


@dataclass(frozen=True)
class Parameters:
    min_number: Annotated[int, Field(ge=1, le=100)]
    max_number: Annotated[int, Field(ge=1, le=100)]
    numbers: Annotated[int, Field(ge=2, le=5)] = 4
    target: Annotated[int, Field(ge=1, le=1000)] = 24


@dataclass(frozen=True)
class Puzzle:
    numbers: list[Annotated[int, Field(ge=1, le=100)]]
    target: int


@dataclass(frozen=True)
class Expression:
    """What an answer says: the numbers in it, and what it comes to, None for a division by 0."""

    numbers: list[int]
    value: Fraction | None


class GameOf24(Family[Puzzle, Expression]):
    name = "game_of_24"
    puzzle_type = Puzzle
    levels = {"easy": Parameters(1, 10), "medium": Parameters(1, 13), "hard": Parameters(1, 25)}  # noqa: RUF012

    def make(self, rng: Random, parameters: Parameters) -> Puzzle:
        low, high = parameters.min_number, parameters.max_number
        if low > high:
            raise SettingsError(f"game_of_24: min_number={low} is more than max_number={high}")

        def try_one() -> Puzzle | None:
            numbers = [rng.randint(low, high) for _ in range(parameters.numbers)]
            solvable = find_expression(tuple(sorted(numbers)), parameters.target) is not None
            return Puzzle(numbers, parameters.target) if solvable else None

        return draw(
            try_one, f"game_of_24: {parameters.numbers} numbers of {low} to {high} that make {parameters.target}"
        )

    def key(self, puzzle: Puzzle) -> str:
        """The numbers in another order are the same task."""
        return f"{sorted(puzzle.numbers)} {puzzle.target}"

    def instructions(self, puzzle: Puzzle, language: Language) -> str:
        rules = _INSTRUCTIONS[language].format(target=puzzle.target)
        return f"{rules} {FINAL_LINE[language].format(form=_FORM[language])}"

    def question(self, puzzle: Puzzle, language: Language) -> str:
        return _QUESTION[language].format(", ".join(map(str, puzzle.numbers)))

    def solve(self, puzzle: Puzzle) -> str:
        found = find_expression(tuple(sorted(puzzle.numbers)), puzzle.target)
        if found is None:
            raise ValueError(f"{puzzle.numbers} do not make {puzzle.target}")
        return found

    def parse(self, text: str, puzzle: Puzzle) -> Expression | None:
        return parse_expression(text, puzzle.target)

    def is_right(self, answer: Expression, puzzle: Puzzle) -> bool:
        return answer.value == puzzle.target and sorted(answer.numbers) == sorted(puzzle.numbers)

    def guess(self, puzzle: Puzzle, rng: Random) -> str:
        numbers = rng.sample(puzzle.numbers, len(puzzle.numbers))
        return str(numbers[0]) + "".join(f" {rng.choice('+-*/')} {number}" for number in numbers[1:])


@functools.lru_cache(maxsize=100_000)
def find_expression(numbers: tuple[int, ...], target: int) -> str | None:
    """An expression of these numbers that makes the target, or None where there is none.

    The search is in floating point, for speed; what it finds is checked in fractions.
    """
    return _search([(float(number), str(number)) for number in numbers], target)


def _search(items: list[tuple[float, str]], target: int) -> str | None:
    if len(items) == 1:
        value, text = items[0]
        if abs(value - target) > 1e-6:
            return None
        text = text[1:-1] if text.startswith("(") else text
        exact = parse_expression(text, target)
        return text if exact is not None and exact.value == target else None
    for i in range(len(items)):
        for j in range(i):
            rest = items[:j] + items[j + 1 : i] + items[i + 1 :]
            (a, text_a), (b, text_b) = items[i], items[j]
            steps = [
                (a + b, f"({text_a} + {text_b})"),
                (a * b, f"({text_a} * {text_b})"),
                (a - b, f"({text_a} - {text_b})"),
                (b - a, f"({text_b} - {text_a})"),
            ]
            if b:
                steps.append((a / b, f"({text_a} / {text_b})"))
            if a:
                steps.append((b / a, f"({text_b} / {text_a})"))
            for step in steps:
                found = _search([*rest, step], target)
                if found is not None:
                    return found
    return None


def parse_expression(text: str, target: int) -> Expression | None:
    """The numbers and the value of an expression, "= target" behind it or not, or None for a text that is none.

    At most 100 characters with 10 numbers of 4 digits: more work than that is never done.
    """
    text = text.translate(_SIGNS).replace("\\times", "*").replace("\\cdot", "*").replace("\\div", "/")
    text = re.sub(rf"\s*=\s*{target}\s*$", "", text)
    if not re.fullmatch(r"[0-9+\-*/() ]{1,100}", text, re.ASCII):
        return None
    tokens = re.findall(r"[0-9]+|[^ ]", text, re.ASCII)
    numbers = [int(token) for token in tokens if token.isdigit() and len(token) <= 4]
    if not 1 <= len(numbers) <= 10 or any(re.fullmatch("0[0-9]+|[0-9]{5,}", token) for token in tokens):
        return None
    reader = _Reader(tokens)
    try:
        value = reader.sum()
    except ZeroDivisionError:
        return Expression(numbers, None)
    except ValueError:
        return None
    return Expression(numbers, value) if not reader.tokens else None


class _Reader:
    """Reads sum := product (± product)*, product := factor (*/ factor)*, factor := number | ( sum )."""

    def __init__(self, tokens: list[str]) -> None:
        self.tokens = tokens[::-1]

    def sum(self) -> Fraction:
        return self._chain("+-", self.product)

    def product(self) -> Fraction:
        return self._chain("*/", self.factor)

    def _chain(self, operators: str, operand: Callable[[], Fraction]) -> Fraction:
        value = operand()
        while self.tokens and self.tokens[-1] in operators:
            value = _OPERATORS[self.tokens.pop()](value, operand())
        return value

    def factor(self) -> Fraction:
        token = self.tokens.pop() if self.tokens else ""
        if token == "(":
            value = self.sum()
            if not self.tokens or self.tokens.pop() != ")":
                raise ValueError("a parenthesis is not closed")
            return value
        if not token.isdigit():
            raise ValueError(f"no number: {token!r}")
        return Fraction(int(token))
