"""Runs a long command with its output in a log file, and shows how far it is instead.

    python train/scripts/lib/progress.py --log run.log --metrics metrics.jsonl --steps 18 -- COMMAND…

Prints one line for every step that verl's file logger writes, in between a line that grows (on a terminal) or a sign of
life twice a minute (elsewhere). When the command fails, the end of its log goes to stderr. Exits with its status.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

POLL_S = 0.5
SIGN_OF_LIFE_S = 30.0
SHOWN = {"critic/score/mean": "reward", "train/loss": "loss", "actor/kl_loss": "kl", "timing_s/step": "seconds"}


class StepLines:
    """The steps that a metrics file has gained since the last look; a line that is still being written waits."""

    def __init__(self, path: Path | None, steps: int) -> None:
        self._path, self._steps, self._read = path, steps, 0
        self.seen = 0

    def new(self) -> list[str]:
        if self._path is None or not self._path.exists():
            return []
        whole, _, _ = self._path.read_text(encoding="utf-8").rpartition("\n")
        lines = whole.split("\n") if whole else []
        fresh, self._read = lines[self._read :], len(lines)
        return [text for text in map(self._text, fresh) if text]

    def _text(self, line: str) -> str:
        entry = json.loads(line)
        data = entry["data"]
        if "critic/score/mean" in data:
            data.pop("train/loss", None)  # GRPO: its loss says nothing of how far it is
        shown = [f"{name} {data[key]:.3f}" for key, name in SHOWN.items() if key in data]
        if not shown:
            return ""
        self.seen = entry["step"]
        return f"  step {entry['step']:>3}/{self._steps}  {'  '.join(shown)}"


def watch(process: subprocess.Popen[bytes], steps: StepLines, what: str) -> int:
    terminal = sys.stdout.isatty()
    started = spoken = time.monotonic()
    while True:
        status = process.poll()
        for line in steps.new():
            print(("\r\033[K" if terminal else "") + line, flush=True)
            spoken = time.monotonic()
        if status is not None:
            break
        now = time.monotonic()
        doing = f"  {what}{f', after step {steps.seen}' if steps.seen else ''} … {now - started:.0f} s"
        if terminal:
            print(f"\r\033[K{doing}", end="", flush=True)
        elif now - spoken > SIGN_OF_LIFE_S:
            print(doing, flush=True)
            spoken = now
        time.sleep(POLL_S)
    if terminal:
        print("\r\033[K", end="", flush=True)
    return status


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--metrics", type=Path)
    parser.add_argument("--steps", type=int, default=0)
    parser.add_argument("--what", default="running")
    parser.add_argument("command", nargs="+")
    args = parser.parse_args()
    if args.metrics:
        args.metrics.unlink(missing_ok=True)  # of an earlier try: its steps are not ours
    args.log.parent.mkdir(parents=True, exist_ok=True)
    with args.log.open("wb") as log:
        process = subprocess.Popen(args.command, stdout=log, stderr=subprocess.STDOUT)
        try:
            status = watch(process, StepLines(args.metrics, args.steps), args.what)
        except KeyboardInterrupt:  # the terminal has told the command too
            process.wait()
            return 130
    if status:
        end = args.log.read_text(encoding="utf-8", errors="replace").splitlines()[-25:]
        print("\n".join(end), file=sys.stderr)
        print(f"error: {args.what} failed with status {status}; the whole log is {args.log}", file=sys.stderr)
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    sys.exit(main())
