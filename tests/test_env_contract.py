"""The seven laws of an environment, held by every name in `env_adapter.REGISTRY`.

A new environment adds one entry to CONTRACTS: a small configuration, and what may change without a trace in the prompt.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from env_adapter import REGISTRY, Challenge, EnvAdapter, EnvError, SettingsError, get_env_adapter
from swe_toy import ToySettings
from task_split import SPLITS, split_task_ids
from trace_programs import ProgramSettings

TOOLS = Path(__file__).parents[1] / "train" / "tools"


@dataclass(frozen=True)
class Contract:
    config: Mapping[str, Any]
    """Settings small enough to generate every task of in a test."""
    reward_settings: Mapping[str, Any] = field(default_factory=dict)
    """Settings that change what an answer earns, and so must not change what the model sees."""
    scored_ids: int = 12
    """How many tasks, spread over all, have their answers scored."""


CONTRACTS = {
    "lgc-v2": Contract(config={"num_tasks_per_type": 12, "difficulty": "easy"}, scored_ids=24),
    "openspiel": Contract(
        config={
            # A board, dice, cards, a hidden board, moves at the same time, one player, four players, two pairs.
            "cases": "tic_tac_toe, hex(board_size=5), dots_and_boxes(num_rows=3,num_cols=3), othello, backgammon, "
            "pig(winscore=20), leduc_poker, liars_dice, gin_rummy(hand_size=7,knock_card=10), phantom_ttt, battleship, "
            "goofspiel(num_cards=8), blackjack, hearts, euchre, cribbage",
            "num_tasks_per_case": 12,
            "value_budget_ms": 2,
        },
        reward_settings={"reward_mode": "legal", "value_budget_ms": 1},
        scored_ids=16,
    ),
    "reasoning-gym": Contract(
        # Words, numbers, grids, JSON; compared, and scored by the package.
        config={
            "datasets": "chain_sum, leg_counting, spell_backward, rotate_matrix, n_queens, palindrome_generation, "
            "graph_color, group_anagrams, complex_arithmetic, calendar_arithmetic, game_of_life_halting, "
            "tower_of_hanoi, syllogism",
            "configs": {"tower_of_hanoi": {"max_disks": 4}},
            "num_tasks": 112,
        },
        scored_ids=28,
    ),
    "trace": Contract(config=ProgramSettings(24)),
    # Every answer with a patch in it is judged in the sandbox.
    "swe-synth": Contract(
        config=ToySettings(8),
        reward_settings={"limits": {"wall_s": 50}, "max_sandboxes": 1},
        scored_ids=2,
    ),
}


@dataclass
class Subject:
    """One environment with all its challenges."""

    env: str
    contract: Contract
    adapter: EnvAdapter
    challenges: list[Challenge]

    @property
    def scored(self) -> list[Challenge]:
        step = max(1, len(self.challenges) // self.contract.scored_ids)
        return self.challenges[::step]


@pytest.fixture(scope="module", params=sorted(REGISTRY))
def subject(request: pytest.FixtureRequest) -> Subject:
    env = request.param
    assert env in CONTRACTS, f"{env} is registered without a contract: add it to CONTRACTS in {__file__}"
    adapter = get_env_adapter(env, CONTRACTS[env].config)
    return Subject(env, CONTRACTS[env], adapter, [adapter.generate(i) for i in range(adapter.num_tasks())])


def hostile_answers(challenge: Challenge, best: str) -> list[str]:
    """What a model writes that wants the reward without the work. None of it may score."""
    prompt = challenge.messages[-1]["content"]
    numbers = [str(number) for number in range(300)]
    return [
        "",
        " \n\t ",
        ".",
        "answer",
        "Answer:",
        "\\boxed{}",
        "<answer></answer>",
        "I do not know.",
        prompt,
        "\n".join(message["content"] for message in challenge.messages),
        prompt[: len(prompt) // 2],
        f"<think>{best}",
        f"<think>I would say {best}</think>",
        f"<think>Answer: {best}\n",
        " ".join(numbers),
        ", ".join(numbers),
        "\n".join(numbers),
        "\n".join(f"Answer: {number}" for number in numbers),
        "\n".join(f"\\boxed{{{number}}}" for number in numbers),
        "Any of them is right.",
        "{}",
        "null",
        "\x00",
        "\ud800",
        "𝟙",
        "9" * 1_000_000,
        "a " * 500_000,
        "<think>" * 100_000,
        "\\boxed{" * 100_000 + "}" * 100_000,
        "\n" * 1_000_000,
    ]


# Run in a process of its own: prints every challenge, in the order asked for, and the scores of some answers.
ELSEWHERE = """
import dataclasses, json, sys
from env_adapter import Challenge, get_env_adapter
job = json.load(sys.stdin)
adapter = get_env_adapter(job["env"], job["config"])
challenges = {i: adapter.generate(i).to_json() for i in job["ids"]}
scores = [dataclasses.asdict(adapter.evaluate(text, Challenge.from_json(c))) for c, text in job["answers"]]
json.dump({"challenges": challenges, "scores": scores}, sys.stdout)
"""


def test_generate_and_evaluate_are_the_same_in_another_process_and_order(subject: Subject) -> None:
    ids = [challenge.task_id for challenge in subject.challenges][::-1]
    answers = []
    for challenge in subject.scored:
        for text in (subject.adapter.random_answer(challenge, seed=1), "no idea"):
            if text is not None:
                answers.append((challenge.to_json(), text))
    job = {"env": subject.env, "config": dict(subject.contract.config), "ids": ids, "answers": answers}
    environment = {**os.environ, "PYTHONPATH": str(TOOLS), "PYTHONHASHSEED": "12345"}
    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE], input=json.dumps(job), env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    there = json.loads(done.stdout)
    for challenge in subject.challenges:
        assert there["challenges"][str(challenge.task_id)] == challenge.to_json()
    for (text_of_challenge, answer), score in zip(answers, there["scores"], strict=True):
        here = subject.adapter.evaluate(answer, Challenge.from_json(text_of_challenge))
        assert score == {"value": here.value, "metrics": here.metrics}


def test_generate_does_not_depend_on_what_was_generated_before(subject: Subject) -> None:
    fresh = get_env_adapter(subject.env, subject.contract.config)
    last = subject.challenges[-1]
    assert fresh.generate(last.task_id) == last
    assert fresh.generate(0) == subject.challenges[0]
    assert fresh.generate(last.task_id) == last


def test_task_ids_are_the_ids_asked_for_and_no_others_exist(subject: Subject) -> None:
    assert [challenge.task_id for challenge in subject.challenges] == list(range(subject.adapter.num_tasks()))
    assert {challenge.env for challenge in subject.challenges} == {subject.env} == {subject.adapter.name}
    for outside in (-1, subject.adapter.num_tasks()):
        with pytest.raises(IndexError):
            subject.adapter.generate(outside)


def test_every_task_has_a_prompt_of_its_own(subject: Subject) -> None:
    prompts = {json.dumps(challenge.messages) for challenge in subject.challenges}
    assert len(prompts) == len(subject.challenges)


def test_a_challenge_survives_json_and_scores_the_same(subject: Subject) -> None:
    for challenge in subject.scored:
        copy = Challenge.from_json(challenge.to_json())
        assert copy == challenge
        for answer in (subject.adapter.reference_answer(challenge), subject.adapter.random_answer(challenge, 3), "?"):
            if answer is not None:
                assert subject.adapter.evaluate(answer, copy) == subject.adapter.evaluate(answer, challenge)


def test_the_reference_answer_scores_above_zero_and_no_answer_scores_higher(subject: Subject) -> None:
    best_scores = []
    for challenge in subject.scored:
        best = subject.adapter.reference_answer(challenge)
        if best is None:
            continue
        score = subject.adapter.evaluate(best, challenge)
        best_scores.append(score.value)
        for seed in range(10):
            other = subject.adapter.random_answer(challenge, seed)
            if other is not None:
                assert subject.adapter.evaluate(other, challenge).value <= score.value
    assert not best_scores or max(best_scores) > 0


def test_no_hostile_answer_scores_or_raises(subject: Subject) -> None:
    for challenge in subject.scored[::3]:
        best = subject.adapter.reference_answer(challenge) or subject.adapter.random_answer(challenge, 0) or "1"
        for answer in hostile_answers(challenge, best):
            assert subject.adapter.evaluate(answer, challenge).value == 0.0, answer[:200]


def test_the_metrics_have_the_same_names_for_every_answer(subject: Subject) -> None:
    names = set()
    for challenge in subject.scored:
        for answer in (
            subject.adapter.reference_answer(challenge),
            subject.adapter.random_answer(challenge, 0),
            "",
            "?",
        ):
            if answer is not None:
                names.add(tuple(subject.adapter.evaluate(answer, challenge).metrics))
    assert len(names) == 1


def test_random_answers_are_fixed_by_their_seed(subject: Subject) -> None:
    for challenge in subject.scored:
        answers = [subject.adapter.random_answer(challenge, seed) for seed in range(20)]
        assert answers == [subject.adapter.random_answer(challenge, seed) for seed in range(20)]


def test_what_the_model_sees_does_not_depend_on_how_it_is_paid(subject: Subject) -> None:
    other = get_env_adapter(subject.env, {**subject.contract.config, **subject.contract.reward_settings})
    for challenge in subject.challenges:
        assert other.generate(challenge.task_id).messages == challenge.messages


def test_messages_are_a_chat_that_ends_with_the_user(subject: Subject) -> None:
    for challenge in subject.challenges:
        assert all(set(message) == {"role", "content"} for message in challenge.messages)
        assert challenge.messages[-1]["role"] == "user" and challenge.messages[-1]["content"].strip()
        assert "assistant" not in {message["role"] for message in challenge.messages}


def test_the_splits_share_no_task_and_lose_none(subject: Subject) -> None:
    number = subject.adapter.num_tasks()
    ids = [task_id for split in SPLITS for task_id in split_task_ids(number, split)]
    assert sorted(ids) == list(range(number))


def test_a_challenge_without_its_extra_is_our_fault_and_not_a_wrong_answer(subject: Subject) -> None:
    whole = subject.challenges[0]
    with pytest.raises(EnvError):
        subject.adapter.evaluate("1", Challenge(whole.env, whole.task_id, whole.messages, {}))


def test_an_unknown_setting_is_refused_and_the_known_ones_are_named(subject: Subject) -> None:
    with pytest.raises(SettingsError, match="known are"):
        get_env_adapter(subject.env, {"no_such_setting": 1})
