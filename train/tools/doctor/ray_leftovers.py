"""What an earlier Ray left: a cluster that a run would join, its processes, its address and its files.

warn  ray  processes of a Ray cluster are left over from …/ray: pid 4242 (raylet), 4243 (gcs_server)
           fix: `ray stop`, if no run of yours is using them
"""

from __future__ import annotations

import os
from pathlib import Path

from doctor.context import Context
from doctor.lines import FAIL, OK, WARN, Line

SERVERS = ("raylet", "gcs_server")
LARGE = 5e9
SHOWN = 4


def check_ray(context: Context) -> list[Line]:
    lines = []
    folder = Path(context.get("RAY_TMPDIR", "/tmp")) / "ray"
    rule = context.rule("refuse_to_join_ray")
    if not rule.holds:
        return [Line("ray", FAIL, *rule.refusal)]
    if context.get("RAY_ADDRESS"):
        return [Line("ray", OK, rule.text.replace("ray", "", 1).strip())]
    address = folder / "ray_current_cluster"
    if address.is_file() and address.stat().st_size:
        found = f"{address} names a cluster that does not answer: {address.read_text(errors='replace').strip()[:80]}"
        lines.append(Line("ray", WARN, found, f"rm '{address}'"))
    servers = left_servers(folder)
    if servers:
        more = f" and {len(servers) - SHOWN} more" if len(servers) > SHOWN else ""
        found = f"processes of Ray run with {folder}: pid {', '.join(servers[:SHOWN])}{more}"
        lines.append(Line("ray", WARN, found, "`ray stop`, if no run of yours is using them"))
    else:
        size = size_of(folder)
        if size > LARGE:
            found = f"{folder} holds {size / 1e9:.1f} GB of sessions that have ended"
            lines.append(Line("ray", WARN, found, f"rm -r '{folder}'"))
    return lines or [Line("ray", OK, "none is running here")]


def left_servers(folder: Path, proc: Path = Path("/proc")) -> list[str]:
    """'4242 (raylet)' for each server of a session in this folder."""
    found = []
    for process in sorted(proc.glob("[0-9]*"), key=lambda path: int(path.name)):
        try:
            words = (process / "cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:  # it has ended
            continue
        name = os.path.basename(words[0])  # noqa: PTH119 - a word of a command, which may be no path
        if name in SERVERS and any(f"{folder}/" in word for word in words):
            found.append(f"{process.name} ({name})")
    return found


def size_of(folder: Path) -> int:
    """Bytes of the files below it; a file that goes away meanwhile does not count."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(parent, name)).st_size  # noqa: PTH118 - many files
            except OSError:
                continue
    return total
