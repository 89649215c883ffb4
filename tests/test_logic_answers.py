"""Answers to `lgc-v2` that a model should not write: none raises, none is paid that is not right."""

from __future__ import annotations

import random
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from answer_text import final_statement, spellings
from env_adapter import Challenge, get_env_adapter
from lgc_v2_adapter import MAX_STATEMENT, TASK_TYPES
from logic.families import FAMILIES
from logic.family import Family
from logic.game_of_24 import parse_expression
from logic_solvers import IS_RIGHT, value_of

ALPHABET = "0123456789ABCTFalsetru()[]{}<>+-*/=,. _|\n`$\\'\"#:;%×÷−٣²½½\u200b\x00"
ADAPTER = get_env_adapter("lgc-v2", {"num_tasks_per_type": 40, "difficulty": "easy"})
CHALLENGES = {name: [ADAPTER.generate(index * 40 + k) for k in range(40)] for index, name in enumerate(TASK_TYPES)}


def mutated(text: str, rng: random.Random) -> str:
    """One to three small changes: a character more, less or other, two exchanged, a piece twice or away."""
    for _ in range(rng.randint(1, 3)):
        place, other = rng.randrange(len(text) + 1), rng.randrange(len(text) + 1)
        low, high = sorted((place, other))
        kind = rng.randrange(6)
        if kind == 0:
            text = text[:place] + rng.choice(ALPHABET) + text[place:]
        elif kind == 1:
            text = text[:place] + text[place + 1 :]
        elif kind == 2:
            text = text[:place] + rng.choice(ALPHABET) + text[place + 1 :]
        elif kind == 3:
            text = text[:low] + text[low:high] * 2 + text[high:]
        elif kind == 4:
            text = text[:low] + text[high:]
        elif high > low + 1:
            text = text[:low] + text[high - 1] + text[low + 1 : high - 1] + text[low] + text[high:]
    return text


def is_right_by_hand(challenge: Challenge, text: str) -> bool:
    statement = final_statement(text, MAX_STATEMENT)
    is_right = IS_RIGHT[challenge.extra["task_type"]]
    prompt = challenge.messages[-1]["content"]
    plain = str.maketrans({"×": "*", "÷": "/", "−": "-"})
    return statement is not None and any(
        form.isascii() and is_right(prompt, form) for form in spellings(statement.translate(plain))
    )


def check_mutations(number: int, seed: int) -> None:
    rng = random.Random(seed)
    paid = 0
    for index in range(number):
        challenge = rng.choice(CHALLENGES[TASK_TYPES[index % len(TASK_TYPES)]])
        text = mutated(
            rng.choice(["", "Answer: ", "Let me see.\n\nAnswer: "]) + ADAPTER.reference_answer(challenge), rng
        )
        score = ADAPTER.evaluate(text, challenge)
        if score.value:
            paid += 1
            assert is_right_by_hand(challenge, text), (challenge.messages, text)
    assert 0 < paid < number / 2


def test_mutated_answers_are_paid_only_when_they_are_still_right() -> None:
    check_mutations(5_000, seed=1)


@pytest.mark.slow
def test_a_hundred_thousand_mutated_answers_are_paid_only_when_they_are_still_right() -> None:
    check_mutations(100_000, seed=2)


@given(st.text(max_size=300), st.sampled_from(TASK_TYPES), st.integers(0, 39))
def test_no_text_raises(text: str, task_type: str, index: int) -> None:
    challenge = CHALLENGES[task_type][index]
    score = ADAPTER.evaluate(text, challenge)
    assert not score.value or is_right_by_hand(challenge, text)


@given(st.text(alphabet="0123456789+-*/() ", max_size=120))
def test_every_expression_is_read_as_python_reads_it_or_not_at_all(text: str) -> None:
    read = parse_expression(text, 24)
    if read is not None and read.value is not None:
        assert value_of(text.strip()) == read.value


HOSTILE = {
    "game_of_24": [
        "9**9**9**9",
        "9^9^9^9",
        "9" * 240,
        "24",
        "24 = 24",
        "__import__('os').system('true')",
        "(" * 120 + "1" + ")" * 120,
        "1/(1-1)",
        "1 / 0 * 24",
        "4 - -4",
        "factorial(4)",
        "6*4",
    ],
    "operation": ["9**9**9**9", "9 * 10 ** 99", "1e400", "inf", "nan", "9" * 249, "0x10", "1_0", "٣", "--5", "1.0"],
    "boolean_expressions": ["True or False", "not False", "1", "0", "yes", "TrueFalse", "T"],
    "dyck_language": ["()", "", "[]{}()", ")" * 249, ") ] } >" * 10],
    "dyck_language2": ["()", "<>", ")" * 249],
    "dyck_language_reasoning_errors": ["1e0", "-0", "0.0", "1 2 3", "one", "9999", "Step"],
    "cryptarithm": ["A=1,A=2", "A=1", "A=" + "9" * 200, "A=B", "=1", "A==1"],
    "sudoku": ["1" * 16, "1234" * 4, "0" * 16, "_ " * 16, "1234 3412 2143", "9" * 240],
}


@pytest.mark.parametrize("task_type", TASK_TYPES)
def test_hostile_answers_cost_nothing_and_earn_nothing(task_type: str) -> None:
    start = time.process_time()
    for challenge in CHALLENGES[task_type]:
        for text in HOSTILE[task_type]:
            for whole in (text, f"Answer: {text}", f"\\boxed{{{text}}}"):
                score = ADAPTER.evaluate(whole, challenge)
                assert not score.value or is_right_by_hand(challenge, whole), (challenge.messages, whole)
    assert time.process_time() - start < 2


@pytest.mark.parametrize(
    ("text", "reads"),
    [
        ("1+2*3", 7),
        ("(1+2)*3", 9),
        ("8-3-2", 3),
        ("8/4/2", 1),
        ("2 × 3 − 1", 5),
        ("6 \\times 4", 24),
        ("6 ÷ 3", 2),
        ("（1+2）*3 = 24", 9),
    ],
)
def test_an_expression_is_worked_out(text: str, reads: int) -> None:
    assert parse_expression(text, 24).value == reads


@pytest.mark.parametrize(
    "text", ["", "-1", "1 2", "1+", "(1", "1)", "2(3)", "1**2", "1//2", "1.5", "12345", "05", "()", "+"]
)
def test_a_text_that_is_no_expression_is_not_read(text: str) -> None:
    assert parse_expression(text, 24) is None


def family(name: str) -> tuple[Family, object]:
    extra = CHALLENGES[name][0].extra
    return FAMILIES[name], FAMILIES[name].puzzle_type(**extra["puzzle"])


@given(st.dictionaries(st.sampled_from("ABCDEFGHIJ"), st.integers(0, 9), min_size=1), st.sampled_from([", ", ",", " "]))
def test_a_mapping_is_read_as_it_was_written(mapping: dict[str, int], between: str) -> None:
    cryptarithm, puzzle = family("cryptarithm")
    assert cryptarithm.parse(between.join(f"{key}={value}" for key, value in mapping.items()), puzzle) == mapping


@given(st.lists(st.integers(1, 4), min_size=16, max_size=16), st.sampled_from([" ", "", "\n", ", ", " / ", "|"]))
def test_a_grid_is_read_as_it_was_written(digits: list[int], between: str) -> None:
    sudoku, puzzle = family("sudoku")
    rows = [digits[start : start + 4] for start in (0, 4, 8, 12)]
    for inner in ("", " "):
        assert sudoku.parse(between.join(inner.join(map(str, row)) for row in rows), puzzle) == rows


@given(st.integers(-(10**12) + 1, 10**12 - 1))
def test_a_whole_number_is_read_as_it_was_written(number: int) -> None:
    operation, puzzle = family("operation")
    assert operation.parse(str(number), puzzle) == number
    assert operation.parse(str(number).replace("-", "−"), puzzle) == number


def test_a_grid_in_answer_tags_may_have_several_lines() -> None:
    challenge = CHALLENGES["sudoku"][0]
    rows = ADAPTER.reference_answer(challenge).split()
    assert ADAPTER.evaluate(
        "So:\n<answer>\n" + "\n".join(" ".join(row) for row in rows) + "\n</answer>", challenge
    ).value
