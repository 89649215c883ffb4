"""Rows in random order, more of them than memory holds.

    with shuffled_rows(output, total_bytes, seed, directory) as shuffled:
        shuffled.write(batch)                    # …
    # all rows are in `output` now, in an order that depends on their number and the seed alone

Each row has a key: its number, mixed with the seed to 64 bits that look random. No two keys are equal, so that sorting
by them is a shuffle in which every order is as likely as any other. Rows wait in temporary files, each for one range of
keys; a file at a time is read, sorted and written. How many there are, or where batches end, changes nothing.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow as pa

BUCKET_BYTES = 48 << 20
"""Sorting takes about three times as much memory."""
PENDING_BYTES = 32 << 20
"""The more rows go to their files at once, the longer the pieces: with pieces of 40 KB a shuffle took three times as
much processor time as with pieces of 150 KB."""
BATCH_ROWS = 4096
KEY = pa.field("shuffle key", pa.uint64())


class Output(Protocol):
    def write(self, batch: pa.RecordBatch) -> None: ...


class ShuffledRows:
    """Made by `shuffled_rows`."""

    def __init__(self, directory: Path, buckets: int, seed: int) -> None:
        self.rows = 0
        self._directory, self._buckets, self._seed = directory, buckets, seed
        self._pending: list[pa.RecordBatch] = []
        self._bytes = 0
        self._schema: pa.Schema | None = None

    def write(self, batch: pa.RecordBatch) -> None:
        """Add the rows. Raises OSError when the disk is full."""
        keys = shuffle_keys(self.rows, batch.num_rows, self._seed)
        self.rows += batch.num_rows
        batch = batch.append_column(KEY, pa.array(keys))
        self._schema = batch.schema
        self._pending.append(batch)
        self._bytes += batch.nbytes
        if self._bytes >= PENDING_BYTES:
            self._spill()

    def batches(self) -> Iterator[pa.RecordBatch]:
        """All rows, shuffled. Their files are removed as they are read."""
        self._spill()
        for bucket in range(self._buckets):
            path = self._path(bucket)
            if path.exists():
                yield from self._sorted(path)
                path.unlink()

    def _spill(self) -> None:
        """Move the rows from memory to their files."""
        if not self._pending:
            return
        batch = pa.concat_batches(self._pending)
        self._pending, self._bytes = [], 0
        buckets = bucket_of(batch.column(KEY.name).to_numpy(), self._buckets)
        order = np.argsort(buckets, kind="stable")
        bounds = np.searchsorted(buckets[order], np.arange(self._buckets + 1))
        batch = batch.take(pa.array(order))
        for bucket in np.flatnonzero(np.diff(bounds)):
            message = batch[bounds[bucket] : bounds[bucket + 1]].serialize()
            with self._path(bucket).open("ab") as file:
                file.write(len(message).to_bytes(8, "little"))
                file.write(message)

    def _sorted(self, path: Path) -> Iterator[pa.RecordBatch]:
        assert self._schema is not None
        table = pa.Table.from_batches(self._read(path))
        order = np.argsort(table.column(KEY.name).to_numpy())
        table = table.drop_columns(KEY.name).take(pa.array(order))
        yield from table.to_batches(max_chunksize=BATCH_ROWS)

    def _read(self, path: Path) -> Iterator[pa.RecordBatch]:
        with path.open("rb") as file:
            while size := int.from_bytes(file.read(8), "little"):
                yield pa.ipc.read_record_batch(pa.py_buffer(file.read(size)), self._schema)

    def _path(self, bucket: int) -> Path:
        return self._directory / f"{bucket}.arrow"


@contextmanager
def shuffled_rows(output: Output, total_bytes: int, seed: int, directory: Path) -> Iterator[ShuffledRows]:
    """Yields what takes the rows; on a normal exit they are written to `output`.

    `total_bytes` says about how much is to come. The temporary files are in a new directory inside of `directory`,
    which is removed in any case; they take about as much space as the rows. Raises OSError when the disk is full.
    """
    with tempfile.TemporaryDirectory(prefix=".shuffle-", dir=directory) as temporary:
        shuffled = ShuffledRows(Path(temporary), total_bytes // BUCKET_BYTES + 1, seed)
        yield shuffled
        for batch in shuffled.batches():
            output.write(batch)


def shuffle_keys(first: int, number: int, seed: int) -> np.ndarray:
    """The 64-bit keys of `number` rows from row `first` on: all different."""
    start = _mix(np.array([seed % 2**64], np.uint64))
    return _mix(_mix(np.arange(first, first + number, dtype=np.uint64)) ^ start)


def bucket_of(keys: np.ndarray, buckets: int) -> np.ndarray:
    """The keys' ranges, 0 … buckets-1, in the order of the keys and of the same size."""
    return ((keys >> np.uint64(32)) * np.uint64(buckets)) >> np.uint64(32)


def _mix(values: np.ndarray) -> np.ndarray:
    """SplitMix64's finaliser (Steele, Lea, Flood 2014, doi:10.1145/2660193.2660195): one to one on 64 bits."""
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
