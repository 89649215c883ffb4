"""How busy and how full this run's GPUs are, measured once a second by a thread, and told once a step.

    meter = GpuMeter(gpus_of_run("2,3", count=2))
    meter.take()                  # {"system/gpu_utilization": 87.5, "system/gpu_memory": 61.2}, since the last take

A single look when a step is logged would see GPUs that wait: hence the thread. GPUs of other nodes are not seen.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

INTERVAL_S = 1.0


@dataclass(frozen=True)
class Reading:
    utilization: float
    """Mean over the GPUs, percent."""
    memory: float
    """In use on the fullest GPU, GB."""


def gpus_of_run(visible: str | None, count: int) -> list[Any]:
    """NVML's handles of the GPUs that CUDA_VISIBLE_DEVICES names, at most `count`; [] without a GPU or a driver.

    Raises ModuleNotFoundError where nvidia-ml-py is not installed.
    """
    import pynvml

    try:
        pynvml.nvmlInit()
        if visible is None:
            handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
        else:
            handles = [_handle(pynvml, name.strip()) for name in visible.split(",") if name.strip()]
    except pynvml.NVMLError:  # no driver, no GPU, or a part of one (MIG), whose use NVML does not tell
        return []
    return handles[:count]


def _handle(pynvml: Any, name: str) -> Any:
    if name.isdigit():
        return pynvml.nvmlDeviceGetHandleByIndex(int(name))
    return pynvml.nvmlDeviceGetHandleByUUID(name)


def read_gpus(handles: Sequence[Any]) -> Reading | None:
    """What NVML says now, or None where it says nothing (a GPU that fell off the bus must not end a run)."""
    import pynvml

    try:
        busy = [pynvml.nvmlDeviceGetUtilizationRates(handle).gpu for handle in handles]
        used = [pynvml.nvmlDeviceGetMemoryInfo(handle).used for handle in handles]
    except pynvml.NVMLError:
        return None
    return Reading(sum(busy) / len(busy), max(used) / 1e9)


class GpuMeter:
    def __init__(self, handles: Sequence[Any], interval_s: float = INTERVAL_S) -> None:
        self._handles, self._interval_s = handles, interval_s
        self._readings: list[Reading] = []
        self._lock = threading.Lock()
        self._ended = threading.Event()
        if handles:
            threading.Thread(target=self._watch, name="gpu-meter", daemon=True).start()

    def _watch(self) -> None:
        while not self._ended.wait(self._interval_s):
            if reading := read_gpus(self._handles):
                with self._lock:
                    self._readings.append(reading)

    def take(self) -> dict[str, float]:
        """The metrics since the last call; {} where there is no GPU or nothing was measured since."""
        with self._lock:
            readings, self._readings = self._readings, []
        if not readings:
            return {}
        return {
            "system/gpu_utilization": sum(reading.utilization for reading in readings) / len(readings),
            "system/gpu_memory": max(reading.memory for reading in readings),
        }

    def end(self) -> None:
        self._ended.set()
