"""Which rows of trajectories are written, and where: the longest of each run, a sample of them, split by instance.

    instance_id      run_name   turns
    pandas-1234      run-a      3        one row for each call of the model: the earlier ones are
    pandas-1234      run-a      5        beginnings of the last
    pandas-1234      run-a      7    <-  kept
    pandas-1234      run-b      4    <-  kept, and on the same side as run-a: the bug is the same

What is chosen depends on the seed and on the names, not on the order of the rows: sampling and splitting go by hashes,
so that an instance stays on its side when others come or go. A row takes 21 bytes of memory.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np

NOWHERE, TRAIN, VAL = 0, 1, 2


@dataclass(frozen=True)
class Plan:
    """For each row of the source, in its order: NOWHERE, TRAIN or VAL."""

    sides: np.ndarray
    chosen: int  # rows
    sampled_out: int  # rows that would be written but for the number of samples
    instances: int  # of the chosen rows


class RunTable:
    """What the first pass remembers of the rows."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._instances: list[np.ndarray] = []
        self._runs: list[np.ndarray] = []
        self._turns: list[np.ndarray] = []
        self._usable: list[np.ndarray] = []

    def add(self, instances: Sequence[str], runs: Sequence[str], turns: np.ndarray, usable: np.ndarray) -> None:
        """The next rows of the source."""
        self._instances.append(np.array([self._key(name) for name in instances], np.uint64))
        self._runs.append(np.array([self._key(*names) for names in zip(instances, runs, strict=True)], np.uint64))
        self._turns.append(turns.astype(np.int32))
        self._usable.append(usable)

    def finish(self) -> None:
        """Choose the longest usable row of each run; of equally long ones the first."""
        self.instances = _joined(self._instances, np.uint64)
        self.runs = _joined(self._runs, np.uint64)
        turns, usable = _joined(self._turns, np.int32), _joined(self._usable, bool)
        self._instances, self._runs, self._turns, self._usable = [], [], [], []
        rows = np.flatnonzero(usable)
        order = rows[np.lexsort((rows, -turns[rows], self.runs[rows]))]
        first = np.ones(len(order), bool)
        first[1:] = self.runs[order][1:] != self.runs[order][:-1]
        self.longest = np.sort(order[first])
        self.num_rows = len(usable)
        self.num_runs = len(self.longest)
        self.num_instances = len(np.unique(self.instances[self.longest]))
        self.shorter = len(rows) - len(self.longest)

    def plan(self, val_ratio: float, max_samples: int | None, excluded: Collection[int] = ()) -> Plan:
        """Where each row goes. With a `val_ratio` above 0 both sides have an instance as long as there are two."""
        rows = self.longest[~np.isin(self.longest, np.fromiter(excluded, np.int64, len(excluded)))]
        available = len(rows)
        if max_samples is not None and max_samples < available:
            rows = rows[np.argsort(self.runs[rows], kind="stable")[:max_samples]]
        sides = np.zeros(self.num_rows, np.int8)
        sides[rows] = TRAIN
        instances = np.unique(self.instances[rows])
        if val_ratio and len(instances) > 1:
            number = int(np.searchsorted(instances, np.uint64(min(int(val_ratio * 2**64), 2**64 - 1))))
            last = instances[min(max(number, 1), len(instances) - 1) - 1]
            sides[rows[self.instances[rows] <= last]] = VAL
        return Plan(sides, len(rows), available - len(rows), len(instances))

    def _key(self, *names: str) -> int:
        text = "\0".join([str(self.seed), *names])
        return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little")


def _joined(parts: list[np.ndarray], kind: type) -> np.ndarray:
    return np.concatenate(parts) if parts else np.zeros(0, kind)
