"""reasoning-gym, loaded where pycosat cannot be installed too.

    from reasoning_gym_package import create_dataset
    create_dataset("gcd", seed=1, size=10)[0]["question"]

The package imports all its datasets at once, and one of them, zebra_puzzles, needs pycosat, which comes as source in C
only: a machine without a compiler has none. An empty module stands in for it there, and that dataset is refused.
Import this module before any of `reasoning_gym`.
"""

from __future__ import annotations

import sys
from types import ModuleType

try:
    import pycosat  # noqa: F401

    HAS_PYCOSAT = True
except ModuleNotFoundError:
    sys.modules["pycosat"] = ModuleType("pycosat")
    HAS_PYCOSAT = False

from reasoning_gym.algorithmic.cryptarithm import (
    CryptarithmConfig,
    CryptarithmDataset,
    verify_cryptarithm_solution,
)
from reasoning_gym.factory import DATASETS, create_dataset
from reasoning_gym.games.mini_sudoku import MiniSudokuConfig, MiniSudokuDataset
from reasoning_gym.games.sudoku import SudokuConfig, SudokuDataset

__all__ = [
    "DATASETS",
    "HAS_PYCOSAT",
    "CryptarithmConfig",
    "CryptarithmDataset",
    "MiniSudokuConfig",
    "MiniSudokuDataset",
    "SudokuConfig",
    "SudokuDataset",
    "create_dataset",
    "verify_cryptarithm_solution",
]
