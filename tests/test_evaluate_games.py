"""evaluate.py on OpenSpiel in both forms, single decisions with regret and whole games, through a real HTTP server."""

from __future__ import annotations

import itertools
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

import evaluate
from env_adapter import Challenge
from openspiel_adapter import OpenSpielAdapter
from test_evaluate import chat_server, error_line, read
from tiny_player import build_player

sys.path.insert(0, str(Path(__file__).parent / "scripts"))
from script_runner import Checkout

Request = dict[str, Any]
LONG_ENOUGH = {"tic_tac_toe": 2, "leduc_poker": 1}


def evaluated(url: str, output: Path, *arguments: str, code: int = 0) -> None:
    assert evaluate.main(["--url", url, "--env", "openspiel", "--output", str(output), *arguments]) == code


def last_legal(request: Request) -> str:
    """A model that takes the last action of the list."""
    actions = request["messages"][-1]["content"].rpartition("Actions:\n")[2]
    return re.findall(r"^(\d+) -> ", actions, re.MULTILINE)[-1]


GAMES = ("--set", "mode=game", "--set", "game_types=tic_tac_toe,leduc_poker", "--set", "num_tasks_per_case=40")


def test_whole_games_are_played_to_their_end_and_summed_up_by_game(tmp_path: Path, capsys) -> None:
    with chat_server(last_legal) as (url, requests):
        evaluated(url, tmp_path, *GAMES, "--set", "opponents=mcts(20)", "--num-tasks", "8")
    summary, rows = read(tmp_path)
    assert summary["tasks"] == len(rows) == 8 and summary["errors"] == 0
    assert summary["adapter_config"]["opponents"] == "mcts(20)"
    assert set(summary["metrics"]) == {"won", "forfeited", "unfinished", "turns", "illegal"}
    assert summary["metrics"]["forfeited"]["mean"] == 0
    assert set(summary["groups"]) == {row["group"] for row in rows} == {"tic_tac_toe", "leduc_poker"}
    assert sum(group["reward"]["n"] for group in summary["groups"].values()) == 8
    for row in rows:
        assert row["response"].startswith("user: ") and row["response"].count("assistant: ") == row["metrics"]["turns"]
        assert row["metrics"]["turns"] >= LONG_ENOUGH[row["group"]]
        assert row["tokens"] == 3 * row["metrics"]["turns"]
        assert row["metrics"]["won"] == (row["score"] > 0.5)
    assert len(requests) == sum(row["metrics"]["turns"] for row in rows)
    out = capsys.readouterr().out
    assert "won" in out and "reward by type of task" in out and "leduc_poker" in out


def test_the_same_evaluation_gives_the_same_games(tmp_path: Path) -> None:
    for name in ("one", "two"):
        with chat_server(last_legal) as (url, _):
            evaluated(url, tmp_path / name, *GAMES, "--set", "opponents=mcts(20)", "--num-tasks", "6")
    assert read(tmp_path / "one")[1] == read(tmp_path / "two")[1]


def test_the_model_sees_the_game_as_in_training(tmp_path: Path) -> None:
    """Rules, then turns; its own thinking is not shown again."""
    with chat_server(lambda request: f"<think>hm</think>{last_legal(request)}") as (url, requests):
        evaluated(url, tmp_path, *GAMES, "--set", "game_types=tic_tac_toe", "--num-tasks", "1")
    chats = [request["messages"] for request in requests]
    for before, after in itertools.pairwise(chats):
        assert after[: len(before)] == before
        assert [message["role"] for message in after[len(before) :]] == ["assistant", "user"]
        assert "think" not in after[len(before)]["content"]
    assert len({request["seed"] for request in requests}) == len(requests)


def test_the_policy_can_be_set_against_itself(tmp_path: Path) -> None:
    with chat_server(last_legal) as (url, requests):
        evaluated(url, tmp_path, *GAMES, "--set", "opponents=self", "--num-tasks", "4")
    assert len(requests) > sum(row["metrics"]["turns"] for row in read(tmp_path)[1])


def test_illegal_answers_cost_the_game(tmp_path: Path) -> None:
    with chat_server(lambda _: "I resign") as (url, requests):
        evaluated(url, tmp_path, *GAMES, "--num-tasks", "5", "--set", "tries=2")
    summary, _ = read(tmp_path)
    assert summary["reward"]["mean"] == 0
    assert summary["metrics"]["forfeited"]["mean"] == 1 and summary["metrics"]["illegal"]["mean"] == 2
    assert len(requests) == 10


def test_a_server_that_fails_is_no_lost_game(tmp_path: Path, capsys) -> None:
    def failing(request: Request) -> str | tuple[int, bytes]:
        if len(request["messages"]) > 4:
            return 400, b'{"error": {"message": "too long"}}'
        return last_legal(request)

    with chat_server(failing) as (url, _):
        evaluated(url, tmp_path / "all", *GAMES, "--num-tasks", "6", code=2)
    assert "tasks cannot be scored" in error_line(capsys)
    with chat_server(failing) as (url, _):
        evaluated(url, tmp_path / "some", *GAMES, "--num-tasks", "6", "--max-errors", "0.99")
    summary, rows = read(tmp_path / "some")
    assert summary["errors"] > 0 and summary["errors"] + summary["answers"] == 6
    assert all(row["score"] is None and row["metrics"] == {} for row in rows if row["error"])


def test_what_cannot_be_evaluated_is_refused_before_the_model_is_asked(tmp_path: Path, capsys) -> None:
    with chat_server(last_legal) as (url, requests):
        evaluated(url, tmp_path, *GAMES, "--set", "opponents=random,mcts(5)", code=2)
        assert "opponents=random,mcts(5): outside of training, name one" in error_line(capsys)
        evaluated(url, tmp_path, *GAMES, "--regret", code=2)
        assert "--regret is for single decisions" in error_line(capsys)
        evaluated(url, tmp_path, *GAMES, "--max-context", "-1", code=2)
        assert "--max-context -1: must be at least 0" in error_line(capsys)
    assert requests == []


# --- single decisions

STATES = ("--set", "game_types=tic_tac_toe,hex(board_size=3)", "--set", "num_tasks_per_case=60")


def test_regret_is_what_the_best_move_is_worth_more(tmp_path: Path, capsys) -> None:
    with chat_server(last_legal) as (url, _):
        evaluated(url, tmp_path, *STATES, "--regret")
    summary, rows = read(tmp_path)
    adapter = OpenSpielAdapter({"game_types": "tic_tac_toe,hex(board_size=3)", "num_tasks_per_case": 60})
    assert len(rows) == 12
    for row in rows:
        challenge: Challenge = adapter.generate(row["task_id"])
        best = adapter.evaluate(adapter.reference_answer(challenge), challenge).value
        assert row["metrics"]["regret"] == pytest.approx(best - row["score"])
        assert row["metrics"]["best"] == (row["metrics"]["regret"] == 0)
    assert 0 < summary["metrics"]["best"]["mean"] < 1
    assert set(summary["groups"]) == {"tic_tac_toe", "hex(board_size=3)"}
    assert set(summary["groups"]["tic_tac_toe"]["metrics"]) == {"answered", "legal", "value", "best", "regret"}
    assert "regret" in capsys.readouterr().out


def test_an_illegal_answer_regrets_all_of_the_best_moves_value() -> None:
    adapter = OpenSpielAdapter({"game_types": "tic_tac_toe"})
    challenge = adapter.generate(7)
    best = adapter.evaluate(adapter.reference_answer(challenge), challenge).value
    assert adapter.regret("no", challenge) == {"best": 0.0, "regret": best}
    assert adapter.regret(adapter.reference_answer(challenge), challenge) == {"best": 1.0, "regret": 0.0}
    legal_only = OpenSpielAdapter({"game_types": "tic_tac_toe", "reward_mode": "legal"})
    assert legal_only.regret("no", legal_only.generate(7)) == {"best": 0.0, "regret": best}


def test_without_the_flag_nothing_more_is_valued(tmp_path: Path) -> None:
    with chat_server(last_legal) as (url, _):
        evaluated(url, tmp_path, *STATES, "--set", "game_types=tic_tac_toe")
    summary, rows = read(tmp_path)
    assert set(summary["metrics"]) == {"answered", "legal", "value"}
    assert summary["groups"] == {}
    assert json.loads((tmp_path / "summary.json").read_text())["groups"] == {}
    assert {row["group"] for row in rows} == {"tic_tac_toe"}


@pytest.mark.slow
def test_a_model_directory_plays_whole_games_in_vllm(tiny: Path, tmp_path: Path) -> None:
    player = build_player(tiny, tmp_path / "player")
    result = Checkout(tmp_path).bash(
        f"bash train/scripts/evaluate.sh --model '{player}' --env openspiel --set mode=game "
        "--set game_types=tic_tac_toe --set 'opponents=mcts(20)' --set num_tasks_per_case=100 "
        f"--temperature 1 --max-tokens 1 --max-context 700 --output '{tmp_path}/scores'"
    )
    assert result.returncode == 0, result.stderr[-3000:]
    summary = json.loads((tmp_path / "scores/summary.json").read_text())
    assert summary["tasks"] == 10 and summary["errors"] == 0
    assert 0 <= summary["reward"]["mean"] <= 1
    assert summary["metrics"]["turns"]["mean"] > 0
