"""The doctor's parts: requirements, versions, limits of containers, sizes of models, and masks."""

from __future__ import annotations

import json
import string
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from safetensors.numpy import save_file

sys.path.insert(0, str(Path(__file__).parent / "scripts"))
from script_runner import alive

from doctor.bounded import Outcome, run_bounded
from doctor.checkpoints import count_parameters
from doctor.lines import FAIL, OK, WARN, Line, as_json, as_messages, as_table, is_secret, masked, secret_mask
from doctor.machine import container_memory
from doctor.nvidia import ask_nvidia, read_answers
from doctor.pins import read_requirements, satisfies

ROOT = Path(__file__).resolve().parents[1]
VERSIONS = st.lists(st.integers(0, 12), min_size=1, max_size=4).map(lambda parts: ".".join(map(str, parts)))
CLAUSES = st.tuples(st.sampled_from(["==", "!=", ">=", "<=", ">", "<"]), VERSIONS).map("".join)
WORDS = st.text(string.ascii_letters + string.digits + "-_.~+/=@:'\" ", min_size=4, max_size=30)


# --- requirements


@given(VERSIONS, st.lists(CLAUSES, max_size=3).map(",".join), st.sampled_from(["", "+cpu", "+cu130"]))
def test_a_version_satisfies_what_pip_says_that_it_does(version: str, versions: str, build: str) -> None:
    assert satisfies(version + build, versions) == SpecifierSet(versions).contains(version)


@pytest.mark.parametrize(
    ("version", "versions", "expected"),
    [
        ("0.1.15.post2", "==0.1.15.post2", True),
        ("0.1.15", "==0.1.15.post2", False),
        ("2.13.0+cpu", "==2.13.0", True),
        ("2.13.0", "==2.13.0+cpu", False),
        ("5.9.3", "==5.9.*", True),
        ("5.10", "==5.9.*", False),
        ("1.4.2", "~=1.4", True),
        ("2.0", "~=1.4", False),
        ("1.0", "", True),
    ],
)
def test_versions_of_other_forms(version: str, versions: str, expected: bool) -> None:
    assert satisfies(version, versions) == expected


@pytest.mark.parametrize("file", sorted(ROOT.glob("requirements*.txt")), ids=lambda file: file.name)
def test_our_requirements_are_read_as_pip_reads_them(file: Path) -> None:
    theirs = []
    for line in file.read_text().splitlines():
        text = line.partition(" #")[0].partition(" --hash")[0].strip()
        if text and not text.startswith("#"):
            theirs.append(Requirement(text))
    ours = read_requirements(file.read_text())
    assert [(each.name, SpecifierSet(each.versions)) for each in ours] == [
        (each.name, each.specifier) for each in theirs
    ]
    assert ours


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=60))
def test_no_text_of_a_requirements_file_raises(text: str) -> None:
    for each in read_requirements(text):
        assert each.name
        satisfies("1.2.3", each.versions)


@given(st.sampled_from(["torch", "ray", "open_spiel"]), st.lists(CLAUSES, min_size=1, max_size=3), st.booleans())
def test_extras_markers_and_hashes_are_left_out(name: str, clauses: list[str], hashed: bool) -> None:
    line = f"{name}[all] {', '.join(clauses)} ; python_version > '3' # why"
    if hashed:
        line = f"{name}{','.join(clauses)} \\\n    --hash=sha256:00ff"
    (read,) = read_requirements(line)
    theirs = Requirement(f"{name}{','.join(clauses)}")
    assert (read.name, SpecifierSet(read.versions)) == (theirs.name, theirs.specifier)


# --- masks


@given(WORDS, st.sampled_from(["HF_TOKEN", "MY_PASSWORD", "AWS_ACCESS_KEY_ID"]))
def test_a_secret_is_in_no_form_of_the_answer(secret: str, name: str) -> None:
    said = [Line("one", status, f"it is <{secret}>", f"unset <{secret.strip()}>") for status in (OK, WARN, FAIL)]
    lines = masked(said, {name: secret})
    if len(secret.strip()) >= 4:
        assert {(line.found, line.fix) for line in lines} == {("it is <***>", "unset <***>")}
    assert json.loads(as_json(lines))["checks"][0]["found"] == lines[0].found
    assert lines[0].found in as_table(lines) and lines[1].found in as_messages(lines)


def test_passwords_in_urls_are_masked_and_hosts_are_not() -> None:
    assert secret_mask({})("https://me:pw@hub.example/x") == "https://***@hub.example/x"
    assert secret_mask({"HF_TOKEN": "abc"})("abc") == "abc", "too short to be one, and it would hide other words"


def test_shell_and_python_agree_on_names_of_secrets() -> None:
    words = ["TOKEN", "API_KEY", "ACCESS_KEY", "SECRET", "PASSWORD", "PASSWD", "CREDENTIALS", "MODE"]
    names = [before + word + after for before in ("", "X", "MY_") for word in words for after in ("", "S", "_ID")]
    code = '. "$0/train/scripts/lib/common.sh"; for name; do if is_secret "$name"; then echo "$name"; fi; done'
    done = subprocess.run(["bash", "-c", code, ROOT, *names], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [name for name in names if is_secret(name)]


# --- the machine


def cgroup(folder: Path, names: tuple[str, str, str], limit: str, used: int, cache: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / names[0]).write_text(f"{limit}\n")
    (folder / names[1]).write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 1\n{names[2]} {cache}\n")


V2 = ("memory.max", "memory.current", "inactive_file")
V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")


@pytest.mark.parametrize(
    ("line", "base", "names"),
    [("0::/user/job", "", V2), ("7:cpu,cpuacct:/other\n5:memory:/user/job", "memory", V1)],
)
def test_the_least_limit_of_a_container_counts(
    tmp_path: Path, line: str, base: str, names: tuple[str, str, str]
) -> None:
    proc, groups = tmp_path / "proc", tmp_path / "cgroup"
    (proc / "self").mkdir(parents=True)
    (proc / "self/cgroup").write_text(f"{line}\n")
    cgroup(groups / base, names, "max" if base == "" else str(2**63 - 4096), 9, 1)
    cgroup(groups / base / "user", names, "8000", 5000, 1500)
    cgroup(groups / base / "user/job", names, "max" if base == "" else "9000", 4000, 0)
    assert container_memory(proc, groups) == (8000, 3500)


def test_a_container_sees_its_own_group_at_the_top_and_a_machine_has_none(tmp_path: Path) -> None:
    (tmp_path / "self").mkdir()
    (tmp_path / "self/cgroup").write_text("0::/a/path/of/the/host\n")
    assert container_memory(tmp_path, tmp_path / "cgroup") == (None, 0)
    cgroup(tmp_path / "cgroup", V2, "1000", 600, 100)
    assert container_memory(tmp_path, tmp_path / "cgroup") == (1000, 500)


def test_parameters_are_counted_from_the_headers(tmp_path: Path) -> None:
    assert count_parameters(tmp_path) == 0
    save_file({"a": np.zeros((3, 5)), "b": np.zeros(7, np.float16)}, tmp_path / "model-1.safetensors", {"format": "pt"})
    save_file({"c": np.zeros((2, 2), np.float32)}, tmp_path / "model-2.safetensors")
    assert count_parameters(tmp_path) == 26
    (tmp_path / "model-3.safetensors").write_bytes(b"\xff" * 20)
    assert count_parameters(tmp_path) == 26, "a broken file is named elsewhere"


def test_a_driver_that_hangs_is_given_up(tmp_path: Path) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    program.chmod(0o755)
    gpus = ask_nvidia({"PATH": f"{tmp_path}:/usr/bin:/bin"}, seconds=0.3)
    assert (gpus.state, gpus.fault) == ("broken", "did not end within 0.3 s")
    assert ask_nvidia({"PATH": str(tmp_path), "CUDA_VISIBLE_DEVICES": "-1"}, 1).state == "hidden"
    assert ask_nvidia({"PATH": "/no/where"}, 1).state == "none"


@given(st.lists(st.text(string.digits + "GPU-a, [N/A]MIG.", max_size=60), max_size=5).map("\n".join))
def test_no_answer_of_nvidia_smi_raises(text: str) -> None:
    answer = Outcome(0, text, "", 1)
    gpus = read_answers(answer, answer, answer)
    assert gpus.state == "found"
    assert all(gpus.used_mib(gpu) >= 0 for gpu in gpus.gpus)


def test_a_program_is_ended_with_all_that_it_started() -> None:
    code = "import subprocess, time; print(subprocess.Popen(['sleep', '60']).pid, flush=True); time.sleep(60)"
    done = run_bounded([sys.executable, "-S", "-c", code], 1)
    assert done.hung and done.death() == "did not end within 1 s"
    deadline = time.monotonic() + 60
    while alive(int(done.output)):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert run_bounded(["/no/program"], 1).death() == "/no/program cannot be started: No such file or directory"
