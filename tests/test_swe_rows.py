"""swe/rows.py: a task of software repair, in the spelling of SWE-bench."""

from __future__ import annotations

import datetime
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from env_adapter import SettingsError
from swe.rows import SweRow

ROW = {
    "instance_id": "owner__name-1",
    "repo": "owner/name",
    "base_commit": "a0df2cbb10419037d11d04352b3175405ab52941",
    "problem_statement": "It fails.",
    "patch": "--- a/x.py\n+++ b/x.py\n@@ -1 +1 @@\n-1\n+2\n",
    "test_patch": "",
    "FAIL_TO_PASS": '["tests/test_x.py::test_one"]',
    "PASS_TO_PASS": "[]",
}
texts = st.text(min_size=1).filter(lambda text: text.strip() and text.encode(errors="ignore").decode() == text)


def test_a_row_as_published_is_read() -> None:
    row = SweRow.from_dict({**ROW, "version": "2.3", "hints_text": "", "created_at": "2013-01-24"}, "task_0.json")
    assert (row.fail_to_pass, row.pass_to_pass) == (("tests/test_x.py::test_one",), ())
    assert (row.version, row.pythonpath) == ("2.3", (".",))
    assert row.others == {"hints_text": "", "created_at": "2013-01-24"}


def test_lists_of_tests_may_be_lists_and_a_name_counts_once() -> None:
    row = SweRow.from_dict({**ROW, "FAIL_TO_PASS": ["b", "a", "b"], "PASS_TO_PASS": ["c"]}, "here")
    assert (row.fail_to_pass, row.pass_to_pass) == (("b", "a"), ("c",))


def test_a_date_becomes_text() -> None:
    row = SweRow.from_dict({**ROW, "created_at": datetime.datetime(2013, 1, 24)}, "here")
    assert row.others["created_at"].startswith("2013-01-24")


@given(
    statement=texts,
    tests=st.lists(texts, min_size=1, unique=True),
    directories=st.sampled_from([None, [".", "src"], ["lib"]]),
    others=st.dictionaries(st.sampled_from(["image", "hints_text", "notes"]), st.text() | st.integers() | st.none()),
)
def test_a_row_is_the_same_after_a_round_trip_through_json(
    statement: str, tests: list[str], directories: list[str] | None, others: dict[str, Any]
) -> None:
    row = SweRow.from_dict(
        {**ROW, "problem_statement": statement, "FAIL_TO_PASS": tests, "pythonpath": directories, **others}, "here"
    )
    assert SweRow.from_dict(json.loads(json.dumps(row.to_dict())), "there") == row


@pytest.mark.parametrize("key", ROW)
@pytest.mark.parametrize("gone", ["absent", "null"])
def test_a_missing_field_is_named_with_its_place(key: str, gone: str) -> None:
    row: dict[str, Any] = {**ROW, key: None}
    if gone == "absent":
        del row[key]
    with pytest.raises(SettingsError, match=rf"^task_7\.json has no {key}:"):
        SweRow.from_dict(row, "task_7.json")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"patch": 3}, "patch is 3, where text is wanted"),
        ({"problem_statement": " \n"}, "problem_statement is empty"),
        ({"patch": "\ud800"}, "patch holds half a character"),
        ({"repo": "name"}, "repo is 'name', where owner/name"),
        ({"repo": "../../etc"}, "where owner/name"),
        ({"repo": "-x/name"}, "where owner/name"),
        ({"base_commit": "main"}, "base_commit is 'main', where a commit's hash"),
        ({"base_commit": "--output=x"}, "where a commit's hash"),
        ({"FAIL_TO_PASS": "[]"}, "FAIL_TO_PASS names no test"),
        ({"FAIL_TO_PASS": "test_one"}, "FAIL_TO_PASS is 'test_one', which is not the JSON text"),
        ({"FAIL_TO_PASS": '{"a": 1}'}, "where a list of test names"),
        ({"PASS_TO_PASS": [1]}, "PASS_TO_PASS is [1], where a list of test names"),
        ({"pythonpath": "src"}, "pythonpath is 'src', where a list of directories"),
        ({"pythonpath": []}, "where a list of directories"),
        ({"pythonpath": ["../other"]}, "'../other' lies outside"),
        ({"pythonpath": ["/etc"]}, "'/etc' lies outside"),
        ({"version": 2}, "version is 2, where text"),
        ({"score": float("nan")}, "JSON cannot hold"),
    ],
)
def test_a_field_that_is_not_what_it_must_be_is_named(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(SettingsError) as error:
        SweRow.from_dict({**ROW, **changes}, "task_7.json")
    assert str(error.value).startswith("task_7.json") and reason in str(error.value)


def test_what_is_no_object_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"task_7\.json holds no object"):
        SweRow.from_dict([1], "task_7.json")  # type: ignore[arg-type]
