"""The environment swe-synth: which tasks there are, and what an answer earns in the real sandbox."""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from env_adapter import Challenge, EnvError, NotHere, SettingsError, get_env_adapter
from swe.prompts import CHARACTERS_PER_TOKEN
from swe.repos import GITHUB
from swe_synth_adapter import DEFAULT_REPO_CACHE, SweSynthAdapter
from swe_toy import CHOICES, REPO, shared_toy_tasks, toy_tasks

TASKS = 24
TOOLS = Path(__file__).parents[1] / "train" / "tools"


def adapter(**settings: Any) -> SweSynthAdapter:
    return SweSynthAdapter({"cache_dir": str(shared_toy_tasks(TASKS)), "use_cache_only": True, **settings})


def numbers(**settings: Any) -> list[int]:
    tasks = adapter(**settings)
    return [tasks.generate(i).extra["task_number"] for i in range(tasks.num_tasks())]


def fenced(patch: str) -> str:
    return f"The bug is here.\n\n```diff\n{patch}```\n"


# --- which tasks


def test_the_defaults_are_the_first_hundred_of_a_benchmark() -> None:
    settings = SweSynthAdapter().settings
    assert (settings.dataset_name, settings.split) == ("princeton-nlp/SWE-bench_Lite", "test")
    assert SweSynthAdapter().repos.directory == DEFAULT_REPO_CACHE
    assert (settings.repo_url, settings.characters_per_token) == (GITHUB, CHARACTERS_PER_TOKEN)


@pytest.mark.parametrize("env", ["swe-synth", "swe_synth", "swesynth", "SWE-Synth"])
def test_every_spelling_is_the_environment(env: str) -> None:
    assert get_env_adapter(env).name == "swe-synth"


def test_tasks_are_all_of_a_directory_or_those_asked_for() -> None:
    assert numbers() == list(range(TASKS))
    assert numbers(task_ids=[7, 3]) == numbers(task_ids="7, 3") == numbers(task_ids="[7,3]") == [7, 3]
    assert numbers(task_id_range=[2, 5]) == numbers(task_id_range="2:5") == numbers(task_id_range="[2, 5]") == [2, 3, 4]
    assert numbers(task_ids="", task_id_range="") == list(range(TASKS)), "a variable that is not set"


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"task_ids": "3", "task_id_range": "0:4"}, "only one of them"),
        ({"task_ids": "3,3"}, "names a task twice"),
        ({"task_ids": "3,x"}, "task_ids"),
        ({"task_ids": [-1]}, "task_ids"),
        ({"task_id_range": "5:5"}, "task_id_range=5:5 is empty"),
        ({"task_id_range": "0-100"}, "task_id_range"),
        ({"backend": "podman"}, "backend"),
        ({"max_sandboxes": 0}, "max_sandboxes"),
        ({"limits": {"wall": 3}}, "did you mean 'wall_s'"),
        ({"limits": '{"wall_s": -1}'}, "wall_s"),
        ({"cache_dir": ""}, "use_cache_only=true needs cache_dir"),
        ({"prompt_tokens": 0}, "prompt_tokens"),
    ],
)
def test_a_setting_that_cannot_be_served_is_named(settings: dict[str, Any], reason: str) -> None:
    with pytest.raises(SettingsError, match=reason):
        adapter(**settings)


def test_an_empty_directory_is_told_how_to_get_tasks(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"holds no task: data_processing/synthesize_swe_tasks\.py makes some"):
        adapter(cache_dir=str(tmp_path)).num_tasks()


def test_validate_names_a_task_that_is_not_there() -> None:
    with pytest.raises(SettingsError, match="task 24 is not in cache_dir"):
        adapter(task_id_range="20:30", backend="none").validate()


def test_validate_refuses_a_task_that_comes_twice(tmp_path: Path) -> None:
    directory = toy_tasks(tmp_path, 2)
    shutil.copy(directory / "task_0.json", directory / "task_5.json")
    with pytest.raises(SettingsError, match="tasks 0 and 5 are the same: toy__calc-0"):
        adapter(cache_dir=str(directory), backend="none").validate()


def test_validate_misses_a_repository(tmp_path: Path) -> None:
    directory = toy_tasks(tmp_path, 1)
    shutil.rmtree(directory / "repos")
    with pytest.raises(SettingsError, match=r"toy__calc-0: repository toy/calc is not in .*repos"):
        adapter(cache_dir=str(directory), backend="none").validate()
    with pytest.raises(EnvError, match="repository toy/calc is not in"):
        adapter(cache_dir=str(directory)).generate(0)
    repos = str(shared_toy_tasks(TASKS) / "repos")
    adapter(cache_dir=str(directory), backend="none", repo_cache=repos).validate()


def test_training_on_a_benchmark_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    directory = toy_tasks(tmp_path, 1)
    with caplog.at_level(logging.WARNING):
        adapter(cache_dir=str(directory), backend="none").validate()
        assert not caplog.records
        origin = {"dataset_name": "princeton-nlp/SWE-bench_Lite", "split": "test", "rows": 1}
        (directory / "dataset.json").write_text(json.dumps(origin))
        adapter(cache_dir=str(directory), backend="none").validate()
    assert "princeton-nlp/SWE-bench_Lite, split test is a published benchmark" in caplog.text


# --- the challenge


def test_evaluations_sum_up_by_repository() -> None:
    assert adapter().generate(3).group == REPO


def test_prompts_are_made_on_a_machine_without_a_sandbox() -> None:
    code = (
        "import json, sys; from env_adapter import get_env_adapter\n"
        "tasks = get_env_adapter('swe-synth', json.loads(sys.argv[1])); tasks.validate()\n"
        "print(tasks.generate(1).to_json())"
    )
    settings = {"cache_dir": str(shared_toy_tasks(TASKS)), "use_cache_only": True, "backend": "none"}
    git = shutil.which("git")
    assert git
    environment = {"PYTHONPATH": str(TOOLS), "PATH": str(Path(git).parent), "HOME": "/nonexistent"}
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(settings)], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert Challenge.from_json(done.stdout) == adapter().generate(1)


def test_rows_of_a_benchmark_are_refused_before_a_run_where_there_is_no_docker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = toy_tasks(tmp_path, 2)
    row = json.loads((directory / "task_1.json").read_text())
    (directory / "task_1.json").write_text(json.dumps({**row, "environment_setup_commit": row["base_commit"]}))
    programs = [shutil.which(program) for program in ("git", "bwrap", "prlimit", "setpriv", "sh", "python3")]
    (tmp_path / "bin").mkdir()
    for program in programs:
        assert program
        (tmp_path / "bin" / Path(program).name).symlink_to(program)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    with pytest.raises(NotHere, match=r"toy__calc-1 cannot be judged here: .* It is a row of a published benchmark"):
        adapter(cache_dir=str(directory)).validate()
    adapter(cache_dir=str(directory), task_ids="0").validate()
    made = {**row, "environment_setup_commit": row["base_commit"], "made_by": "mutation"}
    (directory / "task_1.json").write_text(json.dumps(made))
    adapter(cache_dir=str(directory)).validate()


def test_no_backend_is_a_fault_of_ours_and_never_a_wrong_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bin").mkdir()
    for program in ("git", "python3"):
        found = shutil.which(program)
        assert found
        (tmp_path / "bin" / program).symlink_to(found)
    from sandbox.probe import check_sandbox

    check_sandbox.cache_clear()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    tasks = adapter()
    challenge = tasks.generate(0)
    assert tasks.evaluate("no patch", challenge).value == 0
    answer = tasks.reference_answer(challenge)
    assert answer
    with pytest.raises(EnvError, match="bwrap is not installed"):
        tasks.evaluate(answer, challenge)
    with pytest.raises(NotHere, match="bwrap is not installed"):
        tasks.validate()
    with pytest.raises(EnvError, match="backend=none makes prompts and judges nothing"):
        adapter(backend="none").evaluate(answer, challenge)
    check_sandbox.cache_clear()


# --- the score


@pytest.fixture(scope="module")
def tasks() -> SweSynthAdapter:
    return adapter(max_sandboxes=2)


def test_an_answer_without_a_patch_needs_no_sandbox() -> None:
    tasks = adapter(backend="none")
    challenge = tasks.generate(0)
    for answer in ("", "clamp must return hi.", "```python\nreturn hi\n```", "```diff\n```"):
        assert tasks.evaluate(answer, challenge).metrics["answered"] == 0
    half = tasks.evaluate(fenced("--- a/calc/ranges.py\n+++ b/calc/ranges.py\n@@ -1 +1 @@\n-\ud800\n+x\n"), challenge)
    assert (half.value, half.metrics["answered"]) == (0, 1)


@pytest.mark.parametrize("number", [0, 12])
def test_the_accepted_patch_earns_all_and_a_comment_nothing(tasks: SweSynthAdapter, number: int) -> None:
    challenge = tasks.generate(number)
    answer = tasks.reference_answer(challenge)
    assert answer and tasks.evaluate(answer, challenge).value == 1
    comment = tasks.random_answer(challenge, 0)
    assert comment
    score = tasks.evaluate(comment, challenge)
    assert score.value == 0
    assert score.metrics == {
        "answered": 1,
        "applied": 1,
        "fail_to_pass": 0,
        "pass_to_pass": 1,
        "resolved": 0,
        "tampered": 0,
    }


def test_half_of_two_bugs_is_no_solution_but_shows_in_the_metrics(tasks: SweSynthAdapter) -> None:
    challenge = tasks.generate(12)
    first, second = CHOICES[12]
    assert len(first.tests) == 1 and len(second.tests) == 2
    patch = tasks.generate(12).extra["row"]["patch"]
    half = [part for part in patch.split("diff --git ") if f"a/{first.file}" in part]
    score = tasks.evaluate(fenced("diff --git " + half[0]), challenge)
    assert score.value == 0
    assert score.metrics["fail_to_pass"] == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    "patch",
    [
        "--- a/calc/none.py\n+++ b/calc/none.py\n@@ -1 +1 @@\n-x\n+y\n",
        "--- a/tests/test_ranges.py\n+++ b/tests/test_ranges.py\n@@ -1 +1 @@\n"
        "-from calc.ranges import clamp, overlap, steps\n+raise SystemExit(0)\n",
        "--- /dev/null\n+++ b/conftest.py\n@@ -0,0 +1 @@\n+import os; os._exit(0)\n",
        "--- a/../x\n+++ b/../x\n@@ -1 +1 @@\n-x\n+y\n",
        "diff --git a/x b/y\nrename from x\nrename to y\n",
    ],
)
def test_a_patch_that_does_not_fit_or_may_not_be_is_not_applied(tasks: SweSynthAdapter, patch: str) -> None:
    score = tasks.evaluate(fenced(patch), tasks.generate(0))
    assert (score.value, score.metrics["answered"], score.metrics["applied"]) == (0, 1, 0)


def test_the_same_patch_is_judged_once_and_scores_the_same(tasks: SweSynthAdapter) -> None:
    challenge = tasks.generate(2)
    answer = tasks.reference_answer(challenge)
    assert answer
    score = tasks.evaluate(answer, challenge)
    assert tasks.evaluate(f"<think>hm</think>{answer}", challenge) is score


def test_a_challenge_whose_row_is_broken_is_a_fault_of_ours(tasks: SweSynthAdapter) -> None:
    challenge = tasks.generate(0)
    broken = {**challenge.extra, "row": {**challenge.extra["row"], "patch": None}}
    with pytest.raises(EnvError, match="corrupted challenge 0"):
        tasks.evaluate("x", Challenge(challenge.env, 0, challenge.messages, broken))
