"""The value of a move, against exact minimax: ranking, sign, determinism, and what it may cost."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from games.cases import AVAILABLE_CASES, Case, load_case
from games.states import StateTable, play
from games.values import MAX_SIMULATIONS, MIN_SIMULATIONS, SIMULATION_US, action_value, simulations_for


def minimax(state: Any, memo: dict[tuple[str, int], float]) -> float:
    """The exact return of player 0."""
    if state.is_terminal():
        return state.returns()[0]
    key = (str(state), state.current_player())
    if key not in memo:
        values = [minimax(state.child(action), memo) for action in state.legal_actions()]
        memo[key] = max(values) if state.current_player() == 0 else min(values)
    return memo[key]


def ranking_accuracy(case: Case, min_depth: int, num_states: int, simulations: int) -> tuple[float, int]:
    """(share, number) of the move pairs of different exact value that `action_value` ranks rightly; ties count half."""
    table, memo, right, pairs, states = StateTable(case, seed=11), {}, 0.0, 0, 0
    for index in itertools.count():
        history = table.history(index)
        if len(history) < min_depth:
            continue
        state = play(case, history)
        sign = 1 if state.current_player() == 0 else -1
        exact = {action: sign * minimax(state.child(action), memo) for action in state.legal_actions()}
        if len(set(exact.values())) == 1:
            continue
        text = " ".join(map(str, history))
        value = {action: action_value(case.name, text, action, simulations) for action in exact}
        for one, other in itertools.combinations(exact, 2):
            if exact[one] != exact[other]:
                pairs += 1
                gap = (value[one] - value[other]) * (exact[one] - exact[other])
                right += 1.0 if gap > 0 else 0.5 if gap == 0 else 0.0
        states += 1
        if states == num_states:
            return right / pairs, pairs
    raise AssertionError("unreachable")


@pytest.mark.parametrize(
    ("name", "min_depth", "num_states"),
    [
        ("tic_tac_toe", 0, 40),
        ("hex(board_size=4)", 6, 12),
        ("clobber(rows=4,columns=4)", 4, 12),
        ("connect_four(rows=4,columns=4)", 6, 30),
        # The player of the fourth side moves again. Earlier states: 93 %, the search has no transpositions.
        ("dots_and_boxes(num_rows=3,num_cols=3)", 16, 12),
    ],
)
def test_moves_are_ranked_as_exact_minimax_ranks_them(name: str, min_depth: int, num_states: int) -> None:
    accuracy, pairs = ranking_accuracy(load_case(name), min_depth, num_states, simulations=1500)
    assert pairs >= 50
    assert accuracy >= 0.95


@pytest.mark.parametrize(
    ("name", "history", "action", "value"),
    [
        ("tic_tac_toe", "3 2 4 7 6 0 8", 1, 1.0),  # player 1 wins at once
        ("tic_tac_toe", "3 2 4 7 6 0 8", 5, 0.5),  # a draw
        ("tic_tac_toe", "0 8 1", 3, 0.0),  # player 1 leaves 0-1-2 open
        ("tic_tac_toe", "0 3 1 4", 2, 1.0),  # player 0 wins at once
        ("tic_tac_toe", "0 3 1 4", 8, 0.0),  # player 0 leaves 3-4-5 open
    ],
)
def test_values_are_those_of_the_player_who_moved(name: str, history: str, action: int, value: float) -> None:
    assert action_value(name, history, action, 1500) == value


def test_a_value_does_not_change_when_it_is_worked_out_again() -> None:
    name, history = "hex(board_size=7)", "24 10 3"
    first = [action_value(name, history, action, 200) for action in (0, 17, 30)]
    assert len(set(first)) == 3 and all(0 < value < 1 for value in first)
    action_value.cache_clear()
    assert [action_value(name, history, action, 200) for action in (0, 17, 30)] == first


@pytest.mark.parametrize("name", AVAILABLE_CASES)
def test_values_lie_between_zero_and_one_and_differ_between_moves(name: str) -> None:
    case = load_case(name)
    table = StateTable(case, seed=2)
    spread = 0.0
    for index in range(4):
        history = table.history(index)
        legal = play(case, history).legal_actions()[:6]
        values = [action_value(name, " ".join(map(str, history)), action, 40) for action in legal]
        assert all(0.0 <= value <= 1.0 for value in values)
        spread = max(spread, max(values) - min(values))
    assert spread > 0


def test_a_forced_reply_is_played_before_the_search() -> None:
    """A root with one child ends OpenSpiel's search at once, which would leave a value of one random playout."""
    case = load_case("tic_tac_toe")
    state = play(case, [0, 1, 2, 4, 3, 5, 7])
    for action in state.legal_actions():
        exact = (1 - minimax(state.child(action), {})) / 2  # player 1 is to move
        assert action_value(case.name, "0 1 2 4 3 5 7", action, MIN_SIMULATIONS) == exact


def test_every_available_case_has_a_measured_cost() -> None:
    assert set(SIMULATION_US) == set(AVAILABLE_CASES)


def test_simulations_follow_the_budget_within_their_limits() -> None:
    case = load_case("othello")
    assert simulations_for(case, 25) == 25_000 // SIMULATION_US["othello"]
    assert simulations_for(case, 0.1) == MIN_SIMULATIONS
    assert simulations_for(case, 10_000) == MAX_SIMULATIONS


def test_a_size_that_was_not_measured_costs_what_its_size_suggests() -> None:
    counts = [simulations_for(load_case(f"hex(board_size={size})"), 25) for size in (4, 6, 11)]
    assert counts == sorted(counts, reverse=True) and counts[0] > counts[-1]
    assert MIN_SIMULATIONS <= simulations_for(load_case("nim"), 25) <= MAX_SIMULATIONS
