"""What nvidia-smi says of the GPUs that may be used, as data.

    $ nvidia-smi --query-gpu=index,uuid,name,memory.total,memory.used,driver_version --format=csv,noheader,nounits
    0, GPU-5f6e…, NVIDIA H100 80GB HBM3, 81559, 71204, 580.65.06

A value can be "[N/A]": memory that is shared with the host, or a card that is cut up with MIG.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from doctor.bounded import Outcome, all_at_once, run_bounded

GPU_COLUMNS = "index,uuid,name,memory.total,memory.used,driver_version"
APP_COLUMNS = "gpu_uuid,pid,process_name,used_gpu_memory"


@dataclass(frozen=True)
class Program:
    gpu: str
    pid: str
    name: str
    mib: int | None


@dataclass(frozen=True)
class Gpu:
    index: str
    uuid: str
    name: str
    total_mib: int | None
    used_mib: int | None


@dataclass(frozen=True)
class Gpus:
    state: str
    """found; none: no nvidia-smi; hidden: CUDA_VISIBLE_DEVICES hides all; broken: nvidia-smi fails."""
    fault: str = ""
    gpus: tuple[Gpu, ...] = ()
    programs: tuple[Program, ...] = ()
    driver: str = ""
    cuda: str = ""
    """The newest CUDA that the driver serves, such as 12.4; empty where it does not say."""

    def used_mib(self, gpu: Gpu) -> int:
        """Memory in use; where the card does not say, that of the programs on it."""
        if gpu.used_mib is not None:
            return gpu.used_mib
        return sum(each.mib or 0 for each in self.programs if each.gpu == gpu.uuid)


def ask_nvidia(environment: Mapping[str, str], seconds: float) -> Gpus:
    """The GPUs that CUDA_VISIBLE_DEVICES leaves, in at most so many seconds."""
    program = shutil.which("nvidia-smi", path=environment.get("PATH"))
    if program is None:
        return Gpus("none")
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    if visible is not None and (not visible.strip() or visible.startswith("-")):
        return Gpus("hidden")
    # nvidia-smi knows whole cards only: parts of one (MIG-…) are not looked at one by one.
    only = ["-i", visible] if visible and "MIG" not in visible else []
    ask = partial(run_bounded, seconds=seconds, environment=environment)
    form = "--format=csv,noheader,nounits"
    cards, programs, header = all_at_once(
        lambda: ask([program, *only, f"--query-gpu={GPU_COLUMNS}", form]),
        lambda: ask([program, *only, f"--query-compute-apps={APP_COLUMNS}", form]),
        lambda: ask([program]),
    )
    return read_answers(cards, programs, header)


def read_answers(cards: Outcome, programs: Outcome, header: Outcome) -> Gpus:
    """The answers to GPU_COLUMNS, to APP_COLUMNS, and to nvidia-smi alone. A line of another form is left out."""
    if cards.status != 0:
        said = next((line.strip() for line in (cards.output + cards.errors).splitlines() if line.strip()), "")
        return Gpus("broken", fault=said if (cards.status or 0) > 0 and said else cards.death())
    rows = [row for row in _rows(cards) if len(row) == 6]
    return Gpus(
        "found",
        gpus=tuple(Gpu(index, uuid, name, _mib(total), _mib(used)) for index, uuid, name, total, used, _ in rows),
        programs=tuple(Program(row[0], row[1], ", ".join(row[2:-1]), _mib(row[-1])) for row in _rows(programs)),
        driver=rows[0][5] if rows else "",
        cuda=_cuda(header),
    )


def _rows(outcome: Outcome) -> list[list[str]]:
    lines = outcome.output.splitlines() if outcome.status == 0 else []
    return [[cell.strip() for cell in line.split(",")] for line in lines if line.count(",") >= 3]


def _mib(cell: str) -> int | None:
    return int(cell) if cell.isdigit() else None


def _cuda(header: Outcome) -> str:
    match = re.search(r"CUDA (?:UMD )?Version\s*:\s*([0-9]+\.[0-9]+)", header.output)
    return match.group(1) if match else ""
