"""RAY_ADDRESS and NNODES: what is refused before anything starts, and what workers on other machines are told."""

from __future__ import annotations

import json
import socket
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from script_runner import ROOT, Checkout, config_of, environment_of, error_lines

sys.path.insert(0, str(ROOT / "train/scripts/lib"))
from check_cluster import ClusterError, Node, connect, enough, faults, look
from job_environment import VARIABLE, job_config

HERE = Node("3.12.3", verl="0.9.1", repository="a", model=True, modules=["vllm"], wandb_key=True, shared=True)
SETTINGS = {"VERITAS_ROOT": "/repo", "AGENT_MODEL_PATH": "/model", "WANDB_MODE": "online"}
STAND_IN_RAY = """
import json, os, sys
print(json.dumps({"arguments": sys.argv[1:], "env": dict(os.environ)}))
"""


@pytest.fixture(scope="module")
def repo(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    return Checkout(tmp_path_factory.mktemp("cluster"))


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"NNODES": "2"}, "NNODES=2 needs a Ray cluster of as many machines"),
        ({"NNODES": "2", "RAY_ADDRESS": "local"}, "NNODES=2 needs a Ray cluster"),
        ({"RAY_ADDRESS": "ray://head:10001"}, "is for Ray's client"),
        ({"RAY_ADDRESS": "head"}, "RAY_ADDRESS=head is not HOST:PORT, auto or local"),
    ],
)
def test_what_cannot_be_a_cluster_is_refused(repo: Checkout, environment: dict[str, str], message: str) -> None:
    done = repo.trainer("tic_tac_toe", DRY_RUN="1", PROFILE="cpu", **environment)
    assert done.returncode == 2
    (error,) = error_lines(done)
    assert message in error


def test_a_cluster_that_does_not_answer_is_named_before_the_run_has_a_directory(tmp_path: Path) -> None:
    repo = Checkout(tmp_path)
    done = repo.trainer(
        "tic_tac_toe",
        PROFILE="2x80gb",  # a head may have no GPU of its own
        RAY_ADDRESS="127.0.0.1:9",
        NNODES="2",
        WANDB_EXP="mine",
        AGENT_MODEL_REPO_ID=str(repo.model()),
        VERITAS_MIN_FREE_GB="1",
    )
    assert done.returncode == 2
    (error,) = error_lines(done)
    assert "RAY_ADDRESS=127.0.0.1:9: nothing answers there" in error
    assert not (repo.root / "train/artifacts/RL/checkpoints/mine").exists()


def test_workers_are_told_what_the_script_exports_but_no_secret(repo: Checkout) -> None:
    done = repo.trainer(
        "tic_tac_toe",
        DRY_RUN="1",
        PROFILE="cpu",
        NNODES="2",
        RAY_ADDRESS="10.0.0.1:6379",
        HF_TOKEN="hf_12345",
        WANDB_API_KEY="0123456789",
        NCCL_SOCKET_IFNAME="eth0",
        UNRELATED="here",
    )
    ray_init = config_of(done)["ray_kwargs"]["ray_init"]
    assert ray_init["num_cpus"] is None and ray_init["num_gpus"] is None
    assert config_of(done)["trainer"]["nnodes"] == 2
    printed = environment_of(done)
    told = json.loads(printed[VARIABLE])["runtime_env"]["env_vars"]
    assert told["PYTHONPATH"].split(":")[0] == str(repo.root / "train/tools")
    assert told["NCCL_SOCKET_IFNAME"] == "eth0"
    assert {"HF_TOKEN", "WANDB_API_KEY", "UNRELATED", "PATH", "RAY_ADDRESS", "VERITAS_PYTHON"} & set(told) == set()
    assert "hf_12345" not in done.stdout + done.stderr
    set_by_us = {name for name in printed if not name.startswith(("RAY_", "HF_TOKEN", "WANDB_API", "VERITAS_PYTHON"))}
    assert set_by_us <= set(told)
    assert {name: told[name] for name in set_by_us} == {name: printed[name] for name in set_by_us}


def test_one_machine_has_no_job_environment(repo: Checkout) -> None:
    done = repo.trainer("tic_tac_toe", DRY_RUN="1", PROFILE="cpu", RAY_ADDRESS="local")
    assert VARIABLE not in environment_of(done)
    assert config_of(done)["ray_kwargs"]["ray_init"]["num_cpus"] == 8


names = st.text("ABC_", min_size=1, max_size=4)


@settings(max_examples=50)
@given(before=st.dictionaries(names, st.text()), now=st.dictionaries(names, st.text(), min_size=1))
def test_a_jobs_environment_is_added_to_and_ours_wins(before: dict[str, str], now: dict[str, str]) -> None:
    there = json.dumps({"metadata": {"job": "1"}, "runtime_env": {"env_vars": before}})
    config = json.loads(json.dumps(job_config(list(now), {**now, VARIABLE: there})))
    assert config == {"metadata": {"job": "1"}, "runtime_env": {"env_vars": before | now}}


def test_a_jobs_environment_that_is_not_json_is_refused(repo: Checkout) -> None:
    environment = {"DRY_RUN": "1", "PROFILE": "cpu", "RAY_ADDRESS": "10.0.0.1:6379", VARIABLE: "{"}
    done = repo.trainer("tic_tac_toe", **environment)
    assert done.returncode == 2
    assert f"{VARIABLE} is not a job's config in JSON" in done.stderr


def test_a_node_like_this_one_has_no_fault() -> None:
    assert faults("b", replace(HERE, python="3.12.9", modules=["vllm", "wandb"]), HERE, SETTINGS) == []
    assert faults("b", replace(HERE, wandb_key=False), HERE, {**SETTINGS, "WANDB_MODE": "offline"}) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"python": "3.11.9"}, "b: it has Python 3.11.9, and this machine 3.12.3"),
        ({"verl": None}, "b: verl is not installed"),
        ({"verl": "0.9.0"}, "b: it has verl 0.9.0, and this machine 0.9.1"),
        ({"repository": None}, "b: /repo is not there"),
        ({"repository": "other"}, "b: /repo is at another state than here"),
        ({"modules": []}, "b: vllm is not installed there"),
        ({"model": False}, "b: the model /model is not there"),
        ({"wandb_key": False}, "b: it has no WANDB_API_KEY"),
    ],
)
def test_each_fault_of_a_node_is_named(change: dict[str, object], message: str) -> None:
    (fault,) = faults("b", replace(HERE, **change), HERE, SETTINGS)
    assert fault.startswith(message)


@pytest.mark.parametrize(
    ("gpus", "free", "message"),
    [
        ({"a": 8, "b": 8}, 16, None),
        ({"head": 0, "a": 8, "b": 8}, 16, None),
        ({"a": 8, "b": 4}, 12, "asks for 2 nodes with 8 GPU(s), and the Ray cluster at x has 1: a has 8, b has 4"),
        ({"a": 16}, 16, "has 1: a has 16"),
        ({"a": 8, "b": 8}, 8, "8 of the GPUs of the Ray cluster at x are free"),
    ],
)
def test_a_cluster_that_is_too_small_is_described(gpus: dict[str, float], free: float, message: str | None) -> None:
    said = enough(gpus, free, nodes=2, each=8, address="x")
    assert said is None if message is None else message in (said or "")


def test_a_look_at_this_machine(tmp_path: Path) -> None:
    (tmp_path / "config.json").touch()
    here = Node(**look(str(ROOT), str(tmp_path), str(tmp_path / "config.json")))
    assert here.verl and here.repository and here.model and here.shared
    assert {"peft", "wandb"} <= set(here.modules)
    elsewhere = Node(**look(str(tmp_path), str(tmp_path / "no model"), str(tmp_path / "no mark")))
    assert elsewhere.repository is None and not elsewhere.model and not elsewhere.shared


def test_an_address_without_a_port_is_refused() -> None:
    with pytest.raises(ClusterError, match="nothing answers there"):
        connect("head:port")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "say head, or the HOST:PORT of the head"),
        (["tail"], "tail is neither head nor the HOST:PORT of one"),
        (["127.0.0.1:9"], "nothing answers at 127.0.0.1:9: start the head first"),
    ],
)
def test_ray_node_refuses_what_is_neither_head_nor_address(repo: Checkout, arguments: list[str], message: str) -> None:
    done = repo.script("train/scripts/ray-node.sh", *arguments)
    assert done.returncode == 2
    assert message in done.stderr


def test_ray_node_starts_ray_with_the_variables_of_env(tmp_path: Path) -> None:
    repo = Checkout(tmp_path)
    (repo.root / ".env").write_text("WANDB_API_KEY=0123456789\nRAY_ADDRESS=10.0.0.1:6379\nRAY_PORT=6400\n")
    package = tmp_path / "stand-in/ray/scripts"
    package.mkdir(parents=True)
    for folder in (package.parent, package):
        (folder / "__init__.py").touch()
    (package / "scripts.py").write_text(STAND_IN_RAY)
    stand_in = {"PYTHONPATH": str(tmp_path / "stand-in")}
    head = json.loads(
        repo.script("train/scripts/ray-node.sh", "head", "--num-gpus=4", PROFILE="2x80gb", **stand_in).stdout
    )
    assert head["arguments"][:3] == ["start", "--head", "--port=6400"]
    assert head["arguments"][-2:] == ["--block", "--num-gpus=4"]
    assert head["env"]["WANDB_API_KEY"] == "0123456789"
    assert "RAY_ADDRESS" not in head["env"]
    assert "--num-cpus=8" not in head["arguments"]
    with socket.create_server(("127.0.0.1", 0)) as there:
        address = f"127.0.0.1:{there.getsockname()[1]}"
        node = json.loads(repo.script("train/scripts/ray-node.sh", address, PROFILE="cpu", **stand_in).stdout)
    assert {f"--address={address}", "--num-cpus=8", "--num-gpus=1"} <= set(node["arguments"])
