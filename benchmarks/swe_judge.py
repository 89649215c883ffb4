"""What it costs to judge a patch, and whether right and wrong ones are told apart, on tasks that were made here.

    python benchmarks/swe_judge.py tasks/toolz tasks/inflection [--python PY] [--workers 1 2] [--json FILE]

Each directory is an output of data_processing/synthesize_swe_tasks.py. For every task the accepted patch, no patch, and
one that only adds a comment are judged, one at a time: `right` and `wrong` are seconds for the first and the last (the
median and the slowest), after the task's own solution has been run once (`first`). `guarded` is the share of required
tests that have a wrong form. Then all patches that add a comment are judged by several threads: `patches/min`.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import fmean, median
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "train" / "tools"))

from env_adapter import get_env_adapter
from swe.evaluator import Evaluator
from swe.rows import SweRow


def timed(judge: Evaluator, row: SweRow, patch: str) -> tuple[bool, float]:
    started = time.perf_counter()
    return judge.evaluate(row, patch).resolved, time.perf_counter() - started


def measure(directory: Path, python: Path, workers: list[int]) -> dict[str, Any]:
    """One row of the table. Raises EnvError where a task cannot be judged here."""
    settings = {"cache_dir": str(directory), "use_cache_only": True, "backend": "bwrap", "python": str(python)}
    adapter = get_env_adapter("swe-synth", settings)
    challenges = [adapter.generate(task_id) for task_id in range(adapter.num_tasks())]
    rows = [SweRow.from_dict(challenge.extra["row"], "row") for challenge in challenges]
    comments = [adapter.random_answer(challenge, 0) or "" for challenge in challenges]
    noops = [text.removeprefix("```diff\n").removesuffix("```") for text in comments]
    judge = adapter.judge()
    first, guarded, right, wrong, empty = [], [], [], [], []
    for row, noop in zip(rows, noops, strict=True):
        started = time.perf_counter()
        accepted = judge.accepted(row)
        first.append(time.perf_counter() - started)
        required = {*row.fail_to_pass, *row.pass_to_pass}
        guarded.append(len(required & accepted.guards.keys()) / len(required))
        right.append(timed(judge, row, row.patch))
        wrong.append(timed(judge, row, noop))
        empty.append(judge.evaluate(row, "").resolved)
    rates = {}
    for count in workers:
        started = time.perf_counter()
        with ThreadPoolExecutor(count) as threads:
            list(threads.map(judge.evaluate, rows, noops))
        rates[str(count)] = 60 * len(rows) / (time.perf_counter() - started)
    return {
        "tasks": directory.name,
        "number": len(rows),
        "right_rewarded": sum(resolved for resolved, _ in right),
        "wrong_rewarded": sum(resolved for resolved, _ in wrong) + sum(empty),
        "guarded": fmean(guarded),
        "first_s": median(first),
        "right_s": median(seconds for _, seconds in right),
        "right_max_s": max(seconds for _, seconds in right),
        "wrong_s": median(seconds for _, seconds in wrong),
        "wrong_max_s": max(seconds for _, seconds in wrong),
        "per_minute": rates,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directories", nargs="+", type=Path)
    parser.add_argument("--python", type=Path, default=Path(sys.executable), help="with pytest and what packages need")
    parser.add_argument("--workers", nargs="+", type=int, default=[1, 2], help="threads that judge at the same time")
    parser.add_argument("--json", type=Path, help="also write the rows to this file")
    args = parser.parse_args()
    print(
        f"{'tasks':<20} {'number':>6} {'right=1':>8} {'wrong=1':>8} {'guarded':>8} {'first':>6} "
        f"{'right (max)':>13} {'wrong (max)':>13}  patches/min with {args.workers} threads"
    )
    rows = []
    for directory in args.directories:
        row = measure(directory, args.python, args.workers)
        rows.append(row)
        print(
            f"{row['tasks']:<20} {row['number']:>6} {row['right_rewarded']:>8} {row['wrong_rewarded']:>8} "
            f"{row['guarded']:>8.2f} {row['first_s']:>6.2f} {row['right_s']:>6.2f} ({row['right_max_s']:.2f}) "
            f"{row['wrong_s']:>6.2f} ({row['wrong_max_s']:.2f})  "
            + " ".join(f"{rate:.0f}" for rate in row["per_minute"].values()),
            flush=True,
        )
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
