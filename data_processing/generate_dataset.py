"""Write tasks of an environment to a file, with answers: expert moves for SFT, or legal ones that teach the format.

    python data_processing/generate_dataset.py --env openspiel --set game_types=tic_tac_toe \\
        --num-samples 512 --answers random --output train/parquet/tic_tac_toe_sft.parquet
    python data_processing/generate_dataset.py --env openspiel --set game_types=hex --concurrency 8 --output hex.jsonl

A row of `--format plain`, the default for .jsonl, which convert_to_parquet.py reads:
    task_id    7
    env        openspiel
    task_type  tic_tac_toe
    prompt     [{"role": "system", "content": "Tic-tac-toe: …"}, {"role": "user", "content": "You are o. Board: …"}]
    answer     1
    metadata   {"answers": "reference", "split": "train", "challenge": "{…}", "adapter_config": "{…}"}
A row of `--format messages`, the default for .parquet, which verl's SFT trainer reads as it is, has `messages` (the
chat, the answer last), task_id, env and adapter_config. A row of `--format rl` has prompt, data_source,
reward_model.ground_truth (the reference answer) and extra_info (with the whole Challenge).

The same arguments give the same bytes, on any machine and with any --concurrency. A run that was interrupted goes on
where it stopped when the same command is given again.
"""

from __future__ import annotations

import argparse
import functools
import json
import sys
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "train" / "tools"))

from env_adapter import Challenge, EnvAdapter, SettingsError, canonical_env_name, shared_env_adapter
from env_cli import add_env_arguments, derived_seed, exit_code, open_env, progress_bar
from row_io.ordered_pool import chunks, ordered_pool
from task_rows.kept_rows import KeptRows, kept_rows
from task_rows.row_layouts import DEFAULT_FORMAT, SCHEMAS, Layout, task_id_of, write_rows

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


def make_rows(
    env: str, layout: Layout, seed: int, adapter: EnvAdapter | None, task_ids: Sequence[int]
) -> tuple[int, list[dict[str, Any]]]:
    """The number of tasks, and the rows of those that have an answer of the asked kind.

    Without an adapter, as in a worker process, it is the one that this process has for the settings.
    """
    adapter = adapter or shared_env_adapter(env, json.dumps(layout.settings))
    rows = []
    for task_id in task_ids:
        challenge = adapter.generate(task_id)
        answer = find_answer(adapter, challenge, layout.answers, seed)
        if answer is not None or layout.answers == "none":
            rows.append(layout.row(challenge, answer))
    return len(task_ids), rows


def generate(args: argparse.Namespace) -> None:
    ending = args.output.suffix
    if ending not in DEFAULT_FORMAT:
        raise SettingsError(f"--output {args.output}: end it in .parquet or .jsonl, which says what to write")
    name = args.format or DEFAULT_FORMAT[ending]
    if name == "rl" and args.answers == "random":
        raise SettingsError("--answers random is no ground truth: --format rl takes reference or none")
    with ordered_pool(args.concurrency) as results_of:
        adapter, settings, ids = open_env(args)
        layout = Layout(name, args.answers, args.split, settings)
        ids = choose_tasks(ids, args.num_samples, args.seed)
        with kept_rows(args.output, _arguments(args, layout)) as kept:
            make = functools.partial(make_rows, args.env, layout, args.seed)
            done = _resume(kept, ids, functools.partial(make, adapter))
            progress = progress_bar(len(ids), "tasks")
            progress.initial = progress.n = done  # the rate is of this run's tasks
            work = functools.partial(make, adapter if args.concurrency == 1 else None)
            for number, rows in results_of(work, chunks(ids[done:], args.concurrency)):
                kept.append(rows)
                progress.update(number)
            progress.close()
            if not kept.number:
                raise SettingsError(
                    f"env {args.env} has no {args.answers} answers for these tasks: nothing was written"
                )
            if ending == ".jsonl":
                kept.publish()
            else:
                write_rows(kept.batches(ROWS_PER_WRITE), args.output, SCHEMAS[name])
    skipped = len(ids) - kept.number
    left_out = f"; {skipped} tasks without a {args.answers} answer left out" if skipped else ""
    print(f"wrote {kept.number} rows to {args.output}{left_out}")


def _arguments(args: argparse.Namespace, layout: Layout) -> dict[str, Any]:
    """All that the rows depend on: neither --concurrency nor the ending."""
    names = ("num_samples", "seed", "answers", "split", "validation_fraction", "test_fraction", "split_seed")
    return {
        "env": canonical_env_name(args.env),
        "settings": dict(layout.settings),
        "format": layout.name,
        **{name: getattr(args, name) for name in names},
    }


def _resume(kept: KeptRows, ids: Sequence[int], make: Callable[[Sequence[int]], tuple[int, list[Any]]]) -> int:
    """How many of the tasks are done. Raises SettingsError when the environment no longer gives the rows that stand."""
    last = kept.check(ids, task_id_of)
    if last is None:
        return 0
    task_id = task_id_of(last)
    if make([task_id])[1] != [last]:
        raise SettingsError(
            f"{kept.path} was left by an interrupted run, and task {task_id} is another one now: the environment has "
            f"changed since. Remove {kept.path} to start anew"
        )
    done = ids.index(task_id) + 1
    print(f"going on after {done} of {len(ids)} tasks of an interrupted run", file=sys.stderr)
    return done


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_env_arguments(parser, split="train")
    parser.add_argument("--num-samples", type=int, default=0, help="tasks, 0 for all of the split (default: 0)")
    parser.add_argument("--seed", type=int, default=0, help="which tasks and random answers (default: %(default)s)")
    parser.add_argument("--answers", choices=("reference", "random", "none"), default="reference")
    parser.add_argument(
        "--format", choices=tuple(SCHEMAS), help="of a row (default: messages in .parquet, plain in .jsonl)"
    )
    parser.add_argument("--concurrency", type=int, default=1, help="worker processes (default: %(default)s)")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="ends in .parquet or .jsonl")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    args = make_parser().parse_args(argv)
    return exit_code("generate_dataset", lambda: generate(args), "the output is as it was")


if __name__ == "__main__":
    sys.exit(main())
