"""The ledger of a run: metrics with each step once, the right checkpoints kept, no run mistaken for another."""

from __future__ import annotations

import fcntl
import json
import os
import shlex
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st

import run_ledger
from ledger.cleaning import find_waste, remove
from ledger.identity import differences, fingerprint
from ledger.listing import describe, in_bytes, in_words, runs_in
from ledger.masking import is_secret, mask, mask_all
from ledger.metrics_file import tidy_metrics
from ledger.pruning import prune
from ledger.records import KILLED, append_record, exit_record, read_records, state_of
from test_checkpoint_steps import make_step

METRICS = "metrics.jsonl"


def log(run: Path, *steps: int, **data: float) -> None:
    with (run / METRICS).open("a") as file:
        file.writelines(json.dumps({"step": step, "data": {"x": step / 10, **data}}) + "\n" for step in steps)


def logged(run: Path, name: str = METRICS) -> list[int]:
    return [json.loads(line)["step"] for line in (run / name).read_text().splitlines()]


# --- metrics


@st.composite
def kills(draw: st.DrawFn) -> list[tuple[int, int, bool, bool]]:
    """Starts of a run: (from which checkpoint, last step logged, half a line at the end, validated in between)."""
    starts, done = [], 0
    for _ in range(draw(st.integers(1, 5))):
        begin = draw(st.integers(0, done))
        done = draw(st.integers(begin, begin + 6))
        starts.append((begin, done, draw(st.booleans()), draw(st.booleans())))
    return starts


@given(starts=kills())
def test_after_any_kills_each_step_is_there_once_in_order_with_the_last_value(
    tmp_path_factory: pytest.TempPathFactory, starts: list[tuple[int, int, bool, bool]]
) -> None:
    run = tmp_path_factory.mktemp("run")
    truth: dict[int, dict[str, Any]] = {}
    for number, (begin, end, half, validated) in enumerate(starts):
        tidy_metrics(run, begin)
        truth = {step: data for step, data in truth.items() if begin and step <= begin}
        with (run / METRICS).open("a") as file:
            for step in range(begin + 1, end + 1):
                parts = [{"start": number, "x": step}] + [{"val/loss": number}] * validated
                truth[step] = {key: value for part in parts for key, value in part.items()}
                file.writelines(json.dumps({"step": step, "data": part}) + "\n" for part in parts)
            file.write('{"step": 99, "da' * half)
    tidied = tidy_metrics(run)
    lines = [json.loads(line) for line in (run / METRICS).read_text().splitlines()]
    assert [line["step"] for line in lines] == sorted(truth)
    assert {line["step"]: line["data"] for line in lines} == truth
    assert tidied.steps == len(truth) and tidied.unread == starts[-1][2]
    before = (run / METRICS).stat().st_ino
    assert tidy_metrics(run).unread == 0
    assert (run / METRICS).stat().st_ino == before, "a tidy file is not written again"


def test_replaced_steps_are_not_lost(tmp_path: Path) -> None:
    log(tmp_path, 1, 2, 3, 4)
    tidied = tidy_metrics(tmp_path, 2)
    assert (tidied.steps, tidied.replaced) == (2, 2)
    log(tmp_path, 3)
    assert logged(tmp_path) == [1, 2, 3]
    tidy_metrics(tmp_path, 0)
    assert logged(tmp_path) == []
    assert logged(tmp_path, "metrics-replaced.jsonl") == [3, 4, 1, 2, 3]


# --- checkpoints


def save(run: Path, *steps: int, latest: int | None = None) -> None:
    for step in steps:
        make_step(run, step)
    (run / "latest_checkpointed_iteration.txt").write_text(str(latest or steps[-1]))


def kept(run: Path) -> list[int]:
    return sorted(int(path.name.rpartition("_")[2]) for path in run.glob("global_step_*"))


def test_the_newest_checkpoints_of_all_starts_are_kept(tmp_path: Path) -> None:
    save(tmp_path, 5, 10, 15, 100)
    assert prune(tmp_path, 4) == []
    assert prune(tmp_path, 2) == [5, 10]
    assert kept(tmp_path) == [15, 100]


def test_the_newest_whole_checkpoint_is_never_removed(tmp_path: Path) -> None:
    save(tmp_path, 5, 10, 15, 20, latest=15)
    for step in (10, 15):
        with (tmp_path / f"global_step_{step}/actor/model_world_size_1_rank_0.pt").open("r+b") as file:
            file.truncate(3000)
    assert prune(tmp_path, 1) == [10]
    assert kept(tmp_path) == [5, 15, 20], "20 is being written, 15 is the latest, 5 is whole"


def test_a_removal_that_was_interrupted_is_ended(tmp_path: Path) -> None:
    save(tmp_path, 5, 10)
    (tmp_path / "global_step_5").rename(tmp_path / ".removed-global_step_5")
    prune(tmp_path, 1)
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ["global_step_10"]


# --- what a run is


def grpo(run: Path, **trainer: Any) -> dict[str, Any]:
    return {
        "actor_rollout_ref": {"model": {"lora_rank": 16, "lora_alpha": 32}, "rollout": {"seed": 3}},
        "data": {"seed": 42, "custom_cls": {"config": {"env": "openspiel", "adapter_config": {"game_types": "hex"}}}},
        "trainer": {"default_local_dir": str(run), "resume_mode": "auto", "max_actor_ckpt_to_keep": 1} | trainer,
    }


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """What the scripts do: `run_ledger.py` with a config and the environment that they make."""
    monkeypatch.setenv("VERITAS_ROOT", str(tmp_path))
    monkeypatch.setenv("AGENT_MODEL_PATH", str(tmp_path / "train/models/Qwen"))
    monkeypatch.setenv("HF_TOKEN", "hf_plantedSECRET")
    monkeypatch.delenv("WANDB_RUN_ID", raising=False)
    run = tmp_path / "my-run"
    run.mkdir()

    def call(action: str, config: dict[str, Any] | None = None, *more: str) -> int:
        (tmp_path / "config").write_text(yaml.safe_dump(config or grpo(run)))
        (tmp_path / "command").write_text("env \\\n  HF_TOKEN='***' \\\n  VERITAS_ROOT=x \\\n  python hf_plantedSECRET")
        arguments = [action, "--run", str(run), *more]
        if action != "end":
            arguments += ["--recipe", "openspiel", "--config", str(tmp_path / "config")]
        return run_ledger.main([*arguments, *(["--command", str(tmp_path / "command")] if action == "begin" else [])])

    call.run = run
    return call


def test_the_fingerprint_tells_runs_apart_and_not_machines(tmp_path: Path) -> None:
    config = grpo(tmp_path)
    first = fingerprint(config, "openspiel", f"{tmp_path}/train/models/Qwen", tmp_path)
    assert first["model"] == "train/models/Qwen"
    assert first == fingerprint(config | {"x": 1}, "openspiel", "train/models/Qwen", Path("/elsewhere"))
    config["actor_rollout_ref"]["model"]["lora_rank"] = 0
    config["data"]["custom_cls"]["config"]["adapter_config"] = {"game_types": "go"}
    second = fingerprint(config, "openspiel", "train/models/Qwen", tmp_path)
    assert differences(first, second) == [
        "tuning: LoRA of rank 16, alpha 32 → all weights",
        "tasks.adapter_config.game_types: hex → go",
    ]


def test_a_name_that_belongs_to_another_run_is_refused_and_says_how_to_go_on(
    script: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert script("begin") == 0
    save(script.run, 20)
    other = grpo(script.run)
    other["actor_rollout_ref"]["model"]["lora_rank"] = 8
    for action in ("check", "begin"):
        capsys.readouterr()
        assert script(action, other) == 2
        error = capsys.readouterr().err
        assert "another run, at step 20" in error and "rank 16, alpha 32 → LoRA of rank 8" in error
        assert "WANDB_EXP" in error and f"RESUME={script.run}/global_step_20" in error
    assert len(read_records(script.run / "starts.jsonl")) == 1
    by_path = {"resume_mode": "resume_path", "resume_from_path": f"{script.run}/global_step_20"}
    other["trainer"] |= by_path
    assert script("begin", other) == 2, "a script may go on from a path where the latest is not whole"
    monkeypatch.setenv("RESUME", f"{script.run}/global_step_20")
    assert script("begin", other) == 0
    monkeypatch.delenv("RESUME")
    assert script("check", other | {"trainer": grpo(script.run)["trainer"]}) == 0, "it is that run now"


def test_a_run_that_saved_nothing_may_become_another(script: Any) -> None:
    assert script("begin") == 0
    log(script.run, 1, 2)
    other = grpo(script.run)
    other["actor_rollout_ref"]["model"]["lora_rank"] = 8
    assert script("begin", other) == 0
    assert logged(script.run) == []


def test_the_id_at_weights_and_biases_stays_while_a_run_goes_on(
    script: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def checked() -> str:
        capsys.readouterr()
        assert script("check") == 0
        return capsys.readouterr().out.strip()

    monkeypatch.setenv("WANDB_RUN_ID", first := checked())  # as the script does
    script("begin")
    monkeypatch.delenv("WANDB_RUN_ID")
    assert checked() != first, "begun anew, W&B would ignore the steps that it has"
    save(script.run, 20)
    assert checked() == checked() == first
    monkeypatch.setenv("WANDB_RUN_ID", "mine")
    assert checked() == "mine"


# --- starts and exits


def test_a_start_and_its_exit_are_on_record(script: Any) -> None:
    script("begin")
    (start,) = read_records(script.run / "starts.jsonl")
    assert start["seeds"] == {"actor_rollout_ref.rollout.seed": 3, "data.seed": 42}
    assert start["environment"] == {"HF_TOKEN": "***", "VERITAS_ROOT": os.environ["VERITAS_ROOT"]}
    assert (start["resumed_from"], start["versions"]["torch"]) == (0, torch.__version__)
    log(script.run, 1, 2, 2)
    save(script.run, 1, 2)
    assert script("end", None, "--status", "143") == 0
    (end,) = read_records(script.run / "exits.jsonl")
    assert (end["status"], end["signal"], end["step"]) == (143, "SIGTERM", 2)
    assert logged(script.run) == [1, 2]
    assert kept(script.run) == [2]
    assert yaml.safe_load((script.run / "config.yaml").read_text()) == grpo(script.run)
    assert not [path for path in script.run.rglob("*") if path.is_file() and b"plantedSECRET" in path.read_bytes()]


def test_a_start_that_was_killed_without_a_word_is_told_at_the_next(
    script: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    script("begin")
    assert state_of(script.run).name == "killed"
    log(script.run, 1, 2, 3)
    save(script.run, 2)
    script("begin")
    assert KILLED in capsys.readouterr().err
    (end,) = read_records(script.run / "exits.jsonl")
    assert (end["start"], end["status"], end["reason"], end["step"]) == (1, None, KILLED, 3)
    assert [start["resumed_from"] for start in read_records(script.run / "starts.jsonl")] == [0, 2]
    assert (script.run / "config-1.yaml").exists() and (script.run / "config-2.yaml").exists()
    script("end", None, "--status", "0")
    assert state_of(script.run).name == "finished"


def test_what_the_supervisor_has_found_out_is_the_reason(script: Any) -> None:
    for number, (status, expected) in enumerate([(1, "the disk is full ***"), (143, "stopped by SIGTERM")], start=1):
        script("begin")
        (script.run / "exit_reason.txt").write_text("the disk is full hf_plantedSECRET\n")
        script("end", None, "--status", str(status))
        end = read_records(script.run / "exits.jsonl")[-1]
        assert end["start"] == number and end["reason"].startswith(expected)


def test_other_nodes_only_sign_their_start(script: Any) -> None:
    script("begin")
    log(script.run, 1)
    script("begin", None, "--node", "1")
    assert logged(script.run) == [1]
    assert not (script.run / "exits.jsonl").exists()
    assert [start.get("node") for start in read_records(script.run / "starts.jsonl")] == [None, 1]


@pytest.mark.parametrize(
    ("status", "state", "words"),
    [
        (0, "finished", ""),
        (1, "failed", "status 1"),
        (130, "stopped", "Ctrl-C"),
        (143, "stopped", "SIGTERM"),
        (137, "failed", "out of memory"),
        (128 + signal.SIGUSR1, "failed", "SIGUSR1"),
        (200, "failed", "status 200"),
    ],
)
def test_a_status_is_told_in_words(tmp_path: Path, status: int, state: str, words: str) -> None:
    append_record(tmp_path / "starts.jsonl", {"start": 1})
    append_record(tmp_path / "exits.jsonl", exit_record(1, status, 3))
    found = state_of(tmp_path)
    assert found.name == state and words in found.reason


def test_a_run_is_running_while_its_lock_is_held(tmp_path: Path) -> None:
    append_record(tmp_path / "starts.jsonl", {"start": 1})
    with (tmp_path / ".lock-node-1").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert state_of(tmp_path).name == "running"
    assert state_of(tmp_path).name == "killed"
    (tmp_path / "starts.jsonl").write_text('{"started": "2026-01-31", "command": "…"}\n')
    assert state_of(tmp_path).name == "unknown", "runs of before the ledger are not called killed"


def test_half_a_line_costs_only_itself(tmp_path: Path) -> None:
    file = tmp_path / "exits.jsonl"
    append_record(file, {"start": 1})
    with file.open("a") as stream:
        stream.write('{"start": 2, "sta')
    append_record(file, {"start": 3})
    assert [record["start"] for record in read_records(file)] == [1, 3]


# --- secrets


@given(secret=st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=4))
def test_a_secret_is_masked_however_it_is_quoted(secret: str) -> None:
    environment = {"HF_TOKEN": secret}
    for text in (secret, json.dumps(secret)[1:-1], shlex.quote(secret)):
        masked = mask(f"before\t{text}\tafter", environment)
        assert masked in (f"before\t{quoted}***{quoted}\tafter" for quoted in ("", "'")) or "'" in secret
    by_bash = subprocess.run(
        ["bash", "-c", 'printf %q "$1"', "bash", secret], capture_output=True, text=True, check=True
    )
    assert mask(by_bash.stdout, environment) == "***"


def test_what_is_named_like_a_secret_is_masked() -> None:
    assert is_secret("HF_TOKEN") and is_secret("WANDB_API_KEY") and is_secret("AWS_SECRET_ACCESS_KEY")
    assert not is_secret("SWE_PROMPT_TOKENS") and not is_secret("HF_HOME")
    assert mask("https://me:pw@host/x api_key=abc", {}) == "https://***@host/x api_key=***"
    config = {"a": {"api_key": "k", "wandb_token": None, "max_token": 5}, "b": ["x hf_abcd"], "seed": 1}
    assert mask_all(config, {"HF_TOKEN": "hf_abcd"}) == {
        "a": {"api_key": "***", "wandb_token": None, "max_token": 5},
        "b": ["x ***"],
        "seed": 1,
    }
    assert mask("yes", {"USE_TOKEN": "yes"}) == "yes", "short values are words"


# --- the list of runs, and what may go


def make_run(parent: Path, name: str, status: int | None, *steps: int, age_h: float = 2) -> Path:
    run = parent / name
    run.mkdir(parents=True)
    append_record(run / "starts.jsonl", {"start": 1, "fingerprint": {"kind": "GRPO"}})
    log(run, 1, 2, **{"train/reward": 0.25})
    (run / "total_steps.txt").write_text("4\n")
    if status is not None:
        append_record(run / "exits.jsonl", exit_record(1, status, 2))
    for step in steps:
        (make_step(run, step) / "optim_world_size_1_rank_0.pt").write_bytes(b"0" * 5000)
        (run / "latest_checkpointed_iteration.txt").write_text(str(step))
    for file in run.iterdir():
        if file.is_file():
            os.utime(file, (file.stat().st_mtime - age_h * 3600,) * 2)
    return run


def test_runs_are_listed_with_what_they_reached(tmp_path: Path) -> None:
    make_run(tmp_path, "old", 0, 1, 2, age_h=50)
    make_run(tmp_path, "new", 1)
    (tmp_path / "no run").mkdir()
    old, new = runs_in([tmp_path, tmp_path / "nowhere"])
    assert (old.name, old.kind, old.state, old.step, old.total, old.value, old.checkpoints) == (
        "old", "GRPO", "finished", 2, 4, 0.25, [1, 2],
    )  # fmt: skip
    assert (new.name, new.state, new.checkpoints) == ("new", "failed", [])
    assert in_words(old.age_s) == "2 d" and old.bytes > 10_000
    assert (in_bytes(1_234_567_890), in_bytes(3_400_000), in_bytes(1200)) == ("1.2 GB", "3 MB", "1 kB")


def test_cleaning_takes_what_nobody_will_miss_and_nothing_else(tmp_path: Path) -> None:
    finished = make_run(tmp_path, "finished", 0, 1, 2)
    failed, killed = make_run(tmp_path, "failed", 1), make_run(tmp_path, "killed", None)
    make_run(tmp_path, "fresh", 1, age_h=0.1)
    make_run(tmp_path, "stopped", 130, 1, 2)
    make_step(tmp_path / "stopped", 3)
    with (make_run(tmp_path, "running", None) / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        waste = find_waste(runs_in([tmp_path]))
    optimizer = finished / "global_step_1/actor/optim_world_size_1_rank_0.pt"
    assert {item.path for item in waste} == {failed, killed, optimizer, tmp_path / "stopped/global_step_3"}
    with (failed / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # it has started meanwhile
        removed = remove(waste)
    assert {item.path for item in waste} - {item.path for item in removed} == {failed}
    assert failed.exists() and not killed.exists() and not optimizer.exists()
    assert describe(finished).checkpoints == [1, 2]
    assert describe(tmp_path / "stopped").checkpoints == [1, 2]
