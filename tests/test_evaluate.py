"""train/tools/evaluate.py against a real HTTP server, and the intervals that it prints against known values."""

import json
import math
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from statistics import NormalDist

import pytest

import env_adapter
import evaluate
from chat_models import VllmModel
from env_adapter import SettingsError
from evaluation_results import compare, read_evaluation
from intervals import mean_interval, paired_difference, student_t
from toy_eval_env import ToyAdapter

TOOLS = Path(evaluate.__file__).parent


@pytest.fixture(autouse=True)
def toy(monkeypatch):
    monkeypatch.setitem(env_adapter.REGISTRY, "toy", "toy_eval_env:ToyAdapter")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


def solve(request):
    """A model that can add."""
    a, b = map(int, re.findall(r"\d+", request["messages"][-1]["content"]))
    return str(a + b)


@contextmanager
def chat_server(reply=solve, models=("toy-model",)):
    """A server of the OpenAI chat API. `reply` maps the request to the answer's text, or to (status, body bytes)."""
    requests = []

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def send(self, status, body):
            with suppress(BrokenPipeError, ConnectionResetError):  # a client that gave up
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        def do_GET(self):
            if models is None:
                return self.send(404, b'{"error": {"message": "no such path"}}')
            listed = [{"id": name, "object": "model", "created": 0, "owned_by": "test"} for name in models]
            self.send(200, json.dumps({"object": "list", "data": listed}).encode())

        def do_POST(self):
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            requests.append(request | {"path": self.path, "key": self.headers["Authorization"]})
            said = reply(request)
            if isinstance(said, tuple):
                return self.send(*said)
            choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": said}}
            usage = {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}
            body = {
                "id": "1",
                "object": "chat.completion",
                "created": 0,
                "model": "m",
                "choices": [choice],
                "usage": usage,
            }
            self.send(200, json.dumps(body).encode())

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1", requests
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def run(url, output, *arguments):
    return evaluate.main(["--url", url, "--env", "toy", "--output", str(output), *arguments])


def read(output):
    lines = (output / "answers.jsonl").read_text(encoding="ascii").splitlines()
    return json.loads((output / "summary.json").read_text()), [json.loads(line) for line in lines]


def error_line(capsys):
    lines = [line for line in capsys.readouterr().err.splitlines() if "evaluate:" in line]
    assert len(lines) == 1
    return lines[0]


# -- the whole way, through a server ------------------------------------------------------------------------------


def test_a_perfect_model_scores_one_on_the_test_split(tmp_path, capsys):
    with chat_server() as (url, requests):
        assert run(url, tmp_path, "--set", "tasks=200") == 0
    summary, rows = read(tmp_path)
    assert [row["task_id"] for row in rows] == evaluate.open_env(parsed("--set", "tasks=200"))[2]
    assert summary["model"] == "toy-model"
    assert summary["tasks"] == summary["answers"] == len(rows) == 20
    assert summary["reward"]["mean"] == summary["reward"]["high"] == 1
    assert 0.8 < summary["reward"]["low"] < 0.9  # 20 of 20 right is no proof of always right
    assert summary["metrics"]["exact"]["mean"] == 1
    assert summary["mean_response_tokens"] == 3
    assert {request["path"] for request in requests} == {"/v1/chat/completions"}
    assert {request["key"] for request in requests} == {"Bearer EMPTY"}
    assert rows[0]["messages"] == ToyAdapter({"tasks": 200}).generate(rows[0]["task_id"]).messages
    assert re.search(r"reward +1\.000", capsys.readouterr().out)


def parsed(*arguments):
    return evaluate.make_parser().parse_args(["--url", "-", "--env", "toy", "--output", "-", *arguments])


def test_tasks_are_the_unit_not_samples(tmp_path):
    def by_task(request):
        return solve(request) if int(solve(request)) % 8 == 0 else "no idea"

    with chat_server(by_task) as (url, requests):
        code = run(
            url, tmp_path, "--set", "tasks=300", "--num-tasks", "24", "--samples", "4", "--temperature", "0.7",
            "--top-p", "0.9", "--max-tokens", "17",
        )  # fmt: skip
    assert code == 0
    summary, rows = read(tmp_path)
    assert summary["reward"]["n"] == summary["tasks"] == 24
    assert len(rows) == 96
    values = [4 * row["task_id"] % 8 == 0 for row in rows if row["sample"] == 0]
    expected = mean_interval([float(value) for value in values], (0.0, 1.0))
    assert summary["reward"]["mean"] == pytest.approx(expected.mean)
    assert summary["reward"]["low"] == pytest.approx(expected.low)
    assert {(each["temperature"], each["top_p"], each["max_tokens"]) for each in requests} == {(0.7, 0.9, 17)}
    assert len({each["seed"] for each in requests}) == 96


def test_the_key_is_sent_and_never_written(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-1")
    with chat_server() as (url, requests):
        assert run(url.replace("http://", "http://me:hunter2@"), tmp_path) == 0
    assert requests[0]["key"]
    for path in tmp_path.iterdir():
        assert "sk-secret-1" not in path.read_text()
        assert "hunter2" not in path.read_text()


def test_types_of_tasks_have_lines_of_their_own_under_a_heading_that_says_so(tmp_path, capsys):
    settings = ["task_types=operation,boolean_expressions", "num_tasks_per_type=40", "difficulty=easy"]
    flags = [part for setting in settings for part in ("--set", setting)]
    with chat_server(lambda request: "Answer: True") as (url, _):
        assert run(url, tmp_path, *flags, "--env", "lgc-v2") == 0
    out = capsys.readouterr().out
    assert "reward by type of task" in out and "\nboolean_expressions " in out and "\noperation " in out
    assert "reasoning-gym" in read(tmp_path)[0]["versions"]


def test_a_busy_server_is_asked_again(tmp_path):
    refused = []

    def busy_twice(request):
        if len(refused) < 2:
            refused.append(request)
            return 429, b'{"error": {"message": "slow down"}}'
        return solve(request)

    with chat_server(busy_twice) as (url, requests):
        assert run(url, tmp_path) == 0
    assert read(tmp_path)[0]["errors"] == 0
    assert len(requests) == 4 + 2


def test_lost_answers_are_counted_and_not_taken_for_wrong(tmp_path):
    def sometimes(request):
        return (400, b'{"error": {"message": "no"}}') if int(solve(request)) % 3 == 0 else solve(request)

    with chat_server(sometimes) as (url, _):
        assert run(url, tmp_path, "--set", "tasks=300", "--max-errors", "0.9") == 0
    summary, rows = read(tmp_path)
    lost = [row for row in rows if row["error"]]
    assert lost
    assert summary["errors"] == len(lost)
    assert summary["tasks"] == len(rows) - len(lost)
    assert summary["reward"]["mean"] == 1
    assert all(row["score"] is None for row in lost)


HOSTILE = [
    "", " \n\t", "\x00\x07\x1b[31m", "\ud800 half a pair", "<script>alert(1)</script>", "9" * 5000, "١٢", "\u202e21",
    "'; DROP TABLE", "{{7*7}}", "None", None, "\r\n\u2028\u2029", "12 " * 10000,
]  # fmt: skip


def test_hostile_answers_score_zero_or_less_than_one_and_are_kept_as_they_are(tmp_path):
    answers = iter(HOSTILE)
    with chat_server(lambda request: next(answers)) as (url, _):
        code = run(url, tmp_path, "--set", "tasks=140", "--num-tasks", str(len(HOSTILE)), "--concurrency", "1")
    assert code == 0
    summary, rows = read(tmp_path)
    assert [row["response"] for row in rows] == [answer or "" for answer in HOSTILE]
    assert summary["errors"] == 0
    assert summary["metrics"]["exact"]["mean"] == 0
    assert len(read_evaluation(tmp_path).tasks) == len(HOSTILE)


@pytest.mark.parametrize(
    "body",
    [
        b"", b"<html>hello</html>", b"null", b"[]", b"{}", b'{"choices": []}', b'{"choices": null}',
        b'{"choices": [{"message": null}]}', b'{"choices": [{"message": {"content": 5}}]}', b'{"choices": 3}',
        b'"text"',
    ],
)  # fmt: skip
def test_a_broken_reply_is_an_error_and_no_answer(tmp_path, capsys, body):
    with chat_server(lambda request: (200, body)) as (url, _):
        assert run(url, tmp_path) == 2
    assert "failed, more than --max-errors" in error_line(capsys)
    assert not list(tmp_path.iterdir())


# -- bad input ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--set", "takss=3"], "did you mean 'tasks'"),
        (["--set", "tasks=many"], "tasks='many'"),
        (["--set", "tasks=4"], "the test split of 4 tasks is empty"),
        (["--num-tasks", "5"], "the test split has 4"),
        (["--set", "fail_generate=true"], "the toy shop is closed"),
        (["--set", "fail_evaluate_from=0"], "the sandbox is down"),
        (["--samples", "0"], "--samples 0"),
        (["--samples", "2"], "raise the temperature"),
        (["--top-p", "0"], "--top-p 0"),
        (["--temperature", "nan"], "--temperature nan"),
        (["--max-tokens", "0"], "--max-tokens 0"),
        (["--max-errors", "2"], "--max-errors 2"),
        (["--env", "chess960"], "unknown env 'chess960'"),
    ],
)
def test_bad_input_is_one_line_and_no_file(tmp_path, capsys, arguments, words):
    with chat_server() as (url, requests):
        assert run(url, tmp_path, *arguments) == 2
    assert words in error_line(capsys)
    assert not list(tmp_path.iterdir())
    if "fail_evaluate_from" not in str(arguments):
        assert not requests  # said before anything is asked, and paid for


def test_nobody_at_the_url(tmp_path, capsys):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    assert run(f"http://user:pw@127.0.0.1:{port}/v1", tmp_path) == 2
    line = error_line(capsys)
    assert f"http://127.0.0.1:{port}/v1" in line
    assert "pw" not in line


@pytest.mark.parametrize("url", ["nonsense", "http://", "ftp://x/v1", "http://127.0.0.1:99999/v1"])
def test_a_url_that_is_none(tmp_path, capsys, url):
    assert run(url, tmp_path) == 2
    assert "no OpenAI-compatible server" in error_line(capsys)


def test_the_model_name_is_needed_where_the_server_has_several(tmp_path, capsys):
    with chat_server(models=("one", "two")) as (url, _):
        assert run(url, tmp_path) == 2
        assert "lists one, two" in error_line(capsys)
    with chat_server(models=None) as (url, _):
        assert run(url, tmp_path) == 2
        assert run(url, tmp_path, "--model-name", "any") == 0


@pytest.mark.parametrize(("status", "words"), [(401, "bad key"), (404, "no such model")])
def test_what_no_retry_can_mend_ends_at_once(tmp_path, capsys, status, words):
    reply = json.dumps({"error": {"message": words}}).encode()
    with chat_server(lambda request: (status, reply)) as (url, requests):
        assert run(url, tmp_path, "--set", "tasks=2000", "--concurrency", "2") == 2
    assert words in error_line(capsys)
    assert len(requests) < 10


def test_a_model_directory_is_checked_before_it_is_loaded(tmp_path, capsys, monkeypatch):
    def main(directory):
        return evaluate.main(["--model", str(directory), "--env", "toy", "--output", str(tmp_path / "out")])

    assert main(tmp_path / "none") == 2
    assert "no such directory" in error_line(capsys)
    (tmp_path / "empty").mkdir()
    assert main(tmp_path / "empty") == 2
    assert "no config.json" in error_line(capsys)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "config.json").write_text("{")
    assert main(tmp_path / "broken") == 2
    assert "cannot be read" in error_line(capsys)


def test_an_output_that_cannot_be_written_is_said_first(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    with chat_server() as (url, requests):
        assert run(url, tmp_path / "file") == 2
    assert "file" in error_line(capsys)
    assert not requests


def test_a_failed_run_leaves_the_earlier_one_whole(tmp_path):
    with chat_server() as (url, _):
        assert run(url, tmp_path) == 0
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with chat_server(lambda request: (400, b"{}")) as (url, _):
        assert run(url, tmp_path, "--set", "fail_evaluate_from=1") == 2
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_ctrl_c_ends_it_without_files(tmp_path, capsys):
    def interrupt(request):
        os.kill(os.getpid(), signal.SIGINT)
        return "4"

    with chat_server(interrupt) as (url, _):
        assert run(url, tmp_path, "--concurrency", "1") == 130
    assert "interrupted, nothing was written" in error_line(capsys)
    assert not list(tmp_path.iterdir())


# -- intervals ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("df", "quantile"),
    [(1, 12.7062), (2, 4.3027), (3, 3.1824), (5, 2.5706), (10, 2.2281), (30, 2.0423), (1000, 1.9623)],
)
def test_student_t_agrees_with_the_tables(df, quantile):
    assert student_t(df) == pytest.approx(quantile, rel=0.002)


def test_mean_interval_of_a_known_sample():
    interval = mean_interval([1, 2, 3, 4, 5])
    assert interval.mean == 3
    assert interval.high - 3 == pytest.approx(2.7764 * (2.5**0.5) / 5**0.5, rel=1e-3)  # t(4) s / sqrt n
    assert 3 - interval.low == pytest.approx(interval.high - 3)


def test_equal_values_leave_doubt_in_a_known_range():
    assert mean_interval([0.0] * 36, (0.0, 1.0)).high == pytest.approx(0.0974, abs=1e-3)  # Clopper-Pearson, 0 of 36
    assert mean_interval([1.0] * 36, (0.0, 1.0)).low == pytest.approx(1 - 0.0974, abs=1e-3)
    assert mean_interval([7.0] * 36) == mean_interval([7.0] * 36, None)
    assert mean_interval([0.5]).low is None


def test_no_values_and_values_that_are_no_numbers_are_refused():
    for values in ([], [float("nan")], [1.0, float("inf")]):
        with pytest.raises(ValueError, match=r"no values|finite"):
            mean_interval(values)


@pytest.mark.parametrize("n", [8, 24, 64])
def test_intervals_cover_the_truth_in_95_of_100_experiments(n):
    draw = random.Random(1)
    trials = 2000
    covered = 0
    for _ in range(trials):  # rewards between 0 and 1, with a lump at 0 as of illegal moves; true mean 0.75 * 0.6
        values = [draw.betavariate(3, 2) if draw.random() < 0.75 else 0.0 for _ in range(n)]
        interval = mean_interval(values, (0.0, 1.0))
        covered += interval.low <= 0.75 * 0.6 <= interval.high
    assert 0.93 < covered / trials < 0.97


def test_intervals_of_zeros_and_ones_cover_nearly_as_well():
    for share, n in [(0.5, 30), (0.3, 40), (0.1, 100)]:  # exact: the sum over all outcomes
        covered = 0.0
        for hits in range(n + 1):
            interval = mean_interval([1.0] * hits + [0.0] * (n - hits), (0.0, 1.0))
            if interval.low <= share <= interval.high:
                covered += math.comb(n, hits) * share**hits * (1 - share) ** (n - hits)
        assert 0.91 < covered < 0.97


def test_paired_difference_covers_and_is_narrower_than_unpaired():
    draw = random.Random(2)
    covered = narrower = 0
    for _ in range(500):
        ease = {task: draw.gauss(0.5, 0.3) for task in range(50)}
        before = {task: value + draw.gauss(0, 0.05) for task, value in ease.items()}
        after = {task: value + 0.1 + draw.gauss(0, 0.05) for task, value in ease.items()}
        gain = paired_difference(before, after)
        covered += gain.low <= 0.1 <= gain.high
        whole = mean_interval(list(after.values()))
        narrower += gain.high - gain.low < whole.high - whole.low
    assert covered > 0.92 * 500
    assert narrower == 500


def test_interval_width_tends_to_the_normal_one():
    values = [float(index % 2) for index in range(10_000)]
    interval = mean_interval(values)
    assert interval.high - 0.5 == pytest.approx(NormalDist().inv_cdf(0.975) * 0.5 / 100, rel=1e-3)


# -- two evaluations ----------------------------------------------------------------------------------------------


def evaluate_to(output, reply=solve, *arguments):
    with chat_server(reply) as (url, _):
        assert run(url, output, "--set", "tasks=200", *arguments) == 0
    return read_evaluation(output)


@pytest.mark.slow
def test_a_pair_is_compared_task_by_task(tmp_path):
    before = evaluate_to(tmp_path / "a", lambda request: "1")
    after = evaluate_to(tmp_path / "b")
    both = compare(before, after)
    assert both.gains["reward"].mean == pytest.approx(0.5)
    assert both.gains["exact"].mean == 1
    assert both.gains["reward"].n == len(both.pairs) == 20
    assert both.left_out == 0


@pytest.mark.slow
def test_a_task_that_one_side_lost_is_left_out_and_counted(tmp_path):
    before = evaluate_to(tmp_path / "a", solve, "--num-tasks", "15")
    after = evaluate_to(tmp_path / "b")
    both = compare(before, after)
    assert (both.gains["reward"].n, both.left_out) == (15, 5)


@pytest.mark.slow
def test_different_prompts_or_tasks_are_not_compared(tmp_path):
    before = evaluate_to(tmp_path / "a")
    with pytest.raises(SettingsError, match="another prompt"):
        compare(before, evaluate_to(tmp_path / "b", solve, "--set", "greeting=Hi! "))
    with pytest.raises(SettingsError, match="no task"):
        compare(before, evaluate_to(tmp_path / "c", solve, "--split", "validation"))
    before.summary["env"] = "chess"
    with pytest.raises(SettingsError, match="two environments"):
        compare(before, evaluate_to(tmp_path / "d"))


def test_half_an_evaluation_is_refused(tmp_path):
    evaluate_to(tmp_path)
    whole = (tmp_path / "answers.jsonl").read_text()
    (tmp_path / "answers.jsonl").write_text(whole[:-20])
    with pytest.raises(SettingsError, match="not an evaluation"):
        read_evaluation(tmp_path)
    (tmp_path / "summary.json").unlink()
    with pytest.raises(SettingsError, match=r"summary\.json is missing"):
        read_evaluation(tmp_path)


# -- vLLM ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_model_directory_answers_through_vllm_the_same_twice(tiny, tmp_path):
    """The tiny random model: it scores 0, but every answer comes from its own chat template, sampled by our seeds."""
    environment = {
        **os.environ, "PYTHONPATH": f"{TOOLS}:{TOOLS / 'cpu_metadata'}:{Path(__file__).parent}",
        "VERL_PLATFORM": "cpu", "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "OMP_NUM_THREADS": "2", "OMP_WAIT_POLICY": "PASSIVE", "VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1",
    }  # fmt: skip
    code = (
        "import env_adapter; env_adapter.REGISTRY['toy'] = 'toy_eval_env:ToyAdapter'; import evaluate; evaluate.main()"
    )

    def run_tool(name, *arguments):
        command = [sys.executable, "-c", code, "--model", str(tiny), "--env", "toy", "--samples", "2"]
        command += ["--set", "tasks=800"]  # more tokens than one batch takes, so that some prompts have to wait
        command += ["--temperature", "1", "--max-tokens", "12", "--output", str(tmp_path / name), *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        return read(tmp_path / name)

    summary, rows = run_tool("a")
    assert (summary["tasks"], summary["answers"], summary["errors"]) == (80, 160, 0)
    assert summary["model"] == str(tiny)
    assert "vllm" in summary["versions"]
    assert all(1 <= row["tokens"] <= 12 for row in rows)
    assert len({row["response"] for row in rows}) > 80  # the samples differ, within a task too
    assert [row["response"] for row in run_tool("b")[1]] == [row["response"] for row in rows]


@pytest.mark.slow
def test_a_prompt_too_long_for_the_model_is_said_before_it_is_loaded(tiny, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(VllmModel, "answer", lambda *_: pytest.fail("the model was loaded"))
    arguments = ["--model", str(tiny), "--env", "toy", "--output", str(tmp_path / "out")]
    assert evaluate.main([*arguments, "--max-tokens", "8190"]) == 2
    assert "exceeds the model's context of" in error_line(capsys)
