"""Whether the Ray cluster of RAY_ADDRESS can run this: enough nodes with free GPUs, and on each our files and versions.

    RAY_ADDRESS=10.0.0.1:6379 NNODES=2 GPU_COUNT=8 VERITAS_ROOT=… AGENT_MODEL_PATH=… python …/lib/check_cluster.py
    cluster  2 nodes with 8 GPUs each, this repository and the model on all of them

Asks each node by a small task that runs nowhere else, in the environment that workers will have. Every fault is said,
with the node's name; exit status 2.
"""

from __future__ import annotations

import os
import platform
import socket
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

CONNECT_S, ANSWER_S = 5, 120
MODULES = ("vllm", "sglang", "flash_attn", "peft", "wandb", "pyspiel", "reasoning_gym", "minisweagent")
"""What a run may use on any node, and this machine was just seen to have as far as the run needs it."""


class ClusterError(Exception):
    """What is wrong, for the user."""


@dataclass(frozen=True)
class Node:
    """What a node answered."""

    python: str
    verl: str | None
    """None: not importable there."""
    repository: str | None
    """A digest of train/tools and train/config; None: not there."""
    model: bool
    modules: list[str]
    """Those of MODULES that are installed there."""
    wandb_key: bool
    shared: bool
    """It sees the file that this machine has just made in train/artifacts."""


def look(root: str, model: str, mark: str, modules: tuple[str, ...] = MODULES) -> dict:
    """Runs on a node; returns the fields of Node."""
    import hashlib
    import importlib.util

    version, found = None, importlib.util.find_spec("verl")
    if found and found.submodule_search_locations:
        version = (Path(found.submodule_search_locations[0]) / "version/version").read_text().strip()
    digest = hashlib.sha256()
    files = [
        file
        for folder in ("train/tools", "train/config")
        for pattern in ("*.py", "*.yaml")
        for file in (Path(root) / folder).rglob(pattern)
    ]
    for file in sorted(files):
        digest.update(str(file).encode() + b"\0" + file.read_bytes())
    netrc = Path(os.environ.get("NETRC", Path.home() / ".netrc"))
    return {
        "python": platform.python_version(),
        "verl": version,
        "repository": digest.hexdigest() if files else None,
        "modules": [name for name in modules if importlib.util.find_spec(name)],
        "model": (Path(model) / "config.json").is_file(),
        "wandb_key": bool(os.environ.get("WANDB_API_KEY")) or (netrc.is_file() and "wandb" in netrc.read_text()),
        "shared": Path(mark).exists(),
    }


def faults(name: str, node: Node, ours: Node, settings: dict[str, str]) -> list[str]:
    """What keeps a node from taking part. `ours` is what this machine, which starts the run, says of itself."""
    root, model = settings["VERITAS_ROOT"], settings["AGENT_MODEL_PATH"]
    found = []
    if node.python.rsplit(".", 1)[0] != ours.python.rsplit(".", 1)[0]:
        found.append(f"it has Python {node.python}, and this machine {ours.python}: start Ray there with the same one")
    if node.repository is None:
        found.append(f"{root} is not there: clone the repository to the same path, or share its disk")
    elif node.repository != ours.repository:
        found.append(f"{root} is at another state than here: bring train/tools and train/config to the same commit")
    if node.verl is None:
        found.append("verl is not installed in the Python that started Ray there: run `make setup` there")
    elif node.verl != ours.verl:
        found.append(f"it has verl {node.verl}, and this machine {ours.verl}: run `make setup` there")
    missing = sorted(set(ours.modules) - set(node.modules))
    if missing:
        found.append(f"{', '.join(missing)} is not installed there, and is here: run `make setup` there")
    if not node.model:
        found.append(f"the model {model} is not there: copy it to the same path, or share its disk")
    if settings.get("WANDB_MODE") == "online" and not node.wandb_key:
        found.append("it has no WANDB_API_KEY: put it into its .env and start Ray there with train/scripts/ray-node.sh")
    return [f"{name}: {fault}" for fault in found]


def enough(gpus: dict[str, float], free: float, nodes: int, each: int, address: str) -> str | None:
    """None, or why the cluster is too small. `gpus`: node → GPUs; `free`: GPUs that no job holds, in all."""
    able = [name for name, count in gpus.items() if count >= each]
    listed = ", ".join(f"{name} has {count:g}" for name, count in sorted(gpus.items()))
    if len(able) < nodes:
        return (
            f"NNODES={nodes} with GPU_COUNT={each} asks for {nodes} nodes with {each} GPU(s), and the Ray cluster at "
            f"{address} has {len(able)}: {listed}"
        )
    if free < nodes * each:
        return (
            f"{free:g} of the GPUs of the Ray cluster at {address} are free, and NNODES={nodes} with GPU_COUNT={each} "
            f"wants {nodes * each}: wait for the other job (`ray status` shows it)"
        )
    return None


def connect(address: str) -> None:
    """Join the cluster. Raises ClusterError."""
    import ray

    if address != "auto":
        host, _, port = address.rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_S).close()
        except (OSError, ValueError) as error:
            raise ClusterError(
                f"RAY_ADDRESS={address}: nothing answers there ({error}): start the cluster with "
                "train/scripts/ray-node.sh, or unset RAY_ADDRESS"
            ) from error
    try:
        ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    except (ConnectionError, RuntimeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ClusterError(
            f"RAY_ADDRESS={address} cannot be joined ({reason}): this has to run on a node of the cluster, with the "
            "Python and the Ray that started it"
        ) from error


def nodes_of(address: str, wanted: int, each: int) -> dict[str, dict]:
    """The cluster's living nodes, as Ray describes them. Raises ClusterError where they are too few or taken."""
    import ray

    if not ray.is_initialized():
        connect(address)
    nodes = {
        f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']}, {node['NodeID'][:6]})": node
        for node in ray.nodes()
        if node["Alive"]
    }
    gpus = {name: node["Resources"].get("GPU", 0.0) for name, node in nodes.items()}
    problem = enough(gpus, ray.available_resources().get("GPU", 0.0), wanted, each, address)
    if problem:
        raise ClusterError(problem)
    return nodes


def main(settings: dict[str, str]) -> str:
    """The line that says all is well. Raises ClusterError."""
    import ray
    from ray.exceptions import GetTimeoutError, RayError
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    address, wanted, each = settings["RAY_ADDRESS"], int(settings.get("NNODES", "1")), int(settings["GPU_COUNT"])
    end = time.monotonic() + int(settings.get("RAY_WAIT_S", "0"))
    while True:
        try:
            nodes = nodes_of(address, wanted, each)
            break
        except ClusterError:
            if time.monotonic() > end:
                raise
            time.sleep(2)

    artifacts = Path(settings["VERITAS_ROOT"]) / "train/artifacts"
    with tempfile.NamedTemporaryFile(prefix=".cluster-", dir=artifacts) as mark:
        arguments = settings["VERITAS_ROOT"], settings["AGENT_MODEL_PATH"], mark.name
        task = ray.remote(num_cpus=0, max_retries=0)(look)
        answers = {
            name: task.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)).remote(
                *arguments
            )
            for name, node in nodes.items()
        }
        ours, problems, apart = Node(**look(*arguments)), [], []
        for name, answer in answers.items():
            try:
                theirs = Node(**ray.get(answer, timeout=ANSWER_S))
            except GetTimeoutError:
                problems.append(f"{name}: no answer in {ANSWER_S} s: look at its raylet (`ray status`)")
                continue
            except RayError as error:
                problems.append(f"{name}: a task fails there: {str(error).strip().splitlines()[-1]}")
                continue
            problems += faults(name, theirs, ours, settings)
            apart += [name] if not theirs.shared else []
    if problems:
        raise ClusterError("\nerror: ".join(problems))
    if apart:
        print(
            f"warning  {artifacts} of this machine is not shared with {', '.join(apart)}: what its workers save stays "
            "there, and resuming or merging needs all parts of a checkpoint in one place",
            file=sys.stderr,
        )
    return f"cluster  {wanted} of {len(nodes)} nodes with {each} GPU(s) each; repository, model and verl are on all"


if __name__ == "__main__":
    try:
        print(main(dict(os.environ)), file=sys.stderr)
    except ClusterError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
