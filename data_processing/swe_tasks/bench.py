"""Where tasks are tried out: a package's tests, run in the sandbox on its source with this or that changed.

bench = Bench(repos=Path("tasks/repos"), repo="pypi/toolz", …)
bench.passing_tests(tree)                                  # those that pass twice
bench.check(row, noop)                                     # "" for a valid task, else what is wrong with it
"""

from __future__ import annotations

import functools
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from env_adapter import SettingsError
from sandbox.bubblewrap import Bubblewrap
from sandbox.limits import Limits
from swe.evaluator import BrokenTask, Evaluator
from swe.repos import RepoCache
from swe.rows import SweRow
from swe.test_runs import TestRun, python_folders
from swe_tasks.git_commands import diff_between, with_file

MOST_FAILING = 0.5
"""Of the passing tests: a bug that breaks more of them is found by a glance."""
_MISSING = re.compile(r"ModuleNotFoundError: No module named '([^']+)'")


@dataclass(frozen=True)
class Trial:
    """What came of trying one candidate."""

    outcome: str
    """"kept", or why there is no task."""
    row: SweRow | None = None


@dataclass(frozen=True)
class Bench:
    """Settings only, so that a worker process can be given them."""

    repos: Path
    repo: str
    commit: str
    """The source as it was given."""
    version: str
    created_at: str
    python: Path
    test_seconds: int
    scratch: Path
    """A directory for trees of files; whoever makes it removes it."""

    @property
    def repo_cache(self) -> RepoCache:
        return RepoCache(self.repos, fetch=False)

    @property
    def git_dir(self) -> Path:
        return self.repos / f"{self.repo.replace('/', '__')}.git"

    @property
    def package(self) -> str:
        """As an issue calls it: `toolz 1.2.0`."""
        return f"{self.repo.partition('/')[2]} {self.version}".strip()

    def run(self, tree: Path, tests: Sequence[str], pythonpath: Sequence[str]) -> TestRun:
        return _evaluator(self.repos, self.python, self.test_seconds).run_tests(tree, tests, pythonpath)

    @contextmanager
    def folder(self) -> Iterator[Path]:
        """An empty folder, removed at the end."""
        with tempfile.TemporaryDirectory(dir=self.scratch) as name:
            yield Path(name)

    @contextmanager
    def checkout(self, commit: str) -> Iterator[Path]:
        """The files of a commit in a folder of their own."""
        with self.folder() as folder:
            tree = folder / "tree"
            tree.mkdir()
            self.repo_cache.checkout(self.repo, commit, tree)
            yield tree

    def noop(self, commit: str, paths: Sequence[str]) -> str:
        """A patch that adds a comment to the first of these files that is text, and changes nothing."""
        path, text = next(iter(self.repo_cache.read_text(self.repo, commit, paths).items()))
        with self.folder() as scratch:
            tree = with_file(self.git_dir, commit, path, f"{text}\n# The end.\n", scratch)
        return diff_between(self.git_dir, commit, tree)

    def row(
        self,
        base_commit: str,
        patch: str,
        tests: tuple[Sequence[str], Sequence[str]],
        statement: str,
        pythonpath: Sequence[str],
        test_patch: str = "",
        created_at: str = "",
        **how: object,
    ) -> SweRow:
        """A row of SWE-bench. `tests` are FAIL_TO_PASS and PASS_TO_PASS, `how` says how it was made."""
        return SweRow(
            instance_id=f"{self.repo.replace('/', '__')}-{sha256((base_commit + patch).encode()).hexdigest()[:10]}",
            repo=self.repo,
            base_commit=base_commit,
            problem_statement=statement,
            patch=patch,
            test_patch=test_patch,
            fail_to_pass=tuple(tests[0]),
            pass_to_pass=tuple(tests[1]),
            pythonpath=tuple(pythonpath),
            version=self.version,
            others={
                "hints_text": "",
                "created_at": created_at or self.created_at,
                "environment_setup_commit": base_commit,
                **how,
            },
        )

    def check(self, row: SweRow, noop: str) -> str:
        """Why a row is no task: "" where its right answer solves it, and doing nothing does not.

        Raises EnvError for faults that are not the row's.
        """
        evaluator = _evaluator(self.repos, self.python, self.test_seconds)
        try:
            evaluator.accepted(row)
            nothing = evaluator.evaluate(row, noop)
        except BrokenTask:
            return "its right answer does not pass again"
        if nothing.resolved or not nothing.applied:
            return "doing nothing solves it"
        if nothing.fail_to_pass or nothing.pass_to_pass < 1:
            return "other tests fail the second time"
        return ""


@functools.lru_cache(maxsize=1)
def _evaluator(repos: Path, python: Path, test_seconds: int) -> Evaluator:
    """One a process. A run is bounded by processor time first, which other work on the machine does not use up."""
    limits = Limits(wall_s=4 * test_seconds, cpu_s=test_seconds)
    return Evaluator(Bubblewrap(python_folders(python)), RepoCache(repos, fetch=False), python, limits)


def passing_tests(bench: Bench, tree: Path, tests: Sequence[str], pythonpath: Sequence[str]) -> tuple[list[str], str]:
    """The tests that pass twice, and a remark about the others for the user, "" where there are none.

    Raises SettingsError where no test passes, and where the tests take too long.
    """
    first, second = (bench.run(tree, tests, pythonpath) for _ in range(2))
    for run in (first, second):
        if run.ended == "timeout":
            raise SettingsError(
                f"the tests take more than --test-seconds {bench.test_seconds}: raise it, or name fewer with --tests"
            )
        if run.problem:
            raise SettingsError(f"the tests do not run to their end: {run.problem}: {run.output[-1000:]}")
    passing = sorted(test for test in first.statuses if first.statuses[test] == second.statuses[test] == "passed")
    missing = sorted({match.split(".")[0] for match in _MISSING.findall(first.output)})
    if not passing:
        cause = f"they need {', '.join(missing)}, which {bench.python} has not" if missing else first.output[-1500:]
        raise SettingsError(f"no test of {', '.join(tests)} passes: {cause}; --python and --pythonpath say with what")
    flaky = sum(first.statuses.get(test) != status for test, status in second.statuses.items())
    others = len(second.statuses) - len(passing)
    remark = f"{others} other tests do not pass, or not always ({flaky})" if others else ""
    if missing:
        remark += f"; modules that are missing in {bench.python}: {', '.join(missing)}"
    return passing, remark


def split_tests(passing: Sequence[str], run: TestRun, files: Sequence[str]) -> tuple[list[str], list[str], str]:
    """The tests that a bug makes fail, those that it does not, and why they make no task, "" where they do.

    As in SWE-bench the latter are those of the same files, unless none of them passes: a task is judged by running
    these files, and to run all others as well would take most of the time and tell little. `files` are what was run.
    """
    if run.problem:
        return [], [], "the tests do not run to their end"  # by which limit is a matter of timing
    failing = [t for t in passing if t.partition("::")[0] in files and run.statuses.get(t) != "passed"]
    others = [test for test in passing if test not in set(failing)]
    if not failing:
        return failing, others, "no test fails"
    if len(failing) > MOST_FAILING * len(passing) or not others:
        return failing, others, "too many tests fail"
    theirs = {test.partition("::")[0] for test in failing}
    return failing, [test for test in others if test.partition("::")[0] in theirs] or others, ""
