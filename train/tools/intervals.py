"""95 % intervals of mean rewards: how far a measured gain can be trusted.

>>> print(mean_interval([0.0, 1.0, 1.0, 0.0, 1.0, 1.0], bounds=(0.0, 1.0)))
0.667 [0.125, 1.000]

The unit is the task: average the samples of one task first. A pair of evaluations is compared task by task, which takes
the difference between easy and hard tasks out of the error. Both follow "Adding Error Bars to Evals" (Miller, 2024),
with Student's t in place of the normal for small numbers of tasks.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist, fmean, stdev

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    mean: float
    low: float | None
    """None where a single value says nothing of the spread."""
    high: float | None
    n: int
    """The number of tasks."""

    def __str__(self) -> str:
        if self.low is None or self.high is None:
            return f"{self.mean:.3f} (one task)"
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]"


def mean_interval(values: Sequence[float], bounds: tuple[float, float] | None = None) -> Interval:
    """The mean of independent values and its 95 % t interval, cut to `bounds`, the range that values can take.

    Where all values are equal the spread is unknown, not zero: with `bounds`, the interval then allows for outcomes
    that were not met, each of a share of at most 1 - 0.025^(1/n) (exact binomial, the "rule of three"). Raises
    ValueError for no values and for one that is not finite.
    """
    n = len(values)
    if n == 0:
        raise ValueError("no values: there is nothing to average")
    if not all(math.isfinite(value) for value in values):
        raise ValueError("a value is not finite")
    deviation = stdev(values) if n > 1 else 0.0
    return _interval(n, fmean(values), deviation, max(values) == min(values), bounds)


class RunningMean:
    """The same for values that come one by one: memory does not grow with their number."""

    def __init__(self) -> None:
        self.n = 0
        self.low, self.high = math.inf, -math.inf
        self._mean = self._squares = 0.0

    def add(self, value: float) -> None:
        """Welford's update. Raises ValueError for a value that is not finite."""
        if not math.isfinite(value):
            raise ValueError("a value is not finite")
        self.n += 1
        step = value - self._mean
        self._mean += step / self.n
        self._squares += step * (value - self._mean)
        self.low, self.high = min(self.low, value), max(self.high, value)

    def interval(self, bounds: tuple[float, float] | None = None) -> Interval:
        """What `mean_interval` gives for all values so far. Raises ValueError for none."""
        if not self.n:
            raise ValueError("no values: there is nothing to average")
        deviation = math.sqrt(self._squares / (self.n - 1)) if self.n > 1 else 0.0
        return _interval(self.n, self._mean, deviation, self.low == self.high, bounds)


def paired_difference(
    before: Mapping[Hashable, float], after: Mapping[Hashable, float], bounds: tuple[float, float] | None = None
) -> Interval:
    """The mean of after - before over the tasks that both have, with its 95 % interval.

    Keys tell a task: (task id, prompt) for evaluations. Raises ValueError where the two share no task.
    """
    shared = [key for key in before if key in after]
    if not shared:
        raise ValueError("the two have no task in common")
    return mean_interval([after[key] - before[key] for key in shared], bounds)


def _interval(n: int, mean: float, deviation: float, equal: bool, bounds: tuple[float, float] | None) -> Interval:
    if n == 1:
        return Interval(mean, None, None, 1)
    if equal:
        if bounds is None:
            return Interval(mean, mean, mean, n)
        unseen = 1 - ((1 - CONFIDENCE) / 2) ** (1 / n)
        return Interval(mean, mean - unseen * (mean - bounds[0]), mean + unseen * (bounds[1] - mean), n)
    half = student_t(n - 1) * deviation / math.sqrt(n)
    low, high = mean - half, mean + half
    if bounds is not None:
        low, high = max(low, bounds[0]), min(high, bounds[1])
    return Interval(mean, low, high, n)


def student_t(df: int) -> float:
    """The 97.5 % quantile of Student's t: exact for 1 and 2 degrees of freedom, within 0.2 % above.

    Cornish-Fisher expansion around the normal quantile (Abramowitz & Stegun 26.7.5): no scipy is needed for this.
    """
    p = (1 + CONFIDENCE) / 2
    if df == 1:
        return math.tan(math.pi * (p - 0.5))
    if df == 2:
        return (2 * p - 1) * math.sqrt(2 / (4 * p * (1 - p)))
    z = NormalDist().inv_cdf(p)
    return (
        z
        + (z**3 + z) / (4 * df)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * df**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * df**3)
        + (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / (92160 * df**4)
    )
