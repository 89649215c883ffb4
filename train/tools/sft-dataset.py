"""Parquet files as verl's SFT dataset: verl's `data.custom_cls`.

    data.custom_cls.path=train/tools/sft-dataset.py  data.custom_cls.name=SFTDataset
    data.train_files=[a.parquet,b.parquet]  data.val_files=[c.parquet]

Files hold prompts and responses, or chats (sft/conversations.py). A row for verl:

    {"input_ids": tensor([1, 4093, 198, …]), "position_ids": tensor([0, 1, 2, …]), "loss_mask": tensor([0, 0, …, 1, 1])}

Everything is tokenised before the model is loaded, so that what is wrong with the data is said at once, and so that a
step never waits for its batch. The tokens lie in `data.cache_dir`, memory-mapped: a second start finds them there.
"""

# No `from __future__ import annotations`: see dataset-manager.py.
import os
from pathlib import Path
from typing import Any

import torch
import torch.distributed
from omegaconf import DictConfig, ListConfig
from torch.utils.data import Dataset

import run_phase
from sft.conversations import ColumnNames, DataError
from sft.ending import end_after_a_fault
from sft.resume import train_on_from_epoch_ends
from sft.token_table import TokenTable, tokenise, tokenise_part

SHOWN_CHARACTERS = 600


class SFTDataset(Dataset):
    """The samples of some parquet files, each of at most `data.max_length` tokens (`data.truncation`, sft/lengths.py).

    Raises DataError for everything that the user can mend.
    """

    def __init__(
        self, parquet_files: Any, tokenizer: Any, config: DictConfig, processor: Any = None, max_samples: int = -1
    ) -> None:
        # verl loads this file in the trainer's process, before it makes its checkpoint handler.
        train_on_from_epoch_ends()
        end_after_a_fault()
        run_phase.tell_phases(run_phase.SFT)
        files = _paths(parquet_files)
        if config.pad_mode != "no_padding":
            raise DataError(f"data.pad_mode={config.pad_mode}: this dataset packs rows, use no_padding")
        if processor is not None:
            tokenizer.chat_template = getattr(processor, "chat_template", None) or tokenizer.chat_template
        self.split = "train" if files == _paths(config.train_files) else "validation"
        table = _tokenise(files, tokenizer, config)
        self._rows = table.rows
        if max_samples is not None and 0 < max_samples < len(self._rows):
            self._rows = self._rows.select(range(max_samples))
        self._state = {"samples": len(self._rows), "digest": table.digest}
        if _rank() == 0:
            print(f"{self.split} data\n{table.summary}\n{self._batches(config)}", flush=True)
            if self.split == "train":
                print(_marked(self[0], tokenizer), flush=True)
        self._check_batch_size(config)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        """Three int64 tensors of one length; `loss_mask` is 1 where the loss is taken on the token itself."""
        row = self._rows[int(index)]
        ids = torch.from_numpy(row["input_ids"]).long()
        return {
            "input_ids": ids,
            "position_ids": torch.arange(len(ids)),
            "loss_mask": torch.from_numpy(row["loss_mask"]).long(),
        }

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps of the dataset: enough to know whether a resumed run has the same."""
        return dict(self._state)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Raises DataError when the checkpoint was made with other data: its place in the epoch means nothing."""
        if state != self._state:
            raise DataError(
                f"the checkpoint was made with other data ({state}, now {self._state}): resume with the files and the "
                "settings it was made with, or give the run another WANDB_EXP"
            )

    def _batches(self, config: DictConfig) -> str:
        batch = config.train_batch_size
        steps, rest = divmod(len(self), batch)
        what = "steps an epoch" if self.split == "train" else "batches"
        return f"  {steps:,} {what} of {batch}" + (f"; {rest} samples over are left out" if rest else "")

    def _check_batch_size(self, config: DictConfig) -> None:
        """verl uses whole batches only: without one, training has no step and the validation loss is not a number."""
        if len(self) < config.train_batch_size:
            raise DataError(
                f"{self.split}: {len(self)} samples are fewer than data.train_batch_size={config.train_batch_size} "
                "(SFT_TRAIN_BATCH_SIZE), and only whole batches are used: use more data or a smaller batch"
            )


def _tokenise(files: list[Path], tokenizer: Any, config: DictConfig) -> TokenTable:
    """The table of the files; the ranks of a machine have each made a part of it."""
    names = ColumnNames(
        prompt=config.get("prompt_key", "prompt"),
        response=config.get("response_key", "response"),
        messages=config.get("messages_key", "messages"),
        tools=config.get("tools_key", "tools"),
        loss_mask=config.get("loss_mask_key", "loss_mask"),
        enable_thinking=config.get("enable_thinking_key", "enable_thinking"),
    )
    settings = {
        "max_length": config.max_length,
        "policy": config.truncation,
        "cache_dir": Path(config.cache_dir),
        "template_kwargs": _template_kwargs(config),
    }
    if torch.distributed.is_initialized():
        settings["parts"] = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        tokenise_part(int(os.environ.get("LOCAL_RANK", "0")), files, names, tokenizer, **settings)
        torch.distributed.barrier()
    return tokenise(files, names, tokenizer, **settings)


def _template_kwargs(config: DictConfig) -> dict[str, Any]:
    kwargs = dict(config.get("apply_chat_template_kwargs") or {})
    thinking = config.get("enable_thinking_default")
    if isinstance(thinking, bool):  # verl's default is the text "none"
        kwargs.setdefault("enable_thinking", thinking)
    return kwargs


def _paths(files: Any) -> list[Path]:
    names = files if isinstance(files, list | tuple | ListConfig) else [files]
    return [Path(name) for name in names if name]


def _rank() -> int:
    return torch.distributed.get_rank() if torch.distributed.is_initialized() else 0


def _marked(row: dict[str, torch.Tensor], tokenizer: Any) -> str:
    """The end of a sample as text, with what is trained between ⟦ and ⟧: worth a look."""
    ids, mask = row["input_ids"].tolist(), row["loss_mask"].tolist()
    text, start = "", 0
    for end in range(1, len(ids) + 1):
        if end == len(ids) or mask[end] != mask[start]:
            piece = tokenizer.decode(ids[start:end])
            text += f"⟦{piece}⟧" if mask[start] else piece
            start = end
    shown = text if len(text) <= SHOWN_CHARACTERS else f"…{text[-SHOWN_CHARACTERS:]}"
    return "  the first sample, what is trained between ⟦ and ⟧:\n" + "\n".join(
        f"    {line}" for line in shown.split("\n")
    )
