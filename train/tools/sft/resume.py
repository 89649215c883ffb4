"""Lets verl's SFT trainer go on from a checkpoint that was saved at the end of an epoch.

verl 0.9.1 restores the dataloader's place in the epoch in any case. At the end of an epoch that place is "after the
last batch": the next epoch, which the trainer rightly begins with, then yields nothing, and a whole epoch is skipped
without a word (github.com/verl-project/verl/issues/7401). There the place means nothing and is left alone; whether the
data are the same is checked all the same.
"""

from __future__ import annotations

import inspect
from pathlib import Path

import torch

from sft.conversations import DataError


class UpstreamChanged(RuntimeError):
    """verl's checkpoint handler no longer looks as this hook expects: look at it before a run is resumed."""


def train_on_from_epoch_ends() -> None:
    """Answers verl/utils/checkpoint/checkpoint_handler.py, in this process. Raises UpstreamChanged."""
    from verl.utils.checkpoint import CheckpointHandler

    restore = CheckpointHandler._load_dataloader_state
    if getattr(restore, "knows_epoch_ends", False):
        return
    if list(inspect.signature(restore).parameters) != ["self", "checkpoint_path"]:
        raise UpstreamChanged(f"CheckpointHandler._load_dataloader_state{inspect.signature(restore)}")

    def load_dataloader_state(self: CheckpointHandler, checkpoint_path: str) -> None:
        file = Path(checkpoint_path) / f"data_{self.dp_rank}.pt"
        if not file.exists():
            raise DataError(f"{file} is not there, and so the place in the data is not known: use another checkpoint")
        loader = self.train_dataloader
        steps = len(loader)
        if self.resume_global_step % steps:
            return restore(self, checkpoint_path)
        state = torch.load(file, map_location="cpu", weights_only=False)
        if state.get("dataset_state"):
            loader.dataset.load_state_dict(state["dataset_state"])
        if self.rank == 0:
            print(f"resume   step {self.resume_global_step} is the end of epoch {self.resume_global_step // steps}")
        return None

    load_dataloader_state.knows_epoch_ends = True
    CheckpointHandler._load_dataloader_state = load_dataloader_state
