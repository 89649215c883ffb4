"""What a report says, apart from how it looks: the verdict, what to know before trusting it, which samples to show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from evaluation_results import REWARD, Comparison, Evaluation, TaskResult
from training_log import TrainingLog

SAMPLES = 5


@dataclass(frozen=True)
class Contents:
    title: str
    before: Evaluation
    after: Evaluation
    comparison: Comparison
    log: TrainingLog
    base: Evaluation | None = None
    """The model before a warm start, where there was one."""
    phases: dict[str, float] = field(default_factory=dict)
    """Phase → seconds."""
    settings: dict[str, str] = field(default_factory=dict)
    commands: Sequence[str] = ()

    @property
    def verdict(self) -> str:
        """'improved' or 'got worse' where the paired interval leaves 0 out, else 'no clear change'."""
        gain = self.comparison.gains[REWARD]
        if gain.low is not None and gain.low > 0:
            return "improved"
        if gain.high is not None and gain.high < 0:
            return "got worse"
        return "no clear change"

    def columns(self) -> list[tuple[str, str, Evaluation]]:
        """(css class, heading, evaluation) from left to right."""
        first = [("base", "base model", self.base)] if self.base else []
        return [*first, ("before", "before", self.before), ("after", "after", self.after)]

    def notes(self) -> list[str]:
        """What a reader must know before trusting the numbers."""
        found = []
        if not self.log.steps:
            found.append("The metrics file holds no training step: there is no curve to show.")
        elif not self.log.reward():
            found.append("The metrics file holds no training reward: there is no curve to show.")
        if self.log.unread_lines:
            found.append(f"{_some(self.log.unread_lines, 'line')} of the metrics file could not be read: left out.")
        if self.comparison.left_out:
            found.append(f"{_some(self.comparison.left_out, 'task')} with answers of one model only: not in the gain.")
        for _, name, evaluation in self.columns():
            summary = evaluation.summary
            if summary.get("split") == "train":
                found.append(f"“{name}” was measured on training tasks, not on held-out ones.")
            if summary.get("errors"):
                found.append(f"“{name}”: {_some(summary['errors'], 'answer')} lost to faults, not counted.")
            if summary.get("cut_at_max_tokens"):
                found.append(f"“{name}”: {_some(summary['cut_at_max_tokens'], 'answer')} cut at max_tokens.")
        for key in ("sampling", "samples_per_task"):
            values = [evaluation.summary.get(key) for _, _, evaluation in self.columns()]
            if any(value != values[0] for value in values):
                found.append(f"The evaluations differ in {key}: {' / '.join(map(str, values))}.")
        return found


def choose_samples(comparison: Comparison) -> list[tuple[TaskResult, TaskResult]]:
    """Tasks at equal steps from the largest gain to the largest loss: a fair choice, not the best ones."""
    order = sorted(comparison.pairs, key=lambda pair: (pair[0].mean() - pair[1].mean(), pair[0].task_id))
    count = min(SAMPLES, len(order))
    return [order[round(index * (len(order) - 1) / max(1, count - 1))] for index in range(count)]


def _some(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
