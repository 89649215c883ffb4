"""A command's output on its way to the screen, and a copy for the log: whole lines without progress bars and secrets.

    copy = LogCopy(Path("run.log"))
    relay = Relay(sys.stdout.fileno(), copy)
    process = subprocess.Popen(command, stdout=relay.writer)
    relay.start()
    …
    relay.finish()                                # after the command has ended

Where the screen is a terminal the command writes to one too (a pseudo-terminal), so it keeps its colours and its bars.
"""

from __future__ import annotations

import fcntl
import os
import re
import select
import sys
import termios
import threading
import time
import tty
from collections import deque
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))

from ledger.masking import is_secret, mask

ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
KEPT_LINES = 20_000
QUIET_S = 0.5
"""A daemon may hold the pipe for ever: after the command's end we wait so long for more."""


class LogCopy:
    """Appends to a file, and keeps the last lines. Threads may call it at once; a full disk ends the file alone."""

    def __init__(self, path: Path) -> None:
        self.lines: deque[str] = deque(maxlen=KEPT_LINES)
        self.failed = 0.0
        """When Hydra, which starts verl, said that it failed; by the monotonic clock."""
        self._secrets = {name: value for name, value in os.environ.items() if is_secret(name)}
        self._lock = threading.Lock()
        self._file = path.open("a", encoding="utf-8")

    def add(self, text: str) -> None:
        """One line, as it came."""
        text = mask(ANSI.sub("", text.rstrip("\r\n").rpartition("\r")[2]), self._secrets)
        if text.startswith("Error executing job with overrides"):
            self.failed = self.failed or time.monotonic()
        with self._lock:
            self.lines.append(text)
            if self._file is None:
                return
            try:
                self._file.write(text + "\n")
                self._file.flush()
            except OSError as error:
                self._file = None
                print(f"warning: the log ends here: {error.strerror}", file=sys.stderr)


class Relay(threading.Thread):
    """One stream: bytes go to the screen as they come, lines to the copy."""

    def __init__(self, screen: int, copy: LogCopy) -> None:
        super().__init__(daemon=True)
        self._screen: int | None = screen
        self._copy = copy
        self._ended = threading.Event()
        if os.isatty(screen):
            self._reader, self.writer = os.openpty()
            tty.setraw(self.writer)  # or the terminal and this one would each make \r\n of \n
            size = fcntl.ioctl(screen, termios.TIOCGWINSZ, b"\0" * 8)
            fcntl.ioctl(self.writer, termios.TIOCSWINSZ, size)
        else:
            self._reader, self.writer = os.pipe()
        self.last_output = 0
        """Bytes so far: a change is a sign of life."""

    def run(self) -> None:
        rest = b""
        while True:
            if not select.select([self._reader], [], [], QUIET_S)[0]:
                if self._ended.is_set():
                    break
                continue
            try:
                data = os.read(self._reader, 65536)
            except OSError:  # a pseudo-terminal that nobody has open any more
                break
            if not data:
                break
            self.last_output += len(data)
            self._show(data)
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                self._copy.add(line.decode(errors="replace"))
            if len(rest) > 1_000_000:  # a bar without end: what it shows last is enough
                rest = rest[-10_000:]
        if rest:
            self._copy.add(rest.decode(errors="replace"))

    def _show(self, data: bytes) -> None:
        while data and self._screen is not None:
            try:
                data = data[os.write(self._screen, data) :]
            except OSError:  # the terminal is gone, and the run goes on as under nohup
                self._screen = None

    def finish(self) -> None:
        """Returns when all that the command has written is out."""
        self._ended.set()
        self.join()
