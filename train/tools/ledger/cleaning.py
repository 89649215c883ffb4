"""What of the runs nobody will miss: offered, with its size and the reason, and removed while the run's lock is held.

- runs that ended without a checkpoint: failed, stopped or killed, an hour ago or more;
- checkpoints that were never whole: newer than the latest whole one, in a run that is over;
- optimizer states of finished runs, but for those of the latest checkpoint: weights stay, and can be merged.
"""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ledger.listing import Run, describe, size_of
from ledger.pruning import REMOVED, latest_step

ENDED = ("failed", "stopped", "killed")
LEAST_AGE_S = 3600
"""Someone may be looking at what has just failed."""


@dataclass(frozen=True)
class Waste:
    run: Path
    path: Path
    reason: str
    bytes: int


def find_waste(runs: Sequence[Run]) -> list[Waste]:
    return [waste for run in runs for waste in waste_of(run)]


def waste_of(run: Run) -> Iterator[Waste]:
    directory = Path(run.directory)
    if run.state in ENDED and not run.checkpoints and run.age_s >= LEAST_AGE_S:
        yield Waste(directory, directory, f"{run.state}, and it has no checkpoint", run.bytes)
        return
    if run.state not in ("finished", *ENDED) or run.age_s < LEAST_AGE_S:
        return
    latest = latest_step(directory)
    for path in [*directory.glob("global_step_*"), *directory.glob(f"{REMOVED}*")]:
        step = int(path.name.rpartition("_")[2])
        if path.name.startswith(REMOVED) or latest is None or step > latest:
            yield Waste(directory, path, "a checkpoint that is not whole", size_of(path))
        elif run.state == "finished" and step != latest:
            for file in path.rglob("optim_world_size_*.pt"):
                yield Waste(directory, file, "the optimizer of an earlier step of a finished run", size_of(file))


def remove(waste: Sequence[Waste]) -> list[Waste]:
    """Removes what is still waste, and returns it: a run that has started meanwhile is left alone."""
    removed = []
    for item in waste:
        if not any(other.path == item.path for other in waste_of(describe(item.run))):
            continue
        with (item.run / ".lock").open("ab") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            if item.path.is_dir():
                shutil.rmtree(item.path)
            else:
                item.path.unlink()
        removed.append(item)
    return removed
