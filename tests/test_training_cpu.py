"""Full fine-tuning of two ranks through the front door, ended by Ctrl-C: verl, Ray, FSDP and vLLM on CPU."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from training_run import Run, checkout_with_ray

pytestmark = [pytest.mark.slow, pytest.mark.trains, pytest.mark.timeout(2400)]

TWO_RANKS = (
    "trainer.n_gpus_per_node=2",
    "ray_kwargs.ray_init.num_gpus=2",
    "ray_kwargs.ray_init.num_cpus=12",
)


def test_ctrl_c_ends_a_run_and_leaves_nothing_but_a_checkpoint(tiny: Path, tmp_path: Path) -> None:
    with checkout_with_ray(tmp_path) as checkout:
        run = Run(checkout, tiny, "full")
        try:
            process = run.start("trainer.total_training_steps=500", *TWO_RANKS, ENABLE_LORA="0")
            run.wait_for((run.directory / "latest_checkpointed_iteration.txt").exists, process)
            os.killpg(process.pid, signal.SIGINT)
            assert process.wait(60) == 130
            assert run.processes() == []
        finally:
            run.end()
    assert (run.directory / "exit_reason.txt").read_text() == "ended by SIGINT\n"
    merged = run.checkout.bash(
        f"bash train/scripts/merge.sh --base-model '{tiny}' --no-vllm",
        CHECKPOINT_BASE=str(run.directory),
        TARGET_DIR=str(tmp_path / "model"),
    )
    assert merged.returncode == 0, merged.stderr[-3000:]
    report = json.loads((tmp_path / "model/export.json").read_text())
    assert (report["ranks"], report["kind"]) == (2, "full")
    assert report["proof"]["passed"]
