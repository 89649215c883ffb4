"""Digests of rows, to find those that are the same: equal values give equal digests in every batch of every file.

    row_digests(pa.array([["a", "b"], ["a", "b"], ["ab"]]))        array([714…, 714…, 9022…], dtype=uint64)
    seen = SeenDigests()
    seen.add(digests)                                              array([False, True, False])

They have 64 bits: among ten million rows, two different ones have the same digest with a probability of 3 in a million.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.types as pt
import xxhash


class SeenDigests:
    """Remembers digests, in 8 bytes each."""

    def __init__(self) -> None:
        self._parts: list[np.ndarray] = []  # sorted, each more than twice as long as the next

    def add(self, digests: np.ndarray) -> np.ndarray:
        """Which of them were here before, or come earlier among these; the others are remembered."""
        repeated = np.ones(len(digests), bool)
        repeated[np.unique(digests, return_index=True)[1]] = False
        for part in self._parts:
            places = np.searchsorted(part, digests)
            repeated |= part[np.minimum(places, len(part) - 1)] == digests
        new = np.sort(digests[~repeated])
        while self._parts and len(self._parts[-1]) <= 2 * len(new):
            new = np.sort(np.concatenate([self._parts.pop(), new]), kind="stable")
        if len(new):
            self._parts.append(new)
        return repeated


def row_digests(column: pa.Array) -> np.ndarray:
    """A digest for each row. The column may be text, numbers, lists and structs of them."""
    hashers = [xxhash.xxh3_64() for _ in range(len(column))]
    _feed(column, np.arange(len(column) + 1), hashers)
    return np.array([hasher.intdigest() for hasher in hashers], np.uint64)


def text_digests(*columns: Iterable[str | None]) -> np.ndarray:
    """A digest for each row of some columns of text. It depends on where one text ends and the next begins."""
    return np.array([_text_digest(texts) for texts in zip(*columns, strict=True)], np.uint64)


def _text_digest(texts: Iterable[str | None]) -> int:
    hasher = xxhash.xxh3_64()
    for text in texts:
        data = (text or "").encode()
        hasher.update(len(data).to_bytes(8, "little"))
        hasher.update(data)
    return hasher.intdigest()


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
