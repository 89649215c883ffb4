"""mini-swe-agent behind a dialogue, in the real sandbox, with a scripted model."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from env_adapter import EnvError, Score, SettingsError
from sandbox.limits import Limits
from swe.agent_dialogue import METRICS, AgentDialogue
from swe.agent_settings import AgentSettings
from swe.agent_workplace import agents_sandbox, check_hidden, workplace
from swe.mini_agent import opening
from swe.test_runs import python_folders
from toy_swe_task import PYTHON, Task, make_task

MEND = "sed -i '/x > hi/{n;s/lo/hi/}' calc/core.py"
SUBMIT = "echo COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT && cat patch.txt"
SOLUTION = [f"{MEND} && git diff -- calc/core.py > patch.txt; cat patch.txt", SUBMIT]


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Task:
    return make_task(tmp_path_factory.mktemp("repos"))


@pytest.fixture(scope="module")
def judge(task: Task) -> Callable[[str], Score]:
    evaluator = task.evaluator()
    return lambda patch: Score(float(evaluator.evaluate(task.row, patch).resolved), {"resolved": 0.0})


Begin = Callable[..., AgentDialogue]


@pytest.fixture
def begin(task: Task, judge: Callable[[str], Score]) -> Iterator[Begin]:
    begun = []

    def new(limits: Limits = Limits(wall_s=100), **settings: object) -> AgentDialogue:  # noqa: B008, it is frozen
        chosen = AgentSettings(**settings)
        sandbox = agents_sandbox(python_folders(PYTHON))
        place = functools.partial(workplace, task.row, task.repos, sandbox, PYTHON, limits, chosen.command_s)
        begun.append(AgentDialogue(task.row.problem_statement, place, judge, chosen))
        return begun[-1]

    yield new
    for dialogue in begun:
        dialogue.close()
    assert not [thread for thread in threading.enumerate() if thread.name in ("mini-swe-agent", "sandbox guard")]


def says(command: str) -> str:
    return f"I try this.\n\n```mswea_bash_command\n{command}\n```"


def go_through(dialogue: AgentDialogue, replies: list[str]) -> list[str]:
    """What the model is told after each of its replies."""
    told = []
    dialogue.advance()
    for reply in replies:
        assert not dialogue.over
        dialogue.answer(reply)
        dialogue.advance()
        told.append(dialogue.messages[-1]["content"])
    return told


def test_a_solution_is_submitted_and_scores_1(begin: Begin, task: Task) -> None:
    dialogue = begin()
    assert dialogue.messages == opening(task.row.problem_statement)
    told = go_through(dialogue, [says("cat calc/core.py"), *map(says, SOLUTION)])
    assert "def clamp" in told[0] and "+        return hi" in told[1]
    assert dialogue.over and dialogue.exit_status == "Submitted"
    assert dialogue.submission.startswith("diff --git a/calc/core.py b/calc/core.py\n")
    score = dialogue.score()
    assert score.value == 1.0
    assert score.metrics == {"resolved": 0.0, **dict.fromkeys(METRICS, 0.0), "submitted": 1.0, "steps": 3.0}
    assert [each["role"] for each in dialogue.transcript] == ["user", *["assistant", "user"] * 2, "assistant"]


def test_nothing_that_was_not_submitted_counts(begin: Begin) -> None:
    dialogue = begin(steps=2)
    go_through(dialogue, [says(MEND), says(f"{MEND}; git commit -qam mended; echo done")])
    assert (dialogue.exit_status, dialogue.submission) == ("LimitsExceeded", "")
    assert dialogue.score().value == 0.0


def test_what_the_agent_did_to_its_own_tree_has_no_part_in_the_reward(begin: Begin) -> None:
    dialogue = begin()
    cheat = "printf 'def test_above(): pass\\ndef test_inside(): pass\\n' > tests/test_core.py; echo > patch.txt"
    go_through(dialogue, [says(cheat), says(SUBMIT)])
    assert dialogue.exit_status == "Submitted" and dialogue.score().value == 0.0


def test_the_repository_has_one_commit_and_no_history(begin: Begin, task: Task) -> None:
    dialogue = begin()
    told = go_through(
        dialogue,
        [
            says("git log --all --oneline | wc -l; git fsck --lost-found; git status --short"),
            says("git remote -v; git stash list; git log -1 --format=%an; git rev-list --objects --all | wc -l"),
            says(f"git cat-file -t {task.row.base_commit}"),
            says("python -m pytest -q tests 2>&1 | tail -3; ls /testbed; id -u"),
        ],
    )
    assert "<output>\n1\n</output>" in told[0]
    assert "mended" not in told[1] and "veritas" in told[1]
    assert "<returncode>128</returncode>" in told[2], "the commit with the bug is not there under its own name"
    assert "1 failed, 1 passed" in told[3]


def test_a_reply_without_one_command_is_told_and_stays_in_the_chat(begin: Begin) -> None:
    dialogue = begin()
    bad = "I would rather not."
    told = go_through(dialogue, [bad, says("ls") + says("ls"), f"<think>{says('echo no')}</think>{says('echo yes')}"])
    assert "found 0 actions" in told[0] and "found 2 actions" in told[1]
    assert told[2].count("yes") == 1 and "no\n" not in told[2]
    assert dialogue.messages[2] == {"role": "assistant", "content": bad}
    assert [each["role"] for each in dialogue.messages] == ["system", "user", *["assistant", "user"] * 3]


def test_thinking_that_never_ends_is_no_command(begin: Begin) -> None:
    (told,) = go_through(begin(), [f"<think>{says('ls')}"])
    assert "found 0 actions" in told


def test_unreadable_replies_in_a_row_end_the_session(begin: Begin) -> None:
    dialogue = begin(format_errors=2)
    go_through(dialogue, ["", says("ls"), "\ud800", "again"])
    assert dialogue.over and dialogue.exit_status == "RepeatedFormatError"
    metrics = dialogue.score().metrics
    assert (metrics["format_errors"], metrics["steps"], metrics["submitted"]) == (3.0, 4.0, 0.0)


def test_a_command_has_its_time_and_leaves_no_process(begin: Begin) -> None:
    dialogue = begin(command_s=1)
    told = go_through(
        dialogue,
        [
            says("echo before; sleep 60"),
            says("setsid sleep 1234 & echo started"),
            says("pgrep -f 'sleep [1]234' || echo none"),
        ],
    )
    assert "took more than 1 s" in told[0] and "before" in told[0]
    assert "none" in told[2]
    dialogue.answer(says("cat patch.txt"))
    dialogue.give_up()
    dialogue.advance()
    assert dialogue.score().metrics["timeouts"] == 1.0


@pytest.mark.parametrize("command", ["yes", "head -c 9000000 /dev/zero | tr '\\0' x"])
def test_a_flood_of_output_is_ended_and_shortened(begin: Begin, command: str) -> None:
    told = go_through(begin(), [says(command), says("echo still here")])
    assert "printed too much" in told[0] and len(told[0]) < 12_000
    assert "still here" in told[1]


@pytest.mark.parametrize("command", ["kill -9 2", "kill -9 -1", "kill -STOP 2; sleep 5", "kill -STOP $PPID & wait"])
def test_a_command_that_ends_its_sandbox_ends_the_session_without_a_reward(
    begin: Begin, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sandbox.command_box.GRACE_S", 1)
    dialogue = begin(command_s=1)
    go_through(dialogue, [says(MEND)])
    dialogue.answer(says(command))
    dialogue.advance()
    assert dialogue.over and dialogue.exit_status == "SandboxLost"
    assert (dialogue.score().value, dialogue.score().metrics["sandbox_lost"]) == (0.0, 1.0)


def test_the_time_of_a_session_is_limited(begin: Begin) -> None:
    dialogue = begin(Limits(wall_s=1))
    go_through(dialogue, [says("sleep 20")])
    assert dialogue.exit_status == "SandboxLost"


def test_no_network_and_little_room(begin: Begin) -> None:
    told = go_through(
        begin(Limits(wall_s=60, disk_mb=16)),
        [
            says("python -c \"import socket; socket.create_connection(('127.0.0.1', 22), 2)\"; ls /sys/class/net"),
            says("dd if=/dev/zero of=big bs=1M count=64"),
        ],
    )
    assert "Error" in told[0]
    assert "No space left" in told[1]


def test_a_failed_submission_goes_on(begin: Begin) -> None:
    dialogue = begin()
    told = go_through(dialogue, [says(SUBMIT), says("echo ' COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT now'")])
    assert "<returncode>1</returncode>" in told[0] and not dialogue.over


def test_without_room_the_session_ends(begin: Begin) -> None:
    dialogue = begin()
    dialogue.advance()
    assert dialogue.forget() is False
    dialogue.give_up()
    dialogue.advance()
    assert dialogue.over and dialogue.exit_status == "NoRoom" and dialogue.score().metrics["no_room"] == 1.0


def test_a_session_can_be_closed_at_any_time(begin: Begin) -> None:
    begin().close()
    asked = begin()
    asked.advance()
    asked.close()
    asked.close()
    busy = begin()
    go_through(busy, [])
    busy.answer(says("sleep 50"))
    worker = threading.Thread(target=busy.advance)
    worker.start()
    busy.close()
    worker.join(5)
    assert not worker.is_alive()


def test_faults_of_ours_are_raised_where_the_session_goes_on(task: Task) -> None:
    def broken() -> None:
        raise EnvError("no sandbox")

    def judge(patch: str) -> Score:
        raise EnvError("the task does not work")

    with pytest.raises(EnvError, match="no sandbox"):
        AgentDialogue("x", broken, judge).advance()
    sandbox = agents_sandbox(python_folders(PYTHON))
    place = functools.partial(workplace, task.row, task.repos, sandbox, PYTHON, Limits(), 5)
    dialogue = AgentDialogue("x", place, judge)
    dialogue.advance()
    dialogue.give_up()
    with pytest.raises(EnvError, match="does not work"):
        dialogue.advance()
    gone = Task(task.row, type(task.repos)(Path("/nowhere"), fetch=False))
    place = functools.partial(workplace, gone.row, gone.repos, sandbox, PYTHON, Limits(), 5)
    with pytest.raises(EnvError, match="toy"):
        AgentDialogue("x", place, judge).advance()


def test_a_task_whose_answer_is_installed_is_refused(task: Task) -> None:
    """The environment of these tests has tabulate, so an agent could copy it from there."""
    patch = task.row.patch.replace("calc/core.py", "tabulate/__init__.py")
    row = replace(task.row, patch=patch, repo="pypi/tabulate")
    with pytest.raises(
        SettingsError, match=r"could read the accepted code at .*tabulate/__init__\.py: give SWE_PYTHON"
    ):
        check_hidden(row, PYTHON, python_folders(PYTHON))
    check_hidden(task.row, PYTHON, python_folders(PYTHON))
    check_hidden(replace(row, patch=patch.replace("tabulate/", "src/")), PYTHON, python_folders(PYTHON))


@pytest.mark.parametrize("text", ["", "agent: 3", "agent: {system_template: a}", "]["])
def test_a_configuration_that_cannot_be_used_is_named(tmp_path: Path, text: str) -> None:
    file = tmp_path / "my.yaml"
    file.write_text(text)
    with pytest.raises(SettingsError, match=r"agent_config=.*my\.yaml is no configuration"):
        opening("x", str(file))


def test_a_template_with_an_unknown_name_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "my.yaml"
    file.write_text(
        "agent: {system_template: hi, instance_template: '{{tsk}}'}\n"
        "model: {observation_template: a, format_error_template: b}\n"
    )
    with pytest.raises(SettingsError, match="'tsk' is undefined"):
        opening("x", str(file))
