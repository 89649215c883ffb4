"""Rows of .parquet and .arrow files, in batches of bounded bytes whatever the size of their row groups.

Parquet is read page by page: neither a whole row group nor a whole column chunk is held. Arrow files are mapped and
let go again behind the reader.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq

from row_io.source_error import SourceError, first_line

BATCH_BYTES = 4 << 20
MOST_ROWS = 8192
PROBE_ROWS = 16
READ_BYTES = 1 << 20
FAULTS = (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError)


@dataclass(frozen=True)
class FileShape:
    """What the file's own header or footer says."""

    schema: pa.Schema
    num_rows: int | None


def parquet_shape(path: Path) -> FileShape:
    """Raises SourceError for a file that is cut short or is no parquet."""
    with _open_parquet(path) as file:
        return FileShape(file.schema_arrow.remove_metadata(), file.metadata.num_rows)


def parquet_batches(path: Path, wanted: pa.Schema) -> Iterator[tuple[pa.RecordBatch, float]]:
    """(batch, share of the file that was read), with those of the wanted columns that it has.

    A struct's fields that are not wanted are not read. Raises SourceError for a damaged file.
    """
    with _open_parquet(path) as file:
        rows = max(1, file.metadata.num_rows)
        columns = _leaves(file, wanted)
        done = 0
        try:
            for group in range(file.num_row_groups):
                size = _rows_per_batch(file, group, columns)
                for batch in file.iter_batches(size, row_groups=[group], columns=columns):
                    done += batch.num_rows
                    for piece in slices(batch):
                        yield piece, done / rows
        except FAULTS as error:
            raise SourceError(
                f"{path} is damaged after row {done}: {first_line(error)}: download it or make it again"
            ) from error


def arrow_shape(path: Path) -> FileShape:
    """Raises SourceError for a file that is no Arrow stream or file."""
    with _Mapped(path) as mapped:
        return FileShape(mapped.schema.remove_metadata(), mapped.num_rows)


def arrow_batches(path: Path, wanted: pa.Schema) -> Iterator[tuple[pa.RecordBatch, float]]:
    """As parquet_batches."""
    with _Mapped(path) as mapped:
        columns = [name for name in wanted.names if name in mapped.schema.names]
        for batch, share in mapped.batches():
            for piece in slices(batch.select(columns)):
                yield piece, share
                mapped.let_go()


def slices(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """The batch in pieces of about BATCH_BYTES; an empty one is left out."""
    if not batch.num_rows:
        return
    pieces = max(1, batch.nbytes // BATCH_BYTES)
    step = max(1, -(-batch.num_rows // pieces))
    for start in range(0, batch.num_rows, step):
        yield batch.slice(start, step)


def _open_parquet(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path, buffer_size=READ_BYTES, pre_buffer=False)
    except FAULTS as error:
        if isinstance(error, FileNotFoundError | PermissionError):
            raise
        raise SourceError(
            f"{path} is no whole parquet file ({first_line(error)}): it was cut short or is another format; "
            "download it or make it again"
        ) from error


def _leaves(file: pq.ParquetFile, wanted: pa.Schema) -> list[str]:
    """Paths of the parquet columns to read: messages.list.element.role."""
    chosen = []
    for index in range(len(file.schema)):
        name, _, rest = file.schema.column(index).path.partition(".")
        if name not in wanted.names:
            continue
        kind = wanted.field(name).type
        item = getattr(kind, "value_type", None)
        # list<struct>: the path goes on with two names for the list, then the struct's field
        field = rest.split(".")[2] if rest.count(".") >= 2 else ""
        if item is None or not pa.types.is_struct(item) or not field or item.get_field_index(field) >= 0:
            chosen.append(f"{name}.{rest}" if rest else name)
    return chosen


def _rows_per_batch(file: pq.ParquetFile, group: int, columns: list[str]) -> int:
    """So many rows that a batch has BATCH_BYTES: by what the footer says, and by a few rows, as text that is repeated
    is stored once and read often."""
    metadata = file.metadata.row_group(group)
    if not metadata.num_rows:
        return 1
    stored = metadata.total_byte_size / metadata.num_rows
    probe = next(file.iter_batches(PROBE_ROWS, row_groups=[group], columns=columns), None)
    read = probe.nbytes / probe.num_rows if probe is not None and probe.num_rows else 0
    return int(min(MOST_ROWS, max(1, BATCH_BYTES / max(1, stored, read))))


class _Mapped:
    """An Arrow stream (what `datasets` writes) or file, mapped into memory."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> _Mapped:
        try:
            with self.path.open("rb") as file:
                self.map = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
            self.buffer = pa.BufferReader(pa.py_buffer(self.map))
            self.is_file = self.map[:6] == b"ARROW1"
            self.reader = (pa.ipc.open_file if self.is_file else pa.ipc.open_stream)(self.buffer)
        except (pa.ArrowInvalid, ValueError) as error:
            raise SourceError(
                f"{self.path} is no whole Arrow file ({first_line(error)}): it was cut short or is another format; "
                "download it or make it again"
            ) from error
        self.schema = self.reader.schema
        self.num_rows = None
        if self.is_file:
            self.num_rows = sum(self.reader.get_batch(i).num_rows for i in range(self.reader.num_record_batches))
        return self

    def __exit__(self, *_: object) -> None:
        return  # the map goes with the last batch that looks into it

    def batches(self) -> Iterator[tuple[pa.RecordBatch, float]]:
        try:
            if self.is_file:
                for index in range(self.reader.num_record_batches):
                    yield self.reader.get_batch(index), (index + 1) / self.reader.num_record_batches
            else:
                for batch in self.reader:
                    yield batch, self.buffer.tell() / len(self.map)
        except FAULTS as error:
            raise SourceError(f"{self.path} is damaged: {first_line(error)}: download it or make it again") from error

    def let_go(self) -> None:
        """Take what was read out of this process's memory; the kernel still has it, should it be read again."""
        self.map.madvise(mmap.MADV_DONTNEED)
