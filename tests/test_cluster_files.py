"""train/cluster: the Slurm files run with stand-ins for srun and scontrol; the Kubernetes file agrees with itself."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent
CLUSTER = ROOT / "train/cluster"
SRUN = """#!{python}
import json, os, sys, time
from pathlib import Path
names = ("RAY_ADDRESS", "RAY_PORT", "RAY_WAIT_S", "NNODES", "GPU_COUNT", "WANDB_EXP", "MASTER_ADDR", "MASTER_PORT")
note = {{"words": sys.argv[1:], "env": {{name: os.environ.get(name) for name in names}}}}
file = Path({calls!r})
before = 2 if "hex" in sys.argv else 0  # the trainer ends last, as the real one
while before and not (file.exists() and file.read_text().count("\\n") == before):
    time.sleep(0.05)
with file.open("a") as calls:
    calls.write(json.dumps(note) + "\\n")
"""


class Slurm:
    def __init__(self, tmp: Path) -> None:
        self.calls = tmp / "calls.jsonl"
        bin_ = tmp / "bin"
        bin_.mkdir()
        programs = {
            "srun": SRUN.format(python=sys.executable, calls=str(self.calls)),
            "scontrol": "#!/bin/sh\nprintf 'localhost\\nother\\n'\n",
        }
        for name, text in programs.items():
            (bin_ / name).write_text(text)
            (bin_ / name).chmod(0o755)
        self.env = {
            "PATH": f"{bin_}:{os.environ['PATH']}",
            "SLURM_SUBMIT_DIR": str(ROOT),
            "SLURM_JOB_NODELIST": "n[1-3]",
            "SLURM_JOB_NUM_NODES": "3",
            "SLURM_GPUS_ON_NODE": "8",
            "SLURM_JOB_ID": "77",
        }

    def run(self, file: str, *arguments: str, **env: str) -> list[dict]:
        """The calls of srun; those of nodes run at one time, so their order is not fixed."""
        command = ["bash", str(CLUSTER / file), *arguments]
        done = subprocess.run(command, env={**self.env, **env}, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in self.calls.read_text().splitlines()]


@pytest.fixture
def slurm(tmp_path: Path) -> Slurm:
    return Slurm(tmp_path)


def test_slurm_starts_ray_on_every_node_and_the_trainer_on_the_first(slurm: Slurm) -> None:
    *nodes, trainer = slurm.run("grpo.sbatch", "openspiel-ppo-trainer.sh", "hex", "data.seed=1")
    (first,) = [call["words"] for call in nodes if "head" in call["words"]]
    (others,) = [call["words"] for call in nodes if "head" not in call["words"]]
    assert first[-4:] == ["bash", "train/scripts/ray-node.sh", "head", "--node-ip-address=127.0.0.1"]
    assert others[-3:] == ["bash", "train/scripts/ray-node.sh", "127.0.0.1:6379"]
    assert {"--nodes=2", "--ntasks=2", "--exclude=localhost"} <= set(others)
    assert trainer["words"][-4:] == ["bash", "train/scripts/openspiel-ppo-trainer.sh", "hex", "data.seed=1"]
    assert "--nodelist=localhost" in trainer["words"]
    assert trainer["env"] == {
        "RAY_ADDRESS": "127.0.0.1:6379",
        "RAY_PORT": "6379",
        "RAY_WAIT_S": "600",
        "NNODES": "3",
        "GPU_COUNT": "8",
        "WANDB_EXP": "grpo-77",
        "MASTER_ADDR": None,
        "MASTER_PORT": None,
    }


def test_slurm_starts_sft_once_on_every_node(slurm: Slurm) -> None:
    (call,) = slurm.run("sft.sbatch", "data.seed=1", WANDB_EXP="mine", MASTER_PORT="29600")
    assert call["words"][0] == "bash" and call["words"][-1] == "data.seed=1"
    assert "NODE_RANK=$SLURM_NODEID" in call["words"][2]
    assert (call["env"]["MASTER_ADDR"], call["env"]["MASTER_PORT"]) == ("localhost", "29600")
    assert (call["env"]["NNODES"], call["env"]["GPU_COUNT"], call["env"]["WANDB_EXP"]) == ("3", "8", "mine")


@pytest.mark.parametrize("file", ["grpo.sbatch", "sft.sbatch"])
def test_slurm_files_ask_for_one_task_a_node_and_name_scripts_that_are_there(file: str) -> None:
    text = (CLUSTER / file).read_text()
    head, _, code = text.partition("set -euo pipefail")
    assert text.startswith("#!/usr/bin/env bash\n#SBATCH ")
    assert "#SBATCH --ntasks-per-node=1" in head
    for script in re.findall(r"train/scripts/[\w-]+\.sh", code):
        assert (ROOT / script).is_file(), script
    shellcheck = Path(sys.executable).parent / "shellcheck"
    if shellcheck.exists():
        subprocess.run([str(shellcheck), "-x", str(CLUSTER / file)], check=True, timeout=60)


def test_the_kubernetes_file_agrees_with_itself_and_with_the_lock() -> None:
    (job,) = yaml.safe_load_all((CLUSTER / "rayjob.yaml").read_text())
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    cluster = job["spec"]["rayClusterSpec"]
    assert f"\nray=={cluster['rayVersion']} " in (ROOT / "requirements-gpu.lock").read_text()
    script, _ = job["spec"]["entrypoint"].removeprefix("bash /workspace/veritas-rl/").split(" ", 1)
    assert (ROOT / script).is_file()

    head, (group,) = cluster["headGroupSpec"], cluster["workerGroupSpecs"]
    env = {pair["name"]: pair["value"] for pair in head["template"]["spec"]["containers"][0]["env"]}
    documented = (ROOT / ".env.example").read_text()
    assert all(f"\n#{name}=" in documented for name in env)
    assert all(isinstance(value, str) for value in env.values())
    assert (ROOT / f"train/config/profile/{env['PROFILE']}.yaml").is_file()
    (worker,) = group["template"]["spec"]["containers"]
    assert group["replicas"] == group["minReplicas"] == group["maxReplicas"] == int(env["NNODES"])
    assert worker["resources"]["limits"]["nvidia.com/gpu"] == env["GPU_COUNT"]
    for part in (head, group):
        spec = part["template"]["spec"]
        (container,) = spec["containers"]
        assert container["image"].endswith("veritas-rl:vllm")
        assert container["resources"]["limits"] == container["resources"]["requests"]
        assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in spec["volumes"]}
        assert {"name": "repository", "mountPath": "/workspace/veritas-rl"} in container["volumeMounts"]
        assert "securityContext" not in container
