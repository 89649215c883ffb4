"""What our own code costs of a GRPO step: making the rows of a batch and scoring its answers, against the step's time.

    .venv/bin/python benchmarks/step_share.py --metrics train/artifacts/RL/checkpoints/demo-seed-1/metrics.jsonl
    case                 row µs   score ms   batch s   step s   share
    tic_tac_toe             …

Rows and scores are timed one after the other on one core, as one dataset worker and one reward worker would.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "train" / "tools"))

from env_adapter import Challenge, get_env_adapter

CASES = ("tic_tac_toe", "hex(board_size=5)", "connect_four")


def seconds_per_row(case: str, tasks: int) -> float:
    """Generating a task and writing it as JSON, as dataset-manager.py does."""
    adapter = get_env_adapter("openspiel", {"cases": case, "num_tasks_per_case": tasks})
    started = time.perf_counter()
    for task_id in range(tasks):
        adapter.generate(task_id).to_json()
    return (time.perf_counter() - started) / tasks


def seconds_per_score(case: str, tasks: int) -> float:
    """Reading a task from JSON and scoring a legal answer to it, as reward-manager.py does; nothing is cached."""
    adapter = get_env_adapter("openspiel", {"cases": case, "num_tasks_per_case": tasks})
    challenges = [adapter.generate(task_id) for task_id in range(tasks)]
    rows = [(challenge.to_json(), adapter.random_answer(challenge, 0)) for challenge in challenges]
    started = time.perf_counter()
    for text, answer in rows:
        adapter.evaluate(answer, Challenge.from_json(text))
    return (time.perf_counter() - started) / tasks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--metrics", type=Path, help="a run's metrics.jsonl, for the seconds of its steps")
    parser.add_argument("--prompts", type=int, default=8, help="per step (default: the demo's %(default)s)")
    parser.add_argument("--answers", type=int, default=4, help="per prompt (default: the demo's %(default)s)")
    parser.add_argument("--tasks", type=int, default=200)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    step = None
    if args.metrics:
        entries = [json.loads(line)["data"] for line in args.metrics.read_text().splitlines()]
        step = statistics.median(entry["timing_s/step"] for entry in entries)
    table = []
    print(f"{'case':<20} {'row µs':>8} {'score ms':>9} {'batch s':>8} {'step s':>7} {'share':>7}")
    for case in CASES:
        row, score = seconds_per_row(case, args.tasks), seconds_per_score(case, args.tasks)
        batch = args.prompts * (row + args.answers * score)
        share = batch / step if step else None
        table.append({"case": case, "row_s": row, "score_s": score, "batch_s": batch, "step_s": step, "share": share})
        shown = f"{step:7.1f} {share:7.2%}" if step else "      –       –"
        print(f"{case:<20} {row * 1e6:8.0f} {score * 1e3:9.2f} {batch:8.3f} {shown}")
    if args.json:
        args.json.write_text(json.dumps(table, indent=2) + "\n")


if __name__ == "__main__":
    main()
