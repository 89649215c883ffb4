"""The checkpoint that a run goes on from: the latest whole one of its directory.

    python train/tools/resume_point.py train/artifacts/RL/checkpoints/my-run            # RESUME=auto
    train/artifacts/RL/checkpoints/my-run/global_step_20
    python train/tools/resume_point.py --only …/my-run/global_step_10                   # RESUME=DIRECTORY

verl writes the step's number into latest_checkpointed_iteration.txt when all files of it are written, and believes it.
A disk that was full, a copy that was cut or a machine that lost power leaves files that are not whole all the same:
each is looked at here, by its size and its end, and an earlier checkpoint is taken for a broken one, said aloud.

Prints nothing where there is no checkpoint yet. One line on stderr and exit status 2 where there are some and none can
be used. Standard library only: a script that starts asks this before it loads anything.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import zipfile
from pathlib import Path

LATEST = "latest_checkpointed_iteration.txt"
RANK_FILE = re.compile(r"(\w+)_world_size_(\d+)_rank_(\d+)\.pt")


class NotWhole(ValueError):
    """What a checkpoint lacks, as a sentence."""


def check_whole(directory: Path, all_ranks: bool = True) -> None:
    """Raises NotWhole for a checkpoint of FSDP that lacks a rank's file or has one that was cut.

    `all_ranks=False`: other nodes keep their ranks' files on disks of their own. Checkpoints of other engines pass.
    """
    files = sorted(directory.rglob("*.pt"))
    for file in files:
        if not zipfile.is_zipfile(file):  # torch.save writes a zip, whose list of contents is its end
            raise NotWhole(f"{file.relative_to(directory)} is cut ({file.stat().st_size} bytes)")
    parts = sorted({file.parent for file in files if RANK_FILE.fullmatch(file.name)})
    if not parts:
        others = [path for path in directory.rglob("*") if path.is_file() and path not in files]
        if any("huggingface" not in path.parts for path in others):
            return  # not FSDP's
        raise NotWhole("it holds no rank's model")
    for part in parts:
        _check_part(part, directory, all_ranks)
    if all_ranks and not any(directory.glob("data*.pt")):
        raise NotWhole("it has no data.pt: saving was interrupted")


def _check_part(part: Path, directory: Path, all_ranks: bool) -> None:
    ranks: dict[str, set[int]] = {}
    for file in part.iterdir():
        if match := RANK_FILE.fullmatch(file.name):
            ranks.setdefault(match[1], set()).add(int(match[3]))
    if not all_ranks:
        return
    config = part / "fsdp_config.json"
    try:
        world_size = int(json.loads(config.read_text())["world_size"])
    except FileNotFoundError:
        raise NotWhole(f"{config.relative_to(directory)} is missing: saving was interrupted") from None
    except (ValueError, KeyError, TypeError):
        raise NotWhole(f"{config.relative_to(directory)} cannot be read") from None
    for kind, found in sorted(ranks.items()):
        if missing := sorted(set(range(world_size)) - found):
            raise NotWhole(f"{kind} of rank {', '.join(map(str, missing[:4]))} is missing ({world_size} ranks)")
    if "model" not in ranks:
        raise NotWhole("no rank's model is there")


def latest_step(run: Path) -> int | None:
    """What the run's file says; None where the file is missing, or empty since a kill met its writing."""
    try:
        return int((run / LATEST).read_text())
    except (FileNotFoundError, ValueError):
        return None


def find_resume_point(run: Path, all_ranks: bool = True) -> tuple[Path | None, list[str]]:
    """The latest whole checkpoint and remarks for the user; None where none was ever complete. Raises NotWhole."""
    steps = {int(path.name.rpartition("_")[2]): path for path in run.glob("global_step_*") if _is_step(path)}
    latest = latest_step(run)
    remarks = []
    if latest is None:
        if not (run / LATEST).exists():
            return None, []  # killed before its first checkpoint was complete: it starts anew
        remarks.append(f"{run / LATEST} holds no number: a kill met its writing")
    for step in sorted(steps, reverse=True):
        if latest is not None and step > latest:
            continue
        try:
            check_whole(steps[step], all_ranks)
        except NotWhole as error:
            remarks.append(f"global_step_{step} is not whole: {error}")
            continue
        return steps[step], remarks
    if latest is None and not steps:
        return None, remarks
    told = "; ".join(remarks) or f"{LATEST} names step {latest}, which is not there"
    raise NotWhole(f"{run} has no whole checkpoint to go on from ({told}): set WANDB_EXP to a new name to start anew")


def _is_step(path: Path) -> bool:
    return path.is_dir() and re.fullmatch(r"global_step_\d+", path.name) is not None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--only", action="store_true", help="the directory is the checkpoint, and no other will do")
    parser.add_argument("--some-ranks", action="store_true", help="other nodes have files of their own")
    args = parser.parse_args()
    try:
        if args.only:
            check_whole(args.directory, not args.some_ranks)
            found: Path | None = args.directory
        else:
            found, remarks = find_resume_point(args.directory, not args.some_ranks)
            for remark in remarks:
                print(f"resume   {remark}", file=sys.stderr)
    except NotWhole as error:
        where = f"RESUME={args.directory} is not a whole checkpoint: " if args.only else ""
        print(f"error: {where}{error}", file=sys.stderr)
        return 2
    if found:
        print(found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
