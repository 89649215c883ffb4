"""What the tasks of lgc-v2 cost on one core: making them, and scoring answers to them.

    python benchmarks/logic_tasks.py [--tasks 300] [--difficulties easy medium hard] [--json FILE]

Each line is one task type. `tasks/s` includes the puzzle, its prompt and the check that no other task is the same,
from an empty table. `answers/s` is over right answers, answers of the right form and broken ones. `a guess` is what an
answer of the right form earns, `one answer for all` the share of tasks with the commonest reference answer. Times are
processor time.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from pathlib import Path
from statistics import fmean, harmonic_mean

sys.path.insert(0, str(Path(__file__).parents[1] / "train" / "tools"))

from lgc_v2_adapter import TASK_TYPES, LogicAdapter


def measure(name: str, difficulty: str, tasks: int) -> dict[str, str | float]:
    """One row of the table: rates per second of one core, shares in [0, 1]."""
    adapter = LogicAdapter({"task_types": name, "difficulty": difficulty, "num_tasks_per_type": tasks})
    start = time.process_time()
    challenges = [adapter.generate(task_id) for task_id in range(tasks)]
    making = time.process_time() - start
    references = [adapter.reference_answer(challenge) for challenge in challenges]
    texts = [
        (challenge, text)
        for challenge, best in zip(challenges, references, strict=True)
        for seed in range(3)
        for text in (f"So it is.\nAnswer: {best}", adapter.random_answer(challenge, seed), f"I think {best} or so.")
    ]
    start = time.process_time()
    for challenge, text in texts:
        adapter.evaluate(text, challenge)
    scoring = time.process_time() - start
    guesses = [adapter.evaluate(adapter.random_answer(c, seed), c).value for c in challenges for seed in range(10)]
    return {
        "task_type": name,
        "difficulty": difficulty,
        "tasks_per_s": tasks / making,
        "answers_per_s": len(texts) / scoring,
        "prompt_chars": fmean(sum(len(message["content"]) for message in c.messages) for c in challenges),
        "guess": fmean(guesses),
        "one_answer": Counter(references).most_common(1)[0][1] / tasks,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", type=int, default=300, help="tasks to make for each type")
    parser.add_argument("--difficulties", nargs="+", default=["easy", "medium", "hard"])
    parser.add_argument("--json", type=Path, help="also write the rows to this file")
    args = parser.parse_args()
    rows = []
    for difficulty in args.difficulties:
        print(
            f"{difficulty:<30} {'tasks/s':>8} {'answers/s':>10} {'chars':>6} {'a guess':>8} {'one answer for all':>19}"
        )
        of_level = []
        for name in TASK_TYPES:
            row = measure(name, difficulty, args.tasks)
            of_level.append(row)
            print(
                f"{name:<30} {row['tasks_per_s']:>8.0f} {row['answers_per_s']:>10.0f} {row['prompt_chars']:>6.0f} "
                f"{row['guess']:>8.3f} {row['one_answer']:>19.3f}",
                flush=True,
            )
        mean = fmean(row["tasks_per_s"] for row in of_level)
        as_many = harmonic_mean([row["tasks_per_s"] for row in of_level])
        print(f"{'mean over types':<30} {mean:>8.0f} {fmean(row['answers_per_s'] for row in of_level):>10.0f}")
        print(f"{'as many of each type':<30} {as_many:>8.0f}\n")
        rows += of_level
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
