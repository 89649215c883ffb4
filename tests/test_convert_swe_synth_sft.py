"""data_processing/convert_swe_synth_sft.py on rows of SWE-Synth's shape: what is kept, split, cut and counted."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import convert_swe_synth_sft
from row_io import row_source
from row_io.row_digests import SeenDigests, row_digests
from swe_synth import run_table
from swe_synth.run_table import TRAIN, VAL, RunTable

SCRIPT = Path(convert_swe_synth_sft.__file__)
SYSTEM = "You are an autonomous programmer in a shell."
TASK = "<task>\nTypeError in parse_options() when `extra` is None\n</task>"
PATCH = "diff --git a/opts.py b/opts.py\n--- a/opts.py\n+++ b/opts.py\n@@ -1 +1 @@\n-x\n+y = extra or {}\n"
Row = dict[str, Any]


def turns(calls: int, task: str = TASK, word: str = "step") -> list[Row]:
    """What one row holds after so many calls of the model."""
    messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": task}]
    for call in range(calls):
        messages.append({"role": "assistant", "content": f"<thoughts>{word} {call}</thoughts>\nViewCode opts.py"})
        messages.append({"role": "user", "content": f"Observation {call}:\n    def parse_options(extra):"})
    return messages[:-1]


def row(instance: str = "psf__requests-1", run: str = "moatless-0", calls: int = 2, **changed: Any) -> Row:
    messages = turns(calls, f"{TASK} {instance}")
    return {"instance_id": instance, "messages": messages, "model_patch": PATCH, "run_name": run, **changed}


def run_of(instance: str, run: str = "moatless-0", calls: int = 3, patch: str | None = None) -> list[Row]:
    """All rows of one run: one for each call."""
    patch = patch or f"{PATCH}# {instance} {run}\n"
    return [row(instance, run, number, model_patch=patch) for number in range(1, calls + 1)]


def write(path: Path, rows: Sequence[Row], schema: pa.Schema | None = None) -> Path:
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    else:
        pq.write_table(pa.Table.from_pylist(list(rows), schema), path, row_group_size=7)
    return path


def convert(source: Path, output: Path, *arguments: str) -> int:
    return convert_swe_synth_sft.main(["--dataset", str(source), "--output-dir", str(output), *arguments])


def rows_of(output: Path, side: str = "train") -> list[Row]:
    return pq.read_table(output / f"swe_synth_sft_{side}.parquet").to_pylist()


def left_out(text: str) -> dict[str, int]:
    """The summary's reasons and numbers."""
    return {reason: int(number.replace(",", "")) for number, reason in re.findall(r"^ +([\d,]+)  (.+)$", text, re.M)}


def account(text: str) -> tuple[int, int]:
    """(rows read, rows written or left out)."""
    read = int(re.search(r"^read ([\d,]+) rows", text, re.M)[1].replace(",", ""))
    written = sum(int(number.replace(",", "")) for number in re.findall(r"^wrote ([\d,]+) rows", text, re.M))
    return read, written + sum(left_out(text).values())


# --- what a row becomes


@pytest.mark.parametrize("name", ["a.parquet", "a.jsonl"])
def test_a_run_becomes_one_row_of_the_task_and_the_patch(tmp_path: Path, capsys: Any, name: str) -> None:
    source = write(tmp_path / name, run_of("psf__requests-1", calls=4))
    assert convert(source, tmp_path) == 0
    (made,) = rows_of(tmp_path)
    assert list(made) == ["prompt", "response", "instance_id", "run_name"]
    assert made["prompt"] == f"System:\n{SYSTEM}\n\nUser:\n{TASK} psf__requests-1"
    assert made["response"] == f"{PATCH}# psf__requests-1 moatless-0\n"
    assert (made["instance_id"], made["run_name"]) == ("psf__requests-1", "moatless-0")
    assert left_out(capsys.readouterr().out) == {"a longer row of the same run is kept": 3}
    assert not (tmp_path / "swe_synth_sft_val.parquet").exists()


def test_one_turn_before_the_answer_is_the_prompt_as_it_is(tmp_path: Path) -> None:
    messages = [{"role": "system", "content": "  "}, *turns(2)[1:]]
    assert convert(write(tmp_path / "a.parquet", [row(messages=messages)]), tmp_path) == 0
    assert rows_of(tmp_path)[0]["prompt"] == TASK


@pytest.mark.parametrize("name", ["a.parquet", "a.jsonl"])
def test_messages_are_the_whole_longest_trajectory(tmp_path: Path, name: str) -> None:
    rows = run_of("a__a-1", calls=3) + run_of("b__b-2", "moatless-1", calls=2)
    random.Random(1).shuffle(rows)
    assert convert(write(tmp_path / name, rows), tmp_path, "--format", "messages") == 0
    made = {(made["instance_id"], made["run_name"]): made["messages"] for made in rows_of(tmp_path)}
    assert made == {
        ("a__a-1", "moatless-0"): turns(3, f"{TASK} a__a-1"),
        ("b__b-2", "moatless-1"): turns(2, f"{TASK} b__b-2"),
    }
    assert list(rows_of(tmp_path)[0]) == ["messages", "instance_id", "run_name"]


CALL = {"id": "call_1", "type": "function", "function": {"name": "view", "arguments": '{"path": "opts.py"}'}}


@pytest.mark.parametrize("name", ["a.parquet", "a.jsonl"])
def test_tool_calls_are_kept_and_null_content_with_them_is_no_fault(tmp_path: Path, name: str) -> None:
    messages = [
        *turns(1)[:2],
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "content": "", "tool_call_id": "call_1"},
        {"role": "assistant", "content": "Done."},
        {"role": "assistant", "content": "", "reasoning_content": "Was it right?"},
    ]
    assert convert(write(tmp_path / name, [row(messages=messages)]), tmp_path, "--format", "messages") == 0
    (made,) = rows_of(tmp_path)
    kept = [{key: value for key, value in turn.items() if value is not None} for turn in made["messages"]]
    expected = [{key: value for key, value in turn.items() if value is not None} for turn in messages]
    assert kept == expected


@pytest.mark.parametrize(
    "late", [{"tool_calls": [CALL]}, {"content": [{"type": "text", "text": "z"}]}], ids=["calls", "blocks"]
)
def test_what_only_a_late_row_has_is_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any, late: Row
) -> None:
    monkeypatch.setattr(row_source, "BLOCK_BYTES", 3000)
    last = row("z__z-1", messages=[*turns(1), {"role": "user", "content": "?"}, {"role": "assistant", **late}])
    rows = [part for i in range(9) for part in run_of(f"a__a-{i}")] + [last]
    assert convert(write(tmp_path / "a.jsonl", rows), tmp_path, "--format", "messages") == 0
    made = rows_of(tmp_path)
    assert len(made) == 10
    spoken = made[-1]["messages"][-1]
    assert spoken["content"] == ("z" if "content" in late else None)
    assert spoken.get("tool_calls") == late.get("tool_calls")
    assert left_out(capsys.readouterr().out) == {"a longer row of the same run is kept": 18}


def test_a_column_that_only_late_rows_have_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_source, "BLOCK_BYTES", 2000)
    rows = [row(f"a__a-{i}") for i in range(20)]
    for early in rows[:10]:
        del early["model_patch"]
    rows[15]["model_patch"] = 7
    assert convert(write(tmp_path / "a.jsonl", rows), tmp_path) == 0
    assert len(rows_of(tmp_path)) == 9


BLOCKS = [{"type": "text", "text": "TypeError in "}, {"type": "text", "text": "parse()"}]


@pytest.mark.parametrize(
    ("name", "others"),
    [
        ("a.parquet", [{"type": "text", "text": "I look."}]),
        ("a.jsonl", [{"type": "text", "text": "I look."}]),
        ("a.jsonl", "I look."),
    ],
    ids=["parquet", "jsonl", "jsonl with text beside blocks"],
)
@pytest.mark.parametrize("layout", ["prompt-response", "messages"])
def test_a_list_of_text_blocks_is_its_text(tmp_path: Path, name: str, others: Any, layout: str) -> None:
    messages = [{"role": "user", "content": BLOCKS}, {"role": "assistant", "content": others}]
    assert convert(write(tmp_path / name, [row(messages=messages)]), tmp_path, "--format", layout) == 0
    (made,) = rows_of(tmp_path)
    if layout == "messages":
        said = [(turn["role"], turn["content"]) for turn in made["messages"]]
        assert said == [("user", "TypeError in parse()"), ("assistant", "I look.")]
    else:
        assert made["prompt"] == "TypeError in parse()"


def test_messages_may_be_json_text_in_a_column(tmp_path: Path) -> None:
    rows = [row(messages=json.dumps(turns(calls))) for calls in (1, 2)]
    assert convert(write(tmp_path / "a.parquet", rows), tmp_path, "--format", "messages") == 0
    (made,) = rows_of(tmp_path)
    assert [(turn["role"], turn["content"]) for turn in made["messages"]] == [
        (turn["role"], turn["content"]) for turn in turns(2)
    ]


@pytest.mark.parametrize("layout", ["prompt-response", "messages"])
def test_the_sft_dataset_reads_every_row(tmp_path: Path, layout: str) -> None:
    from sft.conversations import ColumnNames, choose_layout, read_conversation

    rows = run_of("a__a-1") + run_of("b__b-1")
    rows[2]["messages"] += [{"role": "assistant", "content": None, "tool_calls": [CALL]}]
    assert convert(write(tmp_path / "a.parquet", rows), tmp_path, "--format", layout) == 0
    schema = pq.read_schema(tmp_path / "swe_synth_sft_train.parquet")
    chosen = choose_layout(schema, ColumnNames(), "train")
    for made in rows_of(tmp_path):
        conversation = read_conversation(made, chosen)
        trained = [turn for turn, learn in zip(conversation.messages, conversation.trained, strict=True) if learn]
        if layout == "prompt-response":
            assert [turn["content"] for turn in trained] == [made["response"]]
        else:
            assert trained == [turn for turn in conversation.messages if turn["role"] == "assistant"]


def test_the_same_text_under_another_name_is_written_once(tmp_path: Path, capsys: Any) -> None:
    rows = [row("a__a-1", f"run-{number}", messages=turns(1, word=f"w{number}")) for number in range(3)]
    assert convert(write(tmp_path / "a.parquet", rows), tmp_path) == 0
    assert [made["run_name"] for made in rows_of(tmp_path)] == ["run-0"]
    assert left_out(capsys.readouterr().out) == {"the same text as an earlier row": 2}
    assert convert(tmp_path / "a.parquet", tmp_path, "--format", "messages") == 0
    assert len(rows_of(tmp_path)) == 3
    copied = [row("a__a-1", "run-0"), row("b__b-1", "run-0", messages=row("a__a-1")["messages"])]
    assert convert(write(tmp_path / "b.parquet", copied), tmp_path, "--format", "messages") == 0
    assert len(rows_of(tmp_path)) == 1


# --- what is left out


FAULTS: dict[str, tuple[Row, str, str]] = {
    "no instance": ({"instance_id": None}, "instance_id is null or empty", "both"),
    "blank run": ({"run_name": " "}, "run_name is null or empty", "both"),
    "no patch": ({"model_patch": None}, "model_patch is null or empty", "prompt-response"),
    "blank patch": ({"model_patch": " \n"}, "model_patch is null or empty", "prompt-response"),
    "no messages": ({"messages": None}, "messages is null or empty", "both"),
    "empty messages": ({"messages": []}, "messages is null or empty", "both"),
    "no role": ({"messages": [{"role": None, "content": "x"}, *turns(1)]}, "a turn has no role", "both"),
    "another role": (
        {"messages": [*turns(1)[:2], {"role": "gpt", "content": "x"}]},
        "a turn has the unknown role 'gpt'",
        "both",
    ),
    "the answer first": ({"messages": turns(1)[2:]}, "messages begin with the assistant: there is no task", "both"),
    "no answer": ({"messages": turns(1)[:2]}, "messages have no assistant turn", "messages"),
    "no task": (
        {"messages": [{"role": "user", "content": None}, {"role": "assistant", "content": "x"}]},
        "prompt is empty",
        "both",
    ),
    "empty answer": (
        {"messages": [*turns(1), {"role": "user", "content": "x"}, {"role": "assistant", "content": " "}]},
        "an assistant turn is empty",
        "messages",
    ),
    "the patch in the task": (
        {"model_patch": PATCH, "messages": [{"role": "user", "content": f"Apply:\n{PATCH[50:]}\nnow"}, *turns(1)[2:]]},
        "the prompt holds the patch",
        "prompt-response",
    ),
}
JSON_FAULTS: dict[str, tuple[Row, str, str]] = {
    "numbers as patch": ({"model_patch": 7}, "model_patch is not text", "prompt-response"),
    "a number as name": ({"instance_id": 7}, "instance_id is not text", "both"),
    "text as messages": ({"messages": "Fix it."}, "messages is not a list of turns", "both"),
    "texts as messages": ({"messages": ["Fix it."]}, "messages is not a list of turns", "both"),
    "a number as role": ({"messages": [{"role": 1, "content": "x"}]}, "a turn's role is not text", "both"),
    "a number as content": ({"messages": [{"role": "user", "content": 1}]}, "a turn's content is not text", "both"),
    "an image": (
        {"messages": [{"role": "user", "content": [{"type": "image_url"}]}, *turns(1)[2:]]},
        "a turn's content is not text",
        "both",
    ),
    "a call of nothing": (
        {"messages": [*turns(1), {"role": "assistant", "tool_calls": [{"id": "1"}]}]},
        "a tool call has no function name",
        "both",
    ),
}


@pytest.mark.parametrize("layout", ["prompt-response", "messages"])
@pytest.mark.parametrize("name", ["a.parquet", "a.jsonl"])
def test_a_row_that_cannot_be_used_is_counted_and_never_written(
    tmp_path: Path, capsys: Any, name: str, layout: str
) -> None:
    faults = FAULTS if name == "a.parquet" else FAULTS | JSON_FAULTS
    good = [*run_of("good__good-1"), *run_of("good__good-2")]
    bad = [
        row(f"bad__bad-{number}", **{"model_patch": f"{PATCH}# {number}\n", **change})
        for number, (change, _, _) in enumerate(faults.values())
    ]
    rows = good + bad
    random.Random(0).shuffle(rows)
    assert convert(write(tmp_path / name, rows), tmp_path, "--format", layout, "--val-ratio", "0.5") == 0
    made = rows_of(tmp_path) + rows_of(tmp_path, "val")
    expected: dict[str, int] = {"a longer row of the same run is kept": 4}
    usable = {"good__good-1", "good__good-2"}
    for number, (_, reason, where) in enumerate(faults.values()):
        if where in (layout, "both"):
            expected[reason] = expected.get(reason, 0) + 1
        else:
            usable.add(f"bad__bad-{number}")
    out = capsys.readouterr().out
    assert left_out(out) == expected
    assert {made_row["instance_id"] for made_row in made} == usable
    read, accounted = account(out)
    assert read == accounted == len(rows)


def test_an_image_in_a_parquet_file_is_left_out(tmp_path: Path, capsys: Any) -> None:
    image = [{"type": "image_url", "text": None}]
    rows = [row("a__a-1", messages=[{"role": "user", "content": BLOCKS}, {"role": "assistant", "content": BLOCKS}])]
    rows.append(row("b__b-1", messages=[{"role": "user", "content": image}, {"role": "assistant", "content": BLOCKS}]))
    for layout in ("prompt-response", "messages"):
        assert convert(write(tmp_path / "a.parquet", rows), tmp_path, "--format", layout) == 0
        assert [made["instance_id"] for made in rows_of(tmp_path)] == ["a__a-1"]
        assert left_out(capsys.readouterr().out) == {"a turn's content is not text": 1}


# --- lengths


def test_a_long_prompt_loses_its_middle_and_says_so(tmp_path: Path, capsys: Any) -> None:
    task = "START " + "x" * 5000 + " END"
    assert (
        convert(
            write(tmp_path / "a.parquet", [row(messages=turns(1, task)[1:])]), tmp_path, "--max-chars-prompt", "300"
        )
        == 0
    )
    prompt = rows_of(tmp_path)[0]["prompt"]
    assert len(prompt) <= 300 and prompt.startswith("START x") and prompt.endswith("x END")
    kept, lost = (
        prompt.count("x"),
        int(re.search(r"\n\[… ([\d,]+) characters left out …\]\n", prompt)[1].replace(",", "")),
    )
    assert kept + lost == 5000 + prompt.count("x") - kept and "cut 1 prompts" in capsys.readouterr().out
    assert convert(tmp_path / "a.parquet", tmp_path, "--max-chars-prompt", "300", "--long-prompts", "drop") == 2
    assert "1 × prompt of more than 300 characters" in capsys.readouterr().err


def test_a_long_patch_is_dropped_unless_it_may_be_cut(tmp_path: Path, capsys: Any) -> None:
    rows = [row("a__a-1"), row("b__b-1", model_patch=PATCH + "+" * 500)]
    source = write(tmp_path / "a.parquet", rows)
    limit = ["--max-chars-response", "200"]
    assert convert(source, tmp_path, *limit) == 0
    assert [made["response"] for made in rows_of(tmp_path)] == [PATCH]
    assert left_out(capsys.readouterr().out) == {"response of more than 200 characters": 1}
    assert convert(source, tmp_path, *limit, "--long-responses", "cut") == 0
    assert [made["response"] for made in rows_of(tmp_path)] == [PATCH, (PATCH + "+" * 500)[:200]]
    assert "cut 1 responses" in capsys.readouterr().out
    assert convert(source, tmp_path, *limit, "--max-chars-prompt", "60") == 0
    assert "cut 1 prompts" in capsys.readouterr().out  # that of the row that was dropped does not count


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A byte-level tokenizer with a few merges, as real ones are."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator([SYSTEM, TASK, PATCH] * 5, trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet))
    directory = tmp_path_factory.mktemp("tokenizer")
    made.save(str(directory / "tokenizer.json"))
    return directory


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=400).map(lambda text: f"a{text}b"),
    st.integers(1, 120),
    st.booleans(),
)
def test_a_cut_text_never_has_more_than_its_tokens_or_characters(
    tokenizer: Path, text: str, limit: int, in_tokens: bool
) -> None:
    from swe_synth.length_limits import CUT, LengthLimit, load_tokenizer

    loaded = load_tokenizer(str(tokenizer))
    for what in ("prompt", "response"):
        rule = LengthLimit(what, None if in_tokens else limit, limit if in_tokens else None, CUT, loaded)

        def size(value: str) -> int:
            return len(loaded.encode(value, add_special_tokens=False)) if in_tokens else len(value)

        (kept,) = rule.apply([text])
        if size(text) <= limit:
            assert kept == text
        elif kept is not None:
            assert size(kept) <= limit
            head, mark, tail = kept.partition("\n[… ")
            assert text.startswith(head)
            assert not mark or text.endswith(tail.partition(" characters left out …]\n")[2])
            if what == "response":
                assert text.startswith(kept)


def test_tokens_are_those_of_the_tokenizer(tmp_path: Path, tokenizer: Path, capsys: Any) -> None:
    from swe_synth.length_limits import load_tokenizer

    task = f"START {TASK * 40} END"
    source = write(tmp_path / "a.parquet", [row("a__a-1", messages=turns(1, task)[1:])])
    arguments = ["--tokenizer", str(tokenizer), "--max-tokens-prompt", "100"]
    assert convert(source, tmp_path, *arguments) == 0
    prompt = rows_of(tmp_path)[0]["prompt"]
    assert 60 < len(load_tokenizer(str(tokenizer)).encode(prompt)) <= 100
    assert prompt.startswith("START") and prompt.endswith("END") and "characters left out" in prompt
    assert convert(source, tmp_path, "--tokenizer", str(tokenizer), "--max-tokens-response", "5") == 2
    assert "response of more than 5 tokens" in capsys.readouterr().err


def test_a_tokenizer_that_would_cut_what_it_counts_does_not(tmp_path: Path, tokenizer: Path) -> None:
    from tokenizers import Tokenizer

    from swe_synth.length_limits import load_tokenizer

    cutting = Tokenizer.from_file(str(tokenizer / "tokenizer.json"))
    cutting.enable_truncation(3)
    cutting.enable_padding(length=9)
    cutting.save(str(tmp_path / "tokenizer.json"))
    for text in (TASK, "x"):
        assert len(load_tokenizer(str(tmp_path)).encode(text)) == len(load_tokenizer(str(tokenizer)).encode(text))


@pytest.mark.slow
def test_a_model_with_an_older_tokenizer_file_will_do(tmp_path: Path, tokenizer: Path) -> None:
    from swe_synth.length_limits import load_tokenizer

    made = json.loads((tokenizer / "tokenizer.json").read_text())["model"]
    (tmp_path / "vocab.json").write_text(json.dumps(made["vocab"]))
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in made["merges"]]
    (tmp_path / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n")
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "GPT2Tokenizer"}')
    assert load_tokenizer(str(tmp_path)).encode(TASK).ids == load_tokenizer(str(tokenizer)).encode(TASK).ids


# --- splitting and sampling


runs = st.lists(
    st.tuples(st.integers(0, 12), st.integers(0, 2), st.integers(1, 4)),
    min_size=1,
    max_size=30,
    unique_by=lambda r: r[:2],
)


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(runs, st.sampled_from([0.05, 0.3, 0.9]), st.integers(0, 3), st.randoms(use_true_random=False))
def test_no_instance_is_on_both_sides_whatever_the_order(
    tmp_path: Path, made_runs: list[tuple[int, int, int]], ratio: float, seed: int, order: random.Random
) -> None:
    rows = [part for i, r, calls in made_runs for part in run_of(f"repo__repo-{i}", f"run-{r}", calls)]
    instances = {made_row["instance_id"] for made_row in rows}
    found = []
    for _ in range(2):
        order.shuffle(rows)
        write(tmp_path / "a.parquet", rows)
        code = convert(tmp_path / "a.parquet", tmp_path, "--val-ratio", str(ratio), "--seed", str(seed))
        assert code == (0 if len(instances) > 1 else 2)
        if code:
            return
        sides = {side: rows_of(tmp_path, side) for side in ("train", "val")}
        names = {side: {(r["instance_id"], r["run_name"]) for r in made} for side, made in sides.items()}
        assert not {name for name, _ in names["train"]} & {name for name, _ in names["val"]}
        assert names["train"] and names["val"]
        assert sorted(len(made) for made in sides.values()) == sorted(map(len, names.values()))
        assert names["train"] | names["val"] == {(f"repo__repo-{i}", f"run-{r}") for i, r, _ in made_runs}
        found.append(names)
    assert found[0] == found[1]


def test_an_instance_stays_on_its_side_when_others_come(tmp_path: Path) -> None:
    def sides(number: int) -> dict[str, str]:
        rows = [row(f"repo__repo-{i}") for i in range(number)]
        assert convert(write(tmp_path / "a.parquet", rows), tmp_path, "--val-ratio", "0.2") == 0
        return {made["instance_id"]: side for side in ("train", "val") for made in rows_of(tmp_path, side)}

    few, many = sides(200), sides(400)
    assert {name: side for name, side in many.items() if name in few} == few
    assert 50 < sum(side == "val" for side in many.values()) < 110  # 80 expected


def test_the_same_seed_gives_the_same_bytes_and_another_one_other_sides(tmp_path: Path) -> None:
    source = write(tmp_path / "a.parquet", [row(f"repo__repo-{i}") for i in range(60)])
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        assert convert(source, tmp_path / name, "--val-ratio", "0.3", "--seed", seed) == 0
    for side in ("train", "val"):
        file = f"swe_synth_sft_{side}.parquet"
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    assert rows_of(tmp_path / "a", "val") != rows_of(tmp_path / "c", "val")


def test_a_sample_depends_on_the_seed_and_not_on_the_order(tmp_path: Path, capsys: Any) -> None:
    rows = [part for i in range(30) for part in run_of(f"repo__repo-{i}", calls=2)]
    chosen = []
    for seed in ("1", "1", "2"):
        random.Random(len(chosen)).shuffle(rows)
        source = write(tmp_path / "a.parquet", rows)
        assert convert(source, tmp_path, "--max-samples", "10", "--seed", seed, "--val-ratio", "0.2") == 0
        chosen.append({made["instance_id"] for side in ("train", "val") for made in rows_of(tmp_path, side)})
        out = capsys.readouterr().out
        assert left_out(out)["left out by --max-samples"] == 20 and account(out)[0] == account(out)[1]
    assert len(chosen[0]) == 10 and chosen[0] == chosen[1] != chosen[2]


@pytest.mark.parametrize("seed", range(6))
def test_rows_found_bad_late_are_replaced_and_leave_no_side_empty(tmp_path: Path, capsys: Any, seed: int) -> None:
    bad = [row(f"bad__bad-{i}", messages=[{"role": "user", "content": ""}, *turns(1)[2:]]) for i in range(20)]
    good = [row(f"good__good-{i}") for i in range(4)]
    source = write(tmp_path / "a.parquet", bad + good)
    arguments = ["--val-ratio", "0.1", "--seed", str(seed)]
    assert convert(source, tmp_path, *arguments, "--max-samples", "3") == 0
    assert sorted([len(rows_of(tmp_path)), len(rows_of(tmp_path, "val"))]) == [1, 2]
    capsys.readouterr()
    assert convert(source, tmp_path, *arguments) == 0
    out = capsys.readouterr().out
    assert len(rows_of(tmp_path)) + len(rows_of(tmp_path, "val")) == 4 and rows_of(tmp_path, "val")
    assert left_out(out) == {"prompt is empty": 20}


def test_both_sides_have_an_instance_for_every_ratio() -> None:
    for ratio in (1e-9, 0.5, 1 - 1e-9):
        for number in (2, 3, 50):
            table = RunTable(seed=0)
            names = [f"i{i}" for i in range(number)]
            table.add(names, ["r"] * number, np.ones(number), np.ones(number, bool))
            sides = table.plan(ratio, None).sides
            assert {TRAIN, VAL} == set(sides.tolist())


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 2), st.integers(1, 5), st.booleans()), max_size=40))
def test_the_longest_usable_row_of_each_run_is_found_in_parts_too(rows: list[tuple[int, int, int, bool]]) -> None:
    table = RunTable(seed=0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_table, "ROWS_AT_A_TIME", 5)
        for start in range(0, len(rows), 3):
            instances, names, lengths, usable = zip(*rows[start : start + 3], strict=True)
            table.add([f"i{i}" for i in instances], [f"r{r}" for r in names], np.array(lengths), np.array(usable))
    longest: dict[tuple[int, int], int] = {}
    for number, (instance, run, length, usable) in enumerate(rows):
        if usable and ((instance, run) not in longest or length > rows[longest[instance, run]][2]):
            longest[instance, run] = number
    sides = table.plan(0, None).sides.tolist()
    assert {number for number, side in enumerate(sides) if side == TRAIN} == set(longest.values())
    assert (len(sides), table.num_runs) == (len(rows), len(longest))
    assert table.num_shorter == sum(usable for _, _, _, usable in rows) - len(longest)


nested = st.lists(
    st.lists(
        st.fixed_dictionaries(
            {
                "t": st.none() | st.text("ab", max_size=2),
                "n": st.none() | st.lists(st.none() | st.integers(0, 1), max_size=2),
            }
        ),
        max_size=2,
    )
    | st.none(),
    min_size=1,
    max_size=8,
)


@given(nested, st.integers(0, 8))
def test_digests_are_equal_where_rows_are(values: list[Any], start: int) -> None:
    kind = pa.list_(pa.struct([("t", pa.string()), ("n", pa.list_(pa.int64()))]))
    digests = row_digests(pa.array(values, kind)).tolist()
    assert row_digests(pa.array(values, kind).slice(start)).tolist() == digests[start:]
    for value, digest in zip(values, digests, strict=True):
        for other, other_digest in zip(values, digests, strict=True):
            assert (value == other) == (digest == other_digest)


@given(st.lists(st.lists(st.integers(0, 30), max_size=9), max_size=30))
def test_what_was_seen_is_known_again(batches: list[list[int]]) -> None:
    seen, known = SeenDigests(), set()
    for batch in batches:
        expected = []
        for digest in batch:
            expected.append(digest in known)
            known.add(digest)
        assert seen.add(np.array(batch, np.uint64)).tolist() == expected


# --- what the user can mend


def columns_without(name: str) -> Callable[[Path], Path]:
    return lambda folder: write(folder / "a.parquet", [{key: value for key, value in row().items() if key != name}])


def two_files(folder: Path) -> Path:
    write(folder / "a.parquet", [row()])
    write(folder / "b.parquet", [row(instance_id=1)])
    return folder


def cut_short(folder: Path) -> Path:
    path = write(folder / "a.parquet", [row()])
    path.write_bytes(path.read_bytes()[:-9])
    return path


GOOD: Callable[[Path], Path] = lambda folder: write(folder / "a.parquet", [row("a__a-1"), row("b__b-1")])  # noqa: E731


@pytest.mark.parametrize(
    ("make", "arguments", "words"),
    [
        (
            columns_without("model_patch"),
            [],
            "has no column model_patch; its columns are instance_id, messages, run_name",
        ),
        (columns_without("run_name"), ["--format", "messages"], "has no column run_name"),
        (
            lambda d: write(d / "a.parquet", [row(model_patch=7)]),
            [],
            "column model_patch is int64, where text is needed",
        ),
        (
            lambda d: write(d / "a.parquet", [row(messages=[1])]),
            [],
            "column messages is list<item: int64>, where a list of role",
        ),
        (
            lambda d: write(d / "a.parquet", [row(messages=[{"role": "user", "content": 1}])]),
            [],
            "content of messages is int64",
        ),
        (two_files, [], "column instance_id is string in"),
        (cut_short, [], "it was cut short"),
        (lambda d: d / "none.parquet", [], "is not there"),
        (
            lambda d: write(d / "a.parquet", [row(model_patch=None)] * 3),
            [],
            "no row of 3 can be used (3 × model_patch is null",
        ),
        (
            lambda d: write(d / "a.parquet", [], pa.Table.from_pylist([row()]).schema),
            [],
            "no row of 0 can be used (it is empty)",
        ),
        (lambda d: write(d / "a.jsonl", []), [], "has no column instance_id"),
        (lambda d: write(d / "a.parquet", [row(messages=None)] * 2), [], "(2 × messages is null or empty)"),
        (
            lambda d: write(d / "a.parquet", [row(messages=None)] * 2),
            ["--format", "messages"],
            "(2 × messages is null or empty)",
        ),
        (lambda d: write(d / "a.parquet", [row("a__a-1")]), ["--val-ratio", "0.5"], "are all of one instance"),
        (GOOD, ["--val-ratio", "0.5", "--max-samples", "1"], "raise --max-samples"),
        (GOOD, ["--val-ratio", "1"], "--val-ratio 1.0: at least 0 and less than 1"),
        (GOOD, ["--val-ratio", "-0.1"], "--val-ratio -0.1: at least 0"),
        (GOOD, ["--val-ratio", "nan"], "--val-ratio nan: at least 0"),
        (GOOD, ["--max-samples", "0"], "--max-samples 0: at least 1"),
        (GOOD, ["--max-chars-prompt", "0"], "--max-chars-prompt 0: at least 1"),
        (GOOD, ["--max-tokens-prompt", "9"], "--max-tokens-prompt needs --tokenizer"),
        (GOOD, ["--tokenizer", "x"], "--tokenizer does nothing without"),
        (GOOD, ["--tokenizer", str(SCRIPT.parent), "--max-tokens-prompt", "9"], "tokenizer.json cannot be read"),
        (
            GOOD,
            ["--format", "messages", "--max-chars-prompt", "9"],
            "--max-chars-prompt is for --format prompt-response",
        ),
        (GOOD, ["--output", "x.parquet"], "--output and --output-dir are both given"),
        (GOOD, ["--max-chars-response", "9"], "2 × response of more than 9 characters"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_the_user_can_mend_is_one_line_and_no_file(
    tmp_path: Path, capsys: Any, make: Callable[[Path], Path], arguments: list[str], words: str
) -> None:
    (tmp_path / "in").mkdir()
    assert convert(make(tmp_path / "in"), tmp_path / "out", *arguments) == 2
    captured = capsys.readouterr()
    (line,) = [line for line in captured.err.splitlines() if line.startswith("convert_swe_synth_sft:")]
    assert words in line
    assert not captured.out
    assert not list((tmp_path / "out").glob("**/*")) if (tmp_path / "out").exists() else True


def test_one_output_file_goes_without_validation(tmp_path: Path, capsys: Any) -> None:
    source = GOOD(tmp_path)
    main = convert_swe_synth_sft.main
    assert main(["--dataset", str(source), "--output", str(tmp_path / "x.parquet")]) == 0
    assert pq.read_metadata(tmp_path / "x.parquet").num_rows == 2
    assert main(["--dataset", str(source), "--output", str(tmp_path / "y.parquet"), "--val-ratio", "0.5"]) == 2
    assert "--output is one file, and --val-ratio 0.5 makes two: give --output-dir" in capsys.readouterr().err
    before = source.read_bytes()
    assert main(["--dataset", str(source), "--output", str(source)]) == 2
    assert "is also an input" in capsys.readouterr().err and source.read_bytes() == before
    assert main(["--dataset", str(source), "--output", str(tmp_path)]) == 2
    assert "is a directory" in capsys.readouterr().err


def test_a_validation_file_of_an_earlier_run_is_spoken_of(tmp_path: Path, capsys: Any) -> None:
    source = GOOD(tmp_path)
    assert convert(source, tmp_path, "--val-ratio", "0.5") == 0
    assert "earlier run" not in capsys.readouterr().err
    assert convert(source, tmp_path) == 0
    assert "swe_synth_sft_val.parquet is of an earlier run" in capsys.readouterr().err


def test_a_fault_late_in_the_input_keeps_the_earlier_files(tmp_path: Path) -> None:
    source = write(tmp_path / "a.parquet", [row(f"repo__repo-{i}") for i in range(300)])
    assert convert(source, tmp_path / "out", "--val-ratio", "0.1") == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    metadata = pq.ParquetFile(source).metadata
    data = bytearray(source.read_bytes())
    column = metadata.row_group(metadata.num_row_groups - 1).column(
        2
    )  # messages.content: the first pass passes it over
    assert column.path_in_schema.endswith("content")
    data[column.data_page_offset : column.data_page_offset + 40] = b"\xff" * 40
    source.write_bytes(data)
    assert convert(source, tmp_path / "out", "--val-ratio", "0.1") == 2
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL, signal.SIGTERM], ids=lambda end: end.name)
def test_a_run_that_is_ended_leaves_no_file_under_the_final_names(tmp_path: Path, end: signal.Signals) -> None:
    noise = np.random.default_rng(0)
    schema = pa.Table.from_pylist([row()]).schema
    with pq.ParquetWriter(tmp_path / "a.parquet", schema) as writer:
        for part in range(10):
            rows = [row(f"i-{part}-{i}", messages=turns(1, noise.bytes(20_000).hex())) for i in range(100)]
            writer.write_table(pa.Table.from_pylist(rows, schema))
    out = tmp_path / "out"
    command = [sys.executable, str(SCRIPT), "--dataset", str(tmp_path / "a.parquet"), "--format", "messages"]
    command += ["--output-dir", str(out), "--val-ratio", "0.1"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not (out.is_dir() and any(path.stat().st_size for path in out.glob(".*partial*"))):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(end)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == (130 if end == signal.SIGINT else -end)
    assert not list(out.glob("*.parquet"))
    if end == signal.SIGINT:
        assert "interrupted, nothing was written" in errors and not list(out.iterdir())


def test_runs_alone_from_another_folder_without_torch(tmp_path: Path) -> None:
    source = GOOD(tmp_path)
    code = f"""
import runpy, sys
sys.path.insert(0, {str(SCRIPT.parent)!r})
sys.argv = ["convert", "--dataset", {str(source)!r}, "--output", "x.parquet"]
try:
    runpy.run_path({str(SCRIPT)!r}, run_name="__main__")
except SystemExit as end:
    assert end.code == 0
assert not {{"torch", "verl", "transformers", "datasets"}} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert re.search(r"^read 2 rows \(usable runs: 2, instances: 2\)$", done.stdout, re.M)
    assert pq.read_metadata(tmp_path / "x.parquet").num_rows == 2


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["prompt-response", "messages"])
def test_memory_does_not_grow_with_the_file(tmp_path: Path, layout: str) -> None:
    sys.path.insert(0, str(SCRIPT.parent.parent / "benchmarks"))
    from converters import make_input, measure

    peaks = []
    for size in (40e6, 320e6):
        source = tmp_path / "runs.parquet"
        make_input(source, size)
        command = [sys.executable, str(SCRIPT), "--dataset", str(source), "--output-dir", str(tmp_path / "out")]
        peaks.append(measure([*command, "--format", layout, "--val-ratio", "0.1"], dict(os.environ)).peak_mib)
    # Buffers still fill over the first hundred MB; 280 MB more of input must not show.
    assert peaks[1] - peaks[0] < 120 and max(peaks) < 500, peaks
