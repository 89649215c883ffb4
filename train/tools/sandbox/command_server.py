"""Runs inside a sandbox: shell commands, one after the other, each to its end before the next one begins.

    python -I command_server.py        the commands come on stdin, one JSON object a line; `command_box.py` sends them

    {"command": "ls", "seconds": 60, "most": 2097152, "variables": {"PAGER": "cat"}}
    {"output": "setup.py\\n", "returncode": 0, "ended": "exit"}     to the pipe $REPORT_FD, after {"ready": 1}

"ended" is "exit", or the limit by which the command was ended: "timeout", "output" (more than `most` bytes). At the end
of a command every process that it started is dead, in whatever session or group it was. The interpreter is the task's:
nothing of this project is imported.
"""

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import time

PIECE = 65536
POLL_S = 0.05


def main():
    # The first child of the sandbox's own process 1. Anywhere else, `kill_others` would end what is not ours.
    if (os.getpid(), os.getppid()) != (2, 1):
        sys.exit("command_server.py runs in a sandbox only")
    descriptor = int(os.environ.pop("REPORT_FD"))
    os.set_inheritable(descriptor, False)
    with os.fdopen(descriptor, "wb") as report:

        def tell(what):
            report.write(json.dumps(what).encode() + b"\n")
            report.flush()

        tell({"ready": 1})
        for line in sys.stdin.buffer:
            tell(run(**json.loads(line)))


def run(command, seconds, most, variables):
    try:
        process = subprocess.Popen(
            ["bash", "-c", command],
            cwd="/testbed",
            env={**os.environ, **variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:  # too long for an argument, a null byte, no process left
        return {"output": f"the command cannot be started: {error}\n", "returncode": 126, "ended": "exit"}
    output, ended = listen(process, time.monotonic() + seconds, most)
    process.kill()
    process.wait()
    kill_others()
    with process.stdout:  # nobody writes to it any more: what is in the pipe is the rest
        while ended != "output" and (piece := os.read(process.stdout.fileno(), PIECE)):
            output += piece
            ended = ended if len(output) <= most else "output"
    text = output[:most].decode("utf-8", "replace")
    return {"output": text, "returncode": process.returncode, "ended": ended}


def listen(process, deadline, most):
    """What the command prints, until it ends by itself or is to be ended."""
    output, open_ = bytearray(), True
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while process.poll() is None:
            if time.monotonic() >= deadline:
                return output, "timeout"
            if not open_:
                time.sleep(POLL_S)
            elif selector.select(POLL_S):
                piece = os.read(process.stdout.fileno(), PIECE)
                open_ = bool(piece)
                if not open_:
                    selector.unregister(process.stdout)
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        process.wait(POLL_S)
                output += piece
                if len(output) > most:
                    return output, "output"
    return output, "exit"


def kill_others():
    """Kill every process here but this one and process 1, and wait until they are gone."""
    give_up = time.monotonic() + 5
    while time.monotonic() < give_up:
        try:
            os.kill(-1, signal.SIGKILL)
        except ProcessLookupError:
            return
        time.sleep(0.002)
    sys.exit("some processes cannot be killed")


if __name__ == "__main__":
    main()
