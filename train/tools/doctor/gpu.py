"""The driver, and the memory of GPUs that others hold.

fail  gpu  GPU 0: 74.7 of 85.5 GB are in use by pid 4242 (python, 74.4 GB)
           fix: CUDA_VISIBLE_DEVICES=1 with GPU_COUNT=1, wait for it, or end it
"""

from __future__ import annotations

from pathlib import Path

from doctor.context import Context
from doctor.lines import FAIL, OK, WARN, Line
from doctor.nvidia import Gpu, Gpus

SHARE_IN_USE = 0.1
"""A card with more than this share of its memory in use is taken: recipes plan with nearly all of it."""
PCI = Path("/sys/bus/pci/devices")
NVIDIA, DISPLAY = "0x10de", "0x03"
IN_CONTAINER = ("/.dockerenv", "/run/.containerenv")


def check_driver(context: Context) -> list[Line]:
    gpus = context.gpus
    if context.get("PROFILE").startswith("cpu") and gpus.state != "none":
        return [Line("driver", OK, f"PROFILE={context.get('PROFILE')} uses no GPU")]
    if gpus.state == "broken":
        return [Line("driver", FAIL, f"nvidia-smi fails: {gpus.fault}", "mend the driver, or set PROFILE=cpu")]
    if gpus.state == "hidden":
        return [Line("driver", OK, "CUDA_VISIBLE_DEVICES hides every GPU")]
    if gpus.state == "none":
        return [_without_driver(context)]
    if not gpus.gpus:
        return [Line("driver", WARN, "nvidia-smi answers, and names no GPU", "see what `nvidia-smi` prints")]
    names = sorted({gpu.name for gpu in gpus.gpus})
    serves = f", serves CUDA {gpus.cuda}" if gpus.cuda else ""
    return [Line("driver", OK, f"{gpus.driver}{serves}; {len(gpus.gpus)} × {', '.join(names)}")]


def _without_driver(context: Context) -> Line:
    if any(Path(mark).exists() for mark in IN_CONTAINER):
        fix = "start the container with --gpus all (the host needs the NVIDIA Container Toolkit)"
    else:
        fix = "install the NVIDIA driver"
    if context.installed and context.stack == "gpu":
        # SFT without a GPU is slow and possible; a rollout is neither, since this vLLM has no code for CPUs.
        status = WARN if context.purpose == "sft" else FAIL
        return Line(
            "driver",
            status,
            "the packages for GPUs are installed, and nvidia-smi is not there: no NVIDIA driver or runtime",
            f"{fix}; for a machine without a GPU: STACK=cpu make setup",
        )
    cards = _cards()
    if cards and not context.get("PROFILE").startswith("cpu"):
        return Line("driver", WARN, f"an NVIDIA GPU ({', '.join(cards)}) and no driver that serves it", fix)
    return Line("driver", OK, "no NVIDIA GPU")


def _cards(devices: Path = PCI) -> list[str]:
    """PCI addresses of NVIDIA's cards."""
    found = []
    for device in sorted(devices.glob("*")):
        kind, vendor = device / "class", device / "vendor"
        if not (kind.is_file() and vendor.is_file()):
            continue
        if vendor.read_text().strip() == NVIDIA and kind.read_text().startswith(DISPLAY):
            found.append(device.name)
    return found


def check_profile(context: Context) -> list[Line]:
    """By the rule of the trainers: whether PROFILE and GPU_COUNT fit the GPUs here."""
    rule = context.rule("choose_profile")
    if not rule.holds:
        return [Line("profile", FAIL, *rule.refusal)]
    return [Line("profile", OK, rule.text.replace("profile", "", 1).strip())]


def check_memory_in_use(context: Context) -> list[Line]:
    gpus = context.gpus
    if gpus.state != "found" or not gpus.gpus or context.get("PROFILE").startswith("cpu"):
        return []
    count = context.get("GPU_COUNT")
    chosen = gpus.gpus[: int(count)] if count.isdigit() and int(count) else gpus.gpus
    taken = [gpu for gpu in gpus.gpus if _is_taken(gpus, gpu)]
    free = [gpu for gpu in gpus.gpus if gpu not in taken]
    lines = [Line("gpu", FAIL, _users(gpus, gpu), _way_out(free, len(chosen))) for gpu in chosen if gpu in taken]
    return lines or [Line("gpu", OK, f"{len(chosen)} without other programs")]


def _is_taken(gpus: Gpus, gpu: Gpu) -> bool:
    return bool(gpu.total_mib) and gpus.used_mib(gpu) > SHARE_IN_USE * (gpu.total_mib or 0)


def _users(gpus: Gpus, gpu: Gpu) -> str:
    programs = [each for each in gpus.programs if each.gpu == gpu.uuid]
    names = [f"pid {each.pid} ({each.name}{_size(each.mib)})" for each in programs]
    who = ", ".join(names) or "programs that are not seen from here (another container or user)"
    return f"GPU {gpu.index}: {_gb(gpus.used_mib(gpu))} of {_gb(gpu.total_mib or 0)} GB are in use by {who}"


def _way_out(free: list[Gpu], wanted: int) -> str:
    wait = "wait for it, or end it"
    if not free:
        return wait
    few = "" if len(free) >= wanted else f" with GPU_COUNT={len(free)}"
    return f"CUDA_VISIBLE_DEVICES={','.join(gpu.index for gpu in free[:wanted])}{few}, {wait}"


def _size(mib: int | None) -> str:
    return f", {_gb(mib)} GB" if mib is not None else ""


def _gb(mib: int) -> str:
    return f"{mib * 2**20 / 1e9:.1f}"
