"""A task of software repair, in the spelling of SWE-bench: a repository with a bug, and the tests that show it.

    {"instance_id": "psf__requests-863", "repo": "psf/requests", "base_commit": "a0df2cbb10419037d11d04352b317540...",
     "problem_statement": "Allow lists in the dict values of the hooks argument ...",
     "patch": "diff --git a/requests/models.py ...", "test_patch": "diff --git a/tests/test_requests.py ...",
     "FAIL_TO_PASS": "[\"tests/test_requests.py::RequestsTestSuite::test_basic_response\"]", "PASS_TO_PASS": "[...]"}

The keys are those of the dataset card of princeton-nlp/SWE-bench. Whatever else a row has is kept as it came.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from env_adapter import SettingsError

_REPO = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*/[A-Za-z0-9_][A-Za-z0-9_.-]*")
_COMMIT = re.compile(r"[0-9a-f]{7,64}")
_TEXTS = ("instance_id", "repo", "base_commit", "problem_statement", "patch", "test_patch")
_TESTS = ("FAIL_TO_PASS", "PASS_TO_PASS")


@dataclass(frozen=True)
class SweRow:
    """One task."""

    instance_id: str
    repo: str
    """`owner/name`, as on GitHub; the owner of what was made from a package of PyPI is `pypi`."""
    base_commit: str
    """The commit with the bug in it: all that a model may see of the repository."""
    problem_statement: str
    patch: str
    """The right answer, a unified diff. Never shown to a model."""
    test_patch: str
    """The tests that come with the right answer; empty where `base_commit` has them already."""
    fail_to_pass: tuple[str, ...]
    """Tests that fail without the right answer and pass with it."""
    pass_to_pass: tuple[str, ...]
    """Tests that pass before and after."""
    pythonpath: tuple[str, ...] = (".",)
    """Directories of the repository that its tests import from."""
    version: str = ""
    others: dict[str, Any] = field(default_factory=dict, hash=False)
    """Every other key, JSON values: image, eval_script, log_parser, hints_text, created_at …"""

    @classmethod
    def from_dict(cls, row: Mapping[str, Any], where: str) -> SweRow:
        """The row, checked. `where` is what an error calls it, such as a file's name.

        Raises SettingsError, which names `where` and the field, for a field that is missing or is not what it must be.
        """
        if not isinstance(row, Mapping):
            raise SettingsError(f"{where} holds no object: one task with the keys of SWE-bench is wanted")
        missing = [key for key in (*_TEXTS, *_TESTS) if row.get(key) is None]
        if missing:
            raise SettingsError(f"{where} has no {', '.join(missing)}: a row of SWE-bench has it")
        for key in _TEXTS:
            if not isinstance(row[key], str):
                raise SettingsError(f"{where}: {key} is {_shown(row[key])}, where text is wanted")
            if key != "test_patch" and not row[key].strip():
                raise SettingsError(f"{where}: {key} is empty")
            if not row[key].isascii() and row[key].encode(errors="ignore").decode() != row[key]:
                raise SettingsError(f"{where}: {key} holds half a character (a lone surrogate), which is no text")
        if not _REPO.fullmatch(row["repo"]):
            raise SettingsError(f"{where}: repo is {_shown(row['repo'])}, where owner/name is wanted")
        if not _COMMIT.fullmatch(row["base_commit"]):
            raise SettingsError(
                f"{where}: base_commit is {_shown(row['base_commit'])}, where a commit's hash is wanted"
            )
        fail_to_pass, pass_to_pass = (_names(row[key], f"{where}: {key}") for key in _TESTS)
        if not fail_to_pass:
            raise SettingsError(f"{where}: FAIL_TO_PASS names no test, so nothing could tell whether the bug is gone")
        pythonpath = row.get("pythonpath")
        return cls(
            **{key: row[key] for key in _TEXTS},
            fail_to_pass=fail_to_pass,
            pass_to_pass=pass_to_pass,
            pythonpath=(".",) if pythonpath is None else _directories(pythonpath, f"{where}: pythonpath"),
            version=_version(row.get("version"), where),
            others=_plain({key: value for key, value in row.items() if key not in _KNOWN}, where),
        )

    def to_dict(self) -> dict[str, Any]:
        """The row as SWE-bench spells it, JSON values only: `from_dict` makes the same row of it."""
        return {
            **{key: getattr(self, key) for key in _TEXTS},
            "FAIL_TO_PASS": json.dumps(list(self.fail_to_pass)),
            "PASS_TO_PASS": json.dumps(list(self.pass_to_pass)),
            "pythonpath": list(self.pythonpath),
            "version": self.version,
            **self.others,
        }


_KNOWN = {*_TEXTS, *_TESTS, "pythonpath", "version"}


def _names(value: Any, where: str) -> tuple[str, ...]:
    """A list of names, or the JSON text of one; a name that comes twice counts once."""
    names = value
    if isinstance(value, str):
        try:
            names = json.loads(value)
        except json.JSONDecodeError as error:
            raise SettingsError(f"{where} is {_shown(value)}, which is not the JSON text of a list: {error}") from error
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) and name.strip() for name in names):
        raise SettingsError(f"{where} is {_shown(value)}, where a list of test names is wanted, or its JSON text")
    return tuple(dict.fromkeys(names))


def _directories(value: Any, where: str) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not value or not all(isinstance(name, str) and name for name in value):
        raise SettingsError(f"{where} is {_shown(value)}, where a list of directories of the repository is wanted")
    for name in value:
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise SettingsError(f"{where}: {name!r} lies outside the repository")
    return tuple(value)


def _version(value: Any, where: str) -> str:
    if value is not None and not isinstance(value, str):
        raise SettingsError(f"{where}: version is {_shown(value)}, where text is wanted")
    return value or ""


def _plain(values: dict[str, Any], where: str) -> dict[str, Any]:
    """JSON values only: dates become text, as they are in the rows of SWE-bench."""
    try:
        return json.loads(json.dumps(values, default=str, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise SettingsError(f"{where} has a value that JSON cannot hold: {error}") from error


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
