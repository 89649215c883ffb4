"""The metrics that verl's `file` logger writes, one line a step (verl/utils/tracking.py, FileLogger):

    {"step": 3, "data": {"critic/score/mean": 0.41, "timing_s/gen": 4.2, "actor/grad_norm": 0.7, …}}

>>> log = TrainingLog({1: {"critic/score/mean": 0.25}, 2: {"critic/score/mean": 0.5}})
>>> log.reward()
[(1, 0.25), (2, 0.5)]
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from statistics import fmean

from env_adapter import SettingsError
from metric_names import REWARD_KEYS, validation_reward

Series = list[tuple[int, float]]

STEP_PARTS = {
    "gen": "generate answers (rollout)",
    "reward": "score answers",
    "old_log_prob": "log-probabilities",
    "ref": "reference model",
    "values": "critic values",
    "adv": "advantages",
    "update_critic": "update the critic",
    "update_actor": "update the policy",
    "update_weights": "send weights to the rollout",
    "save_checkpoint": "save checkpoints",
}
"""verl's timers inside `timing_s/step`, in the order in which they run."""
LEAST, MOST = -sys.float_info.max, sys.float_info.max
"""Of a number that is finite; JSON has larger ones."""


@dataclass(frozen=True)
class TrainingLog:
    steps: dict[int, dict[str, float]]
    """Step → its finite metrics."""
    unread_lines: int = 0
    """Lines that are no whole record, as the last one after a kill."""
    not_finite: dict[str, list[int]] = field(default_factory=dict)
    """Metric → the steps in which it was NaN or infinite (null in the file)."""
    went_back: list[tuple[int, int]] = field(default_factory=list)
    """(last step before, step gone on from) of every resume that did steps again."""

    @cached_property
    def in_order(self) -> list[tuple[int, dict[str, float]]]:
        return sorted(self.steps.items())

    def series(self, key: str) -> Series:
        return [(step, data[key]) for step, data in self.in_order if key in data]

    def reward(self) -> Series:
        """The mean training reward by step, empty where the log has none."""
        return next((series for key in REWARD_KEYS if (series := self.series(key))), [])

    def validation(self) -> Series:
        """The mean validation reward by step; over several data sources, their mean."""
        means = ((step, validation_reward(data)) for step, data in self.in_order)
        return [(step, mean) for step, mean in means if mean is not None]

    def step_seconds(self) -> dict[str, float]:
        """Mean seconds of each part of a step, with the remainder as 'other'; empty where nothing was timed."""
        whole = [seconds for _, seconds in self.series("timing_s/step")]
        if not whole:
            return {}
        parts = {}
        for key, label in STEP_PARTS.items():
            if series := self.series(f"timing_s/{key}"):
                parts[label] = sum(seconds for _, seconds in series) / len(whole)
        rest = fmean(whole) - sum(parts.values())
        return parts | ({"other": rest} if rest > 0 else {})


def read_training_log(*paths: Path) -> TrainingLog:
    """The log of a run, from its files in the order of time. Raises SettingsError for one that cannot be opened.

    A line that is no record is counted. Of a step that is there twice, as after a resume, the later values hold; and
    where an earlier step is trained again, those after it are forgotten, as the run has forgotten them.
    """
    steps: dict[int, dict[str, float]] = {}
    lost: dict[str, list[int]] = {}
    went_back = []
    unread, newest = 0, -1
    for line in _lines(paths):
        try:
            record = json.loads(line)
            step, data = int(record["step"]), dict(record["data"])
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
            unread += 1
            continue
        if step < newest and any(not key.startswith("val") for key in data):
            went_back.append((newest, step))
            steps = {each: values for each, values in steps.items() if each <= step}
            newest = step
        newest = max(newest, step)
        kept = steps.setdefault(step, {})
        for key, value in data.items():
            if isinstance(value, int | float) and LEAST <= value <= MOST:
                kept[sys.intern(key)] = float(value)  # thousands of steps have the same names
            elif value is None or isinstance(value, int | float):
                lost.setdefault(key, []).append(step)
    still = {key: [step for step in found if key not in steps.get(step, {key})] for key, found in lost.items()}
    return TrainingLog(steps, unread, {key: found for key, found in still.items() if found}, went_back)


def _lines(paths: Iterable[Path]) -> Iterable[bytes]:
    for path in paths:
        try:
            content = path.read_bytes()
        except OSError as error:
            raise SettingsError(f"--metrics {path}: {error.strerror}") from error
        yield from (line for line in content.splitlines() if line.strip())
