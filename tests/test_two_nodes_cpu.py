"""GRPO on a Ray cluster of two nodes: two raylets on this machine, each with one logical GPU, and one real step."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from test_training_cpu import Checkout, Run

pytestmark = [pytest.mark.slow, pytest.mark.alone, pytest.mark.timeout(900)]


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


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    checkout = Checkout(tmp_path)
    with tempfile.TemporaryDirectory(prefix="ray-") as ray:  # the path of a socket has at most 107 bytes
        checkout.env |= {"RAY_TMPDIR": ray, "PROFILE": "cpu", "SUPERVISE_GRACE_S": "10"}
        cluster = Cluster(checkout)
        try:
            yield cluster
        finally:
            cluster.stop()


def test_a_run_takes_the_nodes_of_a_cluster_and_leaves_it_as_it_was(cluster: Cluster, tiny: Path) -> None:
    run = Run(cluster.checkout, tiny, f"two-nodes-{os.getpid()}")
    settings = {"RAY_ADDRESS": cluster.address, "GPU_COUNT": "1", "RAY_WAIT_S": "180"}
    process = run.start("trainer.total_training_steps=1", **settings, NNODES="2", HF_TOKEN="hf_planted_here")
    assert process.wait(600) == 0, run.tail() + cluster.logs()
    assert "2 of 2 nodes with 1 GPU(s) each" in run.log.read_text()
    shards = sorted(file.name for file in (run.directory / "global_step_1/actor").glob("model_*"))
    assert shards == [f"model_world_size_2_rank_{rank}.pt" for rank in (0, 1)]
    assert [entry["step"] for entry in run.steps()] == [1]
    assert "hf_planted_here" not in run.log.read_text()

    end = time.monotonic() + 60
    while left := run.processes():
        assert time.monotonic() < end, [process.cmdline() for process in left]
        time.sleep(0.5)

    # Both nodes are still there, and are not three.
    check = cluster.checkout.root / "train/scripts/lib/check_cluster.py"
    env = {
        **run.environment,
        **settings,
        "NNODES": "3",
        "RAY_WAIT_S": "0",
        "VERITAS_ROOT": str(cluster.checkout.root),
        "AGENT_MODEL_PATH": str(tiny),
    }
    asked = subprocess.run([sys.executable, str(check)], env=env, capture_output=True, text=True, timeout=120)
    assert asked.returncode == 2
    assert f"asks for 3 nodes with 1 GPU(s), and the Ray cluster at {cluster.address} has 2: " in asked.stderr
