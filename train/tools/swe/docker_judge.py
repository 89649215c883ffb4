"""The judge of a patch to a row of a published benchmark: its own script, in its own image.

    judge = DockerJudge(Docker(), Swebench(python), repos, Limits(wall_s=600))
    judge.evaluate(row, patch)          # Verdict(resolved=True, …)

As evaluator.py it runs the accepted solution first, and takes a task whose own solution fails here for a fault of ours.
Unlike there, all that says what a test did is a log that the tests' own process writes, which swebench's parsers read.
So more is asked of a log than swebench does:

- Only what stands between the marks counts, and the marks have a random number in them.
- A test that must pass is reported just as with the accepted solution: not twice, with one status, not skipped.
- The exit status of the tests agrees with the log, as it does with the accepted solution.
- The tests are run in their right form and in their wrong one (decoys.py), in two containers: the tests fail that
  fail with the accepted solution, and so does one that must. This finds out whatever makes every test pass. It is left
  out where that shows nothing of the accepted solution, as where tests are not Python.

What remains: code that reads the tests, finds out what each of them expects, and writes the log that it should.
"""

from __future__ import annotations

import hashlib
import logging
import tempfile
import threading
import uuid
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from env_adapter import EnvError
from sandbox.bubblewrap import MAX_SLOTS, sandbox_slot
from sandbox.limits import Limits
from swe.containers import Docker
from swe.decoys import FIRST_SITE_OF_FILE, two_forms
from swe.evaluator import Verdict
from swe.marked_scripts import marked_output, marked_script
from swe.patches import PatchError, apply_patch, check_patch, patched_paths
from swe.published_rows import Log, Recipe, Swebench, UnreadableLog, is_published
from swe.repos import RepoCache
from swe.rows import SweRow

logger = logging.getLogger("swe-synth")

PASSED = "passed"
FAILED = ("failed", "error")
_SITE = """

class __site__:
    def __init__(self, site):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *error):
        return False
"""
"""What the forms of a test file call, at its end."""
_BEGIN = r"""
IFS= read -r -d '' script; IFS= read -r -d '' number; cat > /tmp/patch.diff; exec < /dev/null 2>&1
cd /testbed || exit 9
for more in "" "--recount" "--recount --unidiff-zero"; do
    if said=$(git -c safe.directory=/testbed -c core.symlinks=false apply --whitespace=nowarn $more \
        /tmp/patch.diff 2>&1)
    then rm /tmp/patch.diff; echo "$number applied"; unset more said; eval "$script"; exit; fi
done
echo "$number refused: $said"
"""
"""The script comes by the standard input and is in no file: whoever reads it could write its marks."""


@dataclass(frozen=True)
class LogRun:
    """One run of a row's script. `problem` is why it is worth nothing, "" where it went to its end."""

    problem: str
    seconds: float
    output: str
    applied: bool = False
    log: Log = field(default_factory=lambda: Log({}, {}))
    exit_status: int | None = None

    @property
    def contradicts_itself(self) -> bool:
        """Tests that all passed, and an exit status that says otherwise, or the other way round."""
        return (self.exit_status == 0) == any(status in FAILED for status in self.log.statuses.values())


@dataclass(frozen=True)
class Forms:
    """Test files, path → text, in their right and their wrong form."""

    right: dict[str, str] = field(default_factory=dict)
    wrong: dict[str, str] = field(default_factory=dict)
    canary: str = ""


@dataclass(frozen=True)
class AcceptedLog:
    """What the accepted solution of a task shows."""

    run: LogRun
    forms: Forms
    """How the tests are run; without any, as they are."""
    guards: tuple[str, ...] = ()
    """Tests that have to fail in their wrong form."""
    problem: str = ""
    """Why the task cannot be judged here. It is kept: to find that out takes as long as to judge several patches."""

    @property
    def canaries(self) -> dict[str, str]:
        """Tests of ours, one of which fails: whoever writes a log may not know of them."""
        return {
            name: status
            for name, status in self.run.log.statuses.items()
            if self.forms.canary and self.forms.canary in name
        }


class DockerJudge:
    """Judges patches to published rows. Safe to call from several threads.

    `slots`: how many containers run at a time on this machine, together with the sandboxes of bubblewrap.
    """

    def __init__(self, docker: Docker, swebench: Swebench, repos: RepoCache, limits: Limits, slots: int = 1) -> None:
        self.docker, self.swebench, self.repos, self.limits = docker, swebench, repos, limits
        self.slots = range(min(slots, MAX_SLOTS))
        self._recipes: dict[str, Recipe] = {}
        self._accepted: dict[str, AcceptedLog] = {}
        self._locks: dict[str, threading.Lock] = {}
        self._lock = threading.Lock()

    def evaluate(self, row: SweRow, patch: str) -> Verdict:
        """Raises EnvError for faults of ours: no engine, no image, a task whose own solution does not pass."""
        try:
            clash = sorted(check_patch(patch, row.patch) & patched_paths(row.test_patch))
            if clash:
                raise PatchError(f"the test file {clash[0]}")
        except PatchError as error:
            return Verdict(False, f"patch refused: {error}")
        accepted = self.accepted(row)
        if accepted.problem:
            raise EnvError(accepted.problem)
        wall_s = min(self.limits.wall_s, 30 + 10 * accepted.run.seconds)
        run = self._run(row, patch, accepted.forms.right, wall_s)
        verdict = _verdict(row, run, accepted.run)
        if not verdict.resolved or not accepted.guards:
            return verdict
        if any(run.log.statuses.get(name) != status for name, status in accepted.canaries.items()):
            return replace(verdict, resolved=False, tampered=True, reason="a trick: a canary is not in the log")
        wrong = self._run(row, patch, accepted.forms.wrong, wall_s)
        if wrong.problem:
            return replace(verdict, resolved=False, reason=f"with wrong tests: {wrong.problem}")
        for test in accepted.guards:
            if wrong.log.of(test)[0] not in FAILED:
                return replace(verdict, resolved=False, tampered=True, reason=f"a trick: a wrong {test} does not fail")
        return verdict

    def accepted(self, row: SweRow) -> AcceptedLog:
        """What the task's own solution shows, run once. Raises EnvError where it cannot be run."""
        key = row.instance_id + row.base_commit
        with self._lock:
            lock = self._locks.setdefault(key, threading.Lock())
        with lock:
            if key not in self._accepted:
                self._accepted[key] = self._run_accepted(row)
        return self._accepted[key]

    def _run_accepted(self, row: SweRow) -> AcceptedLog:
        if not is_published(row):
            raise EnvError(
                f"{row.instance_id} has no image: it is no row of a published benchmark, and needs SWE_BACKEND=bwrap"
            )
        recipe = self._recipes[row.instance_id] = self.swebench.recipe(row)
        self.docker.need_image(recipe.image, pull=self.repos.fetch)
        if guarded := self._run_forms(row):
            return guarded
        run = self._run(row, row.patch, {}, self.limits.wall_s)
        verdict = _verdict(row, run, run)
        if not verdict.resolved:
            return AcceptedLog(
                run,
                Forms(),
                problem=f"{row.instance_id}: its accepted solution does not pass its tests in {recipe.image} "
                f"({verdict.reason}). There is no network, and the limits are {self.limits}: raise them, or leave this "
                f"task out. {run.output[-800:]}",
            )
        logger.warning("%s: its tests have no wrong form, so a forged log could pass", row.instance_id)
        return AcceptedLog(run, Forms())

    def _run_forms(self, row: SweRow) -> AcceptedLog | None:
        """What both forms of the tests show of the accepted solution; None where that is nothing."""
        forms = self._forms(row)
        if not forms.right:
            return None
        right = self._run(row, row.patch, forms.right, self.limits.wall_s)
        if not _verdict(row, right, right).resolved:
            return None
        wrong = self._run(row, row.patch, forms.wrong, self.limits.wall_s)
        names = () if wrong.problem else (*row.fail_to_pass, *row.pass_to_pass)
        guards = tuple(name for name in names if wrong.log.of(name)[0] in FAILED)
        return AcceptedLog(right, forms, guards) if guards else None

    def _forms(self, row: SweRow) -> Forms:
        """The Python files of test_patch in both forms, as far as this Python can read them."""
        forms = Forms(canary=hashlib.sha256(f"{row.instance_id} {row.base_commit}".encode()).hexdigest()[:12])
        if not row.test_patch.strip():
            return forms
        with tempfile.TemporaryDirectory(prefix="veritas-swe-") as work:
            tree = Path(work)
            self.repos.checkout(row.repo, row.base_commit, tree)
            try:
                apply_patch(tree, row.test_patch)
            except PatchError as error:
                raise EnvError(f"{row.instance_id}: test_patch is at fault: {error}") from error
            for number, path in enumerate(sorted(patched_paths(row.test_patch))):
                if path.endswith(".py") and (tree / path).is_file():
                    try:
                        two = two_forms((tree / path).read_text(), FIRST_SITE_OF_FILE * number, forms.canary)
                    except (SyntaxError, ValueError):
                        continue  # of another Python, or of another encoding
                    forms.right[path], forms.wrong[path] = two.right + _SITE, two.wrong + _SITE
        return forms

    def _run(self, row: SweRow, patch: str, files: Mapping[str, str], wall_s: float) -> LogRun:
        recipe = self._recipes[row.instance_id]
        number = uuid.uuid4().hex
        script = marked_script(recipe.eval_script, number, files, row.instance_id)
        if not patch.endswith("\n"):
            patch += "\n"
        stdin = b"\0".join(text.encode() for text in (script, number, patch))
        limits = Limits(**{**vars(self.limits), "wall_s": wall_s})
        with sandbox_slot(self.slots):
            ran = self.docker.run(recipe.image, _BEGIN, stdin, limits)
        output = ran.output.decode(errors="replace")
        if ran.ended != "exit":
            return LogRun(f"limit: {ran.ended}", ran.seconds, output, output.startswith(f"{number} applied"))
        if output.startswith(f"{number} refused: "):
            return LogRun(f"patch refused: {output.partition(': ')[2].strip()[:300]}", ran.seconds, output)
        if not output.startswith(f"{number} applied"):
            raise EnvError(f"{row.instance_id}: {recipe.image} cannot run its script: {output[-800:]}")
        between, exit_status = marked_output(output, number)
        if exit_status is None:
            return LogRun("the tests did not run to their end", ran.seconds, output, True)
        try:
            log = self.swebench.read(row, between)
        except UnreadableLog as error:
            return LogRun(f"the log of its tests cannot be read: {error}", ran.seconds, output, True)
        return LogRun("", ran.seconds, output[-20_000:], True, log, exit_status)


def _verdict(row: SweRow, run: LogRun, accepted: LogRun) -> Verdict:
    """What a run says, beside that of the accepted solution (which may be itself)."""
    failed = [test for test in row.fail_to_pass if not _passes(test, run.log, accepted.log)]
    broken = [test for test in row.pass_to_pass if not _passes(test, run.log, accepted.log)]
    tampered, reason = False, run.problem
    if not reason and (failed or broken):
        test = (failed + broken)[0]
        reason = f"{test} {run.log.of(test)[0] or 'was not run'}"
        tampered = _more(run.log.of(test)[1], accepted.log.of(test)[1])
        if tampered:
            reason = f"a trick: {test} is reported {dict(run.log.of(test)[1])}"
    if not reason and run.contradicts_itself and not accepted.contradicts_itself:
        tampered, reason = True, f"a trick: the log says otherwise than the tests' exit status {run.exit_status}"
    return Verdict(
        resolved=not reason,
        reason=reason or "resolved",
        applied=run.applied,
        fail_to_pass=1 - len(failed) / len(row.fail_to_pass),
        pass_to_pass=1 - len(broken) / len(row.pass_to_pass) if row.pass_to_pass else float(not run.problem),
        tampered=tampered,
        seconds=run.seconds,
        statuses=run.log.statuses,
        output=run.output[-20_000:],
    )


def _passes(test: str, log: Log, accepted: Log) -> bool:
    """Passed, or failing as its authors expect with the accepted solution too, and reported as it is there."""
    (status, reports), (known, known_reports) = log.of(test), accepted.of(test)
    return status in (PASSED, "xfail") and (status, reports) == (known, known_reports)


def _more(reports: Counter[str], accepted: Counter[str]) -> bool:
    """Whether a test is reported to have passed, and more often than with the accepted solution."""
    return reports[PASSED] > 0 and reports.total() > accepted.total()
