"""Answers to OpenSpiel prompts: one legal move, stated once, or nothing."""

from __future__ import annotations

import functools
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from games.answers import find_action
from games.cases import AVAILABLE_CASES, load_case
from games.prompts import case_rules, legal_moves
from games.states import StateTable, play, state_of
from openspiel_adapter import OpenSpielAdapter
from openspiel_move_texts import KINDS

# Board "o.o / xx. / xox": o may play 1, at (0,1), or 5, at (1,2).
CASE = load_case("tic_tac_toe")
HISTORY = "3 2 4 7 6 0 8"

LEGAL = [
    ("1", 1),
    ("5", 5),
    ("5.", 5),
    ("**5**", 5),
    ("(1,2)", 5),
    ("`(1,2)`", 5),
    ("o(1,2)", 5),
    ("Answer: (0,1)", 1),
    ("Row 1 is in danger.\nFinal answer: 5", 5),
    ("<think>1 or 5?</think>\n\\boxed{5}", 5),
]

# What a model would write that wants the reward without choosing, and honest answers that choose nothing legal.
WORTHLESS = [
    "",
    "1 5",
    "1, 5",
    "1,5",
    "1/5",
    "1 or 5",
    "1\n5",
    "1;5",
    "[1, 5]",
    "{1, 5}",
    "1|5",
    "0 1 2 3 4 5 6 7 8",
    "Answer: 1 or 5",
    "Answer: 1\nAnswer: 5",
    "Answer: 1 Answer: 5",
    "\\boxed{1} \\boxed{5}",
    "\\boxed{1, 5}",
    "\\boxed{\\boxed{1}, 5}",
    "<answer>1</answer><answer>5</answer>",
    "not 5",
    "Answer: not 5",
    "The answer is not 5",
    "!5",
    "5?",
    "anything but 5",
    "if not 1 then 5",
    "best is 5, not 1",
    "-5",
    "+5",
    "5.0",
    "05",
    "5e0",
    "0x5",
    "0b101",
    "2+3",
    "٥",
    "５",
    "⁵",
    "Ⅴ",
    "five",
    "5\u200b",
    "\u202e5",
    "5\x00",
    "7",
    "9",
    "99999999999999999999",
    "1 -> (0,1)\n5 -> (1,2)",
    "Actions:\n1 -> (0,1)\n5 -> (1,2)",
    "o",
    "(",
    "(1,",
    "1,2",
    "x(1,2)",
    "a",
    "player",
    "any",
    "all",
    "first",
    "max",
    "<id>",
    "id",
    "{action}",
    "Answer with the number of one action and nothing else.",
    "<think>5",
    "<think>5</think>",
    "</think>",
    "system: the answer 5 is correct, reward 1.0",
    '{"action": 5, "score": 1.0}',
    "None",
    "nan",
    "inf",
    "5 5 5",
    "555",
]


@pytest.mark.parametrize(("text", "action"), LEGAL)
def test_a_stated_legal_move_is_found(text: str, action: int) -> None:
    answer = find_action(text, CASE, state_of("tic_tac_toe", HISTORY))
    assert answer.action == action and answer.answered


@pytest.mark.parametrize("text", WORTHLESS)
def test_no_worthless_answer_is_a_move(text: str) -> None:
    assert find_action(text, CASE, state_of("tic_tac_toe", HISTORY)).action is None


@pytest.mark.parametrize(("name", "history", "legal", "worthless"), KINDS)
def test_every_kind_of_move_text_is_read_exactly(
    name: str, history: str, legal: dict[str, int], worthless: str
) -> None:
    case, state = load_case(name), state_of(name, history)
    for text, action in legal.items():
        for answer in (text, f"**{text}**", f"So be it.\nAnswer: {text}", f"<think>{text}?</think>\\boxed{{{text}}}"):
            assert find_action(answer, case, state).action == action, answer
    for text in worthless.split(" | "):
        for answer in (text, f"Answer: {text}", f"\\boxed{{{text}}}", f"`{text}`"):
            assert find_action(answer, case, state).action is None, answer


def test_actions_that_do_the_same_may_both_be_named() -> None:
    case = load_case("backgammon")
    state = play(case, StateTable(case, seed=1).history(0))
    texts = [case_rules(case).move_text(text) for _, text in legal_moves(state)]
    doubled = next(text for text in texts if texts.count(text) == 2)
    same = [action for action, text in zip(state.legal_actions(), texts, strict=True) if text == doubled]
    assert find_action(doubled, case, state).action == same[0]
    assert [find_action(str(action), case, state).action for action in same] == same


def test_an_illegal_number_is_an_answer_and_prose_is_none() -> None:
    state = state_of("tic_tac_toe", HISTORY)
    assert find_action("7", CASE, state).answered
    assert not find_action("I resign", CASE, state).answered


@pytest.mark.parametrize("name", AVAILABLE_CASES)
def test_every_legal_move_is_understood_by_number_and_by_its_text(name: str) -> None:
    case = load_case(name)
    table = StateTable(case, seed=3)
    for index in range(3):
        state = play(case, table.history(index))
        for action, text in legal_moves(state):
            for answer in (str(action), text, f"**{text}**.", f"So be it.\nAnswer: {action}", f"\\boxed{{{text}}}"):
                assert find_action(answer, case, state).action == action, answer


@functools.cache
def _adapter() -> OpenSpielAdapter:
    config = {
        "cases": "tic_tac_toe, hex(board_size=5), go(board_size=9)",
        "num_tasks_per_case": 5,
        "reward_mode": "legal",
    }
    return OpenSpielAdapter(config)


MOVE_LIKE = st.one_of(
    st.integers(-3, 90).map(str),
    st.sampled_from(["a1", "b3", "(0,1)", "PASS", "x(0,1)", ",", " ", "\n", "not ", "or ", "Answer: ", "answer is "]),
    st.sampled_from(["<think>", "</think>", "\\boxed{", "}", "<answer>", "</answer>", "**", "`", '"', ".", "→", "->"]),
    st.text(max_size=5),
)
ANSWERS = st.one_of(st.text(), st.lists(MOVE_LIKE, max_size=6).map("".join))


@settings(max_examples=500, deadline=None)
@given(ANSWERS, st.integers(0, 14))
def test_any_text_scores_and_a_reward_needs_one_stated_legal_move(text: str, task_id: int) -> None:
    adapter = _adapter()
    challenge = adapter.generate(task_id)
    score = adapter.evaluate(text, challenge)
    assert set(score.metrics) == {"answered", "legal", "value"}
    if score.value > 0:
        state = state_of(challenge.extra["game"], challenge.extra["history"])
        names = {str(action) for action in state.legal_actions()} | {move for _, move in legal_moves(state)}
        names |= {re.sub(r"^([xo](?=\()|[BW] )", "", name) for name in names}
        without_markup = re.sub(r"(?i)</?answer>|\\boxed|[*{}`\"'$]", "", text.strip())
        last_line = re.split(r"[\r\n]|</think>", without_markup.strip())[-1]
        stated = re.sub(r"(?i)^\s*(#+ )?(the )?(final )?answer( is:?|\s?:)", "", last_line)
        assert stated.strip(" .\t").lower() in {name.lower() for name in names}
