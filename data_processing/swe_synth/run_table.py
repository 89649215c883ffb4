"""Which rows of trajectories are written, and where: the longest of each run, a sample of them, split by instance.

    instance_id      run_name   turns
    pandas-1234      run-a      3        one row for each call of the model: the earlier ones are
    pandas-1234      run-a      5        beginnings of the last
    pandas-1234      run-a      7    <-  kept
    pandas-1234      run-b      4    <-  kept, and on the same side as run-a: the bug is the same

What is chosen depends on the seed and on the names, not on the order of the rows: sampling and splitting go by hashes,
so that an instance stays on its side when others come or go. A run takes 28 bytes of memory, a row one.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields
from hashlib import blake2b

import numpy as np

NOWHERE, TRAIN, VAL = 0, 1, 2
ROWS_AT_A_TIME = 200_000


@dataclass(frozen=True)
class Plan:
    """For each row of the source, in its order: NOWHERE, TRAIN or VAL."""

    sides: np.ndarray
    chosen: int  # rows
    sampled_out: int  # rows that would be written but for the number of samples
    instances: int  # of the chosen rows


class RunTable:
    """What the first pass remembers of the rows: of each run the longest usable one, of equally long ones the first."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.num_rows = 0
        self._usable = 0
        self._best = _Rows.none()
        self._later: list[_Rows] = []

    def add(self, instances: Sequence[str], runs: Sequence[str], turns: np.ndarray, usable: np.ndarray) -> None:
        """The next rows of the source. The names of unusable rows are not looked at."""
        chosen = np.flatnonzero(usable)
        names = [(instances[row], runs[row]) for row in chosen]
        self._later.append(
            _Rows(
                numbers=chosen + self.num_rows,
                instances=np.array([self._key(instance) for instance, _ in names], np.uint64),
                runs=np.array([self._key(*both) for both in names], np.uint64),
                turns=turns[chosen].astype(np.int32),
            )
        )
        self.num_rows += len(usable)
        self._usable += len(chosen)
        if sum(len(part.numbers) for part in self._later) > ROWS_AT_A_TIME:
            self._choose_longest()

    @property
    def num_runs(self) -> int:
        return len(self._choose_longest().numbers)

    @property
    def num_instances(self) -> int:
        return len(np.unique(self._choose_longest().instances))

    @property
    def num_shorter(self) -> int:
        """Usable rows in whose place a longer one of their run is kept."""
        return self._usable - self.num_runs

    def plan(self, val_ratio: float, max_samples: int | None, excluded: Collection[int] = ()) -> Plan:
        """Where each row goes. With a `val_ratio` above 0 both sides have an instance as long as there are two."""
        rows = self._choose_longest()
        rows = rows.take(~np.isin(rows.numbers, np.fromiter(excluded, np.int64, len(excluded))))
        available = len(rows.numbers)
        if max_samples is not None and max_samples < available:
            rows = rows.take(np.argsort(rows.runs, kind="stable")[:max_samples])
        sides = np.zeros(self.num_rows, np.int8)
        sides[rows.numbers] = TRAIN
        instances = np.unique(rows.instances)
        if val_ratio and len(instances) > 1:
            number = int(np.searchsorted(instances, np.uint64(min(int(val_ratio * 2**64), 2**64 - 1))))
            last = instances[min(max(number, 1), len(instances) - 1) - 1]
            sides[rows.numbers[rows.instances <= last]] = VAL
        return Plan(sides, len(rows.numbers), available - len(rows.numbers), len(instances))

    def _choose_longest(self) -> _Rows:
        if self._later:
            rows = _Rows.join([self._best, *self._later])
            order = np.lexsort((rows.numbers, -rows.turns, rows.runs))
            first = np.ones(len(order), bool)
            first[1:] = rows.runs[order][1:] != rows.runs[order][:-1]
            self._best, self._later = rows.take(order[first]), []
        return self._best

    def _key(self, *names: str) -> int:
        text = "\0".join([str(self.seed), *names])
        return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little")


@dataclass(frozen=True)
class _Rows:
    """Some usable rows: where they are in the source, the hashes of their names, and how long they are."""

    numbers: np.ndarray
    instances: np.ndarray
    runs: np.ndarray
    turns: np.ndarray

    def take(self, which: np.ndarray) -> _Rows:
        return _Rows(*(getattr(self, field.name)[which] for field in fields(self)))

    @staticmethod
    def join(parts: Sequence[_Rows]) -> _Rows:
        return _Rows(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(_Rows)))

    @staticmethod
    def none() -> _Rows:
        return _Rows(*(np.zeros(0, kind) for kind in (np.int64, np.uint64, np.uint64, np.int32)))
