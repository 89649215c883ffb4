"""data_processing/convert_to_parquet.py as a run: the split, blocks, processes, refusals, files whole or not at all."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import convert_to_parquet
from json_conversion import conversion, conversion_plan
from json_conversion.json_blocks import json_blocks
from row_io import json_rows
from test_convert_to_parquet import CHAT, Row, refusal, rows_of, run, write

SCRIPT = Path(convert_to_parquet.__file__)
GOOD = {"prompt": "2+2?", "answer": "4"}


def tasks(number: int, **more: Any) -> list[Row]:
    return [{"prompt": f"{n}+2?", "answer": str(n + 2), **more} for n in range(number)]


def prompts_of(output: Path, side: str) -> list[str]:
    return [row["prompt"][-1]["content"] for row in rows_of(output, side)]


# --- the split


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    numbers=st.lists(st.integers(0, 9), min_size=2, max_size=30).filter(lambda numbers: len(set(numbers)) > 1),
    ratio=st.floats(0, 1, exclude_min=True, exclude_max=True),
    seed=st.integers(-(2**70), 2**70),
    shuffle=st.booleans(),
    layout=st.sampled_from(["rl", "sft"]),
)
def test_no_prompt_is_on_both_sides_and_no_side_is_empty(
    tmp_path: Path, numbers: list[int], ratio: float, seed: int, shuffle: bool, layout: str
) -> None:
    # The same prompt is written as a text and as a chat.
    user = [{"role": "user", "content": f"{number}+2?"} for number in numbers]
    rows = [{"prompt": [turn] if n % 2 else turn["content"], "answer": str(n)} for n, turn in enumerate(user)]
    options = ["--val-ratio", str(ratio), "--seed", str(seed), "--format", layout, *(["--shuffle"] if shuffle else [])]
    assert run(write(tmp_path / "a.jsonl", *rows), tmp_path, *options) == 0
    column = "prompt" if layout == "rl" else "messages"
    sides = [{row[column][0]["content"] for row in rows_of(tmp_path, side)} for side in ("train", "val")]
    assert all(sides) and not sides[0] & sides[1]
    written = [*rows_of(tmp_path, "train"), *rows_of(tmp_path, "val")]
    assert sorted(row["extra_info"]["index"] for row in written) == list(range(len(rows)))
    before = [(tmp_path / f"{side}.parquet").read_bytes() for side in ("train", "val")]
    assert run(tmp_path / "a.jsonl", tmp_path, *options) == 0
    assert [(tmp_path / f"{side}.parquet").read_bytes() for side in ("train", "val")] == before


def test_the_share_is_about_the_ratio_and_the_side_depends_on_the_prompt_and_the_seed_alone(tmp_path: Path) -> None:
    rows = tasks(2000)
    source = write(tmp_path / "a.jsonl", *rows)
    assert run(source, tmp_path / "a", "--val-ratio", "0.2") == 0
    random.Random(1).shuffle(rows)
    assert run(write(tmp_path / "b.jsonl", *rows, GOOD | {"prompt": "new"}), tmp_path / "b", "--val-ratio", "0.2") == 0
    assert run(source, tmp_path / "c", "--val-ratio", "0.2", "--seed", "1") == 0
    sides = [set(prompts_of(tmp_path / name, "val")) for name in "abc"]
    assert 350 < len(sides[0]) < 450
    assert sides[1] - {"new"} == sides[0]
    assert 50 < len(sides[0] & sides[2]) < 110  # 80 are expected of two independent draws


def test_chats_that_begin_alike_are_on_one_side(tmp_path: Path) -> None:
    more = [{"role": "user", "content": "Sure?"}, {"role": "assistant", "content": "Yes."}]
    chats = [[{"role": "user", "content": f"{n // 2}+2?"}, CHAT[1], *more[: n % 2 * 2]] for n in range(60)]
    source = write(tmp_path / "a.jsonl", *({"messages": chat} for chat in chats))
    assert run(source, tmp_path, "--val-ratio", "0.5", "--format", "sft") == 0
    sides = [[row["messages"][0]["content"] for row in rows_of(tmp_path, side)] for side in ("train", "val")]
    assert len(sides[0]) + len(sides[1]) == 60 and not set(sides[0]) & set(sides[1])


def test_a_shuffle_moves_rows_and_changes_none(tmp_path: Path) -> None:
    source = write(tmp_path / "a.jsonl", *tasks(300))
    assert run(source, tmp_path / "a") == 0
    assert run(source, tmp_path / "b", "--shuffle") == 0
    assert run(source, tmp_path / "c", "--shuffle", "--seed", "1") == 0
    plain, *mixed = (rows_of(tmp_path / name) for name in "abc")
    assert [row["extra_info"]["index"] for row in plain] == list(range(300))
    for rows in mixed:
        assert rows != plain
        assert sorted(rows, key=lambda row: row["extra_info"]["index"]) == plain
    assert mixed[0] != mixed[1]


# --- blocks and processes

SHAPES = st.sampled_from(
    [
        {"prompt": "1", "answer": "a"},
        {"prompt": "1", "answer": "a", "level": 1},
        {"prompt": "2", "answer": "b", "level": 0.5},
        {"prompt": "3", "answer": "c", "level": "high", "metadata": {"x": 1}},
        {"question": "4", "answer": "d", "metadata": {"x": None, "index": 3}},
        {"question": "5", "response": "e", "metadata": None},
        {"prompt": "", "answer": "f"},
        {"prompt": [{"role": "user", "content": "6"}], "answer": "g"},
        {"prompt": "7", "answer": None},
    ]
)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(SHAPES, min_size=1, max_size=12), block=st.integers(1, 200), layout=st.sampled_from(["rl", "sft"]))
def test_what_is_written_does_not_depend_on_where_blocks_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: list[Row], block: int, layout: str
) -> None:
    source = write(tmp_path / "a.jsonl", {"prompt": "0", "answer": "0"}, *rows)
    options = ["--format", layout, "--shuffle"]
    assert run(source, tmp_path, *options) == 0
    expected = pq.read_table(tmp_path / "train.parquet")
    with monkeypatch.context() as patch:
        # The first block, whose fields are looked at before anything is written, is as small as the others.
        patch.setattr(conversion, "json_blocks", lambda path, size: json_blocks(path, block))
        assert run(source, tmp_path, *options) == 0
    written = pq.read_table(tmp_path / "train.parquet")
    assert written.schema == expected.schema
    assert written.to_pylist() == expected.to_pylist()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    lines=st.lists(st.sampled_from([b"", b" ", b"{}", b'{"prompt": "12345"}', b"x\xc3\xa9" * 9]), max_size=20),
    end=st.sampled_from([b"", b"\n", b"\r\n", b"\n\n"]),
    mark=st.booleans(),
    size=st.integers(1, 60),
)
def test_blocks_are_whole_lines_and_know_their_numbers(
    tmp_path: Path, lines: list[bytes], end: bytes, mark: bool, size: int
) -> None:
    path = tmp_path / "a.jsonl"
    text = b"\n".join(lines) + end
    path.write_bytes((b"\xef\xbb\xbf" if mark else b"") + text)
    blocks = list(json_blocks(path, size))
    assert b"".join(block.read() for block in blocks) == text
    assert all(block.read().endswith(b"\n") for block in blocks[:-1])
    seen = 0
    for block in blocks:
        assert block.place(0) == f"{path}:{1 + seen}"
        seen += block.read().count(b"\n")
    assert sum(block.end - block.start for block in blocks) == len(text)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(good=st.integers(1, 30), bad=st.integers(1, 5), size=st.integers(1, 400))
def test_a_bad_line_is_named_whatever_block_it_is_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any, good: int, bad: int, size: int
) -> None:
    source = write(tmp_path / "a.jsonl", *tasks(good), *["no JSON"] * bad, *tasks(3))
    with monkeypatch.context() as patch:
        patch.setattr(conversion, "json_blocks", lambda path, default: json_blocks(path, size))
        assert run(source, tmp_path) == 2
        assert f"{source}:{good + 1}: not JSON: " in refusal(capsys)
        assert run(source, tmp_path, "--skip-bad-lines") == 0
    told = f"left out {bad} lines that hold no JSON object, the first at {source}:{good + 1}: not JSON: "
    assert told in capsys.readouterr().out


def test_a_line_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr(json_rows, "LONGEST_LINE", 1000)
    monkeypatch.setattr(conversion, "BLOCK_BYTES", 10)
    monkeypatch.setattr(conversion, "SAMPLE_BYTES", 10)
    source = write(tmp_path / "a.jsonl", *tasks(3), "x" * 2000)
    assert run(source, tmp_path) == 2
    assert "is this one object a line?" in refusal(capsys)


@pytest.mark.slow
def test_processes_write_the_same_bytes_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr(conversion, "BLOCK_BYTES", 1000)
    rows = [*tasks(500, level=1), {"prompt": "x"}, *tasks(100, level="high"), *tasks(100, other={"a": 1})]
    source = write(tmp_path / "a.jsonl", *rows, "no JSON", *tasks(10))
    options = ["--val-ratio", "0.1", "--shuffle", "--skip-bad-lines"]
    assert run(source, tmp_path / "one", *options) == 0
    told = capsys.readouterr().out.replace("/one/", "/two/")
    monkeypatch.setattr(conversion, "ONE_PROCESS_BYTES", 0)
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    assert run(source, tmp_path / "two", *options) == 0
    assert capsys.readouterr().out == told
    for side in ("train", "val"):
        assert (tmp_path / f"one/{side}.parquet").read_bytes() == (tmp_path / f"two/{side}.parquet").read_bytes()
    assert not list((tmp_path / "temporary").iterdir())


# --- what the user can mend


def with_text(text: str | bytes, name: str = "a.jsonl") -> Any:
    def make(tmp_path: Path) -> Path:
        path = tmp_path / "in" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return make


def with_rows(*rows: Any) -> Any:
    return lambda tmp_path: write(tmp_path / "in/a.jsonl", *rows)


def with_files(**files: Row) -> Any:
    def make(tmp_path: Path) -> Path:
        for name, row in files.items():
            write(tmp_path / f"in/{name}.jsonl", row)
        return tmp_path / "in"

    return make


LINE = json.dumps(GOOD)
WIDE = {f"field-{number}": 1 for number in range(600)}
REFUSED = {
    "no such input": (lambda tmp_path: tmp_path / "gone", [], "gone is not there: give a file or a"),
    "another kind of file": (with_text("x", "a.csv"), [], "a.csv: .csv extension; these are read: .jsonl, .json"),
    "a directory without such files": (
        lambda tmp_path: with_text("x", "a.csv")(tmp_path).parent,
        [],
        "holds no .jsonl",
    ),
    "files of two splits": (with_files(train=GOOD, test=GOOD), [], "train.jsonl (train), test.jsonl (test). Convert"),
    "an empty file": (with_text(""), [], "a.jsonl: no rows"),
    "blank lines only": (with_text("\n  \n\n"), [], "a.jsonl: no rows"),
    "an empty list": (with_text("[]", "a.json"), [], "a.json: no rows"),
    "a line that is no JSON": (with_text(f"{LINE}\n\n{LINE[:-1]}\n{LINE}\n"), [], "a.jsonl:3: not JSON: Input data"),
    "two objects in a line": (with_text(f"{LINE}{LINE}\n"), [], "a.jsonl:1: not JSON: "),
    "an object over two lines": (with_text(LINE.replace(", ", ",\n")), [], "a.jsonl:1: not JSON: "),
    "a line cut short": (with_text(f"{LINE}\n{LINE[:9]}"), [], "data was truncated (--skip-bad-lines"),
    "not a number": (with_text('{"prompt": "a", "x": NaN}'), [], "a.jsonl:1: not JSON: JSON is malformed"),
    "a line that is a list": (with_text(f"{LINE}\n[1]\n"), [], "a.jsonl:2: a list, not a JSON object"),
    "a line that is null": (with_text(f"{LINE}\nnull\n"), [], "a.jsonl:2: null, not a JSON object"),
    "not UTF-8": (with_text(b'{"prompt": "\xff"}\n'), [], "a.jsonl:1: not JSON: 'utf-8' codec can't decode byte 0xff"),
    "UTF-16": (with_text(LINE.encode("utf-16")), [], "a.jsonl:1: not JSON: "),
    "half of a pair": (with_text('{"prompt": "\\ud800"}\n'), [], "a.jsonl:1: not JSON: "),
    "too deep": (with_text('{"prompt": ' + "[" * 100_000), [], "a.jsonl:1: not JSON: maximum recursion depth"),
    "a list cut short": (with_text(f"[{LINE}, {LINE[:9]}", "a.json"), [], "a.json: not a whole JSON list"),
    "a list of texts": (with_text('["a", "b"]', "a.json"), [], "a.json: element 1 of the list is text, not an object"),
    "all lines bad": (with_text("x\ny\n"), ["--skip-bad-lines"], "a.jsonl: no rows"),
    "no prompt field": (
        with_rows({"text": "a", "metadata": {"level": 1}}),
        [],
        "no prompt: no row has any of prompt, messages, question, instruction; the fields are text, metadata.level",
    ),
    "no answer field": (
        with_rows({"prompt": "a", "text": "b"}),
        ["--format", "sft"],
        "no answer: no row has any of response, answer, completion, output, assistant, label; the fields",
    ),
    "no ground truth": (with_rows({"prompt": "a"}), [], "no answer: no row has any of reward_model.ground_truth"),
    "a field that is always null": (with_rows({"prompt": None, "answer": "4"}), [], "no prompt: no row has any of"),
    "a prompt field that is not there": (
        with_rows(GOOD),
        ["--prompt-field", "q"],
        "q: no row has this field; the fields are prompt, answer",
    ),
    "a response field that is not there": (
        with_rows(GOOD),
        ["--format", "sft", "--response-field", "metadata.x"],
        "--response-field metadata.x: no row has",
    ),
    "a ground truth field that is not there": (
        with_rows(GOOD),
        ["--ground-truth-field", "x"],
        "--ground-truth-field x: no row has this field",
    ),
    "a data source field that is not there": (
        with_rows(GOOD),
        ["--data-source-field", "x"],
        "--data-source-field x: no row has this field",
    ),
    "one field for both": (
        with_rows(GOOD),
        ["--prompt-field", "answer", "--ground-truth-field", "answer"],
        "--prompt-field and --ground-truth-field are both answer",
    ),
    "no row left": (
        with_rows({**GOOD, "answer": ""}, {**GOOD, "prompt": None}, {**GOOD, "answer": ""}),
        [],
        "no row can be used (2 × blank answer; 1 × no prompt)",
    ),
    "one prompt for two sides": (
        with_rows(GOOD, GOOD),
        ["--val-ratio", "0.5"],
        "all rows that can be used (2) have the same prompt",
    ),
    "a ratio of 1": (with_rows(GOOD), ["--val-ratio", "1"], "--val-ratio 1.0: at least 0 and less than 1"),
    "a negative ratio": (with_rows(GOOD), ["--val-ratio", "-0.1"], "--val-ratio -0.1: at least 0 and less than 1"),
    "no ratio": (with_rows(GOOD), ["--val-ratio", "nan"], "--val-ratio nan: at least 0 and less than 1"),
    "a response field for rl": (with_rows(GOOD), ["--response-field", "x"], "x is not for --format rl"),
    "a ground truth for sft": (
        with_rows(GOOD),
        ["--format", "sft", "--ground-truth-field", "x"],
        "x is not for --format sft",
    ),
    "a data source for sft": (
        with_rows(GOOD),
        ["--format", "sft", "--data-source-field", "x"],
        "source-field x is not for --format sft",
    ),
    "a blank system's turn": (with_rows(GOOD), ["--system", " "], "--system is blank: leave it out"),
    "a blank environment": (with_rows(GOOD), ["--env", ""], "--env is blank"),
    "a name with a directory": (with_rows(GOOD), ["--output-name", "a/b"], "'a/b': a file name's beginning"),
    "values as names": (with_rows({**GOOD, **WIDE}), [], "over 500 different fields, such as field-597"),
    "a mask of texts": (
        with_rows({"messages": CHAT, "loss_mask": ["no", "yes"]}),
        ["--format", "sft"],
        "loss_mask holds list<",
    ),
    "tools of many types": (
        with_rows(*({**GOOD, "extra_info": {"tools_kwargs": {"a": value}}} for value in (1, "x"))),
        [],
        "extra_info.tools_kwargs holds values of different types, which parquet cannot",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_the_user_can_mend_is_one_line_and_no_file(tmp_path: Path, case: str, capsys: Any) -> None:
    make, arguments, message = REFUSED[case]
    source = make(tmp_path)
    assert run(source, tmp_path / "out", *arguments) == 2
    assert message in refusal(capsys)
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


def test_lines_that_are_no_objects_are_counted_where_they_may_be_left_out(tmp_path: Path, capsys: Any) -> None:
    source = with_text(f"\ufeff{LINE}\r\n\r\n{LINE[:9]}\r\n[1]\r\n{LINE}{LINE}\r\n{LINE}")(tmp_path)
    assert run(source, tmp_path, "--skip-bad-lines") == 0
    assert len(rows_of(tmp_path)) == 2
    out = capsys.readouterr().out
    assert f"left out 3 lines that hold no JSON object, the first at {source}:3: not JSON: Input data was trunc" in out


def test_the_files_can_be_named(tmp_path: Path) -> None:
    source = write(tmp_path / "a.jsonl", *tasks(9))
    assert run(source, tmp_path / "out", "--output-name", "sums", "--val-ratio", "0.5") == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["sums_train.parquet", "sums_val.parquet"]


def test_a_validation_file_of_an_earlier_run_is_spoken_of(tmp_path: Path, capsys: Any) -> None:
    source = write(tmp_path / "a.jsonl", *tasks(9))
    assert run(source, tmp_path, "--val-ratio", "0.5") == 0
    assert "note:" not in capsys.readouterr().err
    assert run(source, tmp_path) == 0
    assert f"note: {tmp_path}/val.parquet of an earlier run stays" in capsys.readouterr().err


# --- the page, and the program


def test_the_tables_of_the_page_are_those_of_the_program() -> None:
    page = (SCRIPT.parent.parent / "docs/sft_data.md").read_text(encoding="utf-8")
    section = page.partition("## Prompts with answers\n")[2]
    cells = [re.split(r" ?\| ?", line) for line in section.splitlines() if line.startswith("| ")]
    table = {first.strip("`"): second for _, first, second, *_ in cells}
    flags = {action.option_strings[-1]: action.default for action in convert_to_parquet.make_parser()._actions}
    del flags["--help"]
    assert {name for name in table if name.startswith("--")} == {*flags, "--format"}
    found = {flag for flag in flags if table[flag] == "found"}
    assert found == {"--prompt-field", "--response-field", "--ground-truth-field", "--data-source-field"}
    for flag in flags.keys() - found - {"--format"}:  # it heads another table too
        default = "" if flags[flag] is None or flags[flag] is False else str(flags[flag]).removesuffix(".0")
        assert table[flag].strip("`") == default, flag
    for what, names in [("prompt", conversion_plan.PROMPTS), ("response", conversion_plan.RESPONSES)]:
        assert tuple(re.findall(r"`(\w+)`", table[what]))[: len(names)] == names
    truths = re.findall(r"`([\w.]+)`", table["ground truth"])
    assert tuple(truths) == conversion_plan.GROUND_TRUTHS[: len(truths)]


def program(*arguments: object, cwd: Path, **env: str) -> subprocess.Popen[str]:
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=cwd, env={**os.environ, **env}, stdout=pipe, stderr=pipe, text=True)


def test_its_defaults_are_a_directory_dataset_and_a_directory_parquet(tmp_path: Path) -> None:
    write(tmp_path / "dataset/a.jsonl", *tasks(3))
    process = program(cwd=tmp_path)
    out, err = process.communicate()
    assert (process.returncode, err) == (0, "")
    assert out == (
        "prompt      from prompt (3 rows)\n"
        "answer      from answer (3 rows)\n"
        "data_source from the environment\n"
        "extra_info  with index, env\n"
        "wrote 3 rows to parquet/train.parquet\n"
    )
    assert [row["extra_info"] for row in rows_of(tmp_path / "parquet")] == [
        {"index": index, "env": "lgc-v2"} for index in range(3)
    ]


def test_it_runs_without_torch_verl_and_pandas(tmp_path: Path) -> None:
    source = write(tmp_path / "a.jsonl", *tasks(3, level=1, tags=["a"]))
    arguments = ["convert", "--input", str(source), "--shuffle", "--val-ratio", "0.5"]
    code = f"""
import runpy, sys
sys.argv, sys.path[0] = {arguments}, {str(SCRIPT.parent)!r}
try:
    runpy.run_path({str(SCRIPT)!r}, run_name="__main__")
except SystemExit as end:
    assert end.code == 0
assert not {{"torch", "verl", "transformers", "pandas", "datasets"}} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (tmp_path / "parquet").iterdir()) == ["train.parquet", "val.parquet"]


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 MB: enough for several processes, and seconds of work; its last line is no JSON."""
    path = tmp_path_factory.mktemp("large") / "a.jsonl"
    filler = "words " * 150
    with path.open("w") as file:
        file.writelines(json.dumps({"prompt": f"{n} {filler}", "answer": "4", "n": n}) + "\n" for n in range(40_000))
        file.write("no JSON")
    return path


@pytest.mark.slow
@pytest.mark.parametrize("shuffle", [[], ["--shuffle"]])
def test_a_fault_in_the_last_line_leaves_the_earlier_file_and_nothing_else(
    tmp_path: Path, large: Path, shuffle: list[str]
) -> None:
    (tmp_path / "temporary").mkdir()
    assert run(write(tmp_path / "a.jsonl", GOOD), tmp_path / "out") == 0
    before = (tmp_path / "out/train.parquet").read_bytes()
    options = ["--input", large, "--out-dir", "out", *shuffle]
    process = program(*options, cwd=tmp_path, TMPDIR=str(tmp_path / "temporary"))
    _, err = process.communicate(timeout=120)
    assert process.returncode == 2
    assert f"convert_to_parquet: {large}:40001: not JSON: " in err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["train.parquet"]
    assert (tmp_path / "out/train.parquet").read_bytes() == before
    assert not list((tmp_path / "temporary").iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("shuffle", [[], ["--shuffle"]])
def test_ctrl_c_leaves_nothing(tmp_path: Path, large: Path, shuffle: list[str]) -> None:
    (tmp_path / "temporary").mkdir()
    options = ["--input", large, "--out-dir", "out", "--val-ratio", "0.1", *shuffle]
    process = subprocess.Popen(
        [sys.executable, str(SCRIPT), *map(str, options)],
        cwd=tmp_path,
        env={**os.environ, "TMPDIR": str(tmp_path / "temporary")},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 60
    while not list((tmp_path / "temporary").rglob("*.arrow")) and time.monotonic() < deadline:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert err.splitlines()[-1] == "convert_to_parquet: interrupted, nothing was written"
    assert not list((tmp_path / "out").iterdir())
    assert not list((tmp_path / "temporary").iterdir())
