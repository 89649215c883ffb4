"""Write tasks of an environment to parquet, with answers: expert moves for SFT, or legal ones that teach the format.

    python data_processing/generate_dataset.py --env openspiel --set game_types=tic_tac_toe \\
        --num-samples 512 --answers random --output train/parquet/tic_tac_toe_sft.parquet

A row of `--format messages`, which verl's SFT trainer reads as it is:
    messages  [{"role": "user", "content": "You are playing …"}, {"role": "assistant", "content": "4"}]
    task_id   7
    env       openspiel
A row of `--format rl` has prompt, data_source, reward_model.ground_truth (the reference answer) and extra_info (with
the whole Challenge). The same arguments give the same rows, on any machine.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "train" / "tools"))

from atomic_file import atomic_file, check_writable
from env_adapter import Challenge, EnvAdapter, SettingsError
from env_cli import add_env_arguments, derived_seed, exit_code, open_env, progress_bar

MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
SCHEMAS = {
    "messages": pa.schema([("messages", MESSAGES), ("task_id", pa.int64()), ("env", pa.string())]),
    "rl": pa.schema(
        [
            ("prompt", MESSAGES),
            ("data_source", pa.string()),
            ("ability", pa.string()),
            ("reward_model", pa.struct([("style", pa.string()), ("ground_truth", pa.string())])),
            (
                "extra_info",
                pa.struct(
                    [
                        ("index", pa.int64()),
                        ("env", pa.string()),
                        ("task_id", pa.int64()),
                        ("challenge", pa.string()),
                        ("adapter_config", pa.string()),
                    ]
                ),
            ),
        ]
    ),
}
ROWS_PER_WRITE = 1000


def choose_tasks(ids: Sequence[int], number: int, seed: int) -> list[int]:
    """`number` of the ids (0: all) in an order that depends on the seed alone. Raises SettingsError for too many."""
    if not 0 <= number <= len(ids):
        raise SettingsError(f"--num-samples {number}: the split has {len(ids)} tasks (0 takes them all)")
    order = sorted(ids, key=lambda task_id: sha256(f"generate:{seed}:{task_id}".encode()).digest())
    return order[: number or None]


def find_answer(adapter: EnvAdapter, challenge: Challenge, answers: str, seed: int) -> str | None:
    """The answer of the asked kind, or None where the environment has none for this task."""
    if answers == "reference":
        return adapter.reference_answer(challenge)
    if answers == "random":
        return adapter.random_answer(challenge, derived_seed(seed, challenge.task_id))
    return None


def make_row(challenge: Challenge, answer: str | None, layout: str, settings: dict[str, Any]) -> dict[str, Any]:
    """A row of one of the SCHEMAS."""
    if layout == "messages":
        turns = [] if answer is None else [{"role": "assistant", "content": answer}]
        return {"messages": challenge.messages + turns, "task_id": challenge.task_id, "env": challenge.env}
    return {
        "prompt": challenge.messages,
        "data_source": challenge.env,
        "ability": challenge.env,
        "reward_model": {"style": "rule", "ground_truth": answer or ""},
        "extra_info": {
            "index": challenge.task_id,
            "env": challenge.env,
            "task_id": challenge.task_id,
            "challenge": challenge.to_json(),
            "adapter_config": json.dumps(settings, sort_keys=True),
        },
    }


def generate(args: argparse.Namespace) -> None:
    if args.format == "rl" and args.answers == "random":
        raise SettingsError("--answers random is no ground truth: --format rl takes reference or none")
    adapter, settings, ids = open_env(args)
    ids = choose_tasks(ids, args.num_samples, args.seed)
    if args.output.is_dir():
        raise SettingsError(f"--output {args.output} is a directory: name the parquet file")
    check_writable(args.output.parent)
    schema = SCHEMAS[args.format]
    written = skipped = 0
    rows: list[dict[str, Any]] = []
    with atomic_file(args.output) as temporary:
        progress = progress_bar(len(ids), "tasks")
        with pq.ParquetWriter(temporary, schema) as writer:
            for number, task_id in enumerate(ids, start=1):
                challenge = adapter.generate(task_id)
                answer = find_answer(adapter, challenge, args.answers, args.seed)
                if answer is None and args.answers != "none":
                    skipped += 1
                else:
                    rows.append(make_row(challenge, answer, args.format, settings))
                if rows and (len(rows) == ROWS_PER_WRITE or number == len(ids)):
                    writer.write_table(pa.Table.from_pylist(rows, schema))
                    written += len(rows)
                    rows.clear()
                progress.update()
        progress.close()
        if not written:
            raise SettingsError(f"env {args.env} has no {args.answers} answers for these tasks: nothing was written")
    left_out = f"; {skipped} tasks without a {args.answers} answer left out" if skipped else ""
    print(f"wrote {written} rows to {args.output}{left_out}")


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_env_arguments(parser, split="train")
    parser.add_argument("--num-samples", type=int, default=0, help="tasks, 0 for all of the split (default: 0)")
    parser.add_argument("--seed", type=int, default=0, help="which tasks and random answers (default: %(default)s)")
    parser.add_argument("--answers", choices=("reference", "random", "none"), default="reference")
    parser.add_argument("--format", choices=tuple(SCHEMAS), default="messages")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE.parquet")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    args = make_parser().parse_args(argv)
    return exit_code("generate_dataset", lambda: generate(args))


if __name__ == "__main__":
    sys.exit(main())
