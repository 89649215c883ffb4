"""A directory that is there whole or not at all: written beside its place, renamed into it when complete.

    with whole_dir(Path("train/models/tiny")) as staging:
        model.save_pretrained(staging)           # an error or Ctrl-C in here leaves nothing behind
    # train/models/tiny is there now, flushed to disk

A program wraps its work in `ended_by_sigterm()`, so that a SIGTERM leaves nothing behind either.
After a `kill -9` a hidden `.tiny.partial-<host>-<pid>` stays; the next use on that host removes it.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class TargetError(RuntimeError):
    """The target cannot be written: it is in use, in the way, or there is no space. The message says what to do."""


def is_occupied(target: Path) -> bool:
    """Whether something stands where the directory should go; an empty directory does not count."""
    return target.exists() and not (target.is_dir() and not any(target.iterdir()))


def check_target(target: Path, overwrite: bool = False) -> None:
    """Raises TargetError when `target` may not be written: call it before the expensive part."""
    if target.exists() and not target.is_dir():
        raise TargetError(f"{target} is a file: choose another directory")
    if is_occupied(target) and not overwrite:
        raise TargetError(f"{target} exists and is not empty: choose another directory, remove it, or pass --overwrite")
    ancestor = _nearest_existing(target)
    if not os.access(ancestor, os.W_OK):
        raise TargetError(f"{target}: no permission to write in {ancestor}")


def check_free_space(target: Path, needed_bytes: int) -> None:
    """Raises TargetError when the file system of `target` has less than `needed_bytes` plus 5 % left."""
    free = shutil.disk_usage(_nearest_existing(target)).free
    wanted = int(needed_bytes * 1.05)
    if free < wanted:
        raise TargetError(
            f"{target} needs {wanted / 1e9:.2f} GB and its disk has {free / 1e9:.2f} GB free: "
            "free some space or choose a target on another disk"
        )


@contextmanager
def whole_dir(target: Path, overwrite: bool = False) -> Iterator[Path]:
    """Yields an empty staging directory on the target's file system; on a normal exit it becomes `target`.

    With `overwrite` an existing target is replaced, and only then. Raises TargetError when the target is occupied, at
    the start or because another process was faster.
    """
    target = target.absolute()
    check_target(target, overwrite)
    target.parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(target)
    staging = target.parent / f".{target.name}.partial-{socket.gethostname()}-{os.getpid()}"
    staging.mkdir()
    try:
        yield staging
        _open_to_readers(staging)
        _flush_to_disk(staging)
        _move_into_place(staging, target, overwrite)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


@contextmanager
def ended_by_sigterm() -> Iterator[None]:
    """A SIGTERM inside raises SystemExit(143), which removes what is being built; main thread only.

    It stays that where a library turns it into an error of its own, as one does that was calling Python from C or Rust.
    """
    ended = False

    def end(*_: object) -> None:
        nonlocal ended
        ended = True
        sys.exit(143)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    except Exception as error:
        if ended:
            raise SystemExit(143) from error
        raise
    finally:
        signal.signal(signal.SIGTERM, before)


def _move_into_place(staging: Path, target: Path, overwrite: bool) -> None:
    if overwrite and is_occupied(target):
        old = staging.with_name(staging.name + "-replaced")
        target.rename(old)
        staging.rename(target)
        shutil.rmtree(old)
        return
    try:
        staging.rename(target)  # POSIX: replaces an empty directory, refuses any other
    except OSError as error:
        raise TargetError(f"{target} appeared while it was being built ({error.strerror}): another process?") from error


def _remove_abandoned(target: Path) -> None:
    """Remove the staging directories of processes of this host that are gone."""
    prefix = f".{target.name}.partial-{socket.gethostname()}-"
    for path in target.parent.glob(f"{prefix}*"):
        pid, _, replaced = path.name.removeprefix(prefix).partition("-")
        if not pid.isdigit() or _is_alive(int(pid)):
            continue
        if replaced and not target.exists():
            path.rename(target)  # killed between the two renames: the old target is the whole one
        else:
            shutil.rmtree(path)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return pid != os.getpid()  # our own id on a directory that we did not make: left by an earlier process


def _open_to_readers(directory: Path) -> None:
    """safetensors writes files that only their owner can read; give them what the umask allows, as others have."""
    mode = directory.stat().st_mode & 0o666
    for path in directory.rglob("*"):
        if path.is_file() and not path.is_symlink():
            path.chmod(mode)


def _flush_to_disk(directory: Path) -> None:
    """Without this, a power cut after the rename could leave a whole-looking directory of empty files."""
    for path in [*directory.rglob("*"), directory]:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _nearest_existing(path: Path) -> Path:
    path = path.absolute()
    while not path.exists():
        path = path.parent
    return path
