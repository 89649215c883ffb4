"""What the harness reported of a run of tests, and what it is worth.

Strict: a test counts as passed if it ran and passed (or failed where its authors expect it to). One that is skipped,
left out, or passed in one phase and failed in another has not. Reports that are not signed, or out of order, make a run
worth nothing: nobody but the harness writes to the pipe, unless it has been tampered with.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

Guards = dict[str, list[int]]
"""Test → the sites of its assertions whose wrong form must fail."""


@dataclass
class Outcome:
    """One test."""

    status: str
    """passed, failed, error, skipped, xfailed or xpassed: the worst of its phases and assertions."""
    sites: dict[int, tuple[int, int]] = field(default_factory=dict)
    """Assertion → how often it held and failed."""


@dataclass
class Reports:
    """One run of the harness."""

    started: bool = False
    complete: bool = False
    problem: str = ""
    """Why the run is worth nothing, where it is so."""
    outcomes: dict[str, Outcome] = field(default_factory=dict)

    @cached_property
    def statuses(self) -> dict[str, str]:
        return {name: outcome.status for name, outcome in self.outcomes.items()}

    def missing(self, tests: Iterable[str], accepted: Mapping[str, str]) -> list[str]:
        """Those of the tests that did not pass, nor fail as their authors expect: as with the accepted solution."""
        return [test for test in tests if self.statuses.get(test, "") not in ("passed", accepted.get(test))]


def read_reports(report: bytes, key: bytes, canary: str = "") -> Reports:
    """What was reported; tests whose name has the canary in it are checked and left out."""
    reports, canaries = Reports(), set()
    for number, line in enumerate(report.splitlines()):
        signature, _, body = line.partition(b" ")
        if not hmac.compare_digest(signature, hmac.new(key, body, hashlib.sha256).hexdigest().encode()):
            return Reports(started=True, problem="a forged report")
        record = json.loads(body)
        if record["n"] != number:
            return Reports(started=True, problem="reports out of order")
        match record["outcome"]:
            case "start":
                reports.started = True
            case "end":
                reports.complete = True
            case "tampered":
                return Reports(started=True, problem=f"tampering: {record['what']}")
            case status:
                outcome = _outcome(status, record["sites"])
                if canary and canary in record["id"]:
                    name = record["id"]
                    expected = "failed" if f"test_no_{canary}" in name else "passed"
                    if outcome.status != expected or name in canaries:
                        return Reports(started=True, problem=f"a canary {outcome.status} that should have {expected}")
                    canaries.add(name)
                else:
                    _add(reports.outcomes, record["id"], outcome)
    return reports


def _outcome(status: str, sites: dict[str, list[int]]) -> Outcome:
    counts = {int(site): (held, failed) for site, (held, failed) in sites.items()}
    if status == "passed" and any(failed for _, failed in counts.values()):
        status = "failed"
    return Outcome(status, counts)


def _add(outcomes: dict[str, Outcome], name: str, outcome: Outcome) -> None:
    """A test has several reports where it fails to set up or to tear down: the worst counts."""
    if name not in outcomes or outcomes[name].status in ("passed", "xfailed"):
        outcomes[name] = outcome


def guards_of(wrong_run: Reports) -> Guards:
    """The assertions that failed, every time, when the accepted solution was run against the wrong tests."""
    guards = {}
    for name, outcome in wrong_run.outcomes.items():
        sites = sorted(site for site, (held, failed) in outcome.sites.items() if failed and not held)
        if sites:
            guards[name] = sites
    return guards


def unguarded(wrong_run: Reports, guards: Guards, tests: Iterable[str]) -> str:
    """The first of these tests that a solution passes although it is wrong, with the reason; "" where none."""
    for name in tests:
        if name not in guards:
            continue
        sites = wrong_run.outcomes[name].sites if name in wrong_run.outcomes else {}
        for site in guards[name]:
            held, failed = sites.get(site, (0, 0))
            if held or not failed:
                return f"{name}: assertion {site} {'holds' if held else 'is not reached'} in its wrong form"
    return ""
