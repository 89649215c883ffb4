"""Digests of rows, to find those that are the same: equal values give equal digests in every batch of every file.

row_digests(pa.array([["a", "b"], ["a", "b"], ["ab"]]))        [b"\\x8e…", b"\\x8e…", b"\\x01…"]
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.types as pt
import xxhash


def row_digests(column: pa.Array) -> list[bytes]:
    """16 bytes for each row. The column may be text, numbers, lists and structs of them."""
    hashers = [xxhash.xxh3_128() for _ in range(len(column))]
    _feed(column, np.arange(len(column) + 1), hashers)
    return [hasher.digest() for hasher in hashers]


def text_digest(*texts: str) -> bytes:
    """16 bytes that depend on the texts and on where one ends."""
    hasher = xxhash.xxh3_128()
    for text in texts:
        data = text.encode()
        hasher.update(len(data).to_bytes(8, "little"))
        hasher.update(data)
    return hasher.digest()


def _feed(array: pa.Array, bounds: np.ndarray, hashers: list[Any]) -> None:
    """Add to each row's hasher its part of the array: row i has array[bounds[i]:bounds[i + 1]]."""
    _update(array.is_valid().to_numpy(zero_copy_only=False), bounds, hashers)
    kind = array.type
    if pt.is_struct(kind):
        for child in array.flatten():
            _feed(child, bounds, hashers)
    elif pt.is_list(kind) or pt.is_large_list(kind):
        offsets = array.offsets.to_numpy()
        _update(np.diff(offsets).astype(np.int64), bounds, hashers)
        values = array.values.slice(int(offsets[0]), int(offsets[-1] - offsets[0]))
        _feed(values, (offsets - offsets[0])[bounds], hashers)
    elif pt.is_string(kind) or pt.is_large_string(kind) or pt.is_binary(kind) or pt.is_large_binary(kind):
        offset_type = np.int64 if pt.is_large_string(kind) or pt.is_large_binary(kind) else np.int32
        _, offset_buffer, data = array.buffers()
        if not len(array):
            return
        offsets = np.frombuffer(offset_buffer, offset_type)[array.offset : array.offset + len(array) + 1]
        _update(np.diff(offsets).astype(np.int64), bounds, hashers)
        if data is not None:
            _update(np.frombuffer(data, np.uint8), offsets[bounds], hashers)
    elif not pt.is_null(kind):
        values = array.fill_null(False if pt.is_boolean(kind) else 0) if array.null_count else array
        _update(np.ascontiguousarray(values.to_numpy(zero_copy_only=False)), bounds, hashers)


def _update(data: np.ndarray, bounds: np.ndarray, hashers: list[Any]) -> None:
    places = bounds.tolist()
    for hasher, start, end in zip(hashers, places, places[1:], strict=False):
        hasher.update(data[start:end])
