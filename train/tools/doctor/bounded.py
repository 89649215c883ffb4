"""Runs a program for some seconds at most, and says how it ended.

run_bounded(["nvidia-smi", "-L"], seconds=10).output
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Outcome:
    status: int | None
    """Exit status, the negative number of a signal as subprocess has it, or None where the time was over."""
    output: str
    errors: str
    seconds: float

    @property
    def hung(self) -> bool:
        return self.status is None

    @property
    def last_error(self) -> str:
        """The last line that says something, of stderr or else of the output."""
        lines = [line.strip() for line in (self.errors or self.output).splitlines() if line.strip()]
        return lines[-1] if lines else ""

    def death(self) -> str:
        """How it ended, for a message: 'did not end within 60 s', 'was ended by SIGSEGV', or its last line."""
        if self.status is None:
            return f"did not end within {self.seconds:g} s"
        if self.status < 0:
            return f"was ended by {signal.Signals(-self.status).name}"
        return self.last_error or f"ended with status {self.status}"


def run_bounded(
    command: Sequence[str], seconds: float, environment: Mapping[str, str] | None = None, cwd: str | None = None
) -> Outcome:
    """What came of it; everything that it started is ended with it. A program that cannot be started has status 127."""
    pipe = subprocess.PIPE
    try:
        process = subprocess.Popen(
            list(command),
            env=None if environment is None else dict(environment),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=pipe,
            stderr=pipe,
            start_new_session=True,
        )
    except OSError as error:
        return Outcome(127, "", f"{command[0]} cannot be started: {error.strerror}", seconds)
    status: int | None
    try:
        output, errors = process.communicate(timeout=seconds)
        status = process.returncode
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        output, errors = process.communicate()
        status = None
    return Outcome(status, output.decode(errors="replace"), errors.decode(errors="replace"), seconds)


def all_at_once(*calls: Callable[[], Any]) -> list[Any]:
    """Their results, in this order."""
    with ThreadPoolExecutor(len(calls)) as pool:
        return [future.result() for future in [pool.submit(call) for call in calls]]


def within(seconds: float, call: Callable[[], Any]) -> tuple[bool, Any]:
    """(whether it ended in time, its result). What did not goes on in a thread that ends with the process."""
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(call()), daemon=True)
    thread.start()
    thread.join(seconds)
    return bool(results), results[0] if results else None
