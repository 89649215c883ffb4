"""Who judges patches on this machine.

    open_backend("auto", repos, python=Path(sys.executable), limits=Limits(), max_sandboxes=None).evaluate(row, patch)
    → Verdict(resolved=True, …)

`bwrap`: a sandbox of this machine, made by bubblewrap, with the packages of one Python environment. A backend has to be
usable before it is chosen: none that is, is an error, and never a reward of 0.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from env_adapter import NotHere, SettingsError
from sandbox.bubblewrap import Bubblewrap
from sandbox.limits import Limits
from sandbox.probe import check_sandbox
from swe.evaluator import Evaluator, Verdict
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


BACKENDS: dict[str, Opener] = {"bwrap": open_bwrap}
"""In the order in which `auto` tries them."""


def open_backend(
    name: str, repos: RepoCache, *, python: Path, limits: Limits, max_sandboxes: int | None = None
) -> Judge:
    """The backend of this name, or the first usable one for `auto`. Raises NotHere, with what each of them lacks."""
    lacking = []
    for candidate in BACKENDS if name == "auto" else [name]:
        if candidate not in BACKENDS:
            raise SettingsError(f"SWE_BACKEND={name}: known are auto, {', '.join(BACKENDS)}")
        try:
            return BACKENDS[candidate](repos, python, limits, max_sandboxes)
        except SettingsError as error:
            lacking.append(f"{candidate}: {error}")
    raise NotHere(
        f"no backend of SWE_BACKEND={name} can run tests here, so no patch could be judged. {'; '.join(lacking)}"
    )
