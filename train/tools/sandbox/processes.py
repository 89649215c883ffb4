"""The processes under a process, and the memory that they use: Linux's /proc."""

from __future__ import annotations

import os
from pathlib import Path

PAGE = os.sysconf("SC_PAGE_SIZE")


def descendants(pid: int) -> list[int]:
    """The process and all that it started, and those started. One that ends meanwhile is left out."""
    found, waiting = [], [pid]
    while waiting:
        process = waiting.pop()
        try:
            threads = list(Path(f"/proc/{process}/task").iterdir())
            children = [(thread / "children").read_text() for thread in threads]
        except (FileNotFoundError, ProcessLookupError):
            continue
        found.append(process)
        waiting += [int(child) for text in children for child in text.split()]
    return found


def memory_in_use(pid: int) -> int:
    """Bytes of memory that a process and its descendants have for themselves (resident, less shared)."""
    total = 0
    for process in descendants(pid):
        try:
            resident, shared = Path(f"/proc/{process}/statm").read_text().split()[1:3]
        except (FileNotFoundError, ProcessLookupError):
            continue
        total += (int(resident) - int(shared)) * PAGE
    return total
