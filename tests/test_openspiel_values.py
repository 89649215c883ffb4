"""The value of a move: its ranking against solved games, fairness, determinism, bounds, cost, and crashes."""

from __future__ import annotations

import functools
import itertools
import json
import math
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from env_adapter import EnvError, SettingsError
from games import values
from games.cases import AVAILABLE_CASES, Case, load_case
from games.estimators import battleship, cribbage, dots_and_boxes, exact, phantom_ttt, worlds
from games.estimators.decision import decision_of
from games.states import StateTable, play
from games.value_costs import MAX_SIMULATIONS, MIN_SIMULATIONS, SIMULATION_US, WITHOUT_SIMULATIONS
from games.values import action_rank, action_value, estimate, ranked_moves, simulations_for
from openspiel_adapter import OpenSpielAdapter
from openspiel_twins import twins

TOOLS = Path(__file__).parents[1] / "train" / "tools"


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
    ("name", "min_depth", "num_states", "accuracy"),
    [
        ("tic_tac_toe", 0, 40, 1.0),
        ("hex(board_size=4)", 6, 12, 0.97),
        ("clobber(rows=4,columns=4)", 4, 12, 0.97),
        ("connect_four(rows=4,columns=4)", 6, 30, 0.95),
        # The player of the fourth side moves again.
        ("dots_and_boxes(num_rows=2,num_cols=2)", 0, 20, 1.0),
        ("dots_and_boxes(num_rows=3,num_cols=3)", 14, 8, 1.0),
    ],
)
def test_moves_are_ranked_as_exact_minimax_ranks_them(
    name: str, min_depth: int, num_states: int, accuracy: float
) -> None:
    measured, pairs = ranking_accuracy(load_case(name), min_depth, num_states, simulations=1500)
    assert pairs >= 50
    assert measured >= accuracy


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


def test_a_forced_reply_is_played_before_the_search() -> None:
    """A root with one child ends OpenSpiel's search at once, which would leave a value of one random playout."""
    case = load_case("tic_tac_toe")
    state = play(case, [0, 1, 2, 4, 3, 5, 7])
    for action in state.legal_actions():
        exact = (1 - minimax(state.child(action), {})) / 2  # player 1 is to move
        assert action_value(case.name, "0 1 2 4 3 5 7", action, MIN_SIMULATIONS) == exact


def histories(name: str, count: int, seed: int = 2) -> list[str]:
    table = StateTable(load_case(name), seed=seed)
    return [" ".join(map(str, table.history(index))) for index in range(count)]


@pytest.mark.parametrize("name", AVAILABLE_CASES)
def test_values_lie_between_zero_and_one(name: str) -> None:
    for history in histories(name, 3):
        legal = decision_of(name, history).state.legal_actions()[:3]
        assert all(0.0 <= action_value(name, history, action, MIN_SIMULATIONS) <= 1.0 for action in legal)


@pytest.mark.parametrize("name", AVAILABLE_CASES)
def test_moves_differ_in_some_state(name: str) -> None:
    for history in histories(name, 12):
        legal = decision_of(name, history).state.legal_actions()
        sample = legal[:: max(1, len(legal) // 5)]
        if len({action_value(name, history, action, 40) for action in sample}) > 1:
            return
    pytest.fail("all moves are equal in twelve states")


_SCRIPT = """
import json, sys
from games.values import action_rank, action_value
for name, history, action in json.load(sys.stdin):
    print(json.dumps([action_value(name, history, action, 20), action_rank(name, history, action, 20)]))
"""


def in_another_process(script: str, stdin: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(TOOLS), "PYTHONHASHSEED": "7"}
    return subprocess.run(
        [sys.executable, "-c", script], input=stdin, env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.slow
def test_another_process_finds_the_same_values_in_another_order() -> None:
    asked = [
        (name, history, decision_of(name, history).state.legal_actions()[-1])
        for name in AVAILABLE_CASES
        if name not in ("go(board_size=13)", "chess")  # ranks of a hundred moves
        for history in histories(name, 2, seed=4)
    ]
    here = [[action_value(*one, 20), action_rank(*one, 20)] for one in asked]
    done = in_another_process(_SCRIPT, json.dumps(asked[::-1]))
    assert done.returncode == 0, done.stderr[-2000:]
    assert [json.loads(line) for line in done.stdout.splitlines()][::-1] == here


@pytest.mark.parametrize("name", ["hex(board_size=7)", "gin_rummy", "hearts", "liars_dice", "battleship", "cribbage"])
def test_a_value_does_not_change_when_it_is_worked_out_again(name: str) -> None:
    history = histories(name, 1)[0]
    legal = decision_of(name, history).state.legal_actions()[:3]
    first = [action_value(name, history, action, 30) for action in legal]
    decision_of.cache_clear()
    again = decision_of(name, history)
    assert [estimate(again, action, 30) for action in reversed(legal)] == first[::-1]


@pytest.mark.parametrize("name", ["gin_rummy", "hearts", "hex(board_size=5)", "cribbage"])
def test_threads_do_not_disturb_each_other(name: str) -> None:
    asked = [
        (name, history, action)
        for history in histories(name, 4, seed=8)
        for action in decision_of(name, history).state.legal_actions()[:4]
    ]
    alone = [action_value(*one, 24) for one in asked]
    action_value.cache_clear()
    decision_of.cache_clear()
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda one: action_value(*one, 24), asked)) == alone


HIDDEN_CASES = [name for name in AVAILABLE_CASES if load_case(name).hidden]
# OpenSpiel's own resampling shuffles the cards from where they truly lie: fair, but other worlds for other lies.
RESAMPLED_BY_OPENSPIEL = {"gin_rummy": 0.15, "euchre": 0.25}


@pytest.mark.parametrize("name", HIDDEN_CASES)
def test_what_the_mover_cannot_see_does_not_change_a_value(name: str) -> None:
    case, met = load_case(name), 0
    apart = RESAMPLED_BY_OPENSPIEL.get(case.short_name, 0.0)
    for history in histories(name, 8, seed=6):
        numbers = tuple(map(int, history.split()))
        for twin in itertools.islice(twins(case, numbers, tries=100, seed=1), 2):
            for action in decision_of(name, history).state.legal_actions()[:4]:
                one, other = history, " ".join(map(str, twin))
                simulations = 100 if apart else 20
                values = [action_value(name, history, action, simulations) for history in (one, other)]
                assert abs(values[0] - values[1]) <= apart
                met += 1
    assert met > 0


@pytest.mark.parametrize("name", ["hearts", "euchre", "latent_ttt", "goofspiel", "gin_rummy"])
def test_worlds_look_to_the_mover_like_the_true_one(name: str) -> None:
    for history in histories(name, 10, seed=9):
        decision = decision_of(name, history)
        for world in worlds.worlds(decision, 8):
            assert _seen(world, decision.mover) == _seen(decision.state, decision.mover)
            assert world.legal_actions() == decision.state.legal_actions()


def _seen(state: Any, player: int) -> str:
    if state.get_game().get_type().provides_information_state_string:
        return state.information_state_string(player)
    return state.observation_string(player)


def test_worlds_of_cribbage_keep_what_was_seen_and_change_the_rest() -> None:
    hands = set()
    for history in histories("cribbage", 10, seed=9):
        decision = decision_of("cribbage", history)
        for world, _ in cribbage._worlds(decision, 8):
            assert world.observation_string(decision.mover) == decision.state.observation_string(decision.mover)
            assert world.legal_actions() == decision.state.legal_actions()
            hands.add(world.observation_string(1 - decision.mover))
    assert len(hands) > 40


def test_fleets_of_battleship_would_have_answered_the_shots_alike() -> None:
    for history in histories("battleship", 6, seed=9):
        decision = decision_of("battleship", history)
        seen = battleship._seen(decision)
        for _, fleet in battleship._fleets(decision, 10):
            cells = sum(fleet)
            assert cells.bit_count() == 17  # 2 + 3 + 3 + 4 + 5: no two ships share a cell
            assert cells & seen.shot == seen.hit
            sunk = [ship for ship in fleet if not ship & ~seen.shot]
            assert len(sunk) == seen.sinking.bit_count()


@pytest.mark.slow
def test_no_state_of_the_card_games_ends_or_hangs_the_process() -> None:
    """OpenSpiel's own ways do: resampling of hearts, MCTS at a chance node, gin bots in a knock that is not theirs."""
    script = """
import faulthandler, sys
faulthandler.dump_traceback_later(110, exit=True)
from games.cases import load_case
from games.states import StateTable
from games.values import action_value
from games.estimators import battleship, cribbage, dots_and_boxes, exact, phantom_ttt, worlds
from games.estimators.decision import decision_of
for name in ("hearts", "gin_rummy", "euchre", "cribbage", "backgammon", "leduc_poker"):
    table = StateTable(load_case(name), seed=17)
    for index in range(60):
        history = " ".join(map(str, table.history(index)))
        for action in decision_of(name, history).state.legal_actions()[:3]:
            assert 0 <= action_value(name, history, action, 16) <= 1
print("done")
"""
    done = in_another_process(script, "")
    assert done.returncode == 0 and done.stdout.strip() == "done", done.stderr[-2000:]


def expectimax(state: Any, memo: dict[str, float]) -> float:
    """The exact value for player 0 of pig between two faultless players, to a limited number of turns."""
    if state.is_terminal():
        return state.returns()[0]
    key = f"{state} {state.move_number()}"
    if key not in memo:
        if state.is_chance_node():
            memo[key] = sum(p * expectimax(state.child(a), memo) for a, p in state.chance_outcomes())
        else:
            values = [expectimax(state.child(action), memo) for action in state.legal_actions()]
            memo[key] = max(values) if state.current_player() == 0 else min(values)
    return memo[key]


def test_pig_is_solved_as_expectimax_solves_it() -> None:
    """With a horizon of 24 moves few games of 6 points are cut short."""
    name, history = "pig(winscore=6,horizon=24)", "0 2"
    state = play(load_case(name), [0, 2])
    for action in state.legal_actions():
        exact_value = (expectimax(state.child(action), {}) + 1) / 2
        assert action_value(name, history, action, 1) == pytest.approx(exact_value, abs=0.01)


def test_blackjack_ranks_as_drawing_every_card_does() -> None:
    """Standing, worked out over all the cards that the dealer may hold and draw, none of them twice."""

    def dealer(total: int, soft: bool, left: list[int]) -> list[float]:
        if total >= 17:
            return [float(min(total, 22) - 17 == place) for place in range(6)]
        ends = [0.0] * 6
        for points in range(1, 11):
            if left[points - 1]:
                rest = left.copy()
                rest[points - 1] -= 1
                for place, end in enumerate(dealer(*exact._add(total, soft, points), rest)):
                    ends[place] += end * left[points - 1] / sum(left)
        return ends

    history = "9 7 20 31"  # a ten and an eight against a visible 6
    decision = decision_of("blackjack", history)
    own = decision.state.cards(0)
    shown = decision.state.dealers_visible_card()
    left = [4] * 9 + [16]
    for card in (*own, shown):
        left[exact._points(card) - 1] -= 1
    truth = exact._stand(tuple(dealer(*exact._add(0, False, exact._points(shown)), left)), 18)
    stand = next(a for a in decision.state.legal_actions() if decision.state.action_to_string(0, a) == "Stand")
    assert action_value("blackjack", history, stand, 1) == pytest.approx((truth + 1) / 2, abs=0.005)


def test_leduc_values_are_those_of_the_equilibrium() -> None:
    """Folding loses what was put in; the better pair is worth more than no pair against every card."""
    fold, call = 0, 1
    history = "4 2 2 2"  # both have put in money: player 0 holds 4, was raised, and is to move
    assert action_value("leduc_poker", history, fold, 1) == pytest.approx(0.5 + 0.5 * math.tanh(-3 / 5), abs=1e-6)
    assert action_value("leduc_poker", history, call, 1) > action_value("leduc_poker", history, fold, 1)


def test_a_liar_is_doubted_by_the_odds_of_dice_that_are_not_seen() -> None:
    """Own die 0 (a one), the bid says two ones: the other must show a one or a six, 1 in 3."""
    bid = 6  # two ones
    doubt = 12
    assert action_value("liars_dice", f"3 0 {bid}", doubt, 50) == pytest.approx(1 - 1 / 3, abs=1e-9)


def test_phantom_games_are_drawn_as_the_mover_saw_its_own_moves() -> None:
    decision = decision_of("phantom_ttt", "4 4 0 0 1")  # o ran into the x at 4, x into the o at 0
    moves = phantom_ttt._own_moves(decision, keep_turn=True)
    for marks, seen, player in phantom_ttt._worlds(decision, 50):
        assert player == decision.mover
        taken = {cell for cell, free in moves if free}
        assert {cell for cell in range(9) if marks[decision.mover] >> cell & 1} == taken
        assert all(marks[1 - decision.mover] >> cell & 1 for cell, free in moves if not free)
        assert seen[decision.mover] == sum(1 << cell for cell, free in moves if not free)


@pytest.mark.parametrize(("rows", "columns"), [(2, 2), (2, 3), (3, 3)])
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_dots_and_boxes_is_solved_as_minimax_solves_it(rows: int, columns: int, data: st.DataObject) -> None:
    board = dots_and_boxes._board(rows, columns)
    lines = data.draw(st.sets(st.integers(0, len(board.sides) - 1), max_size=11))

    @functools.cache
    def margin(left: int) -> int:
        best = -99 if left else 0
        for place in range(len(board.sides)):
            if left >> place & 1:
                rest = left & ~(1 << place)
                gain = board._gain(left, 1 << place)
                best = max(best, gain + margin(rest) if gain else -margin(rest))
        return best

    left = sum(1 << line for line in lines)
    assert board.solve(left) == margin(left)


@pytest.mark.parametrize(
    "name", ["tic_tac_toe", "leduc_poker", "liars_dice(numdice=5)", "battleship", "hex(board_size=7)"]
)
def test_ranks_run_from_nought_to_one(name: str) -> None:
    for history in histories(name, 3, seed=5):
        moves = ranked_moves(name, history)
        assert len(moves) <= values.MAX_RANKED_MOVES
        ranks = {move: action_rank(name, history, move, 32) for move in moves}
        assert max(ranks.values()) == 1.0
        assert min(ranks.values()) == (1.0 if len(set(ranks.values())) == 1 else 0.0)
        legal = decision_of(name, history).state.legal_actions()
        assert all(0.0 <= action_rank(name, history, move, 32) <= 1.0 for move in legal[::7])


def test_the_best_move_has_rank_one_and_equal_moves_all_have() -> None:
    assert action_rank("tic_tac_toe", "3 2 4 7 6 0 8", 1, 500) == 1.0
    assert action_rank("tic_tac_toe", "3 2 4 7 6 0 8", 5, 500) == 0.0
    first_placement = [action_rank("battleship", "", action, 20) for action in (100, 150, 250)]
    assert first_placement == [1.0, 1.0, 1.0]


def test_the_adapter_rewards_ranks_on_demand() -> None:
    adapter = OpenSpielAdapter({"cases": "tic_tac_toe,leduc_poker", "num_tasks_per_case": 20, "reward_mode": "rank"})
    for task_id in range(adapter.num_tasks()):
        challenge = adapter.generate(task_id)
        assert adapter.evaluate(adapter.reference_answer(challenge), challenge).value == 1.0
        legal = decision_of(challenge.extra["game"], challenge.extra["history"]).state.legal_actions()
        ranks = [adapter.evaluate(str(action), challenge).value for action in legal]
        assert min(ranks) in (0.0, 1.0) and max(ranks) == 1.0
        assert adapter.evaluate("no idea", challenge).value == 0.0


def test_every_available_case_has_a_measured_cost() -> None:
    unmeasured = {name for name in AVAILABLE_CASES if name not in SIMULATION_US}
    assert {load_case(name).short_name for name in unmeasured} == WITHOUT_SIMULATIONS
    assert set(SIMULATION_US) <= set(AVAILABLE_CASES)


def test_simulations_follow_the_budget_within_their_limits() -> None:
    case = load_case("othello")
    assert simulations_for(case, 25) == 25_000 // SIMULATION_US["othello"]
    assert simulations_for(case, 0.1) == MIN_SIMULATIONS
    assert simulations_for(case, 10_000) == MAX_SIMULATIONS
    assert simulations_for(load_case("pig"), 10_000) == 1


def test_a_size_that_was_not_measured_costs_what_its_size_suggests() -> None:
    counts = [simulations_for(load_case(f"hex(board_size={size})"), 25) for size in (4, 6, 12)]
    assert counts == sorted(counts, reverse=True) and counts[0] > counts[-1]
    assert MIN_SIMULATIONS <= simulations_for(load_case("nim"), 25) <= MAX_SIMULATIONS


@pytest.mark.parametrize("name", ["kuhn_poker", "nim", "leduc_poker(players=3)", "goofspiel(players=3,num_cards=4)"])
def test_games_without_an_estimator_of_their_own_are_valued_too(name: str) -> None:
    for history in histories(name, 2):
        for action in decision_of(name, history).state.legal_actions()[:3]:
            assert 0.0 <= action_value(name, history, action, 32) <= 1.0


def test_a_history_that_is_not_one_of_the_game_is_a_fault_and_no_value() -> None:
    with pytest.raises(EnvError, match="history"):
        action_value("tic_tac_toe", "0 0", 1, 20)


def test_no_answer_waits_for_a_solution() -> None:
    exact._equilibrium.cache_clear()
    OpenSpielAdapter({"cases": "leduc_poker", "num_tasks_per_case": 1, "reward_mode": "legal"})
    assert exact._equilibrium.cache_info().currsize == 0
    OpenSpielAdapter({"cases": "leduc_poker", "num_tasks_per_case": 1})
    assert exact._equilibrium.cache_info().currsize == 1


def test_pig_to_more_points_than_are_solved_is_refused() -> None:
    settings = {"cases": "pig(winscore=1000)", "num_tasks_per_case": 1}
    with pytest.raises(SettingsError, match=r"up to winscore=128, not for 1000"):
        OpenSpielAdapter(settings)
    assert OpenSpielAdapter({**settings, "reward_mode": "legal"}).generate(0)
