"""The names under which every run logs its metrics, and verl's for the same figures.

>>> documented_names({"critic/score/mean": 0.25, "actor/lr": 6e-5, "timing_per_token_ms/gen": 4.0})
{'train/reward': 0.25, 'train/learning_rate': 6e-05, 'rollout/throughput': 250.0}

`run_tracking.py` adds them to what verl logs; the table of docs/wandb.md is this one.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Any


@dataclass(frozen=True)
class Metric:
    name: str
    sources: tuple[str, ...]
    """verl's names; of several, the first that a run logs. Empty: not verl's, or verl's own name."""
    meaning: str
    convert: Callable[[float], float] = float


REWARD_KEYS = ("critic/score/mean", "critic/rewards/mean")  # score: before a KL penalty, where one is in the reward
VALIDATION_KEY = re.compile(r"val-(core|aux)/.+/(reward|score|acc)/mean@\d+")

METRICS = (
    Metric("train/step", (), "the step: the horizontal axis of W&B's charts"),
    Metric("train/reward", REWARD_KEYS, "mean reward of the step's answers"),
    Metric("train/loss", ("actor/loss",), "the loss that is minimised; of SFT verl's own name"),
    Metric("train/kl_loss", ("actor/kl_loss",), "distance from the reference model, before its coefficient"),
    Metric("train/entropy", ("actor/entropy",), "mean entropy of the policy's next token, in nats"),
    Metric("train/learning_rate", ("actor/lr", "train/lr"), "learning rate"),
    Metric("train/grad_norm", ("actor/grad_norm",), "norm of the gradient before clipping; of SFT verl's own name"),
    Metric("train/throughput", ("perf/throughput",), "tokens of prompts and answers a second and GPU, the whole step"),
    Metric("train/step_seconds", ("perf/time_per_step", "timing_s/step"), "seconds of the whole step"),
    Metric(
        "rollout/throughput",
        ("timing_per_token_ms/gen",),
        "tokens generated a second, while answers are generated",
        lambda milliseconds: 1000 / milliseconds if milliseconds else math.inf,
    ),
    Metric("rollout/response_length", ("response_length/mean",), "mean tokens of an answer"),
    Metric("rollout/prompt_length", ("prompt_length/mean",), "mean tokens of a prompt"),
    Metric("rollout/truncated", ("response_length/clip_ratio",), "share of answers as long as is allowed"),
    Metric("val/reward", ("val-core/…/reward/mean@1",), "mean validation reward; of several environments, their mean"),
    Metric("val/loss", (), "validation loss of SFT: verl's own name"),
    Metric("system/gpu_utilization", (), "percent of the time that the GPUs were busy since the last step, their mean"),
    Metric("system/gpu_memory", (), "GB in use on the fullest GPU, the most since the last step"),
)


def documented_names(data: Mapping[str, Any]) -> dict[str, float]:
    """The figures of one step of verl's under the names of METRICS; a name that verl uses itself is left to it."""
    found = {}
    for metric in METRICS:
        value = next((data[source] for source in metric.sources if source in data), None)
        if metric.name in data or value is None or not _is_finite(value):
            continue
        if math.isfinite(converted := metric.convert(float(value))):
            found[metric.name] = converted
    validation = validation_reward(data)
    return found | ({} if validation is None or "val/reward" in data else {"val/reward": validation})


def validation_reward(data: Mapping[str, Any]) -> float | None:
    """The mean validation reward of a step, over several data sources their mean; None where nothing was validated."""
    found: dict[str, list[float]] = {}
    for key, value in data.items():
        if (match := VALIDATION_KEY.fullmatch(key)) and _is_finite(value):
            found.setdefault(match[2], []).append(float(value))
    values = found.get("reward") or found.get("score") or found.get("acc")
    return fmean(values) if values else None


def _is_finite(value: Any) -> bool:
    try:
        return math.isfinite(float(value))
    except (TypeError, ValueError):
        return False
