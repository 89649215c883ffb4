"""What programs print, found by running them in the sandbox.

    true_outputs([Program("print(6 * 7)")], sandbox, python)    → ["42\\n"]

A program that fails, takes too long, prints too much, or does not print the same with another hash seed (sets,
addresses, clocks) has no true output: None.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

from env_adapter import EnvError
from sandbox.bubblewrap import Bubblewrap
from sandbox.limits import Limits
from traces.programs import Program

RUNNER = Path(__file__).with_name("runner.py")
BATCH = 100
SECONDS = 2
"""Of one program."""
MAX_BYTES = 20_000


def true_outputs(programs: Sequence[Program], sandbox: Bubblewrap, python: Path) -> list[str | None]:
    """One text for each program, or None. Raises EnvError where no sandbox can be made."""
    outputs: list[str | None] = []
    for start in range(0, len(programs), BATCH):
        outputs += _run(programs[start : start + BATCH], sandbox, python, hash_seed=0)
    running = [number for number, output in enumerate(outputs) if output is not None]
    for start in range(0, len(running), BATCH):
        batch = running[start : start + BATCH]
        again = _run([programs[number] for number in batch], sandbox, python, hash_seed=1)
        for number, output in zip(batch, again, strict=True):
            if output != outputs[number]:
                outputs[number] = None
    return outputs


def _run(programs: Sequence[Program], sandbox: Bubblewrap, python: Path, hash_seed: int) -> list[str | None]:
    """One after the other, in as few sandboxes as can be: a program that ends all of them has no output."""
    outputs: list[str | None] = []
    while len(outputs) < len(programs):
        left = programs[len(outputs) :]
        outputs += [*_run_until_killed(left, sandbox, python, hash_seed), None][: len(left)]
    return outputs


def _run_until_killed(
    programs: Sequence[Program], sandbox: Bubblewrap, python: Path, hash_seed: int
) -> list[str | None]:
    job = {"programs": [vars(program) for program in programs], "seconds": SECONDS, "bytes": MAX_BYTES}
    with tempfile.NamedTemporaryFile("w", prefix="veritas-trace-", suffix=".json") as file:
        json.dump(job, file)
        file.flush()
        Path(file.name).chmod(0o644)
        done = sandbox.run(
            ["/usr/bin/env", f"PYTHONHASHSEED={hash_seed}", str(python), "-s", "/runner.py"],
            files={"/runner.py": RUNNER, "/programs.json": Path(file.name)},
            limits=Limits(wall_s=10 + SECONDS * len(programs), output_kb=64_000, memory_mb=1024),
        )
    lines = [line for line in done.report.decode(errors="replace").split("\n") if line.endswith("}")]
    if not lines and done.output:
        raise EnvError(f"programs could not be run with {python}: {done.output[-500:].decode(errors='replace')}")
    reports = map(json.loads, lines)
    return [report["output"] if report["ended"] == "ok" else None for report in reports]
