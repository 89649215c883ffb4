"""Which checkpoints of a run stay: the newest so many, over all its starts, and always the newest whole one.

    prune(Path("train/artifacts/RL/checkpoints/my-run"), keep=2)       # global_step_40, 50, 60 → 50, 60

verl does this for the checkpoints of one start only, and removes the old one before latest_checkpointed_iteration.txt
names the new one: a kill in between leaves a run that cannot go on.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

LATEST = "latest_checkpointed_iteration.txt"
REMOVED = ".removed-"
"""A checkpoint is renamed before it is removed: half of one never has a checkpoint's name."""


def latest_step(run: Path) -> int | None:
    """What latest_checkpointed_iteration.txt says; None where there is none, or it is being written."""
    try:
        text = (run / LATEST).read_text().strip()
    except FileNotFoundError:
        return None
    return int(text) if text.isdigit() else None


def checkpoints_to_keep(config: Mapping[str, Any]) -> int | None:
    """The number of a resolved config, or None for all. PPO's critic has as many as its actor."""
    trainer = config["trainer"]
    if trainer.get("remove_previous_ckpt_in_save"):
        return 1
    keep = trainer.get("max_actor_ckpt_to_keep" if "actor_rollout_ref" in config else "max_ckpt_to_keep")
    return keep if isinstance(keep, int) and keep > 0 else None


def is_whole(step: int, directory: Path) -> bool:
    from checkpoint_steps import read_checkpoint
    from model_weights import ExportError

    try:
        read_checkpoint(step, directory, role="actor")
    except ExportError:
        return False
    return True


def prune(run: Path, keep: int, spare: frozenset[int] = frozenset()) -> list[int]:
    """Removes old checkpoints, and returns their steps. Those after the latest step are being written: left alone."""
    for left in run.glob(f"{REMOVED}*"):
        shutil.rmtree(left)
    latest = latest_step(run)
    if latest is None or len(list(run.glob("global_step_*"))) <= keep:
        return []  # before torch is imported, which takes seconds
    from checkpoint_steps import steps_in

    steps = {step: path for step, path in sorted(steps_in(run).items(), reverse=True) if step <= latest}
    kept = set(list(steps)[:keep]) | spare
    kept |= {next((step for step, path in steps.items() if is_whole(step, path)), latest)}
    removed = [step for step in steps if step not in kept]
    for step in removed:
        hidden = run / f"{REMOVED}{steps[step].name}"
        steps[step].rename(hidden)
        shutil.rmtree(hidden)
    return sorted(removed)
