"""What OpenSpiel tasks cost on one core: making them, and valuing answers to them.

    python benchmarks/openspiel_tasks.py [--tasks 200] [--answers 60] [--cases hex,chess] [--json FILE]

Each line is one case. `tasks/s` includes finding the state, its prompt and the check that no other task has the same
prompt; the table starts empty. `ms` is what one `outcome` score of a legal answer costs, not counting the cache.
Times are processor time, so that other work on the machine counts little.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "train" / "tools"))

from games.cases import AVAILABLE_CASES, resolve_cases
from games.values import action_value
from openspiel_adapter import OpenSpielAdapter


def measure(name: str, tasks: int, answers: int) -> dict[str, str | float]:
    """One row of the table: rates in tasks per second, times in milliseconds."""
    adapter = OpenSpielAdapter({"cases": name, "num_tasks_per_case": tasks})
    start = time.process_time()
    challenges = [adapter.generate(task_id) for task_id in range(tasks)]
    seconds = time.process_time() - start
    spent = []
    for seed in range(answers):
        challenge = challenges[seed % tasks]
        answer = adapter.random_answer(challenge, seed)
        action_value.cache_clear()
        start = time.process_time()
        adapter.evaluate(answer, challenge)
        spent.append(1000 * (time.process_time() - start))
    return {
        "case": name,
        "tasks_per_s": tasks / seconds,
        "prompt_chars": sum(len(message["content"]) for challenge in challenges for message in challenge.messages)
        / tasks,
        "simulations": challenges[0].extra["simulations"],
        "ms_mean": sum(spent) / len(spent),
        "ms_worst": max(spent),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", type=int, default=200, help="tasks to make for each case")
    parser.add_argument("--answers", type=int, default=60, help="answers to score for each case")
    parser.add_argument("--cases", default=",".join(AVAILABLE_CASES), help="short names or load strings")
    parser.add_argument("--json", type=Path, help="also write the rows to this file")
    args = parser.parse_args()
    config = OpenSpielAdapter({"game_types": args.cases}).settings
    rows = []
    print(f"{'case':<40} {'tasks/s':>8} {'chars':>6} {'sims':>5} {'ms mean':>8} {'ms worst':>8}")
    for name in resolve_cases([], config.game_types):
        row = measure(name, args.tasks, args.answers)
        rows.append(row)
        print(
            f"{name:<40} {row['tasks_per_s']:>8.0f} {row['prompt_chars']:>6.0f} {row['simulations']:>5} "
            f"{row['ms_mean']:>8.1f} {row['ms_worst']:>8.1f}",
            flush=True,
        )
    print(f"{'mean over cases':<40} {'':>8} {'':>6} {'':>5} {sum(row['ms_mean'] for row in rows) / len(rows):>8.1f}")
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
