"""Whole games with scripted models: who wins, what is told, what an illegal answer costs, and that games end."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from games.cases import AVAILABLE_CASES, load_case
from games.match import Match, Result
from games.opponents import parse_opponent
from games.prompts import WHAT_TO_ANSWER, build_messages, case_rules, shown_moves
from games.returns import score_of

TOOLS = Path(__file__).parent.parent / "train" / "tools"
HIDDEN = [name for name in AVAILABLE_CASES if load_case(name).hidden]
OPEN = [name for name in AVAILABLE_CASES if not load_case(name).hidden]

Model = Callable[[Match], str]


def match_of(name: str, seed: str = "0|1", seat: int = 0, opponent: str = "random", **settings: int | None) -> Match:
    return Match(load_case(name), seed, seat, parse_opponent(opponent), **settings)


def play_out(match: Match, model: Model) -> Result:
    match.advance()
    while not match.over:
        match.answer(model(match))
        match.advance()
    assert match.result is not None
    return match.result


def moves(match: Match) -> list[tuple[int, str]]:
    return shown_moves(case_rules(match.case), match._state)


def searching(simulations: int) -> Model:
    bot = parse_opponent(f"mcts({simulations})")
    return lambda match: str(bot.move(match.case, match._state, 1))


def legal_at_random(seed: int = 0) -> Model:
    numbers = random.Random(seed)
    return lambda match: str(numbers.choice(moves(match))[0])


def user_texts(match: Match) -> list[str]:
    return [message["content"] for message in match.messages if message["role"] == "user"]


# --- how games end


@pytest.mark.parametrize("seat", [0, 1])
def test_a_better_player_wins_and_a_worse_one_loses(seat: int) -> None:
    won = play_out(match_of("connect_four", seat=seat), searching(300))
    assert (won.score, won.ending, won.won) == (1.0, "finished", True)
    lost = play_out(match_of("connect_four", seat=seat, opponent="mcts(300)"), legal_at_random())
    assert (lost.score, lost.ending, lost.won) == (0.0, "finished", False)
    assert won.turns >= 4 and lost.turns >= 3


def test_a_draw_is_half_a_win_and_not_won() -> None:
    drawn = play_out(match_of("tic_tac_toe", opponent="mcts(1000)"), searching(1000))
    assert (drawn.score, drawn.won) == (0.5, False)


def test_three_answers_without_a_legal_move_lose_the_game() -> None:
    match = match_of("tic_tac_toe")
    result = play_out(match, lambda _: "99")
    assert result == Result(0.0, "illegal", turns=0, illegal=3)
    assert user_texts(match)[1:] == [
        f"99 is not a legal action. {WHAT_TO_ANSWER} Tries left: 2.",
        f"99 is not a legal action. {WHAT_TO_ANSWER} Tries left: 1.",
    ]


def test_a_lost_try_is_forgiven_in_the_next_turn() -> None:
    replies = iter(["no idea", "<think>hm", "{}", "77", "x", "{}"] + ["{}"] * 9)
    match = match_of("tic_tac_toe")
    result = play_out(match, lambda match: next(replies).replace("{}", str(moves(match)[0][0])))
    assert result.ending == "finished" and result.illegal == 4
    objections = [text.removesuffix(f" {WHAT_TO_ANSWER} Tries left: 2.") for text in user_texts(match)]
    assert "No legal action was named." in objections
    assert f"The thinking did not end, so there is no answer. {WHAT_TO_ANSWER} Tries left: 1." in objections
    assert "77 is not a legal action." in objections


def test_tries_are_a_setting() -> None:
    assert play_out(match_of("hex(board_size=5)", tries=1), lambda _: "?").illegal == 1


def test_a_game_that_takes_too_long_is_lost_even_when_it_is_going_well() -> None:
    """Nothing is gained by playing for time."""
    result = play_out(match_of("hex(board_size=9)", max_turns=5), searching(100))
    assert result == Result(0.0, "unfinished", turns=5, illegal=0)
    last = play_out(match_of("pig(winscore=20)", max_turns=1000), lambda _: "0" if random.random() < 2 else "")
    assert last.ending == "finished"


def test_a_game_that_ends_with_the_last_turn_counts() -> None:
    turns = play_out(match_of("tic_tac_toe"), searching(300)).turns
    assert play_out(match_of("tic_tac_toe", max_turns=turns), searching(300)).score == 1.0
    assert play_out(match_of("tic_tac_toe", max_turns=turns - 1), searching(300)).score == 0.0


def test_without_room_for_the_chat_the_game_is_lost() -> None:
    match = match_of("tic_tac_toe")
    match.advance()
    match.give_up()
    assert match.result == Result(0.0, "unfinished", 0, 0)
    match.advance()
    assert match.to_answer is None


def test_returns_become_scores() -> None:
    assert score_of(load_case("leduc_poker"), [-13.0, 13.0], 1) == 1.0
    assert score_of(load_case("leduc_poker"), [1.0, -1.0], 0) == pytest.approx(14 / 26)
    assert score_of(load_case("blackjack"), [0.0], 0) == 0.5
    gin = load_case("gin_rummy")
    assert [score_of(gin, [points, -points], 0) for points in (-123.0, 0.0, 30.0, 123.0)] == [0.0, 0.5, 0.7, 1.0]
    hearts = load_case("hearts")
    assert [score_of(hearts, [26.0, 10.0, 10.0, 6.0], player) for player in range(4)] == [1.0, 0.5, 0.5, 0.0]
    assert [score_of(load_case("euchre"), [2.0, -2.0, 2.0, -2.0], player) for player in range(4)] == [1, 0, 1, 0]
    assert score_of(load_case("cribbage(players=4)"), [600.0, -400.0, 600.0, -400.0], 2) == 1.0


@pytest.mark.parametrize("name", AVAILABLE_CASES)
@settings(max_examples=3, deadline=None)
@given(seed=st.integers(0, 10**6), seat=st.integers(0, 3))
def test_every_game_ends_with_a_score(name: str, seed: int, seat: int) -> None:
    """Random opponents, a model of random legal answers that are illegal now and then."""
    case = load_case(name)
    numbers = random.Random(seed)

    def model(match: Match) -> str:
        assert match.to_answer == match.seat
        return "nothing" if numbers.random() < 0.1 else str(numbers.choice(moves(match))[0])

    match = match_of(name, str(seed), seat % case.game.num_players(), max_turns=40)
    result = play_out(match, model)
    assert 0 <= result.score <= 1
    assert result.turns >= 1 or result.ending == "illegal"
    roles = [message["role"] for message in match.messages]
    assert roles == ["system", *["user", "assistant"] * (len(roles) // 2)]


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(["tic_tac_toe", "leduc_poker", "phantom_ttt", "hearts", "chess"]),
    replies=st.lists(
        st.one_of(st.text(max_size=30), st.from_regex(r"(<think>)?[0-9]{1,3}(</think>)?[0-9]?")), max_size=30
    ),
)
def test_any_replies_are_heard(name: str, replies: list[str]) -> None:
    match, left = match_of(name, max_turns=6), iter(replies)
    result = play_out(match, lambda _: next(left, ""))
    assert 0 <= result.score <= 1
    json.dumps(match.messages).encode()
    assert all(message["content"].encode() is not None for message in match.messages), "it can be sent on"


# --- what is told


@pytest.mark.parametrize("name", AVAILABLE_CASES)
def test_a_turn_is_a_single_decisions_prompt_after_what_happened(name: str) -> None:
    """Where something is hidden, nothing but the model's own forced moves is told beside the prompt."""
    case = load_case(name)
    for seed in range(3):
        match = match_of(name, str(seed), seed % case.game.num_players(), max_turns=25)
        model = legal_at_random(seed)
        match.advance()
        while not match.over:
            system, prompt = build_messages(case, match._state)
            assert match.messages[0] == system
            news, _, rest = match.messages[-1]["content"].rpartition(prompt["content"])
            assert rest == "" and match.messages[-1]["content"].endswith(prompt["content"])
            if case.hidden:
                assert news == "" or news.startswith("Your only move was played: ")
                assert "pponent played" not in news and "layer" not in news.removeprefix("Your only move was played: ")
            match.answer(model(match))
            match.advance()


@pytest.mark.parametrize(
    ("name", "seat"),
    [
        ("leduc_poker", 0),
        ("leduc_poker", 1),
        ("liars_dice", 1),
        ("phantom_ttt", 0),
        ("phantom_ttt", 1),
        ("latent_ttt", 0),
        ("goofspiel(num_cards=3)", 1),
        ("goofspiel(num_cards=4,imp_info=True,points_order=descending)", 0),
    ],
)
def test_the_chat_depends_on_nothing_but_what_the_player_knows(name: str, seat: int) -> None:
    """Over many games: where the player knew and did the same at every turn, the chat is the same, letter by letter."""
    chats: dict[tuple[object, ...], set[str]] = defaultdict(set)
    worlds: dict[tuple[object, ...], set[str]] = defaultdict(set)
    for seed in range(400):
        match, model, known = match_of(name, str(seed), seat), legal_at_random(seed % 5), ()
        match.advance()
        while not match.over:
            known = (*known, match._state.information_state_string(seat))
            chats[known].add(json.dumps(match.messages))
            worlds[known].add(str(match._state.history()))
            reply = model(match)
            known = (*known, reply)
            match.answer(reply)
            match.advance()
    assert max(map(len, worlds.values())) > 1, "no two games differed in what is hidden"
    assert all(len(texts) == 1 for texts in chats.values())


def test_opponents_moves_are_told_where_everyone_sees_them() -> None:
    match = match_of("tic_tac_toe", seat=1)
    match.advance()
    move = match._state.history()[0]
    assert user_texts(match)[0].startswith(f"Opponent played ({move // 3},{move % 3}).\nYou are o. Board:")


def test_several_moves_in_a_row_are_told_in_their_order() -> None:
    for seed in range(50):
        match = match_of("dots_and_boxes(num_rows=2,num_cols=2)", str(seed), seat=1)
        model = legal_at_random(seed)
        match.advance()
        before = 0
        while not match.over:
            history = match._state.history()
            theirs = history[before:]
            if len(theirs) > 1:  # a box gives another turn
                texts = [match.case.game.new_initial_state().action_to_string(0, action) for action in theirs]
                told = ", ".join(text.removeprefix("P1") for text in texts)
                assert match.messages[-1]["content"].startswith(f"Opponent played {told}.\n")
                return
            match.answer(model(match))
            before = len(match._state.history())
            match.advance()
    pytest.fail("no second turn in 50 games")


def test_backgammon_tells_moves_in_the_listeners_numbers() -> None:
    """A random first move of the opponent changes its own checkers, so its points must be on the listener's board."""
    for seed in range(20):
        match = match_of("backgammon", str(seed), seat=1)
        match.advance()
        news, _, board = match.messages[-1]["content"].partition("\n")
        if not news.startswith("Opponent played ") or ", " in news:
            continue  # the model moves first, or the opponent had a double
        theirs = dict(part.split(":") for part in board.partition("Opponent's: ")[2].split("\n")[0].split())
        for move in news.removeprefix("Opponent played ").removesuffix(".").split():
            twice = move.endswith("(2)")
            start, *_, end = move.removesuffix("(2)").replace("*", "").split("/")
            assert int(end) > int(start), "the opponent goes up in the listener's numbers"
            assert int(theirs[end]) >= 1 + twice


def test_forced_moves_are_made_and_told() -> None:
    """The last card of a hand leaves no choice, and often the suit that was led does not."""
    for seed in range(20):
        match = match_of("euchre", seed=str(seed), seat=2)
        model = legal_at_random(seed)
        match.advance()
        while not match.over:
            assert len(moves(match)) > 1
            match.answer(model(match))
            match.advance()
        if any("Your only move was played: " in text for text in user_texts(match)):
            return
    pytest.fail("no forced move in 20 games")


def test_thinking_is_not_shown_again() -> None:
    match = match_of("tic_tac_toe")
    play_out(match, lambda match: f"<think>maybe {moves(match)[0][1]}</think>\n\n{moves(match)[0][0]}")
    said = [message["content"] for message in match.messages if message["role"] == "assistant"]
    assert all(text.isdigit() for text in said)
    unended = match_of("tic_tac_toe")
    play_out(unended, lambda _: "<think>never")
    assert [message["content"] for message in unended.messages if message["role"] == "assistant"] == [""] * 3


def test_a_reply_without_thinking_is_shown_as_it_was() -> None:
    match = match_of("tic_tac_toe")
    match.advance()
    match.answer(" Answer: **4** \n")
    assert match.messages[-1] == {"role": "assistant", "content": " Answer: **4** \n"}


def test_earlier_turns_can_be_left_out() -> None:
    whole, last = match_of("connect_four"), match_of("connect_four", history_turns=1)
    for match in (whole, last):
        model = legal_at_random()
        match.advance()
        for _ in range(3):
            match.answer(model(match))
            match.advance()
    assert len(last.messages) == 1 + 2 + 1
    assert last.messages == [whole.messages[0], *whole.messages[-3:]]


def test_for_want_of_room_half_of_the_earlier_turns_are_left_out() -> None:
    match, model = match_of("connect_four"), legal_at_random()
    match.advance()
    assert not match.forget(), "there is nothing but the current turn"
    for _ in range(4):
        match.answer(model(match))
        match.advance()
    whole = match.messages
    assert match.forget() and match.messages == [whole[0], *whole[5:]]
    assert match.forget() and match.forget() and not match.forget()
    assert match.messages == [whole[0], whole[-1]]
    match.answer("hm")
    assert len(match.messages) == 4, "what is said from now on is shown"
    match.answer(model(match))
    match.advance()
    assert len(match.messages) == 6 and match.messages[1] == whole[-1]
    assert match.transcript[:8] == whole[1:9]


def test_leaving_out_turns_goes_with_showing_few() -> None:
    match, model = match_of("connect_four", history_turns=2), legal_at_random()
    match.advance()
    for _ in range(4):
        match.answer(model(match))
        match.advance()
    assert len(match.messages) == 1 + 2 * 2 + 1
    assert match.forget() and len(match.messages) == 1 + 2 + 1
    match.answer(model(match))
    match.advance()
    assert len(match.messages) == 1 + 2 * 2 + 1


# --- the same in any process


def test_a_game_is_the_same_in_another_process() -> None:
    code = """
import json, random
from games.cases import load_case
from games.match import Match
from games.opponents import parse_opponent
for name, seat, opponent in [("backgammon", 1, "random"), ("leduc_poker", 0, "mcts(20)"), ("othello", 1, "mcts(30)")]:
    match, numbers = Match(load_case(name), "7|3", seat, parse_opponent(opponent), max_turns=10), random.Random(1)
    match.advance()
    while not match.over:
        match.answer(str(numbers.choice(match._state.legal_actions())))
        match.advance()
    print(json.dumps(match.messages), match.result)
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
    assert len(outputs) == 1 and len(outputs.pop()) > 1000


def test_the_luck_of_a_task_is_the_same_whatever_the_model_does() -> None:
    for name in ("leduc_poker", "gin_rummy", "hearts"):
        firsts = set()
        for answers in range(3):
            match = match_of(name, seed="4", seat=1)
            model = legal_at_random(answers)
            match.advance()
            firsts.add(match.messages[-1]["content"])
            match.answer(model(match))
        assert len(firsts) == 1
    assert len({match_deal("leduc_poker", str(seed)) for seed in range(60)}) > 5


def match_deal(name: str, seed: str) -> str:
    match = match_of(name, seed)
    match.advance()
    return str(match._state.history()[:2])


# --- the policy against itself


def test_the_policy_can_play_every_seat_in_a_chat_of_its_own() -> None:
    match = match_of("hearts", seat=2, opponent="self")
    model, asked = legal_at_random(), set()
    match.advance()
    while not match.over:
        asked.add(match.to_answer)
        assert match.messages[-1]["content"].find(f"You are {case_rules(match.case).name_of(match.to_answer)}.") >= 0
        match.answer(model(match))
        match.advance()
    assert asked == {0, 1, 2, 3}
    assert match.result is not None and match.result.ending == "finished"
    assert "You are South." in match.messages[1]["content"]


def test_another_seats_illegal_answers_are_no_win() -> None:
    match = match_of("tic_tac_toe", opponent="self")
    result = play_out(match, lambda match: str(moves(match)[0][0]) if match.to_answer == 0 else "I give up")
    assert result.ending == "finished"
    assert result.illegal == 0
    own = match_of("tic_tac_toe", opponent="self")
    assert play_out(own, lambda match: "I give up" if match.to_answer == 0 else str(moves(match)[0][0])) == Result(
        0.0, "illegal", 0, 3
    )


def test_a_game_without_a_choice_is_dealt_again() -> None:
    """One natural in twenty ends blackjack before the player is asked."""
    assert [play_out(match_of("blackjack", str(seed)), legal_at_random()).turns > 0 for seed in range(60)] == [
        True
    ] * 60
