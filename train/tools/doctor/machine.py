"""Shared memory, RAM and open files.

fail  shm  /dev/shm has 0.07 GB free of 0.07, and weights and NCCL's buffers go through it
           fix: docker run --shm-size=16g, or --ipc=host; elsewhere: mount -o remount,size=16G /dev/shm
"""

from __future__ import annotations

import os
import re
import resource
from pathlib import Path

from doctor.context import Context
from doctor.lines import FAIL, OK, WARN, Line

SHM = Path("/dev/shm")
SHM_LEAST, SHM_ENOUGH = 0.5e9, 4e9
"""The CPU profile sends weights through it in pieces of 256 MiB; Ray keeps its objects there. Docker gives 64 MB."""
RAM_ENOUGH, RAM_FREE = 15e9, 8e9
"""A machine of 16 GB; a run of a 135M model peaks at 8 to 12 GB (docs/benchmarks.md)."""
FILES_ENOUGH = 4096


def check_shared_memory(context: Context, directory: Path = SHM) -> list[Line]:
    if not directory.is_dir():
        return [Line("shm", FAIL, f"{directory} is not there", f"mount -t tmpfs tmpfs {directory}")]
    disk = os.statvfs(directory)
    free, size = disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize
    status = FAIL if free < SHM_LEAST else WARN if free < SHM_ENOUGH else OK
    found = f"{directory} has {free / 1e9:.2f} GB free of {size / 1e9:.2f}"
    if status == OK:
        return [Line("shm", OK, found)]
    if size < SHM_ENOUGH:
        fix = f"docker run --shm-size=16g, or --ipc=host; elsewhere: mount -o remount,size=16G {directory}"
    else:
        fix = f"remove what earlier programs left in {directory}"
    return [Line("shm", status, f"{found}, and weights, Ray's objects and NCCL's buffers go through it", fix)]


def check_memory(context: Context, proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")) -> list[Line]:
    """RAM of the machine, or of the container where that has less."""
    read = dict(re.findall(r"^(\w+):\s+(\d+) kB", (proc / "meminfo").read_text(), re.MULTILINE))
    size, free = int(read["MemTotal"]) * 1024, int(read["MemAvailable"]) * 1024
    where = "this machine"
    limit, used = container_memory(proc, cgroups)
    if limit is not None and limit < size:
        size, free, where = limit, min(free, limit - used), "this container (its cgroup's limit)"
    found = f"{free / 1e9:.1f} GB free of {size / 1e9:.1f} in {where}"
    if size < RAM_ENOUGH:
        return [Line("memory", WARN, found, "16 GB are the least for a model of 135M parameters")]
    if free < RAM_FREE:
        return [Line("memory", WARN, found, "end other programs: a run of the smallest model peaks at 8 to 12 GB")]
    return [Line("memory", OK, found)]


def container_memory(proc: Path, cgroups: Path) -> tuple[int | None, int]:
    """(the least limit of this process's cgroups, what is used of it) in bytes; the limit is None without one."""
    best, used = None, 0
    for line in (proc / "self/cgroup").read_text().splitlines() if (proc / "self/cgroup").is_file() else []:
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        base = cgroups / "memory" if controllers else cgroups
        limit_name, used_name, cache = (
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
            if controllers
            else ("memory.max", "memory.current", "inactive_file")
        )
        group = base / path.strip("/")
        # In a container the path is the host's, and what is mounted is the container's own group.
        for folder in [group, *group.parents]:
            text = (folder / limit_name).read_text().strip() if (folder / limit_name).is_file() else ""
            if text.isdigit() and (best is None or int(text) < best):
                best, used = int(text), _used(folder, used_name, cache)
            if folder == base:
                break
    return best, used


def _used(folder: Path, name: str, cache: str) -> int:
    """Without the file cache, which is given back."""
    if not (folder / name).is_file():
        return 0
    stat = (folder / "memory.stat").read_text() if (folder / "memory.stat").is_file() else ""
    match = re.search(rf"^{cache} (\d+)$", stat, re.MULTILINE)
    return max(0, int((folder / name).read_text()) - (int(match.group(1)) if match else 0))


def check_open_files(context: Context) -> list[Line]:
    """Ray raises its own limit as far as the hard one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY or hard >= FILES_ENOUGH:
        return [Line("open files", OK, f"ulimit -n {soft}, at most {'any' if hard < 0 else hard}")]
    fix = "ulimit -Hn 65536, or LimitNOFILE= / docker run --ulimit nofile=65536"
    return [Line("open files", WARN, f"ulimit -Hn is {hard}, and Ray opens thousands of files and sockets", fix)]
