"""Running a repository's tests: what keeps them from starting is a fault of ours, by whichever limit."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from env_adapter import EnvError
from sandbox.bubblewrap import Bubblewrap
from sandbox.limits import Limits
from swe.test_runs import TestRunner, python_folders

PYTHON = Path(sys.executable)


def test_tests_that_cannot_start_in_time_are_no_wrong_answer(tmp_path: Path) -> None:
    (tmp_path / "test_x.py").write_text("def test_x():\n    assert True\n")
    tmp_path.chmod(0o755)
    runner = TestRunner(Bubblewrap(python_folders(PYTHON)), PYTHON, Limits(wall_s=0.01))
    with pytest.raises(EnvError, match=r"could not be started .*limit: timeout"):
        runner.run(tmp_path, ["test_x.py"], ["."])
    in_time = TestRunner(Bubblewrap(python_folders(PYTHON)), PYTHON)
    assert in_time.run(tmp_path, ["test_x.py"], ["."]).statuses == {"test_x.py::test_x": "passed"}
