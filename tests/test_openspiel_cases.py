"""Which games there are, how they are selected, and what is refused with a reason."""

from __future__ import annotations

from typing import Any

import pytest

import openspiel_adapter
from env_adapter import SettingsError
from games import cases as cases_module
from games.cases import (
    AVAILABLE_CASES,
    DEFAULT_CASES,
    DEFAULT_CASES_BOARD_SIZES,
    FOCUS_CASES,
    load_case,
    resolve_cases,
)
from games.prompts import RULES
from games.states import random_game

THE_SUITE = (
    "leduc_poker, liars_dice, battleship, goofspiel, gin_rummy, backgammon, pig, blackjack, phantom_ttt, latent_ttt, "
    "breakthrough, hex, hearts, cribbage, euchre, othello, go, chess, checkers, dots_and_boxes, clobber, quoridor, "
    "tic_tac_toe, connect_four"
)

HEXES = ["hex(board_size=5)", "hex(board_size=7)", "hex(board_size=9)", "hex(board_size=11)"]


def test_the_whole_suite_is_available_and_every_game_has_its_rules() -> None:
    assert {load_case(name).short_name for name in AVAILABLE_CASES} == set(THE_SUITE.split(", ")) == set(RULES)
    assert len(AVAILABLE_CASES) == len(set(AVAILABLE_CASES))


def test_the_lists_are_where_users_look_for_them_and_name_available_cases() -> None:
    for name in ("FOCUS_CASES", "AVAILABLE_CASES", "DEFAULT_CASES", "DEFAULT_CASES_BOARD_SIZES"):
        assert getattr(openspiel_adapter, name) is getattr(cases_module, name)
        assert set(getattr(cases_module, name)) <= set(AVAILABLE_CASES)


def test_the_lists_have_the_documented_sizes() -> None:
    sizes = [
        *HEXES[:3],
        *[f"breakthrough(rows={n},columns={n})" for n in (6, 8)],
        *[f"clobber(rows={n},columns={n})" for n in (5, 6, 7)],
        *[f"dots_and_boxes(num_rows={n},num_cols={n})" for n in (3, 4, 5)],
        "othello",
        "go(board_size=9)",
        "go(board_size=13)",
        "chess",
        "checkers",
    ]
    assert sizes == DEFAULT_CASES_BOARD_SIZES
    focus = {load_case(name).short_name for name in FOCUS_CASES}
    assert focus == {"clobber", "gin_rummy", "goofspiel", "hex", "leduc_poker", "liars_dice", "othello"}


@pytest.mark.parametrize("name", AVAILABLE_CASES)
def test_every_case_can_be_played_to_its_end(name: str) -> None:
    case = load_case(name)
    assert case.name == name
    history, decisions = random_game(case, iter([0.37, 0.91, 0.12, 0.55] * 100_000).__next__)
    assert decisions and decisions[-1] < len(history)


def test_simultaneous_games_are_played_in_turns_and_keep_their_name() -> None:
    case = load_case("goofspiel(num_cards=8)")
    assert case.simultaneous and case.hidden and case.stochastic
    assert (case.name, case.short_name, case.parameters["num_cards"]) == ("goofspiel(num_cards=8)", "goofspiel", 8)
    state = case.game.new_initial_state()
    state.apply_action(0)
    assert state.current_player() == 0  # one player, not both at once


@pytest.mark.parametrize(
    ("name", "hidden", "stochastic"),
    [("hex(board_size=5)", False, False), ("pig", False, True), ("phantom_ttt", True, False), ("hearts", True, True)],
)
def test_a_case_knows_what_is_hidden_and_what_is_chance(name: str, hidden: bool, stochastic: bool) -> None:
    case = load_case(name)
    assert (case.hidden, case.stochastic, case.simultaneous) == (hidden, stochastic, False)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, DEFAULT_CASES),
        ({"game_types": ["hex"]}, HEXES),
        ({"game_types": ["hex", "go", "chess"]}, [*HEXES, "go(board_size=9)", "go(board_size=13)", "chess"]),
        ({"game_types": ["hex(board_size=4)", "chess"]}, ["hex(board_size=4)", "chess"]),
        ({"game_types": ["quoridor"]}, ["quoridor(board_size=5)", "quoridor(board_size=7)"]),
        ({"game_types": ["hex", "hex(board_size=5)"]}, HEXES),
        ({"game_types": ["pig", "pig(winscore=20)"]}, ["pig", "pig(winscore=20)"]),
        ({"cases": ["hex(board_size=6)", "chess"], "game_types": ["hex"]}, ["hex(board_size=6)"]),
        ({"cases": ["hex(board_size=11)", "chess"]}, ["hex(board_size=11)", "chess"]),
        ({"cases": FOCUS_CASES}, FOCUS_CASES),
        ({"cases": ["clobber(rows=5,columns=5)", "clobber(columns=5,rows=5)"]}, ["clobber(rows=5,columns=5)"]),
        ({"game_list": ["pig", "euchre"]}, ["pig", "euchre"]),
        (
            {"game_configs": {"hex": [{"board_size": 5}, {"board_size": 6}]}},
            ["hex(board_size=5)", "hex(board_size=6)"],
        ),
        (
            {"game_list": ["pig", "goofspiel"], "game_configs": {"goofspiel": [{"num_cards": 4, "imp_info": True}]}},
            ["pig", "goofspiel(num_cards=4,imp_info=True)"],
        ),
        (
            {"game_configs": {"hex": [{"board_size": 5}], "pig": [{"winscore": 30}]}, "game_types": ["pig"]},
            ["pig(winscore=30)"],
        ),
    ],
)
def test_games_are_chosen_by_short_name_load_string_or_pairs(settings: dict[str, Any], expected: list[str]) -> None:
    assert resolve_cases(**settings) == expected


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("go(go_board_size=9)", "go(board_size=9)"),
        ("go(komi=6.5,go_board_size=5)", "go(komi=6.5,board_size=5)"),
        ("latent_tic_tac_toe", "latent_ttt"),
        ("phantom_tic_tac_toe", "phantom_ttt"),
        ("liars_dice(num_dice=2)", "liars_dice(numdice=2)"),
    ],
)
@pytest.mark.parametrize("setting", ["cases", "game_types"])
def test_old_spellings_are_read_with_a_warning(old: str, new: str, setting: str) -> None:
    load_case.cache_clear()
    with pytest.warns(UserWarning, match="old spelling"):
        assert resolve_cases(**{setting: [old]}) == [new]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"game_types": ["hexx"]}, "unknown game 'hexx' in game_types: known are tic_tac_toe, connect_four, hex"),
        ({"cases": ["chess"], "game_types": ["hex"]}, "known are chess"),
        ({"cases": ["hexx"]}, "Unknown game 'hexx'"),
        ({"cases": ["hex(bord=5)"]}, "Unknown parameter 'bord'"),
        ({"cases": ["hex(board_size=big)"]}, "Wrong type for parameter board_size"),
        ({"cases": ["hex("]}, "closing bracket"),
        ({"cases": ["go(board_size=40)"]}, "supports board size up to 19"),
        ({"cases": ["nfg_game"]}, "is rejected by OpenSpiel"),
        ({"cases": ["othello(board_size=6)"]}, "Unknown parameter 'board_size'"),
        ({"cases": ["coordinated_mp"], "game_list": ["pig"]}, "give one of the two"),
        ({"game_list": ["pig"], "game_configs": {"hex": [{"board_size": 5}]}}, "game_configs has hex"),
        ({"game_configs": {"hex": [{"board": 5}]}}, "Unknown parameter 'board'"),
    ],
)
def test_what_cannot_be_selected_is_refused_with_the_reason(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError) as error:
        resolve_cases(**settings)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("hex(board_size=0)", "check its parameters"),
        ("hex(board_size=-3)", "check its parameters"),
        ("hex(board_size=40)", "cannot be played"),  # its text is no UTF-8
        ("pig(players=0)", "ends the process inside OpenSpiel"),
        ("leduc_poker(starting_player=3)", "check its parameters"),
        ("goofspiel(num_turns=0)", "check its parameters"),
        ("pig(winscore=0)", "check its parameters"),
        ("goofspiel(num_cards=600)", "needs prompts of more than 6000 characters"),
        ("mfg_crowd_modelling", "is a mean-field game"),
    ],
)
def test_parameters_that_break_a_game_are_found_in_a_process_of_their_own(name: str, message: str) -> None:
    with pytest.raises(SettingsError) as error:
        load_case(name)
    assert message in str(error.value) and "Known cases: tic_tac_toe" in str(error.value)


@pytest.mark.parametrize("name", ["nim", "kuhn_poker", "oware", "hex(board_size=3)", "liars_dice(dice_sides=2)"])
def test_a_game_that_is_not_listed_is_tried_out_and_taken(name: str) -> None:
    assert load_case(name).name == name
