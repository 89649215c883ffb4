"""Means with 95 % intervals of a stream of scores, overall and for each type of task: memory does not grow with it.

    type         tasks  answers  reward  95 % interval  correct  answered  legal  value
    tic_tac_toe    512      512   0.874  0.851 … 0.897    0.748     1.000  1.000  0.874
    all            512      512   0.874  0.851 … 0.897    0.748     1.000  1.000  0.874

The unit of an interval is the task: answers to one task that follow each other are averaged first.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import asdict
from typing import Any

from intervals import RunningMean

REWARD, CORRECT, ALL = "reward", "correct", "all"


class Group:
    """The scores of some tasks."""

    def __init__(self) -> None:
        self.answers = 0
        self._rewards: dict[str, RunningMean] = {}
        self._metrics: dict[str, RunningMean] = {}
        self._task: Hashable = None
        self._open: list[tuple[Mapping[str, float], Mapping[str, float]]] = []

    def add(self, task: Hashable, rewards: Mapping[str, float], metrics: Mapping[str, float]) -> None:
        """One answer's reward and whether it is correct, and its metrics."""
        if task != self._task:
            self.close()
            self._task = task
        self.answers += 1
        self._open.append((rewards, metrics))

    def close(self) -> None:
        """Count the answers to the last task: no more of them follow."""
        for index, means in ((0, self._rewards), (1, self._metrics)):
            for name in dict.fromkeys(name for answer in self._open for name in answer[index]):
                values = [answer[index][name] for answer in self._open if name in answer[index]]
                means.setdefault(name, RunningMean()).add(sum(values) / len(values))
        self._open = []

    def report(self) -> dict[str, Any]:
        """Counts and means: {"answers": 512, "tasks": 512, "reward": {"mean": 0.87, "low": …, "high": …, "n": …}, …}"""
        return {
            "answers": self.answers,
            "tasks": self._rewards[REWARD].n if self._rewards else 0,
            **{name: asdict(mean.interval((0.0, 1.0))) for name, mean in self._rewards.items()},
            "metrics": {
                name: asdict(mean.interval((0.0, 1.0) if mean.low >= 0 and mean.high <= 1 else None))
                for name, mean in self._metrics.items()
            },
        }


class Tally:
    """Scores by type of task, and of all."""

    def __init__(self, correct_from: float) -> None:
        self._correct_from = correct_from
        self._all = Group()
        self._types: dict[str, Group] = {}

    def add(self, kind: str, task: Hashable, value: float, metrics: Mapping[str, float]) -> None:
        """The score of one answer."""
        rewards = {REWARD: value, CORRECT: float(value >= self._correct_from)}
        self._all.add(task, rewards, metrics)
        self._types.setdefault(kind, Group()).add(task, rewards, metrics)

    def report(self) -> dict[str, Any]:
        """{"overall": …, "types": {"tic_tac_toe": …}}, of `Group.report`s. No more scores may be added."""
        for group in (self._all, *self._types.values()):
            group.close()
        return {
            "overall": self._all.report(),
            "types": {name: self._types[name].report() for name in sorted(self._types)},
        }


def table(report: Mapping[str, Any]) -> str:
    """The report of a Tally as aligned columns, a type a line."""
    lines = [*report["types"].items(), (ALL, report["overall"])]
    metrics = list(dict.fromkeys(name for _, group in lines for name in group["metrics"]))
    rows = [["type", "tasks", "answers", REWARD, "95 % interval", CORRECT, *metrics]]
    for name, group in lines:
        shown = [group.get(REWARD), group.get(CORRECT), *(group["metrics"].get(metric) for metric in metrics)]
        means = ["-" if each is None else f"{each['mean']:.3f}" for each in shown]
        rows.append([name, str(group["tasks"]), str(group["answers"]), means[0], _spread(shown[0]), *means[1:]])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip() for row in rows
    )


def _spread(interval: Mapping[str, Any] | None) -> str:
    if interval is None or interval["low"] is None:
        return "-"
    return f"{interval['low']:.3f} … {interval['high']:.3f}"
