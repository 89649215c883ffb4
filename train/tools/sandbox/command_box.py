"""A sandbox that stays while shell commands run in it, one after the other.

    with command_box(Bubblewrap(), Path("/usr/bin/python3"), tree=folder, limits=Limits(wall_s=1800)) as commands:
        commands.run("echo 1 > new; ls", seconds=60)   # Command(output="new\\nsetup.py\\n", returncode=0, ended="exit")

What a command writes is there for the next one; no process outlives its command. A command can do everything to the
sandbox that its user can, also kill the program that runs the commands: then `run` raises SandboxLost, at the latest
ten seconds after the command's time.
"""

from __future__ import annotations

import json
import os
import selectors
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from env_adapter import EnvError
from sandbox.bubblewrap import Box, Bubblewrap
from sandbox.limits import Limits

SERVER = Path(__file__).with_name("command_server.py")
INSIDE = "/opt/command_server.py"
START_S, GRACE_S = 120, 10


class SandboxLost(Exception):
    """The sandbox is gone, by what was run in it: it was killed, or had reached a limit of the whole sandbox."""


@dataclass(frozen=True)
class Command:
    output: str
    """What it printed, stdout and stderr in one, up to the limit."""
    returncode: int
    """Negative where a signal ended it."""
    ended: str
    """"exit"; otherwise by which limit it was ended: "timeout" or "output"."""


class CommandBox:
    """Made by `command_box`. Not safe for use by several threads at once, but for `end`."""

    def __init__(self, box: Box, limits: Limits, variables: Mapping[str, str]) -> None:
        self._box, self._variables = box, dict(variables)
        self._most = limits.output_kb << 10
        self._heard = bytearray()
        assert box.process.stdin
        os.set_blocking(box.process.stdin.fileno(), False)

    def run(self, command: str, seconds: float) -> Command:
        """Raises SandboxLost."""
        request = {"command": command, "seconds": seconds, "most": self._most, "variables": self._variables}
        deadline = time.monotonic() + seconds + GRACE_S
        self._send(json.dumps(request).encode() + b"\n", deadline)
        answer = self._hear(deadline)
        try:
            return Command(str(answer["output"]), int(answer["returncode"]), str(answer["ended"]))
        except (KeyError, TypeError, ValueError) as error:
            raise SandboxLost("its answer is not of the program that runs the commands") from error

    def wait_until_ready(self) -> None:
        """Raises EnvError where the sandbox did not start: nothing has been run in it yet."""
        try:
            self._hear(time.monotonic() + START_S)
        except SandboxLost as error:
            self.end()
            assert self._box.process.stdout
            said = self._box.process.stdout.read(2000).decode(errors="replace").strip()
            raise EnvError(f"a sandbox for commands did not start ({error}): {said}") from error

    def end(self) -> None:
        """Kill it. May be called from any thread, and again."""
        self._box.process.kill()

    def _send(self, data: bytes, deadline: float) -> None:
        assert self._box.process.stdin
        descriptor = self._box.process.stdin.fileno()
        with selectors.DefaultSelector() as selector:
            selector.register(descriptor, selectors.EVENT_WRITE)
            while data:
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    raise SandboxLost("it does not listen")
                try:
                    data = data[os.write(descriptor, data) :]
                except BrokenPipeError as error:
                    raise SandboxLost(self._cause()) from error

    def _hear(self, deadline: float) -> Any:
        with selectors.DefaultSelector() as selector:
            selector.register(self._box.report, selectors.EVENT_READ)
            while b"\n" not in self._heard:
                if len(self._heard) > 6 * self._most + 4096:  # a character is at most six in JSON
                    raise SandboxLost("it says more than it may")
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    raise SandboxLost("it does not answer")
                piece = os.read(self._box.report, 1 << 20)
                if not piece:
                    raise SandboxLost(self._cause())
                self._heard += piece
        line, _, self._heard = self._heard.partition(b"\n")
        try:
            return json.loads(line)
        except (ValueError, RecursionError) as error:
            raise SandboxLost("its answer is not JSON") from error

    def _cause(self) -> str:
        return "it was ended from inside" if self._box.ended == "exit" else f"its limit was reached: {self._box.ended}"


@contextmanager
def command_box(
    sandbox: Bubblewrap, python: Path, tree: Path, limits: Limits, variables: Mapping[str, str] | None = None
) -> Iterator[CommandBox]:
    """A sandbox with a copy of `tree` at /testbed, where commands run; `variables` are set for them.

    `limits.wall_s` is for the whole sandbox. `python` must be there inside. Raises EnvError where it does not start.
    The thread that enters must outlive the block.
    """
    with sandbox.start([str(python), "-I", INSIDE], tree=tree, files={INSIDE: SERVER}, limits=limits) as box:
        commands = CommandBox(box, limits, variables or {})
        commands.wait_until_ready()
        yield commands
