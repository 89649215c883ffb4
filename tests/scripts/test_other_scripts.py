"""Sourcing, help, merge.sh, merge-ppo.sh, merge-sft.sh, merge-two-models.sh, evaluate.sh."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from script_runner import ROOT, Checkout, error_lines

SCRIPTS = (
    "openspiel-ppo-trainer.sh",
    "lgc-v2-RL-GRPO-trainer.sh",
    "lgc-v2-SFT-trainer.sh",
    "merge.sh",
    "merge-ppo.sh",
    "merge-sft.sh",
    "merge-two-models.sh",
    "evaluate.sh",
    "report.sh",
    "swe-bench-batch.sh",
)
ECHO = "import json, os, sys\nprint(json.dumps([sys.argv[1:], os.environ.get('VERL_PLATFORM')]))\n"


@pytest.fixture
def repo(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


@pytest.mark.parametrize("name", SCRIPTS)
def test_help_is_the_header_and_needs_nothing(repo: Checkout, name: str) -> None:
    result = repo.bash(f"bash train/scripts/{name} --help", VERITAS_PYTHON="/no/python")
    assert result.returncode == 0, result.stderr
    assert f"bash train/scripts/{name}" in result.stdout
    assert "#" not in result.stdout.splitlines()[0] and "BASH_SOURCE" not in result.stdout


def test_an_error_in_a_sourced_script_does_not_close_the_shell(repo: Checkout) -> None:
    code = """
    before=$(shopt -o; declare -F; trap; pwd)
    ENABLE_LORA=maybe; . train/scripts/openspiel-ppo-trainer.sh; echo "status $?"
    . train/scripts/openspiel-ppo-trainer.sh && echo wrong || echo "again $?"
    [[ $before == "$(shopt -o; declare -F; trap; pwd)" ]] && echo unchanged
    """
    result = repo.bash(code)
    assert result.stdout.split("\n") == ["status 2", "again 2", "unchanged", ""], result.stderr
    assert len(error_lines(result)) == 2


def test_a_sourced_script_sees_variables_that_were_not_exported(repo: Checkout) -> None:
    code = "GAME_TYPES=hex; WANDB_EXP=mine; DRY_RUN=1; IFS=,; set -u; . train/scripts/openspiel-ppo-trainer.sh; echo $?"
    result = repo.bash(code)
    assert result.stdout.endswith("\n0\n"), result.stderr
    assert "GAME_TYPES=hex" in result.stdout and "WANDB_EXP=mine" in result.stdout


@pytest.mark.parametrize(
    ("name", "checkpoints", "suffix"),
    [
        ("merge.sh", "train/artifacts/RL/checkpoints", ""),
        ("merge-ppo.sh", "train/artifacts/RL/checkpoints", "_ppo"),
        ("merge-sft.sh", "train/artifacts/checkpoints", "_sft"),
    ],
)
def test_merge_passes_its_variables_on(repo: Checkout, name: str, checkpoints: str, suffix: str) -> None:
    (repo.root / "train/tools/export_checkpoint.py").write_text(ECHO)
    base, target = repo.root / checkpoints, repo.root / "train/merged_model"
    (base / "mine").mkdir(parents=True)
    default = repo.bash(f"bash 'train/scripts/{name}'", cwd=repo.root)
    assert f'["--checkpoint-base", "{base}", "--target-dir", "{target}{suffix}"]' in default.stdout, default.stderr
    own = repo.bash(
        f"bash {shlex.quote(f'{repo.root}/train/scripts/{name}')} --overwrite",
        cwd=base,
        CHECKPOINT_BASE="mine",
        GLOBAL_STEP="3",
        TARGET_DIR="/tmp/x y",
    )
    expected = f'["--checkpoint-base", "{base}/mine", "--global-step", "3", "--target-dir", "/tmp/x y", "--overwrite"]'
    assert expected in own.stdout, own.stderr


@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        ({}, "CHECKPOINT_BASE=train/artifacts/RL/checkpoints is not there"),
        ({"CHECKPOINT_BASE": "/no/where"}, "CHECKPOINT_BASE=/no/where is not there"),
        ({"CHECKPOINT_BASE": "/etc/passwd"}, "not a directory"),
        ({"CHECKPOINT_BASE": "/tmp", "GLOBAL_STEP": "last"}, "GLOBAL_STEP=last"),
    ],
)
def test_merge_refuses_what_is_not_there(repo: Checkout, variables: dict[str, str], reason: str) -> None:
    result = repo.bash("bash train/scripts/merge.sh", **variables)
    assert result.returncode == 2
    assert reason in error_lines(result)[0]


def test_merge_two_models_passes_its_variables_on_also_when_sourced(repo: Checkout) -> None:
    (repo.root / "train/tools/merge_two_models.py").write_text(ECHO)
    models = repo.root / "train/models"
    for name in ("one", "the other"):
        (models / name).mkdir(parents=True)
    code = "MODEL_A=one; MODEL_B='the other'; . ../scripts/merge-two-models.sh --overwrite"
    expected = f'["--model-a", "{models}/one", "--model-b", "{models}/the other", "--alpha", "0.5", "--target-dir", '
    default = repo.bash(code, cwd=models)
    assert f'{expected}"{repo.root}/train/merged_model_average", "--overwrite"]' in default.stdout, default.stderr
    own = repo.bash(f"ALPHA=0.1; TARGET_DIR='/tmp/x y'; {code}", cwd=models)
    assert f'{expected}"/tmp/x y", "--overwrite"]'.replace("0.5", "0.1") in own.stdout, own.stderr


@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        ({"MODEL_B": "/tmp"}, "MODEL_A is not set"),
        ({"MODEL_A": "/tmp"}, "MODEL_B is not set"),
        ({"MODEL_A": "/tmp", "MODEL_B": "/no/where"}, "MODEL_B=/no/where is not there"),
    ],
)
def test_merge_two_models_refuses_what_is_not_there(repo: Checkout, variables: dict[str, str], reason: str) -> None:
    result = repo.bash("bash train/scripts/merge-two-models.sh", **variables)
    assert result.returncode == 2
    assert reason in error_lines(result)[0]


def test_evaluate_passes_its_flags_on_and_runs_on_cpu_only_where_there_is_no_gpu(repo: Checkout) -> None:
    (repo.root / "train/tools/evaluate.py").write_text(ECHO)
    command = "bash train/scripts/evaluate.sh --model 'a b' --set game_types=hex"
    assert '[["--model", "a b", "--set", "game_types=hex"], "cpu"]' in repo.bash(command).stdout
    repo.gpus(24564)  # any GPU: no profile is needed
    assert '"--set", "game_types=hex"], null]' in repo.bash(command).stdout
    assert '"--set", "game_types=hex"], "cpu"]' in repo.bash(command, PROFILE="cpu").stdout


def test_every_variable_of_the_trainers_header_is_in_the_example_and_only_known_ones(repo: Checkout) -> None:
    documented = set(re.findall(r"^#([A-Z][A-Z0-9_]*)=", (ROOT / ".env.example").read_text(), re.MULTILINE))
    header = repo.bash("bash train/scripts/openspiel-ppo-trainer.sh --help").stdout
    assert set(re.findall(r"\b[A-Z]+_[A-Z_]+\b", header)) - {"HYDRA_OVERRIDE"} <= documented
    used = " ".join(path.read_text() for path in (ROOT / "train").rglob("*") if path.suffix in (".sh", ".yaml", ".py"))
    ours = documented - {"HF_TOKEN", "HF_ENDPOINT", "WANDB_API_KEY", "RAY_ADDRESS"}
    assert not [name for name in ours if not re.search(rf"\b{name}\b", used)]
    recipes = " ".join(path.read_text() for path in (ROOT / "train/config").glob("[go]*.yaml"))
    computed = {"VERITAS_ROOT", "AGENT_MODEL_PATH", "CHECKPOINT_DIR", "TUNING"}
    assert set(re.findall(r"oc\.env:([A-Z_]+)", recipes)) - computed <= documented
