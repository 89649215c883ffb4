"""The seeds of one task type whose puzzles differ.

    seeds = DistinctSeeds(family, parameters, seed=0)
    seeds[3]        # 4, where the puzzle of seed 2 had been that of seed 0

They are found one after the other and kept, so that number k is the same in every process.
"""

from __future__ import annotations

import threading
from hashlib import sha256
from random import Random
from typing import Any

from env_adapter import SettingsError
from logic.family import Family

MAX_REPEATS = 2000
"""Draws in a row that bring nothing new, until the puzzles count as used up."""


def make_puzzle(family: Family[Any, Any], parameters: Any, seed: int, number: int) -> Any:
    """The puzzle that the settings' seed and the task's own seed give: a pure function of its arguments."""
    return family.make(Random(f"{seed}:{family.name}:{number}:{parameters}"), parameters)


class DistinctSeeds:
    """Where equal draws are out of question, seed k itself; else the seed of the k-th new puzzle."""

    def __init__(self, family: Family[Any, Any], parameters: Any, seed: int) -> None:
        self._family, self._parameters, self._seed = family, parameters, seed
        self._is_large = family.never_repeats(parameters)
        self._found: list[int] = []
        self._seen: set[bytes] = set()
        self._next = 0
        self._lock = threading.Lock()

    def __getitem__(self, index: int) -> int:
        """Raises SettingsError when there are fewer puzzles."""
        if self._is_large:
            return index
        with self._lock:
            while len(self._found) <= index:
                self._find_one()
            return self._found[index]

    def _find_one(self) -> None:
        for number in range(self._next, self._next + MAX_REPEATS):
            puzzle = make_puzzle(self._family, self._parameters, self._seed, number)
            digest = sha256(self._family.key(puzzle).encode()).digest()[:12]
            if digest not in self._seen:
                self._seen.add(digest)
                self._found.append(number)
                self._next = number + 1
                return
        raise SettingsError(
            f"num_tasks_per_type: {self._family.name} with {self._parameters} has hardly more than "
            f"{len(self._found)} different puzzles: the next {MAX_REPEATS} draws were none. Ask for fewer, or for more "
            "difficult ones"
        )
