"""A training by a GRPO script, as a user starts it: verl, Ray, FSDP and vLLM on CPU, with the tiny model."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).parent / "scripts"))
from script_runner import Checkout

SMALL = (
    "data.train_batch_size=4",
    "data.max_response_length=4",
    "data.filter_overlong_prompts=false",
    "actor_rollout_ref.rollout.n=2",
    "actor_rollout_ref.actor.entropy_coeff=0.01",  # a random model earns no reward, and must move all the same
    "trainer.val_before_train=false",
    "trainer.test_freq=-1",
    "trainer.save_freq=1",
    "trainer.max_actor_ckpt_to_keep=1",
)
SECRET = "hf_plantedSECRET"
LIMIT_S = 1200
"""For a run: most of it is the start of a dozen processes, beside another test's."""
LEGAL = "+data.custom_cls.config.adapter_config.reward_mode=legal"


def processes_of(run: str) -> list[psutil.Process]:
    """Every process that has this run's name in its environment."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("WANDB_EXP") == run and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


class Run:
    """One training run by a GRPO script, found again among the machine's processes by its name."""

    command: tuple[str, ...] = ("openspiel-ppo-trainer.sh", "tic_tac_toe", *SMALL, LEGAL)

    def __init__(self, checkout: Checkout, model: Path, name: str) -> None:
        self.checkout, self.name = checkout, f"{name}-{os.getpid()}"
        self.directory = checkout.root / "train/artifacts/RL/checkpoints" / self.name
        self.environment = {
            **checkout.env,
            "AGENT_MODEL_REPO_ID": str(model),
            "WANDB_EXP": self.name,
            "VERITAS_MIN_FREE_GB": "1",
            "SUPERVISE_GRACE_S": "10",
            "HF_TOKEN": SECRET,
            "WANDB_TAGS": "tiny,test",
        }
        self.log = checkout.root / f"{self.name}.log"

    def start(self, *overrides: str, **environment: str) -> subprocess.Popen[bytes]:
        script, *arguments = self.command
        with self.log.open("wb") as log:
            return subprocess.Popen(
                ["bash", str(self.checkout.root / "train/scripts" / script), *arguments, *overrides],
                env={**self.environment, **environment},
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def steps(self) -> list[dict]:
        file = self.directory / "metrics.jsonl"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def wait_for(self, condition: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
        end = time.monotonic() + LIMIT_S
        while not condition():
            assert process.poll() is None, f"it ended with {process.returncode}: {self.tail()}"
            assert time.monotonic() < end, f"not within {LIMIT_S} s: {self.tail()}"
            time.sleep(0.2)

    def tail(self) -> str:
        return self.log.read_text(errors="replace")[-4000:]

    def processes(self) -> list[psutil.Process]:
        return processes_of(self.name)

    def end(self) -> None:
        for process in self.processes():
            process.kill()

    def trainer(self) -> psutil.Process:
        """The driver, `python -m verl.trainer.main_ppo`, and not the supervisor that has it as an argument."""
        return next(p for p in self.processes() if p.cmdline()[1:3] == ["-m", "verl.trainer.main_ppo"])


@contextmanager
def checkout_with_ray(directory: Path) -> Iterator[Checkout]:
    """A checkout whose Ray writes beside it: the path of a socket has at most 107 bytes."""
    checkout = Checkout(directory)
    with tempfile.TemporaryDirectory(prefix="ray-") as ray:
        checkout.env["RAY_TMPDIR"] = ray
        yield checkout
