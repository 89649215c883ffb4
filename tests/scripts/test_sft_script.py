"""lgc-v2-SFT-trainer.sh: what it refuses, what it composes, and how torchrun is started."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from script_runner import ROOT, SFT_TRAINER, Checkout, alive, command_of, config_of, environment_of, error_lines, pinned

sys.path.insert(0, str(ROOT / "train/scripts/lib"))
from sft_files import FileListError, split_list

DRY = {"DRY_RUN": "1"}
FILES = {"SFT_TRAIN_FILES": "train.parquet"}


@pytest.fixture
def repo(tmp_path: Path) -> Checkout:
    checkout = Checkout(tmp_path)
    checkout.parquet("train.parquet")
    return checkout


def launch_of(result: subprocess.CompletedProcess[str]) -> list[str]:
    """torchrun's flags of a dry run's command."""
    _, words = command_of(result)
    module = words.index("-m", 3)
    assert words[1:3] == ["-m", "torch.distributed.run"]
    assert words[module : module + 2] == ["-m", "verl.trainer.sft_trainer"]
    return words[3:module]


# --- refusals


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
    result = repo.sft(**{**FILES, **variables})
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


# --- files


def test_files_are_found_from_the_users_folder_and_from_the_repository(repo: Checkout) -> None:
    odd = [repo.parquet('it\'s, "odd" [x] {y}=z/a b.parquet'), repo.parquet("back\\slash #1.parquet")]
    ours = repo.parquet(str(repo.root / "train/parquet/more.parquet"))
    listed = f" ./train.parquet ,train/parquet/more.parquet, '{odd[1]}',{repo.home}/train.parquet"
    config = config_of(repo.sft(**DRY, SFT_TRAIN_FILES=listed, SFT_VAL_FILES=str(odd[1])))
    own = str(repo.home / "train.parquet")
    assert config["data"]["train_files"] == [own, str(ours), str(odd[1]), own]
    assert config["data"]["val_files"] == [str(odd[1])]
    assert config["trainer"]["test_freq"] == 50
    by_folder = config_of(repo.sft(**DRY, SFT_PARQUET_DIR=str(odd_folder(repo, odd[0]))))
    assert by_folder["data"]["train_files"] == [str(odd[0].parent / "train.parquet")]


def odd_folder(repo: Checkout, beside: Path) -> Path:
    repo.parquet(str(beside.parent / "train.parquet"))
    return beside.parent


def test_the_folder_of_files_is_the_default_and_its_validation_file_is_used(repo: Checkout) -> None:
    folder = repo.root / "train/parquet"
    repo.parquet(str(folder / "train.parquet"))
    alone = repo.sft(**DRY)
    assert config_of(alone)["data"]["val_files"] is None
    assert config_of(alone)["trainer"]["test_freq"] == -1
    assert "no validation loss" in alone.stderr
    repo.parquet(str(folder / "val.parquet"))
    both = config_of(repo.sft(**DRY))
    assert both["data"]["train_files"] == [str(folder / "train.parquet")]
    assert both["data"]["val_files"] == [str(folder / "val.parquet")]
    assert both["trainer"]["test_freq"] == 50
    named = config_of(repo.sft(**DRY, **FILES))
    assert named["data"]["val_files"] is None, "the folder is not looked at when files are named"


PATHS = st.lists(st.text(st.characters(exclude_characters="\0\"'", exclude_categories=["Cs"]), min_size=1), min_size=1)


@given(PATHS, st.sampled_from("\"'"), st.sampled_from([",", " , ", ",\t"]))
def test_every_quoted_list_of_paths_is_split_into_them(paths: list[str], quote: str, comma: str) -> None:
    assert split_list(comma.join(f"{quote}{path}{quote}" for path in paths)) == paths


@given(st.lists(st.text(st.characters(codec="ascii", exclude_characters="\0\"',\n\r"), min_size=1).map(str.strip)))
def test_every_plain_list_of_paths_is_split_into_them(paths: list[str]) -> None:
    if "" in paths[:-1] or paths == [""]:
        with pytest.raises(FileListError):
            split_list(" , ".join(paths) or " ")
    else:
        assert split_list(" , ".join(paths)) == [path for path in paths if path]


ODD = st.text(st.sampled_from("ab \\'\",[]{}=:#$*()é"), min_size=1).filter(lambda text: "${" not in text)


@pytest.mark.slow
def test_hydra_reads_every_quoted_value_back_unchanged(repo: Checkout) -> None:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    parser = OverridesParser.create()

    @given(ODD)
    def check(value: str) -> None:
        code = f". train/scripts/lib/common.sh; hydra_quote {shlex.quote(value)}"
        quoted = subprocess.run(["bash", "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
        assert parser.parse_override(f"key=[{quoted}]").value() == [value]

    check()


# --- composition


def test_a_dry_run_prints_the_config_and_a_command_and_makes_nothing(repo: Checkout) -> None:
    result = repo.sft("optim.weight_decay=0.1", "trainer.total_training_steps=7", **DRY, **FILES)
    config = config_of(result)
    environment = environment_of(result)
    run = environment["WANDB_EXP"]
    assert re.fullmatch(r"sft-SmolLM2-135M-Instruct-\d{8}-\d{6}", run)
    assert config["trainer"]["default_local_dir"] == f"{repo.root}/train/artifacts/checkpoints/{run}"
    assert config["trainer"]["total_training_steps"] == 7 and config["optim"]["weight_decay"] == 0.1
    assert config["model"]["path"] == f"{repo.root}/train/models/SmolLM2-135M-Instruct"
    assert launch_of(result) == ["--standalone", "--nnodes=1", "--nproc_per_node=1"]
    assert not (repo.root / "train/outputs").exists() and not (repo.root / "train/artifacts").exists()


REACHES = {
    "SFT_TRAIN_BATCH_SIZE=16": ("data.train_batch_size", 16),
    "SFT_MICRO_BATCH_SIZE_PER_GPU=4": ("data.micro_batch_size_per_gpu", 4),
    "SFT_MAX_LENGTH=512": ("data.max_length", 512),
    "SFT_TRUNCATION=split": ("data.truncation", "split"),
    "SFT_PROMPT_KEY=the question": ("data.prompt_key", "the question"),
    "SFT_RESPONSE_KEY=answer": ("data.response_key", "answer"),
    "SFT_TOTAL_EPOCHS=3": ("trainer.total_epochs", 3),
    "SFT_LR=1e-4": ("optim.lr", 1e-4),
    "SFT_SAVE_FREQ=after_each_epoch": ("trainer.save_freq", "after_each_epoch"),
    "SFT_TEST_FREQ=-1": ("trainer.test_freq", -1),
    "SFT_MAX_CKPT_TO_KEEP=2": ("trainer.max_ckpt_to_keep", 2),
    "WANDB_PROJECT=my project": ("trainer.project_name", "my project"),
    "WANDB_EXP=mine": ("trainer.experiment_name", "mine"),
    "SFT_LORA_RANK=8": ("model.lora_rank", 8),
    "SFT_LORA_ALPHA=64": ("model.lora_alpha", 64),
    "SFT_LORA_TARGET_MODULES=[q_proj, v_proj]": ("model.target_modules", r"(.*\.)?(q_proj|v_proj)"),
    "LORA_EXCLUDE_MODULES=": ("model.exclude_modules", ""),
}


def test_every_variable_reaches_the_config(repo: Checkout) -> None:
    variables = dict(setting.split("=", 1) for setting in REACHES)
    columns = pyarrow.table({"the question": ["2 + 2 = ?"] * 64, "answer": ["4"] * 64})
    pyarrow.parquet.write_table(columns, repo.home / "train.parquet")
    result = repo.sft(**DRY, **FILES, SFT_VAL_FILES="train.parquet", SFT_SAVE_DIR="my/runs", **variables)
    config = config_of(result)
    for key, value in REACHES.values():
        section, name = key.split(".")
        assert config[section][name] == value, key
    assert config["trainer"]["default_local_dir"] == f"{repo.root}/my/runs/mine"


@pytest.mark.parametrize(
    ("value", "matched"),
    [
        ("all-linear", None),
        ("q_proj,v_proj", {"model.layers.0.q_proj", "model.layers.0.v_proj"}),
        ('["q_proj"]', {"model.layers.0.q_proj"}),
        ("q_proj", {"model.layers.0.q_proj"}),
        (r".*layers\.0\.(k|v)_proj", {"model.layers.0.v_proj"}),
    ],
)
def test_target_modules_are_what_peft_takes(repo: Checkout, value: str, matched: set[str] | None) -> None:
    from peft import LoraConfig
    from peft.tuners.tuners_utils import check_target_module_exists

    config = config_of(repo.sft(**DRY, **FILES, SFT_LORA_RANK="4", SFT_LORA_TARGET_MODULES=value))
    targets = config["model"]["target_modules"]
    if matched is None:
        assert targets == "all-linear"
        return
    names = ("model.layers.0.q_proj", "model.layers.0.v_proj", "model.layers.0.xq_proj", "lm_head", "")
    lora = LoraConfig(target_modules=targets)
    assert {name for name in names if check_target_module_exists(lora, name)} == matched


def test_lora_is_off_by_default_and_its_rank_turns_it_on(repo: Checkout) -> None:
    assert environment_of(repo.sft(**DRY, **FILES))["TUNING"] == "full"
    off = repo.sft(**DRY, **FILES, SFT_LORA_RANK="0", SFT_LORA_ALPHA="16")
    assert config_of(off)["model"]["lora_rank"] == 0
    on = repo.sft(**DRY, **FILES, SFT_LORA_RANK="8")
    assert environment_of(on)["TUNING"] == "lora"
    model = config_of(on)["model"]
    assert (model["lora_rank"], model["target_modules"]) == (8, "all-linear")
    assert re.fullmatch(model["exclude_modules"], "model.embed_tokens")


def test_a_local_model_is_used_as_it_is(repo: Checkout) -> None:
    model = repo.model("my model")
    result = repo.sft(**DRY, **FILES, SFT_MODEL_PATH="my model", AGENT_MODEL_REPO_ID="some/model")
    assert config_of(result)["model"]["path"] == str(model)
    assert environment_of(result)["WANDB_EXP"].startswith("sft-my-model-")


def test_settings_come_from_dotenv_and_the_shell_wins(repo: Checkout) -> None:
    (repo.root / ".env").write_text(
        "SFT_TRAIN_FILES='\"train.parquet\" , train.parquet'\nSFT_LR=1e-5\nSFT_MAX_LENGTH=64\nSFT_VAL_FILES=\n"
    )
    config = config_of(repo.sft(**DRY, SFT_MAX_LENGTH="128"))
    assert config["data"]["train_files"] == [str(repo.home / "train.parquet")] * 2
    assert (config["data"]["max_length"], config["optim"]["lr"], config["data"]["val_files"]) == (128, 1e-5, None)


def test_overrides_of_the_user_come_last(repo: Checkout) -> None:
    other = repo.parquet("other.parquet")
    config = config_of(repo.sft("trainer.test_freq=5", f"data.val_files=['{other}']", **DRY, **FILES))
    assert (config["trainer"]["test_freq"], config["data"]["val_files"]) == (5, [str(other)])


# --- machines


@pytest.mark.parametrize(
    ("memories", "variables", "profile", "count"),
    [
        ((81559,), {}, "1x80gb", 1),
        ((81559, 81559), {}, "2x80gb", 2),
        ((81559,) * 8, {}, "2x80gb", 2),
        ((81559,) * 8, {"GPU_COUNT": "8", "SFT_MICRO_BATCH_SIZE_PER_GPU": "4"}, "2x80gb", 8),
        ((81559, 81559), {"PROFILE": "cpu"}, "cpu", 1),
        ((), {"PROFILE": "4x141gb"}, "4x141gb", 2),
    ],
)
def test_two_gpus_are_the_default(
    repo: Checkout, memories: tuple[int, ...], variables: dict[str, str], profile: str, count: int
) -> None:
    if memories:
        repo.gpus(*memories)
    result = repo.sft(**DRY, **FILES, **variables)
    config = config_of(result)
    assert config["trainer"]["n_gpus_per_node"] == count
    assert launch_of(result) == ["--standalone", "--nnodes=1", f"--nproc_per_node={count}"]
    assert environment_of(result)["PROFILE"] == profile
    model = "train/models/SmolLM2-135M-Instruct" if profile == "cpu" else "rhuanmatias/trained-top-sn120"
    assert environment_of(result)["AGENT_MODEL_REPO_ID"] == model
    assert ("VERL_PLATFORM" in environment_of(result)) == (profile == "cpu")


def test_each_of_two_nodes_has_its_rank_and_the_address_of_the_first(repo: Checkout) -> None:
    repo.gpus(*[81559] * 4)
    node = {"NNODES": "2", "NODE_RANK": "1", "MASTER_ADDR": "10.0.0.7", "WANDB_EXP": "mine", "GPU_COUNT": "2"}
    result = repo.sft(**DRY, **FILES, **node)
    assert launch_of(result) == [
        "--nnodes=2",
        "--node_rank=1",
        "--master_addr=10.0.0.7",
        "--master_port=29500",
        "--nproc_per_node=2",
    ]
    trainer = config_of(result)["trainer"]
    assert (trainer["nnodes"], trainer["n_gpus_per_node"]) == (2, 2)


def test_flashinfer_is_installed_on_gpu_machines_only_and_aloud(repo: Checkout) -> None:
    python = repo.bin / "python"  # our Python, without flashinfer, whose pip only says what it was asked for
    python.write_text(
        "#!/bin/sh\n"
        'case "$*" in *"-m pip install"*) echo "pip: $*" >&2; exit 1 ;; *u.find_spec*flashinfer) exit 1 ;; esac\n'
        f'exec "{repo.env["VERITAS_PYTHON"]}" "$@"\n'
    )
    python.chmod(0o755)
    repo.stand_in_verl("print('started')")
    variables = {**FILES, "AGENT_MODEL_REPO_ID": str(repo.model()), "VERITAS_PYTHON": str(python)}
    on_cpu = repo.sft(**variables)
    assert on_cpu.returncode == 0 and "installing" not in on_cpu.stderr, on_cpu.stderr
    repo.gpus(81559)
    dry = repo.sft(**DRY, **variables)
    assert dry.returncode == 0 and "installing" not in dry.stderr, dry.stderr
    on_gpu = repo.sft(**variables)
    assert on_gpu.returncode == 2
    assert f"installing flashinfer-python into {python}" in on_gpu.stderr
    assert "pip could not install flashinfer-python" in error_lines(on_gpu)[0]


# --- a dataset to convert first


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
    outputs = [node.communicate(timeout=110)[0] for node in nodes]
    assert [node.returncode for node in nodes] == [0, 0], outputs
    assert "node 0 rank 0 of 2" in outputs[0] and "node 1 rank 1 of 2" in outputs[1]


def test_resuming_is_said_and_never_by_accident(repo: Checkout) -> None:
    run = repo.root / "train/artifacts/checkpoints/old"
    step = run / "global_step_50"
    step.mkdir(parents=True)
    (step / "fsdp_config.json").write_text("{}")
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
