"""data_processing/convert_to_parquet.py: what a row becomes, which field is which, what is left out, who reads it."""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import convert_to_parquet
import env_adapter
import generate_dataset
from env_adapter import Challenge
from json_conversion import conversion, conversion_plan, field_survey, sample_columns
from json_conversion.json_blocks import json_blocks
from sft.conversations import ColumnNames, choose_layout, read_conversation
from toy_eval_env import ToyAdapter

TOOLS = Path(env_adapter.__file__).parent
Row = dict[str, Any]
USER = {"role": "user", "content": "2+2?"}
ANSWER = {"role": "assistant", "content": "4"}
CHAT = [USER, ANSWER]
MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))


def write(path: Path, *rows: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows]
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def run(source: Path, output: Path, *arguments: str) -> int:
    return convert_to_parquet.main(["--input", str(source), "--out-dir", str(output), *arguments])


def rows_of(output: Path, side: str = "train") -> list[Row]:
    return pq.read_table(output / f"{side}.parquet").to_pylist()


def convert(tmp_path: Path, rows: Sequence[Any], *arguments: str) -> list[Row]:
    """The rows that these become."""
    assert run(write(tmp_path / "input.jsonl", *rows), tmp_path / "out", *arguments) == 0
    return rows_of(tmp_path / "out")


def refusal(capsys: Any) -> str:
    """The one line on stderr."""
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("convert_to_parquet:")]
    assert len(lines) == 1
    return lines[0]


# --- what a row becomes

EXAMPLE = {"prompt": "2+2?", "answer": "4", "task_type": "sums", "metadata": {"level": 1, "tags": ["a"]}}
EXTRA = {"index": 0, "env": "lgc-v2", "task_type": "sums", "level": 1, "tags": '["a"]'}


def test_a_row_for_rl_has_what_verl_reads(tmp_path: Path) -> None:
    assert convert(tmp_path, [EXAMPLE]) == [
        {
            "prompt": [USER],
            "data_source": "sums",
            "ability": "sums",
            "reward_model": {"style": "rule", "ground_truth": "4"},
            "extra_info": EXTRA,
        }
    ]


def test_a_row_for_sft_is_two_texts(tmp_path: Path) -> None:
    assert convert(tmp_path, [EXAMPLE], "--format", "sft") == [{"prompt": "2+2?", "response": "4", "extra_info": EXTRA}]


@pytest.mark.parametrize(
    "row",
    [
        {"messages": CHAT},
        {"prompt": CHAT},
        {"prompt": [USER], "response": "4"},
        {"prompt": [USER], "completion": [ANSWER]},
        {"messages": [USER], "answer": "4"},
    ],
)
def test_chats_become_messages_with_the_answer_last(tmp_path: Path, row: Row) -> None:
    assert [written["messages"] for written in convert(tmp_path, [row], "--format", "sft")] == [CHAT]
    [written] = convert(tmp_path, [row])
    assert (written["prompt"], written["reward_model"]["ground_truth"]) == ([USER], "4")


def test_a_chat_among_texts_makes_chats_of_all(tmp_path: Path) -> None:
    rows = convert(tmp_path, [{"prompt": "2+2?", "answer": "4"}, {"messages": CHAT}], "--format", "sft")
    assert [row["messages"] for row in rows] == [CHAT, CHAT]


def test_content_in_blocks_of_text_is_their_text(tmp_path: Path) -> None:
    blocks = [{"type": "text", "text": "2+"}, {"type": "text", "text": "2?"}]
    rows = convert(tmp_path, [{"messages": [{"role": "user", "content": blocks}, ANSWER]}], "--format", "sft")
    assert rows[0]["messages"] == CHAT


def test_a_systems_turn_goes_before_every_prompt_that_has_none(tmp_path: Path) -> None:
    own = {"role": "system", "content": "Own."}
    given_one = {"role": "system", "content": "Be brief."}
    rows = [{"prompt": prompt, "answer": "4"} for prompt in ("2+2?", [own, USER], [USER])]
    starts = [[given_one], [own], [given_one]]
    written = convert(tmp_path, rows, "--system", "Be brief.")
    assert [row["prompt"] for row in written] == [[*start, USER] for start in starts]
    written = convert(tmp_path, rows, "--system", "Be brief.", "--format", "sft")
    assert [row["messages"] for row in written] == [[*start, USER, ANSWER] for start in starts]
    written = convert(tmp_path, rows[:1], "--system", "Be brief.", "--format", "sft")
    assert written[0]["messages"] == [given_one, USER, ANSWER]


def test_what_the_trainer_reads_beside_the_messages_is_kept_where_it_reads_it(tmp_path: Path) -> None:
    call = {"id": "c", "type": "function", "function": {"name": "add", "arguments": {"a": 2, "b": 2}}}
    tools = [{"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}]
    turns = [
        {**USER, "rank": 3},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": "4", "tool_call_id": "c"},
        ANSWER,
    ]
    row = {"messages": turns, "tools": tools, "loss_mask": [0, 0, 0, 1], "enable_thinking": False}
    assert run(write(tmp_path / "a.jsonl", row), tmp_path, "--format", "sft", "--system", "Add.") == 0
    layout = choose_layout(pq.read_schema(tmp_path / "train.parquet"), ColumnNames(), "train.parquet")
    read = read_conversation(rows_of(tmp_path)[0], layout)
    sent = {**call, "function": {"name": "add", "arguments": '{"a":2,"b":2}'}}
    assert read.messages == [
        {"role": "system", "content": "Add."},
        USER,
        {"role": "assistant", "content": "", "tool_calls": [sent]},
        {"role": "tool", "content": "4", "tool_call_id": "c"},
        ANSWER,
    ]
    assert (read.trained, read.tools, read.enable_thinking) == ((False, False, False, False, True), tools, False)


def test_a_message_key_that_nobody_reads_is_left_out_and_said(tmp_path: Path, capsys: Any) -> None:
    rows = convert(tmp_path, [{"messages": [USER, {**ANSWER, "score": 1, "weight": 0}]}], "--format", "sft")
    assert [message["weight"] for message in rows[0]["messages"]] == [None, 0]
    assert "left out these keys of messages: score\n" in capsys.readouterr().out


# --- which field is what


@pytest.mark.parametrize("name", ["response", "answer", "completion", "output", "assistant", "label"])
def test_the_response_is_found_by_its_name(tmp_path: Path, name: str, capsys: Any) -> None:
    assert convert(tmp_path, [{"prompt": "2+2?", name: "4", "x": "y"}], "--format", "sft")[0]["response"] == "4"
    assert f"answer      from {name} (1 rows)" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["ground_truth", "answer", "solution", "label", "response"])
def test_the_ground_truth_is_found_by_its_name(tmp_path: Path, name: str) -> None:
    assert convert(tmp_path, [{"prompt": "2+2?", name: "4"}])[0]["reward_model"]["ground_truth"] == "4"


@pytest.mark.parametrize(
    ("row", "prompt"),
    [
        ({"question": "2+2?"}, "2+2?"),
        ({"instruction": "Add."}, "Add."),
        ({"instruction": "Add.", "input": "2, 2"}, "Add.\n\n2, 2"),
        ({"instruction": "Add.", "input": ""}, "Add."),
        ({"question": "2+2?", "instruction": "no"}, "2+2?"),
        ({"prompt": None, "question": "2+2?"}, "2+2?"),
    ],
)
def test_the_prompt_is_found_by_its_name(tmp_path: Path, row: Row, prompt: str, capsys: Any) -> None:
    assert convert(tmp_path, [{**row, "output": "4"}], "--format", "sft")[0]["prompt"] == prompt
    assert "prompt      from " in capsys.readouterr().out


def test_lines_of_one_file_and_files_of_one_directory_may_have_different_fields(tmp_path: Path, capsys: Any) -> None:
    write(tmp_path / "in/a.jsonl", {"prompt": "1", "response": "a", "level": 1}, {"question": "2", "output": "b"})
    (tmp_path / "in/deep").mkdir()
    (tmp_path / "in/deep/b.json").write_text(json.dumps([{"instruction": "3", "input": "x", "answer": "c"}], indent=1))
    (tmp_path / "in/notes.txt").write_text("no JSON")
    write(tmp_path / "in/.hidden.jsonl", "no JSON")
    assert run(tmp_path / "in", tmp_path, "--format", "sft") == 0
    rows = rows_of(tmp_path)
    assert [(row["prompt"], row["response"]) for row in rows] == [("1", "a"), ("2", "b"), ("3\n\nx", "c")]
    assert [row["extra_info"]["level"] for row in rows] == [1, None, None]
    out = capsys.readouterr().out
    assert "prompt      from prompt (1 rows), question (1 rows), instruction and input (1 rows)\n" in out
    assert "answer      from response (1 rows), answer (1 rows), output (1 rows)\n" in out


def test_fields_that_are_null_where_others_have_a_value_are_as_good_as_missing(tmp_path: Path) -> None:
    # As `datasets` writes two datasets that were put together.
    rows = [
        {"prompt": "1", "question": None, "response": "a", "output": None, "messages": None},
        {"prompt": None, "question": "2", "response": None, "output": "b", "messages": None},
        {"prompt": None, "question": None, "response": None, "output": None, "messages": CHAT},
    ]
    written = convert(tmp_path, rows, "--format", "sft")
    chats = [[message["content"] for message in row["messages"]] for row in written]
    assert chats == [["1", "a"], ["2", "b"], ["2+2?", "4"]]
    written = convert(tmp_path, rows)
    assert [(row["prompt"][0]["content"], row["reward_model"]["ground_truth"]) for row in written] == [
        ("1", "a"),
        ("2", "b"),
        ("2+2?", "4"),
    ]


def test_a_chats_last_turn_is_no_ground_truth_where_others_have_one_beside_it(tmp_path: Path, capsys: Any) -> None:
    long = [USER, {"role": "assistant", "content": "It is 4."}]
    [row] = convert(tmp_path, [{"messages": long, "answer": None}, {"messages": long, "answer": "4"}])
    assert (row["prompt"], row["reward_model"]["ground_truth"]) == ([USER], "4")
    assert "1  no answer" in capsys.readouterr().out


def test_a_field_beside_the_answer_is_never_taken_for_it(tmp_path: Path, capsys: Any) -> None:
    rows = [{"prompt": "2+2?", "response": "4", "label": "good"}, {"prompt": "3+3?", "label": "bad"}]
    [row] = convert(tmp_path, rows, "--format", "sft")
    assert (row["response"], row["extra_info"]["label"]) == ("4", "good")
    assert "1  no answer" in capsys.readouterr().out


def test_a_prompt_beside_a_whole_chat_gives_way_to_it_where_there_is_no_other_answer(tmp_path: Path) -> None:
    rows = convert(tmp_path, [{"prompt": "2+2?", "messages": CHAT, "id": "u1"}], "--format", "sft")
    assert rows[0]["messages"] == CHAT
    assert rows[0]["extra_info"] == {"index": 0, "env": "lgc-v2", "prompt": "2+2?", "id": "u1"}


def test_a_ground_truth_beside_a_whole_chat_is_the_ground_truth_and_the_prompt_ends_before_the_answer(
    tmp_path: Path,
) -> None:
    row = {"messages": [USER, {"role": "assistant", "content": "It is 4."}], "answer": 4}
    [written] = convert(tmp_path, [row])
    assert (written["prompt"], written["reward_model"]["ground_truth"]) == ([USER], "4")
    [written] = convert(tmp_path, [row], "--format", "sft")
    assert written["messages"] == row["messages"]
    assert written["extra_info"]["answer"] == 4


def test_fields_are_named_by_options_also_inside_of_an_object(tmp_path: Path) -> None:
    row = {"q": "2+2?", "a": "4", "prompt": "no", "answer": "no", "metadata": {"task": {"x": 1}, "gold": "four"}}
    [written] = convert(tmp_path, [row], "--format", "sft", "--prompt-field", "q", "--response-field", "a")
    assert (written["prompt"], written["response"]) == ("2+2?", "4")
    assert written["extra_info"]["prompt"] == "no"
    chosen = ["--prompt-field", "q", "--ground-truth-field", "metadata.gold", "--data-source-field", "answer"]
    [written] = convert(tmp_path, [row], *chosen)
    assert (written["reward_model"]["ground_truth"], written["data_source"]) == ("four", "no")
    assert written["extra_info"]["task"] == '{"x":1}'


@pytest.mark.parametrize(
    ("row", "source"),
    [
        ({"data_source": "gsm8k", "task_type": "sums"}, "gsm8k"),
        ({"task_type": "sums"}, "sums"),
        ({"task_type": 7}, "7"),
        ({"task_type": " "}, "dyck"),
        ({}, "dyck"),
    ],
)
def test_the_data_source_is_the_rows_or_else_the_environment(tmp_path: Path, row: Row, source: str) -> None:
    [written] = convert(tmp_path, [{"prompt": "2+2?", "answer": "4", **row}], "--env", "dyck")
    assert (written["data_source"], written["ability"]) == (source, source)
    assert written["extra_info"]["env"] == "dyck"


@pytest.mark.parametrize(
    ("value", "text"), [("4", "4"), (4, "4"), (4.5, "4.5"), (False, "false"), (["4", "four"], '["4","four"]')]
)
def test_a_ground_truth_may_be_any_value_as_json(tmp_path: Path, value: Any, text: str) -> None:
    assert convert(tmp_path, [{"prompt": "2+2?", "answer": value}])[0]["reward_model"]["ground_truth"] == text


# --- what is kept


def test_fields_of_one_simple_type_stay_as_they_are_and_others_are_json_text(tmp_path: Path) -> None:
    big = 10**25
    rows = convert(
        tmp_path,
        [
            {"prompt": "1", "answer": "a", "text": "é", "whole": 1, "half": 1, "yes": True, "none": None, "any": 1},
            {"prompt": "2", "answer": "b", "half": 0.5, "any": "1", "list": [1, {"a": None}], "big": big, "tagged": {}},
            {"prompt": "3", "answer": "c", "whole": 2**63 - 1, "any": None, "mixed": 2**60},
            {"prompt": "4", "answer": "d", "mixed": 0.5, "metadata": None, "any": True},
        ],
    )
    names = ["text", "whole", "half", "yes", "none", "any", "list", "big", "tagged", "mixed"]
    kept = [
        {"text": "é", "whole": 1, "half": 1.0, "yes": True, "any": "1"},
        {"half": 0.5, "any": '"1"', "list": '[1,{"a":null}]', "big": str(big), "tagged": "{}"},
        {"whole": 2**63 - 1, "mixed": str(2**60)},
        {"mixed": "0.5", "any": "true"},
    ]
    assert [list(row["extra_info"]) for row in rows] == [["index", "env", *names]] * 4
    for index, (row, values) in enumerate(zip(rows, kept, strict=True)):
        assert row["extra_info"] == {"index": index, "env": "lgc-v2", **dict.fromkeys(names), **values}


def test_fields_of_the_same_name_are_all_kept(tmp_path: Path) -> None:
    row = {"prompt": "1", "answer": "a", "level": 1, "env": "mine", "index": "x"}
    row |= {"metadata": {"level": 2, "env": "other"}, "extra_info": {"level": 3, "index": 9}}
    [written] = convert(tmp_path, [row], "--env", "default")
    assert written["extra_info"] == {
        "index": 9,
        "env": "mine",
        "level": 1,
        "source_index": "x",
        "metadata_level": 2,
        "metadata_env": "other",
        "extra_info_level": 3,
    }


def test_an_index_that_some_rows_lack_is_counted_instead(tmp_path: Path) -> None:
    rows = [{"prompt": str(number), "answer": "a", "metadata": {"index": 7}} for number in range(2)]
    written = convert(tmp_path, [*rows, {"prompt": "3", "answer": "a"}])
    assert [row["extra_info"]["index"] for row in written] == [0, 1, 2]
    assert [row["extra_info"]["metadata_index"] for row in written] == [7, 7, None]


def test_an_object_with_values_as_names_stays_closed(tmp_path: Path) -> None:
    rows = [{"prompt": "1", "answer": "a", "metadata": {f"user-{i}-{j}": j for j in range(40)}} for i in range(20)]
    written = convert(tmp_path, rows)
    assert [json.loads(row["extra_info"]["metadata"]) for row in written] == [row["metadata"] for row in rows]


def test_what_verl_reads_as_an_object_stays_one(tmp_path: Path) -> None:
    tools = {"calc": {"create_kwargs": {"ground_truth": "4"}}}
    row = {"prompt": "2+2?", "answer": "4", "extra_info": {"need_tools_kwargs": True, "tools_kwargs": tools}}
    assert convert(tmp_path, [row])[0]["extra_info"]["tools_kwargs"] == tools


FLOATS = st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | FLOATS | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.dictionaries(st.sampled_from("abc"), VALUES), min_size=1, max_size=6), st.booleans())
def test_metadata_comes_back_as_it_was(tmp_path: Path, metadata: list[Row], nested: bool) -> None:
    rows = [{"prompt": "2+2?", "answer": "4", **({"metadata": fields} if nested else fields)} for fields in metadata]
    written = convert(tmp_path, rows, "--format", "sft")
    schema = pq.read_schema(tmp_path / "out/train.parquet").field("extra_info").type
    survey = conversion.survey_block(next(json_blocks(tmp_path / "input.jsonl", 1 << 20)))
    as_json = {item.path[-1] for item in conversion.make_plan(survey, conversion.Wishes("sft")).kept if item.as_json}
    for fields, row in zip(metadata, written, strict=True):
        kept = row["extra_info"]
        for name in {field.name for field in schema} - {"index", "env"}:
            value = kept[name]
            if name in as_json and value is not None:
                value = json.loads(value)
            assert value == fields.get(name)
            assert isinstance(value, bool) == isinstance(fields.get(name), bool)


# --- what is left out

FAULTS = [
    ({"answer": "4"}, "no prompt"),
    ({"prompt": None, "answer": "4"}, "no prompt"),
    ({"prompt": "", "answer": "4"}, "blank prompt"),
    ({"prompt": " \n\t", "answer": "4"}, "blank prompt"),
    ({"prompt": 7, "answer": "4"}, "prompt is a number"),
    ({"prompt": {"text": "x"}, "answer": "4"}, "prompt is an object"),
    ({"prompt": True, "answer": "4"}, "prompt is a boolean"),
    ({"prompt": "2+2?"}, "no answer"),
    ({"prompt": "2+2?", "answer": None}, "no answer"),
    ({"prompt": "2+2?", "answer": " "}, "blank answer"),
    ({"prompt": [], "answer": "4"}, "no prompt"),
    ({"prompt": ["2+2?"], "answer": "4"}, "prompt with text in place of a message"),
    ({"prompt": [{"role": "user", "content": " "}], "answer": "4"}, "blank prompt"),
    ({"prompt": [{"role": "system", "content": "Be brief."}], "answer": "4"}, "blank prompt"),
    ({"prompt": [{"content": "2+2?"}], "answer": "4"}, "a turn has no role"),
    ({"prompt": [{"role": "human", "content": "2+2?"}], "answer": "4"}, "a turn has the unknown role 'human'"),
    ({"prompt": [{"role": "user"}], "answer": "4"}, "a turn has no text"),
    ({"prompt": [{"role": "user", "content": 7}], "answer": "4"}, "a turn's content is not text"),
    ({"prompt": [{"role": "user", "content": [{"type": "image"}]}], "answer": "4"}, "a turn's content is not text"),
]
SFT_FAULTS = [
    ({"prompt": "2+2?", "answer": 4}, "answer is a number"),
    ({"prompt": "2+2?", "answer": {"text": "4"}}, "answer is an object"),
    ({"prompt": "2+2?", "answer": ["4"]}, "answer is a list"),
    ({"prompt": CHAT, "answer": "4"}, "prompt that ends with an assistant's turn"),
    ({"prompt": [USER, {"role": "assistant", "content": " "}]}, "blank answer"),
    ({"prompt": [{**USER, "weight": 3}], "answer": "4"}, "a turn's weight is not 0 or 1"),
]


@pytest.mark.parametrize(
    ("layout", "row", "reason"),
    [*(("rl", *fault) for fault in FAULTS), *(("sft", *fault) for fault in [*FAULTS, *SFT_FAULTS])],
)
def test_a_row_that_cannot_be_used_is_counted_and_never_written(
    tmp_path: Path, layout: str, row: Row, reason: str, capsys: Any
) -> None:
    good = {"prompt": [{"role": "user", "content": "good"}], "answer": "yes"}
    rows = [good, row, {"prompt": "fine", "answer": "yes"}, row]
    flag = "--response-field" if layout == "sft" else "--ground-truth-field"
    written = convert(tmp_path, rows, "--format", layout, flag, "answer")
    chats = [row["messages" if layout == "sft" else "prompt"] for row in written]
    assert [chat[0]["content"] for chat in chats] == ["good", "fine"]
    assert re.search(rf"left out 2 rows:\n +2  {re.escape(reason)}\n", capsys.readouterr().out)


def test_messages_that_are_text_are_no_prompt(tmp_path: Path, capsys: Any) -> None:
    assert run(write(tmp_path / "a.jsonl", {"messages": json.dumps(CHAT), "answer": "4"}), tmp_path) == 2
    assert "no row can be used (1 × messages is text, not a list of turns)" in refusal(capsys)


TEXTS = st.sampled_from(["a", " ", "", None, 3, "b"])
TURNS = st.lists(
    st.sampled_from([USER, ANSWER, {"role": "system", "content": "s"}, {"role": "user", "content": ""}, {"role": "x"}]),
    max_size=4,
)


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    prompts=st.one_of(st.lists(TEXTS, min_size=1, max_size=4), st.lists(TURNS | TEXTS, min_size=1, max_size=4)),
    answers=st.lists(TEXTS, min_size=4, max_size=4) | st.none(),
    options=st.lists(st.sampled_from(["--format=sft", "--system=Be brief.", "--val-ratio=0.4"]), unique=True),
)
def test_the_ways_for_plain_rows_give_what_row_by_row_gives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prompts: list[Any], answers: list[Any] | None, options: list[str]
) -> None:
    rows = [{"prompt": prompt, "n": n} for n, prompt in enumerate(prompts)]
    if answers:
        rows = [{**row, "answer": answer} for row, answer in zip(rows, answers, strict=False)]
    # Twice, and each on a line of its own block, so that plain rows are together in some of them.
    source = write(tmp_path / "a.jsonl", *rows, *rows)

    def outcome() -> tuple[int, list[Row]]:
        for side in ("train", "val"):
            (tmp_path / f"{side}.parquet").unlink(missing_ok=True)
        code = run(source, tmp_path, *options)
        return code, [row for path in sorted(tmp_path.glob("*.parquet")) for row in pq.read_table(path).to_pylist()]

    with monkeypatch.context() as patch:
        patch.setattr(sample_columns, "_plain_texts", lambda columns, plan: None)
        patch.setattr(sample_columns, "_plain_chats", lambda columns, plan: None)
        expected = outcome()
    for size in (1, 100, 10_000):
        with monkeypatch.context() as patch:
            patch.setattr(conversion, "json_blocks", lambda path, default, size=size: json_blocks(path, size))
            assert outcome() == expected


NAMES = [*conversion_plan.ASKED, "input", "metadata", "extra_info", "env", "index", "ability", "tools", "loss_mask"]
INNER = ["env", "index", "challenge", "ground_truth", "style", "tools_kwargs", "level"]
LOOSE = VALUES | TURNS | st.dictionaries(st.sampled_from(INNER), VALUES, max_size=3) | st.sampled_from(["a", "b"])


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.dictionaries(st.sampled_from(sorted(NAMES)), LOOSE, max_size=5), min_size=1, max_size=5),
    options=st.lists(st.sampled_from(["--format=sft", "--system=Be brief.", "--val-ratio=0.4"]), unique=True),
)
def test_any_objects_are_converted_or_refused_and_all_rows_accounted_for(
    tmp_path: Path, capsys: Any, rows: list[Row], options: list[str]
) -> None:
    rows = [*rows, {"prompt": "2+2?", "answer": "4"}, {"prompt": "3+3?", "answer": "6"}]
    code = run(write(tmp_path / "a.jsonl", *rows), tmp_path, *options)
    out = capsys.readouterr().out
    assert code in (0, 2)
    written = sum(int(number) for number in re.findall(r"^wrote (\d+) rows", out, re.MULTILINE))
    left_out = sum(int(number) for number in re.findall(r"^left out (\d+) rows", out, re.MULTILINE))
    assert code == 2 or (written > 0 and written + left_out == len(rows))


@pytest.mark.parametrize("layout", ["rl", "sft"])
@pytest.mark.parametrize(
    "row", [{"prompt": "2+2?", "answer": "4"}, {"prompt": [USER], "answer": "4"}, {"messages": CHAT}]
)
def test_plain_rows_are_not_read_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, row: Row, layout: str
) -> None:
    monkeypatch.setattr(sample_columns, "read_sample", None)
    assert len(convert(tmp_path, [row] * 3, "--format", layout)) == 3


# --- who reads it


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(env_adapter.REGISTRY, "toy", "toy_eval_env:ToyAdapter")


@pytest.mark.parametrize("layout", ["plain", "rl"])
@pytest.mark.parametrize("answers", ["reference", "none"])
def test_generated_tasks_are_scored_by_their_environment(tmp_path: Path, toy: None, layout: str, answers: str) -> None:
    source = tmp_path / "tasks.jsonl"
    arguments = ["--env", "toy", "--output", str(source), "--format", layout, "--answers", answers]
    assert generate_dataset.main(arguments) == 0
    assert run(source, tmp_path) == 0
    rows = rows_of(tmp_path)
    assert len(rows) == 32
    spec = importlib.util.spec_from_file_location("reward_manager", TOOLS / "reward-manager.py")
    reward_manager = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(reward_manager)
    for row in rows:
        challenge = Challenge.from_json(row["extra_info"]["challenge"])
        truth = str(challenge.extra["sum"])
        assert challenge == ToyAdapter().generate(row["extra_info"]["task_id"])
        assert row["prompt"] == challenge.messages
        assert row["reward_model"] == {"style": "rule", "ground_truth": truth if answers == "reference" else ""}
        for text, score in ((truth, 1.0), ("no", 0.0)):
            assert reward_manager.compute_score(row["data_source"], text, "", row["extra_info"])["score"] == score


def test_generated_chats_become_the_same_chats(tmp_path: Path, toy: None) -> None:
    source = tmp_path / "tasks.jsonl"
    assert generate_dataset.main(["--env", "toy", "--output", str(source), "--format", "messages"]) == 0
    assert run(source, tmp_path, "--format", "sft") == 0
    rows = rows_of(tmp_path)
    made = [json.loads(line) for line in source.read_text().splitlines()]
    assert [row["messages"] for row in rows] == [row["messages"] for row in made]
    assert [row["extra_info"]["task_id"] for row in rows] == [row["task_id"] for row in made]
    assert {row["extra_info"]["env"] for row in rows} == {"toy"}


@pytest.mark.slow
def test_verls_own_dataset_reads_the_file(tmp_path: Path, tiny: Path) -> None:
    from omegaconf import OmegaConf
    from transformers import AutoTokenizer
    from verl.utils.dataset.rl_dataset import RLHFDataset, collate_fn

    rows = [{**EXAMPLE, "prompt": f"{number}+2?", "answer": number + 2} for number in range(20)]
    convert(tmp_path, rows, "--val-ratio", "0.2", "--shuffle", "--system", "Be brief.")
    limits = {"max_prompt_length": 64, "filter_overlong_prompts_workers": 1}
    config = OmegaConf.create({**limits, "cache_dir": str(tmp_path)})
    files = [str(tmp_path / f"out/{side}.parquet") for side in ("train", "val")]
    dataset = RLHFDataset(files, AutoTokenizer.from_pretrained(tiny), config)
    assert len(dataset) == 20
    batch = collate_fn([dataset[index] for index in range(20)])
    assert sorted(batch["index"]) == list(range(20))
    for item in map(dataset.__getitem__, range(20)):
        prompt, truth = item["raw_prompt"], item["reward_model"]["ground_truth"]
        assert [turn["role"] for turn in prompt] == ["system", "user"]
        assert truth == str(int(prompt[1]["content"].partition("+")[0]) + 2)
        assert item["data_source"] == "sums"


@pytest.mark.parametrize("chat", [False, True])
def test_the_sft_trainers_reader_reads_the_file(tmp_path: Path, chat: bool) -> None:
    rows = [{"messages": CHAT} if chat else {"prompt": "2+2?", "response": "4"}]
    convert(tmp_path, rows, "--format", "sft")
    schema = pq.read_schema(tmp_path / "out/train.parquet")
    layout = choose_layout(schema, ColumnNames(), "train.parquet")
    conversation = read_conversation(rows_of(tmp_path / "out")[0], layout)
    assert conversation.messages == CHAT
    assert conversation.trained == (False, True)
    assert schema.names == (["messages"] if chat else ["prompt", "response"]) + ["extra_info"]
    assert not chat or schema.field("messages").type == MESSAGES


def test_a_survey_knows_what_another_one_saw(tmp_path: Path) -> None:
    blocks = [write(tmp_path / f"{n}.jsonl", row) for n, row in enumerate([{"a": 1}, {"a": 1, "b": "x"}, {"a": "x"}])]
    surveys = [conversion.survey_block(next(json_blocks(path, 1 << 20))) for path in blocks]
    total = field_survey.Survey()
    for number, survey in enumerate(surveys):
        assert not total.covers(survey)
        total.add(survey)
        assert all(total.covers(seen) for seen in surveys[: number + 1])
    assert total.kinds == {("a",): {"integer", "text"}, ("b",): {"absent", "text"}}
