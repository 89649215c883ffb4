"""GRPO over two ranks on CPU: sharded checkpoints, LoRA and full, become proven models."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

import pytest

from test_training_cpu import Checkout, Run

pytestmark = [pytest.mark.slow, pytest.mark.alone, pytest.mark.timeout(900)]

TWO_RANKS = (
    "trainer.total_training_steps=1",
    "trainer.n_gpus_per_node=2",
    "ray_kwargs.ray_init.num_gpus=2",
    "ray_kwargs.ray_init.num_cpus=12",
)


@pytest.mark.parametrize("lora", ["1", "0"], ids=["lora", "full"])
def test_a_checkpoint_of_two_ranks_becomes_a_proven_model(tiny: Path, tmp_path: Path, lora: str) -> None:
    checkout = Checkout(tmp_path)
    with tempfile.TemporaryDirectory(prefix="ray-") as ray:  # the path of a socket has at most 107 bytes
        checkout.env["RAY_TMPDIR"] = ray
        run = Run(checkout, tiny, f"two-ranks-{os.getpid()}-{lora}")
        try:
            assert run.start(*TWO_RANKS, ENABLE_LORA=lora).wait(600) == 0, run.tail()
        finally:
            for process in run.processes():
                process.kill()
    merged = checkout.bash(
        "bash train/scripts/merge-ppo.sh --no-vllm",
        CHECKPOINT_BASE=str(run.directory),
        TARGET_DIR=str(tmp_path / "model"),
    )
    assert merged.returncode == 0, merged.stderr[-3000:]
    report = json.loads((tmp_path / "model/export.json").read_text())
    assert (report["ranks"], report["kind"]) == (2, "LoRA" if lora == "1" else "full")
    assert report["proof"]["passed"]
