"""What a run leaves in its directory when it is started, killed and started again by its script, and runs.sh."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from script_runner import TRAINER, Checkout, command_of, error_lines

RUNS = "train/scripts/runs.sh"
STEPS = f"""
import json, os, sys, time
from pathlib import Path
sys.path.append({str(Path(__file__).parent)!r})
from script_runner import whole_checkpoint
"""
STEPS += """
run = Path(os.environ["CHECKPOINT_DIR"])
latest = run / "latest_checkpointed_iteration.txt"
first = int(latest.read_text()) if latest.exists() else 0
with open(os.environ["VERL_FILE_LOGGER_PATH"], "ab", buffering=0) as file:
    for step in range(first + 1, first + 4):
        data = {"critic/score/mean": step / 10, "start": first}
        file.write(json.dumps({"step": step, "data": data}).encode() + b"\\n")
whole_checkpoint(run / f"global_step_{first + 2}")
latest.write_text(str(first + 2))
if "WAIT" in os.environ:
    time.sleep(300)
"""


@pytest.fixture
def repo(tmp_path: Path) -> Checkout:
    repo = Checkout(tmp_path)
    repo.stand_in_verl(STEPS)
    repo.env["GAME_TYPES"] = "tic_tac_toe"  # to try all games takes some seconds before each run
    return repo


def listed(repo: Checkout) -> list[dict]:
    result = repo.script(RUNS, "--json")
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def records(repo: Checkout, name: str) -> list[dict]:
    file = repo.root / "train/artifacts/RL/checkpoints/mine" / name
    return [json.loads(line) for line in file.read_text().splitlines()]


@pytest.mark.slow
def test_a_script_that_is_killed_is_found_out_and_its_run_goes_on(repo: Checkout) -> None:
    settings = {"AGENT_MODEL_REPO_ID": str(repo.model()), "WANDB_EXP": "mine"}
    script = subprocess.Popen(
        ["bash", str(repo.root / TRAINER)],
        env={**repo.env, **settings, "WAIT": "1", "SUPERVISE_GRACE_S": "1"},
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    latest = repo.root / "train/artifacts/RL/checkpoints/mine/latest_checkpointed_iteration.txt"
    deadline = time.monotonic() + 100
    while not latest.exists():
        assert script.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    (run,) = listed(repo)
    assert (run["name"], run["state"], run["step"]) == ("mine", "running", 3)
    script.send_signal(signal.SIGKILL)
    script.wait(10)
    while (run := listed(repo)[0])["state"] == "running":  # its supervisor has a second to end what it started
        assert time.monotonic() < deadline
    assert run["state"] == "killed" and "without a word" in run["reason"]

    again = repo.trainer(**settings)
    assert again.returncode == 0, again.stderr
    assert "start 1 of this run was killed without a word" in again.stderr
    assert [end["status"] for end in records(repo, "exits.jsonl")] == [None, 0]
    assert [line["step"] for line in records(repo, "metrics.jsonl")] == [1, 2, 3, 4, 5]
    assert [line["data"]["start"] for line in records(repo, "metrics.jsonl")] == [0, 0, 2, 2, 2]
    first, second = records(repo, "starts.jsonl")
    assert (first["resumed_from"], second["resumed_from"]) == (0, 2)
    assert first["wandb_run_id"] == second["wandb_run_id"]
    assert f"WANDB_RUN_ID={first['wandb_run_id']}" in second["command"]
    (run,) = listed(repo)
    assert (run["state"], run["step"], run["value"]) == ("finished", 5, 0.5)
    assert "mine" in repo.script(RUNS).stdout


@pytest.mark.slow
def test_another_run_under_the_same_name_is_refused_before_anything_is_written(repo: Checkout) -> None:
    settings = {"AGENT_MODEL_REPO_ID": str(repo.model()), "WANDB_EXP": "mine"}
    assert repo.trainer("tic_tac_toe", **settings).returncode == 0
    for arguments, more, difference in (
        (["tic_tac_toe"], {"LORA_RANK": "8"}, "LoRA of rank 32, alpha 32 → LoRA of rank 8"),
        (["hex"], {"DRY_RUN": "1"}, "game_types: tic_tac_toe → hex"),
    ):
        result = repo.trainer(*arguments, **settings, **more)
        (line,) = error_lines(result)
        assert result.returncode == 2 and difference in line and "WANDB_EXP to a new name" in line
    assert len(records(repo, "starts.jsonl")) == 1
    step = repo.root / "train/artifacts/RL/checkpoints/mine/global_step_2"
    assert repo.trainer("tic_tac_toe", **settings, LORA_RANK="8", RESUME=str(step), DRY_RUN="1").returncode == 0


def test_trackers_reach_the_run(repo: Checkout) -> None:
    variables = {
        "TRACKERS": "tensorboard,wandb",
        "WANDB_TAGS": "a,b",
        "WANDB_NOTES": "my notes",
        "WANDB_ENTITY": "team",
    }
    (repo.root / ".env").write_text("".join(f"{name}='{value}'\n" for name, value in variables.items()))
    result = repo.trainer(DRY_RUN="1", WANDB_EXP="mine")
    environment, command = command_of(result)
    assert variables.items() <= environment.items()
    assert "trainer.logger=[console,file,tensorboard,wandb]" in command
    assert environment["TENSORBOARD_DIR"] == f"{repo.root}/train/artifacts/tensorboard/mine"
    assert environment["TRACKIO_DIR"] == f"{repo.root}/train/artifacts/trackio"
    assert environment["WANDB_RESUME"] == "allow" and len(environment["WANDB_RUN_ID"]) == 8
    alone = repo.trainer(DRY_RUN="1", TRACKERS="tensorboard", WANDB_MODE="online")
    assert alone.returncode == 0, "no key is needed for what is not used"


def test_a_tracker_that_is_not_installed_is_refused_with_the_command(repo: Checkout) -> None:
    blocked = repo.home / "none"
    blocked.mkdir()
    (blocked / "sitecustomize.py").write_text(
        "import importlib.util\nfind = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *rest: None if name == 'trackio' else find(name, *rest)\n"
    )
    result = repo.trainer(DRY_RUN="1", TRACKERS="trackio", PYTHONPATH=str(blocked))
    assert result.returncode == 2
    assert f"{sys.executable} -m pip install trackio" in error_lines(result)[0]


@pytest.mark.slow
def test_clean_shows_and_asks_and_removes(repo: Checkout) -> None:
    assert "no runs in" in repo.script(RUNS).stdout
    failed = repo.root / "train/artifacts/RL/checkpoints/failed"
    failed.mkdir(parents=True)
    (failed / "starts.jsonl").write_text('{"start": 1}\n')
    (failed / "exits.jsonl").write_text('{"start": 1, "status": 1, "reason": "failed with status 1"}\n')
    assert "nothing to remove" in repo.script(RUNS, "clean").stdout, "it has failed just now"
    for file in failed.iterdir():
        os.utime(file, (time.time() - 7200,) * 2)
    shown = repo.script(RUNS, "clean")
    assert f"{failed}  (failed, and it has no checkpoint)" in shown.stdout and "nothing was removed" in shown.stdout
    assert failed.exists()
    assert "removed" in repo.script(RUNS, "clean", "--yes").stdout
    assert not failed.exists()
