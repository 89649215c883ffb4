"""What a training run has left in its directory, read for a report; a part that is missing stays empty.

train/artifacts/RL/checkpoints/my-run/
    metrics.jsonl, metrics-until-<time>.jsonl     what verl's file logger wrote, start by start
    starts.jsonl                                  {"started": …, "command": …, "commit": …, "versions": {…}, …}
    validation/<step>.jsonl                       the answers of one validation (run_report/samples.py)

run = read_run(find_run("my-run", root))
"""

from __future__ import annotations

import difflib
import json
import re
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

from env_adapter import SettingsError
from training_log import TrainingLog, read_training_log

RUN_FOLDERS = ("train/artifacts/RL/checkpoints", "train/artifacts/checkpoints")
"""Of GRPO and of SFT, below the repository."""
NEWEST_SHOWN = 5


@dataclass(frozen=True)
class Run:
    directory: Path
    log: TrainingLog
    starts: list[dict[str, Any]]
    """Of the first node, where a run has several."""
    exits: list[dict[str, Any]]
    total_steps: int | None
    """None where no trainer has said it."""
    notes: list[str]
    """What could not be read."""

    @property
    def name(self) -> str:
        return self.directory.name

    @cached_property
    def keys(self) -> set[str]:
        """Everything that was logged."""
        return set(chain.from_iterable(self.log.steps.values()))

    @cached_property
    def is_sft(self) -> bool:
        """By what was logged; by the command where nothing was."""
        if self.keys:
            rl = any(key.startswith(("actor/", "critic/", "val-")) for key in self.keys)
            return bool(self.keys & {"train/loss", "val/loss"}) and not rl
        return any("sft_trainer" in str(start.get("command")) for start in self.starts)

    def ended(self, start: dict[str, Any]) -> str | None:
        """How a start ended, in words; None where it was not recorded: it still runs, or is older than such records."""
        number = start.get("start")
        found = [each for each in self.exits if number is not None and each.get("start") == number]
        return str(found[-1].get("reason") or f"status {found[-1].get('status')}") if found else None

    @property
    def command(self) -> str:
        """The latest one, '' where none was recorded."""
        return str(self.starts[-1].get("command") or "") if self.starts else ""


def find_run(text: str, root: Path) -> Path:
    """The directory that `text` is or names (WANDB_EXP). Raises SettingsError, with the nearest names."""
    given = Path(text).expanduser()
    for place in (given, root / given):
        if place.is_dir() and (_is_run(place) or len(given.parts) > 1):
            if not _is_run(place):
                raise SettingsError(f"{place} is no run: it has neither metrics.jsonl nor starts.jsonl")
            return place.resolve()
    runs = [run for folder in RUN_FOLDERS for run in sorted((root / folder).glob("*")) if _is_run(run)]
    named = [run for run in runs if run.name == text]
    if len(named) > 1:
        raise SettingsError(f"{text} names two runs, {' and '.join(map(str, named))}: give the directory of one")
    if named:
        return named[0]
    names = sorted({run.name for run in runs})
    if not names:
        raise SettingsError(
            f"there is no run {text}: {' and '.join(str(root / each) for each in RUN_FOLDERS)} have none"
        )
    if near := difflib.get_close_matches(text, names, n=NEWEST_SHOWN, cutoff=0.5):
        raise SettingsError(f"there is no run {text}. Did you mean {' or '.join(near)}?")
    newest = sorted(runs, key=lambda run: run.stat().st_mtime, reverse=True)[:NEWEST_SHOWN]
    raise SettingsError(f"there is no run {text}. The newest are {', '.join(run.name for run in newest)}")


def read_run(directory: Path) -> Run:
    """Raises SettingsError for a file that cannot be opened; what cannot be understood is noted."""
    notes: list[str] = []
    parts = [*sorted(directory.glob("metrics-until-*.jsonl")), directory / "metrics.jsonl"]
    files = [path for path in parts if path.exists()]
    log = read_training_log(*files) if files else TrainingLog({})
    if not files:
        notes.append("There is no metrics.jsonl: no step was logged.")
    elif not log.steps:
        notes.append("metrics.jsonl holds no step: there is no curve to show.")
    starts = read_records(directory / "starts.jsonl", notes)
    if not starts:
        notes.append("There is no starts.jsonl: command, versions and commit are not known.")
    starts = [start for start in starts if not start.get("node")]
    return Run(directory, log, starts, read_records(directory / "exits.jsonl", notes), _total_steps(directory), notes)


def read_records(path: Path, notes: list[str]) -> list[dict[str, Any]]:
    """The JSON objects of a file of lines, [] where there is none; lines that are none are counted in `notes`."""
    if not path.is_file():
        return []
    records, unread = [], 0
    with path.open("rb") as file:
        for line in file:
            if not line.strip():
                continue
            try:
                record = json.loads(line)
            except (ValueError, RecursionError):
                record = None
            if isinstance(record, dict):
                records.append(record)
            else:
                unread += 1
    if unread:
        notes.append(f"{unread} {'line' if unread == 1 else 'lines'} of {path.name} could not be read: left out.")
    return records


def _total_steps(directory: Path) -> int | None:
    path = directory / "total_steps.txt"
    content = path.read_text(encoding="utf-8", errors="replace").strip() if path.is_file() else ""
    return int(content) if re.fullmatch(r"[0-9]{1,12}", content) else None


def _is_run(directory: Path) -> bool:
    return any((directory / name).is_file() for name in ("metrics.jsonl", "starts.jsonl"))
