"""The metrics that verl's `file` logger writes, one line a step (verl/utils/tracking.py, FileLogger):

    {"step": 3, "data": {"critic/score/mean": 0.41, "timing_s/gen": 4.2, "actor/grad_norm": 0.7, …}}

>>> log = TrainingLog({1: {"critic/score/mean": 0.25}, 2: {"critic/score/mean": 0.5}})
>>> log.reward()
[(1, 0.25), (2, 0.5)]
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from env_adapter import SettingsError

Series = list[tuple[int, float]]

REWARD_KEYS = ("critic/score/mean", "critic/rewards/mean")  # score: before a KL penalty, where one is in the reward
VALIDATION_KEY = re.compile(r"val-(core|aux)/.+/(reward|score|acc)/mean@\d+")
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


@dataclass(frozen=True)
class TrainingLog:
    steps: dict[int, dict[str, float]]
    """Step → its finite metrics."""
    unread_lines: int = 0
    """Lines that are no whole record, as the last one after a kill."""

    def series(self, key: str) -> Series:
        return [(step, data[key]) for step, data in sorted(self.steps.items()) if key in data]

    def reward(self) -> Series:
        """The mean training reward by step, empty where the log has none."""
        return next((series for key in REWARD_KEYS if (series := self.series(key))), [])

    def validation(self) -> Series:
        """The mean validation reward by step; over several data sources, their mean."""
        points = []
        for step, data in sorted(self.steps.items()):
            found: dict[str, list[float]] = {}
            for key, value in data.items():
                if match := VALIDATION_KEY.fullmatch(key):
                    found.setdefault(match[2], []).append(value)
            values = found.get("reward") or found.get("score") or found.get("acc")
            if values:
                points.append((step, fmean(values)))
        return points

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


def read_training_log(path: Path) -> TrainingLog:
    """Raises SettingsError for a file that cannot be opened. A line that is no record is counted; of a step that is
    there twice, as after a resume, the later values hold."""
    steps: dict[int, dict[str, float]] = {}
    unread = 0
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise SettingsError(f"--metrics {path}: {error.strerror}") from error
    for line in lines:
        if not line.strip():
            continue
        try:
            record = json.loads(line)
            step, data = int(record["step"]), dict(record["data"])
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
            unread += 1
            continue
        numbers = {key: float(value) for key, value in data.items() if isinstance(value, int | float)}
        finite = {key: value for key, value in numbers.items() if math.isfinite(value)}
        steps.setdefault(step, {}).update(finite)
    return TrainingLog(steps, unread)
