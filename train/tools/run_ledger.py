"""Writes the ledger of a run (see ledger/__init__.py): what the scripts call before a run, at its start and its end.

    run_ledger.py check --run DIR --recipe openspiel --config FILE                   # prints the run's id at W&B
    run_ledger.py begin --run DIR --recipe openspiel --config FILE --command FILE [--node 0]
    run_ledger.py end --run DIR --status 143

`check` reads only. It exits with 2 and one line where the name belongs to another run. `begin` and `end` are called
while the run's lock is held. --config is the resolved config, --command the command line as text.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import secrets
import string
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from atomic_file import atomic_file
from env_adapter import SettingsError
from env_cli import exit_code
from ledger.identity import differences, fingerprint
from ledger.masking import is_secret, mask, mask_all
from ledger.metrics_file import METRICS, read_steps, tidy_metrics
from ledger.pruning import checkpoints_to_keep, latest_step, prune
from ledger.records import (
    EXITS,
    KILLED,
    STARTS,
    append_record,
    exit_of,
    exit_record,
    git,
    installed_versions,
    now,
    starts_of,
)

RUN_FILE, CONFIG_FILE = "run.json", "config.yaml"
EXIT_REASON = "exit_reason.txt"
"""One line, where the run's supervisor knows more than a status."""


def resumed_step(config: Mapping[str, Any]) -> int:
    """The step from which verl will go on with this config; 0: from the beginning."""
    trainer = config["trainer"]
    mode, path = trainer.get("resume_mode", "auto"), trainer.get("resume_from_path")
    if mode == "resume_path":
        return int(str(path).rpartition("global_step_")[2].strip("/"))
    return 0 if mode == "disable" else latest_step(Path(trainer["default_local_dir"])) or 0


def check_identity(run: Path, identity: dict[str, Any], config: Mapping[str, Any]) -> str:
    """The run's id at W&B: the one it has when it goes on from a checkpoint of its own, else a new one.

    Raises SettingsError when a checkpoint of another run would be gone on from by accident.
    """
    known, step = read_run(run), resumed_step(config)
    own = step > 0 and Path(config["trainer"].get("resume_from_path") or run).is_relative_to(run)
    changed = differences(known["fingerprint"], identity) if known else []
    if changed and own and os.environ.get("RESUME", "auto") == "auto":
        raise SettingsError(
            f"WANDB_EXP={run.name} is another run, at step {step}, with {'; '.join(changed)}. Set WANDB_EXP to a new "
            f"name; or, to go on from its weights all the same, RESUME={run / f'global_step_{step}'}"
        )
    if os.environ.get("WANDB_RUN_ID"):
        return os.environ["WANDB_RUN_ID"]
    if known.get("wandb_run_id") and own and not changed:
        return known["wandb_run_id"]
    return "".join(secrets.choice(string.ascii_lowercase + string.digits) for _ in range(8))


def read_run(run: Path) -> dict[str, Any]:
    """run.json, or {} before the first start. Raises SettingsError for one that cannot be read."""
    path = run / RUN_FILE
    if not path.exists():
        return {}
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
        return known if known["fingerprint"] else {}
    except (ValueError, KeyError, TypeError) as error:
        raise SettingsError(f"{path} is not what a run wrote ({error!r}): mend it, or remove it") from error


def begin(run: Path, identity: dict[str, Any], config: Mapping[str, Any], command: str, node: int) -> None:
    """Writes down a start. Of the nodes of a run only the first one keeps metrics and checkpoints in order."""
    wandb_run_id = check_identity(run, identity, config)
    earlier, step = starts_of(run), resumed_step(config)
    number = 1 + max((start.get("start", 0) for start in earlier), default=0)
    record = {
        "start": number,
        "started": now(),
        "recipe": identity["recipe"],
        "model": os.environ.get("AGENT_MODEL_PATH"),
        "resumed_from": step,
        "command": mask(command),
        "environment": environment_of(command),
        "seeds": seeds_of(config),
        "fingerprint": identity,
        "wandb_run_id": wandb_run_id,
        "commit": git("rev-parse", "HEAD"),
        "changed": bool(git("status", "--porcelain", "--untracked-files=no")),
        "versions": installed_versions(),
        "profile": os.environ.get("PROFILE"),
        "host": platform.node(),
    }
    if node:
        append_record(run / STARTS, record | {"node": node})
        return
    if earlier and "start" in earlier[-1] and exit_of(run, earlier[-1]) is None:
        note(f"start {earlier[-1]['start']} of this run was {KILLED}")
        untold = {"ended": None, "status": None, "signal": None, "reason": KILLED, "step": last_step(run)}
        append_record(run / EXITS, {"start": earlier[-1]["start"]} | untold)
    tidied = tidy_metrics(run, step)
    if tidied.replaced:
        note(f"{tidied.replaced} step(s) after step {step} are done again; their metrics are in metrics-replaced.jsonl")
    if tidied.unread:
        note(f"{tidied.unread} line(s) of metrics.jsonl were no whole record and are gone")
    remove_old_checkpoints(config, step)
    created = read_run(run).get("created", now())
    known = {"fingerprint": identity, "wandb_run_id": wandb_run_id, "created": created}
    write_text(run / RUN_FILE, json.dumps(known, indent=2) + "\n")
    text = yaml.safe_dump(mask_all(config), allow_unicode=True, sort_keys=False)
    for name in (f"config-{number}.yaml", CONFIG_FILE):
        write_text(run / name, text)
    append_record(run / STARTS, record)


def end(run: Path, status: int) -> None:
    """Writes down how the last start ended, and leaves metrics and checkpoints in order."""
    starts = starts_of(run)
    if not starts:
        raise SettingsError(f"{run / STARTS} records no start, so there is none to end")
    record = exit_record(starts[-1]["start"], status, last_step(run))
    told = run / EXIT_REASON
    if status and record["reason"].startswith("failed") and told.is_file():
        record["reason"] = mask(told.read_text(encoding="utf-8", errors="replace").strip())
    append_record(run / EXITS, record)
    tidy_metrics(run)
    remove_old_checkpoints(yaml.safe_load((run / CONFIG_FILE).read_text(encoding="utf-8")), 0)


def remove_old_checkpoints(config: Mapping[str, Any], needed: int) -> None:
    keep, directory = checkpoints_to_keep(config), Path(config["trainer"]["default_local_dir"])
    if keep is None or not directory.is_dir():
        return
    removed = prune(directory, keep, spare=frozenset({needed}))
    if removed:
        note(f"removed the checkpoint(s) of step {', '.join(map(str, removed))}: the newest {keep} are kept")


def last_step(run: Path) -> int | None:
    """The last step that is logged, or saved where nothing was logged after it."""
    logged = max(read_steps(run / METRICS)[0], default=None) if (run / METRICS).exists() else None
    saved = latest_step(run)
    return max((step for step in (logged, saved) if step is not None), default=None)


def environment_of(command: str) -> dict[str, str]:
    """The variables that `show_command` prints, with their values masked."""
    names = re.findall(r"^  (\w+)=", command, re.MULTILINE)
    return {name: "***" if is_secret(name) else mask(os.environ.get(name, "")) for name in names}


def seeds_of(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Every setting of a config that is named seed, by its key."""
    found: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            found |= seeds_of(value, f"{prefix}{key}.")
        elif re.fullmatch(r"(.*_)?seed", str(key)):
            found[f"{prefix}{key}"] = value
    return found


def write_text(path: Path, text: str) -> None:
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def note(text: str) -> None:
    print(f"ledger   {text}", file=sys.stderr)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=("check", "begin", "end"))
    parser.add_argument("--run", type=Path, required=True, help="the run's directory")
    parser.add_argument("--recipe", help="its file in train/config")
    parser.add_argument("--config", type=Path, help="the resolved config as YAML")
    parser.add_argument("--command", type=Path, help="the command as text")
    parser.add_argument("--node", type=int, default=0, help="the node's number, where a run has several")
    parser.add_argument("--status", type=int, help="of the run's process")
    args = parser.parse_args(arguments)

    def work() -> None:
        if args.action == "end":
            end(args.run, args.status)
            return
        config = yaml.safe_load(args.config.read_text(encoding="utf-8"))
        root = Path(os.environ["VERITAS_ROOT"])
        identity = mask_all(fingerprint(config, args.recipe, os.environ["AGENT_MODEL_PATH"], root))
        if args.action == "check":
            print(check_identity(args.run, identity, config))
        else:
            begin(args.run, identity, config, args.command.read_text(encoding="utf-8"), args.node)

    return exit_code("error", work)


if __name__ == "__main__":
    sys.exit(main())
