"""Who judges patches on this machine.

    open_backend("auto", repos, python=Path(sys.executable), limits=Limits(), max_sandboxes=None).evaluate(row, patch)
    → Verdict(resolved=True, …)

`bwrap`: a sandbox of this machine, made by bubblewrap, with the packages of one Python environment.
`docker`: the image that a published benchmark has for each of its rows, and swebench to read what it prints.
`auto`: for each row the one that it was made for. A backend has to be usable before it is chosen: none that is, is an
error, and never a reward of 0.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Protocol

from env_adapter import NotHere, SettingsError
from sandbox.bubblewrap import Bubblewrap
from sandbox.limits import Limits
from sandbox.probe import check_sandbox
from swe.containers import Docker
from swe.docker_judge import DockerJudge
from swe.evaluator import Evaluator, Verdict
from swe.published_rows import Swebench, is_published
from swe.repos import RepoCache
from swe.rows import SweRow
from swe.test_runs import python_folders


class Judge(Protocol):
    def evaluate(self, row: SweRow, patch: str) -> Verdict:
        """Raises EnvError for faults of ours. Called from several threads at once."""


Opener = Callable[[RepoCache, Path, Limits, int | None], Judge]


def open_bwrap(repos: RepoCache, python: Path, limits: Limits, max_sandboxes: int | None) -> Judge:
    """Raises SettingsError where no sandbox can be made here, or `python` has no pytest."""
    check_sandbox()
    return Evaluator(Bubblewrap(python_folders(python), max_sandboxes), repos, python, limits)


def open_docker(repos: RepoCache, python: Path, limits: Limits, max_sandboxes: int | None) -> Judge:
    """$SWEBENCH_PYTHON names a Python with swebench; default: the one that runs this. `python` is not used.

    Raises SettingsError where no engine of Docker answers, or that Python has no swebench.
    """
    docker, swebench = Docker(), Swebench(Path(os.environ.get("SWEBENCH_PYTHON") or sys.executable))
    docker.check()
    swebench.check()
    docker.sweep()
    return DockerJudge(docker, swebench, repos, limits, max_sandboxes or os.cpu_count() or 1)


BACKENDS: dict[str, Opener] = {"bwrap": open_bwrap, "docker": open_docker}


class AutoJudge:
    """Each row by the backend that it was made for, which is opened by the first of its rows."""

    def __init__(self, open_by_name: Callable[[str], Judge]) -> None:
        self._open_by_name = open_by_name
        self._opened: dict[str, Judge] = {}
        self._lock = threading.Lock()

    def evaluate(self, row: SweRow, patch: str) -> Verdict:
        return self.judge_of(row).evaluate(row, patch)

    def judge_of(self, row: SweRow) -> Judge:
        """Raises NotHere, with what is lacking, where nothing here can judge this row."""
        name = "docker" if is_published(row) else "bwrap"
        with self._lock:
            if name not in self._opened:
                try:
                    self._opened[name] = self._open_by_name(name)
                except SettingsError as error:
                    why = f"{row.instance_id} cannot be judged here: {error}"
                    if name == "docker":
                        why += (
                            ". It is a row of a published benchmark, with an image of its own; without Docker, set "
                            f"SWE_BACKEND=bwrap, and SWE_PYTHON to an environment that has what {row.repo} needs"
                        )
                    raise NotHere(why) from error
            return self._opened[name]


def open_backend(
    name: str,
    repos: RepoCache,
    *,
    python: Path,
    limits: Limits,
    max_sandboxes: int | None = None,
    rows: Iterable[SweRow] = (),
) -> Judge:
    """The backend of this name; for `auto`, that of each row. Raises NotHere, with what is lacking.

    Where `rows` are given, what `auto` needs for them is opened now; else, at least one backend must be usable.
    """
    if name != "auto" and name not in BACKENDS:
        raise SettingsError(f"SWE_BACKEND={name}: known are auto, {', '.join(BACKENDS)}")
    open_by_name = partial(_open, repos=repos, python=python, limits=limits, max_sandboxes=max_sandboxes)
    if name != "auto":
        try:
            return open_by_name(name)
        except SettingsError as error:
            raise NotHere(f"SWE_BACKEND={name} cannot run tests here, so no patch could be judged: {error}") from error
    judge = AutoJudge(open_by_name)
    rows = list(rows)
    for row in rows:
        judge.judge_of(row)
    if not rows:
        _one_of_all(open_by_name)
    return judge


def _open(name: str, repos: RepoCache, python: Path, limits: Limits, max_sandboxes: int | None) -> Judge:
    return BACKENDS[name](repos, python, limits, max_sandboxes)


def _one_of_all(open_by_name: Callable[[str], Judge]) -> None:
    lacking = []
    for name in BACKENDS:
        try:
            open_by_name(name)
            return
        except SettingsError as error:
            lacking.append(f"{name}: {error}")
    raise NotHere(f"no backend can run tests here, so no patch could be judged. {'; '.join(lacking)}")
