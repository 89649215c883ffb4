"""What verl's SFT trainer would find out only after the model is loaded, or never: batches, files, validation.

    error: data.train_batch_size=30 (SFT_TRAIN_BATCH_SIZE) cannot be shared by 4 GPUs: use 28 or 32

Only the files' footers are read. Their rows are judged by the dataset class, when the tokenizer is there.
"""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow
import pyarrow.parquet
from omegaconf import DictConfig, ListConfig

COUNTS = (
    ("data", "train_batch_size"),
    ("data", "micro_batch_size_per_gpu"),
    ("data", "max_length"),
    ("trainer", "nnodes"),
    ("trainer", "n_gpus_per_node"),
    ("trainer", "total_epochs"),
    ("engine", "ulysses_sequence_parallel_size"),
)


class SftConfigError(ValueError):
    """A setting or a file that cannot be trained with; the message says how to mend it."""


def check_sft(config: DictConfig) -> None:
    """Raises SftConfigError for the first fault of a resolved SFT config."""
    check_batches(config)
    check_frequencies(config)
    batch = config.data.train_batch_size
    train, val = files_of(config.data.train_files), files_of(config.data.val_files)
    more_later = config.data.truncation == "split"
    check_rows("train", train, batch, more_later, "nothing would be trained")
    if val:
        check_rows("val", val, batch, more_later, "there would be no validation loss")


def check_batches(config: DictConfig) -> None:
    for section, key in COUNTS:
        value = config[section][key]
        if not isinstance(value, int) or value < 1:
            raise SftConfigError(f"{section}.{key}={value} is not a whole number of at least 1")
    gpus = config.trainer.nnodes * config.trainer.n_gpus_per_node
    shares = max(1, gpus // config.engine.ulysses_sequence_parallel_size)
    batch, micro = config.data.train_batch_size, config.data.micro_batch_size_per_gpu
    if batch % shares:
        raise SftConfigError(
            f"data.train_batch_size={batch} (SFT_TRAIN_BATCH_SIZE) cannot be shared by {shares} GPUs "
            f"(GPU_COUNT × NNODES): use {neighbours(batch, shares)}"
        )
    share = batch // shares
    if share % micro and not config.data.use_dynamic_bsz:
        divisors = [str(size) for size in range(1, share + 1) if share % size == 0]
        raise SftConfigError(
            f"data.micro_batch_size_per_gpu={micro} (SFT_MICRO_BATCH_SIZE_PER_GPU) does not divide the {share} rows "
            f"that each GPU has of a batch of {batch}: use {' or '.join(divisors[-4:])}"
        )


def neighbours(batch: int, shares: int) -> str:
    """The two nearest batches that can be shared: '28 or 32'; '4' where the lower one is 0."""
    lower = batch // shares * shares
    return " or ".join(str(size) for size in (lower, lower + shares) if size)


def check_frequencies(config: DictConfig) -> None:
    for key, variable in (("save_freq", "SFT_SAVE_FREQ"), ("test_freq", "SFT_TEST_FREQ")):
        if config.trainer[key] == 0:
            raise SftConfigError(f"trainer.{key}=0 ({variable}): verl divides by it; -1 means never but at the end")
    if not config.data.val_files and config.trainer.test_freq != -1:
        raise SftConfigError(
            f"trainer.test_freq={config.trainer.test_freq} and no data.val_files: verl fails at the first validation; "
            "name files in SFT_VAL_FILES, or set trainer.test_freq=-1"
        )


def files_of(value: str | ListConfig | None) -> list[Path]:
    if not value:
        return []
    return [Path(value)] if isinstance(value, str) else [Path(file) for file in value]


def check_rows(which: str, files: list[Path], batch: int, more_later: bool, consequence: str) -> None:
    """Raises SftConfigError where files cannot be read or hold less than one batch, which verl leaves out."""
    rows = 0
    for file in files:
        if not file.exists() and os.environ.get("SFT_HF_DATASET"):
            return  # the converter has not written it yet
        rows += rows_of(file)
    if rows < batch and not more_later:
        raise SftConfigError(
            f"the {which} files hold {rows} row(s), fewer than one batch of {batch} (SFT_TRAIN_BATCH_SIZE), so "
            f"{consequence}: use a smaller batch or more rows ({', '.join(map(str, files))})"
        )


def rows_of(file: Path) -> int:
    """The rows that a file's footer counts, which a truncated file has lost. Raises SftConfigError."""
    try:
        rows = pyarrow.parquet.read_metadata(file).num_rows
    except (OSError, pyarrow.ArrowException) as error:
        raise SftConfigError(f"{file} is not a whole parquet file: {str(error).splitlines()[0]}") from error
    if not rows:
        raise SftConfigError(f"{file} has no rows: make it again, or leave it out")
    return rows
