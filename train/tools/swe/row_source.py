"""Where rows come from: files of a directory, a dataset of the hub, or first the one and then the other.

    tasks/task_7.json                  row 7; task_00000000007.json is the same
    tasks/dataset.json                 {"dataset_name": "princeton-nlp/SWE-bench_Lite", "split": "test", "rows": 300}

    source = RowSource("princeton-nlp/SWE-bench_Lite", "test", Path("tasks"))
    source.row(7)                      # of the file, or of the dataset, and then there is a file

A directory that holds a copy of a dataset says so in dataset.json; a second run then needs no hub. One without it holds
tasks of its own, as data_processing/synthesize_swe_tasks.py makes them: no hub is asked, and the two are never mixed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from atomic_file import atomic_file
from env_adapter import NotHere, SettingsError
from swe.rows import SweRow

ORIGIN = "dataset.json"
_TASK_FILE = re.compile(r"task_([0-9]+)\.json")
_LOADERS = {".parquet": "parquet", ".json": "json", ".jsonl": "json"}
_BENCHMARK = re.compile(r"swe[-_]bench([-_].*)?", re.IGNORECASE)
"""SWE-bench, SWE-bench_Lite, _Verified, _Multimodal, _Multilingual, _oracle …"""


class RowSource:
    """Rows by number. Raises SettingsError for whatever the user can mend, and its subclass NotHere without a hub."""

    def __init__(
        self, dataset_name: str, split: str, cache_dir: Path | None = None, use_cache_only: bool = False
    ) -> None:
        self.dataset_name, self.split, self.cache_dir = dataset_name, split, cache_dir
        self.use_cache_only = use_cache_only
        if use_cache_only and cache_dir is None:
            raise SettingsError("use_cache_only=true needs cache_dir, the directory of task_0.json, task_1.json …")
        if use_cache_only and cache_dir is not None and not cache_dir.is_dir():
            raise SettingsError(
                f"cache_dir={cache_dir} is not there: use_cache_only=true takes its tasks and no others"
            )

    @property
    def has_own_tasks(self) -> bool:
        """Whether the directory's tasks are all there are: it is no copy of a dataset, or must not be added to."""
        return self.use_cache_only or bool(self._files and not self._origin)

    @property
    def benchmark(self) -> str | None:
        """The name of the published benchmark whose test split the rows are, or None."""
        if self.has_own_tasks:
            name, split = str(self._origin.get("dataset_name", "")), str(self._origin.get("split", ""))
        else:
            name, split = self.dataset_name, self.split
        known = _BENCHMARK.fullmatch(name.rstrip("/").rpartition("/")[2])
        return f"{name}, split {split}" if known and "test" in split else None

    def numbers(self) -> Sequence[int]:
        """The numbers of all rows, in order."""
        if self.has_own_tasks:
            return sorted(self._files)
        self._check_origin()
        return range(self._origin["rows"] if self._origin else len(self._dataset))

    def row(self, number: int) -> SweRow:
        """One row, checked. It is written to `cache_dir` when it comes from the dataset."""
        self._check_origin()
        if number in self._files:
            return _read_file(self._files[number])
        if self.has_own_tasks:
            there = self.numbers()
            known = f"its {len(there)} tasks are numbered {there[0]} to {there[-1]}" if there else "it holds no task"
            raise SettingsError(f"task {number} is not in cache_dir={self.cache_dir}: {known}")
        where = f"row {number} of {self.dataset_name}, split {self.split}"
        if not 0 <= number < len(self._dataset):
            raise SettingsError(f"{where}, is not there: it has {len(self._dataset)} rows")
        row = SweRow.from_dict(self._dataset[number], where)
        if self.cache_dir is not None:
            self._write(number, row, self.cache_dir)
        return row

    def _write(self, number: int, row: SweRow, directory: Path) -> None:
        target = directory / f"task_{number}.json"
        try:
            if not self._origin:
                origin = {"dataset_name": self.dataset_name, "split": self.split, "rows": len(self._dataset)}
                with atomic_file(directory / ORIGIN) as temporary:
                    temporary.write_text(json.dumps(origin, indent=1), encoding="utf-8")
                self._origin = origin
            with atomic_file(target) as temporary:
                temporary.write_text(json.dumps(row.to_dict(), ensure_ascii=False, indent=1), encoding="utf-8")
        except OSError as error:
            raise SettingsError(f"cache_dir={directory} cannot be written: {error}") from error
        self._files[number] = target

    def _check_origin(self) -> None:
        """Rows of two datasets must not be mixed up."""
        wanted = {"dataset_name": self.dataset_name, "split": self.split}
        there = {key: self._origin.get(key) for key in wanted}
        if self._origin and not self.use_cache_only and there != wanted:
            raise SettingsError(
                f"cache_dir={self.cache_dir} holds rows of {there['dataset_name']}, split {there['split']}, not of "
                f"{self.dataset_name}, split {self.split}: name that dataset, another directory, or use_cache_only=true"
            )

    @cached_property
    def _origin(self) -> dict[str, Any]:
        """What dataset.json says; empty where there is none."""
        file = self.cache_dir / ORIGIN if self.cache_dir else None
        if file is None or not file.is_file():
            return {}
        origin = _read_json(file)
        if not isinstance(origin, dict) or not isinstance(origin.get("rows"), int):
            raise SettingsError(f"{file} does not say which dataset is kept there: dataset_name, split and rows")
        return origin

    @cached_property
    def _files(self) -> dict[int, Path]:
        """Number → file."""
        if self.cache_dir is None or not self.cache_dir.is_dir():
            return {}
        names = sorted(path.name for path in self.cache_dir.iterdir())
        matches = (match for match in map(_TASK_FILE.fullmatch, names) if match)
        return {int(match[1]): self.cache_dir / match[0] for match in matches}

    @cached_property
    def _dataset(self) -> Any:
        """The split of the dataset: a hub's, or that of a directory or file of this machine."""
        import datasets

        path = Path(self.dataset_name).expanduser()
        arguments: dict[str, Any] = {"path": self.dataset_name}
        if path.is_file() and path.suffix in _LOADERS:
            split = re.split(r"\W", self.split)[0]
            arguments = {"path": _LOADERS[path.suffix], "data_files": {split: str(path)}}
        what = f"dataset_name={self.dataset_name}, split={self.split}"
        try:
            return datasets.load_dataset(**arguments, split=self.split)
        except ConnectionError as error:
            raise NotHere(f"{what} cannot be had: {_line(error)}. {_WITHOUT_A_HUB}") from error
        except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
            raise SettingsError(f"{what} cannot be read: {_line(error)}") from error


_WITHOUT_A_HUB = (
    "Tasks can be made without it by data_processing/synthesize_swe_tasks.py: name their directory, cache_dir"
)


def _read_file(file: Path) -> SweRow:
    return SweRow.from_dict(_read_json(file), str(file))


def _read_json(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SettingsError(f"{file} is not JSON that can be read: {error}") from error


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:400].rstrip(".")
