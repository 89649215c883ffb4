"""A run's metrics.jsonl: each step once, in order, whatever was killed and resumed.

    {"step": 57, "data": {"critic/score/mean": 0.41, …}}        as verl's `file` logger writes it

verl logs a step twice where it also validates, and a run that was killed after step 57 does 51 to 57 again from the
checkpoint of step 50. The lines that such a start replaces go to metrics-replaced.jsonl: nothing is lost.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atomic_file import atomic_file

METRICS = "metrics.jsonl"
REPLACED = "metrics-replaced.jsonl"
TOTAL_STEPS = "total_steps.txt"

Steps = dict[int, dict[str, Any]]


@dataclass(frozen=True)
class Tidied:
    steps: int
    """In the file now."""
    replaced: int = 0
    """Moved to metrics-replaced.jsonl."""
    unread: int = 0
    """Lines that are no whole record, as the last one after a kill or on a full disk: left out."""


def read_steps(path: Path) -> tuple[Steps, int]:
    """Step → its data, of several lines the later values; and the number of lines that are no whole record."""
    steps: Steps = {}
    unread = 0
    for line in path.read_bytes().splitlines():
        try:
            record = json.loads(line)
            step, data = record["step"], dict(record["data"])
            if not isinstance(step, int):
                raise TypeError(step)
        except (ValueError, KeyError, TypeError, RecursionError):
            unread += bool(line.strip())
            continue
        steps.setdefault(step, {}).update(data)
    return dict(sorted(steps.items())), unread


def tidy_metrics(run: Path, resumed_from: int | None = None) -> Tidied:
    """Rewrites the file where that changes it. With `resumed_from`, a start goes on from this step (0: from nothing)
    and will do the later ones again: they are moved. Raises OSError as writing does."""
    path = run / METRICS
    if not path.exists():
        return Tidied(0)
    steps, unread = read_steps(path)
    late: Steps = {}
    if resumed_from is not None:
        late = {step: data for step, data in steps.items() if step > resumed_from or resumed_from == 0}
    if late:
        with (run / REPLACED).open("ab") as file:
            file.write(_lines(late))
    text = _lines({step: data for step, data in steps.items() if step not in late})
    if late or unread or path.read_bytes().count(b"\n") != len(steps):
        with atomic_file(path) as temporary:
            temporary.write_bytes(text)
    return Tidied(len(steps) - len(late), len(late), unread)


def _lines(steps: Steps) -> bytes:
    lines = (json.dumps({"step": step, "data": data}, separators=(",", ":")) for step, data in steps.items())
    return "".join(line + "\n" for line in lines).encode()


def total_steps(run: Path) -> int | None:
    """The step at which the run ends, or None where no trainer has said it yet."""
    try:
        return int((run / TOTAL_STEPS).read_text())
    except (FileNotFoundError, ValueError):  # not there, or being written
        return None
