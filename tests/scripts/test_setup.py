"""setup.sh: what it refuses, and that nothing half done passes for done. `make test` itself runs the whole of it."""

from __future__ import annotations

import fcntl
import shutil
import sys
from pathlib import Path

import pytest
from script_runner import ROOT, Checkout

OFFLINE = {
    "PIP_CONFIG_FILE": "/dev/null",
    "PIP_INDEX_URL": "http://127.0.0.1:9",
    "PIP_RETRIES": "0",
    "PYTHON": sys.executable,
}


@pytest.fixture
def repo(tmp_path: Path) -> Checkout:
    checkout = Checkout(tmp_path)
    for file in ROOT.glob("requirements*"):
        shutil.copy(file, checkout.root)
    return checkout


@pytest.mark.parametrize(
    ("arguments", "environment", "message"),
    [
        ("--devv", {}, "unknown option --devv"),
        ("", {"STACK": "tpu"}, "STACK=tpu: cpu or gpu"),
        ("", {"PYTHON": "/bin/false"}, "PYTHON=/bin/false is not a Python 3.11 or 3.12"),
        ("", {"PYTHON": "no-such-python"}, "PYTHON=no-such-python is not a Python 3.11 or 3.12"),
    ],
)
def test_a_wrong_word_is_refused_before_anything_is_made(
    repo: Checkout, arguments: str, environment: dict[str, str], message: str
) -> None:
    done = repo.bash(f"bash train/scripts/setup.sh {arguments}", **environment)
    assert done.returncode == 1
    assert message in done.stderr
    assert not (repo.root / ".venv").exists()


def test_a_missing_compiler_is_named_before_gigabytes_are_fetched(repo: Checkout) -> None:
    for program in [*Path("/bin").iterdir(), *Path("/usr/bin").iterdir()]:
        if program.name != "nvcc" and not (repo.bin / program.name).exists():
            (repo.bin / program.name).symlink_to(program)
    env = {"STACK": "gpu", "CUDA_HOME": "/nowhere", "PATH": str(repo.bin), **OFFLINE}
    done = repo.bash("bash train/scripts/setup.sh", **env)
    assert done.returncode == 1
    assert "nvcc is missing, which compiles flash-attn" in done.stderr
    assert not (repo.root / ".venv/setup.log").exists()


@pytest.mark.slow
def test_a_failed_installation_is_not_taken_for_done(repo: Checkout) -> None:
    (repo.bin / "nvcc").write_text("#!/bin/sh\n")
    (repo.bin / "nvcc").chmod(0o755)
    done = repo.bash("bash train/scripts/setup.sh", STACK="gpu", **OFFLINE)
    assert done.returncode == 1
    assert "the whole log is .venv/setup.log" in done.stderr
    assert not (repo.root / ".venv/setup.done").exists()
    again = repo.bash("bash train/scripts/setup.sh", STACK="gpu", **OFFLINE)
    assert again.returncode == 1


def test_a_second_set_up_at_the_same_time_is_refused(repo: Checkout) -> None:
    with (repo.root / ".venv.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = repo.bash("bash train/scripts/setup.sh", STACK="cpu", PYTHON=sys.executable)
    assert done.returncode == 1
    assert "another setup is running" in done.stderr


@pytest.mark.slow
def test_what_is_up_to_date_is_left_alone(repo: Checkout) -> None:
    stamp = 'printf "cpu %s\\n" "$(cat requirements-cpu.txt requirements-cpu-hashed.txt | sha256sum | cut -c1-16)"'
    repo.bash(f"mkdir .venv && {stamp} >.venv/setup.done")
    done = repo.bash("bash train/scripts/setup.sh", PYTHON=sys.executable)
    assert done.returncode == 0, done.stderr
    assert "up to date (cpu stack)" in done.stdout
    (repo.root / "requirements-cpu.txt").write_text("changed==1\n")
    changed = repo.bash("bash train/scripts/setup.sh", **OFFLINE)
    assert "up to date" not in changed.stdout
