"""What a run survives: `kill -9` at random moments, and faults made on purpose.

    .venv/bin/python benchmarks/reliability.py --kills 20 --faults --json benchmarks/results/reliability.json
    .venv/bin/python benchmarks/reliability.py --kills 3 --kinds sft

The real scripts, verl, Ray and vLLM, on a CPU, with the tiny model of the tests. A kill comes at a moment drawn evenly
from the start of the script to some steps after its first checkpoint; half of them hit the trainer alone, the others
all processes of the run at once, as when a machine is lost. Then the same command is started again.
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent / "train" / "tools"))

import pyarrow
import pyarrow.parquet
import torch
from reliability_faults import FAULTS
from reliability_run import SAVE_FREQ, TinyRun

from embedded_model import build_model

LIMIT_S = 400.0
logging.getLogger("torch.distributed.device_mesh").setLevel(logging.ERROR)  # a checkpoint is read outside of a run


def is_readable(checkpoint: Path) -> bool:
    """Whether torch reads every tensor of it: not what the scripts ask, which look at names, sizes and ends."""
    files = list(checkpoint.rglob("*.pt"))
    try:
        for file in files:
            torch.load(file, map_location="cpu", weights_only=False)
    except (RuntimeError, OSError, EOFError) as error:
        print(f"{checkpoint}: {error}", file=sys.stderr)
        return False
    return bool(files)


def kill_and_resume(kind: str, kills: int, seed: int, model: Path, data: Path, minutes: float) -> list[dict[str, Any]]:
    """One run, killed so many times, or as often as fits into the minutes, and then let go on for a few steps: a row
    for every start after a kill.
    """
    draw = random.Random(f"{seed} {kind}")
    run = TinyRun(kind, f"reliability-{kind}-{seed}-{int(time.time())}", model, data)
    rows: list[dict[str, Any]] = []
    process = run.start()
    if not run.wait_for(lambda: run.latest() > 0, process, LIMIT_S):
        raise SystemExit(f"the first start saved nothing within {LIMIT_S:g} s:\n{run.text()[-3000:]}")
    begun = time.monotonic()
    to_first_save = begun - _started(process)
    for number in range(1, kills + 1):
        if number == 1:
            time.sleep(draw.uniform(0, to_first_save / 4))
        else:
            moment = draw.uniform(0, 1.4 * to_first_save)
            run.wait_for(lambda: False, process, moment)
        after_s = time.monotonic() - _started(process)
        died = process.poll() is not None
        whole = draw.random() < 0.5
        left = run.kill(process, whole)
        before, saved = run.logged(), run.latest()
        is_last = number == kills or time.monotonic() - begun > 60 * minutes
        process = run.start(*([f"trainer.total_training_steps={saved + 4}"] if is_last else []))
        run.wait_for(lambda: "resume   from" in run.text() or "python" in run.text(), process, 60)
        run.wait_for(lambda: run.resumed_from() > 0, process, 20)
        resumed = run.resumed_from()
        rows.append(
            {
                "kind": kind,
                "kill": number,
                "after_s": round(after_s, 1),
                "what": "all processes" if whole else "the trainer",
                "ended_before": died,
                "left": left,
                "last_step": max(before, default=0),
                "saved": saved,
                "resumed": resumed,
                "repeated": max(0, max(before, default=0) - resumed),
                "readable": is_readable(run.directory / f"global_step_{resumed}"),
            }
        )
        print(json.dumps(rows[-1]), flush=True)
        if is_last:
            break
    status = run.wait(process, LIMIT_S)
    steps = run.logged()
    end = {
        "kind": kind,
        "kills": len(rows),
        "status": status,
        "steps": max(steps, default=0),
        "missing": sorted(set(range(1, max(steps, default=0) + 1)) - set(steps)),
        "most_repeated": max((row["repeated"] for row in rows), default=0),
        "save_freq": SAVE_FREQ[kind],
        "resumed_all": all(row["resumed"] == row["saved"] and row["readable"] for row in rows) and status == 0,
        "left": sum(row["left"] for row in rows),
        "wandb_ids": len(run.wandb_ids()),
        "seconds_to_first_save": round(to_first_save),
    }
    print(json.dumps(end), flush=True)
    return [*rows, end]


def _started(process: Any) -> float:
    """When it was started, on time.monotonic's clock."""
    ticks = int(Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[19])
    return ticks / 100.0 + time.monotonic() - float(Path("/proc/uptime").read_text().split()[0])


def write_data(folder: Path) -> None:
    rows = [{"prompt": f"Count to {n}", "response": " ".join(map(str, range(1, n + 1)))} for n in range(1, 49)]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), folder / "count.parquet")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=0, help="of each kind")
    parser.add_argument("--minutes", type=float, default=600, help="fewer kills of a kind when they take longer")
    parser.add_argument("--kinds", nargs="+", default=["sft", "grpo"], choices=["sft", "grpo"])
    parser.add_argument("--faults", nargs="*", metavar="NAME", help=f"all, or some of: {', '.join(FAULTS)}")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, help="what an earlier call measured stays, but for what is measured anew")
    args = parser.parse_args()
    results: dict[str, Any] = {"kills": {}, "faults": {}}
    if args.json and args.json.exists():
        results = json.loads(args.json.read_text())
    with tempfile.TemporaryDirectory(prefix="rel-") as folder:  # the path of a socket has at most 107 bytes
        data = Path(folder)
        write_data(data)
        model = data / "tiny"
        build_model("tiny", model)
        wanted = [] if args.faults is None else args.faults or list(FAULTS)
        jobs = [(kind, None) for kind in args.kinds if args.kills] + [(None, name) for name in wanted]
        for kind, fault in jobs:
            if kind:
                results["kills"][kind] = kill_and_resume(kind, args.kills, args.seed, model, data, args.minutes)
            else:
                results["faults"][fault] = FAULTS[fault](model, data)
                print(json.dumps(results["faults"][fault]), flush=True)
            if args.json:
                args.json.parent.mkdir(parents=True, exist_ok=True)
                args.json.write_text(json.dumps(results, indent=2) + "\n")
    print_tables(results)
    return 0


def print_tables(results: dict[str, Any]) -> None:
    print("kind   kills  resumed  most steps repeated  save_freq  processes left  steps  missing  W&B runs")
    for kind, (*rows, end) in results["kills"].items():
        good = sum(row["resumed"] == row["saved"] and row["readable"] for row in rows)
        print(
            f"{kind:<5} {len(rows):>6} {good:>8} {end['most_repeated']:>20} {end['save_freq']:>10} {end['left']:>15} "
            f"{end['steps']:>6} {len(end['missing']):>8} {end['wandb_ids']:>9}"
        )
    print(f"\n{'fault':<28} {'ends with':>9} {'s':>6}  last on the screen, or what happened")
    for name, row in results["faults"].items():
        print(f"{name:<28} {row['status']!s:>9} {row['seconds']:>6.0f}  {row['said']}")


if __name__ == "__main__":
    sys.exit(main())
