"""A file that is there whole or not at all: written under another name beside its place, renamed when complete.

with atomic_file(Path("out/summary.json")) as temporary:
    temporary.write_text("{}")                # an error or Ctrl-C in here leaves nothing under either name
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_file(target: Path) -> Iterator[Path]:
    """Yields the path to write; on leaving it is flushed to disk and becomes `target`. Raises OSError as open does."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.partial-{os.getpid()}")
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def check_writable(directory: Path) -> None:
    """Make the directory if it is missing and try to write in it: before the expensive part. Raises OSError."""
    directory.mkdir(parents=True, exist_ok=True)
    probe = directory / f".probe-{os.getpid()}"
    try:
        probe.write_bytes(b"")
    finally:
        probe.unlink(missing_ok=True)
