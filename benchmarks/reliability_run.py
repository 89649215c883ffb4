"""One training run of benchmarks/reliability.py: started by its script, found among the machine's processes, killed.

run = TinyRun("sft", "reliability-sft", model, files)
process = run.start("trainer.total_training_steps=40")
run.kill(process, whole=False)           # SIGKILL for the trainer alone; its supervisor ends the rest
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parent.parent
SAVE_FREQ = {"sft": 3, "grpo": 2}
SCRIPTS = {"sft": "lgc-v2-SFT-trainer.sh", "grpo": "openspiel-ppo-trainer.sh"}
TRAINERS = {"sft": "verl.trainer.sft_trainer", "grpo": "verl.trainer.main_ppo"}
DIRECTORIES = {"sft": "train/artifacts/checkpoints", "grpo": "train/artifacts/RL/checkpoints"}
ARGUMENTS = {
    "sft": (),
    "grpo": (
        "tic_tac_toe",
        "data.train_batch_size=4",
        "data.max_response_length=4",
        "data.filter_overlong_prompts=false",
        "actor_rollout_ref.rollout.n=2",
        "actor_rollout_ref.actor.entropy_coeff=0.01",  # a random model earns no reward, and must move all the same
        "trainer.total_epochs=100000",
        "trainer.val_before_train=false",
        "trainer.test_freq=-1",
        f"trainer.save_freq={SAVE_FREQ['grpo']}",
        "trainer.max_actor_ckpt_to_keep=2",
    ),
}
SETTINGS = {
    "sft": {
        "SFT_TRAIN_BATCH_SIZE": "8",
        "SFT_MICRO_BATCH_SIZE_PER_GPU": "4",
        "SFT_MAX_LENGTH": "256",
        "SFT_TOTAL_EPOCHS": "100000",
        "SFT_LR": "1e-4",
        "SFT_SAVE_FREQ": str(SAVE_FREQ["sft"]),
        "SFT_MAX_CKPT_TO_KEEP": "2",
    },
    "grpo": {},
}


class TinyRun:
    """The tiny model on a CPU, `kind` sft or grpo. `save_dir`: where an SFT run's directory lies."""

    def __init__(self, kind: str, name: str, model: Path, data: Path, save_dir: Path | None = None) -> None:
        self.kind, self.name = kind, name
        self.directory = (save_dir or ROOT / DIRECTORIES[kind]) / name
        self.log = data / f"{name}.log"
        self.environment = {
            **os.environ,
            **SETTINGS[kind],
            "PROFILE": "cpu",
            "AGENT_MODEL_REPO_ID": str(model),
            "WANDB_EXP": name,
            "WANDB_MODE": "offline",
            "VERITAS_MIN_FREE_GB": "0",
            "SUPERVISE_GRACE_S": "10",
            "RAY_TMPDIR": str(data / "ray"),
        }
        if kind == "sft":
            self.environment["SFT_TRAIN_FILES"] = str(data / "count.parquet")
            if save_dir:
                self.environment["SFT_SAVE_DIR"] = str(save_dir)

    def start(self, *overrides: str, **environment: str) -> subprocess.Popen[bytes]:
        command = ["bash", str(ROOT / "train/scripts" / SCRIPTS[self.kind]), *ARGUMENTS[self.kind], *overrides]
        with self.log.open("wb") as log:
            return subprocess.Popen(
                command,
                env={**self.environment, **environment},
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait_for(self, condition: Callable[[], bool], process: subprocess.Popen[bytes], limit_s: float) -> bool:
        """Whether it came true within the limit and while the run was there."""
        end = time.monotonic() + limit_s
        while time.monotonic() < end:
            if condition():
                return True
            if process.poll() is not None:
                return False
            time.sleep(0.1)
        return False

    def wait(self, process: subprocess.Popen[bytes], limit_s: float) -> int | None:
        """Its status, or None when it did not end within the limit and was killed."""
        try:
            return process.wait(limit_s)
        except subprocess.TimeoutExpired:
            self.kill(process, whole=True)
            return None

    def processes(self) -> list[psutil.Process]:
        """Every process that has this run's name in its environment."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get("WANDB_EXP") == self.name and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
        return found

    def find(self, pattern: str) -> list[psutil.Process]:
        """Those of its processes whose command line begins with a match."""
        found = []
        for process in self.processes():
            try:
                if re.match(pattern, " ".join(process.cmdline())):
                    found.append(process)
            except psutil.NoSuchProcess:
                continue
        return found

    def kill(self, process: subprocess.Popen[bytes], whole: bool) -> int:
        """SIGKILL for all of it at once, as when a machine is lost, or for the trainer alone. Returns what is left."""
        targets = self.processes()
        if not whole:
            trainers = [one for one in targets if TRAINERS[self.kind] in one.cmdline()[1:4]]
            targets = trainers or targets
        for target in targets:
            try:
                target.send_signal(signal.SIGKILL)
            except psutil.NoSuchProcess:
                continue
        process.wait(90)
        end = time.monotonic() + 30
        while (left := self.processes()) and time.monotonic() < end:
            time.sleep(0.2)
        for one in left:
            one.kill()
        return len(left)

    def latest(self) -> int:
        file = self.directory / "latest_checkpointed_iteration.txt"
        text = file.read_text() if file.exists() else ""
        return int(text) if text else 0

    def logged(self) -> Counter[int]:
        """Step → how many times it was trained and logged, over all starts."""
        steps: Counter[int] = Counter()
        for file in self.directory.glob("metrics*.jsonl"):
            for line in file.read_text().splitlines():
                try:
                    steps[json.loads(line)["step"]] += 1
                except ValueError:
                    continue  # the line that a kill cut
        return steps

    def text(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def resumed_from(self) -> int:
        """The step that the script said it goes on from; 0 for a start anew."""
        match = re.search(r"^resume   from step (\d+)", self.text(), re.MULTILINE)
        return int(match[1]) if match else 0

    def wandb_ids(self) -> set[str]:
        """The ids of the W&B runs of this name."""
        files = (ROOT / "train/artifacts/wandb").rglob("offline-run-*/run-*.wandb")
        return {file.stem.removeprefix("run-") for file in files if self.name.encode() in file.read_bytes()}
