"""Parquet files that are there whole or not at all: train, and validation beside it where one is wanted.

with parquet_files({"train": Path("a.parquet"), "val": Path("b.parquet")}, schema, source.files) as outputs:
    outputs["train"].write(batch)             # pyarrow.RecordBatch of that schema
# both files are there now; after an error, Ctrl-C or a file without rows there is neither
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "train" / "tools"))

from atomic_file import atomic_file, check_writable
from row_io.source_error import SourceError

ROW_GROUP_BYTES = 32 << 20
COMPRESSION = "snappy"


class ParquetOutput:
    """One file while it is written. `rows` is what was written so far."""

    def __init__(self, writer: pq.ParquetWriter, schema: pa.Schema) -> None:
        self.rows = 0
        self._writer = writer
        self._schema = schema
        self._pending: list[pa.RecordBatch] = []
        self._bytes = 0

    def write(self, batch: pa.RecordBatch) -> None:
        """Add the rows; they reach the disk in row groups of some tens of megabytes."""
        if not batch.num_rows:
            return
        self.rows += batch.num_rows
        self._pending.append(batch)
        self._bytes += batch.nbytes
        if self._bytes >= ROW_GROUP_BYTES:
            self.flush()

    def flush(self) -> None:
        if self._pending:
            table = pa.Table.from_batches(self._pending, self._schema)
            self._writer.write_table(table, row_group_size=table.num_rows)
            self._pending, self._bytes = [], 0


@contextmanager
def parquet_files(
    targets: Mapping[str, Path], schema: pa.Schema, inputs: Iterable[Path] = ()
) -> Iterator[dict[str, ParquetOutput]]:
    """Yields an output for each target. On a normal exit all files take their names, or none does.

    Raises SourceError before anything is written where a target is a directory, an input or another target, and at the
    end where one has no rows. Raises OSError where a target cannot be written.
    """
    check_targets(targets.values(), inputs)
    with ExitStack() as files:
        temporary = {name: files.enter_context(atomic_file(path)) for name, path in targets.items()}
        outputs = {}
        with ExitStack() as writers:
            for name, path in temporary.items():
                writer = writers.enter_context(pq.ParquetWriter(path, schema, compression=COMPRESSION))
                outputs[name] = ParquetOutput(writer, schema)
            yield outputs
            for output in outputs.values():
                output.flush()
        empty = [str(targets[name]) for name, output in outputs.items() if not output.rows]
        if empty:
            raise SourceError(f"no rows are left for {' and '.join(empty)}: nothing was written")
        for path in temporary.values():
            _flush(path)  # before the first takes its name: a full disk shows here


def check_targets(targets: Iterable[Path], inputs: Iterable[Path] = ()) -> None:
    """Call it before the expensive part. Raises SourceError or OSError where a target cannot be written."""
    read = {path.resolve() for path in inputs}
    seen: set[Path] = set()
    for path in targets:
        if path.is_dir():
            raise SourceError(f"output {path} is a directory: name the parquet file")
        if path.resolve() in read:
            raise SourceError(f"output {path} is also an input: choose another name")
        if path.resolve() in seen:
            raise SourceError(f"output {path} is named twice")
        seen.add(path.resolve())
        check_writable(path.parent)


def _flush(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def check_val_ratio(ratio: float) -> None:
    """Raises SourceError unless 0 <= ratio < 1."""
    if not 0 <= ratio < 1:
        raise SourceError(f"--val-ratio {ratio}: at least 0 and less than 1")
