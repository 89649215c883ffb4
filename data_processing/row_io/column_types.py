"""Column types that mean the same: how files, or blocks of JSON lines, with different schemas become one.

merge_types(pa.null(), pa.string())              string: a column that was empty so far
merge_types(pa.int64(), pa.float64())            double
merge_types(pa.string(), pa.large_string())      large_string
merge_types(struct<role>, struct<role, name>)    struct<role, name>
merge_types(pa.string(), pa.int64())             None: the two do not agree
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.types as pt


def merge_types(first: pa.DataType, second: pa.DataType) -> pa.DataType | None:
    """The type that holds the values of both without changing any, or None where there is none."""
    first, second = plain_type(first), plain_type(second)
    if first.equals(second) or pt.is_null(second):
        return first
    if pt.is_null(first):
        return second
    if _is_number(first) and _is_number(second):
        return _merge_numbers(first, second)
    for is_kind, wide in ((_is_text, pa.large_string()), (_is_bytes, pa.large_binary())):
        if is_kind(first) and is_kind(second):
            return wide
    if _is_list(first) and _is_list(second):
        item = merge_types(first.value_type, second.value_type)
        large = pt.is_large_list(first) or pt.is_large_list(second)
        return None if item is None else (pa.large_list if large else pa.list_)(item)
    if pt.is_struct(first) and pt.is_struct(second):
        fields = merge_fields(list(first), list(second))
        return None if fields is None else pa.struct(fields)
    return None


def merge_fields(first: list[pa.Field], second: list[pa.Field]) -> list[pa.Field] | None:
    """The fields of both by name, in the order of their first appearance, or None where two types do not agree."""
    types = {field.name: plain_type(field.type) for field in first}
    for field in second:
        merged = merge_types(types.get(field.name, pa.null()), field.type)
        if merged is None:
            return None
        types[field.name] = merged
    return [pa.field(name, kind) for name, kind in types.items()]


def plain_type(kind: pa.DataType) -> pa.DataType:
    """The type without what only says how values are stored: dictionaries, views, fixed list sizes, field metadata."""
    if pt.is_dictionary(kind):
        return plain_type(kind.value_type)
    if pt.is_string_view(kind):
        return pa.large_string()
    if pt.is_binary_view(kind):
        return pa.large_binary()
    if _is_list(kind):
        return (pa.large_list if pt.is_large_list(kind) else pa.list_)(plain_type(kind.value_type))
    if pt.is_struct(kind):
        return pa.struct([pa.field(field.name, plain_type(field.type)) for field in kind])
    return kind


def conform(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """The batch with exactly the columns of the schema: cast where they differ, null where they are missing."""
    if batch.schema.equals(schema):
        return batch
    columns = []
    for field in schema:
        position = batch.schema.get_field_index(field.name)
        if position < 0:
            columns.append(pa.nulls(batch.num_rows, field.type))
        else:
            column = batch.column(position)
            columns.append(column if column.type.equals(field.type) else column.cast(field.type))
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _merge_numbers(first: pa.DataType, second: pa.DataType) -> pa.DataType | None:
    if pt.is_floating(first) or pt.is_floating(second):
        return pa.float64()
    unsigned = (pt.is_unsigned_integer(first), pt.is_unsigned_integer(second))
    if any(unsigned) and pa.uint64() in (first, second) and not all(unsigned):
        return None
    return pa.uint64() if all(unsigned) else pa.int64()


def _is_number(kind: pa.DataType) -> bool:
    return pt.is_integer(kind) or pt.is_floating(kind)


def _is_text(kind: pa.DataType) -> bool:
    return pt.is_string(kind) or pt.is_large_string(kind)


def _is_bytes(kind: pa.DataType) -> bool:
    return pt.is_binary(kind) or pt.is_large_binary(kind)


def _is_list(kind: pa.DataType) -> bool:
    return pt.is_list(kind) or pt.is_large_list(kind) or pt.is_fixed_size_list(kind)
