"""benchmarks/gpu: what can be known of it without a GPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
GPU = ROOT / "benchmarks/gpu"
sys.path[:0] = [str(GPU), str(ROOT / "train/scripts/lib")]

from check_recipe import compose_recipe  # noqa: E402
from measurements import MEASUREMENTS  # noqa: E402
from tables import grpo_table, learning_table, sft_table  # noqa: E402

TRAINING = [name for name, measurement in MEASUREMENTS.items() if measurement.overrides is not None]


@pytest.mark.parametrize("name", TRAINING)
def test_every_run_composes_with_the_profile_of_its_gpus(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    measurement = MEASUREMENTS[name]
    gpus = int(name[-4]) if name.endswith("gpu") else 1
    sft = "SFT" in measurement.command[1]
    variables = {
        "VERITAS_ROOT": str(ROOT),
        "PROFILE": f"{gpus}x141gb",
        "GPU_COUNT": str(gpus),
        "AGENT_MODEL_PATH": "model",
        "CHECKPOINT_DIR": "checkpoints",
        "WANDB_EXP": name,
        "TUNING": "lora"
        if int(measurement.variables.get("SFT_LORA_RANK", measurement.variables.get("ENABLE_LORA", 0)))
        else "full",
        **{key: value.format(work="/gpu") for key, value in measurement.variables.items()},
    }
    for key, value in variables.items():
        monkeypatch.setenv(key, value)
    # A setting of an adapter: the script passes it on with ++.
    overrides = [
        f"+{part}" if part.startswith("+") else part.format(work="/gpu", root=ROOT)
        for part in measurement.overrides or []
    ]
    config = compose_recipe(ROOT / "train/config", "sft" if sft else "openspiel", overrides)
    assert config.trainer.n_gpus_per_node == gpus
    if sft:
        assert config.data.train_batch_size == (64 if "135m" in name else 32 * gpus)
    else:
        lengths = config.data.max_prompt_length + config.data.max_response_length
        assert lengths <= config.actor_rollout_ref.rollout.max_model_len


def test_whatever_a_run_needs_is_made_by_another() -> None:
    made = {measurement.makes for measurement in MEASUREMENTS.values()}
    made |= {part for measurement in MEASUREMENTS.values() for part in measurement.command if part.endswith(".parquet")}
    for name, measurement in MEASUREMENTS.items():
        assert set(measurement.needs) <= made, name


def test_a_queue_keeps_what_each_command_did(tmp_path: Path) -> None:
    tool = tmp_path / "bin/nvidia-smi"
    tool.parent.mkdir()
    tool.write_text('#!/bin/sh\ncase "$*" in *memory.used*) echo 2048;; *) echo "A GPU, 580.1";; esac\n')
    tool.chmod(0o755)
    command = [sys.executable, str(GPU / "runs.py"), "long-data", "merge-135m-lora", "--wait", "0.1"]
    answer = subprocess.run(
        [*command, "--work", str(tmp_path / "work"), "--results", str(tmp_path / "results")],
        env={**os.environ, "PATH": f"{tool.parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
    )
    assert answer.returncode == 1, answer.stderr  # nothing was trained that could be merged
    done, failed = (
        json.loads((tmp_path / f"results/{name}.json").read_text()) for name in ("long-data", "merge-135m-lora")
    )
    assert done["status"] == 0 and done["gpus"] == ["A GPU, 580.1"] and done["peak_memory_gib"] == 2.0
    assert (tmp_path / "work/long.parquet").stat().st_size > 1_000_000
    assert failed["status"] == 1 and "learned-1 is not there" in failed["end_of_log"][0]


def test_the_tables_leave_out_the_warm_up() -> None:
    steps = [
        {"step": n, "timing_s/step": value, "train/mfu": value / 100} for n, value in enumerate((90, 50, 10, 20, 12))
    ]
    steps[0]["val-core/openspiel/reward/mean@4"], steps[-1]["val-core/openspiel/reward/mean@4"] = 0.25, 0.5
    result = {"name": "run", "gpus": ["one"], "steps": steps, "peak_memory_gib": 7.0, "seconds_to_end_of_step_1": 60.0}
    assert grpo_table([result])[-1].startswith("| run | 1 | 5 | 12.0 | – |")
    assert sft_table([result])[-1].startswith("| run | 1 | 5 | 0.120 | 7.0 | – |")
    assert learning_table([result])[-1] == "| run | 0.250 | 0.500 | – | – |"


def test_a_random_model_has_the_shape_and_the_tokenizer(tiny: Path, tmp_path: Path) -> None:
    from random_model import write_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    parameters = write_model("toy", tiny, tmp_path / "toy")
    model, tokenizer = (
        AutoModelForCausalLM.from_pretrained(tmp_path / "toy"),
        AutoTokenizer.from_pretrained(tmp_path / "toy"),
    )
    assert model.num_parameters() == parameters
    assert model.config.eos_token_id == tokenizer.eos_token_id == AutoTokenizer.from_pretrained(tiny).eos_token_id
