"""GRPO on logic tasks through the front door, over two ranks: verl, Ray, FSDP and vLLM on CPU, from the script."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from test_training_cpu import LIMIT_S, SMALL, TWO_RANKS, Checkout, Run

pytestmark = [pytest.mark.slow, pytest.mark.trains, pytest.mark.timeout(2400)]


class LogicRun(Run):
    command = ("lgc-v2-GRPO-trainer.sh", "operation", "boolean_expressions", *SMALL)


@pytest.fixture(scope="module")
def run(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """LoRA: two steps, a checkpoint after each, and a validation after the second."""
    checkout = Checkout(tmp_path_factory.mktemp("logic"))
    with tempfile.TemporaryDirectory(prefix="ray-") as ray:  # the path of a socket has at most 107 bytes
        checkout.env["RAY_TMPDIR"] = ray
        run = LogicRun(checkout, tiny, f"logic-{os.getpid()}")
        run.environment |= {"TASKS_PER_TYPE": "20", "TASK_DIFFICULTY": "easy"}
        process = run.start("trainer.total_training_steps=2", "trainer.test_freq=2", *TWO_RANKS)
        assert process.wait(LIMIT_S) == 0, run.tail()
        yield run
        for process in run.processes():
            process.kill()


def test_the_script_trains_and_validates_on_held_out_tasks(run: Run) -> None:
    assert [entry["step"] for entry in run.steps()] == [1, 2]
    assert run.processes() == []
    last = run.steps()[-1]["data"]
    assert 0 <= last["val-core/lgc-v2/reward/mean@1"] <= 1
    for name in ("answered", "solved", "env_error"):
        assert f"val-aux/lgc-v2/{name}/mean@1" in last
    assert last["val-aux/lgc-v2/env_error/mean@1"] == 0
    assert last["training/rollout_actor_probs_pearson_corr"] > 0.9


def test_its_checkpoint_of_two_ranks_becomes_a_proven_model(run: Run, tmp_path: Path) -> None:
    merged = run.checkout.bash(
        "bash train/scripts/merge-ppo.sh --no-vllm",
        CHECKPOINT_BASE=str(run.directory),
        TARGET_DIR=str(tmp_path / "model"),
    )
    assert merged.returncode == 0, merged.stderr[-3000:]
    assert "transformers  pass" in merged.stdout
    report = json.loads((tmp_path / "model/export.json").read_text())
    assert (report["ranks"], report["kind"]) == (2, "LoRA")
    assert report["proof"]["passed"]
