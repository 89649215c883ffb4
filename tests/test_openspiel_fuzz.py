"""Random and mutated answers to every game: no exception, and no reward without one stated legal move.

OPENSPIEL_FUZZ_ANSWERS=100000 pytest -m slow tests/test_openspiel_fuzz.py      # for each case
"""

from __future__ import annotations

import os
import random
import re
from collections.abc import Callable

import pytest

from answer_text import after_thinking
from env_adapter import Challenge
from games.cases import AVAILABLE_CASES, load_case
from games.prompts import case_rules, legal_moves
from games.states import state_of
from openspiel_adapter import OpenSpielAdapter

SLOW_ANSWERS = int(os.environ.get("OPENSPIEL_FUZZ_ANSWERS", "5000"))
TASKS = 12
_PIECES = (
    "¦ ¦\n¦\t¦\r\n¦.¦,¦, ¦ or ¦ and ¦not ¦-¦–¦->¦ -> ¦/¦|¦;¦:¦!¦?¦(¦)¦[¦]¦{¦}¦$¦#¦### ¦*¦**¦`¦'¦\"¦\\boxed{"
    "¦Answer: ¦The answer is ¦Final answer: ¦answer¦I think ¦<think>¦</think>¦<thinking>¦<answer>¦</answer>"
    "¦\u200b¦\u202e¦\ufeff¦\x00¦\ud800¦٣¦５¦²¦ſ¦K¦0¦1¦5¦9¦-1¦1e0¦0x1¦00¦a¦A¦h¦pass¦PASS¦bid ¦Bar/¦off¦Choose ¦roll"
)
PIECES = _PIECES.split("¦")


def a_text(rng: random.Random, moves: list[tuple[int, str]], full_texts: list[str], prompt: str) -> str:
    """An answer near the border between right and wrong: pieces of legal ones, put together and damaged."""
    action, text = rng.choice(moves)
    makers: list[Callable[[], str]] = [
        lambda: str(action),
        lambda: text,
        lambda: rng.choice(full_texts),
        lambda: str(rng.randrange(3000)),
        lambda: rng.choice(PIECES) + str(action) + rng.choice(PIECES),
        lambda: rng.choice(PIECES) + text + rng.choice(PIECES),
        lambda: f"{action}{rng.choice(PIECES)}{rng.choice(moves)[0]}",
        lambda: f"{text}{rng.choice(PIECES)}{rng.choice(moves)[1]}",
        lambda: f"{action} -> {text}",
        lambda: "".join(rng.choice(PIECES) for _ in range(rng.randrange(8))),
        lambda: prompt[(start := rng.randrange(len(prompt))) : start + rng.randrange(120)],
        lambda: "".join(chr(rng.choice((rng.randrange(128), rng.randrange(0x3000)))) for _ in range(rng.randrange(30))),
    ]
    answer = rng.choice(makers)()
    for _ in range(rng.choice((0, 0, 0, 1, 1, 2, 3))):
        place = rng.randrange(len(answer) + 1)
        answer = answer[:place] + rng.choice(PIECES) + answer[place + rng.randrange(3) :]
    return answer


def states_one_move(answer: str, names: set[str]) -> bool:
    """A second reading of the rules, apart from the code under test: the last line, without markup, is a name."""
    markup = r"(?i)</?answer>|\\boxed|[*{}`\"'$]"
    said = re.sub(markup, "", (after_thinking(answer) or "").strip(" \t\r\n"))
    last_line = said.strip(" \t\r\n").split("\n")[-1]
    stated = re.sub(r"(?i)^\s*(#+ )?(the )?(final )?answer( is:?|\s?:)", "", last_line).strip(" .\t\r")
    return stated.lower() in {re.sub(markup, "", name).strip(" .").lower() for name in names}


def fuzz(name: str, answers: int) -> int:
    """How many of so many answers were paid. Asserts of every one that it was right to pay or not to."""
    adapter = OpenSpielAdapter({"cases": name, "num_tasks_per_case": TASKS, "reward_mode": "legal", "seed": 3})
    tasks: list[tuple[Challenge, list[tuple[int, str]], list[str], set[str]]] = []
    for task_id in range(TASKS):
        challenge = adapter.generate(task_id)
        full = legal_moves(state_of(name, challenge.extra["history"]))
        moves = [(action, case_rules(load_case(name)).move_text(text)) for action, text in full]
        names = {str(action) for action, _ in moves} | {text for _, text in moves} | {text for _, text in full}
        tasks.append((challenge, moves, [text for _, text in full], names))
    rng, paid = random.Random(f"fuzz {name}"), 0
    for _ in range(answers):
        challenge, moves, full_texts, names = rng.choice(tasks)
        answer = a_text(rng, moves, full_texts, challenge.messages[-1]["content"])
        score = adapter.evaluate(answer, challenge)
        assert score.value in (0.0, 1.0) and score.metrics["legal"] == score.value
        if score.value:
            paid += 1
            assert states_one_move(answer, names), repr(answer)
    return paid


@pytest.mark.parametrize("name", AVAILABLE_CASES)
def test_no_mutated_answer_is_paid_without_a_legal_move(name: str) -> None:
    paid = fuzz(name, 200)
    assert 0 < paid < 150  # some answers are right, and most are damaged


@pytest.mark.slow
@pytest.mark.parametrize("name", AVAILABLE_CASES)
def test_many_mutated_answers_are_paid_only_for_a_legal_move(name: str) -> None:
    assert fuzz(name, SLOW_ANSWERS) > 0
