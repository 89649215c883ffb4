"""row_io/row_source.py: the same rows from every kind of file, in flat memory, and one line for each fault."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dataset_hub import Repository, dataset_hub
from row_io import arrow_rows, json_rows, row_source
from row_io.row_source import Source, SourceError, TypesChanged, open_source, require_columns

TOOLS = Path(json_rows.__file__).parents[1]
ROWS = [
    {"id": 1, "text": "é\n", "turns": [{"role": "user", "content": "hi"}]},
    {"id": None, "text": None, "turns": []},
    {"id": 3, "text": "2024-01-01", "turns": [{"role": "user", "content": None}, {"role": "tool", "content": "x"}]},
]
TURNS = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
SCHEMA = pa.schema([("id", pa.int64()), ("text", pa.string()), ("turns", TURNS)])


def write(path: Path, rows: list[dict[str, Any]], schema: pa.Schema | None = SCHEMA) -> Path:
    """The rows in the format that the name tells: `.stream.arrow` is a stream, another `.arrow` a file."""
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows, schema), path)
    elif path.suffix == ".arrow":
        table = pa.Table.from_pylist(rows, schema)
        new = pa.ipc.new_stream if ".stream" in path.name else pa.ipc.new_file
        with new(path, table.schema) as writer:
            writer.write_table(table)
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows, indent=1), encoding="utf-8")
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def rows_of(source: Source, *columns: str) -> list[dict[str, Any]]:
    return [row for batch in source.batches(list(columns) or None) for row in batch.to_pylist()]


def lines(path: Path, *texts: str | bytes) -> Path:
    path.write_bytes(b"\n".join(text if isinstance(text, bytes) else text.encode() for text in texts))
    return path


EVERY_KIND = ["a.parquet", "a.stream.arrow", "a.arrow", "a.json", "a.jsonl", "a.ndjson"]


@pytest.mark.parametrize("name", EVERY_KIND)
def test_every_kind_of_file_gives_the_same_rows_twice(tmp_path: Path, name: str) -> None:
    source = open_source(str(write(tmp_path / name, ROWS)))
    assert source.columns == ["id", "text", "turns"]
    assert source.num_rows in (3, None) and source.total_bytes == (tmp_path / name).stat().st_size
    assert rows_of(source) == rows_of(source) == ROWS
    assert all(batch.schema == source.schema for batch in source.batches())


@pytest.mark.parametrize("name", EVERY_KIND)
def test_chosen_columns_and_one_field_of_structs(tmp_path: Path, name: str) -> None:
    source = open_source(str(write(tmp_path / name, ROWS)))
    assert rows_of(source, "text", "id") == [{"text": row["text"], "id": row["id"]} for row in ROWS]
    roles = [[{"role": turn["role"]} for turn in row["turns"]] for row in ROWS]
    assert rows_of(source, "turns.role") == [{"turns": turns} for turns in roles]
    with pytest.raises(SourceError, match="has no column name; its columns are id, text, turns"):
        rows_of(source, "name")
    with pytest.raises(SourceError, match=r"column turns is .* which has no name"):
        rows_of(source, "turns.name")


@pytest.mark.parametrize("name", EVERY_KIND)
def test_the_bytes_that_are_reported_add_up_to_the_file(tmp_path: Path, name: str) -> None:
    source = open_source(str(write(tmp_path / name, ROWS * 50)))
    steps: list[int] = []
    assert sum(batch.num_rows for batch in source.batches(advance=steps.append)) == 150
    assert sum(steps) == source.total_bytes and min(steps) >= 0


text = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)
value = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | text | st.lists(text, max_size=3)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.fixed_dictionaries({"a": value, "b": value}), min_size=1, max_size=12), st.integers(1, 120))
def test_json_rows_of_any_types_come_back_in_blocks_of_any_size(
    tmp_path: Path, rows: list[dict[str, Any]], block: int
) -> None:
    path = write(tmp_path / "a.jsonl", rows, schema=None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(row_source, "BLOCK_BYTES", block)
        source = open_source(str(path))
        read = rows_of(source)
    for column in source.json_columns:
        for row in read:
            row[column] = json.loads(row[column]) if row[column] is not None else None
    assert read == rows


def test_a_column_whose_type_changes_is_read_as_json_text(tmp_path: Path) -> None:
    rows = [{"a": 1, "b": "x"}, {"a": "one"}, {"a": [1]}, {"a": None, "b": "y"}]
    source = open_source(str(write(tmp_path / "a.jsonl", rows, schema=None)))
    assert source.json_columns == {"a"}
    assert [row["a"] for row in rows_of(source)] == ["1", '"one"', "[1]", None]
    assert [row["b"] for row in rows_of(source)] == ["x", None, None, "y"]


@pytest.mark.parametrize(
    "late",
    [{"a": "x"}, {"a": 1.5}, {"b": 1}, {"a": 1, "turns": [{"role": "user", "name": "x"}]}, {"a": 1, "turns": [1]}],
    ids=str,
)
def test_a_sampled_source_says_that_later_rows_differ(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, late: dict[str, Any]
) -> None:
    monkeypatch.setattr(row_source, "BLOCK_BYTES", 60)
    rows = [{"a": 1, "turns": [{"role": "user"}]}] * 9
    path = str(write(tmp_path / "a.jsonl", rows, schema=None))
    assert rows_of(open_source(path, sample=True)) == rows
    path = str(write(tmp_path / "a.jsonl", [*rows, late], schema=None))
    source = open_source(path, sample=True)
    with pytest.raises(TypesChanged):
        rows_of(source, "a", "turns")
    assert len(rows_of(open_source(path))) == 10


def test_a_column_can_be_asked_for_as_json_text(tmp_path: Path) -> None:
    source = open_source(str(write(tmp_path / "a.json", ROWS)), as_json=["turns"])
    assert [json.loads(row["turns"]) for row in rows_of(source)] == [row["turns"] for row in ROWS]


def test_two_json_files_of_which_one_mixes_types(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", [{"a": 1}], schema=None)
    write(tmp_path / "b.jsonl", [{"a": 2}, {"a": "two"}], schema=None)
    assert [row["a"] for row in rows_of(open_source(str(tmp_path)))] == ["1", "2", '"two"']


def test_text_that_looks_like_a_date_stays_as_it_was_written(tmp_path: Path) -> None:
    path = lines(tmp_path / "a.jsonl", '{"day": "2024-01-01"}', '{"day": "2024-01-01T10:00:00Z"}')
    assert [row["day"] for row in rows_of(open_source(str(path)))] == ["2024-01-01", "2024-01-01T10:00:00Z"]


@pytest.mark.parametrize(
    "content",
    [
        b'\xef\xbb\xbf{"a": 1}\n{"a": 2}\n',
        b'{"a": 1}\r\n{"a": 2}\r\n',
        b'{"a": 1}\n\n   \n{"a": 2}',
        b'  [{"a": 1},\n {"a": 2}]',
    ],
    ids=["byte order mark", "carriage returns", "blank lines", "list"],
)
def test_ways_to_write_the_same_json(tmp_path: Path, content: bytes) -> None:
    for name in ("a.jsonl", "a.json"):
        assert rows_of(open_source(str(lines(tmp_path / name, content)))) == [{"a": 1}, {"a": 2}]


def test_batches_stay_small_in_one_row_group_and_in_one_record_batch(tmp_path: Path) -> None:
    size, number = 20_000, 3_000
    table = pa.table({"text": [f"{row:05}" * (size // 5) for row in range(number)], "id": range(number)})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=number)
    with pa.ipc.new_file(tmp_path / "a.arrow", table.schema) as writer:
        writer.write_batch(table.combine_chunks().to_batches()[0])
    for name in ("a.parquet", "a.arrow"):
        ids = []
        for batch in open_source(str(tmp_path / name)).batches():
            assert batch.num_rows * size <= 1.1 * arrow_rows.BATCH_BYTES
            ids += batch.column("id").to_pylist()
        assert ids == list(range(number))


def test_files_with_different_columns_are_read_as_one_table(tmp_path: Path) -> None:
    pq.write_table(
        pa.table({"a": pa.array([1], pa.int32()), "b": pa.array(["x"]).dictionary_encode()}), tmp_path / "1.parquet"
    )
    pq.write_table(pa.table({"b": pa.array(["y"], pa.large_string()), "c": [None]}), tmp_path / "2.parquet")
    write(tmp_path / "3.jsonl", [{"c": {"d": 1.5}, "a": 3}], schema=None)
    source = open_source(str(tmp_path / "*"))
    assert [str(source.schema.field(name).type) for name in "abc"] == ["int64", "large_string", "struct<d: double>"]
    assert rows_of(source) == [
        {"a": 1, "b": "x", "c": None},
        {"a": None, "b": "y", "c": None},
        {"a": 3, "b": None, "c": {"d": 1.5}},
    ]


def test_files_whose_types_do_not_agree_are_named_with_both_types(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [1]}), tmp_path / "1.parquet")
    pq.write_table(pa.table({"a": ["x"]}), tmp_path / "2.parquet")
    with pytest.raises(SourceError) as caught:
        open_source(str(tmp_path))
    for word in ("column a", "int64", "string", str(tmp_path / "1.parquet"), str(tmp_path / "2.parquet")):
        assert word in str(caught.value)


def test_a_directory_gives_the_files_of_the_split(tmp_path: Path) -> None:
    for name in ("data/train-00000-of-00002", "data/train-00001-of-00002", "data/test-00000-of-00001", ".cache/train"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        pq.write_table(pa.table({"file": [name]}), tmp_path / f"{name}.parquet")
    (tmp_path / "README.md").write_text("about")
    assert [row["file"] for row in rows_of(open_source(str(tmp_path)))] == [
        "data/train-00000-of-00002",
        "data/train-00001-of-00002",
    ]
    assert [row["file"] for row in rows_of(open_source(str(tmp_path), split="test"))] == ["data/test-00000-of-00001"]
    with pytest.raises(SourceError, match="no files of split 'dev'; its splits are test, train"):
        open_source(str(tmp_path), split="dev")


def test_a_missing_column_is_named_with_those_that_there_are(tmp_path: Path) -> None:
    path = str(write(tmp_path / "a.parquet", ROWS))
    for ask in (
        lambda: open_source(path, columns=["id", "x"]),
        lambda: require_columns(open_source(path), ["x", "id"]),
    ):
        with pytest.raises(SourceError, match="has no column x; its columns are id, text, turns"):
            ask()


def damaged(path: Path) -> Path:
    """The file without its last bytes."""
    path.write_bytes(path.read_bytes()[:-20])
    return path


def scratched(path: Path) -> Path:
    """A parquet file whose footer is whole and whose pages are not."""
    data = bytearray(path.read_bytes())
    data[4:400] = b"\xff" * 396
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda d: damaged(write(d / "a.parquet", ROWS)), ["a.parquet", "cut short", "download it"]),
        (lambda d: lines(d / "a.parquet", ""), ["a.parquet", "no whole parquet"]),
        (lambda d: scratched(write(d / "a.parquet", ROWS * 99)), ["a.parquet", "damaged", "download it"]),
        (lambda d: damaged(write(d / "a.arrow", ROWS)), ["a.arrow", "cut short", "download it"]),
        (lambda d: damaged(write(d / "a.stream.arrow", ROWS)), ["a.stream.arrow", "damaged", "download it"]),
        (lambda d: lines(d / "a.arrow", ""), ["a.arrow", "cut short"]),
        (lambda d: lines(d / "a.jsonl", '{"a": 1}', '{"a": '), ["a.jsonl:2:", "not JSON"]),
        (lambda d: lines(d / "a.jsonl", '{"a": 1}', "[1]"), ["a.jsonl:2:", "a list, not a JSON object"]),
        (lambda d: lines(d / "a.jsonl", '{"a": 1}', b'{"a": "\xff"}'), ["a.jsonl:2:", "not JSON", "UTF-8"]),
        (lambda d: lines(d / "a.json", '[{"a": 1}, 7]'), ["a.json", "element 2", "a number"]),
        (lambda d: lines(d / "a.json", '[{"a": 1}, {"a"'), ["a.json", "not a whole JSON list"]),
        (lambda d: lines(d / "a.json", "{", '"rows": [', "]}"), ["a.json:1:", "not JSON"]),
        (lambda d: lines(d / "a.csv", "a,b"), ["a.csv", ".csv", ".parquet, .arrow, .jsonl"]),
        (lambda d: d / "missing.parquet", ["missing.parquet", "is not there"]),
        (lambda d: d / "*.parquet", ["no file matches"]),
        (lambda d: d, ["holds no .parquet"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_fault_is_one_line_that_names_the_file(tmp_path: Path, make: Any, words: list[str]) -> None:
    path = make(tmp_path)
    with pytest.raises(SourceError) as caught:
        rows_of(open_source(str(path)))
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


def test_a_line_without_an_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_source, "BLOCK_BYTES", 100)
    monkeypatch.setattr(json_rows, "LONGEST_LINE", 1 << 20)
    with pytest.raises(SourceError, match=r"a.jsonl:1: a line of over 1 MiB"):
        open_source(str(lines(tmp_path / "a.jsonl", '{"a": "' + "x" * (2 << 20) + '"}')))


# --- the hub

ASK = """
import json, sys
from row_io.row_source import SourceError, open_source
for name, split in json.loads(sys.argv[1]):
    try:
        source = open_source(name, split=split)
        print(json.dumps([row for batch in source.batches() for row in batch.to_pylist()]))
    except SourceError as error:
        print(json.dumps(str(error)))
"""


def ask(home: Path, url: str, *asked: tuple[str, str], **env: str) -> list[Any]:
    """What open_source makes of each (name, split): rows, or the text of its SourceError."""
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(TOOLS), "HF_ENDPOINT": url, "HF_HOME": str(home), **env}
    command = [sys.executable, "-c", ASK, json.dumps(asked)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "hf_" not in done.stdout + done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def parquet(*rows: str) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table({"a": rows}), buffer)
    return buffer.getvalue()


@pytest.mark.slow
def test_a_dataset_of_the_hub_is_downloaded_once_and_its_faults_are_one_line(tmp_path: Path) -> None:
    data = {"data/train-0-of-2.parquet": parquet("x"), "data/train-1-of-2.parquet": parquet("y")}
    configured = (
        b"---\nconfigs:\n- config_name: one\n  data_files: a.jsonl\n- config_name: two\n  data_files: b.jsonl\n---\n"
    )
    repositories = {
        "org/open.set-1": Repository({**data, "data/test-0-of-1.parquet": parquet("t")}),
        "org/configs": Repository({"README.md": configured, "a.jsonl": b'{"a": 1}', "b.jsonl": b'{"a": 2}'}),
        "org/table": Repository({"train.csv": b"a\n1\n"}),
        "org/gated": Repository(data, "hf_right", (403, "GatedRepo")),
        "org/private": Repository(data, "hf_right"),
        "org/down": Repository(data, "hf_other", (503, "")),
    }
    with dataset_hub(repositories) as hub:
        rows, test, no_split, config, no_config, table, gated, private, down, missing = ask(
            tmp_path,
            hub.url,
            ("org/open.set-1", "train"),
            ("org/open.set-1", "test"),
            ("org/open.set-1", "dev"),
            ("org/configs:two", "train"),
            ("org/configs", "train"),
            ("org/table", "train"),
            ("org/gated", "train"),
            ("org/private", "train"),
            ("org/down", "train"),
            ("org/missing", "train"),
        )
        assert rows == [{"a": "x"}, {"a": "y"}] and test == [{"a": "t"}] and config == [{"a": 2}]
        assert no_split == "org/open.set-1 has no split 'dev'; its splits are train, test"
        assert "one" in no_config and "two" in no_config
        assert ".csv extension" in table
        assert "org/gated is gated" in gated and "set HF_TOKEN" in gated
        for name, error in (("org/private", private), ("org/missing", missing)):
            assert (
                name in error
                and hub.url in error
                and "no dataset of that name, or it is private: set HF_TOKEN" in error
            )
        assert down == f"{hub.url} answered 503 for org/down: try again later"
        files = [name for name in hub.downloaded if name.startswith("org/open") and name.endswith(".parquet")]
        assert len(files) == len(set(files)) == 3
        opened, private = ask(tmp_path, hub.url, ("org/gated", "train"), ("org/private", "train"), HF_TOKEN="hf_right")
        assert opened == private == rows
        (wrong,) = ask(tmp_path, hub.url, ("org/gated", "train"), HF_TOKEN="hf_wrong")
        assert "HF_TOKEN has no access to it" in wrong
    (unreachable,) = ask(tmp_path, "http://127.0.0.1:9", ("org/open.set-1", "train"))
    assert "org/open.set-1 could not be reached at http://127.0.0.1:9" in unreachable and "network" in unreachable
