"""The rows of a long run, kept so that the same command goes on after an interruption.

    with kept_rows(Path("out/tasks.jsonl"), {"seed": 0, "split": "train"}) as kept:
        for row in kept.check(ids, task_id_of): …      # what an earlier run of the same arguments left
        kept.append(rows)
        kept.publish()

Beside out/tasks.jsonl stand `.tasks.jsonl.partial`, its rows so far as JSON lines, and `.tasks.jsonl.journal`, the
arguments that they were made with. Both go when the file is whole, and where no row was made.
"""

from __future__ import annotations

import fcntl
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from atomic_file import check_writable
from env_adapter import SettingsError

Row = dict[str, Any]

LOCK_S = 3.0
"""How long to wait for the lock of another run: one that was killed a moment ago may not be gone yet, nor a program
that it was about to start. Such a lock was held for up to 10 ms on two busy cores."""


class KeptRows:
    """One run's rows. Made by `kept_rows`, which holds the lock and cleans up."""

    def __init__(self, output: Path, partial: BinaryIO, path: Path) -> None:
        self.output, self.path = output, path
        self._partial = partial
        self.number = 0
        """How many rows there are, once `check` has counted those of an earlier run."""

    def check(self, ids: Sequence[int], task_id_of: Callable[[Row], int]) -> Row | None:
        """Counts the rows that stand, and returns the last, or None without any.

        Rows are in the order of `ids`, of which some may have none. A line that a crash cut short or spoilt ends them:
        it is removed, with all that follow it.
        """
        place = {task_id: index for index, task_id in enumerate(ids)}
        last, last_place, end = None, -1, 0
        self._partial.seek(0)
        for line in self._partial:
            try:
                row = json.loads(line)
                here = place[task_id_of(row)]
            except (ValueError, KeyError, TypeError):
                break
            if here <= last_place or not line.endswith(b"\n"):
                break
            last, last_place, end = row, here, end + len(line)
            self.number += 1
        self._partial.truncate(end)
        self._partial.seek(end)
        return last

    def read(self) -> list[Row]:
        """Counts the rows that stand, in whatever order, and returns them; a line that a crash cut short ends them."""
        rows, end = [], 0
        self._partial.seek(0)
        for line in self._partial:
            try:
                rows.append(json.loads(line))
            except ValueError:
                break
            if not line.endswith(b"\n"):
                rows.pop()
                break
            end += len(line)
        self._partial.truncate(end)
        self._partial.seek(end)
        self.number = len(rows)
        return rows

    def append(self, rows: Sequence[Row]) -> None:
        """Adds rows; they outlive this process from here on."""
        self._partial.write(b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows))
        self._partial.flush()
        self.number += len(rows)

    def batches(self, size: int) -> Iterator[list[Row]]:
        """All rows, `size` at a time."""
        self._partial.seek(0)
        batch: list[Row] = []
        for line in self._partial:
            batch.append(json.loads(line))
            if len(batch) == size:
                yield batch
                batch = []
        if batch:
            yield batch

    def publish(self) -> None:
        """Give the rows, as JSON lines, the name of the output."""
        os.fsync(self._partial.fileno())
        self.path.replace(self.output)


@contextmanager
def kept_rows(output: Path, arguments: Mapping[str, Any], what: str = "rows") -> Iterator[KeptRows]:
    """Yields the rows that a run with these arguments left, or none. `what` is what the user is told is kept.

    Raises SettingsError where another run is at work on this output, and where rows of other arguments are in the way.
    """
    if output.is_dir():
        raise SettingsError(f"--output {output} is a directory: name the file")
    check_writable(output.parent)
    journal = output.with_name(f".{output.name}.journal")
    path = output.with_name(f".{output.name}.partial")
    with _locked(journal, output) as file:
        if path.exists() and path.stat().st_size:
            _check_arguments(file.read(), arguments, journal, path)
        else:
            file.seek(0)
            file.truncate()
            file.write(json.dumps(arguments, indent=2, sort_keys=True) + "\n")
            file.flush()
            os.fsync(file.fileno())
        path.touch()
        finished = False
        with path.open("r+b") as partial:
            kept = KeptRows(output, partial, path)
            try:
                yield kept
                finished = True
            finally:
                if finished or not os.fstat(partial.fileno()).st_size:
                    path.unlink(missing_ok=True)
                    journal.unlink()
                else:
                    print(f"{kept.number} {what} are kept: the same command goes on after them", file=sys.stderr)


@contextmanager
def _locked(journal: Path, output: Path) -> Iterator[Any]:
    deadline = time.monotonic() + LOCK_S
    while True:
        file = journal.open("a+", encoding="utf-8")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if journal.exists() and os.path.samestat(os.fstat(file.fileno()), journal.stat()):
                file.seek(0)
                break
            file.close()  # its last owner removed it between our opening and locking it
        except BlockingIOError:
            file.close()
            if time.monotonic() > deadline:
                raise SettingsError(
                    f"another run is writing {output}: wait for it, or choose another --output"
                ) from None
            time.sleep(0.05)
    with file:
        yield file


def _check_arguments(recorded: str, arguments: Mapping[str, Any], journal: Path, path: Path) -> None:
    """Raises SettingsError that names what differs."""
    try:
        before = json.loads(recorded)
        differing = sorted(key for key in {*before, *arguments} if before.get(key) != arguments.get(key))
    except (ValueError, TypeError, AttributeError) as error:
        raise SettingsError(
            f"{path} was left by an interrupted run, and {journal} does not tell its arguments ({error}): "
            f"remove {path} to start anew"
        ) from error
    if differing:
        changes = "; ".join(f"{key} was {before.get(key)!r} and is {arguments.get(key)!r}" for key in differing)
        raise SettingsError(
            f"{path} was left by an interrupted run with other arguments ({changes}): "
            f"give its arguments to go on with it, or remove {path} to start anew"
        )
