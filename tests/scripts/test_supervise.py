"""`run_in_group`: however it ends, everything that the command started ends, and nothing else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from script_runner import ROOT, alive

# What a stubborn framework does: a child, one in a session of its own, an orphaned daemon, one that ignores SIGTERM.
FAMILY = """
import os, signal, subprocess, sys, time
out = sys.argv[1]
def note(name, pid): open(f"{out}/{name}.part", "w").write(str(pid)); os.rename(f"{out}/{name}.part", f"{out}/{name}")
note("child", subprocess.Popen(["sleep", "300"]).pid)
note("session", subprocess.Popen(["sleep", "300"], start_new_session=True).pid)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        note("daemon", os.getpid())
        os.execvp("sleep", ["sleep", "300"])
    os._exit(0)
os.wait()
stubborn = subprocess.Popen([sys.executable, "-c",
    "import signal, time; [signal.signal(s, signal.SIG_IGN) for s in (1, 2, 15)];"
    "print('x', flush=True); time.sleep(300)"],
    stdout=subprocess.PIPE)
stubborn.stdout.readline()
note("stubborn", stubborn.pid)
note("command", os.getpid())
exec(sys.argv[2])
"""
NAMES = ("child", "session", "daemon", "stubborn", "command")


def start(tmp_path: Path, ending: str, grace: str = "1") -> subprocess.Popen[bytes]:
    """A shell that calls run_in_group, in a process group of its own as under a terminal."""
    code = f'set -euo pipefail; . "{ROOT}/train/scripts/lib/common.sh"; run_in_group "$@"'
    return subprocess.Popen(
        ["bash", "-c", code, "bash", sys.executable, "-c", FAMILY, str(tmp_path), ending],
        env={**os.environ, "VERITAS_PYTHON": sys.executable, "SUPERVISE_GRACE_S": grace},
        start_new_session=True,
    )


def family(tmp_path: Path) -> dict[str, int]:
    deadline = time.monotonic() + 60
    while not all((tmp_path / name).exists() for name in NAMES):
        assert time.monotonic() < deadline, sorted(tmp_path.iterdir())
        time.sleep(0.02)
    return {name: int((tmp_path / name).read_text()) for name in NAMES}


def survivors(pids: dict[str, int], within: float = 15) -> list[str]:
    deadline = time.monotonic() + within
    while (left := [name for name, pid in pids.items() if alive(pid)]) and time.monotonic() < deadline:
        time.sleep(0.05)
    return left


@pytest.mark.parametrize(
    ("number", "whole_group"),
    [(signal.SIGINT, True), (signal.SIGTERM, False), (signal.SIGHUP, False), (signal.SIGINT, False)],
)
def test_a_signal_ends_the_whole_family_and_nobody_else(tmp_path: Path, number: int, whole_group: bool) -> None:
    bystander = subprocess.Popen(["sleep", "300"])
    try:
        shell = start(tmp_path, "time.sleep(300)")
        pids = family(tmp_path)
        (os.killpg if whole_group else os.kill)(shell.pid, number)  # Ctrl-C reaches the whole foreground group
        assert shell.wait(60) == 128 + number
        assert survivors(pids, within=0) == []
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_killing_the_script_ends_its_run(tmp_path: Path) -> None:
    shell = start(tmp_path, "time.sleep(300)")
    pids = family(tmp_path)
    shell.kill()
    shell.wait()
    assert survivors(pids) == []


def test_killing_the_supervisor_reaches_the_command(tmp_path: Path) -> None:
    shell = start(tmp_path, "time.sleep(300)")
    pids = family(tmp_path)
    supervisor = int(Path(f"/proc/{pids['command']}/stat").read_text().rpartition(")")[2].split()[1])
    os.kill(supervisor, signal.SIGKILL)
    shell.wait(60)
    assert survivors({"command": pids["command"]}) == []
    for pid in pids.values():  # what an unsupervised command leaves: ours to clean
        if alive(pid):
            os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize(("ending", "status"), [("pass", 0), ("sys.exit(7)", 7), ("os.kill(os.getpid(), 9)", 137)])
def test_a_command_that_ends_leaves_nothing_behind(tmp_path: Path, ending: str, status: int) -> None:
    shell = start(tmp_path, ending)
    assert shell.wait(60) == status
    assert survivors(family(tmp_path), within=0) == []


def test_a_command_has_the_grace_period_to_finish(tmp_path: Path) -> None:
    # No handler: one whose signal comes right before a long `sleep` is called at its end (1 of 320 on two busy cores).
    finish = (
        "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM]); open(f'{out}/ready', 'w').close();"
        "signal.sigwait([signal.SIGTERM]); time.sleep(1); open(f'{out}/saved', 'w').close()"
    )
    shell = start(tmp_path, finish, grace="50")
    pids = family(tmp_path)
    while not (tmp_path / "ready").exists():
        time.sleep(0.02)
    for name in ("session", "daemon", "stubborn"):  # whom the signal does not reach: the run waits for the command only
        os.kill(pids[name], signal.SIGKILL)
    started = time.monotonic()
    shell.terminate()
    assert shell.wait(60) == 143
    assert (tmp_path / "saved").exists()
    assert time.monotonic() - started < 50


def test_a_second_signal_cuts_the_grace_period_short(tmp_path: Path) -> None:
    shell = start(tmp_path, "time.sleep(300)", grace="60")
    pids = family(tmp_path)
    shell.send_signal(signal.SIGINT)
    assert survivors({"child": pids["child"]}, within=60) == []  # the first one has arrived
    time.sleep(1)
    assert alive(pids["stubborn"])
    shell.send_signal(signal.SIGINT)
    assert shell.wait(60) == 130
    assert survivors(pids, within=0) == []


def test_nohup_is_honoured(tmp_path: Path) -> None:
    code = f'. "{ROOT}/train/scripts/lib/common.sh"; run_in_group bash -c "echo up; exec sleep 3"'
    environment = {**os.environ, "VERITAS_PYTHON": sys.executable}
    with subprocess.Popen(["nohup", "bash", "-c", code], env=environment, stdout=subprocess.PIPE) as shell:
        assert shell.stdout
        assert shell.stdout.readline() == b"up\n"
        shell.send_signal(signal.SIGHUP)
        assert shell.wait(60) == 0


def test_a_command_that_is_not_there_is_named() -> None:
    code = f'. "{ROOT}/train/scripts/lib/common.sh"; run_in_group no-such-program'
    env = {**os.environ, "VERITAS_PYTHON": sys.executable}
    result = subprocess.run(["bash", "-c", code], env=env, capture_output=True, text=True, timeout=60)
    assert result.returncode == 127
    assert "no-such-program" in result.stderr
