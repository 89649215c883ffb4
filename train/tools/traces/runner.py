"""Runs inside the sandbox: many programs, each in a process of its own, and what they print.

    python -s runner.py    reads /programs.json, [{"source": "print(1)", "stdin": ""}, …]
    → $REPORT_FD           {"index": 0, "ended": "ok", "output": "1\\n"}, a line for each program

"ended": ok, error (an exception, or a status that is not 0), timeout, or long (it prints more than is asked for).
"""

import json
import os
import resource
import select
import signal
import sys
import tempfile
import time
from pathlib import Path


def main():
    job = json.loads(Path("/programs.json").read_text(encoding="utf-8"))
    report = os.fdopen(int(os.environ["REPORT_FD"]), "w", encoding="utf-8")
    for index, program in enumerate(job["programs"]):
        ended, output = run(program, job["seconds"], job["bytes"])
        report.write(json.dumps({"index": index, "ended": ended, "output": output}) + "\n")
        report.flush()  # the next program may end all
    report.close()


def run(program, seconds, most):
    ours, theirs = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(ours)
        child(program, theirs, seconds)
    os.close(theirs)
    deadline, output, ended = time.monotonic() + seconds, b"", "ok"
    while True:
        left = deadline - time.monotonic()
        if left <= 0:
            ended = "timeout"
            break
        if not select.select([ours], [], [], left)[0]:
            continue
        part = os.read(ours, 65536)
        if not part:
            break
        output += part
        if len(output) > most:
            ended = "long"
            break
    os.close(ours)
    if ended != "ok":
        os.kill(pid, signal.SIGKILL)
    status = os.waitpid(pid, 0)[1]
    if ended == "ok" and status:
        ended = "error"
    return ended, output.decode("utf-8", "replace")


def child(program, theirs, seconds):
    """Never returns."""
    status = 1
    try:
        resource.setrlimit(resource.RLIMIT_CPU, (int(seconds) + 1, int(seconds) + 1))
        os.close(int(os.environ.pop("REPORT_FD")))
        os.chdir(tempfile.mkdtemp())
        stdin = os.open("stdin", os.O_RDWR | os.O_CREAT)
        os.write(stdin, program["stdin"].encode())
        os.lseek(stdin, 0, os.SEEK_SET)
        os.dup2(stdin, 0)
        os.dup2(theirs, 1)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        sys.stdin, sys.stdout = os.fdopen(0, encoding="utf-8"), os.fdopen(1, "w", encoding="utf-8")
        sys.argv = ["program.py"]
        scope = {"__name__": "__main__", "__builtins__": __builtins__}
        try:
            exec(compile(program["source"], "program.py", "exec"), scope)
            status = 0
        except SystemExit as error:
            status = 0 if error.code in (None, 0) else 1
        sys.stdout.flush()
    finally:
        os._exit(status)


if __name__ == "__main__":
    main()
