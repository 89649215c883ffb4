"""train/Dockerfile: linted, fed by the requirements files alone, on the CUDA that torch is built for."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "train/Dockerfile").read_text()


def test_hadolint_finds_nothing() -> None:
    program = shutil.which("hadolint", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if program is None:
        pytest.skip("hadolint is not installed (requirements-dev.txt)")
    done = subprocess.run([program, "train/Dockerfile"], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout


def test_no_version_of_a_package_stands_in_the_dockerfile() -> None:
    assert {name for name in re.findall(r"([A-Za-z0-9_-]+)==[0-9]", TEXT) if name != "uv"} == set()
    assert "-r requirements.txt -c requirements-gpu.lock" in TEXT
    assert "--no-deps -r requirements-sglang.lock" in TEXT


def test_the_builder_is_given_all_that_is_copied_and_nothing_else() -> None:
    (copied,) = re.findall(r"^COPY (.+) \./$", TEXT, re.MULTILINE)
    ignore = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    assert ignore == ["*", *(f"!{name}" for name in copied.split())]
    assert all((ROOT / name).is_file() for name in copied.split())


def test_its_cuda_is_that_of_torch() -> None:
    (cuda,) = re.findall(r"^ARG CUDA=(\d+\.\d+)\.", TEXT, re.MULTILINE)
    (toolkit,) = re.findall(r"^cuda-toolkit==(\d+\.\d+)", (ROOT / "requirements-gpu.lock").read_text(), re.MULTILINE)
    assert cuda == toolkit


def test_it_finds_the_version_of_flash_attn() -> None:
    (flash_attn,) = re.findall(r'"\$\((.+)\)"', TEXT)
    said = subprocess.run(["bash", "-c", flash_attn], cwd=ROOT, capture_output=True, text=True).stdout
    assert re.fullmatch(r"flash-attn==\d+\.\d+\.\d+\n", said)
