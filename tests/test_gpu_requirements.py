"""requirements.txt and requirements-gpu.lock: what verl's release names, one version of each package, and resolvable.

Nothing is installed. The slow tests ask the package registry for metadata (65 MB the first time, 10 to 20 s a Python;
pip's own dry run downloads every wheel, 3.5 GB, in 130 s) and are skipped where it does not answer.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
PYTHONS = ["3.11", "3.12"]
NO_ANSWER = re.compile(r"error sending request|dns error|connection refused|timed out|failed to connect", re.IGNORECASE)


def wanted() -> list[Requirement]:
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    return [Requirement(text) for line in lines if (text := line.partition("#")[0].strip())]


def environment(python: str) -> dict[str, str]:
    return {
        "python_version": python,
        "python_full_version": f"{python}.9",
        "platform_machine": "x86_64",
        "sys_platform": "linux",
        "platform_system": "Linux",
        "os_name": "posix",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
    }


def versions(text: str, python: str) -> dict[str, str]:
    """The packages of a lock file on one Python: name → version. Two versions of one package are a fault."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        if not line.strip() or line.startswith((" ", "#")):
            continue
        requirement = Requirement(line)
        if requirement.marker and not requirement.marker.evaluate(environment(python)):
            continue
        name = canonicalize_name(requirement.name)
        assert name not in found, f"two versions of {name} on Python {python}"
        (pin,) = requirement.specifier
        assert pin.operator == "=="
        found[name] = pin.version
    return found


def locked(python: str, stack: str = "gpu") -> dict[str, str]:
    return versions((ROOT / f"requirements-{stack}.lock").read_text(), python)


def flash_attn() -> str:
    return re.findall(r"pip install flash-attn==(\S+)", (ROOT / "requirements.txt").read_text())[0]


@pytest.mark.parametrize("python", PYTHONS)
def test_the_lock_holds_what_is_wanted(python: str) -> None:
    lock = locked(python)
    for requirement in wanted():
        assert requirement.specifier.contains(lock[canonicalize_name(requirement.name)]), requirement


def test_the_set_is_the_one_that_verl_is_released_for() -> None:
    release = [Requirement(text) for text in metadata.requires("verl") or []]
    lock = {**locked("3.12"), "flash-attn": flash_attn()}
    for extra in ("", "vllm", "flash-attn-cu130torch211"):
        for requirement in release:
            # mbridge is for Megatron, verl[verl-core] is this list
            if requirement.name in ("mbridge", "verl") or bool(requirement.marker) != bool(extra):
                continue
            if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
                continue
            assert requirement.specifier.contains(lock[canonicalize_name(requirement.name)]), requirement
    assert metadata.version("verl") == lock["verl"]


def run(*command: str) -> str:
    index = subprocess.run(
        [sys.executable, "-m", "pip", "config", "get", "global.index-url"], capture_output=True, text=True
    ).stdout.strip()
    env = {**os.environ, **({"UV_DEFAULT_INDEX": index} if index else {})}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280, env=env)
    if done.returncode and NO_ANSWER.search(done.stderr):
        pytest.skip(f"the package registry does not answer: {done.stderr.strip()[-200:]}")
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def uv() -> str:
    program = shutil.which("uv", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if program is None:
        pytest.skip("uv is not installed (requirements-dev.txt)")
    return program


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("python", PYTHONS)
def test_the_lock_resolves(uv: str, python: str) -> None:
    options = ["--python-platform", "x86_64-manylinux_2_28", "--python-version", python, "--no-python-downloads"]
    lock = ["--constraint", "requirements-gpu.lock"]
    resolved = run(uv, "pip", "compile", "--quiet", "--no-annotate", *options, *lock, "requirements.txt")
    assert versions(resolved, python) == locked(python)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_flash_attn_is_there_to_be_compiled() -> None:
    listed = run(sys.executable, "-m", "pip", "index", "versions", "flash-attn", "--pre")
    assert flash_attn() in re.split(r"[,\s]+", listed)


def test_the_sglang_image_differs_by_what_runs_the_rollout_alone() -> None:
    vllm, sglang = locked("3.12"), locked("3.12", "sglang")
    release = [Requirement(text) for text in metadata.requires("verl") or []]
    (named,) = {requirement.specifier for requirement in release if requirement.name == "sglang"}
    assert named.contains(sglang["sglang"])
    assert "vllm" not in sglang
    for requirement in wanted():
        if requirement.name not in ("vllm", "flashinfer-python"):
            assert requirement.specifier.contains(sglang[canonicalize_name(requirement.name)]), requirement
    for name in ("torch", "transformers", "ray", "peft", "tensordict"):
        assert sglang[name] == vllm[name]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_lock_of_the_sglang_image_resolves(uv: str, tmp_path: Path) -> None:
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    override, without = tmp_path / "override.txt", tmp_path / "without-vllm.txt"
    override.write_text("".join(f"{line}\n" for line in lines if line.startswith("transformers==")))
    without.write_text("\n".join(line for line in lines if not line.startswith(("vllm==", "flashinfer-python=="))))
    options = ["--python-platform", "x86_64-manylinux_2_34", "--python-version", "3.12", "--no-python-downloads"]
    files = ["--override", str(override), "-c", "requirements-sglang.lock", "requirements-sglang.txt", str(without)]
    resolved = run(uv, "pip", "compile", "--quiet", "--no-annotate", *options, *files)
    assert versions(resolved, "3.12") == locked("3.12", "sglang")
