"""The OpenSpiel environment: which games, which states, what the prompt shows, and what is refused."""

from __future__ import annotations

import pickle
from dataclasses import replace
from typing import Any

import pytest

from env_adapter import Challenge, EnvError, SettingsError, get_env_adapter
from games.cases import AVAILABLE_CASES, DEFAULT_CASES, load_case, resolve_cases
from games.prompts import build_messages, legal_moves
from games.states import StateTable, play, state_of
from openspiel_adapter import OpenSpielAdapter


def test_without_settings_every_default_case_has_a_hundred_tasks() -> None:
    adapter = get_env_adapter("openspiel")
    assert adapter.num_tasks() == 100 * len(DEFAULT_CASES)


@pytest.mark.parametrize(
    ("cases", "game_types", "expected"),
    [
        ([], ["hex"], ["hex(board_size=5)", "hex(board_size=7)", "hex(board_size=9)"]),
        ([], ["hex(board_size=4)", "chess"], ["hex(board_size=4)", "chess"]),
        ([], ["quoridor"], ["quoridor(board_size=5)", "quoridor(board_size=7)"]),
        ([], ["hex", "hex(board_size=5)"], ["hex(board_size=5)", "hex(board_size=7)", "hex(board_size=9)"]),
        (["hex(board_size=6)", "chess"], ["hex"], ["hex(board_size=6)"]),
        (["hex", "hex(board_size=11)", "chess"], [], ["hex", "chess"]),
        (["clobber(rows=5,columns=5)", "clobber(columns=5,rows=5)"], [], ["clobber(rows=5,columns=5)"]),
    ],
)
def test_games_are_chosen_by_short_name_or_load_string(
    cases: list[str], game_types: list[str], expected: list[str]
) -> None:
    assert resolve_cases(cases, game_types) == expected


def test_settings_may_be_text_as_in_an_environment_variable() -> None:
    adapter = get_env_adapter(
        "openspiel", {"game_types": "hex(board_size=5),chess", "num_tasks_per_case": "7", "max_random_steps": "none"}
    )
    assert adapter.num_tasks() == 14


def test_the_old_spelling_of_go_is_read_with_a_warning() -> None:
    load_case.cache_clear()
    with pytest.warns(UserWarning, match=r"read as 'go\(board_size=9\)'"):
        assert resolve_cases(["go(go_board_size=9)"], []) == ["go(board_size=9)"]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"game_types": "hexx"}, "unknown game 'hexx' in game_types: known are tic_tac_toe"),
        ({"cases": "chess", "game_types": "hex"}, "known are chess"),
        ({"cases": "hexx"}, "Unknown game 'hexx'"),
        ({"cases": "hex(bord=5)"}, "Unknown parameter 'bord'"),
        ({"cases": "hex(board_size=big)"}, "Wrong type for parameter board_size"),
        ({"cases": "hex("}, "closing bracket"),
        ({"cases": "hex(board_size=0)"}, "nothing to decide"),
        ({"cases": "hex(board_size=-3)"}, "nothing to decide"),
        ({"cases": "leduc_poker"}, "has chance nodes, which is not supported yet"),
        ({"cases": "phantom_ttt"}, "has hidden information, which is not supported yet"),
        ({"cases": "goofspiel"}, "has simultaneous moves, which is not supported yet"),
        ({"cases": "solitaire"}, "not supported yet"),
        ({"cases": "nim", "num_tasks_per_case": 0}, "num_tasks_per_case"),
        ({"num_tasks_per_case": "many"}, "num_tasks_per_case"),
        ({"reward_mode": "win"}, "'outcome' or 'legal'"),
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


def test_validate_passes_where_every_state_is_there() -> None:
    OpenSpielAdapter({"num_tasks_per_case": 5}).validate()


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
    assert all(len(state.legal_actions()) >= 2 for state in states)
    assert 5 <= sum(state.current_player() for state in states) <= 35
    assert len({len(history) for history in histories}) >= 5


def test_max_random_steps_bounds_the_depth() -> None:
    table = StateTable(load_case("hex(board_size=5)"), seed=0, max_random_steps=3)
    assert {len(table.history(index)) for index in range(100)} == {0, 1, 2, 3}


@pytest.mark.parametrize("name", AVAILABLE_CASES)
def test_the_prompt_shows_every_legal_action_once_and_never_the_next_move(name: str) -> None:
    case = load_case(name)
    table = StateTable(case, seed=1)
    for index in range(20):
        state = play(case, table.history(index))
        prompt = build_messages(case, state)[-1]["content"]
        listed = prompt.split("\nActions:\n")[1].replace("\n", ", ").split(", ")
        assert [int(item.split(" -> ")[0]) for item in listed] == state.legal_actions()
        for item, (_, text) in zip(listed, legal_moves(state), strict=True):
            assert text.endswith(item.split(" -> ")[1])


def test_the_prompt_of_a_small_game_is_small() -> None:
    adapter = OpenSpielAdapter({"cases": "tic_tac_toe"})
    chats = [adapter.generate(index).messages for index in range(100)]
    assert max(sum(len(message["content"]) for message in messages) for messages in chats) < 300


def test_the_prompt_of_tic_tac_toe_reads_as_documented() -> None:
    import openspiel_adapter

    case = load_case("tic_tac_toe")
    for message in build_messages(case, state_of(case.name, "3 2 4 7 6 0 8")):
        assert "\n".join("    " + line for line in message["content"].splitlines()) in openspiel_adapter.__doc__


def _challenge() -> Challenge:
    return OpenSpielAdapter({"cases": "tic_tac_toe"}).generate(1)


@pytest.mark.parametrize(
    "damage",
    [
        {"game": "no_such_game"},
        {"game": None},
        {"game": "leduc_poker"},
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
