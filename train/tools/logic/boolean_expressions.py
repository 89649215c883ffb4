"""Boolean expressions: is this True or False?

    Expression: not True and ( False or not False )     → False

As many expressions are true as false.
"""

from __future__ import annotations

from random import Random
from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from env_adapter import SettingsError
from logic.family import FINAL_LINE, Family, Language, draw

Token = Literal["True", "False", "not", "and", "or"]
_BINDS = {"or": 1, "and": 2, "not": 3, "True": 4, "False": 4}
_INSTRUCTIONS = {
    "en": "Evaluate the boolean expression. `not` binds tightest, then `and`, then `or`.",
    "zh": "计算这个布尔表达式的值。`not` 优先级最高，其次 `and`，最后 `or`。",
}
_FORM = {"en": "True or False", "zh": "True 或 False"}
_QUESTION = {"en": "Expression: {}", "zh": "表达式：{}"}


@dataclass(frozen=True)
class Parameters:
    min_operands: Annotated[int, Field(ge=2, le=100)]
    max_operands: Annotated[int, Field(ge=2, le=100)]
    negations: Annotated[float, Field(ge=0, le=0.9)] = 0.4
    """The chance of a `not` before an operand or a parenthesis."""


@dataclass(frozen=True)
class Puzzle:
    postfix: list[Token]


class BooleanExpressions(Family[Puzzle, bool]):
    name = "boolean_expressions"
    puzzle_type = Puzzle
    levels = {"easy": Parameters(3, 6), "medium": Parameters(6, 12), "hard": Parameters(16, 28)}  # noqa: RUF012

    def make(self, rng: Random, parameters: Parameters) -> Puzzle:
        if parameters.min_operands > parameters.max_operands:
            raise SettingsError(
                f"boolean_expressions: min_operands={parameters.min_operands} is more than "
                f"max_operands={parameters.max_operands}"
            )
        operands = rng.randint(parameters.min_operands, parameters.max_operands)
        wanted = rng.random() < 0.5

        def try_one() -> Puzzle | None:
            puzzle = Puzzle(_random_postfix(rng, operands, parameters.negations))
            return puzzle if evaluate(puzzle.postfix) == wanted else None

        return draw(try_one, f"boolean_expressions: an expression that is {wanted}")

    def instructions(self, puzzle: Puzzle, language: Language) -> str:
        return f"{_INSTRUCTIONS[language]} {FINAL_LINE[language].format(form=_FORM[language])}"

    def question(self, puzzle: Puzzle, language: Language) -> str:
        return _QUESTION[language].format(infix(puzzle.postfix))

    def solve(self, puzzle: Puzzle) -> str:
        return str(evaluate(puzzle.postfix))

    def parse(self, text: str, puzzle: Puzzle) -> bool | None:
        return {"true": True, "false": False}.get(text.lower()) if text.isascii() else None

    def is_right(self, answer: bool, puzzle: Puzzle) -> bool:
        return answer == evaluate(puzzle.postfix)

    def guess(self, puzzle: Puzzle, rng: Random) -> str:
        return rng.choice(("True", "False"))


def evaluate(postfix: list[Token]) -> bool:
    """The value of an expression. Raises ValueError where it is none."""
    stack: list[bool] = []
    try:
        for token in postfix:
            if token in ("True", "False"):
                stack.append(token == "True")
            elif token == "not":
                stack.append(not stack.pop())
            else:
                right, left = stack.pop(), stack.pop()
                stack.append((left and right) if token == "and" else (left or right))
        (value,) = stack
    except (IndexError, ValueError) as error:
        raise ValueError(f"no expression: {' '.join(postfix)[:200]!r}") from error
    return value


def infix(postfix: list[Token]) -> str:
    """As Python writes it, with no parentheses but those that are needed, and spaces around them."""
    stack: list[tuple[str, str]] = []

    def operand(item: tuple[str, str], binds: int) -> str:
        text, operator = item
        return text if _BINDS[operator] >= binds else f"( {text} )"

    for token in postfix:
        if token in ("True", "False"):
            stack.append((token, token))
        elif token == "not":
            stack.append((f"not {operand(stack.pop(), _BINDS[token])}", token))
        else:
            right, left = stack.pop(), stack.pop()
            # The right side of an equal operator keeps its parentheses: two trees never have the same text.
            sides = operand(left, _BINDS[token]), operand(right, _BINDS[token] + 1)
            stack.append((f"{sides[0]} {token} {sides[1]}", token))
    return stack[0][0]


def _random_postfix(rng: Random, operands: int, negations: float) -> list[Token]:
    if operands == 1:
        tokens: list[Token] = [rng.choice(("True", "False"))]
    else:
        left = rng.randint(1, operands - 1)
        tokens = [
            *_random_postfix(rng, left, negations),
            *_random_postfix(rng, operands - left, negations),
            rng.choice(("and", "or")),
        ]
    return [*tokens, "not"] if rng.random() < negations else tokens
