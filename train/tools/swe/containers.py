"""A script in a container of Docker that has no network and cannot outlive its time.

    docker = Docker()
    docker.check()                                   # "Docker 28.2.2", or SettingsError with the fix
    docker.need_image("swebench/sweb.eval.x86_64.psf_1776_requests-863:latest", pull=True)
    ran = docker.run(image, "cd /testbed && pytest -rA", stdin=b"", limits=Limits(wall_s=600))
    ran.ended, ran.output                            # "exit", b"…"

The container has no capabilities, no network, and none of the host's files. It ends with its time even where this
process is killed: `timeout` is its first process, and Docker removes it when that ends. What is left over where even
that did not happen has a label that says until when it may be there, and goes when the next judge starts.
"""

from __future__ import annotations

import logging
import re
import select
import shutil
import subprocess
import tempfile
import threading
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, Literal

from env_adapter import EnvError, SettingsError
from sandbox.limits import Limits

logger = logging.getLogger("swe-synth")

LABEL = "veritas-swe.until"
BEGIN_S = 300
"""How long Docker may take to start a container."""
DISK_POLL_S = 5.0
"""Between two looks at how much a container has written: Docker counts it file by file."""
READ = 1 << 16


@dataclass(frozen=True)
class Ran:
    ended: Literal["exit", "timeout", "disk", "output"]
    """"exit": by itself, or for want of memory; otherwise by which limit it was ended."""
    returncode: int
    output: bytes
    """stdout and stderr, in order."""
    seconds: float


class Docker:
    """The engine that the command `docker` talks to: $DOCKER_HOST, or the one of this machine."""

    def __init__(self, program: str = "docker") -> None:
        self.program = program
        self._images: dict[str, threading.Lock] = {}
        self._lock = threading.Lock()

    def check(self) -> str:
        """The engine's version. Raises SettingsError, with the cause and the fix, where none answers."""
        if shutil.which(self.program) is None:
            raise SettingsError(f"{self.program} is not installed: https://docs.docker.com/engine/install")
        try:
            done = self._call("version", "--format", "{{.Server.Version}}", timeout=30)
        except EnvError as error:
            raise SettingsError(f"{error}: restart Docker") from error
        if done.returncode or not done.stdout.strip():
            said = _said(done)
            fix = (
                "add yourself to the group docker (sudo usermod -aG docker $USER) and log in again"
                if "permission denied" in said.lower()
                else "start Docker (sudo systemctl start docker), or set DOCKER_HOST to an engine"
            )
            raise SettingsError(f"{said}: {fix}")
        return f"Docker {done.stdout.decode().strip()}"

    def need_image(self, image: str, pull: bool) -> None:
        """Make sure that the image is here. Raises EnvError where it is not and cannot, or must not, be fetched."""
        with self._lock:
            lock = self._images.setdefault(image, threading.Lock())
        with lock:
            if self._call("image", "inspect", "--format", "{{.Id}}", image, timeout=60).returncode == 0:
                return
            if not pull:
                raise EnvError(
                    f"image {image} is not here, and use_cache_only allows no download: run `docker pull {image}`"
                )
            logger.warning("fetching the image %s, once", image)
            begin = time.monotonic()
            done = self._call("pull", "--quiet", image, timeout=None)
            if done.returncode:
                raise EnvError(
                    f"image {image} cannot be fetched: {_said(done)}. Is the name right, is there room for it (docker "
                    f"system df), and does `docker pull {image}` work? Tasks without an image must be left out"
                )
            logger.warning("fetched the image %s in %.0f s", image, time.monotonic() - begin)

    def sweep(self) -> int:
        """Remove containers of judges that were killed, once their time is over; returns how many."""
        listed = self._call(
            "ps", "--all", "--filter", f"label={LABEL}", "--format", f'{{{{.ID}}}} {{{{.Label "{LABEL}"}}}}', timeout=60
        )
        if listed.returncode:
            raise EnvError(f"docker ps: {_said(listed)}")
        entries = [line.split() for line in listed.stdout.decode().splitlines()]
        over = [entry[0] for entry in entries if len(entry) == 2 and entry[1].isdigit() and int(entry[1]) < time.time()]
        for container in over:
            self.remove(container)
        return len(over)

    def run(self, image: str, script: str, stdin: bytes, limits: Limits) -> Ran:
        """Run a script of bash in /testbed of a fresh container, as its root, and remove it.

        It has `stdin` to read. Raises EnvError where the container did not start.
        """
        name, begun = f"veritas-swe-{uuid.uuid4().hex}", f"begun {uuid.uuid4().hex}"
        command = [self.program, *_arguments(name, image, limits), f"echo '{begun}'; {script}"]
        with tempfile.TemporaryFile() as source, tempfile.TemporaryFile() as complaints:
            source.write(stdin)
            source.seek(0)
            try:
                process = subprocess.Popen(command, stdin=source, stdout=subprocess.PIPE, stderr=complaints)
            except OSError as error:
                raise EnvError(f"{self.program} cannot be run: {error.strerror}") from error
            try:
                ended, output, seconds = self._watch(process, name, begun.encode() + b"\n", limits)
            finally:
                self.remove(name)
                process.kill()
                process.communicate()
            if not output.startswith(begun.encode()):
                complaints.seek(0)
                said = " ".join(complaints.read(4000).decode(errors="replace").split())
                raise EnvError(f"a container of {image} did not start (exit {process.returncode}): {said}")
        return Ran(ended, process.returncode, output.partition(b"\n")[2], seconds)

    def _watch(
        self, process: subprocess.Popen[bytes], name: str, begun: bytes, limits: Limits
    ) -> tuple[Literal["exit", "timeout", "disk", "output"], bytes, float]:
        """Read what it prints until it ends, or a limit is passed. Time counts from its first line."""
        assert process.stdout is not None
        stream: IO[bytes] = process.stdout
        output, start, started = bytearray(), time.monotonic(), False
        looked = start
        while True:
            now = time.monotonic()
            if now - start > (limits.wall_s if started else BEGIN_S):
                return "timeout", bytes(output), now - start
            ready, _, _ = select.select([stream], [], [], 0.2)
            if ready:
                more = stream.read1(READ)  # type: ignore[attr-defined]
                if not more:
                    with suppress(subprocess.TimeoutExpired):
                        process.wait(timeout=30)
                    return "exit", bytes(output), time.monotonic() - start
                output += more
                if len(output) > limits.output_kb << 10:
                    return "output", bytes(output), time.monotonic() - start
                if not started and output.startswith(begun):
                    started, start = True, time.monotonic()
            if started and time.monotonic() - looked > DISK_POLL_S:
                if self._written(name) > limits.disk_mb << 20:
                    return "disk", bytes(output), time.monotonic() - start
                looked = time.monotonic()

    def _written(self, name: str) -> int:
        """Bytes; 0 where the container has just ended."""
        done = self._call("container", "inspect", "--size", "--format", "{{.SizeRw}}", name, timeout=60)
        text = done.stdout.decode().strip()
        return int(text) if done.returncode == 0 and text.isdigit() else 0

    def remove(self, name: str) -> None:
        """Kill and delete a container; one that is gone already is no fault. Raises EnvError where it stays."""
        done = self._call("rm", "--force", "--volumes", name, timeout=120)
        if done.returncode and not re.search("no such container|already in progress", _said(done), re.IGNORECASE):
            raise EnvError(f"the container {name} cannot be removed: {_said(done)}")

    def _call(self, *arguments: str, timeout: float | None) -> subprocess.CompletedProcess[bytes]:
        try:
            return subprocess.run(
                [self.program, *arguments], stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout
            )
        except subprocess.TimeoutExpired as error:
            raise EnvError(f"`docker {arguments[0]}` took longer than {timeout} s") from error
        except OSError as error:
            raise EnvError(f"{self.program} cannot be run: {error.strerror}") from error


def _arguments(name: str, image: str, limits: Limits) -> list[str]:
    longest = int(limits.wall_s) + 30
    return [
        *("run", "--rm", "--interactive", "--name", name, "--pull", "never", "--log-driver", "none"),
        *("--label", f"{LABEL}={int(time.time()) + longest + BEGIN_S}"),
        *("--network", "none", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"),
        *("--pids-limit", str(limits.processes), "--cpus", "1"),
        *("--memory", f"{limits.memory_mb}m", "--memory-swap", f"{limits.memory_mb}m"),
        *("--shm-size", f"{limits.disk_mb}m", "--ulimit", f"fsize={limits.file_mb << 20}"),
        *("--ulimit", f"cpu={limits.cpu_s}", "--ulimit", "core=0"),
        *("--user", "root", "--workdir", "/testbed", "--entrypoint", "timeout"),
        *(image, "-s", "KILL", str(longest), "/bin/bash", "-c"),
    ]


def _said(done: subprocess.CompletedProcess[bytes]) -> str:
    text = " ".join((done.stderr or done.stdout).decode(errors="replace").split())
    return text[-400:] or f"it ended with {done.returncode}"
