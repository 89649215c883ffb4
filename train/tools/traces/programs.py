"""The programs that tasks are made from: a file, a folder of .py files, or a dataset of the hub.

    programs.jsonl    {"code": "n = int(input())\\nprint(n * 2)", "input": "21"}
    programs/         a.py, b.py …

The column with the program is `program`, `code`, `source`, `solution` or `content`, or the one that is named; what it
reads from standard input is in `input`, `inputs` or `stdin`, where there is such a column.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from env_adapter import NotHere, SettingsError

CODE_COLUMNS = ("program", "code", "source", "solution", "content")
INPUT_COLUMNS = ("input", "inputs", "stdin")
LOADERS = {".parquet": "parquet", ".json": "json", ".jsonl": "json", ".csv": "csv"}


@dataclass(frozen=True)
class Program:
    source: str
    stdin: str = ""


def load_programs(
    path: Path | None, dataset_name: str, split: str, code_column: str, input_column: str, most: int
) -> list[Program]:
    """The first `most` programs. Raises SettingsError for a source without them, NotHere where the hub is needed."""
    if path is None and not dataset_name:
        raise SettingsError("trace has no programs: set programs=FILE (or a folder of .py files) or dataset_name=NAME")
    if path is not None and path.is_dir():
        files = sorted(path.glob("**/*.py"))[:most]
        programs = [Program(file.read_text(encoding="utf-8", errors="replace")) for file in files]
    else:
        rows = _rows(path, dataset_name, split)
        code = _column(rows.column_names, code_column, CODE_COLUMNS, "code_column")
        stdin = _column(rows.column_names, input_column, INPUT_COLUMNS, "")
        programs = [_program(row, code, stdin) for row in rows.select(range(min(most, len(rows))))]
    if not programs:
        raise SettingsError(f"{path or dataset_name} holds no program")
    return programs


def _rows(path: Path | None, dataset_name: str, split: str) -> Any:
    # Imported here: it takes a second, and a process that only scores answers does without it.
    import datasets

    try:
        if path is not None:
            if path.suffix not in LOADERS or not path.is_file():
                known = ", ".join(LOADERS)
                raise SettingsError(f"programs={path}: a folder of .py files is wanted, or a file that ends in {known}")
            return datasets.load_dataset(LOADERS[path.suffix], data_files=str(path), split="train")
        return datasets.load_dataset(dataset_name, split=split)
    except (OSError, datasets.exceptions.DatasetsError) as error:
        reason = f"{path or dataset_name} (split {split}) cannot be read: {error}"
        raise (SettingsError if path else NotHere)(reason) from error


def _column(names: Sequence[str], wanted: str, known: Sequence[str], setting: str) -> str | None:
    if wanted:
        if wanted not in names:
            raise SettingsError(f"there is no column {wanted!r}: there are {', '.join(names)}")
        return wanted
    found = next((name for name in known if name in names), None)
    if found is None and setting:
        raise SettingsError(f"none of {', '.join(names)} is known to hold a program: name it with {setting}=NAME")
    return found


def _program(row: Mapping[str, Any], code: str | None, stdin: str | None) -> Program:
    given = row[stdin] if stdin else None
    lines = given if isinstance(given, list) else [given or ""]
    return Program(str(row[code] or ""), "\n".join(map(str, lines)))
