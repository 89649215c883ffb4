"""A program in a sandbox made by bubblewrap: https://github.com/containers/bubblewrap

    box = Bubblewrap(read_only=[Path("/home/me/veritas-rl/.venv")])
    done = box.run(["python3", "-c", "print(open('hello').read())"], tree=folder, limits=Limits(wall_s=10))
    done.ended, done.returncode, done.output     # "exit", 0, b"hi\n"

Inside there is a copy of `tree` at /testbed, an empty /tmp and /dev/shm, all three in memory and of limited size;
/usr and the folders `read_only` as they are on the host; nothing else of its files, none of its processes, no network.
What a program may use is bounded by `Limits`; at the end of a run every process that it started is dead.

The reports of a program come through a pipe whose number is in $REPORT_FD, apart from what it prints.

Run by root, each sandbox has a user id of its own, 61000 and up, without privileges. Otherwise it has the user's own,
in a namespace where it owns nothing. What no sandbox of this kind protects from is a fault of the kernel: docs/swe.md.
"""

from __future__ import annotations

import os
import selectors
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from env_adapter import EnvError
from sandbox.limits import Limits
from sandbox.processes import memory_in_use
from sandbox.seccomp import filter_program

Ended = Literal["exit", "timeout", "memory", "output"]

FIRST_UID = 61000
MAX_SLOTS = 180
"""User ids from 61184 on are systemd's."""
POLL_S = 0.1
HOST_FILES = ("/etc/alternatives", "/etc/ld.so.cache")
"""Where Debian's programs are found, and libraries out of /usr/local."""
ENVIRONMENT = {
    "HOME": "/tmp",
    "USER": "sandbox",
    "LANG": "C.UTF-8",
    "TZ": "UTC",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONHASHSEED": "0",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}


@dataclass(frozen=True)
class Finished:
    ended: Ended
    """"exit": by itself; otherwise by which limit it was ended."""
    returncode: int
    output: bytes
    """What it printed, stdout and stderr in one, up to the limit."""
    report: bytes
    """What it wrote to the file descriptor $REPORT_FD."""
    seconds: float


@dataclass
class Box:
    """A sandbox while it runs."""

    process: subprocess.Popen[bytes]
    """The pipes `stdin` and `stdout` are the program's; stderr goes into stdout."""
    report: int
    """The end of the report's pipe to read from."""
    ended: Ended = "exit"

    def end(self, reason: Ended) -> None:
        """Kill every process in it. Only the first reason counts."""
        if self.process.poll() is None and self.ended == "exit":
            self.ended = reason
        self.process.kill()


class Bubblewrap:
    """Sandboxes of this machine: at most `slots` run at a time, over all processes; default: one per core.

    `read_only` are folders that programs need besides /usr, such as a Python installation. Sandboxes that stay for long
    count their slots from another `first_slot`: who waits for a short one then never waits for those.
    """

    def __init__(self, read_only: Sequence[Path] = (), slots: int | None = None, first_slot: int = 0) -> None:
        self.read_only = [path for path in dict.fromkeys(read_only) if not path.is_relative_to("/usr")]
        self.slots = range(first_slot, min(first_slot + (slots or os.cpu_count() or 1), MAX_SLOTS))

    def run(
        self,
        command: Sequence[str],
        *,
        tree: Path | None = None,
        files: Mapping[str, Path] | None = None,
        stdin: bytes = b"",
        limits: Limits = Limits(),  # noqa: B008, it is frozen
    ) -> Finished:
        """Run a program to its end. `tree` and `files` are as in `start`, `stdin` is small (64 KiB).

        Raises EnvError when the sandbox could not be made: that is never the program's doing.
        """
        started = time.monotonic()
        with self.start(command, tree=tree, files=files, limits=limits) as box:
            assert box.process.stdin and box.process.stdout
            with suppress(BrokenPipeError):  # a program need not read
                box.process.stdin.write(stdin)
                box.process.stdin.close()
            output, report = _read_both(box, limits.output_kb << 10)
            box.process.wait()
        if box.ended == "exit" and not report and output.startswith((b"bwrap: ", b"setpriv: ")):
            raise EnvError(f"bubblewrap could not make a sandbox: {output[:500].decode(errors='replace')}")
        return Finished(box.ended, box.process.returncode, output, report, time.monotonic() - started)

    @contextmanager
    def start(
        self,
        command: Sequence[str],
        *,
        tree: Path | None = None,
        files: Mapping[str, Path] | None = None,
        limits: Limits = Limits(),  # noqa: B008, it is frozen
    ) -> Iterator[Box]:
        """A program that runs until the block ends, then all its processes are killed.

        `tree` is copied to /testbed, where the program begins; each of `files` is seen at the path that it is given,
        read-only. The thread that starts it must outlive it: its end is the program's end.
        """
        with ExitStack() as stack:
            slot = stack.enter_context(sandbox_slot(self.slots))
            report, report_end = os.pipe()
            stack.callback(os.close, report)
            filter_file = stack.enter_context(tempfile.TemporaryFile())
            filter_file.write(filter_program())
            filter_file.seek(0)
            argv = self._arguments(slot, report_end, filter_file.fileno(), tree, files or {}, limits)
            try:
                process = subprocess.Popen(
                    [*argv, *command],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    pass_fds=(report_end, filter_file.fileno()),
                    start_new_session=True,
                )
            except FileNotFoundError as error:
                raise EnvError(
                    f"{error.filename} is not installed: apt-get install bubblewrap (and util-linux)"
                ) from error
            finally:
                os.close(report_end)
            box = Box(process, report)
            stack.callback(_close, box)
            guard = threading.Thread(target=_guard, args=(box, limits), name="sandbox guard", daemon=True)
            guard.start()
            stack.callback(guard.join)
            stack.callback(process.kill)
            yield box

    def _arguments(
        self, slot: int, report: int, seccomp: int, tree: Path | None, files: Mapping[str, Path], limits: Limits
    ) -> list[str]:
        root = os.geteuid() == 0
        size = ["--perms", "1777", "--size", str(limits.disk_mb << 20), "--tmpfs"]
        argv = ["bwrap", "--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"]
        argv += ["--die-with-parent", "--new-session", "--clearenv", "--hostname", "sandbox", "--cap-drop", "ALL"]
        # Root's own user id must really be dropped: the kernel's limit on processes does not bind it.
        argv += ["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"] if root else ["--unshare-user", "--uid", "1000"]
        argv += ["--ro-bind", "/usr", "/usr"]
        argv += [word for name in ("bin", "sbin", "lib", "lib64") for word in ("--symlink", f"usr/{name}", f"/{name}")]
        argv += ["--proc", "/proc", "--dev", "/dev", *size, "/dev/shm", "--remount-ro", "/dev"]
        argv += [*size, "/tmp", *size, "/testbed"]
        made = {Path("/"), Path("/tmp"), Path("/usr")}
        binds = [(Path(name), Path(name)) for name in HOST_FILES if Path(name).exists()]
        binds += [(path, path) for path in self.read_only]
        binds += [(path, Path(name)) for name, path in files.items()]
        if tree is not None:
            binds.append((tree, Path("/tree")))
        for source, target in binds:
            # bubblewrap makes what leads to a target for its owner alone.
            for parent in reversed(target.parents):
                if parent not in made:
                    argv += ["--perms", "0755", "--dir", str(parent)]
                    made.add(parent)
            argv += ["--ro-bind", str(source), str(target)]
        variables = {**ENVIRONMENT, "PATH": ":".join([*self._programs(), "/usr/bin", "/bin"])}
        for name, value in {**variables, "REPORT_FD": str(report)}.items():
            argv += ["--setenv", name, value]
        argv += ["--remount-ro", "/", "--chdir", "/testbed", "--seccomp", str(seccomp), "--"]
        if root:
            uid = FIRST_UID + slot
            argv += ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "--inh-caps=-all"]
            argv += ["--bounding-set=-all", "--no-new-privs", "--"]
        argv += ["prlimit", f"--nproc={limits.processes}", f"--as={limits.memory_mb << 20}", "--core=0"]
        argv += [f"--fsize={limits.file_mb << 20}", f"--cpu={limits.cpu_s}", "--nofile=512", "--"]
        if tree is not None:
            argv += ["/bin/sh", "-c", 'cp -r --no-preserve=ownership /tree/. . && exec "$@"', "sh"]
        return argv

    def _programs(self) -> list[str]:
        return [str(path / "bin") for path in self.read_only if (path / "bin").is_dir()]


@contextmanager
def sandbox_slot(slots: Sequence[int]) -> Iterator[int]:
    """Wait for one of this machine's slots. A socket in the abstract namespace is a lock without a file, and ends with
    the process that holds it."""
    with socket.socket(socket.AF_UNIX) as lock:
        while True:
            for slot in slots:
                try:
                    lock.bind(f"\0veritas-rl sandbox of {os.geteuid()}: {slot}")
                except OSError:
                    continue
                yield slot
                return
            time.sleep(0.02)


def _guard(box: Box, limits: Limits) -> None:
    deadline = time.monotonic() + limits.wall_s
    most = limits.memory_mb << 20
    while True:
        left = deadline - time.monotonic()
        if left <= 0:
            return box.end("timeout")
        try:
            box.process.wait(min(POLL_S, left))
            return None
        except subprocess.TimeoutExpired:
            if memory_in_use(box.process.pid) > most:
                return box.end("memory")


def _read_both(box: Box, most: int) -> tuple[bytes, bytes]:
    """Output and report until nobody can write to either; ends the box where one has more than `most` bytes."""
    assert box.process.stdout
    texts = {box.process.stdout.fileno(): bytearray(), box.report: bytearray()}
    with selectors.DefaultSelector() as selector:
        for descriptor in texts:
            selector.register(descriptor, selectors.EVENT_READ)
        while selector.get_map():
            for key, _ in selector.select():
                part = os.read(key.fd, 65536)
                text = texts[key.fd]
                if not part:
                    selector.unregister(key.fd)
                elif len(text) + len(part) > most:
                    text += part[: most - len(text)]
                    box.end("output")
                else:
                    text += part
    output, report = (bytes(text) for text in texts.values())
    return output, report


def _close(box: Box) -> None:
    """Wait until every process is gone: each of them held the pipes, or is killed with the namespace."""
    assert box.process.stdin and box.process.stdout
    box.process.kill()
    box.process.wait()
    box.process.stdout.close()
    with suppress(BrokenPipeError):  # what was still to be written has no reader any more
        box.process.stdin.close()
