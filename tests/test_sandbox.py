"""The sandbox: what a program sees in it, what ends it, and that nothing of it stays."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from env_adapter import EnvError, SettingsError
from sandbox import probe
from sandbox.bubblewrap import Bubblewrap, Finished
from sandbox.limits import Limits
from sandbox.processes import descendants, memory_in_use
from swe.test_runs import python_folders

PYTHON = sys.executable
BOX = Bubblewrap(python_folders(Path(PYTHON)), slots=2)


def run(code: str, **limits: float) -> Finished:
    return BOX.run([PYTHON, "-I", "-c", code], limits=Limits(**{"wall_s": 20, **limits}))


def test_a_program_runs_on_a_copy_of_a_folder_and_cannot_change_the_folder(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "deep").mkdir(parents=True)
    tree.chmod(0o755)
    (tree / "deep" / "hello").write_text("hi")
    done = BOX.run(["/bin/sh", "-c", "cat deep/hello; echo changed > deep/hello; cat deep/hello; pwd"], tree=tree)
    assert (done.ended, done.returncode, done.output) == ("exit", 0, b"hichanged\n/testbed\n")
    assert (tree / "deep" / "hello").read_text() == "hi"


def test_input_output_report_and_exit_status_come_through(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import os, sys\nos.write(int(os.environ['REPORT_FD']), b'told ' + sys.stdin.buffer.read())\n"
        "print('out'); print('err', file=sys.stderr); sys.exit(3)\n"
    )
    done = BOX.run([PYTHON, "-I", "/opt/it.py"], files={"/opt/it.py": script}, stdin=b"in")
    assert (done.ended, done.returncode, done.report) == ("exit", 3, b"told in")
    assert sorted(done.output.split()) == [b"err", b"out"]


def test_it_sees_neither_the_users_environment_nor_files_nor_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    done = run(
        "import os; print(sorted(os.listdir('/'))); print(dict(os.environ)); "
        "print(len([p for p in os.listdir('/proc') if p.isdigit()])); print(os.getuid() != 0)"
    )
    root, variables, processes, not_root = done.output.decode().splitlines()
    assert "hf_secret" not in variables and "HF_TOKEN" not in variables
    seen = {"bin", "dev", "etc", "lib", "lib64", "proc", "sbin", "testbed", "tmp", "usr"}
    assert set(eval(root)) <= seen | {path.parts[1] for path in BOX.read_only}
    assert int(processes) <= 4 and not_root == "True"


@pytest.mark.parametrize(
    ("code", "limits", "ended"),
    [
        ("while True: pass", {"wall_s": 0.5}, "timeout"),
        ("import time; time.sleep(60)", {"wall_s": 0.5}, "timeout"),
        ("while True: pass", {"cpu_s": 1}, "exit"),  # killed by the kernel
        ("import os\nwhile True: os.write(1, b'x' * 65536)", {"output_kb": 64}, "output"),
        ("import os\nwhile True: os.write(int(os.environ['REPORT_FD']), b'x' * 65536)", {"output_kb": 64}, "output"),
        ("import os, time\nos.fork(); x = bytearray(150 << 20); time.sleep(9)", {"memory_mb": 256}, "memory"),
    ],
)
def test_limits_end_a_program_and_say_which(code: str, limits: dict[str, float], ended: str) -> None:
    done = run(code, **limits)
    assert done.ended == ended and done.returncode != 0
    assert done.seconds < 10
    assert len(done.output) <= 2048 << 10 and len(done.report) <= 2048 << 10


@pytest.mark.parametrize(
    "code",
    [
        "x = bytearray(1 << 30)",
        "f = open('/tmp/x', 'wb')\nfor _ in range(100): f.write(b'x' * (1 << 20))",
        "for i in range(99): open('/tmp/%d' % i, 'wb').write(b'x' * (1 << 20))",
        "for i in range(99): open('/dev/shm/%d' % i, 'wb').write(b'x' * (1 << 20))",
        "import os\nfor _ in range(99): os.fork() or os._exit(__import__('time').sleep(5) or 0)",
        "import os; os.memfd_create('x')",
        "import socket; socket.socket(40, 1)",
        "import socket; socket.socket(16, 3)",
        "import ctypes; c = ctypes.CDLL(None); exit(c.shmget(0, 4096, 0o1600) == -1)",
        "import ctypes; c = ctypes.CDLL(None); exit(c.unshare(0x10000000) == -1)",
        "import ctypes; c = ctypes.CDLL(None); exit(c.ptrace(16, 1, 0, 0) == -1)",
        "open('/usr/x', 'w')",
        "open('/dev/x', 'w')",
        "open('/x', 'w')",
        "import os; os.setuid(0)",
    ],
)
def test_what_a_program_may_not_do_fails_inside(code: str) -> None:
    done = run(code, memory_mb=512, disk_mb=16, file_mb=8, processes=16)
    assert done.returncode != 0, done.output


def test_ordinary_programs_work(tmp_path: Path) -> None:
    done = run(
        "import socket, subprocess, tempfile, threading, multiprocessing as m\n"
        "t = threading.Thread(target=print, args=('thread',)); t.start(); t.join()\n"
        "print(subprocess.run(['echo', 'child'], capture_output=True, text=True).stdout)\n"
        "s = socket.create_server(('127.0.0.1', 0)); c = socket.create_connection(s.getsockname()); print('socket')\n"
        "q = m.get_context('fork').Queue(); q.put('queue'); print(q.get())\n"
        "print(tempfile.mkdtemp())\n"
    )
    assert done.returncode == 0, done.output
    for word in (b"thread", b"child", b"socket", b"queue", b"/tmp/"):
        assert word in done.output


def test_no_more_run_at_a_time_than_there_are_slots() -> None:
    code = "import time; print(time.monotonic()); time.sleep(0.3); print(time.monotonic())"
    with ThreadPoolExecutor(6) as threads:
        spans = [tuple(map(float, done.output.split())) for done in threads.map(run, [code] * 6)]
    events = sorted([(start, 1) for start, _ in spans] + [(end, -1) for _, end in spans])
    most = running = 0
    for _, change in events:
        running += change
        most = max(most, running)
    assert 1 <= most <= 2


def test_nothing_stays_of_a_sandbox_whose_maker_is_killed() -> None:
    code = (
        "from pathlib import Path; from sandbox.bubblewrap import Bubblewrap; import os\n"
        "print(os.getpid(), flush=True)\n"
        "Bubblewrap().run(['/bin/sh', '-c', 'sleep 61.7 & sleep 61.7'])\n"
    )
    maker = subprocess.Popen([PYTHON, "-c", code], env=_environment(), stdout=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 60
        while len(sleepers := _named("sleep\x0061.7")) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert len(sleepers) == 2
    finally:
        maker.send_signal(signal.SIGKILL)
        maker.wait()
    deadline = time.monotonic() + 60
    while _named("sleep\x0061.7") and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _named("sleep\x0061.7")


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1] / "train/tools")}


def _named(command: str) -> list[str]:
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                text = (process / "cmdline").read_text()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if text.startswith(command):
                found.append(process.name)
    return found


def test_a_sandbox_that_cannot_be_made_is_a_fault_of_ours(tmp_path: Path) -> None:
    with pytest.raises(EnvError, match="could not make a sandbox"):
        BOX.run(["true"], tree=tmp_path / "no such folder")


def test_the_probe_says_what_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert "works here" in probe.check_sandbox()
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SettingsError, match="apt-get install bubblewrap"):
        probe.check_sandbox.__wrapped__()


def test_the_probe_refuses_a_bubblewrap_that_does_not_hold(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A program of that name that runs the command as it is."""
    fake = tmp_path / "bwrap"
    fake.write_text('#!/bin/bash\nwhile [[ $1 != prlimit ]]; do shift; done\nexec "$@"\n')
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(SettingsError, match=r"do not hold: .*no filter"):
        probe.check_sandbox.__wrapped__()


def test_the_probe_is_a_command() -> None:
    script = Path(probe.__file__)
    done = subprocess.run([PYTHON, script], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.startswith("bubblewrap works here")
    broken = subprocess.run([PYTHON, script], capture_output=True, text=True, env={"PATH": "/nowhere"})
    assert broken.returncode == 2 and "apt-get install bubblewrap" in broken.stderr


def test_memory_and_processes_are_counted_over_the_whole_tree() -> None:
    # One write each: `print` writes the line and its end apart, and two processes share the pipe.
    code = "import os, time; os.fork(); x = bytearray(50 << 20); os.write(1, b'ready\\n'); time.sleep(300)"
    process = subprocess.Popen([PYTHON, "-c", code], stdout=subprocess.PIPE)
    assert process.stdout
    try:
        assert [process.stdout.readline(), process.stdout.readline()] == [b"ready\n"] * 2
        assert len(descendants(process.pid)) == 2
        assert 100 << 20 < memory_in_use(process.pid) < 200 << 20
    finally:
        for pid in descendants(process.pid):
            os.kill(pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
    assert descendants(process.pid) == []
