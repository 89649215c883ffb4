"""The memory plan in the trainers: what it says, and that a run that cannot fit ends before anything is loaded."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from script_runner import Checkout, config_of, error_lines

DIMENSIONS = {
    "model_type": "llama",
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "vocab_size": 49152,
    "tie_word_embeddings": True,
    "max_position_embeddings": 8192,
}
HUGE = {
    **DIMENSIONS,
    "hidden_size": 16384,
    "intermediate_size": 53248,
    "num_hidden_layers": 8,
    "num_attention_heads": 128,
    "num_key_value_heads": 8,
}
"""27 B parameters in few layers: 100 GB of fp32 weights."""


@pytest.fixture
def repo(tmp_path: Path) -> Checkout:
    repo = Checkout(tmp_path)
    repo.gpus(81559)
    repo.stand_in_verl("print('the trainer was started')")
    return repo


def model(repo: Checkout, dimensions: dict) -> dict[str, str]:
    directory = repo.model()
    (directory / "config.json").write_text(json.dumps(dimensions))
    return {"AGENT_MODEL_REPO_ID": str(directory), "VERITAS_MIN_FREE_GB": "0"}


@pytest.mark.slow
def test_a_run_that_cannot_fit_ends_before_the_trainer_starts(repo: Checkout) -> None:
    variables = {**model(repo, HUGE), "ENABLE_LORA": "0"}
    refused = repo.trainer("tic_tac_toe", **variables)
    (line,) = error_lines(refused)
    assert refused.returncode == 2, refused.stderr
    assert "does not fit" in line and "of 80 GB" in line
    assert "GPU_COUNT=" in line and "a model of at most about" in line
    assert "MEMORY_PLAN=0" in line
    assert "the trainer was started" not in refused.stdout
    assert not list(repo.root.glob("train/artifacts/RL/checkpoints/*"))
    started = repo.trainer("tic_tac_toe", **variables, MEMORY_PLAN="0")
    assert started.returncode == 0, started.stderr
    assert "does not fit, and MEMORY_PLAN=0" in started.stderr
    assert "the trainer was started" in started.stdout


@pytest.mark.slow
def test_sft_that_cannot_fit_is_refused_too(repo: Checkout) -> None:
    (repo.bin / "flashinfer").mkdir()
    (repo.bin / "flashinfer/__init__.py").touch()
    variables = {**model(repo, HUGE), "SFT_TRAIN_FILES": str(repo.parquet("a.parquet"))}
    refused = repo.sft(**variables, PYTHONPATH=str(repo.bin))
    (line,) = error_lines(refused)
    assert refused.returncode == 2 and "does not fit" in line
    assert "the trainer was started" not in refused.stdout


@pytest.mark.slow
def test_a_dry_run_shows_every_part_and_leaves_the_config_as_yaml(repo: Checkout) -> None:
    result = repo.trainer("tic_tac_toe", **model(repo, DIMENSIONS), DRY_RUN="1")
    assert config_of(result)["actor_rollout_ref"]["rollout"]["name"] == "vllm"
    assert "memory" not in result.stdout.partition("\ncd ")[2]
    shown = result.stderr[result.stderr.index("memory   about ") :]
    assert " of 80 GB a GPU at the peak (rollout)" in shown
    for part in ("update", "log-probs", "weight sync", "RAM", "optimizer", "logits", "rows of 2560 tokens at once"):
        assert part in shown


def test_a_model_that_says_nothing_of_its_size_is_not_planned_and_runs(repo: Checkout) -> None:
    result = repo.trainer("tic_tac_toe", AGENT_MODEL_REPO_ID=str(repo.model()), VERITAS_MIN_FREE_GB="0")
    assert result.returncode == 0, result.stderr
    assert "memory   not planned: " in result.stderr and "does not say hidden_size" in result.stderr
    later = repo.trainer("tic_tac_toe", AGENT_MODEL_REPO_ID="some/model", DRY_RUN="1")
    assert later.returncode == 0 and "memory   not planned: " in later.stderr and "no config.json yet" in later.stderr


def test_another_value_of_memory_plan_is_refused(repo: Checkout) -> None:
    result = repo.trainer("tic_tac_toe", **model(repo, DIMENSIONS), MEMORY_PLAN="off")
    assert result.returncode == 2
    assert "MEMORY_PLAN=off is not known: use 0 or 1" in error_lines(result)[0]
