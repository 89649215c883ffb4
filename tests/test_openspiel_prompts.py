"""What the model sees: every legal action, nothing hidden, readable moves, bounded length."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from games.cases import AVAILABLE_CASES, Case, load_case
from games.prompts import MAX_ACTION_LINES, build_messages, case_rules, legal_moves, prompt_chars
from games.states import StateTable, play, state_of
from openspiel_twins import information, twins

HIDDEN_CASES = [name for name in AVAILABLE_CASES if load_case(name).hidden]
# Their text of an information state takes milliseconds.
SLOW_CASES = ("gin_rummy", "battleship")
MAX_CHARS = {
    "tic_tac_toe": 260,
    "connect_four": 340,
    "hex(board_size=5)": 630,
    "hex(board_size=7)": 930,
    "hex(board_size=9)": 1330,
    "hex(board_size=11)": 1900,
    "breakthrough(rows=6,columns=6)": 750,
    "breakthrough(rows=8,columns=8)": 950,
    "clobber(rows=5,columns=5)": 740,
    "clobber(rows=6,columns=6)": 1010,
    "clobber(rows=7,columns=7)": 1340,
    "dots_and_boxes(num_rows=3,num_cols=3)": 820,
    "dots_and_boxes(num_rows=4,num_cols=4)": 1100,
    "dots_and_boxes(num_rows=5,num_cols=5)": 1450,
    "othello": 700,
    "go(board_size=9)": 1150,
    "go(board_size=13)": 2300,
    "chess": 1200,
    "checkers": 650,
    "gin_rummy": 1050,
    "gin_rummy(hand_size=7,knock_card=10)": 1050,
    "goofspiel": 690,
    "goofspiel(num_cards=8)": 570,
    "goofspiel(num_cards=10)": 610,
    "goofspiel(num_cards=12)": 660,
    "goofspiel(num_cards=14)": 720,
    "goofspiel(num_cards=16)": 760,
    "leduc_poker": 660,
    "liars_dice": 570,
    "liars_dice(numdice=5)": 1130,
    "battleship": 1950,
    "backgammon": 4000,
    "pig": 370,
    "pig(winscore=20)": 370,
    "blackjack": 350,
    "phantom_ttt": 400,
    "latent_ttt": 390,
    "hearts": 1000,
    "cribbage": 980,
    "euchre": 850,
    "quoridor(board_size=5)": 900,
    "quoridor(board_size=7)": 1550,
}


def states_of(name: str, seed: int, number: int) -> Iterator[tuple[Case, tuple[int, ...], Any]]:
    case = load_case(name)
    table = StateTable(case, seed=seed)
    for index in range(number):
        history = table.history(index)
        yield case, history, play(case, history)


def listed(prompt: str) -> list[tuple[int, str]]:
    """(action, text) as the prompt lists them, with its ranges written out."""
    items = re.split(r"\n|, (?=[\d-]+ -> )", prompt.partition("\nActions:\n")[2])
    actions = []
    for item in items:
        ids, _, text = item.partition(" -> ")
        first, dash, last = ids.partition("-")
        if not dash:
            actions.append((int(first), text))
            continue
        head = re.fullmatch(r"(.*?)(\d+)(\D*)-.*", text)
        for offset in range(int(last) - int(first) + 1):
            actions.append((int(first) + offset, f"{head[1]}{int(head[2]) + offset}{head[3]}"))
    return actions


@pytest.mark.parametrize("name", AVAILABLE_CASES)
def test_the_prompt_lists_every_legal_action_once_with_its_move(name: str) -> None:
    for case, _, state in states_of(name, seed=1, number=20):
        rules = case_rules(case)
        prompt = build_messages(case, state)[-1]["content"]
        actions = listed(prompt)
        texts = {action: rules.move_text(text) for action, text in legal_moves(state)}
        assert [action for action, _ in actions] == sorted({action for action, _ in actions})
        assert all(texts[action] == text for action, text in actions)
        unlisted = set(texts) - {action for action, _ in actions}
        if not rules.one_move_per_text:
            assert not unlisted
        assert {texts[action] for action in unlisted} <= {text for _, text in actions}
        assert "\n" in prompt.partition("\nActions:\n")[2] or len(actions) > MAX_ACTION_LINES


@pytest.mark.parametrize("name", [name for name in AVAILABLE_CASES if case_rules(load_case(name)).one_move_per_text])
def test_moves_with_the_same_text_do_the_same(name: str) -> None:
    pairs = 0
    for case, _, state in states_of(name, seed=4, number=200):
        first: dict[str, int] = {}
        for action, full_text in legal_moves(state):
            text = case_rules(case).move_text(full_text)
            if text in first:
                pairs += 1
                assert str(state.child(action)) == str(state.child(first[text]))
            first.setdefault(text, action)
    assert pairs > 100


@pytest.mark.parametrize("name", HIDDEN_CASES)
def test_states_that_a_player_cannot_tell_apart_have_the_same_prompt(name: str) -> None:
    slow = name.partition("(")[0] in SLOW_CASES
    compared = different = 0
    for case, history, state in states_of(name, seed=5, number=5 if slow else 15):
        messages = build_messages(case, state)
        for twin in twins(case, history, tries=60 if slow else 120, seed=len(history)):
            other = play(case, twin)
            assert build_messages(case, other) == messages
            compared += 1
            different += str(other) != str(state)
    assert compared >= different >= (2 if slow else 5)  # or nothing hidden was changed, and nothing tested


@pytest.mark.parametrize("name", ["leduc_poker", "gin_rummy", "hearts", "euchre", "blackjack"])
def test_other_worlds_that_the_player_may_be_in_have_the_same_prompt(name: str) -> None:
    different = 0
    for case, _, state in states_of(name, seed=6, number=10):
        player = state.current_player()
        for number in range(5):
            numbers = iter([(0.137 * (number + 1) * step) % 1 for step in range(1, 2000)])
            other = state.resample_from_infostate(player, numbers.__next__)
            assert build_messages(case, other) == build_messages(case, state)
            different += str(other) != str(state)
    assert different > 5


def test_a_bid_that_was_made_at_the_same_time_is_not_shown() -> None:
    case = load_case("goofspiel(num_cards=8)")
    prompts = set()
    for bid in range(8):
        state = play(case, (3, bid))
        assert state.current_player() == 1
        prompts.add(build_messages(case, state)[-1]["content"])
    assert len(prompts) == 1


@pytest.mark.parametrize("name", ["liars_dice(numdice=5)", "phantom_ttt", "latent_ttt", "cribbage", "hearts"])
def test_what_a_player_has_learnt_is_told(name: str) -> None:
    """Two states that the player can tell apart have two prompts, but for the order of things long past."""
    told: dict[str, set[Any]] = {}
    for case, history, state in states_of(name, seed=7, number=150):
        key = build_messages(case, state)[-1]["content"]
        told.setdefault(key, set()).add(information(case, state, history))
    assert all(len(information_states) == 1 for information_states in told.values())


@pytest.mark.parametrize("name", AVAILABLE_CASES)
def test_prompts_stay_within_the_length_of_their_game(name: str) -> None:
    number = 40 if name.partition("(")[0] in (*SLOW_CASES, "chess") else 150
    lengths = [prompt_chars(build_messages(case, state)) for case, _, state in states_of(name, seed=8, number=number)]
    assert max(lengths) <= MAX_CHARS[name]


def test_every_case_has_a_bound() -> None:
    assert set(MAX_CHARS) == set(AVAILABLE_CASES)


@pytest.mark.parametrize("name", AVAILABLE_CASES)
def test_prompts_are_plain_text_without_loose_ends(name: str) -> None:
    for case, _, state in states_of(name, seed=9, number=10):
        system, user = (message["content"] for message in build_messages(case, state))
        assert "{" not in system and system.isascii() and user.isascii()
        if case_rules(load_case(name)).view:
            assert not re.search(r"None|null|(?<=[ :])XX|Pl\d|Player|\[|\]| \n|\n\n", user)
        assert user.startswith("You are ")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("liars_dice(numdice=5)", "5 dice each, 10 in all"),
        ("liars_dice(dice_sides=4)", "a 4 counts as every face"),
        ("liars_dice(bidding_rule=reset-quantity)", "any number of a higher face"),
        ("gin_rummy(hand_size=7,knock_card=8)", "one hand of 7 cards each"),
        ("gin_rummy(hand_size=7,knock_card=8)", "deadwood of at most 8"),
        ("gin_rummy(oklahoma=True)", "the value of the first upcard"),
        ("goofspiel(num_cards=12)", "bid cards 1 to 12"),
        ("goofspiel(points_order=descending)", "from 13 downwards"),
        ("goofspiel(imp_info=True)", "not the others' bids"),
        ("pig(winscore=20)", "First to 20 wins"),
        ("battleship(board_width=6,board_height=5,ship_sizes=[2;3],ship_values=[1;2],num_shots=9)", "5 x 6 cells"),
        ("battleship(board_width=6,board_height=5,ship_sizes=[2;3],ship_values=[1;2],num_shots=9)", "worth 1, 2"),
        ("phantom_ttt(gameversion=abrupt)", "your turn is lost"),
        ("hearts(jd_bonus=True)", "JD takes off 10"),
        ("hearts(pass_cards=False)", "13 cards each. 2C leads first"),
        ("euchre(stick_the_dealer=False)", "all passing ends the deal"),
        ("backgammon(scoring_type=full_scoring)", "counts double, or triple"),
        ("leduc_poker(players=3)", "T < J < Q < K < A"[4:]),
        ("cribbage(players=3)", "5 cards each"),
        ("go(board_size=9,komi=5.5)", "5.5 points of komi"),
    ],
)
def test_the_rules_follow_the_parameters(name: str, words: str) -> None:
    case = load_case(name)
    for _, _, state in states_of(name, seed=1, number=5):
        assert words in build_messages(case, state)[0]["content"]


@pytest.mark.parametrize(
    ("name", "seed_history", "lines"),
    [
        # Cards 1 and 5 are J and K; both call, 4 (K) is turned up, player 0 raises.
        (
            "leduc_poker",
            "1 5 1 1 4 2",
            [
                "You are player 1.",
                "Your card: K. Public card: K. Round 2 of 2",
                "In the pot: you 1, opponent 5",
                "Bets: round 1 Call, Call; round 2 Raise",
            ],
        ),
        ("liars_dice", "2 5 3", ["You are player 1.", "Your dice: 6", "Bids so far: opponent 1-4"]),
        ("pig", "0 4 0 3 1", ["You are player 1.", "Scores: you 0, opponent 9. Your turn's total: 0"]),
        (
            "goofspiel(num_cards=4)",
            "2 0 3 1",
            [
                "You are player 0.",
                "Prize card: 2. Prize cards left: 1 4",
                "Your cards: 2 3 4",
                "Opponent's cards: 1 2 3",
                "Points: you 0, opponent 3",
            ],
        ),
        # K and 3 against a hidden 7 and a 7.
        ("blackjack", "12 28 19 45", ["You are player 0.", "Your cards: 3 K (total 13). The dealer shows 7"]),
        ("phantom_ttt", "4 4 0", ["You are x. Board:", "...", ".x.", "..."]),
    ],
)
def test_a_position_reads_as_its_history_says(name: str, seed_history: str, lines: list[str]) -> None:
    user = build_messages(load_case(name), state_of(name, seed_history))[-1]["content"]
    assert user.partition("\nActions:")[0].split("\n") == lines


def test_the_opening_of_backgammon_reads_as_on_a_board() -> None:
    case = load_case("backgammon")
    for first in (0, 1):
        user = build_messages(case, play(case, (first,)))[-1]["content"]
        assert "Yours (point:checkers): 24:2 13:5 8:3 6:5\nOpponent's: 19:5 17:3 12:5 1:2" in user


def test_the_prompt_of_a_small_game_is_small() -> None:
    assert MAX_CHARS["tic_tac_toe"] < 300


def test_the_prompt_of_tic_tac_toe_reads_as_documented() -> None:
    import openspiel_adapter

    case = load_case("tic_tac_toe")
    for message in build_messages(case, state_of(case.name, "3 2 4 7 6 0 8")):
        assert "\n".join("    " + line for line in message["content"].splitlines()) in openspiel_adapter.__doc__
