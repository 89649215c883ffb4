"""The proof that an exported model is the trained one: a list of checks, each with what was measured.

    proof = Proof()
    proof.run("tensors", check_layout, base, model)       # an ExportError in it is a failed check
    print_checks({"proof": proof.as_json()})
      tensors       pass      272 names, shapes and dtypes as in the base, 134,515,008 parameters
      changed       pass      210 tensors, exactly the adapter's, by up to 0.00468
    proof.passed                                          # no check failed

The checks are in `proof_tensors`, `proof_chats`, `proof_logits` and `proof_vllm`.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from model_weights import ExportError

PASS, FAIL, NOT_MADE = "pass", "FAIL", "not made"
REPORT = "export.json"
MARK = "DO_NOT_USE.txt"


class NotMade(Exception):
    """A check that cannot be made here, with the reason. It neither passes nor fails."""


class ProofError(ExportError):
    """The export was made and is not the trained model. `report` is that of its export.json."""

    def __init__(self, message: str, report: dict[str, Any]) -> None:
        super().__init__(message)
        self.report = report


@dataclass(frozen=True)
class Check:
    name: str
    verdict: str
    """`pass`, `FAIL` or `not made`."""
    measured: str


@dataclass
class Proof:
    checks: list[Check] = field(default_factory=list)

    def run(self, name: str, check: Callable[..., str], *arguments: Any) -> None:
        """Add a check: a function that says what it measured, or raises ExportError or NotMade."""
        try:
            self.checks.append(Check(name, PASS, check(*arguments)))
        except NotMade as reason:
            self.checks.append(Check(name, NOT_MADE, str(reason)))
        except ExportError as error:
            self.checks.append(Check(name, FAIL, str(error)))

    @property
    def failed(self) -> list[Check]:
        return [check for check in self.checks if check.verdict == FAIL]

    @property
    def passed(self) -> bool:
        return bool(self.checks) and not self.failed

    def as_json(self) -> dict[str, Any]:
        return {"passed": self.passed, "checks": [asdict(check) for check in self.checks]}


NOT_VERIFIED = {"passed": False, "checks": [], "why": "--no-verify: nothing was checked"}


def write_report(directory: Path, report: dict[str, Any]) -> None:
    """export.json; beside it a file that says so when the model must not be used."""
    (directory / REPORT).write_text(json.dumps(report, indent=2) + "\n")
    failed = [check for check in report["proof"]["checks"] if check["verdict"] == FAIL]
    if failed:
        lines = [f"{check['name']}: {check['measured']}\n" for check in failed]
        (directory / MARK).write_text(
            "This is not the trained model. What failed (export.json has all):\n" + "".join(lines)
        )
    else:
        (directory / MARK).unlink(missing_ok=True)


def print_checks(report: dict[str, Any]) -> None:
    for check in report["proof"]["checks"]:
        print(f"  {check['name']:<13} {check['verdict']:<9} {check['measured']}")
    if report["proof"] is NOT_VERIFIED:
        print(f"  {'proof':<13} {NOT_MADE:<9} {NOT_VERIFIED['why']}")


def settle(staging: Path, target: Path, report: dict[str, Any]) -> None:
    """Write the report into `staging`. After a failed proof all of it moves to `target`.refused: raises ProofError."""
    write_report(staging, report)
    failed = [check for check in report["proof"]["checks"] if check["verdict"] == FAIL]
    if failed:
        refused = target.with_name(f"{target.name}.refused")
        shutil.rmtree(refused, ignore_errors=True)
        staging.rename(refused)
        names = ", ".join(check["name"] for check in failed)
        raise ProofError(f"{names}: not the trained model. It is in {refused} and must not be used", report)
