"""swe/row_source.py: rows from files, from a dataset, and from a copy of a dataset."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest

from dataset_hub import Repository, dataset_hub
from env_adapter import NotHere, SettingsError
from swe.row_source import RowSource
from swe_toy import shared_toy_tasks

TOOLS = Path(__file__).parents[1] / "train" / "tools"


def toy_rows(count: int) -> list[dict]:
    return [json.loads((shared_toy_tasks(8) / f"task_{number}.json").read_text()) for number in range(count)]


def parquet(rows: list[dict], file: Path) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pa.Table.from_pylist(rows), file)
    return file


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """As a dataset lies on the hub."""
    parquet(toy_rows(5), tmp_path / "a-dataset/data/test-00000-of-00001.parquet")
    parquet(toy_rows(2), tmp_path / "a-dataset/data/dev-00000-of-00001.parquet")
    return tmp_path / "a-dataset"


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "datasets")


def test_files_are_rows_by_their_number_in_both_spellings(tmp_path: Path) -> None:
    rows = toy_rows(3)
    for name, row in zip(("task_0.json", "task_00000000012.json", "task_7.json"), rows, strict=True):
        (tmp_path / name).write_text(json.dumps(row))
    (tmp_path / "notes.json").write_text("no row")
    source = RowSource("an-org/a-dataset", "test", tmp_path)
    assert list(source.numbers()) == [0, 7, 12]
    assert source.row(12).to_dict() == {**source.row(12).to_dict(), **rows[1]}
    with pytest.raises(SettingsError, match=r"task 1 is not in cache_dir=.*: its 3 tasks are numbered 0 to 12"):
        source.row(1)


def test_a_file_that_is_no_row_is_named(tmp_path: Path) -> None:
    (tmp_path / "task_0.json").write_text("{")
    (tmp_path / "task_1.json").write_text('{"repo": "a/b"}')
    source = RowSource("an-org/a-dataset", "test", tmp_path)
    with pytest.raises(SettingsError, match=r"task_0\.json is not JSON"):
        source.row(0)
    with pytest.raises(SettingsError, match=r"task_1\.json has no instance_id, base_commit"):
        source.row(1)


def test_rows_of_a_dataset_are_kept_so_that_a_second_run_needs_none(dataset: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    source = RowSource(str(dataset), "test", kept)
    assert list(source.numbers()) == [0, 1, 2, 3, 4]
    first = [source.row(number) for number in (1, 3)]
    assert sorted(path.name for path in kept.iterdir()) == ["dataset.json", "task_1.json", "task_3.json"]
    dataset.rename(tmp_path / "gone")
    again = RowSource(str(dataset), "test", kept)
    assert list(again.numbers()) == [0, 1, 2, 3, 4], "those that are not here yet are counted"
    assert [again.row(number) for number in (1, 3)] == first
    with pytest.raises(SettingsError, match="cannot be read"):
        again.row(0)
    assert list(RowSource("any/other", "test", kept, use_cache_only=True).numbers()) == [1, 3]


def test_rows_of_two_datasets_are_not_mixed(dataset: Path, tmp_path: Path) -> None:
    RowSource(str(dataset), "test", tmp_path / "kept").row(0)
    other = RowSource(str(dataset), "dev", tmp_path / "kept")
    for ask in (other.numbers, lambda: other.row(0)):
        with pytest.raises(SettingsError, match=r"holds rows of .*a-dataset, split test, not of .*split dev"):
            ask()


def test_a_file_is_a_dataset_too(tmp_path: Path) -> None:
    file = parquet(toy_rows(2), tmp_path / "rows.parquet")
    lines = tmp_path / "rows.jsonl"
    lines.write_text("".join(json.dumps(row) + "\n" for row in toy_rows(2)))
    for path in (file, lines):
        source = RowSource(str(path), "test")
        assert len(source.numbers()) == 2
        assert source.row(1).instance_id == "toy__calc-1"


def test_what_is_wrong_with_a_dataset_is_said(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="split=train cannot be read: Unknown split"):
        RowSource(str(dataset), "train").numbers()
    with pytest.raises(SettingsError, match=r"row 5 of .*, split test, is not there: it has 5 rows"):
        RowSource(str(dataset), "test").row(5)
    file = parquet([{"repo": "a/b"}], tmp_path / "short.parquet")
    with pytest.raises(SettingsError, match=r"row 0 of .*short\.parquet, split test has no instance_id"):
        RowSource(str(file), "test").row(0)
    (tmp_path / "a file").touch()
    with pytest.raises(SettingsError, match="cannot be written"):
        RowSource(str(dataset), "test", tmp_path / "a file/kept").row(0)


def test_only_the_cache_wants_a_cache(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="use_cache_only=true needs cache_dir"):
        RowSource("a/b", "test", None, use_cache_only=True)
    with pytest.raises(SettingsError, match=r"cache_dir=.*/none is not there"):
        RowSource("a/b", "test", tmp_path / "none", use_cache_only=True)


# A process of its own: the hub's library reads its settings when it is imported.
FETCH = """
import sys
from pathlib import Path
from env_adapter import NotHere
from swe.row_source import RowSource
try:
    print(RowSource("an-org/SWE-bench_Toy", "test", Path(sys.argv[1])).row(2).instance_id)
except NotHere as error:
    print("not here:", error)
"""


def fetch(tmp_path: Path, endpoint: str, **variables: str) -> str:
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(TOOLS), "HOME": str(tmp_path), "HF_ENDPOINT": endpoint}
    command = [sys.executable, "-c", FETCH, str(tmp_path / "kept")]
    done = subprocess.run(command, env={**environment, **variables}, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.slow
def test_a_dataset_of_the_hub_is_fetched_once(dataset: Path, tmp_path: Path) -> None:
    name = "data/test-00000-of-00001.parquet"
    files = {name: (dataset / name).read_bytes()}
    with dataset_hub({"an-org/SWE-bench_Toy": Repository(files)}) as hub:
        assert fetch(tmp_path, hub.url) == "toy__calc-2"
        assert hub.downloaded == [f"an-org/SWE-bench_Toy/{name}"]
    assert fetch(tmp_path, "http://127.0.0.1:9") == "toy__calc-2", "without the hub"
    kept = json.loads((tmp_path / "kept/dataset.json").read_text())
    assert kept == {"dataset_name": "an-org/SWE-bench_Toy", "split": "test", "rows": 5}


@pytest.mark.slow
def test_a_hub_that_may_not_be_asked_is_what_is_not_here(tmp_path: Path) -> None:
    said = fetch(tmp_path, "http://127.0.0.1:9", HF_HUB_OFFLINE="1")
    assert said.startswith("not here: dataset_name=an-org/SWE-bench_Toy, split=test cannot be had")
    assert "synthesize_swe_tasks.py" in said
    assert issubclass(NotHere, SettingsError)


@pytest.mark.parametrize(
    ("name", "split", "benchmark"),
    [
        ("princeton-nlp/SWE-bench", "test", True),
        ("princeton-nlp/SWE-bench_Lite", "test", True),
        ("SWE-bench/SWE-bench_Verified", "test[:50]", True),
        ("princeton-nlp/SWE-bench_Multimodal", "test", True),
        ("princeton-nlp/SWE-bench", "train", False),
        ("princeton-nlp/SWE-bench_Lite", "dev", False),
        ("SWE-bench/SWE-smith", "train", False),
        ("nebius/SWE-rebench", "test", False),
    ],
)
def test_a_benchmarks_test_split_is_known(name: str, split: str, benchmark: bool, tmp_path: Path) -> None:
    assert bool(RowSource(name, split).benchmark) == benchmark
    (tmp_path / "dataset.json").write_text(json.dumps({"dataset_name": name, "split": split, "rows": 1}))
    (tmp_path / "task_0.json").write_text(json.dumps(toy_rows(1)[0]))
    assert bool(RowSource("any/other", "train", tmp_path, use_cache_only=True).benchmark) == benchmark, "a copy of it"


def test_own_tasks_are_no_benchmark() -> None:
    assert RowSource("princeton-nlp/SWE-bench_Lite", "test", shared_toy_tasks(8)).benchmark is None
