"""Blocks to worker processes and batches back, as files: through a pipe each byte would be copied six times.

    job     which part of the input file; the worker reads it there
    result  an Arrow file in a temporary directory, which the receiver maps and removes

Of 1 GB, pipes took 3.7 s of processor time and files 1.2 s.
"""

from __future__ import annotations

import uuid
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from json_conversion.block_mapping import Job, Mapped, map_block
from row_io.json_rows import Block


def without_data(block: Block) -> Block:
    """The block as it is sent: its data is left out where it is a piece of its file."""
    return block if block.start is None else replace(block, data=b"")


def with_data(block: Block) -> Block:
    """The block as it was before it was sent. Raises OSError."""
    if block.data or block.start is None:
        return block
    with block.path.open("rb") as file:
        file.seek(block.start)
        return replace(block, data=file.read(block.position - block.start))


def map_to_file(job: Job, directory: Path) -> Mapped:
    """As map_block, with the batch in a file of the directory."""
    mapped = map_block(replace(job, block=with_data(job.block)))
    if mapped.block is not None:
        mapped.block = job.block
    if mapped.batch is not None:
        mapped.file = directory / f"{uuid.uuid4().hex}.arrow"
        with pa.OSFile(str(mapped.file), "wb") as file, pa.ipc.new_file(file, mapped.batch.schema) as writer:
            writer.write_batch(mapped.batch)
        mapped.batch = None
    return mapped


def received(mapped: Mapped) -> Mapped:
    """With the batch, if there is one: in memory that is mapped to its file, which has no name any more."""
    if mapped.file is not None:
        with pa.memory_map(str(mapped.file)) as file:
            mapped.batch = pa.ipc.open_file(file).get_batch(0)
        mapped.file.unlink()
    return mapped
