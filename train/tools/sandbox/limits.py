"""What a program in the sandbox may use. Past a limit it is ended, and `Finished.ended` says by which."""

from __future__ import annotations

from pydantic import PositiveFloat, PositiveInt
from pydantic.dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    wall_s: PositiveFloat = 60
    cpu_s: PositiveInt = 120
    """Seconds of a processor, for each process."""
    memory_mb: PositiveInt = 2048
    """Address space of each process, and resident memory of all together; files in memory come on top: `disk_mb`."""
    processes: PositiveInt = 64
    """Processes and threads."""
    disk_mb: PositiveInt = 256
    """Each of /testbed, /tmp and /dev/shm, which are in memory. There is nothing else to write to."""
    file_mb: PositiveInt = 64
    """One file."""
    output_kb: PositiveInt = 2048
    """What it prints, and what it reports."""
