"""Runs a training command: its output goes to a log too, a standstill ends it, and why it failed comes last.

    python3 -S train/scripts/lib/watch_run.py train/artifacts/RL/checkpoints/my-run python -m verl.trainer.main_ppo …

In the run's directory: run.log (all output, no secrets), phase.json (run_phase.py), exit_reason.txt (one line), and,
when it was ended here, stalls/ with the stacks of all its processes.

It is ended when it gives no sign of life for STALL_LIMIT_S seconds (1800; 0: never), or has waited LOST_LIMIT_S (120)
for a worker that has died; the status is then 124. A trainer that does not end behind its own traceback is ended after
LOST_LIMIT_S too. Otherwise the status is the command's own, 128 + n for signal n. Signals are left to supervise.py,
which starts us and ends everything.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path
from types import FrameType

sys.path.insert(0, str(Path(__file__).parent))

from explain_failure import Failure, explain, oom_kills
from relay import LogCopy, Relay
from stall import Signs, Workers, write_stacks
from supervise import PR_SET_PDEATHSIG, descendants

STALL_LIMIT_S = float(os.environ.get("STALL_LIMIT_S") or "1800")
LOST_LIMIT_S = float(os.environ.get("LOST_LIMIT_S") or "120")
STALLED = 124
FAILED = "its traceback is out, and it does not end"
LOOK_S = 2.0
LAST_WORDS_S = 10.0
"""For a run that is ended here: what it has to say goes before our last line."""


class Watch:
    def __init__(self, directory: Path, node: str) -> None:
        self.directory, self.suffix = directory, f"-node-{node}" if node not in ("", "0") else ""
        self.reason = directory / f"exit_reason{self.suffix}.txt"
        self.reason.unlink(missing_ok=True)
        phase = directory / f"phase{self.suffix}.json"
        phase.unlink(missing_ok=True)
        shutil.rmtree(directory / ".stacks", ignore_errors=True)
        os.environ["VERITAS_PHASE_FILE"] = str(phase)
        self.log = directory / f"run{self.suffix}.log"
        self.copy = LogCopy(self.log)
        self.signs, self.workers = Signs(phase), Workers()
        self.told: signal.Signals | None = None
        self.started = time.monotonic()
        self.stacks: Path | None = None

    def run(self, command: list[str]) -> int:
        killed_before = oom_kills()
        self.copy.add(f"=== {datetime.now().astimezone().isoformat(timespec='seconds')} {' '.join(command[:4])} …")
        relays = [Relay(stream.fileno(), self.copy) for stream in (sys.stdout, sys.stderr)]
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self._hear)
        parent = os.getppid()
        # Should we be killed, the command hears of it; the supervisor does the same for us.
        libc = ctypes.CDLL(None)
        process = subprocess.Popen(
            command,
            stdout=relays[0].writer,
            stderr=relays[1].writer,
            preexec_fn=lambda: libc.prctl(PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0),
        )
        for relay in relays:
            os.close(relay.writer)
            relay.start()
        ended = ""
        while (status := self._wait(process)) is None:
            if self.told and os.getppid() != parent:
                process.terminate()  # the supervisor was killed, and the command has heard of nothing
            self.signs.look(sum(relay.last_output for relay in relays))
            self.workers.look(descendants())
            if not self.told and (ended := self._why_end()):
                self._dump()
                process.terminate()
                end = time.monotonic() + LAST_WORDS_S
                while self._wait(process) is None and time.monotonic() < end:
                    pass
                break
        for relay in relays:
            relay.finish()
        self.signs.look(0)
        shutil.rmtree(self.directory / ".stacks", ignore_errors=True)
        if self.told:
            return 128 + self.told if status is None else _shell_status(status)
        if ended and ended != FAILED:
            return self._tell(Failure(ended, [], ""), STALLED)
        if status == 0 and not ended:
            self._note("finished")
            return 0
        status = status or 1
        failure = explain(list(self.copy.lines), status, self.workers.lost, oom_kills() - killed_before)
        return self._tell(failure, _shell_status(status))

    def _hear(self, number: int, _: FrameType | None) -> None:
        if self.told is None:
            self.told = signal.Signals(number)
            self._note(f"ended by {self.told.name}")

    @staticmethod
    def _wait(process: subprocess.Popen[bytes]) -> int | None:
        try:
            return process.wait(LOOK_S)
        except subprocess.TimeoutExpired:
            return None

    def _why_end(self) -> str:
        if STALL_LIMIT_S and self.signs.quiet_s > STALL_LIMIT_S:
            return f"stalled {self.signs.where}: no sign of life for {self.signs.quiet_s:.0f} s (STALL_LIMIT_S)"
        if self.workers.lost and self.signs.quiet_s > LOST_LIMIT_S:
            return f"lost {self.workers.lost[0]}; {self.signs.quiet_s:.0f} s without a sign of life {self.signs.where}"
        if self.copy.failed and time.monotonic() - self.copy.failed > LOST_LIMIT_S:
            return FAILED
        return ""

    def _dump(self) -> None:
        self.stacks = self.directory / "stalls" / datetime.now().strftime("%Y%m%d-%H%M%S")
        write_stacks(self.stacks, descendants(), self.directory / ".stacks")

    def _note(self, reason: str) -> None:
        try:
            self.reason.write_text(reason + "\n")
        except OSError as error:
            print(f"warning: {self.reason} cannot be written: {error.strerror}", file=sys.stderr)

    def _tell(self, failure: Failure, status: int) -> int:
        """The last lines on the screen."""
        took = time.monotonic() - self.started
        lines = [
            f"error: {failure.cause}",
            f"phase  {self.signs.where.removeprefix('in ')}; status {status} after {took:.0f} s",
        ]
        lines += [f"at     {place}" for place in failure.places]
        if failure.fix:
            lines.append(f"fix    {failure.fix}")
        if self.stacks:
            lines.append(f"stacks {self.stacks}")
        lines.append(f"log    {self.log}")
        self._note(failure.cause if self.signs.where in failure.cause else f"{failure.cause}, {self.signs.where}")
        for line in lines:
            self.copy.add(line)
        print("\n".join(["", *lines]), file=sys.stderr, flush=True)
        return status


def _shell_status(status: int) -> int:
    return status if status >= 0 else 128 - status


def main(arguments: list[str]) -> int:
    directory = Path(arguments[0])
    directory.mkdir(parents=True, exist_ok=True)
    return Watch(directory, os.environ.get("NODE_RANK", "")).run(arguments[1:])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
