"""One HTML page of a training run, or of two compared, and the main figures in the terminal.

    python train/tools/run_report my-run                       # by name (WANDB_EXP), GRPO or SFT
    python train/tools/run_report my-run other-run --output two.html

The page needs no network. Without --output it is report.html in the run's directory.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # not this folder, whose modules are the package's

from atomic_file import atomic_file
from env_adapter import SettingsError
from env_cli import exit_code
from report_parts.numbers import signed, signed_interval
from run_record import find_run
from run_report.contents import View, facts, figure, figures, headline, read_view
from run_report.page import make_run_page


def read_views(names: Sequence[str], root: Path) -> list[View]:
    """Raises SettingsError for an unknown run, and for two that are the same or of two kinds."""
    directories = [find_run(name, root) for name in names]
    if len(set(directories)) < len(directories):
        raise SettingsError(f"{names[0]} and {names[1]} are the same run: {directories[0]}")
    views = [read_view(directory, root, f"run{place}") for place, directory in enumerate(directories, 1)]
    if len({view.run.is_sft for view in views if view.run.log.steps}) > 1:
        raise SettingsError(f"{names[0]} and {names[1]} are a run of SFT and one of GRPO: there is nothing to compare")
    if len({view.label for view in views}) < len(views):
        views = [replace(view, label=str(directory)) for view, directory in zip(views, directories, strict=True)]
    return views


def as_text(views: Sequence[View]) -> str:
    """The main figures of the page for the terminal."""
    head = headline(views)
    lines = [" and ".join(view.label for view in views), ""]
    for view in views:
        known = ", ".join(f"{name} {value}" for name, value in facts(view).items())
        lines += [f"{view.label}: {known}" if len(views) > 1 else known]
    lines += ["", head.what]
    if head.first is not None and head.last is not None:
        gain = signed_interval(head.gain) if head.gain else signed(head.last - head.first)
        lines.append(f"{head.first:.3f} → {head.last:.3f}  {gain}{f'  {head.verdict}' if head.verdict else ''}")
    tables = [figures(view) for view in views]
    names = list(dict.fromkeys(name for table in tables for name in table))
    if names:
        titles = ["at the start", "at the end"] if len(views) == 1 else [view.label for view in views]
        wide = [max(12, len(title)) + 2 for title in titles]
        longest = max(map(len, names))
        lines += ["", " " * longest + "".join(f"{title:>{width}}" for title, width in zip(titles, wide, strict=True))]
        for name in names:
            values = (
                tables[0][name][:2]
                if len(views) == 1
                else [table[name][1] if name in table else None for table in tables]
            )
            cells = ["–" if value is None else figure(value) for value in values]
            lines.append(
                f"{name:<{longest}}" + "".join(f"{cell:>{width}}" for cell, width in zip(cells, wide, strict=True))
            )
    notes = [(view, note) for view in views for note in view.notes]
    lines += (
        ["", *(f"note: {f'{view.label}: ' if len(views) > 1 else ''}{note}" for view, note in notes)] if notes else []
    )
    return "\n".join(lines)


def run(args: argparse.Namespace) -> None:
    root = Path(os.environ.get("VERITAS_ROOT") or Path(__file__).resolve().parents[3])
    views = read_views(args.runs, root)
    name = "report.html" if len(views) == 1 else f"report-with-{views[1].run.name}.html"
    output = args.output or views[0].run.directory / name
    page = make_run_page(views)
    with atomic_file(output) as temporary:
        temporary.write_text(page, encoding="utf-8")
    print(as_text(views))
    print(f"wrote {output}")


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "runs", nargs="+", metavar="RUN", help="a run's directory or its name; of two, they are compared"
    )
    parser.add_argument("--output", type=Path, metavar="HTML")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    parser = make_parser()
    args = parser.parse_args(argv)
    if len(args.runs) > 2:
        parser.error("at most two runs can be compared")
    return exit_code("report", lambda: run(args))


if __name__ == "__main__":
    sys.exit(main())
