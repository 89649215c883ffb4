"""The environment `reasoning-gym`: every dataset of the package obeys the laws, or is refused with the reason."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from env_adapter import SettingsError, get_env_adapter
from reasoning_gym_adapter import MAX_STATEMENT, ReasoningGymAdapter, shares
from reasoning_gym_checks import REFUSED, SCORED, is_right, same_answer, usable_datasets
from reasoning_gym_package import DATASETS, create_dataset
from test_env_contract import hostile_answers
from test_logic_answers import mutated

TOOLS = Path(__file__).parents[1] / "train" / "tools"
USABLE = usable_datasets()
FEW = ("chain_sum", "cryptarithm", "game_of_life_halting", "graph_color", "jugs", "knights_knaves", "n_queens", "survo")


def adapter_of(**settings: Any) -> ReasoningGymAdapter:
    return get_env_adapter("reasoning-gym", settings)


def check_dataset(name: str, number: int) -> None:
    adapter = adapter_of(datasets=name, num_tasks=number)
    challenges = [adapter.generate(task_id) for task_id in range(number)]
    assert len({challenge.messages[1]["content"] for challenge in challenges}) == number
    rng = random.Random(name)
    for challenge in challenges:
        best = adapter.reference_answer(challenge)
        for text in (best, f"<think>Or 5?</think>I see.\n{best}"):
            assert adapter.evaluate(text, challenge).value == 1.0, (name, best)
        for _ in range(20):
            text = f"<answer>{mutated(best[8:-9], rng)}</answer>"
            assert adapter.evaluate(text, challenge).value in (0.0, 1.0)
    for challenge in challenges[:2]:
        for text in hostile_answers(challenge, adapter.reference_answer(challenge)):
            assert adapter.evaluate(text, challenge).value == 0.0, (name, text[:200])


@pytest.mark.parametrize("name", FEW)
def test_some_datasets_pay_for_their_references_and_for_nothing_hostile(name: str) -> None:
    check_dataset(name, 4)


@pytest.mark.slow
@pytest.mark.parametrize("name", USABLE)
def test_every_dataset_pays_for_its_references_and_for_nothing_hostile(name: str) -> None:
    check_dataset(name, 12)


ELSEWHERE = """
import json, sys
from hashlib import sha256
from reasoning_gym_package import create_dataset
found = {}
for name, number in json.load(sys.stdin).items():
    dataset = create_dataset(name, seed=7, size=1000)
    tasks = [(task["question"], str(task["answer"])) for task in map(dataset.__getitem__, range(number))]
    found[name] = sha256(json.dumps(tasks).encode()).hexdigest()
print("\\n" + json.dumps(found))
"""


def digests(numbers: dict[str, int], hash_seed: int) -> dict[str, str]:
    """Dataset → a digest of so many tasks, made in a process with this PYTHONHASHSEED."""
    environment = {**os.environ, "PYTHONPATH": str(TOOLS), "PYTHONHASHSEED": str(hash_seed)}
    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE], input=json.dumps(numbers), env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
def test_tasks_are_the_same_in_another_process_but_for_datasets_that_are_refused_for_it() -> None:
    unsteady = [name for name, reason in REFUSED.items() if "hash seed" in reason]
    numbers = {**dict.fromkeys([*USABLE, *unsteady], 8), "list_functions": 30}  # few of whose tasks differ
    one, other = (digests(numbers, hash_seed) for hash_seed in (1, 2))
    differ = {name for name in numbers if one[name] != other[name]}
    assert differ == set(unsteady)


def test_codeio_gives_another_task_each_time() -> None:
    dataset = create_dataset("codeio", seed=7, size=40)
    assert any(dataset[i]["answer"] != dataset[i]["answer"] for i in [*range(40)] * 3)


def test_every_dataset_is_usable_or_refused_with_a_reason() -> None:
    assert set(USABLE) | set(REFUSED) == set(DATASETS) and not set(USABLE) & set(REFUSED)
    assert len(USABLE) > 85 and set(SCORED) <= set(USABLE)
    for name, reason in REFUSED.items():
        with pytest.raises(SettingsError, match=name) as error:
            adapter_of(datasets=name)
        assert reason in str(error.value)


@pytest.mark.parametrize("name", ["boxnet", "rubiks_cube", "rush_hour", "propositional_logic"])
def test_datasets_that_are_refused_for_want_of_a_reference_have_none(name: str) -> None:
    assert create_dataset(name, seed=1, size=10)[0]["answer"] is None


def test_without_pycosat_all_but_the_zebra_puzzles_are_there() -> None:
    program = (
        "import sys; sys.modules['pycosat'] = None\n"
        "from env_adapter import get_env_adapter\n"
        "print(get_env_adapter('reasoning-gym', {'datasets': 'gcd'}).generate(0).group)\n"
        "get_env_adapter('reasoning-gym', {'datasets': 'zebra_puzzles'})"
    )
    environment = {**os.environ, "PYTHONPATH": str(TOOLS)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert done.stdout == "gcd\n" and "needs pycosat, which is not installed" in done.stderr


# --- what is paid


@pytest.mark.parametrize(
    ("answer", "reference"),
    [
        ("[1, 2.50]", "[1,2.5]"),
        ("Yes", "yes"),
        ("1 2\n3 4", "1 2\n3  4"),
        ("-1.50", "-1.5"),
        (".5", "0.5"),
        ("(1,2)", "(1, 2)"),
    ],
)
def test_spaces_letter_cases_and_ways_to_write_a_number_do_not_count(answer: str, reference: str) -> None:
    assert same_answer(answer, reference)


@pytest.mark.parametrize(
    ("answer", "reference"),
    [
        ("12 3", "1 2 3"),
        ("- 5", "-5"),
        ("007", "7"),
        ("0101", "101"),
        ("100000", "1e5"),
        ("1/2", "0.5"),
        ("5 or 6", "5"),
        ("50", "5"),
        ("", "5"),
        ("²", "2"),
        ("1,000", "1000"),
        ("4:3", "4:30"),
    ],
)
def test_other_words_and_numbers_are_other_answers(answer: str, reference: str) -> None:
    assert not same_answer(answer, reference)


@given(st.text(max_size=60), st.text(max_size=60))
def test_being_the_same_answer_is_symmetric_and_holds_of_itself(one: str, other: str) -> None:
    assert same_answer(one, one) and same_answer(one, other) == same_answer(other, one)


@given(st.lists(st.decimals(-1000, 1000, places=2), min_size=1, max_size=6), st.data())
def test_a_list_of_numbers_is_the_same_only_with_every_number(numbers: list, data: st.DataObject) -> None:
    reference = ", ".join(str(number) for number in numbers)
    place = data.draw(st.integers(0, len(numbers) - 1))
    other = [*numbers[:place], numbers[place] + 1, *numbers[place + 1 :]]
    assert same_answer(",".join(f"{number:.4f}" for number in numbers), reference)
    assert not same_answer(", ".join(map(str, other)), reference)


def test_very_long_numbers_cost_nothing() -> None:
    assert not same_answer("9" * MAX_STATEMENT, "9") and same_answer("9" * 5000, "9" * 5000)


def first_task(name: str) -> tuple[ReasoningGymAdapter, Any]:
    adapter = adapter_of(datasets=name, num_tasks=1)
    return adapter, adapter.generate(0)


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("game_of_life_halting", "anything"),  # its scorer pays any text where the answer is True or False
        ("complex_arithmetic", "nan"),  # its scorer takes the smaller of 1 and e to a power that is no number
        ("puzzle24", "24"),
        ("countdown", "__import__('os').getpid()"),
        ("puzzle24", "9**9**9**9"),
        ("spiral_matrix", "[].append(1)"),
        ("graph_color", "[" * 5000),
        ("jugs", "[]"),
        ("kakurasu", "0 1"),
        ("tower_of_hanoi", "Move disk 1 from Peg 1 to Peg 2"),
        ("power_function", "1e999999999"),
    ],
)
def test_what_would_fool_a_scorer_earns_nothing(name: str, answer: str) -> None:
    adapter, challenge = first_task(name)
    assert adapter.evaluate(f"<answer>{answer}</answer>", challenge).value == 0.0


def test_a_part_of_the_packages_reward_is_none() -> None:
    adapter, challenge = first_task("mini_sudoku")
    task = create_dataset("mini_sudoku", seed=0, size=1)[0]
    ones = "\n".join(["1 1 1 1"] * 4)
    assert 0 < create_dataset("mini_sudoku", seed=0, size=1).score_answer(ones, task) < 1
    assert adapter.evaluate(f"<answer>{ones}</answer>", challenge).value == 0.0


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("game_of_life_halting", "anything"),
        ("complex_arithmetic", "nan"),
        ("puzzle24", "3*3*3-3"),
    ],
)
def test_the_packages_own_scorer_pays_in_full_for_what_is_wrong(name: str, answer: str) -> None:
    """The reason for our checks: where this fails after an upgrade, one of them may no longer be needed."""
    dataset = create_dataset(name, seed=0, size=8)
    assert any(dataset.score_answer(answer, dataset[i]) == 1.0 for i in range(8))
    adapter = adapter_of(datasets=name, num_tasks=8)
    paid = [adapter.evaluate(answer, adapter.generate(i)).value for i in range(8)]
    assert not any(paid)


def test_propositional_logic_pays_for_a_premise_said_again() -> None:
    dataset = create_dataset("propositional_logic", seed=0, size=5)
    assert any(
        dataset.score_answer(premise, task) == 1.0 for task in dataset for premise in task["metadata"]["premises"]
    )


def test_another_expression_or_placement_that_is_right_is_paid() -> None:
    entry = {"answer": "4*6*1*1", "metadata": {"numbers": [4, 6, 1, 1], "target": 24}}
    assert is_right("puzzle24", "(6 * 4) / 1 * 1 = 24", entry)
    assert not is_right("puzzle24", "6 * 4 * 1", entry) and not is_right("puzzle24", "6 * 4 + 1 * 1", entry)
    queens = {"answer": "a", "metadata": {"valid_answers": ["Q _\n_ _", "_ _\n_ Q"]}}
    assert is_right("n_queens", "_ _\n_ Q", queens) and not is_right("n_queens", "_ Q\n_ _", queens)


# --- settings and mixtures


@given(st.integers(1, 1000), st.lists(st.floats(0.01, 100), min_size=1, max_size=8))
def test_shares_sum_up_and_are_right_to_the_whole_number(total: int, weights: list[float]) -> None:
    counts = shares(total, weights)
    assert sum(counts) == total
    assert all(
        abs(count - total * weight / sum(weights)) < 1.0001 for count, weight in zip(counts, weights, strict=True)
    )


def test_a_mixture_has_each_dataset_by_its_weight_and_config() -> None:
    adapter = adapter_of(
        datasets="chain_sum,gcd",
        weights='{"chain_sum": 3}',
        configs={"chain_sum": {"min_terms": 2, "max_terms": 2, "max_digits": 1, "min_digits": 1}},
        num_tasks=40,
    )
    adapter.validate()
    groups = [adapter.generate(i).group for i in range(40)]
    assert groups == ["chain_sum"] * 30 + ["gcd"] * 10
    assert all(len(adapter.generate(i).extra["entry"]["answer"]) <= 2 for i in range(30))


def test_a_dataset_gives_the_same_tasks_alone_and_in_a_mixture() -> None:
    alone, mixed = adapter_of(datasets="gcd", num_tasks=5), adapter_of(datasets="chain_sum,gcd", num_tasks=10)
    assert [alone.generate(i).messages for i in range(5)] == [mixed.generate(5 + i).messages for i in range(5)]
    assert adapter_of(datasets="gcd", num_tasks=5, seed=1).generate(0).messages != alone.generate(0).messages


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "datasets is empty"),
        ({"datasets": "chess"}, "unknown dataset 'chess': known are ab, "),
        ({"datasets": "gcd,gcd"}, "twice"),
        ({"datasets": "gcd", "configs": {"lcm": {}}}, "configs of lcm"),
        ({"datasets": "gcd", "weights": {"lcm": 2}}, "weights of lcm"),
        ({"datasets": "gcd", "weights": {"gcd": 0}}, "weights"),
        ({"datasets": "gcd", "configs": {"gcd": {"size": 5}}}, "unknown setting size: known are max_numbers"),
        ({"datasets": "gcd", "configs": {"gcd": {"min_numbers": 9}}}, "configs of gcd: .* is refused"),
        ({"datasets": "gcd,lcm", "num_tasks": 1}, "leaves none for lcm"),
        ({"datasets": "gcd", "num_tasks": 0}, "num_tasks"),
        ({"datasets": "gcd", "num_tasks": 100_001}, "less than or equal to 100000"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        adapter_of(**settings)


def test_more_tasks_than_there_are_is_said_when_settings_are_validated() -> None:
    small = {"min_terms": 2, "max_terms": 2, "min_digits": 1, "max_digits": 1}
    with pytest.raises(SettingsError, match="chain_sum has hardly more than"):
        adapter_of(datasets="chain_sum", configs={"chain_sum": small}, num_tasks=400).validate()
