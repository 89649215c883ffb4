"""A small package with tests, as an sdist and as a git repository with a history: what the task maker is tried on."""

from __future__ import annotations

import gzip
import io
import os
import subprocess
import tarfile
from pathlib import Path

CORE = '''\
"""Numbers on a line."""


def clamp(x, low, high):
    if x < low:
        return low
    if x > high:
        return high
    return x


def mean(values):
    total = 0
    for value in values:
        total += value
    return total / len(values)


def unused(x):
    return x + 1
'''
TESTS = """\
import pytest

from calc.core import clamp, mean


@pytest.mark.parametrize("x, expected", [(-1, 0), (0, 0), (2, 2), (9, 3)])
def test_clamp(x, expected):
    assert clamp(x, 0, 3) == expected


class TestMean:
    def test_of_two(self):
        assert mean([1, 3]) == 2

    def test_of_one(self):
        assert mean([5]) == 5


def test_of_nothing_fails():
    with pytest.raises(ZeroDivisionError):
        mean([])
"""
FILES = {
    "PKG-INFO": "Metadata-Version: 2.1\nName: calc\nVersion: 1.0\n",
    "calc/__init__.py": "",
    "calc/core.py": CORE,
    "tests/test_core.py": TESTS,
}

_SPREAD = "\n\ndef spread(values):\n    return max(values) - min(values)\n"
_SPREAD_TEST = "\n\ndef test_spread():\n    from calc.core import spread\n\n    assert spread([3, 8, 5]) == 5\n"
_EMPTY = '    if not values:\n        raise ValueError("mean of nothing")\n    total = 0\n'
_ROUND = "\n\ndef halve(x):\n    return x // 2\n"
_ROUND_TEST = "\n\ndef test_halve():\n    from calc.core import halve\n\n    assert halve(7) == 3\n"
HISTORY = [
    ("Begin", {}),
    ("Add spread (#12)", {"calc/core.py": CORE + _SPREAD, "tests/test_core.py": TESTS + _SPREAD_TEST}),
    ("Write a page", {"README": "calc\n"}),
    (
        'Say what is wrong: raise ValueError("mean of nothing")',
        {
            "calc/core.py": CORE.replace("    total = 0\n", _EMPTY) + _SPREAD,
            "tests/test_core.py": (TESTS + _SPREAD_TEST).replace("ZeroDivisionError", "ValueError"),
            "CHANGES": "mean([]) is a ValueError\n",
        },
    ),
    (
        "Tidy up, tests too",
        {"calc/core.py": CORE.replace("    total = 0\n", _EMPTY) + _SPREAD + "\n", "tests/helper.py": "X = 1\n"},
    ),
    (
        "Halve numbers",
        {
            "calc/core.py": CORE.replace("    total = 0\n", _EMPTY) + _SPREAD + _ROUND,
            "tests/test_core.py": (TESTS + _SPREAD_TEST + _ROUND_TEST).replace("ZeroDivisionError", "ValueError"),
        },
    ),
]
"""Subject and files of each commit. Three change code and tests so that a test fails before and passes after."""


def write_sdist(directory: Path, files: dict[str, str] = FILES, top: str = "calc-1.0") -> Path:
    """The package as a .tar.gz, always of the same bytes."""
    path = directory / f"{top}.tar.gz"
    with gzip.GzipFile(path, "wb", mtime=0) as file, tarfile.open(fileobj=file, mode="w") as archive:
        for name, text in files.items():
            member = tarfile.TarInfo(f"{top}/{name}")
            member.size, member.mtime = len(text.encode()), 1_700_000_000
            archive.addfile(member, io.BytesIO(text.encode()))
    return path


def write_repository(directory: Path) -> Path:
    """The package as a git repository with HISTORY."""
    repository = directory / "calc"
    subprocess.run(["git", "init", "-q", "-b", "main", repository], check=True)
    for number, (subject, files) in enumerate(HISTORY):
        for name, text in ({**FILES, **files} if number == 0 else files).items():
            (repository / name).parent.mkdir(parents=True, exist_ok=True)
            (repository / name).write_text(text)
        day = f"2024-01-{number + 1:02}T12:00:00+00:00"
        who = {"GIT_AUTHOR_DATE": day, "GIT_COMMITTER_DATE": day, "GIT_CONFIG_GLOBAL": os.devnull}
        git = ["git", "-C", str(repository), "-c", "user.name=A", "-c", "user.email=a@b.example"]
        subprocess.run([*git, "add", "--all"], check=True)
        subprocess.run([*git, "commit", "-q", "-m", subject], env={**os.environ, **who}, check=True)
    return repository
