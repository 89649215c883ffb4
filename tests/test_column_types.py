"""data_processing/row_io/column_types.py: one type for the values of two, or none."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from row_io.column_types import conform, merge_types

SIMPLE = [pa.null(), pa.bool_(), pa.int8(), pa.uint8(), pa.int64(), pa.uint64(), pa.float32(), pa.float64()]
SIMPLE += [pa.string(), pa.large_string(), pa.binary(), pa.date32()]


def _wider(inner: st.SearchStrategy[pa.DataType]) -> st.SearchStrategy[pa.DataType]:
    fields = st.dictionaries(st.sampled_from("abc"), inner, min_size=1, max_size=3)
    return inner.map(pa.list_) | inner.map(pa.large_list) | fields.map(lambda names: pa.struct(list(names.items())))


types = st.recursive(st.sampled_from(SIMPLE), _wider, max_leaves=4)


def same(first: pa.DataType | None, second: pa.DataType | None) -> bool:
    """Equal, whatever the order of a struct's fields."""
    if first is None or second is None:
        return first is second
    if pa.types.is_struct(first) and pa.types.is_struct(second):
        names = {field.name for field in first}
        return names == {field.name for field in second} and all(
            same(first.field(name).type, second.field(name).type) for name in names
        )
    if hasattr(first, "value_type") and hasattr(second, "value_type"):
        return first.id == second.id and same(first.value_type, second.value_type)
    return first.equals(second)


@given(types, types)
def test_it_does_not_matter_which_comes_first(first: pa.DataType, second: pa.DataType) -> None:
    assert same(merge_types(first, second), merge_types(second, first))


@given(types)
def test_a_type_agrees_with_itself_and_with_nothing(kind: pa.DataType) -> None:
    assert same(merge_types(kind, kind), kind)
    assert same(merge_types(pa.null(), kind), kind)


@pytest.mark.parametrize(
    ("first", "second", "merged"),
    [
        (pa.int32(), pa.int64(), pa.int64()),
        (pa.int8(), pa.uint8(), pa.int64()),
        (pa.uint8(), pa.uint64(), pa.uint64()),
        (pa.int64(), pa.uint64(), None),
        (pa.int64(), pa.float32(), pa.float64()),
        (pa.string(), pa.large_string(), pa.large_string()),
        (pa.dictionary(pa.int32(), pa.string()), pa.string(), pa.string()),
        (pa.string_view(), pa.string(), pa.large_string()),
        (pa.string(), pa.binary(), None),
        (pa.string(), pa.int64(), None),
        (pa.bool_(), pa.int64(), None),
        (pa.list_(pa.null()), pa.list_(pa.string()), pa.list_(pa.string())),
        (pa.list_(pa.string()), pa.string(), None),
        (pa.list_(pa.int8(), 2), pa.list_(pa.int8()), pa.list_(pa.int8())),
        (pa.struct([("a", pa.int64())]), pa.struct([("a", pa.string())]), None),
    ],
    ids=str,
)
def test_known_pairs(first: pa.DataType, second: pa.DataType, merged: pa.DataType | None) -> None:
    assert merge_types(first, second) == merge_types(second, first) == merged


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (pa.struct([("a", pa.int32())]), [{"a": 1}, None]),
        (pa.list_(pa.struct([("b", pa.string())])), [[{"b": "x"}], [], None]),
        (pa.dictionary(pa.int32(), pa.string()), ["x", None, "x"]),
    ],
    ids=str,
)
def test_values_stay_what_they_are(kind: pa.DataType, values: list[Any]) -> None:
    wide = {
        0: pa.struct([("b", pa.string()), ("a", pa.int64())]),
        1: pa.large_list(pa.struct([("b", pa.large_string()), ("c", pa.int64())])),
        2: pa.large_string(),
    }[[pa.types.is_struct(kind), pa.types.is_list(kind), pa.types.is_dictionary(kind)].index(True)]
    merged = merge_types(kind, wide)
    schema = pa.schema([("x", merged), ("y", pa.int64())])
    batch = conform(pa.RecordBatch.from_arrays([pa.array(values, kind)], names=["x"]), schema)
    assert batch.schema == schema

    def without_nulls(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: item for key, item in value.items() if item is not None}
        return [without_nulls(item) for item in value] if isinstance(value, list) else value

    assert [without_nulls(row["x"]) for row in batch.to_pylist()] == values
