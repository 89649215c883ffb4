"""Issues written from what pytest prints."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swe_tasks.commits import title
from swe_tasks.statements import find_failures, write_statement

TESTS = """\
import pytest


class Thing:
    pass


@pytest.mark.parametrize("n", [1, 2])
def test_double(n):
    value = n * 3
    assert value == n * 2


class TestHTTPHeaders:
    def test_missingKey(self):
        print("_______ test_double[1] _______")
        {}["a"]


def test_identity():
    assert Thing() == None


@pytest.fixture
def broken():
    raise OSError("no disk")


def test_setup(broken):
    pass


def test_long():
    raise ValueError("\\n".join(map(str, range(100))) + "x" * 10_000)
"""
NAMES = ["test_double[1]", "test_double[2]", "TestHTTPHeaders::test_missingKey", "test_identity", "test_setup"]
IDS = [f"tests/test_a.py::{name}" for name in NAMES]


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    directory = tmp_path_factory.mktemp("repo")
    (directory / "tests").mkdir()
    (directory / "tests/test_a.py").write_text(TESTS)
    (directory / "tests/test_b.py").write_text("import nothing_of_this_name\n")
    command = [sys.executable, "-m", "pytest", "-q", "--tb=short", "-p", "no:cacheprovider", "--rootdir=."]
    command += ["--continue-on-collection-errors", "tests/test_a.py", "tests/test_b.py"]
    return subprocess.run(command, cwd=directory, capture_output=True, text=True).stdout


def test_every_failure_is_found_with_what_it_says(output):
    failures = find_failures(output)
    of = {test: [failure for failure in failures if failure.is_of(test)] for test in [*IDS, "tests/test_b.py"]}
    assert all(of.values())
    assert of[IDS[1]][0].statement == "assert value == n * 2"
    assert of[IDS[1]][0].error.startswith("assert 6 == ")
    assert of[IDS[2]][0].error == "KeyError: 'a'"
    assert of[IDS[4]][0].error == "OSError: no disk"
    assert "No module named 'nothing_of_this_name'" in of["tests/test_b.py"][0].error
    assert not any(failure.is_of("tests/test_c.py::test_double[1]") for failure in failures)


def test_an_issue_is_plain_text_about_the_tests(output):
    told = write_statement("calc 1.0", IDS[:3], find_failures(output), {"tests/test_a.py": TESTS})
    assert told == (
        "double: wrong result\n\n"
        "With calc 1.0 this does not work:\n\n"
        "```python\ndef test_double(n):\n    value = n * 3\n    assert value == n * 2\n```\n\n"
        "`tests/test_a.py::test_double[1]` fails with\n\n"
        "```\nassert value == n * 2\n\nassert 3 == (1 * 2)\n```\n\n"
        "Neither does this:\n\n"
        '```python\ndef test_missingKey(self):\n    print("_______ test_double[1] _______")\n    {}["a"]\n```\n\n'
        "`tests/test_a.py::TestHTTPHeaders::test_missingKey` fails with\n\n"
        "```\n{}[\"a\"]\n\nKeyError: 'a'\n```\n\n"
        "These tests fail as well:\n\n- `tests/test_a.py::test_double[2]`\n"
    )


def test_what_differs_between_two_runs_is_left_out(output):
    told = write_statement("calc", [IDS[3]], find_failures(output), {})
    assert "0x…" in told and "0x7" not in told


def test_long_failures_are_cut(output):
    told = write_statement("calc", ["tests/test_a.py::test_long"], find_failures(output), {"tests/test_a.py": TESTS})
    assert len(told) < 3000 and "…" in told


def test_a_failure_that_pytest_does_not_explain_is_told_by_its_test():
    told = write_statement("calc", IDS[:1], [], {"tests/test_a.py": TESTS})
    assert told.startswith("double does not work\n") and "value = n * 3" in told
    assert write_statement("calc", ["tests/test_a.py::test_gone"], [], {"tests/test_a.py": "def f(:"})


def test_many_failures_are_counted():
    tests = [f"tests/test_a.py::test_{number}" for number in range(30)]
    assert "- and 18 more" in write_statement("calc", tests, [], {})


@given(st.text(max_size=300))
def test_no_output_is_too_strange(text):
    failures = find_failures(text)
    assert write_statement("calc", IDS, failures, {"tests/test_a.py": text})


@pytest.mark.parametrize(
    ("subject", "told"),
    [
        ("Handle empty lists (#123)", "Handle empty lists"),
        ("Use `value <= limit` in clamp", ""),
        ("Return x", "Return x"),
    ],
)
def test_a_subject_that_quotes_the_answer_is_no_title(subject, told):
    assert title(subject, "--- a/x\n+++ b/x\n-value < limit\n+    value <= limit\n+x\n") == told
