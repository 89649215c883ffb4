"""Patches to rows of published benchmarks: what swebench knows of them, containers, and what a log is worth.

No engine of Docker is needed: stand_in_docker.py takes the place of the command, and really runs what it is told. What
swebench says comes from the real packages, each in an environment of its own, built once: those tests are slow.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
import venv
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from env_adapter import EnvError, NotHere, SettingsError
from sandbox.limits import Limits
from swe import containers, published_rows
from swe.backends import open_backend
from swe.containers import Docker
from swe.docker_judge import DockerJudge
from swe.marked_scripts import marked_output, marked_script
from swe.published_rows import Log, Swebench, UnreadableLog, is_published
from swe.repos import RepoCache
from swe.rows import SweRow
from swe.test_runs import python_folders
from toy_swe_task import CORE, PATCH, _git, make_task

IMAGE = "example/toy.calc-1:latest"
INSIDE = "from calc.core import clamp\n\n\ndef test_inside():\n    assert clamp(2, 1, 3) == 2\n"
ABOVE = "\n\ndef test_above():\n    assert clamp(9, 1, 3) == 3\n"
LIMITS = Limits(wall_s=60, memory_mb=4096)
SCRIPT = """\
#!/bin/bash
set -uxo pipefail
source /opt/miniconda3/bin/activate
conda activate testbed
cd /testbed
git config --global --add safe.directory /testbed
git -c core.fileMode=false diff {base}
git checkout {base} tests/test_core.py
git apply -v - <<'EOF_114329324912'
{test_patch}
EOF_114329324912
: '>>>>> Start Test Output'
python -m pytest -rA -p no:cacheprovider tests/test_core.py
: '>>>>> End Test Output'
git checkout {base} tests/test_core.py
"""
DENIED = "permission denied while trying to connect to the Docker daemon socket at unix:///var/run/docker.sock"
"""As Docker 28 says it."""
ACTIVATE = "conda() { :; }\n"


@dataclass
class Engine:
    """The stand-in's directory: what is there, and what it was asked."""

    home: Path

    def offer(self, name: str, tree: Path, where: str = "images") -> None:
        target = self.home / where / name.replace("/", "%").replace(":", "%")
        target.parent.mkdir(exist_ok=True)
        _git(tree.parent, "clone", "--quiet", "--no-hardlinks", str(tree), str(target))

    @property
    def calls(self) -> list[list[str]]:
        path = self.home / "calls.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    @property
    def left_over(self) -> list[Path]:
        return list((self.home / "containers").glob("*"))


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    home = tmp_path / "engine"
    (home / "miniconda3/bin").mkdir(parents=True)
    (home / "miniconda3/bin/activate").write_text(ACTIVATE)
    (home / "folders.json").write_text(json.dumps([str(path) for path in python_folders(Path(sys.executable))]))
    programs = tmp_path / "programs"
    programs.mkdir()
    command = programs / "docker"
    stand_in = Path(__file__).with_name("stand_in_docker.py")
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -I "{stand_in}" "$@"\n')
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setenv("STAND_IN", str(home))
    yield Engine(home)


@dataclass(frozen=True)
class Toy:
    row: SweRow
    repos: RepoCache
    tree: Path


def make_toy(directory: Path, repo: str, instance_id: str) -> Toy:
    """The repository of toy_swe_task, with a test that comes with the right answer, as a row of a benchmark."""
    tree = directory / "tree"
    for name, text in {
        "conftest.py": "",
        "calc/__init__.py": "",
        "calc/core.py": CORE,
        "tests/test_core.py": INSIDE,
    }.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(text)
    _git(tree, "init", "--quiet", "--initial-branch=main")
    _git(tree, "add", ".")
    _git(tree, "commit", "--quiet", "-m", "with the bug")
    base = _git(tree, "rev-parse", "HEAD")
    (tree / "tests/test_core.py").write_text(INSIDE + ABOVE)
    test_patch = _git(tree, "diff") + "\n"
    _git(tree, "checkout", "--quiet", ".")
    _git(directory, "clone", "--quiet", "--bare", str(tree), str(directory / f"{repo.replace('/', '__')}.git"))
    row = SweRow(
        instance_id=instance_id,
        repo=repo,
        base_commit=base,
        problem_statement="clamp(9, 1, 3) gives 1, not 3.",
        patch=PATCH,
        test_patch=test_patch,
        fail_to_pass=("tests/test_core.py::test_above",),
        pass_to_pass=("tests/test_core.py::test_inside",),
        others={"environment_setup_commit": base},
    )
    return Toy(row, RepoCache(directory, fetch=False), tree)


@pytest.fixture
def new_toy(tmp_path: Path, engine: Engine) -> Toy:
    """A row of swebench 5, whose image is here."""
    toy = make_toy(tmp_path / "toy", "toy/calc", "toy__calc-1")
    engine.offer(IMAGE, toy.tree)
    script = SCRIPT.format(base=toy.row.base_commit, test_patch=toy.row.test_patch)
    own = {"image": IMAGE, "eval_script": script, "log_parser": "parse_log_pytest", "eval_type": "pass_and_fail"}
    return replace(toy, row=replace(toy.row, others={**toy.row.others, **own}))


@pytest.fixture(scope="session")
def environments(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """swebench's version → a Python that has it, and what it lacks of ours. $SWEBENCH_4, $SWEBENCH_5: made before."""
    built: dict[str, Path] = {}

    def environment(version: str) -> Path:
        if found := os.environ.get(f"SWEBENCH_{version[0]}"):
            return Path(found)
        if version not in built:
            place = tmp_path_factory.mktemp("swebench") / version
            venv.create(place)
            site = next(place.glob("lib/python3*/site-packages"))
            ours = [path for path in sys.path if path.endswith("site-packages")]
            (site / "ours.pth").write_text("".join(f"{path}\n" for path in ours))
            pip = [sys.executable, "-m", "pip", "--python", str(place / "bin/python"), "install", "--quiet"]
            subprocess.run([*pip, "--no-compile", f"swebench=={version}"], check=True)
            built[version] = place / "bin/python"
        return built[version]

    return environment


@pytest.fixture(scope="session")
def swebench_5(environments: Callable[[str], Path]) -> Swebench:
    return Swebench(environments("5.0.2"))


@pytest.fixture(scope="session")
def swebench_4(environments: Callable[[str], Path]) -> Swebench:
    return Swebench(environments("4.1.0"))


def mended(extra: str = "", fix: bool = True) -> str:
    """A patch to calc/core.py: the fix, if any, and more at the end of the file."""
    old = CORE.splitlines(keepends=True)
    text = CORE.replace("hi:\n        return lo", "hi:\n        return hi") if fix else CORE
    new = (text + extra).splitlines(keepends=True)
    head = f"--- a/calc/core.py\n+++ b/calc/core.py\n@@ -1,{len(old)} +1,{len(new)} @@\n"
    return head + "".join("-" + line for line in old) + "".join("+" + line for line in new)


# Containers.


def test_a_container_has_no_network_no_rights_and_every_limit(engine: Engine, new_toy: Toy) -> None:
    limits = Limits(wall_s=20, memory_mb=700, processes=33, disk_mb=44, file_mb=5, cpu_s=66)
    ran = Docker().run(IMAGE, "cat; ls /sys/class/net; pwd", b"hello\n", limits)
    assert (ran.ended, ran.returncode, ran.output.split()) == ("exit", 0, [b"hello", b"/testbed"])
    (run,) = [call for call in engine.calls if call[0] == "run"]
    line = " ".join(run[: run.index(IMAGE)])
    for part in (
        *("--rm", "--network none", "--cap-drop ALL", "--security-opt no-new-privileges", "--log-driver none"),
        *("--pids-limit 33", "--memory 700m", "--memory-swap 700m", "--cpus 1", "--shm-size 44m", "--pull never"),
        *(f"--ulimit fsize={5 << 20}", "--ulimit cpu=66", "--ulimit core=0"),
    ):
        assert part in line
    assert not {"--privileged", "--volume", "-v", "--mount", "--env", "--cap-add"} & set(run)


@pytest.mark.parametrize(
    ("script", "limits", "ended"),
    [
        ("sleep 60", Limits(wall_s=1), "timeout"),
        ("exec >/dev/null; sleep 60 & exec sleep 60", Limits(wall_s=1), "timeout"),
        ("yes", Limits(wall_s=20, output_kb=64), "output"),
        ("head -c 9000000 /dev/zero > big; sleep 60", Limits(wall_s=20, disk_mb=2), "disk"),
    ],
)
def test_past_a_limit_the_container_is_removed(
    engine: Engine, new_toy: Toy, monkeypatch: pytest.MonkeyPatch, script: str, limits: Limits, ended: str
) -> None:
    monkeypatch.setattr(containers, "DISK_POLL_S", 0.3)
    begin = time.monotonic()
    assert Docker().run(IMAGE, script, b"", limits).ended == ended
    assert time.monotonic() - begin < 15
    assert not engine.left_over
    assert [call[0] for call in engine.calls][-1] == "rm"


def test_a_container_ends_with_its_time_even_without_its_judge(engine: Engine, new_toy: Toy) -> None:
    Docker().run(IMAGE, "true", b"", Limits(wall_s=20))
    (run,) = [call for call in engine.calls if call[0] == "run"]
    assert run[run.index(IMAGE) + 1 :][:4] == ["-s", "KILL", "50", "/bin/bash"]
    assert run[run.index("--entrypoint") + 1] == "timeout"


def test_what_killed_judges_left_is_removed_once_its_time_is_over(engine: Engine) -> None:
    places = engine.home / "containers"
    places.mkdir()
    (places / "old.json").write_text(json.dumps({"pid": 0, "until": str(int(time.time()) - 5)}))
    (places / "running.json").write_text(json.dumps({"pid": 0, "until": str(int(time.time()) + 500)}))
    assert Docker().sweep() == 1
    assert [path.name for path in engine.left_over] == ["running.json"]


def test_an_engine_that_cannot_start_a_container_is_a_fault_of_ours(engine: Engine, new_toy: Toy) -> None:
    (engine.home / "daemon_is_down").touch()
    with pytest.raises(EnvError, match=r"did not start.*no space left on device"):
        Docker().run(IMAGE, "true", b"", LIMITS)


def test_an_image_is_fetched_once_where_that_is_allowed(engine: Engine, tmp_path: Path) -> None:
    toy = make_toy(tmp_path / "toy", "toy/calc", "toy__calc-1")
    engine.offer(IMAGE, toy.tree, "registry")
    docker = Docker()
    with pytest.raises(EnvError, match=f"use_cache_only.*docker pull {IMAGE}"):
        docker.need_image(IMAGE, pull=False)
    threads = [threading.Thread(target=docker.need_image, args=(IMAGE, True)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(call[0] == "pull" for call in engine.calls) == 1


def test_an_image_that_is_nowhere_is_named_with_what_docker_says(engine: Engine) -> None:
    with pytest.raises(EnvError, match=r"image no/such:latest cannot be fetched.*manifest unknown.*docker pull"):
        Docker().need_image("no/such:latest", pull=True)


def test_without_an_engine_the_error_says_how_to_start_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no.sock")
    with pytest.raises(SettingsError, match=r"systemctl start docker|is not installed"):
        Docker().check()
    with pytest.raises(SettingsError, match=r"no-such-docker is not installed"):
        Docker("no-such-docker").check()


def test_who_may_not_use_docker_is_told_of_its_group(tmp_path: Path) -> None:
    program = tmp_path / "docker"
    program.write_text(f"#!/bin/sh\necho '{DENIED}' >&2\nexit 1\n")
    program.chmod(0o755)
    with pytest.raises(SettingsError, match=r"permission denied while .* usermod -aG docker"):
        Docker(str(program)).check()


@pytest.mark.skipif(shutil.which("docker") is None, reason="the command docker is not installed")
def test_the_real_command_knows_every_option_that_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It reads its options before it asks for an engine, of which there is none at this address."""
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no.sock")
    docker = Docker()
    for use in (
        lambda: docker.run(IMAGE, "true", b"", LIMITS),
        lambda: docker.need_image(IMAGE, pull=True),
        docker.sweep,
    ):
        with pytest.raises(EnvError, match=r"(?i)cannot connect to the docker daemon|failed to connect"):
            use()
    started = subprocess.run(["docker", *containers._arguments("x", IMAGE, LIMITS), "true"], capture_output=True)
    assert started.returncode == 125 and b"unknown" not in started.stderr


# What counts of a log.


def test_only_what_stands_between_the_marks_of_this_run_counts() -> None:
    script = marked_script("set -x\n: '>>>>> Start Test Output'\ntests\n: '>>>>> End Test Output'\nrest", "n1", {}, "x")
    assert "Test Output" not in script and script.index("$?") == script.index("tests\n\nVERITAS_STATUS=") + 22
    log = ">>>>> Start Test Output\nforged\n>>>>> Start n1\nPASSED a\n>>>>> End Test Output\n>>>>> End n1\nn1 exit 1\n"
    assert marked_output(log + "PASSED b", "n1") == ("PASSED a\n>>>>> End Test Output\n", 1)
    assert marked_output(log.replace("n1", "n2"), "n1") == ("", None)
    assert marked_output(log.replace(">>>>> End n1\n", ""), "n1") == ("", None)


@pytest.mark.parametrize("script", ["tests", ": '>>>>> End Test Output'\n: '>>>>> Start Test Output'\n"])
def test_a_script_without_marks_is_a_fault_of_ours(script: str) -> None:
    with pytest.raises(EnvError, match=r"toy__calc-1: its eval_script does not mark"):
        marked_script(script, "n", {}, "toy__calc-1")


def test_a_name_that_is_cut_off_stands_for_all_tests_that_begin_so() -> None:
    statuses = {"t::f[log(a b)]": "passed", "t::f[log(a c)]": "failed", "t::g[1]": "passed"}
    log = Log(statuses, {name: Counter({status: 1}) for name, status in statuses.items()})
    assert log.of("t::f[log(a")[0] == "failed"
    assert log.of("t::f[log(a b") == ("passed", Counter(passed=1))
    assert log.of("t::g") == ("", Counter())


# Which backend.


def test_rows_of_the_task_maker_and_of_a_benchmark_are_told_apart(tmp_path: Path) -> None:
    made = make_task(tmp_path).row
    assert not is_published(SweRow.from_dict(made.to_dict(), "made"))
    classic = {**made.to_dict(), "environment_setup_commit": made.base_commit}
    assert is_published(SweRow.from_dict(classic, "classic"))


def test_without_docker_auto_judges_made_tasks_and_says_what_a_benchmark_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no.sock")
    task = make_task(tmp_path)
    published = replace(task.row, others={"environment_setup_commit": task.row.base_commit})
    judge = open_backend("auto", task.repos, python=Path(sys.executable), limits=LIMITS)
    assert judge.evaluate(task.row, task.row.patch).resolved
    with pytest.raises(NotHere, match=r"toy__calc-1 cannot be judged here.*SWE_BACKEND=bwrap"):
        judge.evaluate(published, task.row.patch)
    with pytest.raises(NotHere, match=r"toy__calc-1 cannot be judged here"):
        open_backend("auto", task.repos, python=Path(sys.executable), limits=LIMITS, rows=[published])
    with pytest.raises(NotHere, match=r"SWE_BACKEND=docker"):
        open_backend("docker", task.repos, python=Path(sys.executable), limits=LIMITS)
    assert (
        open_backend("bwrap", task.repos, python=Path(sys.executable), limits=LIMITS)
        .evaluate(published, PATCH)
        .resolved
    )


def test_a_python_without_swebench_is_named_with_the_command_that_makes_one() -> None:
    with pytest.raises(SettingsError, match=r"SWEBENCH_PYTHON=/usr/bin/python3 .*pip install swebench==4\.1\.0"):
        Swebench(Path("/usr/bin/python3")).check()
    with pytest.raises(SettingsError, match=r"SWEBENCH_PYTHON=/no/python .*cannot be run"):
        Swebench(Path("/no/python")).check()


# The whole judge, with swebench itself.


@pytest.fixture
def judge(new_toy: Toy, swebench_5: Swebench) -> DockerJudge:
    return DockerJudge(Docker(), swebench_5, new_toy.repos, LIMITS, slots=2)


@pytest.mark.slow
def test_a_row_of_swebench_5_is_judged_in_its_image(engine: Engine, new_toy: Toy, judge: DockerJudge) -> None:
    verdict = judge.evaluate(new_toy.row, mended("\n# And so on.\n"))
    assert (verdict.resolved, verdict.reason, verdict.fail_to_pass, verdict.pass_to_pass) == (True, "resolved", 1, 1)
    assert judge.accepted(new_toy.row).guards == (*new_toy.row.fail_to_pass, *new_toy.row.pass_to_pass)
    wrong = judge.evaluate(new_toy.row, mended("\n# Nothing.\n", fix=False))
    assert (wrong.resolved, wrong.applied, wrong.fail_to_pass, wrong.pass_to_pass) == (False, True, 0, 1)
    assert wrong.reason == "tests/test_core.py::test_above failed" and not wrong.tampered
    refused = judge.evaluate(new_toy.row, PATCH.replace("x < lo", "y < lo"))
    assert not refused.applied and "patch refused: error: patch failed: calc/core.py" in refused.reason
    assert judge.evaluate(new_toy.row, PATCH.replace("calc/core.py", "tests/conftest.py")).reason.startswith("patch")
    assert not engine.left_over


SKIP = "\nimport pytest\npytest.skip('later', allow_module_level=True)\n"
NAMES = "'tests/test_core.py::test_inside', 'tests/test_core.py::test_above'"
PRINTS = f"""
import atexit
import os
text = ''.join(f'PASSED {{name}}\\n' for name in ({NAMES}))
atexit.register(lambda: os.write(1, text.encode()))
"""
FORGED = f"""
import os
pipe = next(fd for fd in range(3, 30) if os.path.exists(f'/proc/self/fd/{{fd}}')
            and os.readlink(f'/proc/self/fd/{{fd}}').startswith('pipe:'))
os.write(pipe, ''.join(f'PASSED {{name}}\\n' for name in ({NAMES})).encode())
os._exit(0)
"""
MARKS = f"""
import os
text = '>>>>> Start Test Output\\n' + ''.join(f'PASSED {{name}}\\n' for name in ({NAMES}))
for fd in range(1, 12):
    try:
        os.write(fd, (text + '>>>>> End Test Output\\n').encode())
    except OSError:
        pass
"""
PATCHED_PYTEST = """
import _pytest.runner
def _all_well(*given, **named):
    return None
_pytest.runner.pytest_runtest_call = _all_well
import _pytest.python
_pytest.python.Function.runtest = lambda self: None
"""
PATCHED_BUT_CANARIES = """
import _pytest.python
_runtest = _pytest.python.Function.runtest
_pytest.python.Function.runtest = lambda self: _runtest(self) if 'test_no' in self.name else None
"""
EQUALS_ALL = """

class Anything(int):
    __eq__ = lambda self, other: True
    __ne__ = lambda self, other: False


clamp = lambda x, lo, hi: Anything()
"""
EXITS = "\nimport os\nos._exit(0)\n"
SLEEPS = "\nimport time\ntime.sleep(1000)\n"


ATTACKS = {
    SKIP: "test_above was not run",
    PRINTS: "a trick: tests/test_core.py::test_above is reported",
    FORGED: "a trick: a canary is not in the log",
    MARKS: "a trick: tests/test_core.py::test_above is reported",
    EQUALS_ALL: "a trick: a wrong tests/test_core.py::test_above does not fail",
    PATCHED_PYTEST: "a trick: a canary is not in the log",
    PATCHED_BUT_CANARIES: "a trick: a wrong tests/test_core.py::test_above does not fail",
    EXITS: "test_above was not run",
    SLEEPS: "limit: timeout",
}


@pytest.mark.slow
def test_a_log_that_is_forged_or_short_of_tests_earns_nothing(
    engine: Engine, new_toy: Toy, swebench_5: Swebench
) -> None:
    judge = DockerJudge(Docker(), swebench_5, new_toy.repos, Limits(wall_s=12, memory_mb=4096))
    verdicts = {attack: judge.evaluate(new_toy.row, mended(attack, fix=False)) for attack in ATTACKS}
    assert not any(verdict.resolved for verdict in verdicts.values())
    for attack, reason in ATTACKS.items():
        assert reason in verdicts[attack].reason
        assert verdicts[attack].tampered == ("trick" in reason)
    assert not engine.left_over


@pytest.mark.slow
def test_patches_are_judged_at_once_and_nothing_is_left(engine: Engine, new_toy: Toy, judge: DockerJudge) -> None:
    patches = [mended(f"\n# {number}\n", fix=number % 2 == 0) for number in range(6)]
    with ThreadPoolExecutor(4) as pool:
        verdicts = list(pool.map(lambda patch: judge.evaluate(new_toy.row, patch), patches))
    assert [verdict.resolved for verdict in verdicts] == [True, False] * 3
    assert sum(call[0] == "run" for call in engine.calls) == 2 + 3 * 2 + 3
    assert not engine.left_over


@pytest.mark.slow
def test_a_log_that_its_parser_does_not_get_through_is_worth_nothing(
    new_toy: Toy, swebench_5: Swebench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(published_rows, "READ_S", 3)
    monkeypatch.setattr(published_rows, "START_S", 30)
    row = replace(new_toy.row, others={**new_toy.row.others, "log_parser": "parse_log_sympy"})
    swebench_5.check()
    with pytest.raises(UnreadableLog, match=r"no answer in 3 s"):
        swebench_5.read(row, " " * 2_000_000)
    assert swebench_5.read(row, "test_a ok\ntest_b F").statuses == {"test_a": "passed", "test_b": "failed"}


@pytest.mark.slow
def test_a_task_whose_own_solution_fails_here_is_a_fault_of_ours(
    engine: Engine, new_toy: Toy, judge: DockerJudge
) -> None:
    row = replace(new_toy.row, pass_to_pass=("tests/test_core.py::test_gone",))
    with pytest.raises(EnvError, match=r"its accepted solution does not pass.*test_gone was not run.*no network"):
        judge.evaluate(row, PATCH)
    runs = len(engine.calls)
    with pytest.raises(EnvError, match=r"its accepted solution does not pass"):
        judge.evaluate(row, mended("\n# Another.\n"))
    assert len(engine.calls) == runs


@pytest.mark.slow
def test_a_row_whose_logs_name_only_failures_is_refused(new_toy: Toy, judge: DockerJudge) -> None:
    row = replace(new_toy.row, others={**new_toy.row.others, "eval_type": "fail_only"})
    with pytest.raises(EnvError, match=r"eval_type=fail_only"):
        judge.evaluate(row, PATCH)


@pytest.mark.slow
def test_a_classic_row_is_judged_with_swebench_4(
    tmp_path: Path, engine: Engine, swebench_4: Swebench, swebench_5: Swebench
) -> None:
    toy = make_toy(tmp_path / "toy", "pallets/flask", "pallets__flask-1")
    row = replace(toy.row, version="2.3")
    engine.offer("swebench/sweb.eval.x86_64.pallets_1776_flask-1:latest", toy.tree)
    judge = DockerJudge(Docker(), swebench_4, toy.repos, LIMITS)
    assert judge.evaluate(row, mended("\n# And so on.\n")).resolved
    assert not judge.evaluate(row, mended("\n# Nothing.\n", fix=False)).resolved
    with pytest.raises(EnvError, match=r"swebench 4\.1\.0 knows it, not 5\.0\.2"):
        swebench_5.recipe(row)
    with pytest.raises(EnvError, match=r"knows no version '77'"):
        swebench_4.recipe(replace(row, version="77"))


@pytest.mark.slow
def test_the_recipe_of_a_classic_row_is_what_swebench_4_makes_of_it(tmp_path: Path, swebench_4: Swebench) -> None:
    """But for what needs the network: for this repository it fetches nothing."""
    row = replace(make_toy(tmp_path, "psf/requests", "psf__requests-863").row, version="0.14")
    code = (
        "import json, sys\nfrom swebench.harness.test_spec.test_spec import make_test_spec\n"
        "spec = make_test_spec(json.load(sys.stdin), namespace='swebench')\n"
        "print(json.dumps([spec.instance_image_key, spec.eval_script]))"
    )
    command = [str(swebench_4.python), "-c", code]
    done = subprocess.run(command, input=json.dumps(row.to_dict()), capture_output=True, text=True, check=True)
    recipe = swebench_4.recipe(row)
    assert [recipe.image, recipe.eval_script] == json.loads(done.stdout.splitlines()[-1])
