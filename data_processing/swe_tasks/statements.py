"""The issue that a task is told by, written from what pytest printed about the tests that fail.

    failures = find_failures(output)          # of `pytest --tb=short`
    write_statement("humanize 4.17.0", ["tests/test_filesize.py::test_naturalsize"], failures, texts)

    `humanize.naturalsize(1000)` gives a wrong result

    With humanize 4.17.0 this does not hold any more:

        assert humanize.naturalsize(1000) == "1.0 kB"
    …

It is made of the tests and of what they show, and of nothing else: neither the right answer nor how the bug was made.
"""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

MAX_SHOWN = 2
"""Failing tests that are told in full."""
MAX_NAMED = 10
"""Failing tests that are named."""
MAX_TEST_LINES = 40
MAX_ERROR_LINES = 15
MAX_LINE = 300

_HEADER = re.compile(r"^_{2,} (?:ERROR (?:collecting|at setup of|at teardown of) )?(\S.*?) _{2,}$")
_RULE = re.compile(r"^={3,} .* ={3,}$")
_FRAME = re.compile(r"^(\S.*?):(\d+): (?:in (.+)|(\w+))$")
_CHANGING = (
    (re.compile(r"\b0?x[0-9a-f]{6,}\b", re.IGNORECASE), "0x…"),
    (re.compile(r"(?<=\.\.\.)[0-9a-f]{6,}\b"), "…"),  # an address that pytest has cut
    (re.compile(r"\bid=\d{9,}\b"), "id=…"),
    # A clock: what a test gives is a whole second, or a round part of one.
    (re.compile(r"\bdatetime\.datetime\((?:\d+, ){6}\d*[1-9]\)"), "datetime.datetime(…)"),
)
"""What differs between two runs of the same program."""


@dataclass(frozen=True)
class Failure:
    """One section of pytest's report."""

    name: str
    """`TestNumbers.test_half[1]`; the path, for a file that cannot be imported."""
    files: frozenset[str]
    """The files of its traceback."""
    statement: str
    """The code of the test that failed; "" where pytest shows none."""
    error: str
    """The lines that say what went wrong."""

    def is_of(self, test: str) -> bool:
        path, _, names = test.partition("::")
        if not names or self.name == path:
            return self.name == path
        if self.name != names.replace("::", "."):
            return False
        return path in self.files or (not self.files and bool(self.error))


def find_failures(output: str) -> list[Failure]:
    """The failed tests of a run, in the order of pytest's report."""
    sections: list[tuple[str, list[str]]] = []
    for text in output.splitlines():
        if _RULE.match(text):
            sections.append(("", []))
        elif header := _HEADER.match(text):
            sections.append((header[1], []))
        elif sections:
            sections[-1][1].append(text)
    return [_read(name, lines) for name, lines in sections if name]


def write_statement(
    package: str, tests: Sequence[str], failures: Sequence[Failure], texts: Mapping[str, str], subject: str = ""
) -> str:
    """An issue about the tests that fail. `texts` are the files of tests, `subject` a title to use.

    Tests that pytest told most about come first.
    """
    found = {test: next((failure for failure in failures if failure.is_of(test)), None) for test in tests}
    shown = _choose(found)
    first = found[shown[0]]
    parts = [subject or _title(shown[0], first)]
    for number, test in enumerate(shown):
        start = f"With {package} this" if number == 0 else "Neither does this"
        source = _test_source(texts.get(test.partition("::")[0], ""), test)
        if source:
            parts += [f"{start} does not work:" if number == 0 else f"{start}:", f"```python\n{source}\n```"]
        else:
            parts.append(f"{start} test does not pass:" if number == 0 else f"{start} test:")
        failure = found[test]
        parts.append(f"`{test}` fails" + (" with" if failure and failure.error else "."))
        if failure and failure.error:
            said = f"{failure.statement}\n\n{failure.error}" if failure.statement else failure.error
            parts.append(f"```\n{said}\n```")
    others = [test for test in tests if test not in shown]
    if others:
        names = "\n".join(f"- `{test}`" for test in others[:MAX_NAMED])
        more = f"\n- and {len(others) - MAX_NAMED} more" if len(others) > MAX_NAMED else ""
        parts.append(f"These tests fail as well:\n\n{names}{more}")
    return "\n\n".join(parts) + "\n"


def _read(name: str, lines: Sequence[str]) -> Failure:
    files, statement, error = set(), "", []
    for number, text in enumerate(lines):
        if frame := _FRAME.match(text):
            files.add(frame[1])
            if not statement:
                code = [line for line in lines[number + 1 :][:1] if line.startswith("    ")]
                statement = "\n".join(code).strip()
        elif text.startswith("E ") or text == "E":
            error.append(text[4:].rstrip())
        elif text.startswith("---"):
            break  # what the test printed
    return Failure(name, frozenset(files), _same(statement), _shortened(error, MAX_ERROR_LINES))


def _choose(found: Mapping[str, Failure | None]) -> list[str]:
    """Up to MAX_SHOWN tests, those first that tell most, and not two of one function with other parameters."""

    def tells(test: str) -> tuple[bool, bool]:
        failure = found[test]
        return failure is None or not failure.error, failure is None or not failure.statement

    chosen: dict[str, str] = {}
    for test in sorted(found, key=tells):
        chosen.setdefault(test.partition("[")[0], test)
    return list(chosen.values())[:MAX_SHOWN]


def _title(test: str, failure: Failure | None) -> str:
    what = _words(test)
    if failure is None or not failure.error:
        return f"{what} does not work"
    summary = failure.error.splitlines()[0]
    kind, _, said = summary.partition(":")
    if kind == "AssertionError" or summary.startswith("assert "):
        return f"{what}: wrong result"
    return f"{what}: {kind}{':' + said if said else ''}"[:MAX_LINE]


def _words(test: str) -> str:
    """`tests/test_time.py::TestDelta::test_natural_day[3]` → `natural day`."""
    name = test.rpartition("::")[2].partition("[")[0]
    name = name.removesuffix(".py").rpartition("/")[2]
    name = re.sub(r"^test_?|_?test$", "", name).strip("_")
    name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name)
    return name.replace("_", " ") or "the package"


def _test_source(text: str, test: str) -> str:
    """The function of a test, without its decorators; "" where it is not found."""
    names = test.partition("[")[0].split("::")[1:]
    try:
        place: ast.AST = ast.parse(text)
    except (SyntaxError, ValueError):
        return ""
    for name in names:
        inside = [node for node in ast.iter_child_nodes(place) if getattr(node, "name", None) == name]
        if not inside:
            return ""
        place = inside[-1]
    if not names or not isinstance(place, ast.FunctionDef | ast.AsyncFunctionDef):
        return ""
    lines = text.splitlines()[place.lineno - 1 : place.end_lineno]
    return _shortened(textwrap.dedent("\n".join(lines)).splitlines(), MAX_TEST_LINES)


def _shortened(lines: Sequence[str], most: int) -> str:
    kept = [text if len(text) <= MAX_LINE else text[:MAX_LINE] + " …" for text in lines[:most]]
    return _same("\n".join([*kept, "…"] if len(lines) > most else kept).strip("\n"))


def _same(text: str) -> str:
    for pattern, replacement in _CHANGING:
        text = pattern.sub(replacement, text)
    return text
