"""`watch_in_group`: what a run prints goes to its log too, a standstill ends it, and why it failed comes last."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from script_runner import ROOT, alive

LIB = ROOT / "train/scripts/lib"
SECRET = "hf_plantedSECRET"


def command(directory: Path, code: str) -> list[str]:
    shell = f'set -euo pipefail; . "{LIB}/common.sh"; CHECKPOINT_DIR=$1; shift; watch_in_group "$@"'
    return ["bash", "-c", shell, "bash", str(directory), sys.executable, "-c", code]


def environment(**variables: str) -> dict[str, str]:
    return {**os.environ, "VERITAS_PYTHON": sys.executable, "SUPERVISE_GRACE_S": "5", "HF_TOKEN": SECRET, **variables}


def watch(directory: Path, code: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(directory, code), env=environment(**variables), capture_output=True, text=True, timeout=60
    )


def reason(directory: Path) -> str:
    return (directory / "exit_reason.txt").read_text().strip()


def test_a_run_that_ends_well_has_its_output_on_the_screen_and_in_the_log(tmp_path: Path) -> None:
    code = "import os, sys; print('loss 0.5'); print('10%\\r99%', file=sys.stderr); print(os.environ['HF_TOKEN'])"
    done = watch(tmp_path, code)
    assert (done.returncode, done.stderr) == (0, "10%\n99%\n")  # read as text: the \\r is a line end
    assert done.stdout == f"loss 0.5\n{SECRET}\n"
    assert reason(tmp_path) == "finished"
    log = (tmp_path / "run.log").read_text()
    assert "loss 0.5\n" in log and "\n99%\n" in log
    assert SECRET not in log and "***" in log


def test_the_log_goes_on_in_the_next_start_and_the_reason_is_new(tmp_path: Path) -> None:
    assert watch(tmp_path, "print('first'); exit(3)").returncode == 3
    assert watch(tmp_path, "print('second')").returncode == 0
    assert reason(tmp_path) == "finished"
    log = (tmp_path / "run.log").read_text()
    assert log.index("first") < log.index("second")


def test_a_failed_run_says_last_what_failed_where_and_what_to_do(tmp_path: Path) -> None:
    code = "import sys\ndef save():\n    raise OSError(28, 'No space left on device')\nprint('x' * 999)\nsave()"
    done = watch(tmp_path, code)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-5:]
    assert last[0] == "error: OSError: [Errno 28] No space left on device"
    assert last[1].startswith("phase  start; status 1 after ")
    assert last[2].endswith(":3 in save") and last[3].startswith("fix    free some disk")
    assert last[4] == f"log    {tmp_path}/run.log"
    assert reason(tmp_path) == "OSError: [Errno 28] No space left on device, in start"


@pytest.mark.parametrize(("ending", "status"), [("exit(7)", 7), ("import os; os.kill(os.getpid(), 9)", 137)])
def test_the_status_is_the_commands(tmp_path: Path, ending: str, status: int) -> None:
    assert watch(tmp_path, ending).returncode == status


def test_a_terminal_stays_a_terminal(tmp_path: Path) -> None:
    screen, terminal = pty.openpty()
    process = subprocess.Popen(
        command(tmp_path, "import sys; print(sys.stdout.isatty())"), env=environment(), stdout=terminal
    )
    assert process.wait(60) == 0
    os.close(terminal)
    assert os.read(screen, 1000) == b"True\r\n"
    os.close(screen)


@pytest.mark.slow
def test_output_of_a_daemon_does_not_hold_the_run_up(tmp_path: Path) -> None:
    code = "import subprocess; subprocess.Popen(['sleep', '300'], start_new_session=True); print('done')"
    started = time.monotonic()
    assert watch(tmp_path, code).returncode == 0
    assert time.monotonic() - started < 15


PHASES = """
import os, sys, time
sys.path.insert(0, sys.argv[1] if len(sys.argv) > 1 else {tools!r})
import run_phase
class Trainer:
    global_steps = 4
    def generate(self): {body}
Trainer.generate = run_phase._telling(Trainer.generate, "generate")
Trainer().generate()
"""


def phases(body: str) -> str:
    return PHASES.format(tools=str(ROOT / "train/tools"), body=body)


@pytest.mark.slow
def test_a_standstill_is_ended_named_and_has_its_stacks_written(tmp_path: Path) -> None:
    done = watch(tmp_path, phases("time.sleep(300)"), STALL_LIMIT_S="3")
    assert done.returncode == 124
    assert "error: stalled in generate (step 4): no sign of life for" in done.stderr
    assert reason(tmp_path).startswith("stalled in generate (step 4)")
    (stacks,) = (tmp_path / "stalls").glob("*/*")
    assert "Trainer.generate" in stacks.read_text()


def test_a_process_that_py_spy_may_not_read_writes_its_stacks_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sys.path.insert(0, str(LIB))
    import stall

    monkeypatch.setattr(stall, "_stacks", lambda command, pid: ("", "py-spy: Permission denied\n"))
    tools = str(ROOT / "train/tools")
    code = f"import sys; sys.path.insert(0, {tools!r}); import run_phase; run_phase.sign_of_life(); print(flush=True)\n"
    waiting = "def wait_for_a_lock():\n    import time; time.sleep(300)\nwait_for_a_lock()"
    variables = environment(VERITAS_PHASE_FILE=str(tmp_path / "phase.json"))
    silent = [sys.executable, "-c", "print(flush=True); import time; time.sleep(300)"]
    with (
        subprocess.Popen([sys.executable, "-c", code + waiting], env=variables, stdout=subprocess.PIPE) as telling,
        subprocess.Popen(silent, stdout=subprocess.PIPE) as other,
    ):
        telling.stdout.readline(), other.stdout.readline()
        for process in (telling, other):
            while "nanosleep" not in Path(f"/proc/{process.pid}/wchan").read_text():  # from the line to the wait
                time.sleep(0.01)
        assert stall.write_stacks(tmp_path / "stalls", {telling.pid, other.pid}, tmp_path / ".stacks") == 1
        texts = {file.name.partition("-")[0]: file.read_text() for file in (tmp_path / "stalls").iterdir()}
        telling.kill(), other.kill()
    assert "in wait_for_a_lock" in texts[str(telling.pid)]
    assert "Permission denied" in texts[str(other.pid)] and "nanosleep" in texts[str(other.pid)]


@pytest.mark.slow
def test_signs_of_life_keep_a_long_phase_going(tmp_path: Path) -> None:
    body = "[(time.sleep(1), run_phase.sign_of_life()) for _ in range(5)]"
    assert watch(tmp_path, phases(body), STALL_LIMIT_S="3").returncode == 0
    assert json.loads((tmp_path / "phase.json").read_text()) == {"phase": "after generate", "step": 4}


def test_output_is_no_sign_of_life_once_the_run_tells_its_phases(tmp_path: Path) -> None:
    body = "[(time.sleep(0.3), print('pending: 64', flush=True)) for _ in range(999)]"
    assert watch(tmp_path, phases(body), STALL_LIMIT_S="2").returncode == 124


@pytest.mark.slow
def test_a_run_that_waits_for_a_dead_worker_is_ended(tmp_path: Path) -> None:
    worker = f"import time; open({str(tmp_path)!r} + '/up', 'w').close(); time.sleep(3)"
    body = (
        "import subprocess; "
        f"subprocess.Popen(['ray::WorkerDict', '-c', {worker!r}], executable={sys.executable!r}); time.sleep(300)"
    )
    done = watch(tmp_path, phases(body), LOST_LIMIT_S="1")
    assert done.returncode == 124
    assert "error: lost ray::WorkerDict (pid " in done.stderr and "in generate (step 4)" in done.stderr


def test_what_a_worker_forks_may_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Until it executes a program, a fork has its parent's title; how long that takes depends on the machine."""
    monkeypatch.syspath_prepend(LIB)
    import stall

    code = "import os, time; pid = os.fork(); pid or os.read(0, 1); print(pid, flush=True); os.wait(); os.read(0, 1)"
    argv = {"args": ["ray::TaskRunnerV1.run", "-c", code], "executable": sys.executable}
    with subprocess.Popen(**argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as worker:
        fork = int(worker.stdout.readline())
        assert stall.title(fork) == stall.title(worker.pid)
        workers = stall.Workers()
        workers.look({worker.pid, fork})
        worker.stdin.write("\n")
        while stall.title(fork):
            time.sleep(0.01)
        workers.look({worker.pid})
        assert workers.lost == []
        worker.stdin.write("\n")
        worker.wait(10)
        workers.look(set())
    assert workers.lost == [f"ray::TaskRunnerV1 (pid {worker.pid})"]


@pytest.mark.slow
def test_a_trainer_that_does_not_end_behind_its_traceback_is_ended_with_its_own_error(tmp_path: Path) -> None:
    code = (
        "import sys, time\nprint('Error executing job with overrides: []', file=sys.stderr)\n"
        "try:\n    raise OSError(28, 'No space left on device')\n"
        "except OSError:\n    import traceback; traceback.print_exc(); time.sleep(300)"
    )
    done = watch(tmp_path, code, LOST_LIMIT_S="1")
    assert done.returncode == 1
    assert "error: OSError: [Errno 28] No space left on device" in done.stderr
    assert list((tmp_path / "stalls").iterdir())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_as_before(tmp_path: Path, number: int) -> None:
    code = f"import os, time; open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid())); time.sleep(300)"
    with subprocess.Popen(command(tmp_path, code), env=environment(), stderr=subprocess.PIPE, text=True) as shell:
        while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
            time.sleep(0.05)
        shell.send_signal(number)
        _, printed = shell.communicate(timeout=60)
    assert shell.returncode == 128 + number
    assert not alive(int((tmp_path / "pid").read_text()))
    assert reason(tmp_path) == f"ended by {signal.Signals(number).name}"
    assert "error:" not in printed


def test_killing_the_supervisor_reaches_the_command(tmp_path: Path) -> None:
    code = f"import os, time; open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid())); time.sleep(300)"
    shell = subprocess.Popen(command(tmp_path, code), env=environment())
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
        time.sleep(0.05)
    pid = int((tmp_path / "pid").read_text())
    watcher = parent(pid)
    os.kill(parent(watcher), signal.SIGKILL)
    shell.wait(60)
    end = time.monotonic() + 60
    while (alive(pid) or alive(watcher)) and time.monotonic() < end:
        time.sleep(0.1)
    assert not alive(pid) and not alive(watcher)


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
