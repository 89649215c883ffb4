"""Faults made on purpose, for benchmarks/reliability.py: each returns how the run ended, after how long, and its words.

FAULTS["a killed vLLM"](model, data)
{"status": 124, "seconds": 122.0, "said": "error: lost VLLM::EngineCore (pid 812) in generate, …", "left": 0}
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from reliability_run import ROOT, TinyRun

LIMIT_S = 700.0
LIMITS = {"STALL_LIMIT_S": "300", "LOST_LIMIT_S": "30"}
FORTY_STEPS = "trainer.total_training_steps=40"
Fault = Callable[[Path, Path], dict[str, Any]]


def _row(run: TinyRun, process: subprocess.Popen[bytes], since: float, limit_s: float = LIMIT_S) -> dict[str, Any]:
    """Wait for the end; `seconds` from the fault to it. What it says last is the line that begins with error:."""
    status = run.wait(process, limit_s)
    lines = [line for line in run.text().splitlines() if line.strip()]
    end = next(
        (number for number in range(len(lines) - 1, -1, -1) if lines[number].startswith("error:")), len(lines) - 1
    )
    return {
        "status": status,
        "seconds": round(time.monotonic() - since, 1),
        "said": lines[end] if lines else "",
        "lines": lines[end:],
        "left": len(run.processes()),
    }


def _name(fault: str) -> str:
    return f"reliability-{fault}-{os.getpid()}-{int(time.time())}"


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """A file system of this size. Raises PermissionError where we may not mount one."""
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], capture_output=True, text=True
    )
    if done.returncode:
        raise PermissionError(f"no small disk can be mounted here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def full_disk(model: Path, data: Path) -> dict[str, Any]:
    """The disk is full in the middle of the second checkpoint; with room again, the run goes on from the first."""
    name = _name("disk")
    try:
        with small_disk(data / "small", "1g") as disk:
            run = TinyRun("sft", name, model, data, disk)
            process = run.start("trainer.total_training_steps=3")
            if run.wait(process, LIMIT_S) != 0:
                return {"status": None, "seconds": 0.0, "said": run.text()[-300:]}
            used = sum(file.stat().st_size for file in disk.rglob("*") if file.is_file())
            subprocess.run(["mount", "-o", f"remount,size={int(used * 1.5)}", disk], check=True)
            started = time.monotonic()
            # Without the checks that would refuse so small a disk before the start.
            unchecked = {"DOCTOR": "0", "MEMORY_PLAN": "0"}
            row = _row(run, run.start("trainer.total_training_steps=9", **unchecked), started)
            row["whole"] = run.latest()
            subprocess.run(["mount", "-o", "remount,size=1g", disk], check=True)
            status = run.wait(run.start("trainer.total_training_steps=9"), LIMIT_S)
            row["then"] = f"with room again: status {status}, from step {run.resumed_from()}, to step {run.latest()}"
            return row
    except PermissionError as error:
        return {"status": None, "seconds": 0.0, "said": f"left out: {error}"}


def cut_checkpoint(model: Path, data: Path) -> dict[str, Any]:
    """The latest checkpoint is cut: the one before it is taken. All are cut: refused."""
    run = TinyRun("sft", _name("cut"), model, data)
    if run.wait(run.start("trainer.total_training_steps=6"), LIMIT_S) != 0:
        return {"status": None, "seconds": 0.0, "said": run.text()[-300:]}
    _cut(run.directory / "global_step_6/model_world_size_1_rank_0.pt")
    started = time.monotonic()
    row = _row(run, run.start("trainer.total_training_steps=9"), started)
    row["said"] = next((line for line in run.text().splitlines() if "is not whole" in line), "nothing")
    row["then"] = f"from step {run.resumed_from()} to step {run.latest()}"
    for file in run.directory.glob("global_step_*/optim*.pt"):
        _cut(file)
    again = _row(run, run.start("trainer.total_training_steps=12"), time.monotonic())
    row["then"] += f"; all cut: status {again['status']}"
    row["all_cut"] = again["said"]
    return row


def _cut(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def killed_process(title: str, number: int = signal.SIGKILL, phase: str = "") -> Fault:
    """A process of the GRPO run gets a signal, after its first step or at the beginning of a phase."""

    def fault(model: Path, data: Path) -> dict[str, Any]:
        run = TinyRun("grpo", _name("process"), model, data)
        process = run.start(FORTY_STEPS, **LIMITS)
        file = run.directory / "phase.json"

        def is_time() -> bool:
            if phase:
                return file.exists() and f'"{phase}"' in file.read_text()
            return len(run.logged()) > 0

        if not run.wait_for(is_time, process, LIMIT_S):
            run.kill(process, whole=True)
            return {"status": None, "seconds": 0.0, "said": f"it never came to it: {run.text()[-300:]}"}
        if not phase:
            time.sleep(1.0)
        since = time.monotonic()
        hit = run.find(title)
        for one in hit:
            one.send_signal(number)
        return {**_row(run, process, since), "hit": len(hit)}

    return fault


def faulty_reward(kind: str) -> Fault:
    def fault(model: Path, data: Path) -> dict[str, Any]:
        run = TinyRun("grpo", _name(kind), model, data)
        process = run.start(
            FORTY_STEPS,
            f"reward.custom_reward_function.path='{ROOT}/benchmarks/reliability_reward.py'",
            RELIABILITY_FAULT=kind,
            **LIMITS,
        )
        file = run.directory / "phase.json"
        run.wait_for(lambda: file.exists() and '"generate"' in file.read_text(), process, LIMIT_S)
        return _row(run, process, time.monotonic())

    return fault


FAULTS: dict[str, Fault] = {
    "full disk in a checkpoint": full_disk,
    "a cut checkpoint": cut_checkpoint,
    "a killed vLLM": killed_process("VLLM::EngineCore"),
    "vLLM killed in the first sync": killed_process("VLLM::", phase="weights sync"),
    "vLLM that stands still": killed_process("VLLM::EngineCore", signal.SIGSTOP),
    "a killed reward worker": killed_process("ray::RewardLoopWorker"),
    "a killed trainer's worker": killed_process("ray::WorkerDict"),
    "a reward that raises": faulty_reward("raise"),
    "a reward that hangs": faulty_reward("hang"),
    "a reward that is NaN": faulty_reward("nan"),
}
