"""Whether a run still does something, which of its processes are gone, and what all of them are at.

    signs = Signs(Path("my-run/phase.json"), limit_s=1800)
    signs.look(bytes_of_output)
    signs.phase, signs.quiet_s                  # 'generate', 12.3
    write_stacks(Path("my-run/stalls/20260101-120000"), descendants(), Path("my-run/.stacks"))

A run's phases come from train/tools/run_phase.py. Before its first sign, and in a run that gives none, output counts.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

WORKER = re.compile(r"VLLM::|sglang::|ray::(\w*Worker\w*|\w*Server\w*|TaskRunner\w*|SimpleStorage\w*|TransferQueue\w*)")
"""Titles of processes without which verl's trainer waits for ever."""
STACK_S = 20.0


class Signs:
    """Signs of life, by the monotonic clock."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._last: object = None
        self._since = time.monotonic()
        self.phase, self.step, self.told = "start", None, False

    def look(self, output: int) -> None:
        """`output`: bytes so far."""
        try:
            sign: object = (self._file.stat().st_mtime_ns, self._file.stat().st_ino)
            content = json.loads(self._file.read_text())
            self.phase, self.step, self.told = content["phase"], content["step"], True
        except (FileNotFoundError, ValueError):
            sign = output if not self.told else self._last
        if sign != self._last:
            self._last, self._since = sign, time.monotonic()

    @property
    def quiet_s(self) -> float:
        return time.monotonic() - self._since

    @property
    def where(self) -> str:
        """Such as `in generate (step 4)`, or `after update (step 4)`."""
        phase = self.phase if self.phase.startswith("after ") else f"in {self.phase}"
        return f"{phase} (step {self.step})" if self.step else phase


class Workers:
    """The processes that a run cannot do without: none of them ends before the run does."""

    def __init__(self) -> None:
        self._known: dict[int, str] = {}
        self.lost: list[str] = []
        """Such as VLLM::EngineCore (pid 812), in the order in which they were missed."""

    def look(self, pids: set[int]) -> None:
        for pid in self._known.keys() - pids:
            self.lost.append(f"{self._known.pop(pid)} (pid {pid})")
        for pid in pids - self._known.keys():
            name = worker_name(pid)
            # Between fork and exec, a command that a worker starts has the worker's title; it may end when it likes.
            if name and name != worker_name(parent(pid)):
                self._known[pid] = name


def worker_name(pid: int) -> str:
    """VLLM::EngineCore, ray::WorkerDict; empty for what is no worker."""
    match = WORKER.match(title(pid))
    if not match:
        return ""
    return title(pid) if match[0].endswith("::") else match[0]


def parent(pid: int) -> int:
    """0 when it has ended."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def title(pid: int) -> str:
    """The command line of a process as its words, or its own title; empty when it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""


def is_python(pid: int) -> bool:
    try:
        return "python" in Path(f"/proc/{pid}/exe").readlink().name
    except OSError:
        return False


def write_stacks(directory: Path, pids: set[int], by_signal: Path) -> int:
    """One file for each Python process: the stacks of its threads by py-spy. Returns how many have them.

    py-spy reads another process's memory, which a container or a machine may forbid. The trainer and the reward workers
    write theirs themselves when they are asked (`by_signal`, see run_phase.py); of others there is what the kernel says
    that they wait for.
    """
    directory.mkdir(parents=True, exist_ok=True)
    tool = Path(sys.executable).with_name("py-spy")
    command = str(tool) if tool.exists() else shutil.which("py-spy")
    written = 0
    for pid in sorted(pids):
        if not is_python(pid):
            continue
        name = re.sub(r"[^A-Za-z0-9]+", "-", title(pid))[:60].strip("-")
        stacks, why = _stacks(command, pid)
        stacks = stacks or _own_stacks(by_signal / str(pid), pid)
        written += bool(stacks)
        (directory / f"{pid}-{name}.txt").write_text(f"{title(pid)}\n{stacks or why + _waits_for(pid)}")
    return written


def _stacks(command: str | None, pid: int) -> tuple[str, str]:
    if command is None:
        return "", "py-spy is not installed\n"
    try:
        done = subprocess.run([command, "dump", "--pid", str(pid)], capture_output=True, text=True, timeout=STACK_S)
    except subprocess.TimeoutExpired:
        return "", f"py-spy gave no answer within {STACK_S:g} s\n"
    return (done.stdout, "") if done.returncode == 0 else ("", f"py-spy: {done.stderr.strip()}\n")


def _own_stacks(file: Path, pid: int) -> str:
    if not file.exists():
        return ""
    try:
        os.kill(pid, signal.SIGUSR1)
        time.sleep(0.5)
        return file.read_text()
    except OSError:
        return ""


def _waits_for(pid: int) -> str:
    told = ""
    for thread in sorted(Path(f"/proc/{pid}/task").glob("*")):
        try:
            told += f"thread {thread.name} {(thread / 'comm').read_text().strip()}: {(thread / 'wchan').read_text()}\n"
        except OSError:
            continue
    return told
