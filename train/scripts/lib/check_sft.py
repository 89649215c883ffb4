"""What verl's SFT trainer would find out only after the model is loaded, or never: batches, files, validation.

    error: data.train_batch_size=30 (SFT_TRAIN_BATCH_SIZE) cannot be shared by 4 GPUs: use 28 or 32

Only the files' footers are read. Their rows are judged by train/tools/sft-dataset.py, when the tokenizer is there.
"""

from __future__ import annotations

import os
from dataclasses import fields
from pathlib import Path

import pyarrow
import pyarrow.parquet
from omegaconf import DictConfig, ListConfig

from sft.conversations import ColumnNames, DataError, choose_layout

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
    if os.environ.get("SFT_FILES_TO_COME", "0") == "0":  # set while the converter has not written them yet
        check_files("train", config.data.train_files, config, "nothing would be trained")
        check_files("val", config.data.val_files, config, "there would be no validation loss")


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


def check_files(which: str, value: str | ListConfig | None, config: DictConfig, consequence: str) -> None:
    """Raises SftConfigError for files that cannot be read, lack columns, or hold less than one batch of samples."""
    files = [Path(file) for file in ([value] if isinstance(value, str) else value or [])]
    names = ColumnNames(**{it.name: config.data.get(f"{it.name}_key", it.default) for it in fields(ColumnNames)})
    rows, at_most_a_sample_each = 0, config.data.truncation != "split"
    for file in files:
        metadata = footer_of(file)
        try:
            layout = choose_layout(metadata.schema.to_arrow_schema(), names, str(file))
        except DataError as error:
            raise SftConfigError(str(error)) from error
        rows += metadata.num_rows
        at_most_a_sample_each &= layout.messages is None  # a chat may become a sample for each of its turns
    if files and rows < config.data.train_batch_size and at_most_a_sample_each:
        raise SftConfigError(
            f"the {which} files hold {rows} row(s), fewer than one batch of {config.data.train_batch_size} "
            f"(SFT_TRAIN_BATCH_SIZE), so {consequence}: use a smaller batch or more rows ({', '.join(map(str, files))})"
        )


def footer_of(file: Path) -> pyarrow.parquet.FileMetaData:
    """What stands at the end of a parquet file, and is lost in a truncated one. Raises SftConfigError."""
    try:
        metadata = pyarrow.parquet.read_metadata(file)
    except (OSError, pyarrow.ArrowException) as error:
        raise SftConfigError(f"{file} is not a whole parquet file: {str(error).splitlines()[0]}") from error
    if not metadata.num_rows:
        raise SftConfigError(f"{file} has no rows: make it again, or leave it out")
    return metadata
