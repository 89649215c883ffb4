"""progress.py: what a demo's phase shows, and how its failure is told."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from script_runner import ROOT

PROGRESS = ROOT / "train/scripts/lib/progress.py"


def watch(tmp_path: Path, code: str, *options: str) -> subprocess.CompletedProcess[str]:
    log = ["--log", str(tmp_path / "logs/run.log"), "--what", "training", *options]
    command = [sys.executable, str(PROGRESS), *log, "--", sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_steps_are_shown_once_each_and_output_goes_to_the_log(tmp_path: Path) -> None:
    metrics = tmp_path / "metrics.jsonl"
    metrics.write_text('{"step": 9, "data": {"critic/score/mean": 0.9}}\n')  # of an earlier try
    code = f"""
import json, time
print("much to read")
with open({str(metrics)!r}, "w", buffering=1) as file:
    for step in (1, 2):
        file.write(json.dumps({{"step": step, "data": {{"critic/score/mean": step / 4}}}})[:-1])
        time.sleep(0.7)  # a line that is half written
        file.write("}}\\n")
"""
    done = watch(tmp_path, code, "--metrics", str(metrics), "--steps", "2")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["  step   1/2  reward 0.250", "  step   2/2  reward 0.500"]
    assert (tmp_path / "logs/run.log").read_text() == "much to read\n"


def test_a_failure_shows_the_end_of_the_log_and_keeps_the_status(tmp_path: Path) -> None:
    done = watch(tmp_path, "print('the cause'); raise SystemExit(7)")
    assert done.returncode == 7
    assert "the cause" in done.stderr
    assert "error: training failed with status 7; the whole log is" in done.stderr


def test_a_command_that_is_killed_has_the_shells_status(tmp_path: Path) -> None:
    assert watch(tmp_path, "import os; os.kill(os.getpid(), 9)").returncode == 137
