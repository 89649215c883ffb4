"""The OpenSpiel environment: which games, which states, what the prompt shows, and what is refused."""

from __future__ import annotations

import pickle
from dataclasses import replace
from typing import Any

import pytest

from env_adapter import Challenge, EnvError, SettingsError, get_env_adapter
from games.cases import AVAILABLE_CASES, DEFAULT_CASES, load_case
from games.states import StateTable, chance_outcome, play, state_of
from games.values import action_value
from openspiel_adapter import OpenSpielAdapter


def test_without_settings_every_default_case_has_a_hundred_tasks() -> None:
    adapter = get_env_adapter("openspiel")
    assert adapter.num_tasks() == 100 * len(DEFAULT_CASES)


def test_settings_may_be_text_as_in_an_environment_variable() -> None:
    adapter = get_env_adapter(
        "openspiel", {"game_types": "hex(board_size=5),chess", "num_tasks_per_case": "7", "max_random_steps": "none"}
    )
    assert adapter.num_tasks() == 14


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"game_types": "hexx"}, "unknown game 'hexx' in game_types: known are tic_tac_toe"),
        ({"cases": "chess", "game_types": "hex"}, "known are chess"),
        ({"cases": "hexx"}, "Unknown game 'hexx'"),
        ({"cases": "pig", "game_list": "hex"}, "give one of the two"),
        ({"game_configs": {"hex": {"board_size": 5}}}, "game_configs"),
        ({"game_configs": "hex: 5"}, "game_configs"),
        ({"game_configs": '{"hex": [{"bord_size": 5}]}'}, "Unknown parameter 'bord_size'"),
        ({"on_shortage": "ignore"}, "'refuse' or 'cap'"),
        ({"drop_equal_moves": "perhaps"}, "drop_equal_moves"),
        ({"cases": "nim", "num_tasks_per_case": 0}, "num_tasks_per_case"),
        ({"num_tasks_per_case": "many"}, "num_tasks_per_case"),
        ({"reward_mode": "win"}, "'outcome', 'rank' or 'legal'"),
        ({"max_random_steps": -1}, "max_random_steps"),
        ({"value_budget_ms": 0}, "value_budget_ms"),
        ({"num_task_per_case": 5}, "did you mean 'num_tasks_per_case'"),
    ],
)
def test_a_setting_that_cannot_be_served_is_refused_with_the_reason(config: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError) as error:
        get_env_adapter("openspiel", config)
    assert message in str(error.value)


def test_a_case_with_too_few_states_says_how_many_it_has() -> None:
    adapter = OpenSpielAdapter({"cases": "tic_tac_toe", "max_random_steps": 1, "num_tasks_per_case": 11})
    assert adapter.generate(9).extra["history"] != adapter.generate(8).extra["history"]
    with pytest.raises(SettingsError, match=r"only 10 distinct states .* set num_tasks_per_case to at most 10"):
        adapter.generate(10)
    with pytest.raises(SettingsError, match="only 10 distinct states"):
        adapter.validate()


def test_a_capped_case_has_the_states_there_are_and_says_so() -> None:
    config = {"cases": "tic_tac_toe, leduc_poker, hex(board_size=5)", "max_random_steps": 1, "num_tasks_per_case": 20}
    adapter = OpenSpielAdapter({**config, "on_shortage": "cap"})
    with pytest.warns(UserWarning, match=r"num_tasks_per_case=20: tic_tac_toe has 10, leduc_poker has 9$"):
        assert adapter.num_tasks() == 39
    games = [adapter.generate(task_id).extra["game"] for task_id in range(39)]
    assert games == ["tic_tac_toe"] * 10 + ["leduc_poker"] * 9 + ["hex(board_size=5)"] * 20
    assert len({str(adapter.generate(task_id).messages) for task_id in range(39)}) == 39
    with pytest.raises(IndexError, match="outside 0 … 38"):
        adapter.generate(39)
    adapter.validate()
    whole = OpenSpielAdapter({"cases": "hex(board_size=5)", "max_random_steps": 1, "num_tasks_per_case": 20})
    assert adapter.generate(19).messages == whole.generate(0).messages  # the cap changes ids, not states


def test_without_a_shortage_a_cap_changes_nothing() -> None:
    config = {"cases": "tic_tac_toe, pig", "num_tasks_per_case": 5}
    capped, plain = (OpenSpielAdapter({**config, "on_shortage": way}) for way in ("cap", "refuse"))
    assert [capped.generate(i) for i in range(10)] == [plain.generate(i) for i in range(10)]


def test_states_in_which_every_move_is_worth_the_same_can_be_left_out() -> None:
    config = {"cases": "tic_tac_toe, leduc_poker, connect_four", "num_tasks_per_case": 150}
    dropped, plain = (OpenSpielAdapter({**config, "drop_equal_moves": drop}) for drop in (True, False))

    def share_of_equal(adapter: OpenSpielAdapter) -> float:
        equal = 0
        for task_id in range(150):
            extra = adapter.generate(task_id).extra
            legal = state_of(extra["game"], extra["history"]).legal_actions()
            equal += len({action_value(extra["game"], extra["history"], action, 2000) for action in legal}) == 1
        return equal / 150

    assert share_of_equal(dropped) < 0.03 < 0.05 < share_of_equal(plain)
    assert dropped.generate(449).extra["game"] == "connect_four"


def test_games_may_be_given_as_pairs_also_in_text() -> None:
    adapter = get_env_adapter(
        "openspiel",
        {"game_list": "hex,pig", "game_configs": '{"hex": [{"board_size": 4}, {"board_size": 5}]}'},
    )
    assert adapter.num_tasks() == 300
    games = [adapter.generate(task_id).extra["game"] for task_id in (0, 100, 200)]
    assert games == ["hex(board_size=4)", "hex(board_size=5)", "pig"]


def test_validate_passes_where_every_state_is_there() -> None:
    OpenSpielAdapter({"num_tasks_per_case": 3}).validate()


def test_more_tasks_per_case_only_add_tasks() -> None:
    few = OpenSpielAdapter({"cases": "tic_tac_toe,hex(board_size=5)", "num_tasks_per_case": 10})
    many = OpenSpielAdapter({"cases": "tic_tac_toe,hex(board_size=5)", "num_tasks_per_case": 50})
    assert few.generate(3).messages == many.generate(3).messages
    assert few.generate(13).messages == many.generate(53).messages


def test_another_seed_gives_other_states() -> None:
    one, other = (OpenSpielAdapter({"cases": "chess", "num_tasks_per_case": 10, "seed": seed}) for seed in (0, 1))
    assert not {one.generate(i).extra["history"] for i in range(10)} & {
        other.generate(i).extra["history"] for i in range(10)
    }


@pytest.mark.parametrize("name", AVAILABLE_CASES)
def test_states_are_decisions_of_both_seats_at_many_depths(name: str) -> None:
    case = load_case(name)
    table = StateTable(case, seed=5)
    histories = [table.history(index) for index in range(40)]
    states = [play(case, history) for history in histories]
    assert all(len(state.legal_actions()) >= 2 and state.current_player() >= 0 for state in states)
    seats = [state.current_player() for state in states]
    players = case.game.num_players()
    assert all(seats.count(seat) >= 20 / players / 2 for seat in range(players))
    assert len({len(history) for history in histories}) >= (2 if name == "blackjack" else 5)


def test_chance_is_played_out_as_often_as_it_should_be() -> None:
    """The first event of blackjack is a card of 52, that of pig's first roll a number of 6."""
    case = load_case("pig")
    table = StateTable(case, seed=3)
    rolls = [history[1] for history in map(table.history, range(400)) if len(history) > 1 and history[0] == 0]
    assert len(rolls) > 150
    assert all(0.10 < rolls.count(face) / len(rolls) < 0.24 for face in range(6))


def test_chance_does_not_count_as_a_step() -> None:
    table = StateTable(load_case("leduc_poker"), seed=0, max_random_steps=0)
    assert {len(table.history(index)) for index in range(3)} == {2}  # two cards are dealt, nobody has moved
    assert table.available(10) == 3  # the player sees J, Q or K


@pytest.mark.parametrize("number, outcome", [(0.0, 0), (0.16, 0), (0.17, 1), (0.99, 5), (0.9999999999999999, 5)])
def test_a_number_picks_a_chance_outcome(number: float, outcome: int) -> None:
    state = play(load_case("pig"), [0])
    assert chance_outcome(state, number) == outcome


def test_max_random_steps_bounds_the_depth() -> None:
    table = StateTable(load_case("hex(board_size=5)"), seed=0, max_random_steps=3)
    assert {len(table.history(index)) for index in range(100)} == {0, 1, 2, 3}


def _challenge() -> Challenge:
    return OpenSpielAdapter({"cases": "tic_tac_toe"}).generate(1)


@pytest.mark.parametrize(
    "damage",
    [
        {"game": "no_such_game"},
        {"game": None},
        {"game": "leduc_poker"},  # where the history would deal a card twice
        {"game": "leduc_poker", "history": "1 2 1 1"},  # chance is to move
        {"game": "hex(board_size=-3)"},
        {"history": "0 0"},
        {"history": "99"},
        {"history": "0 1 2 x"},
        {"history": "0,1"},
        {"history": [0, 1]},
        {"history": "0 3 1 4 2"},
        {"history": "1" * 5000},
        {"player": 7},
        {"reward_mode": "win"},
        {"simulations": 0},
        {"simulations": "a few"},
        {"simulations": float("inf")},
    ],
)
def test_a_corrupted_challenge_is_our_fault(damage: dict[str, Any]) -> None:
    challenge = _challenge()
    with pytest.raises(EnvError, match="corrupted challenge"):
        OpenSpielAdapter().evaluate("4", replace(challenge, extra={**challenge.extra, **damage}))


@pytest.mark.parametrize("missing", ["game", "history", "player", "reward_mode", "simulations"])
def test_a_challenge_that_lacks_a_part_is_our_fault(missing: str) -> None:
    challenge = _challenge()
    extra = {key: value for key, value in challenge.extra.items() if key != missing}
    with pytest.raises(EnvError, match=missing):
        OpenSpielAdapter().evaluate("4", replace(challenge, extra=extra))


def test_legal_mode_pays_any_legal_move_and_no_other() -> None:
    adapter = OpenSpielAdapter({"cases": "hex(board_size=5)", "reward_mode": "legal", "num_tasks_per_case": 5})
    challenge = adapter.generate(0)
    legal = state_of(challenge.extra["game"], challenge.extra["history"]).legal_actions()
    scores = {action: adapter.evaluate(str(action), challenge).value for action in range(25)}
    assert scores == {action: float(action in legal) for action in range(25)}


def test_random_answers_reach_every_legal_move() -> None:
    adapter = OpenSpielAdapter({"cases": "tic_tac_toe"})
    challenge = adapter.generate(1)
    legal = state_of(challenge.extra["game"], challenge.extra["history"]).legal_actions()
    assert {int(adapter.random_answer(challenge, seed)) for seed in range(200)} == set(legal)


def test_an_adapter_can_be_sent_to_another_process() -> None:
    adapter = OpenSpielAdapter({"cases": "hex(board_size=5)"})
    first = adapter.generate(5)
    assert pickle.loads(pickle.dumps(adapter)).generate(5) == first
