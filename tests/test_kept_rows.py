"""A generation that was interrupted goes on where it stopped: kill -9, Ctrl-C, faults, damaged leftovers."""

from __future__ import annotations

import fcntl
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import env_adapter
import generate_dataset
from env_adapter import EnvError
from task_rows.kept_rows import kept_rows
from toy_eval_env import ToyAdapter

SCRIPT = Path(generate_dataset.__file__)
SLOW_TASKS = ["--env", "openspiel", "--set", "game_types=connect_four", "--set", "value_budget_ms=4"]
SLOW_TASKS += ["--num-samples", "60"]


@pytest.fixture(autouse=True)
def toy(monkeypatch):
    monkeypatch.setitem(env_adapter.REGISTRY, "toy", "toy_eval_env:ToyAdapter")
    env_adapter._build_shared.cache_clear()


def run(output, *arguments):
    return generate_dataset.main(["--env", "toy", "--output", str(output), *arguments])


def error_line(capsys):
    lines = [line for line in capsys.readouterr().err.splitlines() if "generate_dataset:" in line]
    assert len(lines) == 1
    return lines[0]


def fail_after(monkeypatch, number):
    """The toy answers so many tasks and then has a fault; undone by the function that is returned."""
    left = itertools.count(number, -1)
    answer = ToyAdapter.reference_answer

    def reference_answer(self, challenge):
        if next(left) <= 0:
            raise EnvError("the sandbox is down")
        return answer(self, challenge)

    monkeypatch.setattr(ToyAdapter, "reference_answer", reference_answer)
    return lambda: monkeypatch.setattr(ToyAdapter, "reference_answer", answer)


# -- a process that ends in the middle ----------------------------------------------------------------------------


def start(output, *arguments):
    command = [sys.executable, str(SCRIPT), *SLOW_TASKS, "--output", str(output), *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)


def wait_for_rows(output, process, number):
    partial = output.with_name(f".{output.name}.partial")
    until = time.monotonic() + 60
    while not partial.exists() or partial.read_bytes().count(b"\n") < number:
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < until
        time.sleep(0.005)


def children_of(pid):
    return [Path("/proc", child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The files of a run that nothing interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    for ending in ("jsonl", "parquet"):
        assert start(folder / f"a.{ending}").wait(timeout=120) == 0
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(("ending", "processes", "then"), [("jsonl", 1, 3), ("parquet", 3, 1)])
def test_kill_9_in_the_middle_and_the_same_command_again_give_the_same_file(tmp_path, whole, ending, processes, then):
    output = tmp_path / f"a.{ending}"
    for kept in (5, 30):
        process = start(output, "--concurrency", str(processes))
        wait_for_rows(output, process, kept)
        workers = children_of(process.pid)
        process.kill()
        process.wait()
        assert not output.exists()
        assert len(workers) >= (processes > 1) * processes
        until = time.monotonic() + 60
        while any(worker.exists() for worker in workers):
            assert time.monotonic() < until, "a worker lives on without its parent"
            time.sleep(0.05)
    process = start(output, "--concurrency", str(then))
    assert process.wait(timeout=120) == 0
    errors = process.stderr.read()
    assert int(errors.partition("going on after ")[2].partition(" of 60 tasks")[0]) >= 30
    assert output.read_bytes() == (whole / output.name).read_bytes()
    assert list(tmp_path.iterdir()) == [output]


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 3])
def test_ctrl_c_keeps_the_rows_and_says_so_once(tmp_path, whole, processes):
    output = tmp_path / "a.jsonl"
    process = start(output, "--concurrency", str(processes))
    wait_for_rows(output, process, 8)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    assert process.wait(timeout=60) == 130
    errors = process.stderr.read()
    assert "rows are kept: the same command goes on after them" in errors
    assert errors.count("interrupted, the output is as it was") == 1
    assert "Traceback" not in errors
    assert not output.exists()
    assert start(output).wait(timeout=120) == 0
    assert output.read_bytes() == (whole / "a.jsonl").read_bytes()


@pytest.mark.slow
def test_concurrency_1_and_3_give_the_same_bytes(tmp_path, whole):
    for ending in ("jsonl", "parquet"):
        assert start(tmp_path / f"a.{ending}", "--concurrency", "3").wait(timeout=120) == 0
        assert (tmp_path / f"a.{ending}").read_bytes() == (whole / f"a.{ending}").read_bytes()


@pytest.mark.slow
def test_a_worker_that_is_killed_ends_the_run_and_is_told(tmp_path):
    output = tmp_path / "a.jsonl"
    process = start(output, "--concurrency", "2")
    wait_for_rows(output, process, 4)
    victim = next(child for child in children_of(process.pid) if b"spawn_main" in (child / "cmdline").read_bytes())
    os.kill(int(victim.name), signal.SIGKILL)
    assert process.wait(timeout=60) == 2
    assert "a worker process died without an exception" in process.stderr.read()


# -- what a run leaves, and what the next one makes of it ---------------------------------------------------------


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_a_fault_keeps_the_rows_before_it_and_the_next_run_makes_only_the_rest(tmp_path, monkeypatch, capsys, ending):
    assert run(tmp_path / f"whole.{ending}") == 0
    output = tmp_path / f"a.{ending}"
    mend = fail_after(monkeypatch, 10)
    assert run(output) == 2
    assert "the sandbox is down" in capsys.readouterr().err
    assert not output.exists()
    mend()
    fail_after(monkeypatch, 32 - 10 + 1)  # one more: the last row that stands is made again and compared
    assert run(output) == 0
    assert "going on after 10 of 32 tasks" in capsys.readouterr().err
    assert output.read_bytes() == (tmp_path / f"whole.{ending}").read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {output.name, f"whole.{ending}"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--seed", "1"], "seed was 0 and is 1"),
        (["--split", "test"], "split was 'train' and is 'test'"),
        (["--set", "tasks=41"], "settings was {} and is {'tasks': 41}"),
        (["--answers", "random"], "answers was 'reference' and is 'random'"),
        (["--format", "rl"], "format was 'plain' and is 'rl'"),
    ],
)
def test_a_leftover_of_other_arguments_is_never_used(tmp_path, monkeypatch, capsys, arguments, words):
    output = tmp_path / "a.jsonl"
    mend = fail_after(monkeypatch, 10)
    assert run(output) == 2
    mend()
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    capsys.readouterr()
    assert run(output, *arguments) == 2
    line = error_line(capsys)
    assert words in line
    partial = tmp_path / ".a.jsonl.partial"
    assert f"remove {partial} to start anew" in line
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    partial.unlink()
    assert run(output, *arguments) == 0
    assert list(tmp_path.iterdir()) == [output]


def test_a_leftover_of_another_version_of_the_environment_is_never_used(tmp_path, monkeypatch, capsys):
    mend = fail_after(monkeypatch, 10)
    assert run(tmp_path / "a.jsonl") == 2
    mend()
    monkeypatch.setattr(ToyAdapter, "reference_answer", lambda self, challenge: "42")
    capsys.readouterr()
    assert run(tmp_path / "a.jsonl") == 2
    assert "the environment has changed since" in error_line(capsys)


def test_a_leftover_without_its_journal_is_never_used(tmp_path, monkeypatch, capsys):
    mend = fail_after(monkeypatch, 10)
    assert run(tmp_path / "a.jsonl") == 2
    mend()
    (tmp_path / ".a.jsonl.journal").unlink()
    capsys.readouterr()
    assert run(tmp_path / "a.jsonl") == 2
    assert "does not tell its arguments" in error_line(capsys)


def test_two_runs_never_write_one_output(tmp_path, monkeypatch, capsys):
    output = tmp_path / "a.jsonl"
    codes = []

    def meanwhile(self, challenge):
        if not codes:
            codes.append(None)
            codes.append(run(output))
        return "1"

    monkeypatch.setattr(ToyAdapter, "reference_answer", meanwhile)
    assert run(output) == 0
    assert codes == [None, 2]
    assert "another run is writing" in error_line(capsys)
    assert len(output.read_text().splitlines()) == 32


def test_a_lock_that_a_killed_run_has_not_let_go_of_yet_is_waited_for(tmp_path):
    with (tmp_path / ".a.jsonl.journal").open("w") as journal:
        fcntl.flock(journal, fcntl.LOCK_EX)
        threading.Timer(0.3, fcntl.flock, (journal, fcntl.LOCK_UN)).start()
        assert run(tmp_path / "a.jsonl") == 0


@pytest.fixture(scope="module")
def leftover(tmp_path_factory):
    """(a whole file's bytes, the journal of the run that makes it)"""
    folder = tmp_path_factory.mktemp("leftover")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(env_adapter.REGISTRY, "toy", "toy_eval_env:ToyAdapter")
        assert run(folder / "a.jsonl") == 0
        fail_after(patch, 1)
        assert run(folder / "a.jsonl") == 2
    return (folder / "a.jsonl").read_bytes(), (folder / ".a.jsonl.journal").read_bytes()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0, 1), tail=st.binary(max_size=40))
@example(share=0.0, tail=b"\n")
@example(share=0.5, tail=b"\0" * 40)
@example(share=1.0, tail=b'{"task_id": 3}\n')
@example(share=1.0, tail=b"null\n")
def test_a_leftover_cut_anywhere_and_spoilt_after_it_gives_the_same_file(tmp_path, leftover, share, tail):
    whole, journal = leftover
    output = tmp_path / "a.jsonl"
    output.unlink(missing_ok=True)
    (tmp_path / ".a.jsonl.journal").write_bytes(journal)
    (tmp_path / ".a.jsonl.partial").write_bytes(whole[: int(share * len(whole))] + tail)
    assert run(output) == 0
    assert output.read_bytes() == whole
    assert list(tmp_path.iterdir()) == [output]


def test_tasks_without_an_answer_are_counted_the_same_after_a_resume(tmp_path, monkeypatch, capsys):
    answer = ToyAdapter.reference_answer

    def every_third(self, challenge):
        return None if challenge.task_id % 3 else answer(self, challenge)

    monkeypatch.setattr(ToyAdapter, "reference_answer", every_third)
    assert run(tmp_path / "whole.jsonl") == 0
    told = capsys.readouterr().out
    mend = fail_after(monkeypatch, 20)
    assert run(tmp_path / "a.jsonl") == 2
    mend()
    assert run(tmp_path / "a.jsonl") == 0
    assert capsys.readouterr().out == told.replace("whole.jsonl", "a.jsonl")
    assert (tmp_path / "a.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    rows = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert rows and all(row["task_id"] % 3 == 0 for row in rows)


# -- rows that come in any order ----------------------------------------------------------------------------------


@given(
    st.lists(st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=9)), max_size=8),
    st.integers(0, 400),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whole_rows_are_read_again_wherever_the_crash_fell(tmp_path, rows, lost):
    output = tmp_path / "out.jsonl"
    with suppress(KeyboardInterrupt), kept_rows(output, {}) as kept:
        kept.append(rows)
        raise KeyboardInterrupt
    partial = tmp_path / ".out.jsonl.partial"
    text = partial.read_bytes() if partial.exists() else b""
    text = text[: max(0, len(text) - lost)]
    partial.write_bytes(text)
    (tmp_path / ".out.jsonl.journal").write_text("{}")
    with kept_rows(output, {}) as kept:
        assert kept.read() == rows[: text.count(b"\n")]
        assert kept.number == text.count(b"\n")
        kept.append([{"after": 1}])
        assert next(iter(kept.batches(100)))[-1] == {"after": 1}
    assert not partial.exists()
