"""data_processing/add_reasoning.py against a real HTTP server: what it asks, keeps, retries, resumes, never tells."""

from __future__ import annotations

import itertools
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import add_reasoning
import convert_to_parquet
import evaluate_dataset
import generate_dataset
from env_adapter import get_env_adapter
from task_rows.worked_answers import REQUESTS, asking, language_of, way_to_answer

ROOT = Path(__file__).resolve().parent.parent
KEY = "sk-a-secret-that-nobody-may-see"
GAMES = ("--env", "lgc-v2", "--set", "task_types=game_of_24", "--set", "num_tasks_per_type=40")


@dataclass
class Said:
    """What a server sends back."""

    content: str = ""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None
    """In place of a chat completion."""
    finish_reason: str = "stop"
    thinking: str | None = None
    wait_s: float = 0.0

    def bytes(self) -> bytes:
        if self.body is not None:
            return self.body
        message = {"role": "assistant", "content": self.content}
        message |= {} if self.thinking is None else {"reasoning_content": self.thinking}
        choice = {"index": 0, "finish_reason": self.finish_reason, "message": message}
        return json.dumps(
            {"id": "1", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice]}
        ).encode()


def refusal(status: int, words: str = "not now", **headers: str) -> Said:
    return Said(status=status, headers=headers, body=json.dumps({"error": {"message": words}}).encode())


class Server:
    """A server of the OpenAI chat API. `answer` is given the request and how often this prompt was asked before."""

    def __init__(self, answer: Callable[[dict[str, Any], int], Said], models: Said | None = None) -> None:
        self.requests: list[dict[str, Any]] = []
        self.times: list[float] = []
        self._asked: Counter[str] = Counter()
        lock, outer = threading.Lock(), self
        listed = json.dumps({"object": "list", "data": [{"id": "a-model", "object": "model"}]}).encode()

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: Any) -> None: ...

            def send(self, said: Said) -> None:
                body = said.bytes()
                time.sleep(said.wait_s)
                with suppress(BrokenPipeError, ConnectionResetError):  # a client that gave up
                    self.send_response(said.status)
                    for name, value in said.headers.items():
                        self.send_header(name.replace("_", "-"), value)
                    self.send_header("Content-Type", "application/json")
                    self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)

            def do_GET(self) -> None:
                self.send(models or Said(body=listed))

            def do_POST(self) -> None:
                request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                prompt = request["messages"][-1]["content"]
                with lock:
                    before = outer._asked[prompt]
                    outer._asked[prompt] += 1
                    outer.requests.append(request | {"key": self.headers["Authorization"]})
                    outer.times.append(time.monotonic())
                self.send(answer(request, before))

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"


@contextmanager
def serving(answer: Callable[[dict[str, Any], int], Said], models: Said | None = None) -> Iterator[Server]:
    server = Server(answer, models)
    thread = threading.Thread(target=server.http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.http.shutdown()
        thread.join()
        server.http.server_close()


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


def generate(path: Path, *arguments: str) -> Path:
    assert generate_dataset.main([*arguments, "--output", str(path)]) == 0
    return path


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def solver(*inputs: Path, way: str = "I try one thing, then another, and this one works.") -> Callable[..., Said]:
    """A model that knows the answers of the datasets."""
    known = {row["prompt"][-1]["content"]: row["answer"] for path in inputs for row in rows_of(path)}

    def answer(request: dict[str, Any], _: int) -> Said:
        found = known[request["messages"][-1]["content"]]
        return Said(f"{way}\n{found if found.startswith('<answer>') else f'Answer: {found}'}")

    return answer


def run(url: str, source: Path, output: Path, *arguments: str) -> int:
    return add_reasoning.main(["--url", url, "--input", str(source), "--output", str(output), *arguments])


@pytest.fixture
def games(tmp_path: Path) -> Path:
    return generate(tmp_path / "games.jsonl", *GAMES, "--num-samples", "12")


def prompt_of(request: dict[str, Any]) -> str:
    return request["messages"][-1]["content"]


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("add_reasoning:")]
    assert len(lines) == 1
    return lines[0]


# -- what is kept ---------------------------------------------------------------------------------------------------


def test_right_answers_are_kept_with_their_reasoning_in_the_order_of_the_input(games, tmp_path, capsys):
    with serving(solver(games)) as server:
        assert run(server.url, games, tmp_path / "out.jsonl") == 0
    before, after = rows_of(games), rows_of(tmp_path / "out.jsonl")
    assert [row["prompt"] for row in after] == [row["prompt"] for row in before]
    assert [row["metadata"]["challenge"] for row in after] == [row["metadata"]["challenge"] for row in before]
    for old, new in zip(before, after, strict=True):
        assert new["answer"].endswith(f"\nAnswer: {old['answer']}") and new["answer"].startswith("I try")
        assert (new["metadata"]["answers"], new["metadata"]["split"]) == ("reasoning", "train")
    assert "wrote 12 of 12 rows" in capsys.readouterr().out
    assert {path.name for path in tmp_path.iterdir()} == {"games.jsonl", "out.jsonl"}
    assert {request["key"] for request in server.requests} == {f"Bearer {KEY}"}


def test_wrong_bare_cut_and_foreign_answers_are_counted_and_left_out(games, tmp_path, capsys):
    right = solver(games)
    prompts = [row["prompt"][-1]["content"] for row in rows_of(games)]

    def answer(request: dict[str, Any], before: int) -> Said:
        said = right(request, before)
        match prompts.index(prompt_of(request)):
            case 0:
                return Said("I add them all up and look at the sum.\nAnswer: 1 + 1")
            case 1:
                return Said("")
            case 2:
                return Said(said.content.splitlines()[-1])
            case 3:
                return Said("先把前两个数相除，再用第三个数去减，最后乘以剩下的数。\n" + said.content.splitlines()[-1])
            case 4:
                return Said(said.content, finish_reason="length")
        return said

    with serving(answer) as server:
        assert run(server.url, games, tmp_path / "out.jsonl") == 0
    assert [row["prompt"][-1]["content"] for row in rows_of(tmp_path / "out.jsonl")] == prompts[5:]
    counts = (
        "wrote 7 of 12 rows to {}; of 12 answers: 7 kept, 3 wrong or cut short, 1 right without reasoning, "
        "1 right in another language than the prompt, 0 failed requests"
    )
    assert counts.format(tmp_path / "out.jsonl") in capsys.readouterr().out


def test_thinking_that_the_server_gives_apart_is_kept(games, tmp_path):
    right = solver(games)

    def answer(request: dict[str, Any], before: int) -> Said:
        bare = right(request, before).content.splitlines()[-1]
        return Said(bare, thinking="Two of them make twelve, and so do the other two.")

    with serving(answer) as server:
        assert run(server.url, games, tmp_path / "out.jsonl") == 0
    texts = [row["answer"] for row in rows_of(tmp_path / "out.jsonl")]
    assert len(texts) == 12
    assert all(text.startswith("<think>\nTwo of them make twelve") and "</think>\n\nAnswer: " in text for text in texts)


def test_more_attempts_ask_again_for_what_was_wrong_alone(games, tmp_path, capsys):
    right = solver(games)
    stubborn = rows_of(games)[0]["prompt"][-1]["content"]

    def answer(request: dict[str, Any], before: int) -> Said:
        if prompt_of(request) == stubborn or before == 0:
            return Said("I am sure of this one, do believe me.\nAnswer: 1 + 1")
        return right(request, before)

    with serving(answer) as server:
        assert run(server.url, games, tmp_path / "out.jsonl", "--attempts", "3") == 0
    assert len(server.requests) == 12 + 12 + 1
    assert len(rows_of(tmp_path / "out.jsonl")) == 11
    assert "11 kept, 14 wrong" in capsys.readouterr().out
    seeds = [request["seed"] for request in server.requests if prompt_of(request) == stubborn]
    assert len(set(seeds)) == 3


def test_a_threshold_keeps_what_is_nearly_right(tmp_path):
    games = ("--env", "openspiel", "--set", "game_types=tic_tac_toe", "--num-samples", "30")
    source = generate(tmp_path / "moves.jsonl", *games)
    with serving(solver(source)) as server:
        assert run(server.url, source, tmp_path / "wins.jsonl") == 0
        assert run(server.url, source, tmp_path / "draws.jsonl", "--correct-from", "0.5") == 0
    wins, draws = (rows_of(tmp_path / name) for name in ("wins.jsonl", "draws.jsonl"))
    assert 0 < len(wins) < len(draws) < 30
    assert {row["task_id"] for row in wins} < {row["task_id"] for row in draws}


def test_nothing_is_written_where_nothing_is_right_and_more_attempts_go_on(games, tmp_path, capsys):
    right = solver(games)
    wrong = Said("It is one of those that have no answer.\nAnswer: 1 + 1")
    with serving(lambda request, before: right(request, before) if before else wrong) as server:
        assert run(server.url, games, tmp_path / "out.jsonl") == 2
        assert "no answer is worth keeping (0 kept, 12 wrong" in one_line(capsys)
        assert not (tmp_path / "out.jsonl").exists()
        assert run(server.url, games, tmp_path / "out.jsonl", "--attempts", "2") == 0
    assert len(server.requests) == 24
    assert "wrote 12 of 12 rows" in capsys.readouterr().out


# -- languages ------------------------------------------------------------------------------------------------------


def test_the_model_is_asked_in_the_language_of_the_prompt(tmp_path):
    chinese = generate(tmp_path / "zh.jsonl", *GAMES, "--set", "language=zh", "--num-samples", "6")
    english = generate(tmp_path / "en.jsonl", *GAMES, "--num-samples", "6")
    for source, language, way in (
        (chinese, "zh", "先把两个数相乘，再加上另外两个数的差，正好得到二十四。"),
        (english, "en", "Multiply two of them and add the difference of the others."),
    ):
        with serving(solver(source, way=way)) as server:
            assert run(server.url, source, tmp_path / f"{language}_out.jsonl") == 0
        assert len(rows_of(tmp_path / f"{language}_out.jsonl")) == 6
        for request in server.requests:
            instructions = request["messages"][0]["content"]
            assert [name for name, text in REQUESTS.items() if text in instructions] == [language]
    assert not any(REQUESTS["zh"] in row["prompt"][0]["content"] for row in rows_of(tmp_path / "zh_out.jsonl"))


@pytest.mark.parametrize("name", ["boolean_expressions", "dyck_language", "game_of_24", "operation", "sudoku"])
@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_language_of_every_kind_of_prompt_is_found(name: str, language: str) -> None:
    adapter = get_env_adapter("lgc-v2", {"task_types": name, "language": language, "num_tasks_per_type": 5})
    for task_id in range(5):
        messages = adapter.generate(task_id).messages
        assert REQUESTS[language] in asking(messages)[0]["content"]
        assert asking(messages)[1:] == messages[1:]


@given(st.text())
def test_no_text_upsets_the_reading_of_a_language_or_a_way(text: str) -> None:
    assert language_of(text) in ("en", "zh", None)
    assert isinstance(way_to_answer(text), str)


@given(st.lists(st.text(alphabet="abc 一二", min_size=1).filter(str.strip), min_size=1, max_size=4))
def test_the_way_is_all_but_the_last_line(lines: list[str]) -> None:
    way = "\n".join(lines).strip()
    assert way_to_answer(f"{way}\nAnswer: 5") == way
    assert way_to_answer(f"<think>{way}</think>\n\n5") == way
    assert way_to_answer(f"{way}\n<answer>1 2\n3 4</answer>") == way


# -- servers that fail ----------------------------------------------------------------------------------------------


def test_a_busy_server_is_asked_again_when_it_says(games, tmp_path, capsys):
    right = solver(games)
    first = rows_of(games)[0]["prompt"][-1]["content"]

    def answer(request: dict[str, Any], before: int) -> Said:
        busy = prompt_of(request) == first and before == 0
        return refusal(429, Retry_After="2") if busy else right(request, before)

    with serving(answer) as server:
        assert run(server.url, games, tmp_path / "out.jsonl") == 0
    asked = [when for when, each in zip(server.times, server.requests, strict=True) if prompt_of(each) == first]
    assert len(asked) == 2 and 1.9 < asked[1] - asked[0] < 4
    assert "12 kept, 0 wrong or cut short" in capsys.readouterr().out


def test_a_server_that_fails_now_and_then_is_asked_later_and_later(games, tmp_path):
    right = solver(games)
    first = rows_of(games)[0]["prompt"][-1]["content"]

    def answer(request: dict[str, Any], before: int) -> Said:
        failing = prompt_of(request) == first and before < 3
        return refusal((500, 502, 503)[before]) if failing else right(request, before)

    with serving(answer) as server:
        assert run(server.url, games, tmp_path / "out.jsonl") == 0
    asked = [when for when, each in zip(server.times, server.requests, strict=True) if prompt_of(each) == first]
    waits = [later - earlier for earlier, later in itertools.pairwise(asked)]
    assert len(waits) == 3 and waits[0] < waits[1] < waits[2], waits
    assert len(rows_of(tmp_path / "out.jsonl")) == 12


def test_a_request_without_an_answer_in_time_is_made_again(games, tmp_path):
    right = solver(games)
    first = rows_of(games)[0]["prompt"][-1]["content"]

    def answer(request: dict[str, Any], before: int) -> Said:
        said = right(request, before)
        return Said(said.content, wait_s=3.0) if prompt_of(request) == first and before == 0 else said

    with serving(answer) as server:
        assert run(server.url, games, tmp_path / "out.jsonl", "--timeout", "1") == 0
    assert len(server.requests) == 13
    assert len(rows_of(tmp_path / "out.jsonl")) == 12


@pytest.mark.parametrize(
    "broken",
    [
        Said(body=b'{"choices": [{"mess'),
        Said(body=b'{"object": "chat.completion", "choices": []}'),
        Said(body=b'{"choices": [{"index": 0, "message": {"role": "assistant", "content": 7}}]}'),
        refusal(400, "the content is filtered"),
    ],
    ids=["cut JSON", "no choices", "a number", "a filter"],
)
def test_a_reply_that_is_no_answer_is_a_failed_request_and_not_a_wrong_answer(games, tmp_path, capsys, broken):
    right = solver(games)
    first = rows_of(games)[0]["prompt"][-1]["content"]
    healed = False

    def answer(request: dict[str, Any], before: int) -> Said:
        return broken if prompt_of(request) == first and not healed else right(request, before)

    with serving(answer) as server:
        assert run(server.url, games, tmp_path / "out.jsonl", "--concurrency", "1") == 2
        assert "1 of 12 requests" in one_line(capsys)
        assert run(server.url, games, tmp_path / "some.jsonl", "--max-errors", "0.1") == 0
        said = capsys.readouterr().out
        assert "11 kept, 0 wrong or cut short, 0 right without reasoning" in said
        assert "1 failed requests" in said
        healed = True
        assert run(server.url, games, tmp_path / "out.jsonl", "--concurrency", "1") == 0
    assert len(rows_of(tmp_path / "out.jsonl")) == 12


def test_a_server_that_is_down_ends_the_run_and_the_same_command_goes_on(games, tmp_path, capsys):
    right = solver(games)
    down = True

    def answer(request: dict[str, Any], before: int) -> Said:
        return refusal(503) if down and len(server.requests) > 5 else right(request, before)

    with serving(answer) as server:
        assert run(server.url, games, tmp_path / "out.jsonl", "--concurrency", "1", "--max-retries", "0") == 2
        err = capsys.readouterr().err
        assert "requests to" in err and "5 rows are kept: the same command goes on after them" in err
        assert not (tmp_path / "out.jsonl").exists()
        down = False
        asked = len(server.requests)
        assert run(server.url, games, tmp_path / "out.jsonl", "--max-retries", "0") == 0
    assert len(server.requests) - asked == 7, "what was answered is not asked again"
    assert "going on after 5 answers" in capsys.readouterr().err
    assert len(rows_of(tmp_path / "out.jsonl")) == 12


@pytest.mark.parametrize(
    ("status", "models", "message"),
    [
        (401, refusal(401, f"Incorrect API key provided: {KEY}"), "refuses the key: set OPENAI_API_KEY"),
        (401, None, "model 'a-model': Error code: 401"),
        (403, refusal(403), "refuses the key"),
        (404, None, "model 'a-model': Error code: 404"),
    ],
    ids=["no key for the list", "no key for answers", "forbidden", "no such model"],
)
def test_what_every_request_would_meet_ends_the_run_at_once(games, tmp_path, capsys, status, models, message):
    with serving(lambda *_: refusal(status, f"no such thing, {KEY}"), models) as server:
        assert run(server.url, games, tmp_path / "out.jsonl", "--concurrency", "1") == 2
        assert len(server.requests) <= 1
    line = one_line(capsys)
    assert message in line and server.url in line and KEY not in line
    assert [path.name for path in tmp_path.iterdir()] == ["games.jsonl"]


def test_a_url_where_no_server_answers_is_named_without_its_password(games, tmp_path, capsys):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        assert run(f"http://me:hunter2@127.0.0.1:{port}/v1", games, tmp_path / "out.jsonl") == 2
    line = one_line(capsys)
    assert f"--url http://127.0.0.1:{port}/v1: no OpenAI-compatible server answers there" in line
    assert "hunter2" not in line


# -- interruptions --------------------------------------------------------------------------------------------------


def start(url: str, source: Path, output: Path) -> subprocess.Popen[str]:
    script = ROOT / "data_processing" / "add_reasoning.py"
    command = [sys.executable, str(script), "--url", url, "--input", str(source), "--output", str(output)]
    return subprocess.Popen([*command, "--concurrency", "3"], stdout=-1, stderr=-1, text=True, start_new_session=True)


@pytest.mark.slow
def test_a_run_that_is_killed_goes_on_and_pays_for_no_answer_twice(tmp_path):
    source = generate(tmp_path / "games.jsonl", *GAMES, "--num-samples", "30")
    right = solver(source)
    answered: list[str] = []

    def answer(request: dict[str, Any], before: int) -> Said:
        prompt = prompt_of(request)
        # Slow at first, so that the kill falls into the middle, and the first row last of all.
        slow = 5.0 if prompt == first and before == 0 else 0.1
        answered.append(prompt)
        return Said(right(request, before).content, wait_s=slow)

    first = rows_of(source)[0]["prompt"][-1]["content"]
    output, ledger = tmp_path / "out.jsonl", tmp_path / ".out.jsonl.partial"
    with serving(answer) as server:
        server.http.daemon_threads = True
        server.http.block_on_close = False
        process = start(server.url, source, output)
        end = time.monotonic() + 60
        while not (ledger.exists() and ledger.read_bytes().count(b"\n") >= 8):
            assert time.monotonic() < end and process.poll() is None, process.communicate()
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        assert not output.exists()
        with ledger.open("ab") as file:  # the kill falls into the middle of a line
            file.write(b'{"row": 3, "att')
        recorded = [json.loads(line)["row"] for line in ledger.read_bytes().splitlines()[:-1]]
        assert 0 not in recorded, "later rows are kept though the first is not answered"
        asked = len(server.requests)
        done = start(server.url, source, output).communicate(timeout=60)
    assert f"going on after {len(recorded)} answers of an interrupted run" in done[1], done
    assert len(server.requests) - asked == 30 - len(recorded)
    assert [row["prompt"] for row in rows_of(output)] == [row["prompt"] for row in rows_of(source)]
    assert not ledger.exists()


def test_answers_of_other_arguments_are_not_mixed(games, tmp_path, capsys):
    right = solver(games)
    with serving(lambda r, b: right(r, b) if len(server.requests) < 4 else refusal(503)) as server:
        arguments = ("--concurrency", "1", "--max-retries", "0")
        assert run(server.url, games, tmp_path / "out.jsonl", *arguments) == 2
        capsys.readouterr()
        assert run(server.url, games, tmp_path / "out.jsonl", *arguments, "--temperature", "1") == 2
        assert "temperature was 0.7 and is 1.0" in one_line(capsys)
        assert run(server.url, games, tmp_path / "out.jsonl", *arguments, "--num-samples", "6") == 2
        assert "tasks was" in one_line(capsys)


def test_the_key_is_in_nothing_that_is_printed_or_written(games, tmp_path, capsys):
    right = solver(games)
    with serving(lambda r, b: right(r, b) if b else refusal(418, f"your key {KEY} is a teapot")) as server:
        assert run(server.url, games, tmp_path / "out.jsonl", "--max-errors", "0.5") == 2
        captured = capsys.readouterr()
        assert "your key *** is a teapot" in captured.err
        journal = (tmp_path / ".out.jsonl.journal").read_text() if (tmp_path / ".out.jsonl.journal").exists() else ""
        assert run(server.url, games, tmp_path / "out.jsonl", "--max-errors", "1") == 0
    captured_again = capsys.readouterr()
    written = "".join(path.read_text() for path in tmp_path.iterdir())
    for text in (captured.out, captured.err, captured_again.out, captured_again.err, written, journal):
        assert KEY not in text


# -- bad input ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--attempts", "0"], "--attempts 0: must be at least 1"),
        (["--attempts", "2", "--temperature", "0"], "gives equal answers"),
        (["--correct-from", "0"], "--correct-from 0.0: must be a reward above 0"),
        (["--timeout", "nan"], "--timeout nan"),
        (["--env", "openspiel"], "row 1: it is of env lgc-v2"),
        (["--output", "out.csv"], "end it in .parquet or .jsonl"),
    ],
)
def test_a_wrong_argument_is_named_before_anything_is_asked(games, tmp_path, capsys, arguments, message):
    with serving(solver(games)) as server:
        assert run(server.url, games, tmp_path / "out.jsonl", *arguments) == 2
        assert server.requests == []
    assert message in one_line(capsys)


def test_a_game_that_is_played_turn_by_turn_is_refused(games, tmp_path, capsys):
    settings = {"mode": "game", "game_types": "tic_tac_toe", "num_tasks_per_case": 4}
    challenge = get_env_adapter("openspiel", settings).generate(0)
    row = {"env": "openspiel", "challenge": challenge.to_json(), "adapter_config": json.dumps(settings)}
    (tmp_path / "whole.jsonl").write_text(json.dumps(row) + "\n")
    with serving(solver(games)) as server:
        assert run(server.url, tmp_path / "whole.jsonl", tmp_path / "out.jsonl") == 2
    assert "row 1: env openspiel is played turn by turn" in one_line(capsys)


# -- the whole way --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "env",
    [
        ("lgc-v2", "difficulty=easy", "num_tasks_per_type=10"),
        ("reasoning-gym", "datasets=chain_sum,leg_counting", "num_tasks=60"),
    ],
    ids=lambda env: env[0],
)
def test_tasks_are_generated_worked_out_scored_and_converted(tmp_path, env):
    name, *settings = env
    flags = [part for setting in settings for part in ("--set", setting)]
    tasks = generate(tmp_path / "tasks.jsonl", "--env", name, *flags)
    worked = tmp_path / "worked.jsonl"
    with serving(solver(tasks)) as server:
        assert run(server.url, tasks, worked) == 0
        assert run(server.url, tasks, tmp_path / "worked.parquet", "--max-errors", "0") == 0
    number = len(rows_of(tasks))
    assert len(rows_of(worked)) == number >= 48

    report = tmp_path / "report.json"
    assert evaluate_dataset.main(["--input", str(worked), "--output", str(report)]) == 0
    scores = json.loads(report.read_text())
    assert scores["rows"] == number and scores["overall"]["reward"]["mean"] == 1.0
    assert evaluate_dataset.main(["--input", str(tmp_path / "worked.parquet"), "--output", str(report)]) == 0
    assert json.loads(report.read_text())["overall"]["reward"]["mean"] == 1.0

    for layout in ("sft", "rl"):
        out = tmp_path / layout
        arguments = ["--input", str(worked), "--out-dir", str(out), "--format", layout, "--val-ratio", "0.2"]
        assert convert_to_parquet.main(arguments) == 0
        tables = [pq.read_table(out / f"{side}.parquet") for side in ("train", "val")]
        assert sum(table.num_rows for table in tables) == number
    turns = pq.read_table(tmp_path / "sft" / "train.parquet").to_pylist()[0]
    assert "I try one thing" in json.dumps(turns)
    assert evaluate_dataset.main(["--input", str(tmp_path / "rl" / "train.parquet"), "--output", str(report)]) == 0
    assert json.loads(report.read_text())["overall"]["reward"]["mean"] == 1.0


def test_rows_of_several_environments_are_one_dataset(tmp_path):
    sources = [
        generate(tmp_path / "a.jsonl", *GAMES, "--num-samples", "5"),
        generate(tmp_path / "b.jsonl", "--env", "openspiel", "--set", "game_types=tic_tac_toe", "--num-samples", "5"),
    ]
    both = tmp_path / "both.jsonl"
    both.write_text("".join(source.read_text() for source in sources))
    with serving(solver(both)) as server:
        assert run(server.url, both, tmp_path / "out.jsonl", "--correct-from", "0.4") == 0
    envs = Counter(row["env"] for row in rows_of(tmp_path / "out.jsonl"))
    assert envs["lgc-v2"] == 5 and envs["openspiel"] >= 1
    report = tmp_path / "report.json"
    assert evaluate_dataset.main(["--input", str(tmp_path / "out.jsonl"), "--output", str(report)]) == 0
    assert set(json.loads(report.read_text())["types"]) == {"game_of_24", "tic_tac_toe"}
    assert re.search("I try", rows_of(tmp_path / "out.jsonl")[-1]["answer"])
