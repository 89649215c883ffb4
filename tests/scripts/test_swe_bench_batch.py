"""swe-bench-batch.sh: the commands for mini-swe-agent and sb-cli.

Both are stand-ins that write down what they are asked. That the real ones take these arguments is a slow test, which
installs them.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from script_runner import Checkout, error_lines

SCRIPT = "train/scripts/swe-bench-batch.sh"
PREDICTIONS = {"a": {"model_name_or_path": "m", "instance_id": "a", "model_patch": "diff"}}
STAND_IN = """#!/bin/sh
{ printf '%s\\n' "$@"; echo "api key: $SWEBENCH_API_KEY $OPENAI_API_KEY"; } > "$0.asked"
previous=
for argument; do
    [ "$previous" != --output ] || { mkdir -p "$argument"; cp "$0.preds" "$argument/preds.json"; }
    previous=$argument
done
"""


@pytest.fixture
def repo(tmp_path: Path) -> Checkout:
    repo = Checkout(tmp_path)
    for name in ("mini-extra", "sb-cli", "docker"):
        stand_in(repo.bin / name)
    (repo.bin / "mini-extra.preds").write_text(json.dumps(PREDICTIONS))
    repo.env |= {
        "MINI_EXTRA": str(repo.bin / "mini-extra"),
        "SB_CLI": "sb-cli",
        "SWE_BENCH_MODEL": "hosted_vllm/my-model",
    }
    return repo


def stand_in(program: Path) -> None:
    program.parent.mkdir(parents=True, exist_ok=True)
    program.write_text(STAND_IN)
    program.chmod(0o755)


def asked(repo: Checkout, name: str) -> list[str]:
    return (repo.bin / f"{name}.asked").read_text().splitlines()


def option(words: list[str], name: str) -> list[str]:
    return [after for before, after in itertools.pairwise(words) if before == name]


def test_predictions_are_made_by_mini_swe_agent(repo: Checkout) -> None:
    result = repo.script(
        SCRIPT,
        "predict",
        "--redo-existing",
        SWE_BENCH_API_BASE="http://127.0.0.1:8000/v1",
        SWE_BENCH_SLICE="0:5",
        SWE_BENCH_WORKERS="4",
        SWE_BENCH_SUBSET="verified",
    )
    assert result.returncode == 0, result.stderr
    words = asked(repo, "mini-extra")
    output = f"{repo.root}/train/outputs/swe-bench/verified-test-hosted_vllm-my-model"
    assert words[0] == "swebench" and "--redo-existing" in words
    for name, values in {
        "--subset": ["verified"],
        "--split": ["test"],
        "--model": ["hosted_vllm/my-model"],
        "--workers": ["4"],
        "--slice": ["0:5"],
        "--output": [output],
        "--config": ["swebench.yaml", "model.model_kwargs.api_base=http://127.0.0.1:8000/v1"],
    }.items():
        assert option(words, name) == values
    assert words[-1] == "api key:  EMPTY", "a server of one's own wants some key"
    assert "1 patches of m, 0 of them empty" in result.stderr


def test_a_model_that_writes_its_commands_has_prompts_for_it(repo: Checkout) -> None:
    result = repo.script(
        SCRIPT, "predict", SWE_BENCH_COMMANDS="text", SWE_BENCH_OUTPUT="out dir", OPENAI_API_KEY="mine"
    )
    assert result.returncode == 0, result.stderr
    words = asked(repo, "mini-extra")
    assert option(words, "--config") == ["swebench_backticks.yaml"]
    assert option(words, "--model-class") == ["litellm_textbased"]
    assert option(words, "--output") == [f"{repo.root}/out dir"]
    assert words[-1] == "api key:  mine"


def test_predictions_are_submitted_by_sb_cli(repo: Checkout) -> None:
    file = repo.home / "my run" / "preds.json"
    file.parent.mkdir()
    file.write_text(json.dumps(PREDICTIONS))
    result = repo.script(
        SCRIPT, "submit", "--wait_for_evaluation", "0", SWE_BENCH_PREDICTIONS=str(file), SWEBENCH_API_KEY="secret-key"
    )
    assert result.returncode == 0, result.stderr
    words = asked(repo, "sb-cli")
    assert words[:3] == ["submit", "swe-bench_lite", "test"]
    assert option(words, "--predictions_path") == [str(file)]
    assert option(words, "--run_id") == ["my run"]
    assert option(words, "--wait_for_evaluation") == ["0"]
    assert "secret-key" in words[-1] and "secret-key" not in " ".join(words[:-1]) + result.stdout + result.stderr


def test_what_predict_wrote_is_what_submit_sends(repo: Checkout) -> None:
    assert repo.script(SCRIPT, "predict").returncode == 0
    result = repo.script(SCRIPT, "submit", SWEBENCH_API_KEY="a-key")
    assert result.returncode == 0, result.stderr
    (file,) = option(asked(repo, "sb-cli"), "--predictions_path")
    assert json.loads(Path(file).read_text()) == PREDICTIONS


@pytest.mark.parametrize("action", ["predict", "submit"])
def test_a_dry_run_prints_the_command_and_starts_nothing(repo: Checkout, action: str) -> None:
    result = repo.script(
        SCRIPT, action, DRY_RUN="1", MINI_EXTRA=None, SB_CLI=None, SWEBENCH_API_KEY="secret-key", OPENAI_API_KEY="mine!"
    )
    assert result.returncode == 0, result.stderr
    program = {"predict": "mini-extra", "submit": "sb-cli"}[action]
    assert f"train/artifacts/swe-bench/{program}/bin/{program} " in result.stdout.replace("\\", "")
    assert "SWEBENCH_API_KEY='***' \\\n" in result.stdout
    assert "secret-key" not in result.stdout and "mine!" not in result.stdout
    assert not (repo.root / "train/artifacts").exists() and not list(repo.bin.glob("*.asked"))


@pytest.mark.parametrize(
    ("arguments", "variables", "reason"),
    [
        ([], {}, "the first argument is predict or submit"),
        (["evaluate"], {}, "evaluate is not known"),
        (["predict"], {"SWE_BENCH_MODEL": None}, "SWE_BENCH_MODEL is not set"),
        (["predict"], {"SWE_BENCH_SUBSET": "full"}, "SWE_BENCH_SUBSET=full is not known: use lite or verified"),
        (["predict"], {"SWE_BENCH_SUBSET": "verified", "SWE_BENCH_SPLIT": "dev"}, "Verified has a split test only"),
        (["predict"], {"SWE_BENCH_WORKERS": "0"}, "at least 1"),
        (["predict"], {"SWE_BENCH_SLICE": "five"}, "SWE_BENCH_SLICE=five is not a slice"),
        (["predict"], {"MINI_EXTRA": "/no/such"}, "MINI_EXTRA=/no/such is not a program"),
        (["submit"], {}, "SWEBENCH_API_KEY is not set"),
        (["submit"], {"SWE_BENCH_MODEL": None}, "SWE_BENCH_PREDICTIONS is not set"),
    ],
)
def test_what_is_missing_is_named_before_anything_starts(
    repo: Checkout, arguments: list[str], variables: dict[str, str | None], reason: str
) -> None:
    result = repo.script(SCRIPT, *arguments, **variables)
    assert result.returncode == 2
    (line,) = error_lines(result)
    assert reason in line
    assert not list(repo.bin.glob("*.asked"))


def test_without_docker_it_is_said(repo: Checkout) -> None:
    (repo.bin / "docker").unlink()
    for name in ("bash", "env", "sed", "awk", "dirname", "basename", "cat", "python3", "tr", "sh", "cut"):
        (repo.bin / name).symlink_to(str(shutil.which(name)))
    result = repo.script(SCRIPT, "predict", PATH=str(repo.bin), VERITAS_PYTHON="/bin/true")
    assert result.returncode == 2
    assert "docker is not there" in error_lines(result)[0]


@pytest.mark.parametrize("text", ["", "{}", '{"a": {}}'])
def test_predictions_that_cannot_be_submitted_are_refused(repo: Checkout, text: str) -> None:
    file = repo.home / "preds.json"
    file.write_text(text)
    result = repo.script(SCRIPT, "submit", SWE_BENCH_PREDICTIONS=str(file), SWEBENCH_API_KEY="a-key")
    assert result.returncode == 2
    assert str(file) in result.stderr and not list(repo.bin.glob("*.asked"))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_real_programs_take_these_arguments(repo: Checkout) -> None:
    """Installed as a user's are. Each reads its options from the left and stops at the last one, which it lacks."""
    for action, program in (("predict", "mini-extra"), ("submit", "sb-cli")):
        variables = {"MINI_EXTRA": None, "SB_CLI": None, "SWEBENCH_API_KEY": "a-key"}
        file = repo.home / "preds.json"
        file.write_text(json.dumps(PREDICTIONS))
        merged = {key: value for key, value in {**repo.env, **variables}.items() if value is not None}
        merged |= {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "UV_"))}
        merged["PIP_NO_COMPILE"] = "1"  # half a minute, for modules that are not imported here
        result = subprocess.run(
            ["bash", str(repo.root / SCRIPT), action, "--help-is-no-option"],
            env=merged | {"SWE_BENCH_PREDICTIONS": str(file), "COLUMNS": "200"},
            capture_output=True,
            text=True,
            timeout=800,
        )
        assert "No such option: --help-is-no-option" in result.stderr + result.stdout, result.stderr[-2000:]
        assert (repo.root / f"train/artifacts/swe-bench/{program}/bin/{program}").is_file()
