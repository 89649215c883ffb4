"""GRPO on logic tasks over two nodes: two raylets on this machine, each with one logical GPU, and the script."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from training_run import LIMIT_S, SECRET, SMALL, Checkout, Run, checkout_with_ray

pytestmark = [pytest.mark.slow, pytest.mark.alone, pytest.mark.timeout(2400)]


class Cluster:
    """A head and a second node, started at one time by ray-node.sh."""

    def __init__(self, checkout: Checkout) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{free.getsockname()[1]}"
        self.checkout = checkout
        self.nodes = [self.node("head"), self.node(self.address)]

    def node(self, where: str) -> subprocess.Popen[bytes]:
        script = self.checkout.root / "train/scripts/ray-node.sh"
        with (self.checkout.root / f"node-{where}.log").open("wb") as log:
            return subprocess.Popen(
                ["bash", str(script), where, "--node-ip-address=127.0.0.1", "--object-store-memory=300000000"],
                env={**self.checkout.env, "RAY_PORT": self.address.partition(":")[2], "RAY_WAIT_S": "120"},
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def logs(self) -> str:
        return "\n".join(log.read_text(errors="replace")[-2000:] for log in self.checkout.root.glob("node-*.log"))

    def stop(self) -> None:
        for node in self.nodes:
            node.send_signal(signal.SIGTERM)
        for node in self.nodes:
            node.wait(60)


class LogicRun(Run):
    command = ("lgc-v2-GRPO-trainer.sh", "operation", "boolean_expressions", *SMALL)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with checkout_with_ray(tmp_path_factory.mktemp("nodes")) as checkout:
        checkout.env |= {"PROFILE": "cpu", "SUPERVISE_GRACE_S": "10"}
        cluster = Cluster(checkout)
        try:
            yield cluster
        finally:
            cluster.stop()


@pytest.fixture(scope="module")
def run(cluster: Cluster, tiny: Path) -> Iterator[Run]:
    """LoRA: two steps, a checkpoint after each, and a validation after the second."""
    run = LogicRun(cluster.checkout, tiny, "two-nodes")
    run.environment |= {"TASKS_PER_TYPE": "20", "TASK_DIFFICULTY": "easy", "NNODES": "2"}
    run.environment |= {"RAY_ADDRESS": cluster.address, "GPU_COUNT": "1", "RAY_WAIT_S": "180"}
    process = run.start("trainer.total_training_steps=2", "trainer.test_freq=2")
    assert process.wait(LIMIT_S) == 0, run.tail() + cluster.logs()
    yield run
    run.end()


def test_a_run_takes_the_nodes_of_a_cluster_and_leaves_it_as_it_was(cluster: Cluster, run: Run, tiny: Path) -> None:
    assert "2 of 2 nodes with 1 GPU(s) each" in run.log.read_text()
    shards = sorted(file.name for file in (run.directory / "global_step_2/actor").glob("model_*"))
    assert shards == [f"model_world_size_2_rank_{rank}.pt" for rank in (0, 1)]
    assert SECRET not in run.log.read_text()

    end = time.monotonic() + 60
    while left := run.processes():
        assert time.monotonic() < end, [process.cmdline() for process in left]
        time.sleep(0.5)

    # Both nodes are still there, and are not three.
    check = cluster.checkout.root / "train/scripts/lib/check_cluster.py"
    env = {
        **run.environment,
        "NNODES": "3",
        "RAY_WAIT_S": "0",
        "VERITAS_ROOT": str(cluster.checkout.root),
        "AGENT_MODEL_PATH": str(tiny),
    }
    asked = subprocess.run([sys.executable, str(check)], env=env, capture_output=True, text=True, timeout=120)
    assert asked.returncode == 2
    assert f"asks for 3 nodes with 1 GPU(s), and the Ray cluster at {cluster.address} has 2: " in asked.stderr


def test_the_script_trains_and_validates_on_held_out_tasks(run: Run) -> None:
    assert [entry["step"] for entry in run.steps()] == [1, 2]
    last = run.steps()[-1]["data"]
    assert 0 <= last["val-core/lgc-v2/reward/mean@1"] <= 1
    for name in ("answered", "solved", "env_error"):
        assert f"val-aux/lgc-v2/{name}/mean@1" in last
    assert last["val-aux/lgc-v2/env_error/mean@1"] == 0
    assert last["training/rollout_actor_probs_pearson_corr"] > 0.9


def test_its_checkpoint_of_two_ranks_becomes_a_proven_model(run: Run, tmp_path: Path) -> None:
    merged = run.checkout.bash(
        "bash train/scripts/merge-ppo.sh --no-vllm",
        CHECKPOINT_BASE=str(run.directory),
        TARGET_DIR=str(tmp_path / "model"),
    )
    assert merged.returncode == 0, merged.stderr[-3000:]
    assert "transformers  pass" in merged.stdout
    report = json.loads((tmp_path / "model/export.json").read_text())
    assert (report["ranks"], report["kind"]) == (2, "LoRA")
    assert report["proof"]["passed"]
