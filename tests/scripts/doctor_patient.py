"""A copy of the repository with a stand-in environment: nothing is wrong with it until a test breaks something."""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from script_runner import ROOT, Checkout

from dataset_hub import Answering, LocalServer, serving
from stand_in_stack import StandInStack

DOCTOR = "train/scripts/doctor.sh"
OF_THE_MACHINE = frozenset(("memory", "shm", "disk", "open files"))
"""What is really scarce here says nothing of a test, unless it has made it so."""
H100 = "NVIDIA H100 80GB HBM3"
SMI = """#!/bin/sh
case "$*" in
    *--query-gpu=memory.total*) cut -d, -f4 "{folder}/cards" ;;
    *--query-gpu=*) cat "{folder}/cards" ;;
    *--query-compute-apps=*) cat "{folder}/programs" ;;
    *) echo "| NVIDIA-SMI {driver}    Driver Version: {driver}    CUDA Version: {cuda} |" ;;
esac
"""


class Patient:
    def __init__(self, tmp: Path, kind: str = "cpu") -> None:
        self.repo = Checkout(tmp)
        for file in ROOT.glob("requirements*.txt"):
            shutil.copy(file, self.repo.root)
        self.tmp = tmp
        self.stack = StandInStack(tmp, ROOT, kind)
        self.env: dict[str, str | None] = {
            "VERITAS_PYTHON": str(self.stack.python),
            "HF_ENDPOINT": None,
            "HF_HUB_OFFLINE": "1",
            "AGENT_MODEL_REPO_ID": "org/model",
        }
        if kind == "gpu":
            self.cards(f"0, GPU-a, {H100}, 81559, 4, 580.65.06")

    def cards(self, *rows: str, programs: tuple[str, ...] = (), driver: str = "580.65.06", cuda: str = "13.0") -> None:
        """A stand-in nvidia-smi on PATH; rows are index, uuid, name, total, used, driver."""
        self.env["CUDA_VISIBLE_DEVICES"] = None
        for name, lines in (("cards", rows), ("programs", programs)):
            (self.repo.bin / name).write_text("".join(f"{line}\n" for line in lines))
        self.program("nvidia-smi", SMI.format(folder=self.repo.bin, driver=driver, cuda=cuda))

    def program(self, name: str, text: str) -> Path:
        path = self.repo.bin / name
        path.write_text(text)
        path.chmod(0o755)
        return path

    def run(self, *arguments: str, around: str = "", **env: str | None) -> tuple[int, str, str]:
        """Status, output and errors of doctor.sh; `around` is a command that it is given to."""
        script = shlex.quote(str(self.repo.root / DOCTOR))
        command = f"{around} bash {script} {shlex.join(arguments)}"
        done = self.repo.bash(command, cwd=self.repo.home, **{**self.env, **env})
        return done.returncode, done.stdout, done.stderr

    def findings(self, *arguments: str, also: str = "", around: str = "", **env: str | None) -> list[dict[str, str]]:
        """What is not ok, without what this machine lacks; `also` is the one check of the machine that counts."""
        status, output, errors = self.run("--json", *arguments, around=around, **env)
        assert status in (0, 1), errors
        answer = json.loads(output)
        assert answer["ok"] == (status == 0) == all(line["status"] != "fail" for line in answer["checks"])
        wrong = [line for line in answer["checks"] if line["status"] != "ok"]
        return [line for line in wrong if line["check"] not in OF_THE_MACHINE - {also}]


@contextmanager
def answering(status: int) -> Iterator[str]:
    """The URL of a hub that gives every request this answer."""

    class Handler(Answering):
        def do_GET(self) -> None:
            self.answer(status)

    server = LocalServer(Handler)
    with serving(server):
        yield server.url
