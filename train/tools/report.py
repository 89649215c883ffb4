"""One page that says what a training run has changed, and the same numbers in the terminal.

    python train/tools/report.py --title "GRPO on tic-tac-toe" --before eval/before --after eval/after \\
        --metrics train/artifacts/…/metrics.jsonl --timings timings.json --command "make demo" --output report.html

`--before`, `--after` and `--base` are output directories of evaluate.py on the same tasks; `--metrics` is what verl's
`file` logger writes; `--timings` is {"set-up": 212.0, …}, seconds by phase.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path

from atomic_file import atomic_file
from env_adapter import SettingsError
from env_cli import exit_code
from evaluation_report.contents import Contents
from evaluation_report.page import make_page
from evaluation_results import compare, intervals_of, read_evaluation
from report_parts.numbers import duration, signed_interval
from training_log import read_training_log


def read_timings(path: Path | None) -> dict[str, float]:
    """Phase → seconds. Raises SettingsError for a file that holds anything else."""
    if path is None:
        return {}
    try:
        phases = json.loads(path.read_text(encoding="utf-8"))
        seconds = {str(name): float(each) for name, each in phases.items()}
    except OSError as error:
        raise SettingsError(f"--timings {path}: {error.strerror}") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise SettingsError(f'--timings {path}: expected {{"phase": seconds, …}}: {error}') from error
    if any(not math.isfinite(each) or each < 0 for each in seconds.values()):
        raise SettingsError(f"--timings {path}: seconds must be finite and at least 0")
    return seconds


def read_contents(args: argparse.Namespace) -> Contents:
    """All that the page shows. Raises SettingsError, also where the evaluations are not of the same tasks."""
    before, after = read_evaluation(args.before), read_evaluation(args.after)
    base = read_evaluation(args.base) if args.base else None
    if base:
        compare(base, after)
    settings = {}
    for assignment in args.setting:
        name, equals, value = assignment.partition("=")
        if not equals:
            raise SettingsError(f"--setting {assignment!r}: write NAME=VALUE")
        settings[name] = value
    return Contents(
        title=args.title,
        before=before,
        after=after,
        comparison=compare(before, after),
        log=read_training_log(args.metrics),
        base=base,
        phases=read_timings(args.timings),
        settings=settings,
        commands=args.command,
    )


def as_text(contents: Contents) -> str:
    """The numbers of the page for the terminal."""
    columns = contents.columns()
    intervals = [intervals_of(evaluation.tasks) for _, _, evaluation in columns]
    wide = max(8, *(len(name) for name in contents.comparison.gains))
    heads = "".join(f"{heading:<28}" for _, heading, _ in columns)
    lines = [contents.title, "", f"{'':<{wide + 2}}{heads}gain, paired by task"]
    for name, gain in contents.comparison.gains.items():
        cells = "".join(f"{str(each[name]) if name in each else '-':<28}" for each in intervals)
        lines.append(f"{name:<{wide + 2}}{cells}{signed_interval(gain)}")
    reward = contents.log.reward()
    if reward:
        (first, low), (last, high) = reward[0], reward[-1]
        lines += ["", f"training reward: {low:.3f} at step {first}, {high:.3f} at step {last}"]
    if contents.phases:
        times = ", ".join(f"{name} {duration(each)}" for name, each in contents.phases.items())
        lines += ["", f"time: {times}; in all {duration(sum(contents.phases.values()))}"]
    lines += ["", *(f"note: {note}" for note in contents.notes())]
    n = contents.comparison.gains["reward"].n
    return "\n".join([*lines, f"reward: {contents.verdict} on {n} tasks (95 % intervals)"])


def run(args: argparse.Namespace) -> None:
    contents = read_contents(args)
    page = make_page(contents)
    with atomic_file(args.output) as temporary:
        temporary.write_text(page, encoding="utf-8")
    print(as_text(contents))
    print(f"wrote {args.output}")


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--title", required=True)
    parser.add_argument("--before", type=Path, required=True, metavar="DIR", help="evaluation of the initial model")
    parser.add_argument("--after", type=Path, required=True, metavar="DIR", help="evaluation of the trained model")
    parser.add_argument("--base", type=Path, metavar="DIR", help="evaluation of the model before a warm start")
    parser.add_argument("--metrics", type=Path, required=True, metavar="JSONL", help="what verl's file logger wrote")
    parser.add_argument("--timings", type=Path, metavar="JSON", help="seconds by phase")
    parser.add_argument("--setting", action="append", default=[], metavar="NAME=VALUE", help="shown; repeatable")
    parser.add_argument("--command", action="append", default=[], help="a line that reproduces the run; repeatable")
    parser.add_argument("--output", type=Path, required=True, metavar="HTML")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    args = make_parser().parse_args(argv)
    return exit_code("report", lambda: run(args))


if __name__ == "__main__":
    sys.exit(main())
