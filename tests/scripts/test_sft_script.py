"""lgc-v2-SFT-trainer.sh: the files, the config and the command that its variables make."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st
from script_runner import ROOT, Checkout, command_of, config_of, environment_of, error_lines

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


@pytest.mark.slow
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


@pytest.mark.slow
def test_ligers_kernels_are_installed_where_the_recipe_uses_them(repo: Checkout) -> None:
    python = repo.bin / "python"  # our Python, with flashinfer and without liger_kernel
    python.write_text(
        "#!/bin/sh\n"
        'case "$*" in *"-m pip install"* | *u.find_spec*liger_kernel) exit 1 ;; *u.find_spec*flashinfer) exit ;; esac\n'
        f'exec "{repo.env["VERITAS_PYTHON"]}" "$@"\n'
    )
    python.chmod(0o755)
    repo.stand_in_verl("print('started')")
    variables = {**FILES, "AGENT_MODEL_REPO_ID": str(repo.model()), "VERITAS_PYTHON": str(python)}
    on_cpu = repo.sft(**variables)
    assert on_cpu.returncode == 0 and "installing" not in on_cpu.stderr, on_cpu.stderr
    repo.gpus(81559)
    on_gpu = repo.sft(**variables)
    assert on_gpu.returncode == 2
    assert f"installing liger-kernel==0.8.5 into {python}" in on_gpu.stderr
    for without in ({"arguments": ["model.use_liger=false"]}, {"SFT_LORA_RANK": "8"}):
        done = repo.sft(*without.pop("arguments", []), **variables, **without)
        assert "installing" not in done.stderr, done.stderr
