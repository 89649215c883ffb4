"""Runs unmodified verl on a machine without a GPU: a verl platform named "cpu" and the hooks it needs.

    VERL_PLATFORM=cpu VERL_USE_EXTERNAL_MODULES=cpu_platform python -m verl.trainer.main_ppo …

`train/scripts/lib/cpu_env.sh` sets both. Without VERL_PLATFORM=cpu this module changes nothing: a Ray actor without a
GPU on a GPU machine sees no CUDA either, so "no CUDA here" must never be the gate.

Written against verl 0.9.1. Each hook names the upstream file that it answers and raises when that file has changed
its shape, because a CPU run that silently loses a hook hangs or trains on nothing.
"""

from __future__ import annotations

import inspect
import os
import resource
import types
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

ACTIVE = os.environ.get("VERL_PLATFORM", "").strip().lower() == "cpu"


class UpstreamChanged(RuntimeError):
    """verl, torch or vLLM no longer looks the way a hook expects: the hook must be looked at before a run."""


def _peak_rss_bytes(*_: Any) -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


class CpuDeviceModule(types.ModuleType):
    """`torch.cpu` plus the `torch.cuda` functions that verl calls on whichever device module it is given."""

    def __getattr__(self, name: str) -> Any:
        return getattr(torch.cpu, name)


def cpu_device_module() -> CpuDeviceModule:
    module = CpuDeviceModule("cpu_platform.device_module")
    # verl/utils/memory_utils.py takes False as "no device memory to manage", which is the truth.
    module.is_available = lambda: False
    module.get_device_name = lambda *_: "CPU"
    module.mem_get_info = lambda *_: (0, 0)
    # Logged as perf/max_memory_*: resident memory is the figure that matters here.
    for name in ("max_memory_allocated", "max_memory_reserved", "memory_allocated", "memory_reserved"):
        setattr(module, name, _peak_rss_bytes)
    for name in (
        "empty_cache",
        "ipc_collect",
        "reset_peak_memory_stats",
        "set_per_process_memory_fraction",
        "set_device",
        "synchronize",
    ):
        setattr(module, name, lambda *_, **__: None)
    module.manual_seed = module.manual_seed_all = torch.manual_seed
    # verl/utils/checkpoint/checkpoint_manager.py saves and restores the device's random state on resume.
    module.get_rng_state = lambda *_, **__: torch.get_rng_state()
    module.set_rng_state = lambda state, *_, **__: torch.set_rng_state(state)
    return module


def register_platform() -> None:
    """Registers platform "cpu" (verl/plugin/platform knows cuda, npu and rocm only)."""
    from verl.plugin.platform import PlatformBase, PlatformRegistry

    class PlatformCpu(PlatformBase):
        device_name = "cpu"
        vendor_name = "cpu"
        device_module = cpu_device_module()

        def is_available(self) -> bool:
            return True

        def current_device(self) -> torch.device:
            # verl calls tensor.to(get_device_id()) and FSDP(device_id=…): an int would mean "cuda:<int>".
            return torch.device("cpu")

        def device_count(self) -> int:
            return 1

        def set_device(self, device_index: int) -> None: ...

        def synchronize(self, device_index: int | None = None) -> None: ...

        def manual_seed(self, seed: int) -> None:
            torch.manual_seed(seed)

        def manual_seed_all(self, seed: int) -> None:
            torch.manual_seed(seed)

        def set_allocator_settings(self, settings: str) -> None: ...

        def empty_cache(self) -> None: ...

        def get_device_capability(self, device_index: int = 0) -> tuple[int | None, int | None]:
            return None, None

        def communication_backend_name(self) -> str:
            return "gloo"

        def visible_devices_envvar(self) -> str:
            return "CUDA_VISIBLE_DEVICES"

        @contextmanager
        def nvtx_range(self, msg: str) -> Iterator[None]:
            yield

        def profiler_start(self) -> None: ...

        def profiler_stop(self) -> None: ...

        def ray_resource_name(self) -> str:
            # Placement groups ask for this resource: the CPU profile starts Ray with num_gpus logical ones.
            return "GPU"

        def ray_noset_envvars(self) -> list[str]:
            return ["RAY_EXPERIMENTAL_NOSET_CUDA_VISIBLE_DEVICES"]

        def is_ipc_supported(self) -> bool:
            # Weights travel from the trainer to vLLM through POSIX shared memory instead of CUDA IPC.
            return False

        def cudart(self) -> None:
            return None

    missing = getattr(PlatformCpu, "__abstractmethods__", frozenset())
    if missing:
        raise UpstreamChanged(f"verl/plugin/platform/platform_base.py has new abstract methods: {sorted(missing)}")
    PlatformRegistry.register(platform="cpu")(PlatformCpu)


def allow_fsdp_engine_on_cpu() -> None:
    """verl/workers/engine/fsdp registers its engines for cuda and npu; this variable makes the look-up say cuda."""
    os.environ.setdefault("VERL_ENGINE_DEVICE", "cuda")


def accept_single_gloo_backend() -> None:
    """verl/utils/distributed.py asks for "cpu:gloo,<device>:<backend>": here cpu:gloo twice, which torch rejects."""
    import torch.distributed as dist

    original = dist.init_process_group
    if getattr(original, "accepts_single_gloo", False):
        return
    if "backend" not in inspect.signature(original).parameters:
        raise UpstreamChanged("torch.distributed.init_process_group has no parameter 'backend' any more")

    def init_process_group(backend: str | None = None, *args: Any, **kwargs: Any) -> Any:
        if backend == "cpu:gloo,cpu:gloo":
            backend = "cpu:gloo"
        return original(backend, *args, **kwargs)

    init_process_group.accepts_single_gloo = True
    dist.init_process_group = init_process_group


def pin_nothing() -> None:
    """verl/workers/engine/fsdp/transformer_impl.py keeps the reference policy, which full fine-tuning has, in pinned
    memory; torch refuses to pin where there is no accelerator. On a CPU all memory is as near as it can be.
    """
    from torch.distributed.fsdp import CPUOffloadPolicy

    if list(inspect.signature(CPUOffloadPolicy).parameters) != ["pin_memory"]:
        raise UpstreamChanged("torch.distributed.fsdp.CPUOffloadPolicy no longer has pin_memory as its one field")
    torch.Tensor.pin_memory = lambda tensor, *_, **__: tensor


def keep_vllm_weights_loadable() -> None:
    """vLLM-CPU repacks linear weights after the first load and frees the originals, so that verl's weight sync cannot
    copy into them and the job hangs. Keep the plain weights and use torch's own linear.

    Answers vllm/model_executor/layers/linear.py (process_weights_after_loading). Called in every vLLM process through
    the entry point group vllm.general_plugins, see `cpu_metadata/`.
    """
    if not ACTIVE:
        return
    from vllm.model_executor.layers import utils

    parameters = list(inspect.signature(utils.dispatch_cpu_unquantized_gemm).parameters)
    if parameters != ["layer", "remove_weight"]:
        raise UpstreamChanged(f"vLLM's dispatch_cpu_unquantized_gemm now takes {parameters}")

    def dispatch_cpu_unquantized_gemm(layer: torch.nn.Module, remove_weight: bool) -> None:
        layer.cpu_linear = torch.nn.functional.linear

    utils.dispatch_cpu_unquantized_gemm = dispatch_cpu_unquantized_gemm


if ACTIVE:
    register_platform()
    allow_fsdp_engine_on_cpu()
    accept_single_gloo_backend()
    pin_nothing()
