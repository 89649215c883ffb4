"""What the command-line tools share: the arguments that say which tasks, seeds, progress and exit codes.

add_env_arguments(parser, split="test")       # --env openspiel --set game_types=hex --split test …
adapter, settings, ids = open_env(parser.parse_args())
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Any

from env_adapter import EnvAdapter, EnvError, SettingsError, get_env_adapter
from task_split import SPLITS, split_task_ids


def add_env_arguments(parser: argparse.ArgumentParser, split: str) -> None:
    """The arguments that say which tasks: `--env`, the adapter's settings and the split, `split` by default."""
    parser.add_argument("--env", required=True, help="the environment, as in training: openspiel …")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="an adapter setting; repeatable"
    )
    parser.add_argument("--adapter-config", default="{}", metavar="JSON", help="adapter settings as one JSON object")
    parser.add_argument("--split", choices=SPLITS, default=split, help="which tasks (default: %(default)s)")
    parser.add_argument("--validation-fraction", type=float, default=0.1, help="as in training (default: %(default)s)")
    parser.add_argument("--test-fraction", type=float, default=0.1, help="as in training (default: %(default)s)")
    parser.add_argument("--split-seed", type=int, default=0, help="as in training (default: %(default)s)")


def open_env(args: argparse.Namespace) -> tuple[EnvAdapter, dict[str, Any], list[int]]:
    """The adapter, its settings and the task ids of the split. Raises SettingsError, also for a missing dependency."""
    settings = adapter_settings(args.adapter_config, args.set)
    try:
        adapter = get_env_adapter(args.env, settings)
        adapter.validate()
    except ModuleNotFoundError as error:
        raise SettingsError(f"env {args.env} needs {error.name!r}, which is not installed") from error
    ids = split_task_ids(adapter.num_tasks(), args.split, args.validation_fraction, args.test_fraction, args.split_seed)
    return adapter, settings, ids


def adapter_settings(config: str, assignments: Sequence[str]) -> dict[str, Any]:
    """One mapping from `--adapter-config` and the `--set`s, which win. A value that is no JSON is text."""
    try:
        settings = json.loads(config)
    except json.JSONDecodeError as error:
        raise SettingsError(f"--adapter-config {config!r} is not JSON: {error}") from error
    if not isinstance(settings, dict):
        raise SettingsError(f"--adapter-config {config!r} is not a JSON object")
    for assignment in assignments:
        key, equals, value = assignment.partition("=")
        if not (key and equals):
            raise SettingsError(f"--set {assignment!r}: write KEY=VALUE")
        try:
            settings[key] = json.loads(value)
        except json.JSONDecodeError:
            settings[key] = value
    return settings


def derived_seed(*parts: object) -> int:
    """A 31-bit seed that depends on nothing but the parts, so that no two samples share their randomness."""
    return int.from_bytes(sha256(":".join(map(str, parts)).encode()).digest()[:4], "big") >> 1


def progress_bar(total: int, unit: str, quiet: bool = False):
    """A tqdm bar on stderr; in a log file it prints a line every ten seconds instead of ten a second."""
    from tqdm import tqdm

    every = 0.1 if sys.stderr.isatty() else 10
    return tqdm(total=total, unit=f" {unit}", mininterval=every, file=sys.stderr, disable=quiet)


def exit_code(program: str, work: Callable[[], None], interrupted: str = "nothing was written") -> int:
    """The exit code of a tool: 0, 2 with one line on stderr for what the user can mend, 130 after Ctrl-C.

    `interrupted` is what to say then of the output.
    """
    try:
        work()
    except (SettingsError, EnvError, OSError) as error:
        print(f"{program}: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"{program}: interrupted, {interrupted}", file=sys.stderr)
        return 130
    return 0
