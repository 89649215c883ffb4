"""data_processing/evaluate_dataset.py: the answers of a dataset, scored by the environment that made its tasks."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import convert_to_parquet
import env_adapter
import evaluate_dataset
import generate_dataset
import toy_env
from env_adapter import Challenge, get_env_adapter
from intervals import RunningMean, mean_interval
from json_conversion.conversion_plan import RESPONSES
from task_rows.answered_task import RESPONSE_FIELDS, same_prompt
from toy_eval_env import ToyAdapter

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def toy(monkeypatch):
    monkeypatch.setitem(env_adapter.REGISTRY, "toy", "toy_eval_env:ToyAdapter")
    env_adapter._build_shared.cache_clear()


def generate(path, *arguments, env="toy"):
    assert generate_dataset.main(["--env", env, "--output", str(path), *arguments]) == 0
    return path


def evaluate(path, *arguments):
    return evaluate_dataset.main(["--input", str(path), *arguments])


def report_of(path, *arguments, code=0):
    output = path.with_name("report.json")
    output.unlink(missing_ok=True)
    assert evaluate(path, "--output", str(output), *arguments) == code
    return json.loads(output.read_text())


def write_rows(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def read_rows(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def error_line(capsys):
    lines = [line for line in capsys.readouterr().err.splitlines() if "evaluate_dataset:" in line]
    assert len(lines) == 1
    return lines[0]


# -- what generate_dataset.py writes ------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
@pytest.mark.parametrize("layout", ["plain", "messages", "rl"])
def test_reference_answers_score_one_in_every_format(tmp_path, capsys, layout, ending):
    path = generate(tmp_path / f"a.{ending}", "--format", layout, "--set", "greeting=Hi! ")
    report = report_of(path)
    assert (report["rows"], report["without_answer"], report["faults"]) == (32, 0, 0)
    assert report["overall"]["reward"]["mean"] == report["overall"]["correct"]["mean"] == 1
    assert report["overall"]["reward"]["n"] == 32
    assert report["overall"]["metrics"]["exact"]["mean"] == 1
    assert list(report["types"]) == ["toy"]
    lines = capsys.readouterr().out.splitlines()
    assert lines[-4].split() == [
        "type",
        "tasks",
        "answers",
        "reward",
        "95",
        "%",
        "interval",
        "correct",
        "exact",
        "length",
    ]
    assert lines[-3].split()[:4] == ["toy", "32", "32", "1.000"]
    assert lines[-2].split()[0] == "all"


@pytest.mark.parametrize("layout", ["plain", "messages"])
def test_the_mean_is_that_of_the_adapters_scores(tmp_path, layout):
    path = generate(tmp_path / "a.jsonl", "--format", layout, "--answers", "random", "--set", "tasks=400")
    adapter = ToyAdapter({"tasks": 400})
    values = []
    for row in read_rows(path):
        answer = row["answer"] if layout == "plain" else row["messages"][-1]["content"]
        values.append(adapter.evaluate(answer, adapter.generate(row["task_id"])).value)
    report = report_of(path)
    expected = mean_interval(values, (0.0, 1.0))
    assert 0.5 <= expected.mean < 1
    found = report["overall"]["reward"]
    assert (found["mean"], found["low"], found["high"]) == pytest.approx((expected.mean, expected.low, expected.high))
    assert report["overall"]["correct"]["mean"] == pytest.approx(values.count(1.0) / len(values))
    assert report_of(path, "--correct-from", "0.5")["overall"]["correct"]["mean"] == 1


@pytest.mark.parametrize(("layout", "rows"), [("plain", 32), ("messages", 32), ("rl", 32)])
def test_tasks_without_answers_are_counted_and_not_scored(tmp_path, capsys, layout, rows):
    path = generate(tmp_path / "a.parquet", "--format", layout, "--answers", "none")
    report = report_of(path, code=1)
    assert (report["without_answer"], report["overall"]["answers"], report["types"]) == (rows, 0, {})
    assert "0 scored by their" in capsys.readouterr().out


def test_openspiel_expert_moves_score_as_the_best_and_the_table_has_a_line_a_game(tmp_path, capsys):
    games = "tic_tac_toe,dots_and_boxes(num_rows=2,num_cols=2)"
    arguments = ["--set", f"game_types={games}", "--set", "value_budget_ms=2", "--num-samples", "24"]
    path = generate(tmp_path / "a.jsonl", *arguments, env="openspiel")
    report = report_of(path)
    assert set(report["types"]) == {"tic_tac_toe", "dots_and_boxes(num_rows=2,num_cols=2)"}
    assert sum(group["answers"] for group in report["types"].values()) == 24
    adapter = get_env_adapter("openspiel", {"game_types": games})
    best = []
    for row in read_rows(path):
        challenge = Challenge.from_json(row["metadata"]["challenge"])
        best.append(max(adapter.evaluate(str(action), challenge).value for action in range(12)))
    assert report["overall"]["reward"]["mean"] == pytest.approx(sum(best) / len(best))
    out = capsys.readouterr().out
    assert "tic_tac_toe" in out and "legal" in out


@pytest.mark.parametrize("answer", ["", "77", "no idea", "0 1 2 3 4 5 6 7 8"])
def test_openspiel_answers_that_are_empty_illegal_or_hedged_score_0(tmp_path, answer):
    path = generate(
        tmp_path / "a.jsonl", "--set", "game_types=tic_tac_toe", "--answers", "random", "--num-samples", "9",
        env="openspiel",
    )  # fmt: skip
    write_rows(path, [row | {"response": answer} for row in read_rows(path)])
    report = report_of(path)
    assert report["response_field"] == "response"
    assert (report["rows"], report["overall"]["answers"]) == (9, 9)
    assert report["overall"]["reward"]["mean"] == report["overall"]["metrics"]["legal"]["mean"] == 0


@pytest.mark.parametrize("layout", ["plain", "messages"])
def test_concurrency_changes_nothing(tmp_path, layout):
    path = generate(tmp_path / "a.jsonl", "--format", layout, "--answers", "random", "--set", "tasks=500")
    assert report_of(path) == report_of(path, "--concurrency", "3")


def test_the_samples_of_a_task_are_one_unit_of_the_interval(tmp_path):
    rows = read_rows(generate(tmp_path / "a.jsonl", "--num-samples", "8"))
    once = write_rows(tmp_path / "once.jsonl", [row | {"answer": "7"} for row in rows[:4]] + rows[4:])
    each = [row | {"answer": "7"} if index < 4 else row for index, row in enumerate(rows) for _ in range(5)]
    five = write_rows(tmp_path / "five.jsonl", each)
    one, many = report_of(once)["overall"], report_of(five)["overall"]
    assert (many["answers"], many["tasks"], many["reward"]["n"]) == (40, 8, 8)
    assert {**many, "answers": 8} == one


@pytest.mark.parametrize(
    ("layout", "found_in"), [("sft", "messages"), ("rl", "reward_model.ground_truth"), ("pair", "response")]
)
def test_a_converted_dataset_scores_as_the_one_that_it_was_made_of(tmp_path, layout, found_in):
    path = generate(tmp_path / "a.jsonl", "--answers", "random", "--set", "tasks=200", "--set", "greeting=Hi! ")
    before = report_of(path)
    if layout == "pair":  # a text prompt, which keeps neither roles nor a list
        rows = read_rows(path)
        write_rows(path, [row | {"prompt": row["prompt"][0]["content"]} for row in rows])
    arguments = ["--input", str(path), "--out-dir", str(tmp_path / "out")]
    assert convert_to_parquet.main([*arguments, "--format", "rl" if layout == "rl" else "sft"]) == 0
    report = report_of(tmp_path / "out" / "train.parquet")
    assert report["response_field"] == found_in
    assert (report["rows"], report["faults"], report["without_answer"]) == (160, 0, 0)
    assert report["overall"]["reward"]["mean"] == pytest.approx(before["overall"]["reward"]["mean"])
    assert 0.5 <= before["overall"]["reward"]["mean"] < 1


def test_the_converter_and_the_evaluator_look_for_answers_in_the_same_fields():
    assert RESPONSE_FIELDS == RESPONSES


# -- answers of others --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("field", [*RESPONSE_FIELDS, "messages"])
def test_the_field_with_the_answers_is_found(tmp_path, field):
    rows = read_rows(generate(tmp_path / "a.jsonl", "--num-samples", "5"))
    for row in rows:
        answer = row.pop("answer")
        prompt = row.pop("prompt")
        row[field] = [*prompt, {"role": "assistant", "content": answer}] if field == "messages" else answer
    report = report_of(write_rows(tmp_path / "b.jsonl", rows))
    assert report["response_field"] == field
    assert report["overall"]["reward"]["mean"] == 1


def test_a_models_answers_in_a_field_of_their_own(tmp_path, capsys):
    rows = read_rows(generate(tmp_path / "a.jsonl", "--num-samples", "6"))
    answers = ["", "nothing", None, " 7 ", rows[4]["answer"], 9]
    path = write_rows(tmp_path / "b.jsonl", [row | {"mine": said} for row, said in zip(rows, answers, strict=True)])
    report = report_of(path, "--response-field", "mine", "--verbose", code=1)
    assert (report["without_answer"], report["overall"]["answers"]) == (1, 5)
    assert report["overall"]["reward"]["mean"] == pytest.approx((0 + 0 + 0.5 + 1 + 0.5) / 5)
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("row ")]
    assert len(lines) == 6
    assert lines[2] == f"row 3  task {rows[2]['task_id']}  no answer"
    assert (
        lines[4]
        == f'row 5  task {rows[4]["task_id"]}  toy  reward 1.000  exact 1  length {len(answers[4])}  "{answers[4]}"'
    )


def test_a_chat_as_the_answer_is_its_last_turn(tmp_path):
    rows = read_rows(generate(tmp_path / "a.jsonl", "--num-samples", "5"))
    for row in rows:
        row["completion"] = [{"role": "assistant", "content": row.pop("answer")}]
    assert report_of(write_rows(tmp_path / "b.jsonl", rows))["overall"]["reward"]["mean"] == 1


@pytest.mark.parametrize("as_text", [True, False])
def test_a_task_is_made_again_from_its_id_where_only_that_is_there(tmp_path, as_text):
    rows = read_rows(generate(tmp_path / "a.jsonl", "--set", "greeting=Hi! "))
    bare = [
        {
            "task_id": row["task_id"],
            "prompt": "\n".join(turn["content"] for turn in row["prompt"]) if as_text else row["prompt"],
            "response": row["answer"],
        }
        for row in rows
    ]
    path = write_rows(tmp_path / "b.jsonl", bare)
    report = report_of(path, "--env", "toy", "--set", "greeting=Hi! ")
    assert report["overall"]["reward"]["mean"] == 1
    assert report["settings"] == {"greeting": "Hi! "}


def test_other_settings_are_refused_by_the_prompt(tmp_path, capsys):
    path = generate(tmp_path / "a.jsonl", "--format", "messages")
    assert evaluate(path, "--set", "greeting=Hello. ") == 2
    line = error_line(capsys)
    assert "row 1:" in line and "another prompt" in line and "greeting" in line
    assert evaluate(path, "--set", "tasks=1") == 2
    assert "there is no task" in error_line(capsys)


@pytest.mark.parametrize(
    ("row", "arguments", "words"),
    [
        ({"answer": "4"}, ["--env", "toy"], "neither a challenge"),
        ({"answer": "4", "task_id": 1}, [], "it names no env: give --env"),
        ({"answer": "4", "task_id": 1}, ["--env", "toy"], "task_id 1 alone does not say which task"),
        ({"answer": "4", "task_id": 1, "env": "toy"}, ["--env", "openspiel"], "it is of env toy, and --env says"),
        ({"answer": "4", "task_id": 1, "env": "chess960"}, [], "unknown env 'chess960'"),
        ({"answer": "4", "task_id": 1}, ["--env", "chess960"], "unknown env 'chess960'"),
        ({"answer": "4", "task_id": "one"}, ["--env", "toy"], "task_id is 'one', not a whole number"),
        ({"answer": 0.5, "task_id": 1}, ["--env", "toy"], "answer is 0.5, not a text"),
        ({"answer": {"a": 1}, "task_id": 1}, ["--env", "toy"], "answer is {'a': 1}, not a text"),
        ({"answer": "4", "task_id": 1, "adapter_config": "[1]"}, ["--env", "toy"], "adapter_config is [1], not an"),
        ({"answer": "4", "task_id": 1, "adapter_config": "{"}, ["--env", "toy"], "adapter_config is '{', not JSON"),
        ({"answer": "4", "task_id": 1, "prompt": [4]}, ["--env", "toy"], "prompt is [4], not a list of messages"),
        ({"answer": "4", "task_id": 1, "adapter_config": '{"takss": 3}'}, ["--env", "toy"], "did you mean 'tasks'"),
        ({"answer": "4", "task_id": 1}, ["--env", "toy", "--set", "takss=3"], "did you mean 'tasks'"),
        ({"answer": "4", "task_id": 1}, ["--env", "toy", "--adapter-config", "{"], "is not JSON"),
        ({"answer": "4", "task_id": 1}, ["--response-field", "reply"], "no such column; there are answer, task_id"),
        ({"said": "4", "task_id": 1}, ["--env", "toy"], "no column with answers among said, task_id"),
        ({"answer": "4", "task_id": 1}, ["--concurrency", "0"], "--concurrency 0"),
        ({"answer": "4", "task_id": 1}, ["--correct-from", "0"], "--correct-from 0"),
        ({"answer": "4", "task_id": 1}, ["--correct-from", "nan"], "--correct-from nan"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line_and_no_file(tmp_path, capsys, row, arguments, words):
    path = write_rows(tmp_path / "a.jsonl", [row])
    assert evaluate(path, "--output", str(tmp_path / "report.json"), *arguments) == 2
    assert words in error_line(capsys)
    assert list(tmp_path.iterdir()) == [path]


def test_an_id_is_enough_with_the_settings_said_aloud(tmp_path):
    path = write_rows(tmp_path / "a.jsonl", [{"answer": "4", "task_id": 1, "env": "toy"}])
    assert report_of(path, "--adapter-config", "{}")["overall"]["reward"]["mean"] == 1


def test_the_row_that_is_bad_is_named(tmp_path, capsys):
    rows = read_rows(generate(tmp_path / "a.jsonl", "--set", "tasks=500"))
    rows[299]["answer"] = None
    rows[299]["metadata"] = None
    rows[300]["metadata"] = None
    rows[300]["prompt"] = None
    assert evaluate(write_rows(tmp_path / "b.jsonl", rows), "--concurrency", "2") == 2
    assert "row 301: task_id" in error_line(capsys)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.jsonl", b"", "no column with answers"),
        ("a.jsonl", b"{", "not JSON"),
        ("a.jsonl", b"[1]", "not an object"),
        ("a.parquet", b"PAR1 and no more", "no whole parquet file"),
        ("a.csv", b"answer\n4\n", "these are read"),
    ],
)
def test_a_file_that_is_none_is_refused(tmp_path, capsys, name, content, words):
    (tmp_path / name).write_bytes(content)
    assert evaluate(tmp_path / name, "--env", "toy") == 2
    assert words in error_line(capsys)


def test_no_file_no_rows_and_an_output_in_the_way_are_refused(tmp_path, capsys):
    assert evaluate(tmp_path / "none.jsonl") == 2
    assert "is not there" in error_line(capsys)
    pq.write_table(pa.table({"answer": pa.array([], pa.string())}), tmp_path / "a.parquet")
    assert evaluate(tmp_path / "a.parquet") == 2
    assert "has no rows" in error_line(capsys)
    assert evaluate(tmp_path / "a.parquet", "--output", str(tmp_path)) == 2
    assert "is a directory" in error_line(capsys)


# -- faults that are ours -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("processes", ["1", "2"])
def test_faults_are_counted_apart_and_never_scored_0(tmp_path, capsys, processes):
    path = generate(tmp_path / "a.jsonl")
    arguments = ["--set", "fail_evaluate_from=20", "--concurrency", processes]
    report = report_of(path, *arguments, code=1)
    expected = sum(row["task_id"] >= 20 for row in read_rows(path))
    assert report["faults"] == expected > 0
    assert report["overall"]["answers"] == 32 - expected
    assert report["overall"]["reward"]["mean"] == 1
    assert len(report["first_faults"]) == 5
    assert all(fault["fault"] == "the sandbox is down" for fault in report["first_faults"])
    out = capsys.readouterr().out
    assert f"{expected} lost to faults of the environment" in out
    assert "the sandbox is down" in out


def test_a_broken_challenge_is_a_fault(tmp_path):
    rows = read_rows(generate(tmp_path / "a.jsonl", "--num-samples", "3"))
    rows[1]["metadata"]["challenge"] = "{}"
    report = report_of(write_rows(tmp_path / "b.jsonl", rows), code=1)
    assert (report["faults"], report["overall"]["answers"]) == (1, 2)
    assert "not a Challenge" in report["first_faults"][0]["fault"]
    assert report["first_faults"][0]["row"] == 2


def test_a_bug_of_the_adapter_ends_it_and_names_the_row(tmp_path, monkeypatch):
    toy_env.register(monkeypatch)
    path = generate(tmp_path / "a.jsonl", "--num-samples", "3")
    rows = read_rows(path)
    rows[1]["answer"] = "pull the plug"
    assert report_of(write_rows(path, rows), code=1)["faults"] == 1
    rows[2]["answer"] = "hit the bug"
    with pytest.raises(ZeroDivisionError) as caught:
        evaluate(write_rows(path, rows))
    assert caught.value.__notes__ == ["row 3 of the input"]


# -- parts --------------------------------------------------------------------------------------------------------


@given(st.lists(st.floats(-1e6, 1e6), min_size=1), st.sampled_from([None, (-1e6, 1e6)]))
def test_a_running_mean_is_the_mean(values, bounds):
    running = RunningMean()
    for value in values:
        running.add(value)
    found, expected = running.interval(bounds), mean_interval(values, bounds)
    assert found.n == expected.n
    assert (found.low is None) == (expected.low is None) == (len(values) == 1)
    for name in ("mean", "low", "high") if len(values) > 1 else ("mean",):
        assert getattr(found, name) == pytest.approx(getattr(expected, name), rel=1e-6, abs=1e-5)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_running_mean_refuses_what_is_no_number(value):
    with pytest.raises(ValueError, match="finite"):
        RunningMean().add(value)
    with pytest.raises(ValueError, match="no values"):
        RunningMean().interval()


def test_a_text_prompt_must_hold_the_whole_task():
    challenge = Challenge("toy", 1, [{"role": "system", "content": "Sums."}, {"role": "user", "content": "1 + 3"}], {})
    assert same_prompt("<|system|>Sums.<|user|>\n1 + 3\n<|assistant|>", challenge)
    assert same_prompt("Sums.\n\n1 + 3", challenge)
    for other in ("1 + 3", "Sums. 1 + 34", "Sums. 11 + 3", "1 + 3 Sums.", "", "Sums."):
        assert not same_prompt(other, challenge), other


@pytest.mark.slow
def test_memory_does_not_grow_with_the_file(tmp_path):
    """The toy's rows, padded to 2 kB: 8 MB and 160 MB of them, in a process each."""
    rows = read_rows(generate(tmp_path / "a.jsonl", "--set", "tasks=1000"))
    text = "".join(json.dumps(row | {"story": "x" * 1500}) + "\n" for row in rows)
    code = (
        f"import sys; sys.path[:0] = [{str(ROOT / 'data_processing')!r}, {str(ROOT / 'train/tools')!r}, "
        f"{str(ROOT / 'tests')!r}]; import env_adapter, evaluate_dataset;"
        "env_adapter.REGISTRY['toy'] = 'toy_eval_env:ToyAdapter'; assert evaluate_dataset.main() == 0;"
        # Not getrusage: what it says of a new process begins with its parent's.
        "print(open('/proc/self/status').read().partition('VmHWM:')[2].split()[0])"
    )
    peaks = []
    for times in (4, 80):
        path = tmp_path / "big.jsonl"
        path.write_text(text * times)
        command = [sys.executable, "-c", code, "--input", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr
        peaks.append(int(done.stdout.split()[-1]) / 1024)
    assert peaks[1] < 500
    assert peaks[1] - peaks[0] < 60
