"""games.jsonl: what it holds, who is played next, and that a resume goes on as if nothing had happened."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from games.records import GameRecords

LADDER = ["random", "mcts(20)", "mcts(200)"]
HEX = "hex(board_size=5)"


def record(step: int, opponent: str, won: bool, game: str = HEX) -> dict[str, Any]:
    return {"step": step, "game": game, "opponent": opponent, "won": won, "task_id": 1}


def next_opponent(
    records: GameRecords, step: int, game: str = HEX, promote_at: float = 0.6, promote_games: int = 10
) -> str:
    return records.opponent(step, game, LADDER, promote_at, promote_games)


def play_step(records: GameRecords, step: int, won: int, games: int = 10, game: str = HEX) -> str:
    """Play one step's games against whoever is to be played; returns who that was."""
    opponent = next_opponent(records, step, game)
    for number in range(games):
        records.add(record(step, opponent, number < won, game))
    return opponent


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "a run" / "games.jsonl"


def test_the_next_opponent_comes_when_enough_games_are_won(file: Path) -> None:
    records = GameRecords(file)
    played = [play_step(records, step, won) for step, won in enumerate([3, 5, 6, 9, 0, 10, 10, 10], 1)]
    assert played == ["random"] * 3 + ["mcts(20)"] + ["mcts(200)"] * 4


def test_few_games_decide_nothing(file: Path) -> None:
    records = GameRecords(file)
    assert [play_step(records, step, won=4, games=4) for step in (1, 2, 3, 4)] == ["random"] * 3 + ["mcts(20)"]


def test_the_latest_games_count_by_whole_steps(file: Path) -> None:
    records = GameRecords(file)
    for step, won in enumerate([0, 0, 0, 6, 6], 1):
        play_step(records, step, won, games=6)
    assert next_opponent(records, 6) == "mcts(20)", "12 of the latest 12 games, whatever was before"


def test_games_of_the_same_step_decide_nothing_yet(file: Path) -> None:
    records = GameRecords(file)
    for _ in range(50):
        records.add(record(1, "random", True))
        assert next_opponent(records, 1) == "random"
    assert next_opponent(records, 2) == "mcts(20)"


def test_the_opponent_of_a_step_stays(file: Path) -> None:
    records = GameRecords(file)
    play_step(records, 1, won=10)
    assert next_opponent(records, 2) == "mcts(20)"
    for _ in range(90):
        records.add(record(1, "random", False))  # late games of an asynchronous rollout
    assert next_opponent(records, 2) == "mcts(20)"


def test_each_case_has_its_own_opponent(file: Path) -> None:
    records = GameRecords(file)
    play_step(records, 1, won=10, game="tic_tac_toe")
    play_step(records, 1, won=0)
    assert (next_opponent(records, 2, "tic_tac_toe"), next_opponent(records, 2)) == ("mcts(20)", "random")


def test_a_resume_drops_the_steps_that_are_trained_again(file: Path) -> None:
    records = GameRecords(file)
    for step, won in enumerate([10, 10, 10], 1):
        play_step(records, step, won)
    resumed = GameRecords(file)  # from the checkpoint of step 1
    assert play_step(resumed, 2, won=0) == "mcts(20)"
    assert [json.loads(line)["step"] for line in file.read_text().splitlines()] == [1] * 10 + [2] * 10
    assert next_opponent(GameRecords(file), 3) == "mcts(20)"
    assert next_opponent(GameRecords(file), 1) == "random"
    assert file.read_text() == ""


def test_a_line_that_a_kill_has_cut_is_left_out(file: Path) -> None:
    records = GameRecords(file)
    play_step(records, 1, won=10)
    with file.open("a") as log:
        log.write('{"step": 1, "game": "hex(boa')
    resumed = GameRecords(file)
    assert next_opponent(resumed, 2) == "mcts(20)"
    resumed.add(record(2, "mcts(20)", True))
    assert len([json.loads(line) for line in file.read_text().splitlines()]) == 11


def test_a_run_that_starts_from_another_runs_checkpoint_takes_its_games_along(file: Path, tmp_path: Path) -> None:
    records = GameRecords(file)
    for step in (1, 2):
        play_step(records, step, won=10)
    new = tmp_path / "another run" / "games.jsonl"
    assert next_opponent(GameRecords(new, file), 3) == "mcts(200)"
    assert len(new.read_text().splitlines()) == len(file.read_text().splitlines()) == 20
    assert next_opponent(GameRecords(new, file), 2) == "mcts(20)", "its own file, once there is one"
    assert next_opponent(GameRecords(tmp_path / "third.jsonl", tmp_path / "nowhere.jsonl"), 3) == "random"


@pytest.mark.parametrize("line", ["", "null", "[]", "7", "{}", '{"step": "1", "game": "g", "opponent": "o", "won": 1}'])
def test_lines_that_are_no_records_are_left_out(file: Path, line: str) -> None:
    file.parent.mkdir()
    file.write_text(line + "\n" + json.dumps(record(1, "random", True)) + "\n")
    next_opponent(GameRecords(file), 2)
    assert len(file.read_text().splitlines()) == 1


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), steps=st.integers(1, 12), killed=st.integers(0, 12))
def test_killed_and_resumed_anywhere_it_plays_the_same_opponents(
    tmp_path_factory: pytest.TempPathFactory, seed: int, steps: int, killed: int
) -> None:
    def results(step: int) -> tuple[int, int]:
        numbers = random.Random(f"{seed}|{step}")
        games = numbers.randrange(1, 12)
        return numbers.randrange(games + 1), games

    whole = GameRecords(tmp_path_factory.mktemp("whole") / "games.jsonl")
    expected = [play_step(whole, step, *results(step)) for step in range(1, steps + 1)]
    file = tmp_path_factory.mktemp("killed") / "games.jsonl"
    first = GameRecords(file)
    played = [play_step(first, step, *results(step)) for step in range(1, min(killed, steps) + 1)]
    checkpoint = max(0, len(played) - random.Random(seed).randrange(3))
    second = GameRecords(file)
    played[checkpoint:] = [play_step(second, step, *results(step)) for step in range(checkpoint + 1, steps + 1)]
    assert played == expected
