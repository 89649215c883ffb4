"""Runs a command and leaves nothing behind: when it ends, or when we are told to, all that it started ends too.

    python3 train/scripts/lib/supervise.py python -m verl.trainer.main_ppo …

SIGINT, SIGTERM and SIGHUP are passed on to the command's process group, which has the grace period (SUPERVISE_GRACE_S
seconds, 20) to finish; a second signal cuts it short. Then every descendant is killed. Linux makes this process the
parent of each orphan below it (a "child subreaper"), so daemons that Ray or vLLM put into sessions of their own are
found, and nobody else's. It also ends when the script that started it is killed with SIGKILL.

Exits with the command's status, 128 + n when it or the run was ended by signal n (Ctrl-C: 130).
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36  # linux/prctl.h
LIBC = ctypes.CDLL(None, use_errno=True)
ENDING = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
GRACE_S = float(os.environ.get("SUPERVISE_GRACE_S", "20"))
KILL_S = 30.0
"""How long to wait for killed processes; one in uninterruptible sleep (a dead network disk) would hang us for ever."""


def main(command: list[str]) -> int:
    parent = os.getppid()
    _prctl(PR_SET_CHILD_SUBREAPER, 1)
    _prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    # `nohup script &` ignores SIGHUP, and so must everything below. SIGINT is ignored only by `&`.
    ending = {number for number in ENDING if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN}
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_BLOCK, ending | {signal.SIGCHLD})
    if os.getppid() != parent:
        return 128 + signal.SIGTERM  # the script died before we asked to be told

    try:
        # A session of its own: the terminal's Ctrl-C reaches the command through us, once.
        child = subprocess.Popen(command, start_new_session=True, preexec_fn=_prepare_child)
    except OSError as error:
        print(f"error: cannot start {command[0]}: {error.strerror}", file=sys.stderr)
        return 127
    told = _wait_for(child, ending)
    if told is not None:
        _signal_group(child.pid, told)
        _wait_until_gone(GRACE_S, ending)
    elif descendants():
        _signal_group(child.pid, signal.SIGTERM)
        _wait_until_gone(min(GRACE_S, 5.0), ending)
    left = _kill_all()
    if left:
        print(f"error: these processes cannot be killed: {sorted(left)}", file=sys.stderr)
    if told is not None:
        return 128 + told
    status = child.wait()
    return status if status >= 0 else 128 - status


def descendants() -> set[int]:
    """Every living process below this one; zombies of ours are reaped on the way."""
    parents: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            after_name = stat.read_text(errors="replace").rpartition(")")[2].split()
        except OSError:
            continue  # ended meanwhile
        if after_name[0] not in ("Z", "X"):
            parents[int(stat.parent.name)] = int(after_name[1])
    found: set[int] = set()
    fresh = {os.getpid()}
    while fresh:
        fresh = {pid for pid, parent in parents.items() if parent in fresh} - found
        found |= fresh
    return found


def _prctl(option: int, value: int) -> None:
    if LIBC.prctl(option, int(value), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), f"prctl({option}) failed")


def _prepare_child() -> None:
    _prctl(PR_SET_PDEATHSIG, signal.SIGTERM)  # should this supervisor be killed, the command still hears of it
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING | {signal.SIGCHLD})


def _wait_for(child: subprocess.Popen[bytes], ending: set[signal.Signals]) -> int | None:
    """The signal that tells us to end, or None when the command ended by itself."""
    while child.poll() is None:
        info = signal.sigtimedwait(ending | {signal.SIGCHLD}, 1.0)
        if info is not None and info.si_signo in ending:
            return info.si_signo
        _reap_orphans(child)
    return None


def _reap_orphans(child: subprocess.Popen[bytes]) -> None:
    """Collect the zombies that were handed to us, and leave the command's own status to its Popen."""
    while child.poll() is None:
        zombie = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if zombie is None or zombie.si_pid == child.pid:
            return
        os.waitpid(zombie.si_pid, 0)


def _signal_group(group: int, number: int) -> None:
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return


def _wait_until_gone(seconds: float, ending: set[signal.Signals]) -> None:
    """Until no descendant lives, the time is over, or another signal says to hurry."""
    deadline = time.monotonic() + seconds
    while descendants() and time.monotonic() < deadline:
        info = signal.sigtimedwait(ending, 0.1)
        if info is not None:
            return


def _kill_all() -> set[int]:
    """Kill until nothing is left, since a process may fork while it is looked for; returns what does not die."""
    deadline = time.monotonic() + KILL_S
    while (left := descendants()) and time.monotonic() < deadline:
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(0.05)
    return left


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
