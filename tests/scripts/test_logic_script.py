"""lgc-v2-RL-GRPO-trainer.sh: GRPO on logic tasks, with the documented settings."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from script_runner import Checkout, error_lines

pytestmark = pytest.mark.slow

SCRIPT = "train/scripts/lgc-v2-RL-GRPO-trainer.sh"
ALIAS = "train/scripts/lgc-v2-GRPO-trainer.sh"


@pytest.fixture
def repo(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


def dry_run(repo: Checkout, script: str, *arguments: str, **variables: str) -> tuple[dict, str]:
    result = repo.script(script, *arguments, DRY_RUN="1", AGENT_MODEL_REPO_ID="an-org/a-model", **variables)
    assert result.returncode == 0, result.stderr
    config, _, command = result.stdout.partition("\ncd ")
    return yaml.safe_load(config), command


@pytest.mark.parametrize("script", [SCRIPT, ALIAS])
def test_the_documented_settings_are_those_of_four_gpus(repo: Checkout, script: str) -> None:
    config, command = dry_run(repo, script, PROFILE="4x141gb")
    data, actor = config["data"], config["actor_rollout_ref"]["actor"]
    rollout = config["actor_rollout_ref"]["rollout"]
    assert (data["train_batch_size"], data["max_prompt_length"], data["max_response_length"]) == (32, 9182, 2048)
    assert (rollout["n"], rollout["tensor_model_parallel_size"], actor["optim"]["lr"]) == (8, 2, 6e-6)
    trainer = config["trainer"]
    assert (trainer["n_gpus_per_node"], trainer["save_freq"], trainer["test_freq"]) == (4, 50, 50)
    assert "--config-name lgc_v2" in command
    assert "lgc-v2-all-2" in trainer["experiment_name"]


def test_types_and_their_settings_reach_the_environment(repo: Checkout) -> None:
    config, _ = dry_run(
        repo, SCRIPT, "sudoku", "operation", TASKS_PER_TYPE="40", TASK_DIFFICULTY="easy", TASK_LANGUAGE="zh"
    )
    assert config["data"]["custom_cls"]["config"] == {
        "env": "lgc-v2",
        "adapter_config": {
            "task_types": "sudoku,operation",
            "num_tasks_per_type": 40,
            "difficulty": "easy",
            "language": "zh",
        },
    }
    assert config["data"]["max_response_length"] == 96, "the CPU's"
    config, _ = dry_run(repo, SCRIPT, "data.max_response_length=80", TASK_TYPES="game_of_24", LEARNING_RATE="1e-5")
    assert config["data"]["custom_cls"]["config"]["adapter_config"]["task_types"] == "game_of_24"
    assert (config["data"]["max_response_length"], config["actor_rollout_ref"]["actor"]["optim"]["lr"]) == (80, 1e-5)


@pytest.mark.parametrize(
    ("arguments", "variables", "reason"),
    [
        (["chess"], {}, "chess"),
        ([], {"TASK_DIFFICULTY": "insane"}, "TASK_DIFFICULTY=insane is not known: use easy or medium or hard"),
        ([], {"TASK_LANGUAGE": "fr"}, "TASK_LANGUAGE=fr is not known: use en or zh"),
        ([], {"TASKS_PER_TYPE": "0"}, "at least 1"),
        (["game_of_24"], {"TASKS_PER_TYPE": "5000"}, "different puzzles"),
    ],
)
def test_what_cannot_be_made_is_refused_before_anything_starts(
    repo: Checkout, arguments: list[str], variables: dict[str, str], reason: str
) -> None:
    result = repo.script(SCRIPT, *arguments, AGENT_MODEL_REPO_ID=str(repo.model()), **variables)
    assert result.returncode == 2
    (line,) = error_lines(result)
    assert reason in line
    assert not (repo.root / "train/outputs").exists()
