"""Rows of .jsonl and .json files as blocks of JSON lines, a few megabytes at a time.

    {"question": "2+2?", "answer": 4}          one object a line, or
    [{"question": "2+2?", "answer": 4}, …]     one list of objects: streamed by ijson, never held whole

A column's type may change from line to line, which neither Arrow nor parquet can hold. Such a column is read as text:
the JSON of each value.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.json
import pyarrow.types as pt

from row_io.column_types import conform, merge_types
from row_io.source_error import SourceError, first_line

BLOCK_BYTES = 4 << 20
LONGEST_LINE = 256 << 20


@dataclass(frozen=True)
class Block:
    """Whole lines of a file; `line` is the number of the first one, or of the first element of a list."""

    path: Path
    line: int
    data: bytes
    position: int  # how far into the file its end is


def read_blocks(path: Path, block_bytes: int = BLOCK_BYTES) -> Iterator[Block]:
    """The file as blocks of lines. Raises SourceError for what is neither lines nor a list of objects."""
    with path.open("rb") as file:
        _skip_mark(file)
        if _first_byte(file) == b"[":
            yield from _list_blocks(path, file, block_bytes)
        else:
            yield from _line_blocks(path, file, block_bytes)


def line_spans(path: Path, span_bytes: int) -> Iterator[tuple[int, int]] | None:
    """Where in the file blocks of whole lines begin and end, without reading them; None for a list of objects.

    Raises SourceError, when they are asked for, for a line that is too long.
    """
    with path.open("rb") as file:
        _skip_mark(file)
        return None if _first_byte(file) == b"[" else _spans(path, file.tell(), span_bytes)


def infer_types(
    blocks: Iterator[Block], text_columns: Collection[str] = (), read: Callable[[Block], None] = lambda block: None
) -> tuple[dict[str, pa.DataType], set[str], int]:
    """(column → type, the columns to read as JSON text, number of rows). `read` is told every block that was read.

    A column that holds dates as text stays text. Raises SourceError for a line that is no JSON object.
    """
    types: dict[str, pa.DataType] = {}
    as_json = set(text_columns)
    rows = 0
    for block in blocks:
        names, number = _block_types(block, as_json)
        rows += number
        for name, kind in names.items():
            merged = merge_types(types.get(name, pa.null()), kind)
            if merged is None or _has_empty_struct(merged):
                as_json.add(name)
            types[name] = merged or pa.string()
        read(block)
    return {name: pa.string() if name in as_json else kind for name, kind in types.items()}, as_json, rows


def parse_block(
    block: Block, schema: pa.Schema, as_json: Collection[str], strict: bool = False
) -> Iterator[pa.RecordBatch]:
    """The block's rows with the columns of the schema, those of `as_json` as text; other fields are passed over.

    With `strict` they are an error. Raises SourceError.
    """
    if as_json and not set(as_json).isdisjoint(schema.names):
        yield _parse_in_python(block, schema, as_json)
        return
    unexpected = "error" if strict else "ignore"
    options = pa.json.ParseOptions(explicit_schema=schema, unexpected_field_behavior=unexpected)
    try:
        table = _read_json(block.data, options)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise _line_error(block, error) from error
    yield from (conform(batch, schema) for batch in table.to_batches())


def _first_byte(file: io.BufferedReader) -> bytes:
    start = file.tell()
    first = b" "
    while first.isspace():
        first = file.read(1)
    file.seek(start)
    return first


def _skip_mark(file: io.BufferedReader) -> None:
    """Go behind a byte order mark, if there is one."""
    start = file.read(3)
    file.seek(3 if start == b"\xef\xbb\xbf" else 0)


def _spans(path: Path, start: int, span_bytes: int) -> Iterator[tuple[int, int]]:
    size = path.stat().st_size
    with path.open("rb") as file:
        while start < size:
            file.seek(start + span_bytes - 1)
            if len(file.readline(LONGEST_LINE)) == LONGEST_LINE:
                raise SourceError(
                    f"{path}: a line of over {LONGEST_LINE >> 20} MiB, after byte {start:,}: is this one object a line?"
                )
            end = min(file.tell(), size)
            yield start, end
            start = end


def _line_blocks(path: Path, file: io.BufferedReader, block_bytes: int) -> Iterator[Block]:
    line, rest = 1, b""
    while chunk := file.read(block_bytes):
        end = chunk.rfind(b"\n") + 1
        if not end:
            rest += chunk
            if len(rest) > LONGEST_LINE:
                raise SourceError(f"{path}:{line}: a line of over {LONGEST_LINE >> 20} MiB: is this one object a line?")
            continue
        data, rest = rest + chunk[:end], chunk[end:]
        yield Block(path, line, data, file.tell() - len(rest))
        line += data.count(b"\n")
    if rest.strip():
        yield Block(path, line, rest, file.tell())


def _list_blocks(path: Path, file: io.BufferedReader, block_bytes: int) -> Iterator[Block]:
    import ijson

    pending: list[bytes] = []
    size, first = 0, 1
    try:
        for number, element in enumerate(ijson.items(file, "item", use_float=True), start=1):
            if not isinstance(element, dict):
                raise SourceError(f"{path}: element {number} of the list is {_kind_of(element)}, not an object")
            pending.append(orjson.dumps(element))
            size += len(pending[-1])
            if size >= block_bytes:
                yield Block(path, first, b"\n".join(pending), file.tell())
                pending, size, first = [], 0, number + 1
    except ijson.JSONError as error:
        raise SourceError(f"{path}: not a whole JSON list: {first_line(error)}") from error
    except orjson.JSONEncodeError as error:
        raise SourceError(f"{path}: element {number}: {first_line(error)}") from error
    if pending:
        yield Block(path, first, b"\n".join(pending), file.tell())


def _block_types(block: Block, as_json: set[str]) -> tuple[dict[str, pa.DataType], int]:
    if not as_json:
        try:
            table = _read_json(block.data, None)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            pass  # a type that changes inside of the block, or a line that is no JSON: found out line by line
        else:
            return {field.name: _dates_as_text(field.type) for field in table.schema}, table.num_rows
    rows = _objects(block)
    columns: dict[str, list[Any]] = {}
    for row in rows:
        for name, value in row.items():
            columns.setdefault(name, []).append(value)
    types = {}
    for name, values in columns.items():
        if name not in as_json:
            try:
                types[name] = pa.array(values).type
                continue
            except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
                as_json.add(name)
        types[name] = pa.string()
    return types, len(rows)


def _parse_in_python(block: Block, schema: pa.Schema, as_json: Collection[str]) -> pa.RecordBatch:
    rows = _objects(block)
    arrays = []
    for field in schema:
        values = [row.get(field.name) for row in rows]
        if field.name in as_json:
            values = [None if value is None else orjson.dumps(value).decode() for value in values]
        try:
            arrays.append(pa.array(values, field.type))
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as error:
            raise SourceError(f"{block.path}: column {field.name}: {first_line(error)}") from error
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _objects(block: Block) -> list[dict[str, Any]]:
    rows = []
    for number, line in enumerate(block.data.split(b"\n"), start=block.line):
        if not line or line.isspace():
            continue
        try:
            row = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise SourceError(
                f"{block.path}:{number}: not JSON ({first_line(error)}): write one object a line, or a list of objects"
            ) from error
        if not isinstance(row, dict):
            raise SourceError(f"{block.path}:{number}: {_kind_of(row)}, not a JSON object")
        rows.append(row)
    return rows


def _line_error(block: Block, error: Exception) -> SourceError:
    _objects(block)  # raises the error that names the line, where a line is no JSON
    return SourceError(f"{block.path}:{block.line}: in the lines from here on: {first_line(error)}")


def _read_json(data: bytes, options: pa.json.ParseOptions | None) -> pa.Table:
    read = pa.json.ReadOptions(block_size=len(data) + 1, use_threads=False)
    table = pa.json.read_json(pa.BufferReader(data), read_options=read, parse_options=options)
    table.validate(full=True)  # the reader itself lets bytes through that are no UTF-8
    return table


def _dates_as_text(kind: pa.DataType) -> pa.DataType:
    if pt.is_temporal(kind):
        return pa.string()
    if pt.is_list(kind):
        return pa.list_(_dates_as_text(kind.value_type))
    if pt.is_struct(kind):
        return pa.struct([pa.field(field.name, _dates_as_text(field.type)) for field in kind])
    return kind


def _has_empty_struct(kind: pa.DataType) -> bool:
    if pt.is_struct(kind):
        return kind.num_fields == 0 or any(_has_empty_struct(field.type) for field in kind)
    return pt.is_list(kind) and _has_empty_struct(kind.value_type)


def _kind_of(value: object) -> str:
    names = {dict: "an object", list: "a list", str: "text", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")
