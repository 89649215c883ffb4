"""The output of synthesize_swe_tasks.py: a directory that the swe-synth environment reads as its cache_dir.

    tasks/task_0.json  task_1.json …            one row of SWE-bench each
    tasks/repos/pypi__toolz.git                 bare; a branch for the base_commit of each task
    tasks/made_with.json                        the arguments, and what came of the candidates

While a run is under way, or was interrupted, `.trials.partial` and `.trials.journal` tell how far it has come.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from atomic_file import atomic_file
from env_adapter import SettingsError
from swe.rows import SweRow
from swe_tasks.git_commands import git
from swe_tasks.source_repo import SourceRepo
from task_rows.kept_rows import KeptRows, kept_rows

SUMMARY = "made_with.json"
_SCRATCH = ".scratch"
_BASE = ".base.json"


class TaskFiles:
    """One run's output. Made by `task_files`, which holds the lock."""

    def __init__(self, output: Path, arguments: Mapping[str, Any], kept: KeptRows) -> None:
        self.output, self.arguments = output, dict(arguments)
        self.scratch = output / _SCRATCH
        self.tried: Counter[tuple[str, str]] = Counter()
        """(kind, outcome) → how many candidates."""
        self.done: Counter[str] = Counter()
        """kind → how many candidates were tried."""
        self._kept = kept

    @property
    def number(self) -> int:
        """Of tasks so far."""
        return sum(number for (_, outcome), number in self.tried.items() if outcome == "kept")

    @property
    def trials(self) -> int:
        return sum(self.done.values())

    def of_kind(self, kind: str) -> int:
        """Tasks of a kind so far."""
        return self.tried[kind, "kept"]

    def resume(self, most: int) -> None:
        """Counts what an interrupted run has tried; `most` is how many candidates there are."""
        self._kept.check(range(most), lambda row: row["trial"])
        for rows in self._kept.batches(1000):
            for row in rows:
                self._count(row["kind"], row["outcome"])

    def add(self, kind: str, outcome: str, row: SweRow | None, repo: SourceRepo) -> None:
        """One more trial; its task, where it has one, outlives this process from here on."""
        if row is not None:
            git(["update-ref", f"refs/heads/{row.instance_id}", row.base_commit], repo.git_dir)
            with atomic_file(self.output / f"task_{self.number}.json") as file:
                file.write_text(json.dumps(row.to_dict(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        self._kept.append([{"trial": self.trials, "kind": kind, "outcome": outcome}])
        self._count(kind, outcome)

    def once(self, make: Any) -> Any:
        """What `make()` gives, JSON values; made once for a run and its resumptions."""
        path = self.output / _BASE
        if not path.exists():
            with atomic_file(path) as file:
                file.write_text(json.dumps(make()), encoding="utf-8")
        return json.loads(path.read_text(encoding="utf-8"))

    def finish(self, repo: SourceRepo) -> None:
        """Write what came of it, and take away what no task needs."""
        git(["gc", "--quiet", "--prune=now"], repo.git_dir)
        outcomes: dict[str, dict[str, int]] = {}
        for (kind, outcome), number in sorted(self.tried.items()):
            outcomes.setdefault(kind, {})[outcome] = number
        summary = {"arguments": self.arguments, "tasks": self.number, "candidates": outcomes}
        with atomic_file(self.output / SUMMARY) as file:
            file.write_text(json.dumps(summary, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        (self.output / _BASE).unlink(missing_ok=True)

    def _count(self, kind: str, outcome: str) -> None:
        self.tried[kind, outcome] += 1
        self.done[kind] += 1


@contextmanager
def task_files(output: Path, arguments: Mapping[str, Any]) -> Iterator[TaskFiles | None]:
    """Yields the output with what an interrupted run of the same arguments left, or None where it is complete.

    Raises SettingsError where it is, or was, made with other arguments, where another run is at work on it, and where
    it holds tasks of unknown origin.
    """
    if output.exists() and not output.is_dir():
        raise SettingsError(f"--output {output} is a file: name a directory")
    complete = _check_summary(output, arguments)
    if not complete and any(output.glob("task_*.json")) and not (output / ".trials.partial").exists():
        raise SettingsError(f"--output {output} holds tasks that were not made by this command: choose another")
    scratch = output / _SCRATCH
    with kept_rows(output / "trials", arguments, what="trials") as kept:
        shutil.rmtree(scratch, ignore_errors=True)  # this and those: of a run that was killed
        for unfinished in output.glob(".*.partial-*"):
            unfinished.unlink()
        try:
            if complete:
                yield None
            else:
                scratch.mkdir()
                yield TaskFiles(output, arguments, kept)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


def _check_summary(output: Path, arguments: Mapping[str, Any]) -> bool:
    """Whether the output is complete. Raises SettingsError where it was made with other arguments."""
    path = output / SUMMARY
    if not path.exists():
        return False
    try:
        before = json.loads(path.read_text(encoding="utf-8"))["arguments"]
    except (ValueError, KeyError, TypeError) as error:
        raise SettingsError(f"{path} cannot be read ({error}): choose another --output") from error
    differing = sorted(key for key in {*before, *arguments} if before.get(key) != arguments.get(key))
    if differing:
        changes = "; ".join(f"{key} was {before.get(key)!r} and is {arguments.get(key)!r}" for key in differing)
        raise SettingsError(f"--output {output} was made with other arguments ({changes}): choose another")
    return True
