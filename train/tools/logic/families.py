"""The task types of `lgc-v2` in the order of their ids: a task's number is id * 100,000,000 + seed.

>>> task_number("game_of_24", 7)
500000007
>>> type_and_seed(500000007)
('game_of_24', 7)

New types go to the end, since numbers are written down in data sets.
"""

from __future__ import annotations

from typing import Any

from env_adapter import SettingsError
from logic.boolean_expressions import BooleanExpressions
from logic.cryptarithm import Cryptarithm
from logic.dyck_language import DyckLanguage, DyckLanguage2
from logic.dyck_language_reasoning_errors import DyckLanguageReasoningErrors
from logic.family import Family
from logic.game_of_24 import GameOf24
from logic.operation import Operation
from logic.sudoku import Sudoku

SEEDS_PER_TYPE = 100_000_000
FAMILIES: dict[str, Family[Any, Any]] = {
    family.name: family
    for family in (
        BooleanExpressions(),
        Cryptarithm(),
        DyckLanguage(),
        DyckLanguage2(),
        DyckLanguageReasoningErrors(),
        GameOf24(),
        Operation(),
        Sudoku(),
    )
}
TASK_TYPES = tuple(FAMILIES)


def task_number(task_type: str, seed: int) -> int:
    return TASK_TYPES.index(task_type) * SEEDS_PER_TYPE + seed


def type_and_seed(number: int) -> tuple[str, int]:
    """Raises SettingsError for a number of no type."""
    index, seed = divmod(number, SEEDS_PER_TYPE)
    if not 0 <= index < len(TASK_TYPES):
        raise SettingsError(
            f"task number {number}: it is type * {SEEDS_PER_TYPE} + seed, with a type of 0 to {len(TASK_TYPES) - 1}"
        )
    return TASK_TYPES[index], seed
