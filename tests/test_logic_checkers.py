"""What `lgc-v2` pays for is right, and what is right is paid for: checkers against brute force from the prompt."""

from __future__ import annotations

import functools
import itertools
import random
from collections.abc import Iterator
from typing import Any

import pytest

from env_adapter import Challenge, get_env_adapter
from lgc_v2_adapter import TASK_TYPES, LogicAdapter
from logic.game_of_24 import find_expression
from logic_solvers import CLOSERS, IS_RIGHT, all_expressions, all_mappings, reduced, small_grids, value_of

SMALL: dict[str, dict[str, Any]] = {
    "boolean_expressions": {"min_operands": 5, "max_operands": 8},
    "cryptarithm": {"min_words": 2, "max_words": 3, "hints": 5},
    "dyck_language": {"min_length": 9, "max_length": 14, "min_missing": 2, "max_missing": 4},
    "dyck_language2": {"min_length": 10, "max_length": 16, "min_missing": 2, "max_missing": 4},
    "dyck_language_reasoning_errors": {"min_steps": 6, "max_steps": 12, "max_errors": 3},
    "game_of_24": {"numbers": 3, "min_number": 1, "max_number": 60},
    "operation": {"min_operands": 3, "max_operands": 4},
    "sudoku": {"size": 4, "min_empty": 8, "max_empty": 11},
}
"""Parameters of tasks that brute force can go through."""


def adapter_of(task_type: str, number: int) -> LogicAdapter:
    parameters = {task_type: SMALL[task_type]}
    return get_env_adapter(
        "lgc-v2", {"task_types": task_type, "num_tasks_per_type": number, "parameters": parameters, "seed": 5}
    )


def prompt_of(challenge: Challenge) -> str:
    return challenge.messages[-1]["content"]


_grids = functools.cache(small_grids)


def candidates(task_type: str, prompt: str) -> Iterator[str]:
    """Every answer of the right form that could be right; of operation, the numbers around 0."""
    if task_type == "boolean_expressions":
        yield from ("True", "False")
    elif task_type == "cryptarithm":
        yield from all_mappings(prompt)
    elif task_type.startswith("dyck_language_r"):
        yield from map(str, range(prompt.count("\n") + 2))
    elif task_type.startswith("dyck"):
        missing = len(reduced(prompt.replace(" ", "")))
        for length in range(1, missing + 2):
            yield from map("".join, itertools.product(CLOSERS.values(), repeat=length))
    elif task_type == "game_of_24":
        yield from all_expressions([int(number) for number in prompt.partition(": ")[2].split(", ")])
    elif task_type == "operation":
        yield from map(str, range(-50, 50))
    else:
        yield from (" ".join("".join(map(str, grid[i : i + 4])) for i in (0, 4, 8, 12)) for grid in _grids())


def check(task_type: str, number: int) -> None:
    adapter = adapter_of(task_type, number)
    is_right = IS_RIGHT[task_type]
    for task_id in range(number):
        challenge = adapter.generate(task_id)
        prompt, reference = prompt_of(challenge), adapter.reference_answer(challenge)
        assert is_right(prompt, reference), (prompt, reference)
        assert adapter.evaluate(reference, challenge).value == 1.0
        paid = 0
        for answer in candidates(task_type, prompt):
            score = adapter.evaluate(answer, challenge)
            assert score.value == is_right(prompt, answer), (prompt, answer)
            paid += score.value == 1.0
        unique = task_type not in ("cryptarithm", "game_of_24", "operation")
        assert paid == 1 if unique else paid >= (task_type != "operation")


@pytest.mark.parametrize("task_type", TASK_TYPES)
def test_an_answer_is_paid_exactly_when_brute_force_finds_it_right(task_type: str) -> None:
    check(task_type, 50)


@pytest.mark.slow
@pytest.mark.parametrize("task_type", TASK_TYPES)
def test_a_thousand_tasks_agree_with_brute_force(task_type: str) -> None:
    check(task_type, 1000)


def test_there_are_288_small_sudoku_grids() -> None:
    assert len(_grids()) == 288  # as is known of 4 by 4


@pytest.mark.parametrize("count", [pytest.param(6, id="few"), pytest.param(40, id="many", marks=pytest.mark.slow)])
def test_four_numbers_make_24_exactly_when_some_expression_does(count: int) -> None:
    rng = random.Random(3)
    for _ in range(count):
        numbers = sorted(rng.randint(1, 13) for _ in range(4))
        assert (find_expression(tuple(numbers), 24) is not None) == any(
            value_of(expression) == 24 for expression in all_expressions(numbers)
        ), numbers


@pytest.mark.slow
def test_1362_hands_of_four_cards_make_24() -> None:
    hands = itertools.combinations_with_replacement(range(1, 14), 4)
    assert sum(find_expression(hand, 24) is not None for hand in hands) == 1362  # a known count
