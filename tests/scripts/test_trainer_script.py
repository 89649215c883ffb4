"""openspiel-ppo-trainer.sh: what it refuses, what it composes, and how a run starts and ends."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from script_runner import TRAINER, Checkout, alive, config_of, environment_of, error_lines, pinned

SECRET = "hf_plantedSECRET'$x"
DRY = {"DRY_RUN": "1"}
CPU_VARIABLES = ("VERL_PLATFORM", "OMP_WAIT_POLICY", "VLLM_CPU_KVCACHE_SPACE")


@pytest.fixture
def repo(tmp_path: Path) -> Checkout:
    repo = Checkout(tmp_path)
    repo.env["GAME_TYPES"] = "tic_tac_toe"  # to try all games takes some seconds before each run, a dry one too
    return repo


# --- refusals


@pytest.mark.parametrize(
    ("setting", "allowed"),
    [
        ("ENABLE_LORA=maybe", "0 or 1"),
        ("ENABLE_LORA=true", "0 or 1"),
        ("DRY_RUN=yes", "0 or 1"),
        ("LAYERED_SUMMON=on", "0 or 1"),
        ("FSDP_STRATEGY=ddp", "fsdp or fsdp2"),
        ("FSDP_STRATEGY=fsdp", "fsdp2"),
        ("ROLLOUT_BACKEND=hf", "vllm or sglang"),
        ("ROLLOUT_BACKEND=sglang", "vllm"),
        ("PROFILE=huge", "cpu"),
        ("PROFILE=../cpu", "cpu"),
        ("GPU_COUNT=0", "at least 1"),
        ("GPU_COUNT=two", "at least 1"),
        ("GPU_COUNT=2", "one logical device"),
        ("NNODES=0", "at least 1"),
        ("NNODES=08", "at least 1"),
        ("LORA_RANK=0", "at least 1"),
        ("LORA_ALPHA=-1", "at least 1"),
        ("LEARNING_RATE=0.0", "positive number"),
        ("LEARNING_RATE=fast", "positive number"),
        ("LORA_ADAPTER_PATH=/no/adapter", "not there"),
        ("LORA_ADAPTER_PATH=/tmp", "adapter_config.json"),
        ("WANDB_MODE=on", "online or offline or disabled"),
        ("WANDB_MODE=online", "WANDB_API_KEY"),
        ("TRACKERS=wandb,mlflow", "wandb or trackio or tensorboard"),
        ("WANDB_EXP=../escape", "letters, digits"),
        ("WANDB_EXP=a b", "letters, digits"),
        ("RESUME=maybe", "auto, never"),
        ("RESUME=/tmp", "auto, never"),
        ("VERITAS_PYTHON=/no/python", "make setup"),
        ("VERITAS_MIN_FREE_GB=lots", "at least 0"),
        ("VERITAS_MIN_FREE_GB=99999999", "free some space"),
        ("AGENT_MODEL_REPO_ID=/no/model", "not there"),
        ("AGENT_MODEL_REPO_ID=/tmp", "config.json"),
        ("AGENT_MODEL_REPO_ID=train/models/SmolLM2-135M-Instruct", "make model"),
    ],
)
def test_a_bad_setting_is_refused_in_one_line_before_anything_starts(
    repo: Checkout, setting: str, allowed: str
) -> None:
    name, _, value = setting.partition("=")
    model = repo.model()
    result = repo.trainer("tic_tac_toe", **{"AGENT_MODEL_REPO_ID": str(model), name: value})
    (line,) = error_lines(result)
    assert result.returncode == 2
    assert allowed in line
    assert value in line or name in line
    assert "Traceback" not in result.stderr
    assert not (repo.root / "train/outputs").exists()
    assert not list(repo.root.glob("train/artifacts/RL/checkpoints/*"))


@pytest.mark.parametrize(
    ("argument", "reason"),
    [
        ("no_such_game", "no_such_game"),
        ("trainer.total_trainin_steps=3", "Did you mean trainer.total_training_steps"),
        ("trainer.nnodes=[", "trainer.nnodes=["),
        ("custom_reward_function.path=x.py", "use reward.custom_reward_function.path=x.py"),
        ("+custom_reward_function.path=x.py", "use reward.custom_reward_function.path=x.py"),
        ("--config-name=other", "unknown option"),
        ("", "empty"),
        ("+data.custom_cls.config.adapter_config.num_tasks_per_case=0", "num_tasks_per_case=0"),
        ("+data.custom_cls.config.adapter_config.no_such_setting=1", "no_such_setting"),
        ("data.custom_cls.config.env=no_such_env", "no_such_env"),
    ],
)
def test_a_bad_argument_is_refused_before_the_model_is_looked_for(repo: Checkout, argument: str, reason: str) -> None:
    result = repo.trainer(argument, AGENT_MODEL_REPO_ID="some/model")
    (line,) = error_lines(result)
    assert result.returncode == 2
    assert reason in line
    assert "downloading" not in result.stderr


def test_an_adapter_that_verl_would_ignore_is_refused(repo: Checkout) -> None:
    adapter = repo.home / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text("{}")
    by_variable = repo.trainer(**DRY, ENABLE_LORA="0", LORA_ADAPTER_PATH=str(adapter))
    key = "actor_rollout_ref.model"
    by_override = repo.trainer(f"{key}.lora_adapter_path=/x", f"{key}.lora_rank=0", **DRY)
    for result in (by_variable, by_override):
        assert result.returncode == 2
        assert "would be ignored" in error_lines(result)[0]


def test_a_missing_verl_says_make_setup(repo: Checkout, tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "bare"], check=True)
    result = repo.trainer(**DRY, VERITAS_PYTHON=str(tmp_path / "bare/bin/python"))
    assert result.returncode == 2
    assert "make setup" in error_lines(result)[0]


def test_a_broken_dotenv_file_stops_the_run_and_names_the_line(repo: Checkout) -> None:
    (repo.root / ".env").write_bytes(b"A=1\r\nHF_TOKEN='hf_secretsecret\r\n")
    result = repo.trainer(**DRY)
    (line,) = error_lines(result)
    assert result.returncode == 2
    assert ".env:2:" in line and "HF_TOKEN" in line
    assert "secretsecret" not in result.stdout + result.stderr


@pytest.mark.slow
def test_a_running_ray_is_not_joined_by_accident(repo: Checkout) -> None:
    model = repo.model()
    repo.stand_in_verl("print('started')")
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        folder = Path(repo.env["RAY_TMPDIR"]) / "ray"
        folder.mkdir(parents=True)
        (folder / "ray_current_cluster").write_text(address)
        refused = repo.trainer(AGENT_MODEL_REPO_ID=str(model))
        assert refused.returncode == 2
        assert address in error_lines(refused)[0] and "ray stop" in error_lines(refused)[0]
        assert repo.trainer(AGENT_MODEL_REPO_ID=str(model), RAY_ADDRESS="local").returncode == 0
    assert repo.trainer(AGENT_MODEL_REPO_ID=str(model)).returncode == 0, "a stale address file is no running Ray"


# --- composition


def test_a_dry_run_prints_the_config_and_a_command_and_makes_nothing(repo: Checkout) -> None:
    result = repo.trainer("tic_tac_toe", "hex(board_size=3)", "data.train_batch_size=8", **DRY)
    config = config_of(result)
    assert config["data"]["custom_cls"]["config"]["adapter_config"]["game_types"] == "tic_tac_toe,hex(board_size=3)"
    assert config["data"]["train_batch_size"] == 8
    assert config["algorithm"]["adv_estimator"] == "grpo"
    environment = environment_of(result)
    run = environment["WANDB_EXP"]
    assert run.startswith("openspiel-tic_tac_toe-hex-board_size-3-2")
    assert config["trainer"]["default_local_dir"] == f"{repo.root}/train/artifacts/RL/checkpoints/{run}"
    assert environment["WANDB_DIR"] == f"{repo.root}/train/artifacts/wandb"
    assert config["actor_rollout_ref"]["model"]["path"] == environment["AGENT_MODEL_PATH"]
    assert "is not there yet" in result.stderr
    assert not (repo.root / "train/outputs").exists() and not (repo.root / "train/artifacts").exists()


@pytest.mark.slow
def test_lora_is_the_default_and_can_be_turned_off(repo: Checkout) -> None:
    lora = config_of(repo.trainer(**DRY, GAME_TYPES=None))["actor_rollout_ref"]  # all games
    assert (lora["model"]["lora_rank"], lora["model"]["lora_alpha"]) == (32, 32)
    assert lora["actor"]["optim"]["lr"] == 6e-5
    full = config_of(repo.trainer(**DRY, ENABLE_LORA="0", LORA_RANK="16"))["actor_rollout_ref"]
    assert full["model"]["lora_rank"] == 0
    assert full["actor"]["optim"]["lr"] < 6e-5
    own = config_of(repo.trainer(**DRY, LORA_RANK="8", LORA_ALPHA="16", LEARNING_RATE="1e-4", LAYERED_SUMMON="1"))
    own = own["actor_rollout_ref"]
    assert (own["model"]["lora_rank"], own["model"]["lora_alpha"], own["actor"]["optim"]["lr"]) == (8, 16, 1e-4)
    assert own["rollout"]["layered_summon"] is True


NAMES = ("lm_head", "model.lm_head", "xlm_head", "model.embed_tokens", "model.layers.0.mlp.up_proj", "a.mlpxup_proj")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("value", "excluded"),
    [
        (None, {"lm_head", "model.lm_head", "model.embed_tokens"}),
        ("", set()),
        ("[]", set()),
        ("[lm_head]", {"lm_head", "model.lm_head"}),
        ("lm_head, embed_tokens", {"lm_head", "model.lm_head", "model.embed_tokens"}),
        ("mlp.up_proj", {"model.layers.0.mlp.up_proj"}),
        (r".*(lm_head|layers\.\d+\.mlp.*)", {"lm_head", "model.lm_head", "xlm_head", "model.layers.0.mlp.up_proj"}),
    ],
)
def test_excluded_modules_are_names_a_pattern_or_none(repo: Checkout, value: str | None, excluded: set[str]) -> None:
    from verl.utils.model import check_exclude_modules

    config = config_of(repo.trainer(**DRY, LORA_EXCLUDE_MODULES=value))
    model = SimpleNamespace(exclude_modules=config["actor_rollout_ref"]["model"]["exclude_modules"])
    assert isinstance(model.exclude_modules, str), "verl takes no list"
    assert {name for name in NAMES if check_exclude_modules(model, name)} == excluded


def test_an_adapter_is_found_from_the_folder_of_the_user(repo: Checkout) -> None:
    adapter = repo.home / "my, adapter's (dir)"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text("{}")
    config = config_of(repo.trainer(**DRY, LORA_ADAPTER_PATH=f"./{adapter.name}"))
    assert config["actor_rollout_ref"]["model"]["lora_adapter_path"] == str(adapter)


@pytest.mark.slow
def test_user_overrides_win_and_adapter_settings_need_no_thought_about_plus(repo: Checkout) -> None:
    adapter_config = "data.custom_cls.config.adapter_config"
    result = repo.trainer(
        "tic_tac_toe",
        f"+{adapter_config}.num_tasks_per_case=7",
        f"+{adapter_config}.game_types=hex",
        **DRY,
        RESUME="never",
    )
    settings = config_of(result)["data"]["custom_cls"]["config"]["adapter_config"]
    assert settings == {"game_types": "hex", "num_tasks_per_case": 7}
    config = config_of(repo.trainer("trainer.resume_mode=auto", **DRY, RESUME="never"))
    assert config["trainer"]["resume_mode"] == "auto"


def test_an_environment_variable_wins_over_dotenv(repo: Checkout) -> None:
    (repo.root / ".env").write_text("export WANDB_PROJECT='my project' # note\nLORA_RANK=8\nLORA_ALPHA=\nGPU_COUNT=\n")
    config = config_of(repo.trainer(**DRY, LORA_RANK="4"))
    assert config["trainer"]["project_name"] == "my project"
    assert config["actor_rollout_ref"]["model"]["lora_rank"] == 4
    assert config["actor_rollout_ref"]["model"]["lora_alpha"] == 32, "an empty value means the default"


def test_dotenv_values_are_not_run(repo: Checkout) -> None:
    (repo.root / ".env").write_text('WANDB_PROJECT="$(touch pwned)`touch pwned`"\n')
    assert config_of(repo.trainer(**DRY))["trainer"]["project_name"] == "$(touch pwned)`touch pwned`"
    assert not list(repo.root.rglob("pwned")) and not list(repo.home.rglob("pwned"))


@pytest.mark.slow
def test_the_printed_config_is_what_verl_composes(repo: Checkout) -> None:
    result = repo.trainer("tic_tac_toe", "hex(board_size=3)", **DRY)
    command = result.stdout[result.stdout.index("\ncd ") :].rstrip() + " --cfg job --resolve"
    theirs = repo.bash(command, cwd=repo.home)
    assert yaml.safe_load(theirs.stdout[theirs.stdout.index("model_engine:") :]) == config_of(result)


# --- GPUs


@pytest.mark.slow
@pytest.mark.parametrize(
    ("memories", "variables", "profile", "count"),
    [
        ((81559,), {}, "1x80gb", "1"),
        ((81559, 81559), {}, "2x80gb", "2"),
        ((81559,) * 8, {}, "2x80gb", "8"),
        ((143771,) * 4, {}, "4x141gb", "4"),
        ((143771,) * 4, {"GPU_COUNT": "1"}, "1x141gb", "1"),
        ((81559,), {"PROFILE": "2x80gb"}, "2x80gb", "2"),
        ((81559,), {"PROFILE": "2x80gb", "GPU_COUNT": "1"}, "2x80gb", "1"),
        ((143771,) * 2, {}, "2x141gb", "2"),
        ((81559, 81559), {"PROFILE": "cpu"}, "cpu", "1"),
        ((81559, 81559), {"CUDA_VISIBLE_DEVICES": ""}, "cpu", "1"),
    ],
)
def test_the_profile_is_found_from_the_gpus(
    repo: Checkout, memories: tuple[int, ...], variables: dict[str, str], profile: str, count: str
) -> None:
    repo.gpus(*memories)
    repo.profiles("1x80gb", "2x80gb", "4x141gb")
    result = repo.trainer(**DRY, AGENT_MODEL_REPO_ID=str(repo.model()), **variables)
    assert result.returncode == 0, result.stderr
    assert f"profile  {profile} (" in result.stderr
    environment = environment_of(result)
    assert (environment["PROFILE"], environment["GPU_COUNT"]) == (profile, count)
    assert all((name in environment) == (profile == "cpu") for name in CPU_VARIABLES)
    modules = environment["VERL_USE_EXTERNAL_MODULES"]
    assert modules == ("cpu_platform,run_tracking" if profile == "cpu" else "run_tracking")


@pytest.mark.parametrize(
    ("memories", "variables", "reason"),
    [
        ((24564,), {}, "no profile fits 1 GPU(s) of 24 GB"),
        ((81559,), {"GPU_COUNT": "2"}, "this machine has 1 GPU"),
        ((81559,), {"PROFILE": "2x80gb", "DRY_RUN": None}, "PROFILE=2x80gb is for 2 GPUs and nvidia-smi finds 1 here"),
        ((81559,), {"PROFILE": "8x80gb"}, "1x80gb"),
        ((81559,), {"AGENT_MODEL_REPO_ID": None}, "AGENT_MODEL_REPO_ID is not set"),
    ],
)
def test_what_the_gpus_cannot_do_is_refused(
    repo: Checkout, memories: tuple[int, ...], variables: dict[str, str | None], reason: str
) -> None:
    repo.gpus(*memories)
    repo.profiles("1x80gb", "2x80gb")
    result = repo.trainer(**{"AGENT_MODEL_REPO_ID": "some/model", **DRY, **variables})
    assert result.returncode == 2
    assert reason in error_lines(result)[0]


def test_a_broken_driver_is_not_taken_for_a_machine_without_gpus(repo: Checkout) -> None:
    repo.gpus()
    (repo.bin / "nvidia-smi").write_text("#!/bin/sh\necho NVIDIA-SMI has failed\nexit 9\n")
    result = repo.trainer(**DRY)
    assert result.returncode == 2
    assert "NVIDIA-SMI has failed" in error_lines(result)[0] and "PROFILE=cpu" in error_lines(result)[0]


def test_a_gpu_profile_is_shown_but_not_run_without_gpus(repo: Checkout) -> None:
    repo.profiles("2x80gb")
    variables = {"PROFILE": "2x80gb", "AGENT_MODEL_REPO_ID": str(repo.model())}
    assert environment_of(repo.trainer(**DRY, **variables))["GPU_COUNT"] == "2"
    result = repo.trainer(**variables)
    assert result.returncode == 2
    assert "PROFILE=2x80gb wants GPUs" in error_lines(result)[0]


# --- which verl


@pytest.mark.slow
def test_the_submodule_is_used_only_at_the_pinned_version(repo: Checkout) -> None:
    repo.stand_in_verl("")
    used = repo.trainer(**DRY)
    assert "from train/verl" in used.stderr
    assert f"{repo.root}/train/verl" in environment_of(used)["PYTHONPATH"].split(":")
    (repo.root / "train/verl/verl/version/version").write_text("0.5.0\n")
    unused = repo.trainer(**DRY)
    assert "the installed wheel (train/verl is at 0.5.0)" in unused.stderr
    assert "train/verl" not in environment_of(unused)["PYTHONPATH"]


# --- a run


def test_a_run_starts_in_the_repository_with_its_record(repo: Checkout) -> None:
    repo.stand_in_verl(
        "import os, sys; print('ran', os.getcwd(), os.environ['PYTHONPATH'].split(':')[0], *sys.argv[1:])"
    )
    result = repo.trainer("tic_tac_toe", AGENT_MODEL_REPO_ID=str(repo.model()), WANDB_EXP="first", HF_TOKEN=SECRET)
    assert result.returncode == 0, result.stderr
    assert f"ran {repo.root} {repo.root}/train/tools --config-path {repo.root}/train/config" in result.stdout
    directory = repo.root / "train/artifacts/RL/checkpoints/first"
    (record,) = (json.loads(line) for line in (directory / "starts.jsonl").read_text().splitlines())
    assert record["versions"]["verl"] == pinned("verl")
    assert "WANDB_EXP=first" in record["command"] and "verl.trainer.main_ppo" in record["command"]


def test_a_failed_run_passes_its_status_on(repo: Checkout) -> None:
    repo.stand_in_verl("raise SystemExit(3)")
    assert repo.trainer(AGENT_MODEL_REPO_ID=str(repo.model())).returncode == 3


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_leaves_no_process(repo: Checkout, number: int, status: int) -> None:
    repo.stand_in_verl(
        "import os, subprocess, time\n"
        "child = subprocess.Popen(['sleep', '300'], start_new_session=True)\n"
        "open(os.environ['HOME'] + '/pids', 'w').write(f'{os.getpid()} {child.pid}\\n')\n"
        "time.sleep(300)"
    )
    env = {**repo.env, "AGENT_MODEL_REPO_ID": str(repo.model()), "SUPERVISE_GRACE_S": "1"}
    run = subprocess.Popen(["bash", repo.root / TRAINER], env=env, stderr=subprocess.DEVNULL, start_new_session=True)
    pids = repo.home / "pids"
    deadline = time.monotonic() + 60
    while not (pids.exists() and pids.read_text().endswith("\n")):
        assert run.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    os.killpg(run.pid, number)
    assert run.wait(60) == status
    assert not [pid for pid in map(int, pids.read_text().split()) if alive(pid)]


@pytest.mark.slow
def test_two_runs_never_share_a_directory(repo: Checkout) -> None:
    repo.stand_in_verl("import os, time; open(os.environ['HOME'] + '/up', 'w').close(); time.sleep(300)")
    env = {**repo.env, "AGENT_MODEL_REPO_ID": str(repo.model()), "WANDB_EXP": "mine"}
    first = subprocess.Popen(["bash", repo.root / TRAINER], env=env, stderr=subprocess.DEVNULL)
    try:
        while not (repo.home / "up").exists():
            assert first.poll() is None
            time.sleep(0.05)
        second = repo.trainer(AGENT_MODEL_REPO_ID=env["AGENT_MODEL_REPO_ID"], WANDB_EXP="mine")
        assert second.returncode == 2
        assert "another run is writing" in error_lines(second)[0]
    finally:
        first.terminate()
        first.wait(60)


@pytest.mark.slow
def test_resuming_is_said_and_never_by_accident(repo: Checkout) -> None:
    directory = repo.checkpoint("old", 20)
    going_on = repo.trainer(**DRY, WANDB_EXP="old")
    assert "resume   from step 20" in going_on.stderr
    assert config_of(going_on)["trainer"]["resume_mode"] == "auto"
    anew = repo.trainer(**DRY, WANDB_EXP="old", RESUME="never")
    assert anew.returncode == 2 and "has checkpoints up to step 20" in error_lines(anew)[0]
    config = config_of(repo.trainer(**DRY, WANDB_EXP="new", RESUME=str(directory / "global_step_20")))
    assert config["trainer"]["resume_mode"] == "resume_path"
    assert config["trainer"]["resume_from_path"] == str(directory / "global_step_20")
    (directory / "latest_checkpointed_iteration.txt").write_text("30")
    lost = repo.trainer(**DRY, WANDB_EXP="old")
    assert lost.returncode == 2 and "names step 30" in error_lines(lost)[0]


@pytest.mark.slow
def test_open_spiel_is_installed_aloud_when_missing(repo: Checkout, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    subprocess.run([sys.executable, "-m", "venv", bare], check=True)
    wheels = tmp_path / "wheels"
    version = pinned("open_spiel")
    make_wheel(wheels, version)
    code = ". train/scripts/lib/common.sh; set -euo pipefail; need_open_spiel; need_open_spiel"
    env = {"VERITAS_PYTHON": str(bare / "bin/python"), "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels)}
    result = repo.bash(code, **env)
    assert result.returncode == 0, result.stderr
    assert result.stderr.count(f"installing open_spiel=={version} into {bare}/bin/python") == 1
    subprocess.run([bare / "bin/python", "-c", "import pyspiel"], check=True)


def make_wheel(folder: Path, version: str) -> None:
    """A wheel of this name that holds an empty pyspiel module."""
    import zipfile

    folder.mkdir()
    info = f"open_spiel-{version}.dist-info"
    with zipfile.ZipFile(folder / f"open_spiel-{version}-py3-none-any.whl", "w") as wheel:
        wheel.writestr("pyspiel.py", "")
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: open_spiel\nVersion: {version}\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")


# --- secrets


def test_a_secret_is_neither_printed_nor_written_nor_in_a_command_line(repo: Checkout) -> None:
    repo.stand_in_verl('import os; os.system(\'cat /proc/[0-9]*/cmdline | tr "\\\\0" " " > $HOME/cmdlines\')')
    (repo.root / ".env").write_text(f'HF_TOKEN="{SECRET}"\nWANDB_API_KEY="{SECRET}2"\n')
    model = str(repo.model())
    argument = f"+trainer.api_key='{SECRET.replace(chr(39), '')}'"
    dry = repo.trainer("tic_tac_toe", argument, **DRY, AGENT_MODEL_REPO_ID=model)
    run = repo.trainer("tic_tac_toe", AGENT_MODEL_REPO_ID=model, WANDB_MODE="offline")
    assert dry.returncode == 0 and run.returncode == 0, dry.stderr + run.stderr
    assert "HF_TOKEN='***'" in dry.stdout
    written = [path for path in repo.root.rglob("*") if path.is_file() and path.name != ".env"]
    texts = [dry.stdout, dry.stderr, run.stdout, run.stderr, (repo.home / "cmdlines").read_text()]
    texts += [path.read_text(errors="replace") for path in written]
    assert len(written) > 20
    assert not [text for text in texts if "plantedSECRET" in text]
