"""Which checkpoints there are: verl's directories `global_step_N`, whole or not, and the one to use.

train/artifacts/RL/checkpoints/my-run/             an experiment
    latest_checkpointed_iteration.txt              "20", written when step 20 was complete
    global_step_20/actor/                          PPO and GRPO; SFT has no actor/, the files lie directly here
        fsdp_config.json                           {"FSDP_version": 2, "world_size": 2}
        model_world_size_2_rank_{0,1}.pt           one file a rank
        huggingface/                               config and tokenizer
        lora_train_meta.json                       LoRA only: {"r": 32, "lora_alpha": 32, …}

checkpoint, remarks = find_checkpoint(Path("train/artifacts/RL/checkpoints/my-run"))      # step 20
"""

from __future__ import annotations

import re
import zipfile
from dataclasses import dataclass
from pathlib import Path

from model_weights import ExportError, read_json

LATEST = "latest_checkpointed_iteration.txt"


@dataclass(frozen=True)
class Checkpoint:
    """One complete FSDP checkpoint."""

    step: int
    directory: Path
    """What verl's merger takes as --local_dir."""
    shards: tuple[Path, ...]
    lora: dict[str, object] | None
    """Rank and alpha, as verl wrote them; None for full training."""


def steps_in(base: Path) -> dict[int, Path]:
    """Step number → its directory, in ascending order; whether whole or not."""
    matches = [(re.fullmatch(r"global_step_(\d+)", path.name), path) for path in base.iterdir() if path.is_dir()]
    return dict(sorted((int(match[1]), path) for match, path in matches if match))


def experiments_in(parent: Path, depth: int = 3) -> list[Path]:
    """The directories below `parent` that hold global_step_* directories."""
    found = []
    for path in sorted(path for path in parent.iterdir() if path.is_dir() and not path.is_symlink()):
        if steps_in(path):
            found.append(path)
        elif depth > 1:
            found += experiments_in(path, depth - 1)
    return found


def read_checkpoint(step: int, directory: Path, role: str) -> Checkpoint:
    """The checkpoint of one step. Raises ExportError naming what it lacks: nothing is read beyond the files' frames."""
    local = directory / role if (directory / role).is_dir() else directory
    if not (local / "fsdp_config.json").is_file():
        roles = sorted(path.parent.name for path in directory.glob("*/fsdp_config.json"))
        hint = f" (--role {' or '.join(roles)} is there)" if roles else ": saving was interrupted, or it is not FSDP's"
        raise ExportError(f"{local} has no fsdp_config.json{hint}")
    world_size = read_json(local / "fsdp_config.json").get("world_size")
    if not isinstance(world_size, int) or world_size < 1:
        raise ExportError(f"{local / 'fsdp_config.json'}: world_size is {world_size!r}, not a number of ranks")
    shards = tuple(local / f"model_world_size_{world_size}_rank_{rank}.pt" for rank in range(world_size))
    missing = [shard.name for shard in shards if not shard.is_file()]
    if missing:
        raise ExportError(
            f"{local} lacks {len(missing)} of the {world_size} ranks' files: {', '.join(missing[:4])}. "
            "Each node writes its own ranks: copy them all into one directory"
        )
    for shard in shards:
        if not zipfile.is_zipfile(
            shard
        ):  # torch.save writes a zip; its directory is at the end, so a cut file has none
            raise ExportError(
                f"{shard} is truncated ({shard.stat().st_size} bytes): copy it again or use an earlier step"
            )
    read_json(local / "huggingface" / "config.json")
    meta = local / "lora_train_meta.json"
    return Checkpoint(step, local, shards, read_json(meta) if meta.is_file() else None)


def find_checkpoint(base: Path, step: int | None = None, role: str = "actor") -> tuple[Checkpoint, list[str]]:
    """The checkpoint of `step`, by default the latest complete one, and remarks that the user should see.

    `base` is an experiment's directory, or a parent that holds one experiment. Raises ExportError saying what there is
    instead: other steps, several experiments, or nothing.
    """
    if not base.is_dir():
        raise ExportError(f"{base} is not a directory: CHECKPOINT_BASE is the experiment's directory of checkpoints")
    steps = steps_in(base)
    if not steps:
        experiments = experiments_in(base)
        if len(experiments) != 1:
            raise ExportError(_explain_no_steps(base))
        checkpoint, remarks = find_checkpoint(experiments[0], step, role)
        return checkpoint, [f"{experiments[0]} is the only experiment in {base}", *remarks]
    if step is not None:
        if step not in steps:
            raise ExportError(f"{base} has no global_step_{step}: there is {_listed(steps)}")
        return read_checkpoint(step, steps[step], role), []
    latest = _read_latest(base)
    remarks, faults = [], []
    for number in sorted(steps, reverse=True):
        if latest is not None and number > latest:
            remarks.append(f"global_step_{number} is newer than {LATEST} ({latest}): not complete, left out")
            continue
        try:
            return read_checkpoint(number, steps[number], role), remarks
        except ExportError as error:
            faults.append(str(error))
            remarks.append(f"global_step_{number} left out: {error}")
    reasons = "; ".join(faults) or f"{LATEST} says {latest} and there is {_listed(steps)}"
    raise ExportError(f"{base} has no complete checkpoint: {reasons}")


def _read_latest(base: Path) -> int | None:
    path = base / LATEST
    if not path.is_file():
        return None
    text = path.read_text().strip()
    if not text.isdigit():
        raise ExportError(
            f"{path} holds {text[:40]!r}, not a step: choose one with --global-step {_listed(steps_in(base))}"
        )
    return int(text)


def _explain_no_steps(base: Path) -> str:
    if re.fullmatch(r"global_step_\d+", base.name) or (base / "fsdp_config.json").is_file():
        experiment = next(path for path in [base, *base.parents] if not path.name.startswith(("global_step_", "actor")))
        return f"{base} is a step: pass the experiment's directory, {experiment}, and the step as --global-step"
    experiments = experiments_in(base)
    if not experiments:
        return f"{base} has no global_step_* in it: the run has not saved a checkpoint yet, or saves elsewhere"
    lines = "".join(f"\n  {path}: {_listed(steps_in(path))}" for path in experiments)
    return f"{base} has no checkpoint itself but {len(experiments)} experiment(s) with some; choose one:{lines}"


def _listed(steps: dict[int, Path]) -> str:
    return "step " + ", ".join(str(number) for number in steps)
