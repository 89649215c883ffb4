"""The environment `trace`: only programs that have one true output make tasks, and only that output is right."""

from __future__ import annotations

import contextlib
import io
import re
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from env_adapter import Challenge, SettingsError, get_env_adapter
from sandbox.bubblewrap import Bubblewrap
from sandbox.interpreter import interpreter_folders
from trace_adapter import TraceAdapter
from trace_programs import USELESS, good_programs, write_programs
from traces.outputs import true_outputs
from traces.prints import with_prints
from traces.programs import Program

PYTHON = Path(sys.executable)


def adapter(tmp_path: Path, rows: list[dict[str, str]], **settings: object) -> TraceAdapter:
    return TraceAdapter({"programs": str(write_programs(tmp_path / "programs.jsonl", rows)), **settings})


def printed(source: str, stdin: str) -> str:
    """What a program prints in this process: an independent way to the answer."""
    out, before = io.StringIO(), sys.stdin
    sys.stdin = io.StringIO(stdin)
    try:
        with contextlib.redirect_stdout(out):
            exec(compile(source, "program.py", "exec"), {"__name__": "__main__"})
    finally:
        sys.stdin = before
    return out.getvalue()


def test_every_answer_is_what_the_shown_program_prints(tmp_path: Path) -> None:
    tasks = adapter(tmp_path, good_programs(30), variants=2, prints=3)
    assert tasks.num_tasks() >= 30
    for task_id in range(tasks.num_tasks()):
        challenge = tasks.generate(task_id)
        _, code, _, *rest = re.split(r"^```(?:python)?$", challenge.messages[1]["content"], flags=re.MULTILINE)
        stdin = rest[0].strip() if rest else ""
        truth = printed(code, stdin)
        assert tasks.evaluate(f"So:\n```\n{truth}```", challenge).value == 1.0
        assert tasks.evaluate(tasks.reference_answer(challenge) or "", challenge).value == 1.0
        assert truth.strip() not in challenge.messages[1]["content"]


@pytest.mark.parametrize("why", USELESS)
def test_a_program_without_one_true_output_makes_no_task(why: str, tmp_path: Path) -> None:
    tasks = adapter(tmp_path, [*good_programs(2), {"code": USELESS[why], "input": ""}, *good_programs(3)[2:]], prints=0)
    assert tasks.num_tasks() == 3
    with pytest.raises(SettingsError, match="none of 1 programs"):
        adapter(tmp_path, [{"code": USELESS[why], "input": ""}], prints=0).validate()


def test_a_program_that_ends_the_run_costs_no_other_its_output() -> None:
    killer = Program("import os\nos.kill(os.getppid(), 9)\nprint(1)")
    programs = [Program("print(1)"), killer, Program("print(2)"), killer, killer, Program("print(input())", "3")]
    sandbox = Bubblewrap(interpreter_folders(PYTHON))
    assert true_outputs(programs, sandbox, PYTHON) == ["1\n", None, "2\n", None, None, "3\n"]


def challenge_of(output: str) -> Challenge:
    return Challenge("trace", 0, [], {"task_type": "trace", "output": output})


SCORER = TraceAdapter({"programs": "unused.jsonl"})


@pytest.mark.parametrize(
    ("reply", "score"),
    [
        ("```\n1\n2\n```", 1.0),
        ("```text\n1\n2\n```", 1.0),
        ("<think>```\n3\n```</think>Well.\n```\n1  \n2\n\n```\n", 1.0),
        ("First:\n```\n9\n```\nNo:\n```\n1\n2\n```", 1.0),
        ("```\n1\n2\n```\nOr:\n```\n1\n3\n```", 0.0),
        ("1\n2", 0.0),
        ("```\n1\n2", 0.0),
        ("```\n12\n```", 0.0),
        ("```\n 1\n2\n```", 0.0),
        ("```\n1\n2\n3\n```", 0.0),
        ("```\n1\n```", 0.0),
        ("```\n```", 0.0),
        ("<think>```\n1\n2\n```", 0.0),
        ("```\n" + "\n".join(map(str, range(10_000))) + "\n```", 0.0),
    ],
)
def test_only_the_last_block_counts_and_only_as_a_whole(reply: str, score: float) -> None:
    assert SCORER.evaluate(reply, challenge_of("1\n2\n")).value == score


@given(st.text(), st.text(min_size=1))
def test_no_text_scores_but_the_output(reply: str, output: str) -> None:
    if not output.strip():
        return
    score = SCORER.evaluate(reply, challenge_of(output))
    assert score.value == 0.0 or output.strip() in reply.replace("\r\n", "\n")


def test_how_far_an_answer_is_right_is_told_but_not_paid() -> None:
    score = SCORER.evaluate("```\na\nb\nx\nd\n```", challenge_of("a\nb\nc\nd\n"))
    assert (score.value, score.metrics["lines"]) == (0.0, 0.5)


@pytest.mark.parametrize("source", [row["code"] for row in good_programs(12)])
@pytest.mark.parametrize("count", [0, 1, 3, 99])
def test_prints_change_nothing_else(source: str, count: int) -> None:
    changed = with_prints(source, count, "seed")
    added = [line for line in changed.splitlines() if line.strip().startswith('print("[')]
    assert len(added) <= count and (count == 0 or added)
    assert [line for line in changed.splitlines() if line not in added] == source.splitlines()
    assert with_prints(source, count, "seed") == changed
    shown = printed(changed, "7").splitlines()
    others = [line for line in shown if not re.match(r"\[\d+\] \w+ = ", line)]
    assert others == printed(source, "7").splitlines()


@pytest.mark.parametrize(
    "source",
    [
        "if True: x = 1\n",
        "x = 1; y = 2\n",
        "f = lambda: 1\n",
        "a, b = 1, 2\n",
        "import sys\nsys.x = 1\n",
        "if True:\n\tx = 1\n",
        "x = '''\na\n'''; y = 1\n",
        "é = 1  # comment\nprint(é)\n",
        "x = (\n    1\n)\nprint(x)\n",
        "class A:\n    x = 1\n",
    ],
)
def test_prints_leave_a_program_a_program(source: str) -> None:
    compile(with_prints(source, 9, "s"), "program.py", "exec")


def test_programs_come_from_a_folder_a_parquet_file_or_named_columns(tmp_path: Path) -> None:
    import pandas

    folder = tmp_path / "folder"
    folder.mkdir()
    for number, row in enumerate(good_programs(2)):
        (folder / f"{number}.py").write_text(row["code"])
    rows = pandas.DataFrame([{"text": row["code"], "given": row["input"]} for row in good_programs(3)])
    rows.to_parquet(tmp_path / "rows.parquet")
    assert TraceAdapter({"programs": str(folder)}).num_tasks() == 2
    named = {"programs": str(tmp_path / "rows.parquet"), "code_column": "text", "input_column": "given"}
    assert TraceAdapter(named).num_tasks() == 3
    hub_like = tmp_path / "hub"
    hub_like.mkdir()
    write_programs(hub_like / "train.jsonl", good_programs(3))
    assert TraceAdapter({"dataset_name": str(hub_like)}).num_tasks() == 3


def test_what_cannot_make_tasks_is_said(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="set programs=FILE"):
        get_env_adapter("trace").validate()
    with pytest.raises(SettingsError, match=r"missing\.jsonl"):
        TraceAdapter({"programs": str(tmp_path / "missing.jsonl")}).validate()
    (tmp_path / "programs.txt").write_text("x")
    with pytest.raises(SettingsError, match=r"\.jsonl"):
        TraceAdapter({"programs": str(tmp_path / "programs.txt")}).validate()
    path = write_programs(tmp_path / "rows.jsonl", [{"text": "print(1)"}])
    with pytest.raises(SettingsError, match="code_column"):
        TraceAdapter({"programs": str(path)}).validate()
    with pytest.raises(SettingsError, match="no column 'cod'"):
        TraceAdapter({"programs": str(path), "code_column": "cod"}).validate()
