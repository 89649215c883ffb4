"""What memory a machine has: of a GPU, and the RAM that this process may use.

Machine(gpu=79.6 * GIB, ram=ram_limit())        # gpu=0: no GPU, or one that does not say
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from memory import GIB

NAMED = 0.995
"""Cards are named by their GiB rounded up: an 80 GB card has 81,559 MiB."""


@dataclass(frozen=True)
class Machine:
    gpu: float
    """Bytes of the smallest GPU; 0: unknown, or none."""
    ram: float
    """Bytes of RAM that may be used; 0: unknown."""


def gpu_memory(found_gb: str, profile: str) -> float:
    """Bytes of one GPU: what was found, or what the profile is made for, as in 1x80gb; 0 where neither says."""
    named = re.match(r"\d+x(\d+)gb", profile)
    return (float(found_gb or 0) or float(named[1] if named else 0)) * NAMED * GIB


def ram_limit(proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")) -> float:
    """The smaller of the machine's RAM and the limits of this process's control groups (v2 and v1), in bytes."""
    limits = [_meminfo(proc / "meminfo")]
    try:
        groups = (proc / "self/cgroup").read_text().splitlines()
    except OSError:  # not Linux, or /proc is hidden: the machine's RAM is the limit
        groups = []
    for line in [*groups, "0::/"]:
        _, controllers, path = line.split(":", 2)
        root, file = (cgroups, "memory.max") if not controllers else (cgroups / "memory", "memory.limit_in_bytes")
        if controllers and "memory" not in controllers.split(","):
            continue
        group = root / path.lstrip("/")
        while group.is_relative_to(root):
            limits.append(_limit(group / file))
            group = group.parent
    return min((limit for limit in limits if limit), default=0.0)


def _meminfo(path: Path) -> float:
    try:
        found = re.search(r"MemTotal:\s+(\d+) kB", path.read_text())
    except OSError:
        return 0.0
    return float(found[1]) * 1024 if found else 0.0


def _limit(path: Path) -> float:
    """0 for no limit: a missing file, `max`, or v1's number near 2**63."""
    try:
        text = path.read_text().strip()
    except OSError:
        return 0.0
    return float(text) if text.isdigit() and int(text) < 2**60 else 0.0
