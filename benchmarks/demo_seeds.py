"""The demo with several seeds: seconds, peak memory and the gain on held-out tasks.

    .venv/bin/python benchmarks/demo_seeds.py --seeds 1 2 3 --json benchmarks/results/demo.json

Each run is `train/scripts/demo.sh` from the warm start to the report; the set-up and the model are there already.
Memory is the proportional set size (PSS: shared pages counted once) of all the run's processes, sampled every 2 s.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "train" / "tools"))

from evaluation_results import compare, read_evaluation

ROOT = Path(__file__).resolve().parent.parent
PHASES = ("warm", "before", "train", "merge", "after", "report")


def memory_of(process: psutil.Process) -> int:
    """Bytes (PSS) of a process and of all that it started."""
    total = 0
    for one in (process, *process.children(recursive=True)):
        try:
            total += one.memory_full_info().pss
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue  # it ended meanwhile
    return total


def run(seed: int) -> dict[str, float]:
    started, peak = time.monotonic(), 0
    command = ["bash", str(ROOT / "train/scripts/demo.sh"), *PHASES]
    process = psutil.Popen(command, env={**os.environ, "DEMO_SEED": str(seed)})
    while process.poll() is None:
        try:
            peak = max(peak, memory_of(process))
        except psutil.NoSuchProcess:
            break
        time.sleep(2)
    if process.wait():
        raise SystemExit(f"seed {seed}: the demo failed with status {process.returncode}")
    directory = ROOT / f"train/artifacts/demo/seed-{seed}"
    before, after = (read_evaluation(directory / name) for name in ("before", "after"))
    gain = compare(before, after).gains["reward"]
    return {
        "seed": seed,
        "seconds": time.monotonic() - started,
        "peak_gib": peak / 2**30,
        "before": before.summary["reward"]["mean"],
        "after": after.summary["reward"]["mean"],
        "gain": gain.mean,
        "low": gain.low,
        "high": gain.high,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    rows = [run(seed) for seed in args.seeds]
    print(f"{'seed':>4} {'minutes':>8} {'peak GiB':>9} {'before':>7} {'after':>7} {'gain':>7}  95 % interval")
    for row in rows:
        print(
            f"{row['seed']:>4} {row['seconds'] / 60:>8.1f} {row['peak_gib']:>9.1f} {row['before']:>7.3f} "
            f"{row['after']:>7.3f} {row['gain']:>+7.3f}  {row['low']:+.3f} to {row['high']:+.3f}"
        )
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
