"""Who plays the other seats: legal moves, the same by the same seed, and better ones by more simulations."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from env_adapter import SettingsError
from games.cases import AVAILABLE_CASES, load_case
from games.opponents import Opponent, parse_opponent
from games.states import chance_outcome, play, random_game

TOOLS = Path(__file__).parent.parent / "train" / "tools"


def decisions(name: str, games: int = 2, each: int = 3) -> Iterator[Any]:
    case = load_case(name)
    for number in range(games):
        history, places = random_game(case, random.Random(number).random)
        for place in places[:: max(1, len(places) // each)][:each]:
            yield play(case, history[:place])


@pytest.mark.parametrize(
    ("text", "opponent"),
    [
        ("random", Opponent("random")),
        (" Self ", Opponent("self")),
        ("mcts(100)", Opponent("mcts(100)", 100)),
        ("MCTS( 1000, 50 )", Opponent("mcts(1000,50)", 1000, 50)),
        ("mcts(100,1)", Opponent("mcts(100)", 100)),
    ],
)
def test_an_opponent_is_named_by_text(text: str, opponent: Opponent) -> None:
    assert parse_opponent(text) == opponent
    assert parse_opponent(opponent.name) == opponent


@given(st.one_of(st.text(max_size=20), st.from_regex(r"mcts\([0-9,. -]{0,9}\)?", fullmatch=True)))
def test_any_text_names_an_opponent_or_is_refused(text: str) -> None:
    try:
        opponent = parse_opponent(text)
    except SettingsError as error:
        assert repr(text) in str(error)
    else:
        assert parse_opponent(opponent.name) == opponent


@pytest.mark.parametrize(
    "text", ["", "mcts", "mcts()", "mcts(0)", "mcts(1)", "mcts(10,0)", "mcts(-5)", "mcts(9999999)"]
)
def test_what_is_no_opponent_is_refused_with_what_is(text: str) -> None:
    with pytest.raises(SettingsError, match=r"simulations|random, mcts"):
        parse_opponent(text)


@pytest.mark.parametrize("name", AVAILABLE_CASES)
def test_every_game_has_legal_moves_that_the_seed_decides_in_any_thread(name: str) -> None:
    case, states = load_case(name), list(decisions(name))
    for opponent in (parse_opponent("random"), parse_opponent("mcts(5)")):
        moves = [opponent.move(case, state, 7) for state in states]
        assert all(move in state.legal_actions() for move, state in zip(moves, states, strict=True))
        with ThreadPoolExecutor(4) as threads:
            assert list(threads.map(lambda state, o=opponent: o.move(case, state, 7), states * 3)) == moves * 3


def test_a_decision_is_the_same_in_another_process() -> None:
    code = """
from games.cases import load_case
from games.opponents import parse_opponent
for name, depth in [("hex(board_size=5)", 3), ("gin_rummy", 30), ("goofspiel", 4)]:
    case = load_case(name)
    state = case.game.new_initial_state()
    while depth > 0 or state.is_chance_node():
        state.apply_action(state.legal_actions()[depth % len(state.legal_actions())])
        depth -= 1
    print(parse_opponent("mcts(40)").move(case, state, 11), parse_opponent("random").move(case, state, 11))
"""
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONPATH": str(TOOLS), "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1


def test_seeds_decide_between_equal_moves() -> None:
    case = load_case("hex(board_size=5)")
    state = case.game.new_initial_state()
    assert len({parse_opponent("random").move(case, state, seed) for seed in range(50)}) > 10


def test_a_search_is_refused_where_it_would_end_the_process() -> None:
    case = load_case("leduc_poker")
    with pytest.raises(ValueError, match="nobody is to move"):
        parse_opponent("mcts(10)").move(case, case.game.new_initial_state(), 1)
    with pytest.raises(ValueError, match="asked of the policy"):
        parse_opponent("self").move(case, play(case, [0, 1]), 1)


def share_of_wins(name: str, one: str, other: str, games: int) -> float:
    case, players = load_case(name), (parse_opponent(one), parse_opponent(other))
    won = 0.0
    for number in range(games):
        state, numbers = case.game.new_initial_state(), random.Random(number)
        while not state.is_terminal():
            player = state.current_player()
            if player < 0:
                state.apply_action(chance_outcome(state, numbers.random()))
            else:
                state.apply_action(players[(player + number) % 2].move(case, state, numbers.getrandbits(31)))
        mine, theirs = state.returns()[number % 2], state.returns()[1 - number % 2]
        won += (mine > theirs) + (mine == theirs) / 2
    return won / games


@pytest.mark.parametrize(
    ("name", "stronger", "weaker", "games", "least"),
    [
        ("tic_tac_toe", "mcts(100)", "random", 40, 0.85),
        ("connect_four", "mcts(100)", "random", 20, 0.85),
        ("goofspiel(num_cards=8)", "mcts(300)", "random", 40, 0.65),
        ("leduc_poker", "mcts(50)", "random", 200, 0.6),
        ("cribbage", "mcts(12)", "random", 4, 0.6),
    ],
)
def test_a_search_beats_random_moves(name: str, stronger: str, weaker: str, games: int, least: float) -> None:
    assert share_of_wins(name, stronger, weaker, games) >= least


def test_more_simulations_beat_fewer() -> None:
    assert share_of_wins("hex(board_size=5)", "mcts(400)", "mcts(20)", 10) >= 0.8


def test_a_bid_of_the_same_round_is_not_seen() -> None:
    case, opponent = load_case("goofspiel(num_cards=8)"), parse_opponent("mcts(200)")
    assert {opponent.move(case, play(case, [3, bid]), 5) for bid in range(8)} == {
        opponent.move(case, play(case, [3, 0]), 5)
    }


def test_others_go_on_while_a_search_thinks() -> None:
    case = load_case("othello")
    thinking = threading.Thread(target=parse_opponent("mcts(2000)").move, args=(case, case.game.new_initial_state(), 1))
    thinking.start()
    ticks = 0
    while thinking.is_alive():
        ticks += 1
        time.sleep(0.01)
    assert ticks > 5, "the search held Python's lock"
