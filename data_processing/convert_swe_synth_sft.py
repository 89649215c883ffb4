"""Agent trajectories on software bugs (SWE-Synth) to parquet for supervised fine-tuning.

    python data_processing/convert_swe_synth_sft.py --output-dir train/parquet --val-ratio 0.05
    python data_processing/convert_swe_synth_sft.py --dataset mine.jsonl --format messages --output mine.parquet

A row of the dataset is one call of the model: all turns so far and its answer.
    instance_id  "pandas-dev__pandas-48106"      model_patch  "diff --git a/…"      run_name  "moatless-0"
    messages     [{"role": "system", "content": "You are …"}, {"role": "user", "content": "TypeError in …"},
                  {"role": "assistant", "content": "I look at …"}, …]

The rows of a run are beginnings of each other: the longest is kept. What it becomes:
    --format prompt-response    prompt: the turns before the assistant's first one; response: model_patch
    --format messages           messages: the whole trajectory, tool calls too

Each row also has instance_id and run_name. All runs of an instance are on one side, training or validation. The files
appear whole or not at all. Memory does not grow with the dataset, which is read twice.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "train" / "tools"))

from env_cli import exit_code
from row_io.parquet_output import check_targets, check_val_ratio, parquet_files
from row_io.row_source import Source, SourceError, TypesChanged, open_source
from swe_synth.length_limits import CUT, DROP, LengthLimit, load_tokenizer
from swe_synth.run_table import Plan
from swe_synth.trajectories import CHATS, PAIRS, choose_rows, output_schema, write_rows

OUTPUT_DIR = Path(__file__).resolve().parent.parent / "train" / "parquet"
DATASET = "swesynth/SWE-Synth_Moatless-SFT-Trajectories"
TRAIN_NAME, VAL_NAME = "swe_synth_sft_train.parquet", "swe_synth_sft_val.parquet"


class RowsMissing(Exception):
    """Rows turned out to be unusable, and others can take their place: {row: reason}."""

    def __init__(self, unusable: dict[int, str]) -> None:
        self.unusable = unusable


def convert(args: argparse.Namespace) -> None:
    targets = choose_targets(args)
    check_targets(targets.values())
    limits = choose_limits(args)
    source = open_source(args.dataset, split=args.split, sample=True)
    try:
        convert_source(source, args, targets, limits)
    except (TypesChanged, SourceError):
        if not source.sampled:
            raise
        convert_source(open_source(args.dataset, split=args.split), args, targets, limits)


def convert_source(
    source: Source, args: argparse.Namespace, targets: dict[str, Path], limits: list[LengthLimit]
) -> None:
    """Raises TypesChanged for a sampled source, before anything is written."""
    check_targets(targets.values(), source.files)
    schema = output_schema(source, args.format)
    dropped: Counter[str] = Counter()
    runs = choose_rows(source, args.format, args.seed, dropped)
    dropped["a longer row of the same run is kept"] = runs.num_shorter
    unusable: dict[int, str] = {}
    while True:
        plan = runs.plan(args.val_ratio, args.max_samples, unusable)
        check_plan(plan, args, dropped + Counter(unusable.values()), runs.num_rows)
        for limit in limits:
            limit.cut = 0
        try:
            with parquet_files(targets, schema, source.files) as outputs:
                found = write_rows(source, args.format, plan, limits, outputs)
                written = {name: output.rows for name, output in outputs.items()}
                if found and (plan.sampled_out or not all(written.values())):
                    raise RowsMissing(found)
        except RowsMissing as missing:
            unusable |= missing.unusable
            continue
        break
    dropped.update([*unusable.values(), *found.values()])
    dropped["left out by --max-samples"] = plan.sampled_out
    print(f"read {runs.num_rows:,} rows (usable runs: {runs.num_runs:,}, instances: {runs.num_instances:,})")
    for name, path in targets.items():
        print(f"wrote {written[name]:,} rows to {path}")
    for limit in limits:
        if limit.cut:
            print(f"cut {limit.cut:,} {limit.what}s")
    if dropped.total():
        print(f"left out {dropped.total():,} rows:")
        for reason, number in dropped.most_common():
            if number:
                print(f"{number:>12,}  {reason}")


def choose_targets(args: argparse.Namespace) -> dict[str, Path]:
    """Side → file. Raises SourceError for options that do not go together."""
    check_val_ratio(args.val_ratio)
    if args.max_samples is not None and args.max_samples < 1:
        raise SourceError(f"--max-samples {args.max_samples}: at least 1")
    if not args.output:
        directory = args.output_dir or OUTPUT_DIR
        val = directory / VAL_NAME
        if not args.val_ratio and val.exists():
            print(f"note: {val} is of an earlier run: its instances may be in the new training file", file=sys.stderr)
        return {"train": directory / TRAIN_NAME, **({"val": val} if args.val_ratio else {})}
    if args.output_dir:
        raise SourceError("--output and --output-dir are both given: choose one")
    if args.val_ratio:
        raise SourceError(f"--output is one file, and --val-ratio {args.val_ratio} makes two: give --output-dir")
    return {"train": args.output}


def choose_limits(args: argparse.Namespace) -> list[LengthLimit]:
    """The limits of prompts and of responses. Raises SourceError for options that do not go together."""
    numbers = {
        name: getattr(args, name)
        for name in ("max_chars_prompt", "max_chars_response", "max_tokens_prompt", "max_tokens_response")
    }
    for name, number in numbers.items():
        flag = f"--{name.replace('_', '-')}"
        if number is not None and number < 1:
            raise SourceError(f"{flag} {number}: at least 1")
        if number is not None and args.format == CHATS:
            raise SourceError(
                f"{flag} is for --format {PAIRS}: the trainer cuts or drops long chats (SFT_MAX_LENGTH, SFT_TRUNCATION)"
            )
        if number is not None and "tokens" in name and not args.tokenizer:
            raise SourceError(f"{flag} needs --tokenizer: whose tokens?")
    if args.tokenizer and not any(number for name, number in numbers.items() if "tokens" in name):
        raise SourceError("--tokenizer does nothing without --max-tokens-prompt or --max-tokens-response")
    if args.format == CHATS:
        return []
    tokenizer = load_tokenizer(args.tokenizer) if args.tokenizer else None
    return [
        LengthLimit("prompt", args.max_chars_prompt, args.max_tokens_prompt, args.long_prompts, tokenizer),
        LengthLimit("response", args.max_chars_response, args.max_tokens_response, args.long_responses, tokenizer),
    ]


def check_plan(plan: Plan, args: argparse.Namespace, dropped: Counter[str], num_rows: int) -> None:
    """Raises SourceError where nothing is left to write, or nothing for one of two sides."""
    if not plan.chosen:
        reasons = "; ".join(f"{number:,} × {reason}" for reason, number in dropped.most_common() if number)
        raise SourceError(f"{args.dataset}: no row of {num_rows:,} can be used ({reasons or 'it is empty'})")
    if args.val_ratio and plan.instances < 2:
        raise SourceError(
            f"--val-ratio {args.val_ratio}: the usable rows ({plan.chosen:,}) are all of one instance, which cannot be "
            "on both sides: give --val-ratio 0" + (" or raise --max-samples" if plan.sampled_out else "")
        )


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--dataset",
        default=DATASET,
        help="a hub id, or a local parquet, jsonl, json or arrow file (default: %(default)s)",
    )
    parser.add_argument("--split", default="train", help="of a hub dataset (default: %(default)s)")
    parser.add_argument("--output", type=Path, metavar="FILE.parquet", help="one file, without validation")
    parser.add_argument(
        "--output-dir",
        type=Path,
        metavar="DIR",
        help=f"for {TRAIN_NAME} and, with --val-ratio, {VAL_NAME} (default: train/parquet of the repository)",
    )
    parser.add_argument("--val-ratio", type=float, default=0.0, help="share of instances to validate on (default: 0)")
    parser.add_argument("--max-samples", type=int, metavar="N", help="write N rows, chosen by --seed (default: all)")
    parser.add_argument("--seed", type=int, default=42, help="of the split and of --max-samples (default: %(default)s)")
    parser.add_argument("--format", choices=(PAIRS, CHATS), default=PAIRS, help="(default: %(default)s)")
    parser.add_argument("--max-chars-prompt", type=int, metavar="N", help="characters of a prompt")
    parser.add_argument("--max-chars-response", type=int, metavar="N", help="characters of a response")
    parser.add_argument("--tokenizer", metavar="DIR_OR_ID", help="whose tokens --max-tokens-* count: a model")
    parser.add_argument("--max-tokens-prompt", type=int, metavar="N", help="tokens of a prompt")
    parser.add_argument("--max-tokens-response", type=int, metavar="N", help="tokens of a response")
    parser.add_argument(
        "--long-prompts", choices=(CUT, DROP), default=CUT, help="cut the middle out, or drop the row (default: cut)"
    )
    parser.add_argument(
        "--long-responses", choices=(CUT, DROP), default=DROP, help="cut the end off, or drop the row (default: drop)"
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    args = make_parser().parse_args(argv)
    return exit_code("convert_swe_synth_sft", lambda: convert(args))


if __name__ == "__main__":
    sys.exit(main())
