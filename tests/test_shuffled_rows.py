"""data_processing/row_io/shuffled_rows.py: every order as likely as any other, and the same on every machine."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from row_io import shuffled_rows
from row_io.shuffled_rows import bucket_of, shuffle_keys


class Collected:
    """An output that keeps the numbers that it is given."""

    def __init__(self) -> None:
        self.numbers: list[int] = []

    def write(self, batch: pa.RecordBatch) -> None:
        assert batch.schema.names == ["number", "chat"]
        assert batch.column("chat").to_pylist() == [[{"text": str(n)}] * (n % 3) for n in batch["number"].to_pylist()]
        self.numbers += batch.column("number").to_pylist()


def batch_of(numbers: range) -> pa.RecordBatch:
    chats = [[{"text": str(number)}] * (number % 3) for number in numbers]
    kind = pa.list_(pa.struct([("text", pa.string())]))
    return pa.record_batch({"number": pa.array(numbers, pa.int64()), "chat": pa.array(chats, kind)})


def shuffle(directory: Path, rows: int, seed: int, batch_rows: int = 7, total_bytes: int = 0) -> list[int]:
    output = Collected()
    with shuffled_rows.shuffled_rows(output, total_bytes, seed, directory) as shuffled:
        for start in range(0, rows, batch_rows):
            shuffled.write(batch_of(range(start, min(rows, start + batch_rows))))
    assert not list(directory.iterdir())
    return output.numbers


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.integers(0, 200),
    seed=st.integers(-(2**70), 2**70),
    batch_rows=st.integers(1, 50),
    buckets=st.integers(1, 40),
    pending=st.sampled_from([1, 2000, 1 << 20]),
)
def test_the_rows_are_the_same_in_an_order_that_only_the_seed_decides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: int, seed: int, batch_rows: int, buckets: int, pending: int
) -> None:
    expected = shuffle(tmp_path, rows, seed)
    assert sorted(expected) == list(range(rows))
    with monkeypatch.context() as patch:
        patch.setattr(shuffled_rows, "BUCKET_BYTES", 1)
        patch.setattr(shuffled_rows, "PENDING_BYTES", pending)
        assert shuffle(tmp_path, rows, seed, batch_rows, total_bytes=buckets - 1) == expected


def test_every_order_of_four_rows_is_as_likely_as_any_other() -> None:
    seeds = 24_000
    orders = Counter(tuple(np.argsort(shuffle_keys(0, 4, seed))) for seed in range(seeds))
    assert len(orders) == 24
    chi_square = sum((number - seeds / 24) ** 2 / (seeds / 24) for number in orders.values())
    assert chi_square < 49.7  # 23 degrees of freedom: 1 in 1000 true shuffles is above


def test_rows_that_were_neighbours_are_not_neighbours_more_often_than_by_chance() -> None:
    places = np.argsort(np.argsort(shuffle_keys(0, 100_000, seed=1)))
    distances = np.abs(np.diff(places))
    assert abs(distances.mean() / 100_000 - 1 / 3) < 0.005
    assert (distances == 1).sum() < 10  # 2 are expected


def test_keys_differ_whatever_the_number_of_the_first_row() -> None:
    keys = np.concatenate([shuffle_keys(start, 1000, seed=5) for start in (0, 1000, 2**32, 2**40)])
    assert len(set(keys.tolist())) == 4000
    assert np.array_equal(shuffle_keys(0, 2000, 5)[1000:], shuffle_keys(1000, 1000, 5))


def test_buckets_are_ranges_of_keys_of_about_the_same_size() -> None:
    keys = np.sort(shuffle_keys(0, 100_000, seed=3))
    buckets = bucket_of(keys, 200)
    assert (np.diff(buckets.astype(np.int64)) >= 0).all()
    sizes = np.bincount(buckets.astype(np.int64), minlength=200)
    assert len(sizes) == 200 and sizes.min() > 400 and sizes.max() < 600


def test_an_error_removes_the_temporary_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shuffled_rows, "PENDING_BYTES", 1)
    output = Collected()
    with (
        pytest.raises(KeyboardInterrupt),
        shuffled_rows.shuffled_rows(output, 1 << 30, 1, tmp_path) as shuffled,
    ):
        shuffled.write(batch_of(range(100)))
        assert list(tmp_path.rglob("*.arrow"))
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())
    assert not output.numbers
