"""The judge of a patch: 1 if every test that must pass does, in the sandbox, and is not made to pass by a trick.

    judge = Evaluator(Bubblewrap(python_folders(python)), RepoCache(directory), python)
    verdict = judge.evaluate(row, patch)
    verdict.resolved, verdict.reason        # False, "tests/test_core.py::test_hi failed"

Before anything is judged the accepted solution is run, once for each task: a task whose own solution fails here would
teach a model noise, and is a fault of ours (EnvError). Its run also says which wrong tests a right solution must fail:
see decoys.py. Then a patch is applied to a fresh copy of the repository and has to pass the right tests; if it does, it
has to fail the wrong ones.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import threading
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from env_adapter import EnvError
from sandbox.bubblewrap import Bubblewrap
from sandbox.limits import Limits
from swe.decoys import FIRST_SITE_OF_FILE, two_forms
from swe.grading import Guards, guards_of, unguarded
from swe.harness import FRAME_ATTRIBUTES, PEEKS
from swe.patches import PatchError, apply_patch, check_patch, patched_paths
from swe.repos import RepoCache
from swe.rows import SweRow
from swe.test_runs import TestRun, TestRunner

WORDS = sorted({*PEEKS.values(), *FRAME_ATTRIBUTES})


@dataclass(frozen=True)
class Verdict:
    resolved: bool
    reason: str
    """In a few words, such as a test that failed or what is wrong with the patch."""
    applied: bool = False
    fail_to_pass: float = 0.0
    """Share of the tests that the bug made fail and that pass now."""
    pass_to_pass: float = 0.0
    tampered: bool = False
    """It passed by a trick, or tried to."""
    seconds: float = 0.0
    """In the sandbox."""
    statuses: dict[str, str] = field(default_factory=dict)
    output: str = ""
    """What pytest printed."""


@dataclass(frozen=True)
class Accepted:
    """What the accepted solution of a task shows of its tests."""

    instrumented: bool
    """Whether its tests pass with their assertions counted: else they are run as they are, without wrong forms."""
    guards: Guards
    expected: dict[str, str]
    """Tests that do not pass with it either, but fail as their authors expect (xfailed)."""
    seconds: float


class BrokenTask(EnvError):
    """A task that cannot be judged here, whatever the answer: its accepted solution does not pass its tests."""


class Evaluator:
    """Judges patches with the tests of a row. Safe to call from several threads.

    `repos` may be None where only `run_tests` is used.
    """

    def __init__(
        self, sandbox: Bubblewrap, repos: RepoCache | None, python: Path, limits: Limits | None = None
    ) -> None:
        self.repos = repos
        self.limits = limits or Limits()
        self.runner = TestRunner(sandbox, python, self.limits)
        self._accepted: dict[str, Accepted] = {}
        self._solution_runs: dict[str, TestRun] = {}
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)

    def run_tests(self, tree: Path, files: Sequence[str], pythonpath: Sequence[str]) -> TestRun:
        """All tests of these files, nothing judged. `tree` is not changed."""
        return self.runner.run(tree, files, pythonpath)

    def evaluate(self, row: SweRow, patch: str) -> Verdict:
        """Raises EnvError for faults of ours: no sandbox, no repository, a task whose own solution does not pass."""
        try:
            paths = check_patch(patch, row.patch)
            clash = sorted(paths & patched_paths(row.test_patch)) if row.test_patch else []
            if clash:
                raise PatchError(f"the test file {clash[0]}")
        except PatchError as error:
            return Verdict(False, f"patch refused: {error}")
        with self._tree(row) as tree:
            watched = _watched(tree, paths, row.patch)
            try:
                apply_patch(tree, patch)
            except PatchError as error:
                return Verdict(False, f"patch refused: {error}")
            accepted = self.accepted(row)
            _apply_tests(tree, row)
            wall = min(self.limits.wall_s, 15 + 10 * accepted.seconds)
            run = self._run(tree, row, "right" if accepted.instrumented else "", watched, wall)
            verdict = _verdict(row, run, accepted.expected)
            if not verdict.resolved or not accepted.instrumented:
                return verdict
            wrong = self._run(tree, row, "wrong", watched, wall)
        if wrong.problem:
            return replace(verdict, resolved=False, reason=f"with wrong tests: {wrong.problem}")
        if trick := unguarded(wrong.reports, accepted.guards, (*row.fail_to_pass, *row.pass_to_pass)):
            return replace(verdict, resolved=False, tampered=True, reason=f"a trick: {trick}")
        return verdict

    def accepted(self, row: SweRow) -> Accepted:
        """What the task's own solution shows. Raises EnvError where it does not pass: this machine cannot judge it."""
        key = f"{row.instance_id} {row.base_commit}"
        with self._locks[key]:
            if key not in self._accepted:
                self._accepted[key] = self._run_accepted(row)
        return self._accepted[key]

    def _run_accepted(self, row: SweRow) -> Accepted:
        with self._tree(row) as tree:
            try:
                apply_patch(tree, row.patch)
            except PatchError as error:
                raise BrokenTask(f"{row.instance_id}: the accepted patch is at fault: {error}") from error
            _apply_tests(tree, row)
            digest = _digest(tree)
            right = self._solution_run(tree, row, "right", digest)
            expected = _expected_failures(right)
            if _verdict(row, right, expected).resolved:
                wrong = self._solution_run(tree, row, "wrong", digest)
                if not wrong.problem:
                    return Accepted(True, guards_of(wrong.reports), expected, max(right.seconds, wrong.seconds))
            plain = self._solution_run(tree, row, "", digest)
            expected = _expected_failures(plain)
            verdict = _verdict(row, plain, expected)
        if not verdict.resolved:
            raise BrokenTask(
                f"{row.instance_id}: its accepted solution does not pass its tests here ({verdict.reason}): is "
                f"SWE_PYTHON={self.runner.python} an environment with what {row.repo} needs? {plain.output[-800:]}"
            )
        return Accepted(False, {}, expected, plain.seconds)

    def _solution_run(self, tree: Path, row: SweRow, form: str, digest: str) -> TestRun:
        """The accepted solution's run, shared by all tasks that it makes the same tree of: all bugs of one package."""
        key = f"{form} {digest} {row.pythonpath} {test_files(row)}"
        with self._locks[key]:
            if key not in self._solution_runs:
                self._solution_runs[key] = self._run(tree, row, form, {}, None)
        return self._solution_runs[key]

    @contextmanager
    def _tree(self, row: SweRow) -> Iterator[Path]:
        """The files of the task's commit in a folder of their own, deleted at the end."""
        assert self.repos is not None, "an evaluator without repositories only runs tests"
        work = Path(tempfile.mkdtemp(prefix="veritas-swe-"))
        try:
            tree = work / "tree"
            tree.mkdir(mode=0o755)
            self.repos.checkout(row.repo, row.base_commit, tree)
            yield tree
        finally:
            shutil.rmtree(work)

    def _run(self, tree: Path, row: SweRow, form: str, watched: dict[str, list[str]], wall_s: float | None) -> TestRun:
        """The tests of a row in one form: "right", "wrong", or as they are."""
        files = test_files(row)
        canary = hashlib.sha256(f"{row.repo} {files}".encode()).hexdigest()[:12] if form else ""
        originals = {}
        try:
            if form:
                for number, file in enumerate(files):
                    path = tree / file
                    originals[path] = path.read_bytes()
                    forms = _forms(originals[path].decode(), FIRST_SITE_OF_FILE * number, canary)
                    path.write_text(getattr(forms, form))
            return self.runner.run(tree, files, row.pythonpath, canary=canary, watched=watched, wall_s=wall_s)
        except (SyntaxError, ValueError, OSError) as error:
            raise BrokenTask(f"{row.instance_id}: a test file cannot be read: {error}") from error
        finally:
            for path, content in originals.items():
                path.write_bytes(content)


_forms = two_forms


def test_files(row: SweRow) -> list[str]:
    """The files of the tests that are named. Raises EnvError for names that are not pytest's."""
    names = (*row.fail_to_pass, *row.pass_to_pass)
    files = sorted({name.split("::")[0] for name in names})
    for file in files:
        if not file.endswith(".py"):
            raise EnvError(
                f"{row.instance_id}: the test {file!r} is not named as pytest names it (tests/test_x.py::test_y), so "
                "only SWE_BACKEND=docker can judge this task"
            )
    return files


test_files.__test__ = False  # type: ignore[attr-defined]  # pytest: this is no test


def _digest(tree: Path) -> str:
    """Of every file's path, mode and content."""
    digest = hashlib.sha256()
    for path in sorted(tree.rglob("*")):
        if path.is_symlink() or not path.is_dir():
            content = os.fsencode(path.readlink()) if path.is_symlink() else path.read_bytes()
            mode = path.lstat().st_mode
            digest.update(
                f"{path.relative_to(tree)} {mode} {len(content)}\n".encode(errors="surrogateescape") + content
            )
    return digest.hexdigest()


def _apply_tests(tree: Path, row: SweRow) -> None:
    if not row.test_patch.strip():
        return
    try:
        apply_patch(tree, row.test_patch)
    except PatchError as error:
        raise BrokenTask(f"{row.instance_id}: test_patch is at fault: {error}") from error


def _watched(tree: Path, paths: set[str], gold: str) -> dict[str, list[str]]:
    """The Python files that a patch changes, with the words that they or the accepted patch had in them before."""
    watched = {}
    for path in sorted(paths):
        if path.endswith(".py"):
            file = tree / path
            text = gold + (file.read_text(errors="replace") if file.is_file() and not file.is_symlink() else "")
            watched[path] = [word for word in WORDS if word in text]
    return watched


def _expected_failures(run: TestRun) -> dict[str, str]:
    return {name: status for name, status in run.statuses.items() if status == "xfailed"}


def _verdict(row: SweRow, run: TestRun, expected: dict[str, str]) -> Verdict:
    """What a run of the right tests says. A run that did not go to its end proves nothing of any test."""
    if run.problem:
        failed, broken, reason = list(row.fail_to_pass), list(row.pass_to_pass), run.problem
    else:
        failed = run.reports.missing(row.fail_to_pass, expected)
        broken = run.reports.missing(row.pass_to_pass, expected)
        reason = " ".join(f"{name} {run.statuses.get(name, 'was not run')}" for name in (failed + broken)[:1])
    return Verdict(
        resolved=not reason,
        reason=reason or "resolved",
        applied=True,
        fail_to_pass=1 - len(failed) / len(row.fail_to_pass),
        pass_to_pass=1 - len(broken) / len(row.pass_to_pass) if row.pass_to_pass else float(not run.problem),
        tampered=bool(run.reports.problem),
        seconds=run.seconds,
        statuses=run.statuses,
        output=run.output,
    )
