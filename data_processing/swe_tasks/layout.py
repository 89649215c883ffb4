"""Which files of a package are its code, which its tests, and what the tests import from: found, or as told.

layout = find_layout(["src/humanize/time.py", "tests/test_time.py", "tests/conftest.py", "setup.py"])
layout.sources, layout.tests, layout.pythonpath     # ("src/humanize/time.py",), ("tests/test_time.py",), ("src", ".")
"""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from env_adapter import SettingsError

_TEST_DIRECTORIES = {"test", "tests", "testing"}
_ROOTS = ("src", "lib")
_NO_PACKAGES = {"doc", "docs", "example", "examples", "benchmark", "benchmarks", "tools", "scripts", "build", "dist"}
_NO_MODULES = {"setup", "conftest", "noxfile", "tasks", "versioneer", "fabfile", "manage", "ez_setup"}
_ONE_FILE_OF_TESTS = ("test.py", "tests.py")


@dataclass(frozen=True)
class Layout:
    sources: tuple[str, ...]
    """The files that may be changed."""
    tests: tuple[str, ...]
    """The files that pytest is given."""
    pythonpath: tuple[str, ...]


def find_layout(
    paths: Sequence[str],
    source_dirs: Sequence[str] = (),
    tests: Sequence[str] = (),
    pythonpath: Sequence[str] = (),
) -> Layout:
    """Of the files of a commit, those that matter. What is not given is found.

    Raises SettingsError, which names the option, where nothing is found.
    """
    python = sorted(path for path in paths if path.endswith(".py"))
    found_tests = _matching(python, tests, "--tests", paths) if tests else _default_tests(python)
    if not found_tests:
        raise SettingsError(f"no tests found: name them with --tests FILE_OR_DIRECTORY; there are {_tops(paths)}")
    code = [path for path in python if not is_test(path) and path not in found_tests]
    sources = _matching(code, source_dirs, "--source-dirs", paths) if source_dirs else _default_sources(code)
    if not sources:
        raise SettingsError(
            f"no package found: name its files or directories with --source-dirs; there are {_tops(paths)}"
        )
    missing = [path for path in pythonpath if path != "." and not any(p.startswith(f"{path}/") for p in paths)]
    if missing:
        raise SettingsError(f"--pythonpath {missing[0]}: the source has no such directory; there are {_tops(paths)}")
    roots = [root for root in _ROOTS if any(path.startswith(f"{root}/") for path in sources)]
    roots = [root for root in roots if f"{root}/__init__.py" not in paths]
    return Layout(tuple(sources), tuple(found_tests), tuple(pythonpath) or (*roots, "."))


def is_test(path: str) -> bool:
    """Whether a file belongs to the tests, by the usual names."""
    place = PurePosixPath(path)
    return bool(_TEST_DIRECTORIES & set(place.parts[:-1])) or place.name == "conftest.py" or _is_test_file(place.name)


def _is_test_file(name: str) -> bool:
    """As pytest collects by default."""
    return fnmatch.fnmatchcase(name, "test_*.py") or fnmatch.fnmatchcase(name, "*_test.py")


def _default_tests(python: Sequence[str]) -> list[str]:
    """What pytest would collect, but nothing of docs and examples; else a file test.py or tests.py at the top."""
    found = [p for p in python if _is_test_file(PurePosixPath(p).name) and not _NO_PACKAGES & set(p.split("/")[:-1])]
    return found or [path for path in python if path in _ONE_FILE_OF_TESTS]


def _default_sources(code: Sequence[str]) -> list[str]:
    """The packages and modules in src or lib, or else at the top."""
    for root in (*_ROOTS, ""):
        inside = [path for path in code if path.startswith(f"{root}/")] if root else list(code)
        below = {path: PurePosixPath(path).relative_to(root).parts for path in inside}
        packages = {parts[0] for parts in below.values() if parts[1:] == ("__init__.py",)} - _NO_PACKAGES
        sources = [
            path
            for path, parts in below.items()
            if parts[0] in packages or (len(parts) == 1 and PurePosixPath(path).stem not in _NO_MODULES)
        ]
        if sources:
            return sources
    return []


def _matching(python: Sequence[str], wanted: Sequence[str], option: str, paths: Sequence[str]) -> list[str]:
    """The files that are named, match a pattern, or stand in a directory that is named."""
    found: set[str] = set()
    for name in wanted:
        name = name.removeprefix("./").rstrip("/") or "."
        inside = [path for path in python if name == "." or path.startswith(f"{name}/")]
        if option == "--tests":
            inside = [path for path in inside if _is_test_file(PurePosixPath(path).name)]
        matching = inside or [path for path in python if path == name or fnmatch.fnmatchcase(path, name)]
        if not matching:
            raise SettingsError(f"{option} {name}: the source has no such Python files; there are {_tops(paths)}")
        found.update(matching)
    return sorted(found)


def _tops(paths: Sequence[str]) -> str:
    tops = sorted({path.split("/")[0] + ("/" if "/" in path else "") for path in paths})
    return ", ".join(tops[:20]) + (" …" if len(tops) > 20 else "")
