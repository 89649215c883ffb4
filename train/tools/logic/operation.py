"""Operation: evaluate an expression of invented operators.

a # b = 2 * a + b - 1
a @ b = the larger of a and b
( 3 # 4 ) @ 7       → 9
"""

from __future__ import annotations

import re
from collections.abc import Callable
from random import Random
from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from env_adapter import SettingsError
from logic.family import FINAL_LINE, Family, Language, draw

Form = Literal["linear", "product", "difference", "larger", "smaller", "if_larger", "if_even"]
SYMBOLS = "#@&$%~^?"
_MAX_VALUE = 1_000_000
_INSTRUCTIONS = {
    "en": "The operators below are defined for this task. Work out the expression; parentheses come first.",
    "zh": "下面的运算符只在本题中有效。计算表达式的值，先算括号里的。",
}
_FORM = {"en": "the whole number", "zh": "结果（整数）"}
_DEFINITIONS: dict[str, dict[Form, str]] = {
    "en": {
        "linear": "{p} * a + {q} * b + {r}",
        "product": "a * b + {r}",
        "difference": "{p} * |a - b| + {r}",
        "larger": "the larger of a and b, plus {r}",
        "smaller": "the smaller of a and b, plus {r}",
        "if_larger": "a - {q} * b if a > b, otherwise {p} * b + {r}",
        "if_even": "a + {q} * b if a is even, otherwise {p} * a - b",
    },
    "zh": {
        "linear": "{p} * a + {q} * b + {r}",
        "product": "a * b + {r}",
        "difference": "{p} * |a - b| + {r}",
        "larger": "a 与 b 中较大的数加 {r}",
        "smaller": "a 与 b 中较小的数加 {r}",
        "if_larger": "若 a > b 则为 a - {q} * b，否则为 {p} * b + {r}",
        "if_even": "若 a 为偶数则为 a + {q} * b，否则为 {p} * a - b",
    },
}
_VALUES: dict[Form, Callable[[int, int, int, int, int], int]] = {
    "linear": lambda a, b, p, q, r: p * a + q * b + r,
    "product": lambda a, b, p, q, r: a * b + r,
    "difference": lambda a, b, p, q, r: p * abs(a - b) + r,
    "larger": lambda a, b, p, q, r: max(a, b) + r,
    "smaller": lambda a, b, p, q, r: min(a, b) + r,
    "if_larger": lambda a, b, p, q, r: a - q * b if a > b else p * b + r,
    "if_even": lambda a, b, p, q, r: a + q * b if a % 2 == 0 else p * a - b,
}
_QUESTION = {"en": "Expression: {}", "zh": "表达式：{}"}


@dataclass(frozen=True)
class Parameters:
    operators: Annotated[int, Field(ge=1, le=len(SYMBOLS))]
    min_operands: Annotated[int, Field(ge=2, le=30)]
    max_operands: Annotated[int, Field(ge=2, le=30)]
    max_number: Annotated[int, Field(ge=1, le=999)] = 20
    max_result: Annotated[int, Field(ge=0, le=_MAX_VALUE)] = 10_000
    """Of every step, in size."""


@dataclass(frozen=True)
class Operator:
    """a SYMBOL b, by a form and its three constants."""

    form: Form
    p: Annotated[int, Field(ge=1, le=9)]
    q: Annotated[int, Field(ge=1, le=9)]
    r: Annotated[int, Field(ge=0, le=9)]


@dataclass(frozen=True)
class Puzzle:
    operators: dict[str, Operator]
    postfix: Annotated[list[int | str], Field(max_length=99)]


class Operation(Family[Puzzle, int]):
    name = "operation"
    puzzle_type = Puzzle
    levels = {  # noqa: RUF012
        "easy": Parameters(1, 2, 3, 9, 200),
        "medium": Parameters(2, 3, 5),
        "hard": Parameters(4, 6, 9, 50, 100_000),
    }

    def make(self, rng: Random, parameters: Parameters) -> Puzzle:
        if parameters.min_operands > parameters.max_operands:
            raise SettingsError(
                f"operation: min_operands={parameters.min_operands} is more than max_operands={parameters.max_operands}"
            )

        def try_one() -> Puzzle | None:
            symbols = rng.sample(SYMBOLS, parameters.operators)
            operators = {symbol: _random_operator(rng) for symbol in symbols}
            operands = rng.randint(parameters.min_operands, parameters.max_operands)
            puzzle = Puzzle(operators, _random_postfix(rng, operands, symbols, parameters.max_number))
            return puzzle if max(map(abs, steps(puzzle))) <= parameters.max_result else None

        return draw(try_one, f"operation: an expression with no step above max_result={parameters.max_result}")

    def instructions(self, puzzle: Puzzle, language: Language) -> str:
        return f"{_INSTRUCTIONS[language]} {FINAL_LINE[language].format(form=_FORM[language])}"

    def question(self, puzzle: Puzzle, language: Language) -> str:
        lines = []
        for symbol, operator in puzzle.operators.items():
            text = _DEFINITIONS[language][operator.form].format(p=operator.p, q=operator.q, r=operator.r)
            lines.append(f"a {symbol} b = {text}")
        return "\n".join([*lines, _QUESTION[language].format(infix(puzzle.postfix))])

    def solve(self, puzzle: Puzzle) -> str:
        return str(steps(puzzle)[-1])

    def parse(self, text: str, puzzle: Puzzle) -> int | None:
        return int(text.replace("−", "-")) if re.fullmatch(r"[-+−]?[0-9]{1,12}", text, re.ASCII) else None

    def is_right(self, answer: int, puzzle: Puzzle) -> bool:
        return answer == steps(puzzle)[-1]

    def guess(self, puzzle: Puzzle, rng: Random) -> str:
        return str(rng.randint(-100, 1000))


def steps(puzzle: Puzzle) -> list[int]:
    """The value of every step, the expression's own last. Raises ValueError where it is no expression."""
    stack: list[int] = []
    values = []
    try:
        for token in puzzle.postfix:
            if isinstance(token, int):
                stack.append(token)
                continue
            operator = puzzle.operators[token]
            b, a = stack.pop(), stack.pop()
            stack.append(_VALUES[operator.form](a, b, operator.p, operator.q, operator.r))
            values.append(stack[-1])
        (_,) = stack
    except (IndexError, KeyError, ValueError) as error:
        raise ValueError(f"no expression: {puzzle.postfix}") from error
    return values or stack


def infix(postfix: list[int | str]) -> str:
    """With parentheses around every operand that is an expression, since invented operators have no precedence."""
    stack: list[str] = []
    for token in postfix:
        if isinstance(token, int):
            stack.append(str(token))
        else:
            right, left = stack.pop(), stack.pop()
            stack.append(" ".join([_operand(left), token, _operand(right)]))
    return stack[0]


def _operand(text: str) -> str:
    return f"( {text} )" if " " in text else text


def _random_operator(rng: Random) -> Operator:
    return Operator(rng.choice(tuple(_VALUES)), rng.randint(1, 5), rng.randint(1, 5), rng.randint(0, 9))


def _random_postfix(rng: Random, operands: int, symbols: list[str], max_number: int) -> list[int | str]:
    if operands == 1:
        return [rng.randint(1, max_number)]
    left = rng.randint(1, operands - 1)
    return [
        *_random_postfix(rng, left, symbols, max_number),
        *_random_postfix(rng, operands - left, symbols, max_number),
        rng.choice(symbols),
    ]
