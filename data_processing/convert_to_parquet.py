"""JSON lines, JSON files or a directory of them to parquet, for RL or for supervised fine-tuning.

    python data_processing/convert_to_parquet.py --input tasks.jsonl --out-dir parquet --env openspiel
    python data_processing/convert_to_parquet.py --input chats/ --format sft --val-ratio 0.05 --shuffle

    {"prompt": "2+2?", "answer": "4", "task_type": "sums", "metadata": {"level": 1, "tags": ["a"]}}
becomes, with --format rl, a row that verl's RL dataset reads:
    prompt        [{"role": "user", "content": "2+2?"}]
    data_source   sums        ability  sums
    reward_model  {"style": "rule", "ground_truth": "4"}
    extra_info    {"index": 0, "env": "lgc-v2", "task_type": "sums", "level": 1, "tags": "[\\"a\\"]"}
and with --format sft:
    prompt        2+2?        response 4        extra_info as above
or `messages` in place of prompt and response, where the input has chats.

extra_info keeps every other field, and those of the objects metadata and extra_info: as they are where all values have
one simple type, else as the JSON text of each value. A row without prompt or answer is counted and left out. Rows with
the same prompt are never on both sides of the split. The same input and options give the same files.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "train" / "tools"))
# Before pyarrow is imported, here and in the processes that this one starts: its own pools keep 60 MB more.
os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")

from env_cli import exit_code
from json_conversion.conversion import Conversion, Totals
from json_conversion.conversion_plan import GROUND_TRUTHS, PROMPTS, RESPONSES, Wishes
from row_io.parquet_output import check_targets, check_val_ratio
from row_io.row_source import JSON, split_of
from row_io.source_error import SourceError
from row_io.without_pandas import work_without_pandas

if __name__ in ("__main__", "__mp_main__"):  # the program, or a process that it started
    work_without_pandas()


def convert(args: argparse.Namespace) -> None:
    wishes = choose_wishes(args)
    targets = choose_targets(args)
    files = json_files(args.input)
    check_targets(targets.values(), files)
    conversion = Conversion(files, targets, wishes, args.val_ratio, args.seed, args.shuffle, args.skip_bad_lines)
    try:
        totals = conversion.run()
    except SourceError as error:
        raise SourceError(str(error) if str(args.input) in str(error) else f"{args.input}: {error}") from error
    report(totals, targets)


def choose_wishes(args: argparse.Namespace) -> Wishes:
    """Raises SourceError for options that do not go together."""
    rl = args.format == "rl"
    for flag, value in (
        ("--response-field", args.response_field if rl else None),
        ("--ground-truth-field", None if rl else args.ground_truth_field),
        ("--data-source-field", None if rl else args.data_source_field),
    ):
        if value is not None:
            raise SourceError(f"{flag} {value} is not for --format {args.format}")
    if args.system is not None and not args.system.strip():
        raise SourceError("--system is blank: leave it out")
    if not args.env.strip():
        raise SourceError("--env is blank: name an environment")
    answer = args.ground_truth_field if rl else args.response_field
    return Wishes(args.format, args.env, args.prompt_field, answer, args.data_source_field, args.system)


def choose_targets(args: argparse.Namespace) -> dict[str, Path]:
    """Side → file. Raises SourceError for options that do not go together."""
    check_val_ratio(args.val_ratio)
    start = ""
    if args.output_name is not None:
        if not args.output_name or Path(args.output_name).name != args.output_name:
            raise SourceError(f"--output-name {args.output_name!r}: a file name's beginning, without a directory")
        start = f"{args.output_name}_"
    train, val = (args.out_dir / f"{start}{side}.parquet" for side in ("train", "val"))
    if args.val_ratio:
        return {"train": train, "val": val}
    if val.exists():
        print(f"note: {val} of an earlier run stays; its rows may be in the new training file", file=sys.stderr)
    return {"train": train}


def json_files(path: Path) -> list[Path]:
    """The file, or those below the directory in the order of their names. Raises SourceError."""
    if path.is_file():
        if path.suffix.lower() not in JSON:
            raise SourceError(f"--input {path}: {path.suffix or 'no'} extension; these are read: {', '.join(JSON)}")
        return [path]
    if not path.is_dir():
        raise SourceError(f"--input {path} is not there: give a file or a directory of {', '.join(JSON)} files")
    names = sorted(
        file.relative_to(path)
        for file in path.rglob("*")
        if file.suffix.lower() in JSON and file.is_file()
    )  # fmt: skip
    files = [name for name in names if not any(part.startswith(".") for part in name.parts)]
    if not files:
        raise SourceError(f"--input {path} holds no {', '.join(JSON)} file")
    splits = {split_of(file): file for file in reversed(files)}
    splits.pop(None, None)
    if len(splits) > 1:
        found = ", ".join(f"{file} ({split})" for split, file in splits.items())
        raise SourceError(f"--input {path} has files of several splits: {found}. Convert them one by one")
    return [path / file for file in files]


def report(totals: Totals, targets: dict[str, Path]) -> None:
    """Say what was made of what."""
    plan = totals.plan
    for what, paths in (("prompt", plan.prompts), ("answer", plan.answers)):
        names = [f"{'.'.join(path)} ({totals.used[what, path]:,} rows)" for path in paths]
        if plan.joins_input and what == "prompt":
            names = [name.replace("instruction", "instruction and input") for name in names]
        if plan.chat_answers and what == "answer":
            names.append("the last turn of chats")
        print(f"{what:<11} from {', '.join(names) or 'nowhere: the environment scores'}")
    if plan.layout == "rl":
        names = [".".join(path) for path in plan.data_sources]
        print(f"data_source from {', '.join(names) or 'the environment'}")
    kept = [f"{item.name}{' (JSON text)' if item.as_json else ''}" for item in plan.kept]
    print(f"extra_info  with {', '.join(['index', 'env', *kept])}")
    for name, path in targets.items():
        print(f"wrote {totals.written[name]:,} rows to {path}")
    if plan.dropped_keys:
        print(f"left out these keys of messages: {', '.join(plan.dropped_keys)}")
    if totals.bad.number:
        print(f"left out {totals.bad.number:,} lines that hold no JSON object, the first at {totals.bad.first}")
    if totals.left_out:
        print(f"left out {totals.left_out.total():,} rows:")
        for reason, number in totals.left_out.most_common():
            print(f"{number:>12,}  {reason}")


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--input", type=Path, default=Path("dataset"), metavar="PATH",
        help="a .jsonl, .ndjson or .json file, or a directory of them (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--out-dir", type=Path, default=Path("parquet"), metavar="DIR",
        help="for train.parquet and, with --val-ratio, val.parquet (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--output-name", metavar="NAME", help="writes NAME_train.parquet and NAME_val.parquet")
    parser.add_argument("--format", choices=("rl", "sft"), default="rl", help="(default: %(default)s)")
    parser.add_argument("--env", default="lgc-v2", help="extra_info.env of rows that name none (default: %(default)s)")
    parser.add_argument(
        "--prompt-field", metavar="FIELD",
        help=f"text or a chat; fields of an object as metadata.question (default: {', '.join(PROMPTS)}; input follows "
        "instruction)",
    )  # fmt: skip
    parser.add_argument("--response-field", metavar="FIELD", help=f"for sft (default: {', '.join(RESPONSES)})")
    parser.add_argument(
        "--ground-truth-field", metavar="FIELD", help=f"for rl (default: {', '.join(dict.fromkeys(GROUND_TRUTHS))})"
    )
    parser.add_argument("--data-source-field", metavar="FIELD", help="for rl (default: data_source, task_type)")
    parser.add_argument("--system", metavar="TEXT", help="the system's turn of every prompt that has none")
    parser.add_argument("--val-ratio", type=float, default=0.0, help="share of prompts to validate on (default: 0)")
    parser.add_argument("--seed", type=int, default=42, help="of the split and the shuffle (default: %(default)s)")
    parser.add_argument("--shuffle", action="store_true", help="write the rows in random order")
    parser.add_argument("--skip-bad-lines", action="store_true", help="count lines that hold no JSON object, and go on")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    args = make_parser().parse_args(argv)
    return exit_code("convert_to_parquet", lambda: convert(args))


if __name__ == "__main__":
    sys.exit(main())
