"""Lists the runs on this disk, and removes what nobody will miss; `train/scripts/runs.sh` calls it.

run     kind  state     step      reward  size    last sign
my-run  GRPO  finished  200/200   0.412   1.2 GB  3 h
other   SFT   failed    57/200    -       12 kB   2 d        failed with status 1: the log's last lines say why
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from env_cli import exit_code
from ledger.cleaning import Waste, find_waste, remove
from ledger.listing import Run, in_bytes, in_words, runs_in

HEADINGS = ("run", "kind", "state", "step", "reward or loss", "size", "last sign", "")


def folders() -> list[Path]:
    root = Path(os.environ["VERITAS_ROOT"])
    own = os.environ.get("SFT_SAVE_DIR", "train/artifacts/checkpoints")
    return [root / "train/artifacts/RL/checkpoints", root / "train/artifacts/checkpoints", root / own]


def table(runs: Sequence[Run]) -> str:
    rows = [HEADINGS]
    for run in runs:
        value = "-" if run.value is None else f"{run.value_name} {run.value:.3f}"
        step = "-" if run.step is None else f"{run.step}/{run.total or '?'}"
        rows.append((run.name, run.kind, run.state, step, value, in_bytes(run.bytes), in_words(run.age_s), run.reason))
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def show_waste(waste: Sequence[Waste]) -> str:
    lines = [f"{in_bytes(item.bytes):>8}  {item.path}  ({item.reason})" for item in waste]
    return "\n".join([*lines, f"{in_bytes(sum(item.bytes for item in waste)):>8}  in all"])


def clean(yes: bool) -> None:
    waste = find_waste(runs_in(folders()))
    if not waste:
        print("nothing to remove")
        return
    print(show_waste(waste))
    if not yes and (not sys.stdin.isatty() or input("remove them? [y/N] ").strip().lower() not in ("y", "yes")):
        print("nothing was removed (--yes removes without asking)")
        return
    removed = remove(waste)
    print(f"removed {in_bytes(sum(item.bytes for item in removed))}")
    if len(removed) < len(waste):
        print(f"{len(waste) - len(removed)} left alone: their runs have started meanwhile")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", nargs="?", choices=("list", "clean"), default="list")
    parser.add_argument("--json", action="store_true", help="list: one JSON array")
    parser.add_argument("--yes", action="store_true", help="clean: remove without asking")
    args = parser.parse_args(arguments)

    def work() -> None:
        if args.action == "clean":
            clean(args.yes)
        elif args.json:
            print(json.dumps([run.as_json() for run in runs_in(folders())], indent=2))
        else:
            runs = runs_in(folders())
            print(table(runs) if runs else f"no runs in {', '.join(map(str, dict.fromkeys(folders())))}")

    return exit_code("runs", work)


if __name__ == "__main__":
    sys.exit(main())
