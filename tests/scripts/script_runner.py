"""Runs the real scripts in a copy of the repository whose path has spaces, with an environment that is only ours."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pyarrow
import pyarrow.parquet
import yaml

ROOT = Path(__file__).resolve().parents[2]
TRAINER = "train/scripts/openspiel-ppo-trainer.sh"
SFT_TRAINER = "train/scripts/lgc-v2-SFT-trainer.sh"
LEFT_OUT = shutil.ignore_patterns("models", "artifacts", "outputs", "parquet", "verl", "__pycache__")


class Checkout:
    """A copy of what the scripts need, at `<tmp>/a repo, with 'odd' (name)`."""

    def __init__(self, tmp: Path) -> None:
        self.root = tmp / "a repo, with 'odd' (name)"
        shutil.copytree(ROOT / "train", self.root / "train", ignore=LEFT_OUT)
        for name in (".env.example", "requirements.txt"):
            shutil.copy(ROOT / name, self.root / name)
        self.home = tmp / "home"
        self.home.mkdir()
        self.bin = tmp / "bin"
        self.bin.mkdir()
        self.env = {
            "PATH": f"{self.bin}:{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin",
            "HOME": str(self.home),
            "LANG": "C.UTF-8",
            "VERITAS_PYTHON": sys.executable,
            "RAY_TMPDIR": str(tmp / "ray"),
            "HF_ENDPOINT": "http://127.0.0.1:9",  # nothing listens: a test that reaches for the hub fails
            "CUDA_VISIBLE_DEVICES": "",
            # What vLLM has found out about the class of a model: without, it starts a process for that in every home.
            "VLLM_CACHE_ROOT": str(Path.home() / ".cache/vllm"),
        }

    def bash(self, code: str, cwd: Path | None = None, **env: str | None) -> subprocess.CompletedProcess[str]:
        """Run bash code; a variable given as None is removed from the environment."""
        merged = {key: value for key, value in {**self.env, **env}.items() if value is not None}
        return subprocess.run(
            ["bash", "-c", code], cwd=cwd or self.root, env=merged, capture_output=True, text=True, timeout=300
        )

    def script(self, path: str, *arguments: str, **env: str | None) -> subprocess.CompletedProcess[str]:
        """Run a script from the user's home."""
        merged = {key: value for key, value in {**self.env, **env}.items() if value is not None}
        command = ["bash", str(self.root / path), *arguments]
        return subprocess.run(command, cwd=self.home, env=merged, capture_output=True, text=True, timeout=300)

    def trainer(self, *arguments: str, **env: str | None) -> subprocess.CompletedProcess[str]:
        return self.script(TRAINER, *arguments, **env)

    def sft(self, *arguments: str, **env: str | None) -> subprocess.CompletedProcess[str]:
        return self.script(SFT_TRAINER, *arguments, **env)

    def gpus(self, *memories_mib: int) -> None:
        """Put a stand-in nvidia-smi on PATH that shows GPUs with these memories."""
        self.env["DOCTOR"] = "0"  # it would name the packages, which are those of a machine without a GPU
        self.env.pop("CUDA_VISIBLE_DEVICES", None)
        program = self.bin / "nvidia-smi"
        program.write_text("#!/bin/sh\n" + "".join(f"echo {memory}\n" for memory in memories_mib))
        program.chmod(0o755)

    def profiles(self, *names: str) -> None:
        for name in names:
            (self.root / f"train/config/profile/{name}.yaml").write_text("# @package _global_\n{}\n")

    def model(self, name: str = "tiny model") -> Path:
        """A directory that looks like a whole model: the scripts look at names and sizes only."""
        directory = self.home / name
        directory.mkdir()
        for file in ("config.json", "tokenizer_config.json"):
            (directory / file).write_text("{}")
        (directory / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
        return directory

    def own_python(self) -> None:
        """A .venv/bin/python, as the documented commands have it."""
        python = self.root / ".venv/bin/python"
        python.parent.mkdir(parents=True)
        python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
        python.chmod(0o755)

    def stand_in_verl(self, main: str) -> None:
        """A train/verl at the pinned version whose trainer is this Python code, with verl's real configs."""
        import importlib.util

        spec = importlib.util.find_spec("verl")
        assert spec and spec.submodule_search_locations
        package = self.root / "train/verl/verl"
        (package / "version").mkdir(parents=True)
        (package / "version/version").write_text(pinned("verl") + "\n")
        (package / "__init__.py").touch()
        (package / "trainer").mkdir()
        (package / "trainer/__init__.py").touch()
        for trainer in ("main_ppo.py", "sft_trainer.py"):
            (package / "trainer" / trainer).write_text(main)
        (package / "trainer/config").symlink_to(Path(spec.submodule_search_locations[0]) / "trainer/config")

    def parquet(self, path: str, rows: int = 64) -> Path:
        """A file of prompts and responses, in the user's home unless the path is absolute."""
        file = self.home / path
        file.parent.mkdir(parents=True, exist_ok=True)
        columns = {"prompt": [f"prompt {n}" for n in range(rows)], "response": ["answer"] * rows}
        pyarrow.parquet.write_table(pyarrow.table(columns), file)
        return file

    def checkpoint(self, run: str, step: int) -> Path:
        directory = self.root / f"train/artifacts/RL/checkpoints/{run}"
        whole_checkpoint(directory / f"global_step_{step}")
        (directory / "latest_checkpointed_iteration.txt").write_text(str(step))
        return directory


def whole_checkpoint(directory: Path, part: str = "actor", ranks: int = 1) -> Path:
    """What a script looks at of a checkpoint: names, sizes and ends of files."""
    (directory / part).mkdir(parents=True)
    (directory / part / "fsdp_config.json").write_text(json.dumps({"FSDP_version": 2, "world_size": ranks}))
    files = [f"{part}/{kind}_world_size_{ranks}_rank_{n}.pt" for kind in ("model", "optim") for n in range(ranks)]
    for name in [*files, "data.pt"]:
        with zipfile.ZipFile(directory / name, "w") as file:
            file.writestr("archive/data.pkl", b"weights " * 100)
    return directory


def pinned(package: str) -> str:
    match = re.search(rf"^{package}==(\S+)", (ROOT / "requirements.txt").read_text(), re.MULTILINE)
    assert match, f"requirements.txt does not pin {package}"
    return match.group(1)


def error_lines(result: subprocess.CompletedProcess[str]) -> list[str]:
    return [line for line in result.stderr.splitlines() if line.startswith("error:")]


def config_of(result: subprocess.CompletedProcess[str]) -> dict:
    """The config that a dry run printed."""
    assert result.returncode == 0, result.stderr
    return yaml.safe_load(result.stdout.partition("\ncd ")[0])


def command_of(result: subprocess.CompletedProcess[str]) -> tuple[dict[str, str], list[str]]:
    """The variables that the printed command sets and its words, as a shell would read them."""
    _, _, command = result.stdout.rpartition("\ncd ")
    words = shlex.split(command.replace("\\\n", " "))
    start = words.index("env") + 1
    end = words.index("-m") - 1
    return dict(word.split("=", 1) for word in words[start:end]), words[end:]


def environment_of(result: subprocess.CompletedProcess[str]) -> dict[str, str]:
    return command_of(result)[0]


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in ("Z", "X")


def clean_env() -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
