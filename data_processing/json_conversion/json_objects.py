"""The objects of a block of JSON lines, with the numbers of the lines that hold none.

    {"prompt": "2+2?", "answer": 4}        an object
    {"prompt": "2+2?", "answer": 4         bad: cut short
    [1, 2]                                 bad: JSON, but no object

Numbers are read as written: an integer of any length stays an integer.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec

from json_conversion.json_blocks import JsonBlock
from row_io.source_error import SourceError, first_line

Row = dict[str, Any]
NOT_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
NAMES = {dict: "an object", list: "a list", str: "text", bool: "a boolean", type(None): "null"}

_decoder = msgspec.json.Decoder()
_encoder = msgspec.json.Encoder()


@dataclass(frozen=True)
class BadLine:
    """A line that holds no JSON object."""

    block: JsonBlock
    line: int
    """In the block, from 0 on."""
    fault: str

    def __str__(self) -> str:
        return f"{self.block.place(self.line)}: {self.fault}"


@dataclass
class BadLines:
    """Those that were left out."""

    number: int = 0
    first: BadLine | None = None

    def add(self, other: BadLines) -> None:
        self.first = self.first or other.first
        self.number += other.number


@dataclass
class Objects:
    rows: list[Row]
    bad: BadLines = field(default_factory=BadLines)


def parse_objects(block: JsonBlock, skip_bad: bool = False) -> Objects:
    """The block's objects, one a line; blank lines are nothing. Raises SourceError that names the first bad line."""
    data = block.read()
    try:
        rows = _decoder.decode_lines(data)
    except NOT_JSON:
        return _line_by_line(block, data, skip_bad)
    # The decoder also takes two objects in a line, or one over several lines. A block's end may then cut one in two, so
    # that what is accepted would depend on where blocks end.
    lines = data.count(b"\n") + (not data.endswith(b"\n"))
    if len(rows) != lines or set(map(type, rows)) != {dict}:
        return _line_by_line(block, data, skip_bad)
    return Objects(rows)


def kind_name(value: object) -> str:
    """What a JSON value is, in words: `a number`, `null` …"""
    return NAMES.get(type(value), "a number")


def to_json(value: object) -> str:
    """The JSON of a value, without spaces."""
    return _encoder.encode(value).decode()


def to_json_each(values: Sequence[object]) -> list[str | None]:
    """The JSON of each value; None stays None."""
    texts = _encoder.encode_lines(values).decode().split("\n")
    return [None if value is None else text for value, text in zip(values, texts, strict=False)]


@contextmanager
def no_cycle_search() -> Iterator[None]:
    """Keeps Python from looking for reference cycles among parsed rows, which have none: it takes half of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _line_by_line(block: JsonBlock, data: bytes, skip_bad: bool) -> Objects:
    objects = Objects([])
    for number, line in enumerate(data.split(b"\n")):
        if not line or line.isspace():
            continue
        fault = ""
        try:
            row = _decoder.decode(line)
        except NOT_JSON as error:
            fault = f"not JSON: {first_line(error)}"
        else:
            if isinstance(row, dict):
                objects.rows.append(row)
            else:
                fault = f"{kind_name(row)}, not a JSON object"
        if fault and not skip_bad:
            raise SourceError(f"{BadLine(block, number, fault)} (--skip-bad-lines leaves such lines out)")
        if fault:
            objects.bad.add(BadLines(1, BadLine(block, number, fault)))
    return objects
