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

import psutil
import pytest

from test_training_cpu import Checkout, Run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

NODES = "import ray; ray.init(log_to_driver=False); print('alive', sum(n['Alive'] for n in ray.nodes()))"


class Cluster:
    """A head and a second node, started by ray-node.sh as a user would."""

    def __init__(self, checkout: Checkout) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{free.getsockname()[1]}"
        self.checkout = checkout
        # Two raylets of one machine cannot both have the ports that Ray gives to a node by default.
        self.nodes = [self.node("head", RAY_PORT=self.address.partition(":")[2])]
        self.wait_for(1)
        self.nodes.append(self.node(self.address))
        self.wait_for(2)

    def node(self, where: str, **env: str) -> subprocess.Popen[bytes]:
        script = self.checkout.root / "train/scripts/ray-node.sh"
        with (self.checkout.root / f"node-{where}.log").open("wb") as log:
            return subprocess.Popen(
                ["bash", str(script), where, "--node-ip-address=127.0.0.1", "--object-store-memory=300000000"],
                env={**self.checkout.env, **env},
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def alive(self) -> int:
        """Nodes as Ray counts them; 0 when it does not answer."""
        env = {**self.checkout.env, "RAY_ADDRESS": self.address}
        done = subprocess.run([sys.executable, "-c", NODES], env=env, capture_output=True, text=True, timeout=120)
        return int(done.stdout.partition("alive")[2] or 0)

    def wait_for(self, count: int) -> None:
        end = time.monotonic() + 120
        while (found := self.alive()) < count:
            assert time.monotonic() < end, f"{found} of {count} nodes: {self.logs()}"
            time.sleep(1)

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
    settings = {"RAY_ADDRESS": cluster.address, "GPU_COUNT": "1"}
    assert run.start(**settings, NNODES="3").wait(200) == 2
    assert "asks for 3 nodes with 1 GPU(s)" in run.tail()
    assert not run.directory.exists()

    process = run.start("trainer.total_training_steps=1", **settings, NNODES="2", HF_TOKEN="hf_planted_here")
    assert process.wait(600) == 0, run.tail()
    assert "2 of 2 nodes with 1 GPU(s) each" in run.log.read_text()
    assert sorted(file.name for file in (run.directory / "global_step_1/actor").glob("model_world_size_2_rank_*"))
    assert [entry["step"] for entry in run.steps()] == [1]
    assert "hf_planted_here" not in run.log.read_text()

    end = time.monotonic() + 60
    while left := [process for process in run.processes() if process.is_running()]:
        assert time.monotonic() < end, [process.cmdline() for process in left]
        time.sleep(0.5)
    assert cluster.alive() == 2
    raylets = [process for process in psutil.process_iter(["name"]) if process.info["name"] == "raylet"]
    assert len(raylets) >= 2
