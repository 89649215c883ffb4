"""What swebench says of a row of a published benchmark: its image, its script, and what a log of it says.

    swebench = Swebench(Path("/opt/swebench/bin/python"))     # a Python with swebench: SWEBENCH_PYTHON
    swebench.recipe(row).image             # "swebench/sweb.eval.x86_64.psf_1776_requests-863:latest"
    swebench.read(row, log).statuses       # {"tests/test_requests.py::test_x": "passed", …}

There are two kinds of rows, and two packages named swebench that do not know each other's: rows with `image`,
`eval_script`, `log_parser` and `eval_type` are those of swebench 5; rows without, as princeton-nlp/SWE-bench_Lite has
them, are those of swebench 4.1.0. Neither belongs into the environment that trains (it needs 26 packages more): it runs
in a process of its own, in any Python.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from env_adapter import EnvError, SettingsError
from swe.rows import SweRow

WORKER = Path(__file__).with_name("swebench_worker.py")
FIELDS_OF_5 = ("image", "eval_script", "log_parser", "eval_type")
START_S = 120
"""Importing swebench takes 2 s of a processor; a busy machine's disk may take longer."""
READ_S = 60
"""The parsers are regular expressions, and a log can be made for them to take for ever."""


class UnreadableLog(Exception):
    """A log that swebench's parser does not get through."""


@dataclass(frozen=True)
class Recipe:
    image: str
    eval_script: str


@dataclass(frozen=True)
class Log:
    statuses: dict[str, str]
    """Test → passed, failed, error, skipped or xfail."""
    reports: dict[str, Counter[str]]
    """Test → how many lines of the log report which status of it."""

    def of(self, test: str) -> tuple[str, Counter[str]]:
        """Status and reports of a test, "" where there is none.

        Some names of SWE-bench_Verified are cut off in the middle of a parameter: then it is the worst of all tests
        that begin so (https://github.com/SWE-bench/SWE-bench/issues/290).
        """
        if test in self.statuses or test.count("[") <= test.count("]"):
            return self.statuses.get(test, ""), self.reports.get(test, Counter())
        names = [name for name in self.statuses if name.startswith(test)]
        statuses = [self.statuses[name] for name in names]
        worst = next((status for status in statuses if status != "passed"), "passed" if statuses else "")
        return worst, sum((self.reports.get(name, Counter()) for name in names), Counter())


def is_published(row: SweRow) -> bool:
    """Whether the row's tests are meant to run in an image made for them."""
    made_here = "made_by" in row.others  # data_processing/synthesize_swe_tasks.py has the other keys as well
    return is_new(row) or ("environment_setup_commit" in row.others and not made_here)


def is_new(row: SweRow) -> bool:
    return all(row.others.get(field) for field in FIELDS_OF_5)


class Swebench:
    """swebench in a process of its own, started when first asked. Safe to call from several threads."""

    def __init__(self, python: Path) -> None:
        self.python = python
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def check(self) -> str:
        """swebench's version. Raises SettingsError, with the fix, where this Python does not have it."""
        try:
            return self._ask({"do": "version"}, START_S)["version"]
        except (EnvError, UnreadableLog) as error:
            raise SettingsError(
                f"SWEBENCH_PYTHON={self.python} must be a Python with swebench ({error}): make one with `python3 -m "
                "venv ~/swebench && ~/swebench/bin/pip install swebench==4.1.0` (5.0.2 for rows that have an image)"
            ) from error

    def recipe(self, row: SweRow) -> Recipe:
        """Raises EnvError for a row that this swebench does not know, or that cannot be graded strictly."""
        if is_new(row) and row.others["eval_type"] != "pass_and_fail":
            raise EnvError(
                f"{row.instance_id}: eval_type={row.others['eval_type']}: its logs name only tests that fail, so "
                "nothing shows that a test was run and has passed; leave this task out"
            )
        try:
            return Recipe(**self._ask({"do": "recipe", "row": row.to_dict()}, START_S))
        except UnreadableLog as error:
            raise EnvError(f"swebench took longer than {START_S} s to say how to run {row.instance_id}") from error

    def read(self, row: SweRow, log: str) -> Log:
        """What the log says. Raises UnreadableLog where that takes too long."""
        answer = self._ask({"do": "read", "row": row.to_dict(), "log": log}, READ_S)
        return Log(
            {name: status.lower() for name, status in answer["statuses"].items()},
            {
                name: Counter({status.lower(): count for status, count in counts.items()})
                for name, counts in answer["reports"].items()
            },
        )

    def _ask(self, request: Mapping[str, Any], seconds: float) -> dict[str, Any]:
        with self._lock:
            fresh = self._process is None or self._process.poll() is not None
            process = self._start() if fresh else self._process
            assert process is not None and process.stdin is not None and process.stdout is not None
            try:
                process.stdin.write(json.dumps(request).encode() + b"\n")
                process.stdin.flush()
            except OSError as error:
                raise EnvError(f"{self.python} has ended: {error}") from error
            ready, _, _ = select.select([process.stdout], [], [], seconds + (START_S if fresh else 0))
            if not ready:
                self._end()
                raise UnreadableLog(f"no answer in {seconds} s")
            line = process.stdout.readline()
            if not line:
                raise EnvError(f"{self.python} ended with {process.wait()}")
        answer = json.loads(line)
        if "fault" in answer:
            raise EnvError(f"{answer['fault']} (SWEBENCH_PYTHON={self.python})")
        return answer

    def _start(self) -> subprocess.Popen[bytes]:
        command = [str(self.python), "-I", str(WORKER)]
        environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=environment,
                cwd="/",
            )
        except OSError as error:
            raise EnvError(f"{self.python} cannot be run: {error.strerror}") from error
        return self._process

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None
