"""data_processing/row_io/parquet_output.py: both files or none, in row groups of bounded size."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from row_io import parquet_output
from row_io.parquet_output import check_targets, check_val_ratio, parquet_files
from row_io.source_error import SourceError

SCHEMA = pa.schema([("text", pa.string())])


def batch(*texts: str) -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict({"text": list(texts)}, SCHEMA)


def test_both_files_are_there_afterwards_and_not_before(tmp_path: Path) -> None:
    targets = {"train": tmp_path / "new/a.parquet", "val": tmp_path / "b.parquet"}
    with parquet_files(targets, SCHEMA) as outputs:
        outputs["train"].write(batch("x", "y"))
        outputs["train"].write(batch())
        outputs["val"].write(batch("z"))
        assert not any(path.exists() for path in targets.values())
    assert [pq.read_table(path)["text"].to_pylist() for path in targets.values()] == [["x", "y"], ["z"]]
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a.parquet", "b.parquet", "new"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError, SourceError])
def test_after_an_error_the_earlier_files_are_as_they_were(tmp_path: Path, error: type[BaseException]) -> None:
    targets = {"train": tmp_path / "a.parquet", "val": tmp_path / "b.parquet"}
    targets["train"].write_bytes(b"earlier")
    with pytest.raises(error), parquet_files(targets, SCHEMA) as outputs:
        outputs["train"].write(batch("x"))
        outputs["val"].write(batch("x"))
        raise error("in the middle")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a.parquet", b"earlier")]


def test_a_side_without_rows_leaves_neither_file(tmp_path: Path) -> None:
    targets = {"train": tmp_path / "a.parquet", "val": tmp_path / "b.parquet"}
    with (
        pytest.raises(SourceError, match=r"no rows are left for .*b\.parquet: nothing was written"),
        parquet_files(targets, SCHEMA) as outputs,
    ):
        outputs["train"].write(batch("x"))
    assert not list(tmp_path.iterdir())


def test_row_groups_follow_the_bytes_and_not_the_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet_output, "ROW_GROUP_BYTES", 1000)
    with parquet_files({"train": tmp_path / "a.parquet"}, SCHEMA) as outputs:
        for number in range(40):
            outputs["train"].write(batch(f"{number:0400}"))
    groups = pq.ParquetFile(tmp_path / "a.parquet").metadata
    assert [groups.row_group(i).num_rows for i in range(groups.num_row_groups)] == [3] * 13 + [1]
    assert pq.read_table(tmp_path / "a.parquet")["text"].to_pylist() == [f"{number:0400}" for number in range(40)]


def test_targets_that_cannot_be_written_are_refused_first(tmp_path: Path) -> None:
    target = tmp_path / "a.parquet"
    target.write_bytes(b"x")
    (tmp_path / "link.parquet").symlink_to(target)
    for targets, inputs, words in (
        ([tmp_path], [], "is a directory"),
        ([target], [tmp_path / "link.parquet"], "is also an input"),
        ([target, tmp_path / "link.parquet"], [], "is named twice"),
    ):
        with pytest.raises(SourceError, match=words):
            check_targets(targets, inputs)
    with pytest.raises(OSError):
        check_targets([target / "b.parquet"])


@pytest.mark.parametrize("ratio", [-0.1, 1, 1.5, float("nan"), float("inf")])
def test_a_ratio_outside_of_zero_to_one_is_refused(ratio: float) -> None:
    with pytest.raises(SourceError, match="--val-ratio"):
        check_val_ratio(ratio)
    check_val_ratio(0)
    check_val_ratio(0.999)
