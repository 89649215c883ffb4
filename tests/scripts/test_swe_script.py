"""swe-synth-ppo-trainer.sh: GRPO on software repair, with the documented settings."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from script_runner import Checkout, config_of, error_lines

from swe_toy import shared_toy_tasks

pytestmark = pytest.mark.slow

SCRIPT = "train/scripts/swe-synth-ppo-trainer.sh"


@pytest.fixture
def repo(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


@pytest.fixture
def tasks() -> str:
    return str(shared_toy_tasks(24))


def adapter_config(repo: Checkout, *arguments: str, **variables: str) -> dict:
    variables = {"DRY_RUN": "1", "AGENT_MODEL_REPO_ID": "an-org/a-model", **variables}
    return config_of(repo.script(SCRIPT, *arguments, **variables))["data"]["custom_cls"]["config"]["adapter_config"]


def test_the_settings_reach_the_environment(repo: Checkout, tasks: str) -> None:
    settings = adapter_config(
        repo,
        SWE_SYNTH_CACHE_DIR=tasks,
        SWE_SYNTH_DATASET_NAME="an-org/a-dataset",
        SWE_SYNTH_SPLIT="train",
        SWE_SYNTH_TASK_IDS="3,5",
        SWE_SYNTH_USE_CACHE_ONLY="1",
        SWE_REPO_CACHE=f"{tasks}/repos",
        SWE_REPO_URL="https://git.example.org",
        SWE_BACKEND="bwrap",
        SWE_PYTHON=sys.executable,
        SWE_MAX_SANDBOXES="3",
        SWE_PROMPT_TOKENS="900",
    )
    assert settings == {
        "dataset_name": "an-org/a-dataset",
        "split": "train",
        "task_ids": "3,5",
        "task_id_range": "",
        "cache_dir": tasks,
        "use_cache_only": 1,
        "repo_cache": f"{tasks}/repos",
        "repo_url": "https://git.example.org",
        "prompt_tokens": 900,
        "backend": "bwrap",
        "python": sys.executable,
        "max_sandboxes": "3",
    }


def test_the_default_dataset_is_shown_and_nothing_is_downloaded_for_it(repo: Checkout) -> None:
    result = repo.script(SCRIPT, DRY_RUN="1", AGENT_MODEL_REPO_ID="an-org/a-model")
    config = config_of(result)["data"]["custom_cls"]["config"]["adapter_config"]
    assert (config["dataset_name"], config["split"]) == ("princeton-nlp/SWE-bench_Lite", "test")
    assert "none are named" in result.stderr and "the tasks were not checked" in result.stderr


def test_tasks_can_be_named_by_arguments(repo: Checkout, tasks: str) -> None:
    settings = adapter_config(repo, "4:20", SWE_SYNTH_CACHE_DIR=tasks, SWE_SYNTH_TASK_IDS="1,2")
    assert (settings["task_ids"], settings["task_id_range"]) == ("", "4:20")
    settings = adapter_config(repo, "7", "3", "data.train_batch_size=1", SWE_SYNTH_CACHE_DIR=tasks)
    assert (settings["task_ids"], settings["task_id_range"]) == ("7,3", "")


def test_a_relative_directory_is_looked_for_here_and_then_in_the_repository(repo: Checkout, tasks: str) -> None:
    (repo.home / "my tasks").symlink_to(tasks)
    assert adapter_config(repo, SWE_SYNTH_CACHE_DIR="my tasks")["cache_dir"] == str(repo.home / "my tasks")
    settings = adapter_config(repo, SWE_SYNTH_CACHE_DIR="new", SWE_SYNTH_DATASET_NAME="an-org/a-dataset")
    assert settings["cache_dir"] == str(repo.root / "new")
    assert not (repo.root / "new").exists()


def test_the_run_is_named_by_its_tasks(repo: Checkout, tasks: str) -> None:
    result = repo.script(SCRIPT, DRY_RUN="1", AGENT_MODEL_REPO_ID="an-org/a-model", SWE_SYNTH_CACHE_DIR=tasks)
    config = config_of(result)
    assert config["trainer"]["experiment_name"].startswith("swe-synth-tasks-2")
    assert (config["data"]["max_prompt_length"], config["data"]["max_response_length"]) == (1536, 256), "the CPU's"


@pytest.mark.parametrize(
    ("arguments", "variables", "reason"),
    [
        ([], {"SWE_SYNTH_CACHE_DIR": ""}, "no tasks are named"),
        ([], {"SWE_BACKEND": "podman"}, "SWE_BACKEND=podman is not known: use auto or bwrap or docker"),
        ([], {"SWE_SYNTH_USE_CACHE_ONLY": "yes"}, "SWE_SYNTH_USE_CACHE_ONLY=yes is not known"),
        ([], {"SWE_MAX_SANDBOXES": "0"}, "at least 1"),
        ([], {"SWE_PROMPT_TOKENS": "many"}, "at least 1"),
        ([], {"SWE_PYTHON": "/no/python"}, "SWE_PYTHON=/no/python is not there"),
        ([], {"SWE_PYTHON": "/bin/false"}, "SWE_PYTHON=/bin/false must have pytest"),
        ([], {"SWE_SYNTH_CACHE_DIR": "/bin/true"}, "is not a directory"),
        ([], {"SWE_SYNTH_TASK_IDS": "1,2", "SWE_SYNTH_TASK_ID_RANGE": "0:3"}, "only one of them"),
        (["3:3"], {}, "task_id_range=3:3 is empty"),
        (["0:x"], {}, "task_id_range"),
        (["sudoku"], {}, "sudoku is not a whole number"),
        (["99"], {}, "task 99 is not in cache_dir="),
        (["20:30"], {}, "its 24 tasks are numbered 0 to 23"),
    ],
)
def test_what_cannot_be_done_is_refused_before_anything_starts(
    repo: Checkout, tasks: str, arguments: list[str], variables: dict[str, str], reason: str
) -> None:
    settings = {"SWE_SYNTH_CACHE_DIR": tasks, "AGENT_MODEL_REPO_ID": str(repo.model()), **variables}
    result = repo.script(SCRIPT, *arguments, **settings)
    assert result.returncode == 2, result.stderr
    (line,) = error_lines(result)
    assert reason in line
    assert not (repo.root / "train/outputs").exists()


def test_a_machine_that_cannot_run_tests_is_told_so_before_a_model_is_fetched(repo: Checkout, tasks: str) -> None:
    for program in ("bwrap", "docker"):  # found first, and of no use
        (repo.bin / program).write_text("#!/bin/sh\necho 'bwrap: no permission' >&2\nexit 1\n")
        (repo.bin / program).chmod(0o755)
    result = repo.script(SCRIPT, SWE_SYNTH_CACHE_DIR=tasks, AGENT_MODEL_REPO_ID="an-org/a-model")
    assert result.returncode == 2
    (line,) = error_lines(result)
    assert "toy__calc-0 cannot be judged here" in line and "bwrap: no permission" in line
    assert not (repo.root / "train/models").exists()


def test_a_broken_task_is_named_with_its_field(repo: Checkout, tasks: str) -> None:
    row = json.loads((Path(tasks) / "task_0.json").read_text())
    del row["patch"]
    (repo.home / "tasks").mkdir()
    (repo.home / "tasks/task_0.json").write_text(json.dumps(row))
    result = repo.script(SCRIPT, SWE_SYNTH_CACHE_DIR="tasks", AGENT_MODEL_REPO_ID=str(repo.model()))
    assert result.returncode == 2
    (line,) = error_lines(result)
    assert "task_0.json has no patch" in line
