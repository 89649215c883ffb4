"""The runs below some directories, with what their ledgers say of each.

[Run(name="my-run", kind="GRPO", state="failed", reason="failed with status 1: …", step=57, total=200, …), …]
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ledger.metrics_file import METRICS, read_steps, total_steps
from ledger.pruning import LATEST, latest_step
from ledger.records import EXITS, STARTS, starts_of, state_of

UNITS = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))
VALUES = {  # what a run is judged by, and the metric that has it: ours first, then verl's, which older runs have alone
    "reward": ("train/reward", "critic/score/mean"),
    "loss": ("train/loss",),
}


@dataclass(frozen=True)
class Run:
    name: str
    directory: str
    kind: str
    state: str
    """running, finished, stopped, failed, killed or unknown."""
    reason: str
    step: int | None
    """The last one that is logged or saved."""
    total: int | None
    checkpoints: list[int]
    value_name: str
    """reward or loss."""
    value: float | None
    bytes: int
    age_s: float
    """Since the run's last sign of life."""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def is_run(directory: Path) -> bool:
    return (
        any((directory / name).is_file() for name in (STARTS, METRICS, LATEST))
        or next(directory.glob("global_step_*"), None) is not None
    )


def runs_in(parents: Sequence[Path]) -> list[Run]:
    """Those whose directories lie directly below the parents, the latest last."""
    found = {path.resolve() for parent in parents if parent.is_dir() for path in parent.iterdir() if path.is_dir()}
    return sorted((describe(path) for path in found if is_run(path)), key=lambda run: -run.age_s)


def describe(directory: Path) -> Run:
    state, starts = state_of(directory), starts_of(directory)
    steps = read_steps(directory / METRICS)[0] if (directory / METRICS).is_file() else {}
    checkpoints = sorted(int(path.name.rpartition("_")[2]) for path in directory.glob("global_step_[0-9]*"))
    kind = starts[-1].get("fingerprint", {}).get("kind", "") if starts else ""
    kind = kind or ("GRPO" if any(directory.glob("global_step_*/actor")) else "?")
    value_name = "loss" if kind == "SFT" else "reward"
    values = [data[key] for data in steps.values() for key in VALUES[value_name] if data.get(key) is not None]
    return Run(
        name=directory.name,
        directory=str(directory),
        kind=kind,
        state=state.name,
        reason=state.reason,
        step=max([*list(steps)[-1:], latest_step(directory) or 0], default=0) or None,
        total=total_steps(directory),
        checkpoints=checkpoints,
        value_name=value_name,
        value=values[-1] if values else None,
        bytes=size_of(directory),
        age_s=max(0.0, time.time() - last_sign(directory)),
    )


def last_sign(directory: Path) -> float:
    times = [
        (directory / name).stat().st_mtime for name in (STARTS, EXITS, METRICS, LATEST) if (directory / name).exists()
    ]
    return max(times, default=directory.stat().st_mtime)


def size_of(path: Path) -> int:
    """Bytes of a file or of all files in a directory; one that is removed meanwhile counts nothing."""
    if not path.is_dir():
        return path.lstat().st_size
    size = 0
    for folder, _, files in os.walk(path):
        for name in files:
            try:
                size += os.lstat(Path(folder, name)).st_size
            except FileNotFoundError:
                continue
    return size


def in_words(seconds: float) -> str:
    """'3 d', '20 min', the largest unit of which there is one."""
    unit, length = next(((unit, length) for unit, length in UNITS if seconds >= length), UNITS[-1])
    return f"{seconds / length:.0f} {unit}"


def in_bytes(size: int) -> str:
    """'1.2 GB', '340 MB', '12 kB'."""
    for unit, length, digits in (("GB", 1e9, 1), ("MB", 1e6, 0)):
        if size >= length:
            return f"{size / length:.{digits}f} {unit}"
    return f"{size / 1e3:.0f} kB"
