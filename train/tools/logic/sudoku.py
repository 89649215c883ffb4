"""Sudoku, 4 by 4 or 9 by 9, with one solution.

    _ _ _ 2
    _ _ _ _
    3 _ _ _
    2 _ 4 _     → 4312 1234 3421 2143

Puzzles are reasoning-gym's (`sudoku` and `mini_sudoku`). Its scorers pay a part of the reward for wrong grids, so the
check is here: the clues, rows, columns and boxes.
"""

from __future__ import annotations

import re
from random import Random
from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from env_adapter import SettingsError
from logic.family import FINAL_LINE, Family, Language
from reasoning_gym_package import MiniSudokuConfig, MiniSudokuDataset, SudokuConfig, SudokuDataset

MAX_PUZZLES = 50
"""Grids tried until enough cells can be emptied. One of 9 by 9 takes about 20 ms, half a second above 55 cells."""
_INSTRUCTIONS = {
    "en": "Fill the grid so that every row, every column and every {box} by {box} box has each of 1 to {size} once. "
    "_ is an empty cell.",
    "zh": "填满网格，使每行、每列和每个 {box}×{box} 宫内 1 到 {size} 各出现一次。_ 表示空格。",
}
_FORM = {
    "en": "the rows of the whole grid, top to bottom, as {size} groups of {size} digits with spaces between the groups",
    "zh": "整个网格，从上到下每行 {size} 个数字连写，行与行之间用空格隔开",
}
Row = list[Annotated[int, Field(ge=0, le=9)]]


@dataclass(frozen=True)
class Parameters:
    size: Literal[4, 9]
    min_empty: Annotated[int, Field(ge=1, le=58)]
    max_empty: Annotated[int, Field(ge=1, le=58)]
    """At most 12 in a grid of 4 by 4. Of 60 grids of 9 by 9, 15 could be emptied to 58, one to 60."""


@dataclass(frozen=True)
class Puzzle:
    grid: list[Row]
    """Rows; 0 is empty."""
    solution: list[Row]


class Sudoku(Family[Puzzle, list[list[int]]]):
    name = "sudoku"
    puzzle_type = Puzzle
    levels = {"easy": Parameters(4, 4, 10), "medium": Parameters(9, 25, 35), "hard": Parameters(9, 40, 50)}  # noqa: RUF012

    def make(self, rng: Random, parameters: Parameters) -> Puzzle:
        size, low, high = parameters.size, parameters.min_empty, parameters.max_empty
        if low > high or (size == 4 and high > 12):
            raise SettingsError(
                f"sudoku: min_empty={low} and max_empty={high} of a {size} by {size} grid: the first is at most the "
                "second, and that at most 58 (12 in a grid of 4 by 4)"
            )
        empty = rng.randint(low, high)
        config_type, dataset_type = (
            (MiniSudokuConfig, MiniSudokuDataset) if size == 4 else (SudokuConfig, SudokuDataset)
        )
        for _ in range(MAX_PUZZLES):
            config = config_type(min_empty=empty, max_empty=empty, seed=rng.getrandbits(62), size=1)
            made = dataset_type(config)[0]["metadata"]
            # reasoning-gym empties fewer cells where one more would allow a second solution.
            if sum(row.count(0) for row in made["puzzle"]) == empty:
                return Puzzle(made["puzzle"], made["solution"])
        raise SettingsError(
            f"sudoku: no grid of {size} by {size} with one solution and {empty} empty cells was found in "
            f"{MAX_PUZZLES} tries: lower max_empty={high}"
        )

    def never_repeats(self, parameters: Parameters) -> bool:
        """reasoning-gym fills three boxes at random, 9!^3 ways; there are no more than 288 grids of 4 by 4."""
        return parameters.size == 9

    def instructions(self, puzzle: Puzzle, language: Language) -> str:
        size = len(puzzle.grid)
        rules = _INSTRUCTIONS[language].format(box=2 if size == 4 else 3, size=size)
        return f"{rules} {FINAL_LINE[language].format(form=_FORM[language].format(size=size))}"

    def question(self, puzzle: Puzzle, language: Language) -> str:
        return "\n".join(" ".join(str(digit or "_") for digit in row) for row in puzzle.grid)

    def solve(self, puzzle: Puzzle) -> str:
        return _written(puzzle.solution)

    def parse(self, text: str, puzzle: Puzzle) -> list[list[int]] | None:
        """Digits with spaces, line ends, commas, bars or slashes between them."""
        size = len(puzzle.grid)
        digits = re.sub(r"[\s,|/]", "", text, flags=re.ASCII)
        if not re.fullmatch(rf"[1-{size}]{{{size * size}}}", digits, re.ASCII):
            return None
        return [[int(digit) for digit in digits[start : start + size]] for start in range(0, size * size, size)]

    def is_right(self, answer: list[list[int]], puzzle: Puzzle) -> bool:
        rows = zip(answer, puzzle.grid, strict=True)
        keeps_clues = all(clue in (0, digit) for row, clues in rows for digit, clue in zip(row, clues, strict=True))
        return keeps_clues and is_solved(answer)

    def guess(self, puzzle: Puzzle, rng: Random) -> str:
        size = len(puzzle.grid)
        return _written([[digit or rng.randint(1, size) for digit in row] for row in puzzle.grid])


def is_solved(grid: list[list[int]]) -> bool:
    """Whether every row, column and box has each digit once."""
    size = len(grid)
    box = 2 if size == 4 else 3
    wanted = set(range(1, size + 1))
    corners = range(0, size, box)
    boxes = [{grid[r + i][c + j] for i in range(box) for j in range(box)} for r in corners for c in corners]
    return all(group == wanted for group in [*map(set, grid), *map(set, zip(*grid, strict=True)), *boxes])


def _written(grid: list[list[int]]) -> str:
    return " ".join("".join(map(str, row)) for row in grid)
