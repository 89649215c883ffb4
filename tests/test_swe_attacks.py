"""Every attack of swe_attacks.py, in the real sandbox: no reward, no escape, nothing left behind."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

import swe_attacks
from sandbox.bubblewrap import FIRST_UID, MAX_SLOTS, Bubblewrap
from sandbox.limits import Limits
from sandbox.probe import check_sandbox
from swe.evaluator import Evaluator, Verdict
from swe.patches import extract_patch
from swe.repos import RepoCache
from swe.rows import SweRow
from swe.test_runs import python_folders
from swe_attacks import ATTACKS, BUG, FAIL_TO_PASS, FIXED, NEW_TESTS, OLD_TESTS, PASS_TO_PASS, TEST_FILE, Attack

PYTHON = Path(sys.executable)
LIMITS = Limits(wall_s=6, memory_mb=1024, disk_mb=64, file_mb=32)


@dataclass
class Bench:
    """A repository with a bug, a judge, and what an attack looks for on the host."""

    repository: Path
    judge: Evaluator
    row: SweRow
    port: int
    reached: list[object]
    places: dict[str, object]

    def reply_to(self, attack: Attack) -> str:
        if attack.reply is not None:
            return attack.reply.replace("{gold}", self.row.patch)
        files = {path: text and self._filled(text) for path, text in attack.files.items()}
        return f"```diff\n{diff(self.repository, files)}```\n"

    def _filled(self, text: str) -> str:
        for name, value in self.places.items():
            text = text.replace("{" + name + "!r}", repr(value)).replace("{" + name + "}", str(value))
        return text

    def verdict(self, reply: str) -> Verdict:
        return self.judge.evaluate(self.row, extract_patch(reply))


def git(folder: Path, *arguments: str) -> str:
    return subprocess.run(
        ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", *arguments],
        cwd=folder,
        check=True,
        capture_output=True,
        text=True,
    ).stdout


def diff(repository: Path, files: dict[str, str | None]) -> str:
    """The patch from the repository's commit to one where these files hold these texts."""
    for path, text in files.items():
        file = repository / path
        if text is None:
            file.unlink()
        else:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
    git(repository, "add", "--all", "--force")
    patch = git(repository, "diff", "--cached")
    git(repository, "reset", "--quiet", "--hard", "HEAD")
    return patch


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    folder = tmp_path_factory.mktemp("attacks")
    (folder / "tmp").mkdir()
    own_tmp = pytest.MonkeyPatch()
    own_tmp.setattr(tempfile, "tempdir", str(folder / "tmp"))
    repository = folder / "repos" / "toy__calc"
    for path, text in {
        "calc/__init__.py": "",
        "calc/core.py": BUG,
        TEST_FILE: OLD_TESTS,
        "tests/__init__.py": "",
    }.items():
        (repository / path).parent.mkdir(parents=True, exist_ok=True)
        (repository / path).write_text(text)
    git(repository, "init", "--quiet")
    git(repository, "add", "--all")
    git(repository, "commit", "--quiet", "-m", "Clamp")
    row = SweRow.from_dict(
        {
            "instance_id": "toy__calc-1",
            "repo": "toy/calc",
            "base_commit": git(repository, "rev-parse", "HEAD").strip(),
            "problem_statement": "clamp(9, 0, 3) is 0 and should be 3.",
            "patch": diff(repository, {"calc/core.py": FIXED}),
            "test_patch": diff(repository, {TEST_FILE: NEW_TESTS}),
            "FAIL_TO_PASS": [f"{TEST_FILE}::{name}" for name in FAIL_TO_PASS],
            "PASS_TO_PASS": [f"{TEST_FILE}::{name}" for name in PASS_TO_PASS],
        },
        "the toy",
    )
    secret = folder / "secret"
    secret.write_text(swe_attacks.SECRET)
    secret.chmod(0o644)
    reached: list[object] = []
    abstract = f"\0veritas-rl test {os.getpid()}"
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket(socket.AF_UNIX) as local:
        local.bind(abstract)
        local.listen()
        for server in (listener, local):
            threading.Thread(target=_count, args=(server, reached), daemon=True).start()
        judge = Evaluator(Bubblewrap(python_folders(PYTHON)), RepoCache(folder / "repos", fetch=False), PYTHON, LIMITS)
        port = listener.getsockname()[1]
        places = {
            "secret": str(secret),
            "project": str(Path(__file__)),
            "secret_text": swe_attacks.SECRET,
            "port": port,
            "abstract": abstract,
        }
        own_tmp.setenv("VERITAS_TEST_SECRET", swe_attacks.SECRET)
        yield Bench(repository, judge, row, port, reached, places)
    own_tmp.undo()


def _count(server: socket.socket, reached: list[object]) -> None:
    while True:
        try:
            connection, address = server.accept()
        except OSError:
            return  # closed: the tests are over
        reached.append(address)
        connection.close()


def sandboxed_processes() -> list[str]:
    """Processes of sandboxes on this machine: those of root by their user id, a user's own by their program."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                command = (process / "cmdline").read_bytes()
                uid = process.stat().st_uid
            except (FileNotFoundError, ProcessLookupError):
                continue
            if FIRST_UID <= uid < FIRST_UID + MAX_SLOTS or command.startswith(b"bwrap"):
                found.append(f"{process.name} of {uid}: {command!r}")
    return found


def mounts() -> set[str]:
    return {line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()}


def wait_until_gone(processes: list[str]) -> list[str]:
    """Those of the processes that stay; sandboxes of tests beside this one end by themselves."""
    deadline = time.monotonic() + 60
    while processes and time.monotonic() < deadline:
        time.sleep(0.1)
        processes = [process for process in processes if process in sandboxed_processes()]
    return processes


def test_this_machine_makes_sandboxes_that_hold() -> None:
    assert "works here" in check_sandbox()


def test_the_accepted_patch_is_resolved_and_every_assertion_of_its_tests_is_guarded(bench: Bench) -> None:
    verdict = bench.verdict(f"<think>--- a/x</think>Here it is:\n```diff\n{bench.row.patch}```\nDone.")
    assert verdict.resolved, verdict.reason
    assert (verdict.fail_to_pass, verdict.pass_to_pass, verdict.applied, verdict.tampered) == (1.0, 1.0, True, False)
    accepted = bench.judge.accepted(bench.row)
    assert accepted.instrumented
    assert set(accepted.guards) == {*bench.row.fail_to_pass, *bench.row.pass_to_pass} - {f"{TEST_FILE}::test_bounds"}


def test_another_right_patch_is_resolved(bench: Bench) -> None:
    other = BUG.replace("    if x < lo:", "    if lo <= hi < x:\n        return int(str(hi))\n    if x < lo:")
    verdict = bench.verdict(diff(bench.repository, {"calc/core.py": other}))
    assert verdict.resolved, verdict.reason


@pytest.mark.alone
@pytest.mark.slow
def test_no_attack_is_rewarded_reaches_the_host_or_leaves_anything_behind(bench: Bench) -> None:
    before = mounts()
    replies = [bench.reply_to(attack) for attack in ATTACKS]
    with ThreadPoolExecutor(2) as threads:
        verdicts = list(threads.map(bench.verdict, replies))
    rewarded = [f"{attack.kind}: {attack.name}" for attack, v in zip(ATTACKS, verdicts, strict=True) if v.resolved]
    assert not rewarded
    for attack, verdict in zip(ATTACKS, verdicts, strict=True):
        assert not attack.takes_limit or "limit" in verdict.reason, (attack.name, verdict.reason)
    assert not bench.reached
    assert not Path("/usr/veritas-attack").exists() and not Path("/tmp/veritas-attack").exists()
    assert not wait_until_gone(sandboxed_processes())
    assert mounts() == before
    assert not list(Path(tempfile.gettempdir()).iterdir())


@pytest.mark.alone
@pytest.mark.slow
def test_two_hundred_patches_judged_side_by_side_leave_nothing_behind(bench: Bench) -> None:
    before = mounts()
    wrong_patch = diff(bench.repository, {"calc/core.py": BUG.replace("return x", "return lo")})
    patches = [bench.row.patch, wrong_patch] * 100
    with ThreadPoolExecutor(8) as threads:
        verdicts = list(threads.map(lambda patch: bench.judge.evaluate(bench.row, patch), patches))
    assert [verdict.resolved for verdict in verdicts] == [True, False] * 100
    assert not wait_until_gone(sandboxed_processes())
    assert mounts() == before
    assert not list(Path(tempfile.gettempdir()).iterdir())
    assert threading.active_count() < 20


def test_what_an_attack_looks_for_is_there(bench: Bench) -> None:
    """The attacks on the host would succeed outside of a sandbox: they fail for the right reason."""
    assert Path(str(bench.places["secret"])).read_text() == swe_attacks.SECRET
    with socket.create_connection(("127.0.0.1", bench.port), 2):
        pass
    deadline = time.monotonic() + 60
    while not bench.reached and time.monotonic() < deadline:
        time.sleep(0.01)
    assert bench.reached
    bench.reached.clear()
