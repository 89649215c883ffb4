"""What a run of tests reported: only what the harness has signed counts, and the worst of it."""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from swe.grading import guards_of, read_reports, unguarded

KEY = b"k" * 32


def signed(*records: dict[str, Any], key: bytes = KEY) -> bytes:
    lines = []
    for number, record in enumerate(records):
        body = json.dumps({"n": number, "sites": {}, **record}).encode()
        lines.append(hmac.new(key, body, hashlib.sha256).hexdigest().encode() + b" " + body + b"\n")
    return b"".join(lines)


START, END = {"id": "", "outcome": "start"}, {"id": "", "outcome": "end", "code": 0}


def test_a_whole_run_says_what_each_test_did() -> None:
    run = read_reports(signed(START, {"id": "a", "outcome": "passed"}, {"id": "b", "outcome": "skipped"}, END), KEY)
    assert (run.started, run.complete, run.problem) == (True, True, "")
    assert run.statuses == {"a": "passed", "b": "skipped"}
    assert run.missing(["a", "b", "c"], {}) == ["b", "c"]


def test_a_test_is_as_good_as_its_worst_phase_and_assertion() -> None:
    run = read_reports(
        signed(
            START,
            {"id": "a", "outcome": "passed"},
            {"id": "a", "outcome": "error"},
            {"id": "b", "outcome": "error"},
            {"id": "b", "outcome": "passed"},
            {"id": "c", "outcome": "passed", "sites": {"1": [2, 0], "2": [1, 1]}},
            END,
        ),
        KEY,
    )
    assert run.statuses == {"a": "error", "b": "error", "c": "failed"}


def test_a_test_that_is_expected_to_fail_counts_only_where_it_does_with_the_accepted_solution() -> None:
    run = read_reports(signed(START, {"id": "a", "outcome": "xfailed"}, END), KEY)
    assert run.missing(["a"], {"a": "xfailed"}) == []
    assert run.missing(["a"], {}) == ["a"]


def test_forged_reordered_and_repeated_reports_make_a_run_worthless() -> None:
    good = signed(START, {"id": "a", "outcome": "passed"}, END)
    assert read_reports(signed(START, END, key=b"other"), KEY).problem == "a forged report"
    assert read_reports(good + b"x y\n", KEY).problem == "a forged report"
    lines = good.splitlines(keepends=True)
    assert read_reports(lines[0] + lines[2], KEY).problem == "reports out of order"
    assert read_reports(lines[0] + lines[0], KEY).problem == "reports out of order"
    assert not read_reports(lines[0] + lines[1], KEY).complete
    assert not read_reports(b"", KEY).started


@given(st.binary())
def test_no_bytes_but_the_harness_own_give_an_outcome(noise: bytes) -> None:
    run = read_reports(noise, KEY)
    assert run.outcomes == {} and not run.complete


def test_canaries_have_to_do_what_they_must() -> None:
    no = {"id": "t.py::test_no_cafe", "outcome": "passed", "sites": {"8": [0, 1]}}
    yes = {"id": "t.py::test_yes_cafe", "outcome": "passed", "sites": {"9": [1, 0]}}
    assert read_reports(signed(START, no, yes, END), KEY, "cafe").problem == ""
    assert read_reports(signed(START, no, yes, END), KEY, "cafe").outcomes == {}
    assert "canary" in read_reports(signed(START, {**no, "sites": {}}, yes, END), KEY, "cafe").problem
    assert "canary" in read_reports(signed(START, no, {**yes, "outcome": "failed"}, END), KEY, "cafe").problem
    assert "canary" in read_reports(signed(START, no, no, END), KEY, "cafe").problem


def test_guards_are_the_assertions_that_fail_every_time_with_the_accepted_solution() -> None:
    accepted = read_reports(
        signed(START, {"id": "a", "outcome": "passed", "sites": {"1": [0, 2], "2": [1, 1], "3": [1, 0]}}, END), KEY
    )
    guards = guards_of(accepted)
    assert guards == {"a": [1]}

    def run(sites: dict[str, list[int]]) -> str:
        reports = read_reports(signed(START, {"id": "a", "outcome": "passed", "sites": sites}, END), KEY)
        return unguarded(reports, guards, ["a", "b"])

    assert run({"1": [0, 1]}) == ""
    assert run({"1": [0, 3], "2": [5, 0]}) == ""
    assert "holds" in run({"1": [1, 1]})
    assert "not reached" in run({"3": [1, 0]})
    assert "not reached" in unguarded(read_reports(signed(START, END), KEY), guards, ["a"])
