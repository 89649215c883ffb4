"""lgc-v2-SFT-trainer.sh: what it refuses, before anything is downloaded or started."""

from __future__ import annotations

from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from script_runner import Checkout, error_lines

DRY = {"DRY_RUN": "1"}
FILES = {"SFT_TRAIN_FILES": "train.parquet"}


@pytest.fixture
def repo(tmp_path: Path) -> Checkout:
    checkout = Checkout(tmp_path)
    checkout.parquet("train.parquet")
    return checkout


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ("DRY_RUN=yes", "0 or 1"),
        ("SFT_TRAIN_BATCH_SIZE=0", "at least 1"),
        ("SFT_TRAIN_BATCH_SIZE=3e1", "at least 1"),
        ("SFT_MICRO_BATCH_SIZE_PER_GPU=5", "use 4 or 8 or 16 or 32"),
        ("SFT_TRAIN_BATCH_SIZE=72", "hold 64 row(s), fewer than one batch of 72"),
        ("SFT_MAX_LENGTH=0", "at least 1"),
        ("SFT_TOTAL_EPOCHS=ten", "at least 1"),
        ("SFT_LR=0", "positive number"),
        ("SFT_LR=fast", "positive number"),
        ("SFT_LORA_RANK=-1", "at least 0"),
        ("SFT_LORA_ALPHA=32", "would be ignored without SFT_LORA_RANK"),
        ("SFT_LORA_TARGET_MODULES=q_proj", "would be ignored without SFT_LORA_RANK"),
        ("SFT_MAX_CKPT_TO_KEEP=0", "at least 1"),
        ("SFT_TRUNCATION=middle", "error or left or right or drop or split"),
        ("SFT_SAVE_FREQ=0", "a number of steps"),
        ("SFT_TEST_FREQ=often", "a number of steps"),
        ("SFT_VAL_RATIO=1", "less than 1"),
        ("SFT_VAL_RATIO=-0.1", "less than 1"),
        ("SFT_VAL_RATIO=nan", "less than 1"),
        ("SFT_HF_DATASET=some/data", "unset one of them"),
        ("SFT_MODEL_PATH=/no/model", "not there"),
        ("SFT_MODEL_PATH=/etc/passwd", "not a directory"),
        ("SFT_MODEL_PATH=/tmp", "config.json"),
        ("FSDP_STRATEGY=fsdp", "fsdp2"),
        ("GPU_COUNT=2", "one logical device"),
        ("NNODES=0", "at least 1"),
        ("NNODES=2", "NODE_RANK is not set"),
        ("NODE_RANK=1", "NNODES=1"),
        ("RESUME=/tmp", "fsdp_config.json"),
        ("WANDB_MODE=online", "WANDB_API_KEY"),
        ("VERITAS_MIN_FREE_GB=99999999", "free some space"),
    ],
)
def test_a_bad_setting_is_refused_in_one_line_before_anything_starts(repo: Checkout, setting: str, reason: str) -> None:
    name, _, value = setting.partition("=")
    result = repo.sft(**{**FILES, "AGENT_MODEL_REPO_ID": "some/model", name: value})
    (line,) = error_lines(result)
    assert result.returncode == 2
    assert reason in line
    assert value in line or name in line
    assert "Traceback" not in result.stderr and "downloading" not in result.stderr
    assert not (repo.root / "train/outputs").exists()
    assert not list(repo.root.glob("train/artifacts/checkpoints/*"))


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("gone.parquet", "gone.parquet is not there (looked for"),
        ("train.parquet,gone.parquet", "gone.parquet is not there"),
        ("train.parquet,,train.parquet", "empty path"),
        (" , ", "empty path"),
        ("'train.parquet", "a quote that opens has to close"),
        ("moves.jsonl", "not a .parquet file"),
        ("a folder, with comma/train.parquet", "a folder is not a .parquet file"),
        ("folder.parquet", "is not a file"),
        ("truncated.parquet", "not a whole parquet file"),
        ("text.parquet", "not a whole parquet file"),
        ("no rows.parquet", "has no rows"),
        ("few.parquet", "hold 31 row(s), fewer than one batch of 32"),
    ],
)
@pytest.mark.parametrize("name", ["SFT_TRAIN_FILES", "SFT_VAL_FILES"])
def test_a_file_that_cannot_be_trained_on_is_named(repo: Checkout, name: str, value: str, reason: str) -> None:
    (repo.home / "folder.parquet").mkdir()
    (repo.home / "moves.jsonl").write_text("{}\n")
    (repo.home / "text.parquet").write_text("prompt,response\n")
    (repo.home / "truncated.parquet").write_bytes(repo.parquet("train.parquet").read_bytes()[:-20])
    repo.parquet("no rows.parquet", rows=0)
    repo.parquet("few.parquet", rows=31)
    result = repo.sft(**{**FILES, name: value, "AGENT_MODEL_REPO_ID": "some/model"})
    (line,) = error_lines(result)
    assert result.returncode == 2
    assert reason in line and "Traceback" not in result.stderr
    assert "downloading" not in result.stderr


def test_without_files_the_folder_that_was_looked_in_is_named(repo: Checkout) -> None:
    result = repo.sft(**DRY)
    assert result.returncode == 2
    assert f"{repo.root}/train/parquet/train.parquet is not there" in error_lines(result)[0]


def test_columns_are_looked_for_before_the_model_is(repo: Checkout) -> None:
    result = repo.sft(**FILES, SFT_RESPONSE_KEY="answer", AGENT_MODEL_REPO_ID="some/model")
    assert result.returncode == 2
    (line,) = error_lines(result)
    assert "neither the columns 'prompt' and 'answer' nor 'messages'; it has prompt, response" in line


def test_chats_may_be_fewer_than_a_batch_since_each_can_be_several_samples(repo: Checkout) -> None:
    chat = [{"role": "user", "content": "2 + 2 = ?"}, {"role": "assistant", "content": "4"}]
    pyarrow.parquet.write_table(pyarrow.table({"messages": [chat] * 3}), repo.home / "chats.parquet")
    assert repo.sft(**DRY, SFT_TRAIN_FILES="chats.parquet").returncode == 0
    repo.parquet("few.parquet", rows=3)
    assert repo.sft(**DRY, SFT_TRAIN_FILES="few.parquet", SFT_TRUNCATION="split").returncode == 0
    assert repo.sft(**DRY, SFT_TRAIN_FILES="few.parquet").returncode == 2


@pytest.mark.parametrize(
    ("argument", "reason"),
    [
        ("hex", "hex is not KEY=VALUE"),
        ("--nnodes=2", "unknown option"),
        ("", "empty"),
        ("trainer.total_epoch=3", "Did you mean trainer.total_epochs"),
        ("data.train_batch_size=0", "data.train_batch_size=0"),
        ("data.train_files=[/no/where.parquet]", "/no/where.parquet"),
        ("trainer.test_freq=10", "no data.val_files"),
        ("trainer.save_freq=0", "SFT_SAVE_FREQ"),
        ("model.lora_adapter_path=/x", "would be ignored"),
    ],
)
def test_a_bad_argument_is_refused_before_the_model_is_looked_for(repo: Checkout, argument: str, reason: str) -> None:
    result = repo.sft(argument, **FILES, AGENT_MODEL_REPO_ID="some/model")
    (line,) = error_lines(result)
    assert result.returncode == 2
    assert reason in line and "Traceback" not in result.stderr
    assert "downloading" not in result.stderr


@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        (
            {"SFT_TRAIN_BATCH_SIZE": "30", "GPU_COUNT": "4"},
            "cannot be shared by 4 GPUs (GPU_COUNT × NNODES): use 28 or 32",
        ),
        ({"SFT_TRAIN_BATCH_SIZE": "2", "GPU_COUNT": "4"}, "use 4"),
        ({"SFT_MICRO_BATCH_SIZE_PER_GPU": "16", "GPU_COUNT": "4"}, "the 8 rows that each GPU has of a batch of 32"),
        ({"GPU_COUNT": "9"}, "this machine has 8 GPU"),
        ({"NNODES": "3", "NODE_RANK": "0", "MASTER_ADDR": "a", "WANDB_EXP": "x"}, "cannot be shared by 6 GPUs"),
    ],
)
def test_a_batch_that_the_gpus_cannot_share_is_refused(repo: Checkout, variables: dict[str, str], reason: str) -> None:
    repo.gpus(*[81559] * 8)
    (repo.bin / "flashinfer").mkdir()  # else it would be installed first
    (repo.bin / "flashinfer/__init__.py").touch()
    result = repo.sft(**{**FILES, **variables}, PYTHONPATH=str(repo.bin))
    assert result.returncode == 2
    assert reason in error_lines(result)[0]


@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        ({"NODE_RANK": None}, "NODE_RANK is not set"),
        ({"MASTER_ADDR": None}, "MASTER_ADDR is not set"),
        ({"WANDB_EXP": None}, "WANDB_EXP is not set"),
        ({"NODE_RANK": "2"}, "the ranks are 0 to 1"),
        ({"NODE_RANK": "one"}, "at least 0"),
        ({"MASTER_ADDR": "a b"}, "not a host's name"),
        ({"MASTER_PORT": "70000"}, "use 1 to 65535"),
    ],
)
def test_a_node_that_cannot_find_the_others_is_refused(
    repo: Checkout, variables: dict[str, str | None], reason: str
) -> None:
    node = {"NNODES": "2", "NODE_RANK": "1", "MASTER_ADDR": "node-0", "WANDB_EXP": "mine"}
    result = repo.sft(**{**FILES, **DRY, **node, **variables})
    assert result.returncode == 2
    assert reason in error_lines(result)[0]


def test_a_regular_expression_that_is_none_is_refused_before_the_model_is_loaded(repo: Checkout) -> None:
    result = repo.sft(**FILES, SFT_LORA_RANK="8", SFT_LORA_TARGET_MODULES=".*(q_proj", AGENT_MODEL_REPO_ID="some/model")
    assert result.returncode == 2
    assert "target_modules=.*(q_proj is neither names nor a regular expression" in error_lines(result)[0]
