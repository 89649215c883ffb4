"""The final answer of a text: what is stated counts, what is merely mentioned does not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from answer_text import MAX_STATEMENT, after_thinking, final_statement, spellings

STATED = [
    ("5", "5"),
    (" 5 \n", "5"),
    ("5.", "5"),
    ("**5**", "5"),
    ("`5`", "5"),
    ('"5"', "5"),
    ("'5'", "5"),
    ("$5$", "5"),
    ("\\boxed{5}", "5"),
    ("$\\boxed{5}$.", "5"),
    ("<answer>5</answer>", "5"),
    ("<answer>\n5\n</answer>", "5"),
    ("The corner is open.\n\n<answer>\n5\n</answer>", "5"),
    ("The corner is open.\n\\boxed{5}", "5"),
    ("Answer: 5", "5"),
    ("answer:5", "5"),
    ("Final answer: 5.", "5"),
    ("The final answer is 5.", "5"),
    ("The final answer is: \\boxed{5}", "5"),
    ("I looked at 3 and 4.\n**Answer:** 5", "5"),
    ("I looked at 3 and 4.\n**Answer: 5**", "5"),
    ("### Answer: `5`", "5"),
    ("<think>3? No.</think>5", "5"),
    ("<think>3?</think>\n<think>4?</think>\nAnswer: 5", "5"),
    ("the template opened the thinking, 3 or 4?</think>\n\n5", "5"),
    ("Answer: 3\nNo, the corner is better.\nAnswer: 5", "5"),
    ("Answer: 5\nFinal answer: **5**", "5"),
    ("1\r\n2\r\nAnswer: 5\r\n", "5"),
]

NOT_STATED = [
    "",
    " \n ",
    "<think>5",
    "<think>5</think>",
    "<think>3</think>5<think>",
    "5<think>",
    "<THINK>so\nAnswer: 5",
    "The best is 5,\nbecause of the corner.",
    "5\n3",
    "Answer: 3\nAnswer: 5",
    "Answer: 3\n\nAnswer: 5",
    "\\boxed{3}\n\\boxed{5}",
    "<answer>3</answer>\n<answer>5</answer>",
    "<answer>3</answer> <answer>5</answer>",
    "Answer:\n",
    "x" * (MAX_STATEMENT + 1),
    "Answer: " + "5" * MAX_STATEMENT,
]


@pytest.mark.parametrize(("text", "answer"), STATED)
def test_a_stated_answer_is_found_whatever_its_dress(text: str, answer: str) -> None:
    statement = final_statement(text)
    assert statement is not None and spellings(statement)[-1] == answer


@pytest.mark.parametrize("text", NOT_STATED)
def test_a_text_without_one_stated_answer_has_none(text: str) -> None:
    statement = final_statement(text)
    assert statement is None or spellings(statement)[-1] not in ("3", "5")


def test_decoration_comes_off_one_layer_at_a_time() -> None:
    assert spellings("**`c4b5*`**.") == ["**`c4b5*`**.", "**`c4b5*`**", "`c4b5*`", "c4b5*"]


def test_text_after_the_last_closed_thought_is_what_counts() -> None:
    assert after_thinking("<think>a</think>3<think>b</think>5") == "5"
    assert after_thinking("no thinking at all") == "no thinking at all"


PIECES = [*"53. \n*`\"'$\\{}<>/:", "<think>", "</think>", "Answer: ", "\\boxed{", "<answer>", "</answer>"]


@given(st.lists(st.sampled_from(PIECES)).map("".join))
def test_a_statement_is_short_and_stands_at_the_end_of_the_text(text: str) -> None:
    statement = final_statement(text)
    if statement is not None:
        assert len(statement) <= MAX_STATEMENT
        assert spellings(statement)[-1] in text[-3 * MAX_STATEMENT :]


@pytest.mark.timeout(20)  # quadratic work would take hours
@pytest.mark.parametrize(
    "unit",
    [
        "<think>",
        "</think>",
        "<think></think>",
        "Answer: ",
        "\\boxed{",
        "<answer>",
        "**",
        "`",
        " ",
        "\n",
        ".",
        "9",
        "$",
        "(*",
    ],
)
def test_a_megabyte_of_anything_is_no_burden(unit: str) -> None:
    for text in (unit * (1_000_000 // len(unit)), "5\n" + unit * (1_000_000 // len(unit)) + "5"):
        statement = final_statement(text)
        assert statement is None or len(statement) <= MAX_STATEMENT
