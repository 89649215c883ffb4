"""Rows from where users have them: parquet, JSON lines, JSON, Arrow, a directory or glob of such files, or the hub.

    source = open_source("swesynth/SWE-Synth_Moatless-SFT-Trajectories", split="train")
    source = open_source("data/*.jsonl")
    source.columns                                   ["instance_id", "messages", "model_patch", "run_name"]
    with source.progress("converting") as advance:
        for batch in source.batches(["messages"], advance=advance):     # pyarrow.RecordBatch, all of one schema
            …

A batch has some megabytes, whatever the size of a file or of its row groups: memory does not grow with the data. A
second call of batches() reads the same rows in the same order.
"""

from __future__ import annotations

import glob
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import TypeVar

import pyarrow as pa

from row_io.arrow_rows import arrow_batches, arrow_shape, parquet_batches, parquet_shape
from row_io.byte_progress import byte_progress
from row_io.column_types import conform, merge_types
from row_io.hub_files import fetch_files, looks_like_hub_id
from row_io.json_rows import BLOCK_BYTES, Block, infer_types, parse_block, read_blocks
from row_io.source_error import SourceError, first_line

__all__ = ["Source", "SourceError", "TypesChanged", "open_source", "require_columns"]

COLUMNAR = {".parquet": (parquet_shape, parquet_batches), ".arrow": (arrow_shape, arrow_batches)}
JSON = (".jsonl", ".json", ".ndjson")
KNOWN = (*COLUMNAR, *JSON)
Advance = Callable[[int], None]
Given = TypeVar("Given")
Made = TypeVar("Made")


class TypesChanged(Exception):
    """A sampled source has fields or types that its first rows do not have: open it without `sample`."""


@dataclass(frozen=True)
class Source:
    """Files that are read as one table. `json_columns` hold JSON text in place of values whose types differ; of a
    `sampled` one the schema is that of the first rows."""

    name: str
    files: tuple[Path, ...]
    schema: pa.Schema
    num_rows: int | None
    json_columns: frozenset[str] = field(default_factory=frozenset)
    sampled: bool = False

    @property
    def columns(self) -> list[str]:
        return self.schema.names

    @property
    def total_bytes(self) -> int:
        return sum(path.stat().st_size for path in self.files)

    def progress(self, label: str) -> AbstractContextManager[Advance]:
        """A bar over the bytes of all files. Yields what batches() takes as `advance`."""
        return byte_progress(label, self.total_bytes)

    def batches(
        self, columns: Sequence[str] | None = None, *, advance: Advance = lambda count: None
    ) -> Iterator[pa.RecordBatch]:
        """The rows in order, with these columns or all of them; `advance` is told the bytes read since its last call.

        `messages.role` is the column messages with nothing in its structs but role: a parquet file is not read for the
        rest. Raises SourceError for a damaged file, for a line that is no JSON object, and for a column that is not
        there; TypesChanged where the source was sampled, at the latest when whole columns are read.
        """
        names = list(columns) if columns is not None else self.columns
        require_columns(self, [name if name in self.columns else name.partition(".")[0] for name in names])
        schema = pa.schema([_column(self.schema, name) for name in names])
        for path in self.files:
            size, done = path.stat().st_size, 0
            for batch, position in self._file_batches(path, schema):
                yield batch
                advance(position - done)
                done = position
            advance(size - done)

    def _file_batches(self, path: Path, schema: pa.Schema) -> Iterator[tuple[pa.RecordBatch, int]]:
        kind = path.suffix.lower()
        if kind in JSON:
            yield from self._json_batches(path, schema)
            return
        size = path.stat().st_size
        for batch, share in COLUMNAR[kind][1](path, schema):
            try:
                conformed = conform(batch, schema)
            except pa.ArrowInvalid as error:
                raise SourceError(f"{path} does not fit the types of the other files: {first_line(error)}") from error
            yield conformed, int(size * share)

    def _json_batches(self, path: Path, schema: pa.Schema) -> Iterator[tuple[pa.RecordBatch, int]]:
        """Of a sampled source whole columns are read together with all others: fields that it does not know show."""
        strict = self.sampled and not self.json_columns and all(column in self.schema for column in schema)

        def parse(block: Block) -> tuple[list[pa.RecordBatch], int]:
            return list(
                parse_block(block, self.schema if strict else schema, self.json_columns, strict)
            ), block.position

        try:
            for batches, position in _ahead(parse, read_blocks(path, BLOCK_BYTES)):
                for batch in batches:
                    yield batch.select(schema.names) if strict else batch, position
        except SourceError as error:
            if self.sampled:
                raise TypesChanged from error
            raise


def _ahead(function: Callable[[Given], Made], items: Iterable[Given]) -> Iterator[Made]:
    """The function of each item, in order, with two of them at work in threads meanwhile."""
    with ThreadPoolExecutor(2) as pool:
        waiting: deque[Future[Made]] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > 2:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def open_source(
    name: str,
    *,
    split: str = "train",
    columns: Sequence[str] | None = None,
    as_json: Collection[str] = (),
    sample: bool = False,
) -> Source:
    """The rows that `name` stands for: a file, a directory, a glob, or a dataset of the hub (`org/name`).

    `split` chooses files of a dataset of the hub, and of a directory that has files named after splits. With `columns`
    the source has these alone. `as_json` names columns that JSON files give as text, the JSON of each value, whether or
    not their types agree. A JSON file is read once to know its types; with `sample` its first rows are, and batches()
    raises TypesChanged where the others differ. Raises SourceError, one line, for all that the user can mend.
    """
    if sample and columns is not None:
        raise ValueError("a sampled source has all columns")
    files = find_files(name, split)
    types: dict[str, pa.DataType] = {}
    origin: dict[str, Path] = {}
    json_columns: set[str] = set()
    shapes = []
    for path in files:
        shapes.append(_shape_of(path, json_columns | set(as_json), sample))
        json_columns |= shapes[-1][1]
    for path, (file_types, _, _) in zip(files, shapes, strict=True):
        for column, kind in file_types.items():
            if column in json_columns and path.suffix.lower() in JSON:
                kind = pa.string()
            merged = merge_types(types.get(column, pa.null()), kind)
            if merged is None:
                raise SourceError(
                    f"column {column} is {types[column]} in {origin[column]} and {kind} in {path}: "
                    "convert the files one by one, or make their types agree"
                )
            types[column] = merged
            origin.setdefault(column, path)
    schema = pa.schema([pa.field(column, kind) for column, kind in types.items()])
    counts = [count for _, _, count in shapes]
    num_rows = None if None in counts else sum(count or 0 for count in counts)
    sampled = any(count is None and path.suffix.lower() in JSON for path, count in zip(files, counts, strict=True))
    source = Source(name, tuple(files), schema, num_rows, frozenset(json_columns & set(types)), sampled)
    if columns is None:
        return source
    require_columns(source, columns)
    chosen = pa.schema([schema.field(column) for column in columns])
    return replace(source, schema=chosen, json_columns=source.json_columns & set(columns))


def require_columns(source: Source, names: Sequence[str]) -> None:
    """Raises SourceError that names the columns that are missing and those that there are."""
    missing = [name for name in names if name not in source.columns]
    if missing:
        raise SourceError(
            f"{source.name} has no column {', '.join(missing)}; its columns are {', '.join(source.columns) or 'none'}"
        )


def _column(schema: pa.Schema, name: str) -> pa.Field:
    if name in schema.names:
        return schema.field(name)
    column, _, inner = name.partition(".")
    kind = schema.field(column).type
    if not hasattr(kind, "value_type"):
        return schema.field(column)  # text: its JSON holds what is asked for
    item = kind.value_type
    if not pa.types.is_struct(item) or item.get_field_index(inner) < 0:
        raise SourceError(f"column {column} is {kind}, which has no {inner}")
    wrap = pa.large_list if pa.types.is_large_list(kind) else pa.list_
    return pa.field(column, wrap(pa.struct([item.field(inner)])))


def find_files(name: str, split: str) -> list[Path]:
    """The local files that `name` stands for, downloaded where it is a dataset of the hub. Raises SourceError."""
    path = Path(name).expanduser()
    if path.is_dir():
        return _files_in(path, split)
    if path.is_file():
        return [_known(path)]
    if glob.has_magic(name):
        matches = glob.glob(str(path), recursive=True)  # noqa: PTH207  Path.glob takes no absolute pattern
        found = sorted(match for match in map(Path, matches) if match.is_file())
        if not found:
            raise SourceError(f"no file matches {name}")
        return [_known(file) for file in found]
    if looks_like_hub_id(name) and path.suffix.lower() not in KNOWN:
        return [_known(file) for file in fetch_files(name, split)]
    raise SourceError(f"{name} is not there: give a file, a directory, a glob or a dataset of the hub (org/name)")


def _files_in(directory: Path, split: str) -> list[Path]:
    """All files of a kind that is read here, or those of the split where names tell the split."""
    found = sorted(
        path
        for path in directory.rglob("*")
        if path.suffix.lower() in KNOWN
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(directory).parts)
    )
    if not found:
        raise SourceError(f"{directory} holds no {', '.join(KNOWN)} file")
    splits = {path: split_of(path.relative_to(directory)) for path in found}
    if not any(splits.values()):
        return found
    chosen = [path for path in found if splits[path] == split]
    if not chosen:
        there = ", ".join(sorted({name for name in splits.values() if name}))
        raise SourceError(f"{directory} has no files of split {split!r}; its splits are {there}")
    return chosen


def split_of(path: Path) -> str | None:
    """The split that a file's or its directory's name tells, as the hub reads names: train-00000-of-00002.parquet."""
    words = {"train": "train", "training": "train", "test": "test", "testing": "test", "eval": "test"}
    words |= {"validation": "validation", "valid": "validation", "val": "validation", "dev": "validation"}
    for part in reversed(path.parts):
        for word in part.lower().replace(".", "-").replace("_", "-").split("-"):
            if word in words:
                return words[word]
    return None


def _known(path: Path) -> Path:
    if path.suffix.lower() not in KNOWN:
        raise SourceError(f"{path}: {path.suffix or 'no'} extension; these are read: {', '.join(KNOWN)}")
    return path


def _shape_of(
    path: Path, as_json: Collection[str], sample: bool
) -> tuple[dict[str, pa.DataType], set[str], int | None]:
    kind = path.suffix.lower()
    if kind not in JSON:
        shape = COLUMNAR[kind][0](path)
        return {column.name: column.type for column in shape.schema}, set(), shape.num_rows
    if sample:
        types, json_columns, _ = infer_types(islice(read_blocks(path, BLOCK_BYTES), 1), as_json)
        if not json_columns:
            return types, json_columns, None
    with byte_progress(f"reading types of {path.name}", path.stat().st_size) as advance:
        done = 0

        def read(block: Block) -> None:
            nonlocal done
            advance(block.position - done)
            done = block.position

        return infer_types(read_blocks(path, BLOCK_BYTES), as_json, read)
