"""lgc-v2-SFT-trainer.sh: how a run starts and ends, and what it converts before."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
import yaml
from script_runner import ROOT, SFT_TRAINER, Checkout, alive, config_of, error_lines, pinned, whole_checkpoint

DRY = {"DRY_RUN": "1"}
FILES = {"SFT_TRAIN_FILES": "train.parquet"}


@pytest.fixture
def repo(tmp_path: Path) -> Checkout:
    checkout = Checkout(tmp_path)
    checkout.parquet("train.parquet")
    return checkout


# --- a dataset to convert first


@pytest.mark.slow
def test_a_dataset_is_converted_first_and_both_commands_are_shown(repo: Checkout) -> None:
    result = repo.sft(**DRY, SFT_HF_DATASET="some/data", SFT_VAL_RATIO="0.2", SFT_PARQUET_DIR="my data")
    folder = f"{repo.root}/my data"
    config = config_of(result)
    assert config["data"]["train_files"] == [f"{folder}/swe_synth_sft_train.parquet"]
    assert config["data"]["val_files"] == [f"{folder}/swe_synth_sft_val.parquet"]
    words = shlex.split(result.stdout.split("\ncd ")[1].replace("\\\n", " "))
    script = words.index(f"{repo.root}/data_processing/convert_swe_synth_sft.py")
    flags = dict(zip(words[script + 1 :: 2], words[script + 2 :: 2], strict=False))
    assert flags["--dataset"] == "some/data" and flags["--split"] == "train"
    assert flags["--output-dir"] == folder and flags["--val-ratio"] == "0.2"
    assert int(flags["--max-tokens-prompt"]) + int(flags["--max-tokens-response"]) < config["data"]["max_length"]
    alone = config_of(repo.sft(**DRY, SFT_HF_DATASET="some/data", SFT_VAL_RATIO="0"))
    assert alone["data"]["val_files"] is None and alone["trainer"]["test_freq"] == -1
    own = config_of(repo.sft(**DRY, SFT_HF_DATASET="some/data", SFT_VAL_FILES="train.parquet"))
    assert own["data"]["val_files"] == [str(repo.home / "train.parquet")]


@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        ({"SFT_HF_DATASET": "gone.jsonl"}, "SFT_HF_DATASET=gone.jsonl is not there"),
        ({"SFT_MAX_LENGTH": "100"}, "use at least 128"),
        ({"SFT_VAL_FILES": "train.parquet", "SFT_VAL_RATIO": "0.1"}, "unset one of them"),
    ],
)
def test_a_dataset_that_cannot_be_converted_is_refused(repo: Checkout, variables: dict[str, str], reason: str) -> None:
    result = repo.sft(**{"SFT_HF_DATASET": "some/data", "AGENT_MODEL_REPO_ID": "some/model", **variables})
    assert result.returncode == 2
    assert reason in error_lines(result)[0]


@pytest.mark.slow
def test_a_run_trains_on_what_it_has_converted(repo: Checkout, tiny: Path) -> None:
    shutil.copytree(
        ROOT / "data_processing", repo.root / "data_processing", ignore=shutil.ignore_patterns("__pycache__")
    )
    repo.parquet(str(repo.root / "train/parquet/swe_synth_sft_val.parquet"), rows=1)  # an earlier run's, to be replaced
    rows = [
        {
            "instance_id": f"a__b-{number}",
            "messages": [{"role": "user", "content": f"bug {number}"}, {"role": "assistant", "content": "I look."}],
            "model_patch": f"diff --git a/{number}",
            "run_name": "moatless-0",
        }
        for number in range(20)
    ]
    (repo.home / "runs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    repo.stand_in_verl("import sys; print('trained', *sys.argv)")
    variables = {"SFT_HF_DATASET": "runs.jsonl", "SFT_VAL_RATIO": "0.2", "SFT_MODEL_PATH": str(tiny)}
    run = repo.sft(**variables, SFT_TRAIN_BATCH_SIZE="4", SFT_MICRO_BATCH_SIZE_PER_GPU="4")
    assert run.returncode == 0, run.stderr
    assert "trained" in run.stdout
    counts = {
        side: pyarrow.parquet.read_metadata(repo.root / f"train/parquet/swe_synth_sft_{side}.parquet").num_rows
        for side in ("train", "val")
    }
    assert counts["train"] + counts["val"] == 20 and counts["val"] >= 4
    too_few = repo.sft(**variables)
    assert too_few.returncode == 2 and f"train files hold {counts['train']} row(s)" in error_lines(too_few)[0]
    assert "trained" not in too_few.stdout


# --- a run


def test_a_run_is_torchruns_and_leaves_its_record(repo: Checkout) -> None:
    repo.stand_in_verl("import os, sys; print('ran', os.getcwd(), os.environ['WORLD_SIZE'], *sys.argv[1:])")
    result = repo.sft(**FILES, AGENT_MODEL_REPO_ID=str(repo.model()), WANDB_EXP="first")
    assert result.returncode == 0, result.stderr
    assert f"ran {repo.root} 1 --config-path {repo.root}/train/config --config-name sft" in result.stdout
    directory = repo.root / "train/artifacts/checkpoints/first"
    (record,) = (json.loads(line) for line in (directory / "starts.jsonl").read_text().splitlines())
    assert record["versions"]["verl"] == pinned("verl")
    assert "verl.trainer.sft_trainer" in record["command"] and "SFT_TRAIN_FILES=train.parquet" in record["command"]


@pytest.mark.slow
def test_an_interrupted_run_leaves_no_process(repo: Checkout) -> None:
    repo.stand_in_verl(
        "import os, subprocess, time\n"
        "child = subprocess.Popen(['sleep', '300'], start_new_session=True)\n"
        "open(os.environ['HOME'] + '/pids', 'w').write(f'{os.getpid()} {os.getppid()} {child.pid}\\n')\n"
        "time.sleep(300)"
    )
    env = {**repo.env, **FILES, "AGENT_MODEL_REPO_ID": str(repo.model()), "SUPERVISE_GRACE_S": "1"}
    command = ["bash", repo.root / SFT_TRAINER]
    run = subprocess.Popen(command, env=env, cwd=repo.home, stderr=subprocess.DEVNULL, start_new_session=True)
    pids = repo.home / "pids"
    deadline = time.monotonic() + 100
    while not (pids.exists() and pids.read_text().endswith("\n")):
        assert run.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    os.killpg(run.pid, signal.SIGINT)
    assert run.wait(60) == 130
    assert not [pid for pid in map(int, pids.read_text().split()) if alive(pid)]


@pytest.mark.slow
def test_two_nodes_that_share_a_disk_find_each_other(repo: Checkout) -> None:
    repo.stand_in_verl(
        "import os; print('node', os.environ['GROUP_RANK'], 'rank', os.environ['RANK'], 'of', os.environ['WORLD_SIZE'])"
    )
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    shared = {
        "AGENT_MODEL_REPO_ID": str(repo.model()),
        "WANDB_EXP": "mine",
        "NNODES": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    nodes = [
        subprocess.Popen(
            ["bash", repo.root / SFT_TRAINER],
            env={**repo.env, **FILES, **shared, "NODE_RANK": rank},
            cwd=repo.home,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in "01"
    ]
    outputs = [node.communicate(timeout=300)[0] for node in nodes]
    assert [node.returncode for node in nodes] == [0, 0], outputs
    assert "node 0 rank 0 of 2" in outputs[0] and "node 1 rank 1 of 2" in outputs[1]


@pytest.mark.slow
def test_resuming_is_said_and_never_by_accident(repo: Checkout) -> None:
    run = repo.root / "train/artifacts/checkpoints/old"
    step = whole_checkpoint(run / "global_step_50", part="")
    (run / "latest_checkpointed_iteration.txt").write_text("50")
    going_on = repo.sft(**DRY, **FILES, WANDB_EXP="old")
    assert "resume   from step 50" in going_on.stderr
    assert config_of(going_on)["trainer"]["resume_mode"] == "auto"
    anew = repo.sft(**DRY, **FILES, WANDB_EXP="old", RESUME="never")
    assert anew.returncode == 2 and "has checkpoints up to step 50" in error_lines(anew)[0]
    trainer = config_of(repo.sft(**DRY, **FILES, WANDB_EXP="new", RESUME=str(step)))["trainer"]
    assert (trainer["resume_mode"], trainer["resume_from_path"]) == ("resume_path", str(step))


def test_a_secret_is_neither_printed_nor_written(repo: Checkout) -> None:
    secret = "hf_plantedSECRET"
    (repo.root / ".env").write_text(f"HF_TOKEN={secret}\nWANDB_API_KEY={secret}2\n")
    repo.stand_in_verl("")
    variables = {**FILES, "AGENT_MODEL_REPO_ID": str(repo.model()), "WANDB_MODE": "offline"}
    dry, run = repo.sft(**DRY, **variables), repo.sft(**variables)
    assert dry.returncode == 0 and run.returncode == 0, dry.stderr + run.stderr
    assert "HF_TOKEN='***'" in dry.stdout
    written = [path for path in repo.root.rglob("*") if path.is_file() and path.name != ".env"]
    texts = [dry.stdout, dry.stderr, run.stdout, run.stderr, *(path.read_text(errors="replace") for path in written)]
    assert not [text for text in texts if "plantedSECRET" in text]


def test_a_sourced_script_sees_variables_that_were_not_exported_and_keeps_the_shell(repo: Checkout) -> None:
    code = f"""
    before=$(shopt -o; declare -F; trap; pwd)
    SFT_TRAIN_FILES={repo.home}/train.parquet; SFT_LR=3e-4; DRY_RUN=1
    . train/scripts/lgc-v2-SFT-trainer.sh optim.weight_decay=0.5; echo "status $?"
    SFT_LR=fast; . train/scripts/lgc-v2-SFT-trainer.sh; echo "status $?"
    [[ $before == "$(shopt -o; declare -F; trap; pwd)" ]] && echo unchanged
    """
    result = repo.bash(code)
    config = yaml.safe_load(result.stdout.partition("\ncd ")[0])
    assert config["optim"]["lr"] == 3e-4 and config["optim"]["weight_decay"] == 0.5
    assert result.stdout.endswith("status 2\nunchanged\n") and "status 0\n" in result.stdout, result.stderr
