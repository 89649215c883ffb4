"""Running a repository's tests in the sandbox.

runner = TestRunner(Bubblewrap(python_folders(python)), python)
runner.run(tree, ["tests/test_core.py"], pythonpath=["."]).statuses
→ {"tests/test_core.py::test_hi": "passed", …}
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from env_adapter import EnvError
from sandbox.bubblewrap import Bubblewrap
from sandbox.interpreter import interpreter_folders
from sandbox.limits import Limits
from swe.grading import Reports, read_reports

HARNESS = Path(__file__).with_name("harness.py")


@dataclass(frozen=True)
class TestRun:
    """What came of a run. `ended` is the sandbox's: "exit", or the limit by which it was ended."""

    ended: str
    seconds: float
    output: str
    """What pytest printed, its last part: for people, never for grading."""
    reports: Reports

    __test__ = False  # pytest: this is no test class

    @property
    def statuses(self) -> dict[str, str]:
        """Test → passed, failed, error, skipped, xfailed or xpassed."""
        return self.reports.statuses

    @property
    def problem(self) -> str:
        """Why the run as a whole is worth nothing; "" where it went to its end."""
        if self.ended != "exit":
            return f"limit: {self.ended}"
        return self.reports.problem or ("" if self.reports.complete else "the tests did not run to their end")


@dataclass(frozen=True)
class TestRunner:
    """Runs test files with pytest, as `python` has it, in the sandbox."""

    sandbox: Bubblewrap
    python: Path
    limits: Limits = field(default_factory=Limits)

    __test__ = False

    def run(
        self,
        tree: Path,
        files: Sequence[str],
        pythonpath: Sequence[str],
        *,
        canary: str = "",
        watched: Mapping[str, Sequence[str]] | None = None,
        wall_s: float | None = None,
    ) -> TestRun:
        """All tests of these files, on a copy of `tree`. `watched` and `canary`: harness.py and decoys.py.

        Raises EnvError where the tests could not even be started.
        """
        key = secrets.token_bytes(32)
        spec = {
            "key": key.hex(),
            "files": list(files),
            "pythonpath": list(pythonpath),
            "watched": {path: list(words) for path, words in (watched or {}).items()},
            "options": ["--import-mode=prepend"],
        }
        limits = Limits(**{**vars(self.limits), "wall_s": wall_s or self.limits.wall_s})
        # Not with -I, which would also ignore PYTHONHASHSEED: the same patch must always do the same.
        done = self.sandbox.run(
            [str(self.python), "-s", "/harness.py"],
            tree=tree,
            files={"/harness.py": HARNESS},
            stdin=json.dumps(spec).encode() + b"\n",
            limits=limits,
        )
        reports = read_reports(done.report, key, canary)
        output = done.output.decode(errors="replace")[-20_000:]
        if not reports.started:  # no code of the repository has run yet: whatever ended it is no answer's fault
            why = f"exit {done.returncode}" if done.ended == "exit" else f"limit: {done.ended}"
            raise EnvError(f"tests could not be started with {self.python} ({why}): {output[-1500:]}")
        return TestRun(done.ended, done.seconds, output, reports)


def python_folders(python: Path) -> tuple[Path, ...]:
    """The folders that the tests' interpreter needs in the sandbox. Raises SettingsError where it has no pytest."""
    return interpreter_folders(python, "SWE_PYTHON", module="pytest")
