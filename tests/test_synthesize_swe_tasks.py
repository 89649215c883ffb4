"""data_processing/synthesize_swe_tasks.py: from a package with tests to tasks whose right answer is known."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import synthesize_swe_tasks
from sandbox.bubblewrap import Bubblewrap
from swe.evaluator import Evaluator
from swe.patches import apply_patch
from swe.repos import RepoCache
from swe.rows import SweRow
from swe.test_runs import python_folders
from toy_package import CORE, FILES, TESTS, write_repository, write_sdist

SCRIPT = Path(synthesize_swe_tasks.__file__)
PYTHON = Path(sys.executable)


def run(source, output, *arguments):
    return synthesize_swe_tasks.main(["--source", str(source), "--output", str(output), *map(str, arguments)])


def files_of(output):
    """All that a run leaves, but the bytes of git's packs: names and contents, and the hash of every branch."""
    files = {
        str(path.relative_to(output)): path.read_bytes()
        for path in output.rglob("*")
        if path.is_file() and path.relative_to(output).parts[0] != "repos"
    }
    for repository in (output / "repos").glob("*.git"):
        command = ["git", "-C", str(repository), "rev-list", "--objects", "--all"]
        objects = subprocess.run(command, check=True, capture_output=True).stdout
        everything = ["git", "-C", str(repository), "cat-file", "--batch-all-objects", "--batch-check"]
        branches = subprocess.run(["git", "-C", str(repository), "show-ref"], check=True, capture_output=True).stdout
        listed = subprocess.run(everything, check=True, capture_output=True).stdout
        files[repository.name] = b"".join(sorted(objects.splitlines(True))) + branches + listed
    return files


def rows_of(output):
    paths = sorted(output.glob("task_*.json"), key=lambda path: int(path.stem.removeprefix("task_")))
    return [SweRow.from_dict(json.loads(path.read_text(encoding="utf-8")), path.name) for path in paths]


def error_line(capsys):
    lines = [line for line in capsys.readouterr().err.splitlines() if "synthesize_swe_tasks:" in line]
    assert len(lines) == 1
    return lines[0]


@pytest.fixture(scope="module")
def mutated(tmp_path_factory):
    """Six tasks by mutation of the toy package, made by two processes."""
    directory = tmp_path_factory.mktemp("mutated")
    output = directory / "tasks"
    assert run(write_sdist(directory), output, "--num-tasks", 6, "--concurrency", 2) == 0
    return output


@pytest.fixture(scope="module")
def mined(tmp_path_factory):
    directory = tmp_path_factory.mktemp("mined")
    output = directory / "tasks"
    assert run(write_repository(directory), output, "--mode", "mine", "--num-tasks", 9, "--concurrency", 2) == 0
    return output


@pytest.mark.slow
def test_a_mutation_makes_whole_rows_of_swe_bench(mutated):
    rows = rows_of(mutated)
    assert len(rows) == 6 and len({row.instance_id for row in rows}) == 6
    for row in rows:
        raw = row.to_dict()
        assert {"hints_text", "created_at", "environment_setup_commit", "mutation"} <= set(raw)
        assert (row.repo, row.version, row.test_patch, row.pythonpath) == ("pypi/calc", "1.0", "", (".",))
        assert row.others["created_at"] == "2023-11-14T22:13:20Z"
        assert row.others["made_by"] == "mutation" and row.others["environment_setup_commit"] == row.base_commit
        assert 1 <= len(row.fail_to_pass) <= 3.5 and row.pass_to_pass
        assert not set(row.fail_to_pass) & set(row.pass_to_pass)
        assert all(test.startswith("tests/test_core.py::") for test in (*row.fail_to_pass, *row.pass_to_pass))


@pytest.mark.slow
def test_base_commit_and_patch_give_the_package_as_it_was(mutated, tmp_path):
    repos = RepoCache(mutated / "repos", fetch=False)
    for number, row in enumerate(rows_of(mutated)):
        tree = tmp_path / str(number)
        tree.mkdir()
        repos.checkout(row.repo, row.base_commit, tree)
        assert (tree / "calc/core.py").read_text() != CORE
        apply_patch(tree, row.patch)
        assert {str(p.relative_to(tree)): p.read_text() for p in tree.rglob("*") if p.is_file()} == FILES


@pytest.mark.slow
def test_a_base_commit_has_no_history_that_tells_the_answer(mutated):
    git = ["git", "-C", str(mutated / "repos" / "pypi__calc.git")]
    for row in rows_of(mutated):
        listed = subprocess.run([*git, "rev-list", row.base_commit], check=True, capture_output=True, text=True).stdout
        assert listed.split() == [row.base_commit]
        message = subprocess.run([*git, "show", "-s", "--format=%B", row.base_commit], capture_output=True, text=True)
        assert message.stdout.strip() == "calc 1.0"


@pytest.mark.slow
def test_a_statement_tells_the_failure_and_not_the_answer(mutated):
    for row in rows_of(mutated):
        told = row.problem_statement
        assert row.fail_to_pass[0].partition("[")[0] in told
        assert "With calc 1.0 this does not work" in told
        assert row.others["mutation"]["operator"] not in told.replace("not work", "").replace("not hold", "")
        assert "diff --git" not in told and "@@" not in told
        removed_and_added = [line[1:].strip() for line in row.patch.splitlines() if line[:1] in "+-"]
        for line in removed_and_added:
            assert len(line) < 8 or line not in told


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["mutated", "mined"])
def test_the_right_answer_scores_1_and_doing_nothing_0(kind, request):
    output = request.getfixturevalue(kind)
    judge = Evaluator(Bubblewrap(python_folders(PYTHON)), RepoCache(output / "repos", fetch=False), PYTHON)
    for row in rows_of(output):
        assert judge.evaluate(row, row.patch).resolved
        noop = "--- a/calc/__init__.py\n+++ b/calc/__init__.py\n@@ -0,0 +1 @@\n+# nothing\n"
        verdict = judge.evaluate(row, noop)
        assert verdict.applied and not verdict.resolved


@pytest.mark.slow
def test_one_process_gives_what_two_give_and_another_seed_other_tasks(mutated, tmp_path):
    source = write_sdist(tmp_path)
    assert run(source, tmp_path / "one", "--num-tasks", 6, "--concurrency", 1) == 0
    assert files_of(tmp_path / "one") == files_of(mutated)
    assert run(source, tmp_path / "other", "--num-tasks", 6, "--seed", 1) == 0
    assert rows_of(tmp_path / "other") != rows_of(mutated)


@pytest.mark.slow
@pytest.mark.parametrize("after", ["trials.journal", "task_0.json", "task_2.json"])
def test_a_killed_run_goes_on_and_ends_with_the_same_files(mutated, tmp_path, after, capsys):
    output = tmp_path / "tasks"
    arguments = ["--source", write_sdist(tmp_path), "--output", output, "--num-tasks", "6", "--concurrency", "2"]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen([sys.executable, SCRIPT, *arguments], stderr=log, stdout=log, start_new_session=True)
        try:
            end = time.monotonic() + 120
            while not any(output.glob(f"*{after}")) and not any(output.glob(f".{after}")):
                assert time.monotonic() < end and process.poll() is None, (tmp_path / "log").read_text()
                time.sleep(0.01)
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    assert not (output / "made_with.json").exists()
    assert run(*arguments[1:4:2], *arguments[4:]) == 0
    assert ("going on after" in capsys.readouterr().err) == (after == "task_2.json" or after == "task_0.json")
    assert files_of(output) == files_of(mutated)


@pytest.mark.slow
def test_a_run_out_of_time_can_go_on(mutated, tmp_path, capsys):
    source, output = write_sdist(tmp_path), tmp_path / "tasks"
    assert run(source, output, "--num-tasks", 6, "--max-seconds", 0.01) == 0
    assert "of 6 tasks" in capsys.readouterr().out
    assert run(source, output, "--num-tasks", 6) == 0
    assert files_of(output) == files_of(mutated)


@pytest.mark.slow
def test_a_complete_output_is_left_alone_and_other_arguments_are_refused(mutated, tmp_path, capsys):
    before = files_of(mutated)
    source = write_sdist(tmp_path)
    assert run(source, mutated, "--num-tasks", 6) == 0
    assert "is complete" in capsys.readouterr().out
    assert run(source, mutated, "--num-tasks", 6, "--seed", 5) == 2
    assert "seed was 0 and is 5" in error_line(capsys)
    assert files_of(mutated) == before


@pytest.mark.slow
def test_commits_become_tasks_with_their_own_tests(mined, tmp_path):
    rows = rows_of(mined)
    assert [row.problem_statement.splitlines()[0] for row in rows] == [
        "Halve numbers",
        "of nothing fails: ZeroDivisionError: division by zero",  # the subject quotes the answer
        "Add spread",
    ]
    for row in rows:
        assert row.repo == "local/calc" and row.others["made_by"] == "commit"
        assert "calc/core.py" in row.patch and "tests/" not in row.patch and "CHANGES" not in row.patch
        assert "tests/test_core.py" in row.test_patch and "calc/core.py" not in row.test_patch
        git = ["git", "-C", str(mined / "repos" / "local__calc.git"), "rev-parse", f"{row.others['commit']}^"]
        assert subprocess.run(git, capture_output=True, text=True).stdout.strip() == row.base_commit
    assert rows[0].fail_to_pass == ("tests/test_core.py::test_halve",)
    assert rows[0].others["created_at"].startswith("2024-01-06T12:00:00")


@pytest.mark.slow
def test_both_modes_share_the_tasks(tmp_path):
    assert run(write_repository(tmp_path), tmp_path / "tasks", "--mode", "both", "--num-tasks", 3) == 0
    assert [row.others["made_by"] for row in rows_of(tmp_path / "tasks")] == ["commit", "mutation", "mutation"]
    assert rows_of(tmp_path / "tasks")[1].repo == "local/calc"


@pytest.mark.slow
def test_flaky_tests_and_tests_that_fail_anyway_are_in_no_row(tmp_path):
    noise = "import os\n\nfrom calc.core import clamp\n\n\ndef test_dice():\n    assert os.urandom(1)[0] < 128\n"
    noise += "\n\ndef test_wrong():\n    assert clamp(1, 0, 3) == 7\n"
    dice = "".join(f"def test_dice_{n}():\n    import os\n\n    assert os.urandom(1)[0] < 128\n\n\n" for n in range(20))
    source = write_sdist(tmp_path, {**FILES, "tests/test_noise.py": noise + "\n\n" + dice})
    assert run(source, tmp_path / "tasks", "--num-tasks", 2, "--test-seconds", 20) in (0, 2)
    for row in rows_of(tmp_path / "tasks"):
        assert not any("test_wrong" in test for test in (*row.fail_to_pass, *row.pass_to_pass))


def test_an_sdist_without_tests_is_refused(tmp_path, capsys):
    source = write_sdist(tmp_path, {"calc/__init__.py": "", "calc/core.py": CORE})
    assert run(source, tmp_path / "tasks", "--concurrency", 1) == 2
    assert "no tests found: name them with --tests" in error_line(capsys)
    assert not list((tmp_path / "tasks").glob("task_*"))


def test_tests_that_need_a_missing_module_name_it(tmp_path, capsys):
    source = write_sdist(tmp_path, {**FILES, "tests/test_core.py": "import no_such_module\n" + TESTS})
    assert run(source, tmp_path / "tasks", "--concurrency", 1) == 2
    line = error_line(capsys)
    assert "no test of tests/test_core.py passes: they need no_such_module" in line and "--python" in line


def test_a_package_whose_tests_all_fail_is_refused(tmp_path, capsys):
    source = write_sdist(tmp_path, {**FILES, "tests/test_core.py": "def test_no():\n    assert 1 == 2\n"})
    assert run(source, tmp_path / "tasks", "--concurrency", 1) == 2
    line = error_line(capsys)
    assert "no test of tests/test_core.py passes" in line and "assert 1 == 2" in line


def test_code_without_anything_to_change_gives_a_count_of_what_was_tried(tmp_path, capsys):
    files = {**FILES, "calc/core.py": "def clamp(x, low, high):\n    return sorted((low, x, high)).pop(1)\n"}
    files["tests/test_core.py"] = "from calc.core import clamp\n\n\ndef test_runs():\n    clamp(1, 2, 3)\n"
    assert run(write_sdist(tmp_path, files), tmp_path / "tasks", "--concurrency", 1, "--mode", "mutate") == 2
    assert "candidates makes a task: " in error_line(capsys)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--num-tasks", 0], "--num-tasks 0: at least 1"),
        (["--concurrency", 0], "--concurrency 0: at least 1"),
        (["--mode", "mine"], "--mode mine needs a history"),
        (["--python", "/no/python"], "/no/python"),
        (["--tests", "spec"], "--tests spec: "),
    ],
)
def test_wrong_options_are_named_before_anything_is_run(tmp_path, capsys, arguments, said):
    assert run(write_sdist(tmp_path), tmp_path / "tasks", *arguments) == 2
    assert said in error_line(capsys)


def test_tasks_of_another_origin_are_not_overwritten(tmp_path, capsys):
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "task_0.json").write_text("{}")
    assert run(write_sdist(tmp_path), tmp_path / "tasks") == 2
    assert "not made by this command" in error_line(capsys)
    assert [path.name for path in (tmp_path / "tasks").iterdir()] == ["task_0.json"]


@pytest.mark.slow
def test_a_package_of_pypi_makes_tasks(tmp_path):
    get = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", "inflection", "inflection==0.5.1"]
    subprocess.run([*get, "-d", str(tmp_path)], check=True, capture_output=True)
    source = tmp_path / "inflection-0.5.1.tar.gz"
    assert run(source, tmp_path / "tasks", "--num-tasks", 3) == 0
    assert {row.repo for row in rows_of(tmp_path / "tasks")} == {"pypi/inflection"}
