"""The columns of the files that convert_to_parquet.py writes, and the types that its fields can have.

rl         prompt, data_source, ability, reward_model, extra_info
pair       prompt, response, extra_info
messages   messages, extra_info
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.types as pt

from json_conversion.field_survey import BOOLEAN, INTEGER, LONG, NUMBER, TEXT, Path


@dataclass(frozen=True)
class Kept:
    """A field that is written as it is, or as JSON text."""

    name: str
    path: Path
    type: pa.DataType
    as_json: bool = False


def output_schema(layout: str, messages: pa.DataType, passed: Sequence[Kept], kept: Sequence[Kept]) -> pa.Schema:
    """`passed` are columns beside the messages, `kept` are fields of extra_info, after index and env."""
    extra_info = pa.struct([("index", pa.int64()), ("env", pa.string()), *((item.name, item.type) for item in kept)])
    if layout == "rl":
        reward_model = pa.struct([("style", pa.string()), ("ground_truth", pa.string())])
        columns = [("prompt", messages), ("data_source", pa.string()), ("ability", pa.string())]
        columns.append(("reward_model", reward_model))
    elif layout == "messages":
        columns = [("messages", messages)]
    else:
        columns = [("prompt", pa.string()), ("response", pa.string())]
    return pa.schema([*columns, *((item.name, item.type) for item in passed), ("extra_info", extra_info)])


def column_type(kinds: set[str]) -> tuple[pa.DataType, bool]:
    """(the type, whether values are written as JSON): what one type cannot hold unchanged is JSON text."""
    if kinds <= {TEXT}:
        return pa.string(), False
    if kinds == {BOOLEAN}:
        return pa.bool_(), False
    if kinds <= {INTEGER, LONG}:
        return pa.int64(), False
    if kinds <= {INTEGER, NUMBER}:
        return pa.float64(), False
    return pa.string(), True


def has_empty_struct(kind: pa.DataType) -> bool:
    """Whether a part of the type is an object without fields, which parquet cannot write."""
    if pt.is_struct(kind):
        return kind.num_fields == 0 or any(has_empty_struct(child.type) for child in kind)
    return pt.is_list(kind) and has_empty_struct(kind.value_type)
