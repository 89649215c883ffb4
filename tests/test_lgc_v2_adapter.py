"""The environment `lgc-v2`: its settings, its numbers, and that what it promises is there."""

from __future__ import annotations

import json
from typing import Any

import pytest

from answer_text import final_statement
from env_adapter import EnvError, SettingsError, get_env_adapter
from lgc_v2_adapter import MAX_STATEMENT, TASK_TYPES
from logic.families import FAMILIES, task_number, type_and_seed

LEVELS = ("easy", "medium", "hard")


def adapter_of(**settings: Any):
    return get_env_adapter("lgc-v2", settings)


def test_the_types_have_the_numbers_that_data_sets_know_them_by() -> None:
    assert (
        *("boolean_expressions", "cryptarithm", "dyck_language", "dyck_language2", "dyck_language_reasoning_errors"),
        *("game_of_24", "operation", "sudoku"),
    ) == TASK_TYPES
    assert task_number("dyck_language", 12) == 200_000_012
    assert type_and_seed(799_999_999) == ("sudoku", 99_999_999)
    with pytest.raises(SettingsError, match="800000000"):
        type_and_seed(800_000_000)


@pytest.mark.parametrize("spelling", ["lgc-v2", "lgc_v2", "logic-v2", "logic_v2", "LGC-V2"])
def test_every_spelling_of_the_name_is_known(spelling: str) -> None:
    assert get_env_adapter(spelling).name == "lgc-v2"


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("level", LEVELS)
def test_reference_answers_score_1_whether_bare_reasoned_or_boxed(level: str, language: str) -> None:
    adapter = adapter_of(num_tasks_per_type=12, difficulty=level, language=language)
    for task_id in range(adapter.num_tasks()):
        challenge = adapter.generate(task_id)
        best = adapter.reference_answer(challenge)
        assert len(best) <= MAX_STATEMENT and final_statement(best, MAX_STATEMENT) == best
        thought = f"<think>It may be 5.</think>So it is.\nAnswer: {best}"
        for text in (best, thought, f"\\boxed{{{best}}}", f"先算括号。\nAnswer：{best}"):
            assert adapter.evaluate(text, challenge).value == 1.0, (challenge, text)


@pytest.mark.slow
def test_ten_thousand_reference_answers_score_1() -> None:
    # 9 by 9 sudoku are made at 50 a second: fewer of those.
    for level, number in (("easy", 500), ("medium", 400), ("hard", 350)):
        adapter = adapter_of(num_tasks_per_type=number, difficulty=level)
        for task_id in range(adapter.num_tasks()):
            challenge = adapter.generate(task_id)
            assert adapter.evaluate(adapter.reference_answer(challenge), challenge).value == 1.0, challenge


def test_a_task_is_made_again_from_its_number() -> None:
    adapter = adapter_of(num_tasks_per_type=40, difficulty="easy", seed=3)
    chosen = [adapter.generate(task_id) for task_id in range(0, adapter.num_tasks(), 37)]
    numbers = [challenge.extra["task_number"] for challenge in chosen]
    again = adapter_of(task_numbers=",".join(map(str, numbers)), difficulty="easy", seed=3)
    again.validate()
    assert again.num_tasks() == len(chosen)
    for index, challenge in enumerate(chosen):
        assert again.generate(index).messages == challenge.messages
        assert again.generate(index).extra == challenge.extra


def test_a_seed_whose_puzzle_was_there_before_is_passed_over() -> None:
    adapter = adapter_of(task_types="game_of_24", num_tasks_per_type=300, difficulty="easy")
    challenges = [adapter.generate(task_id) for task_id in range(300)]
    hands = {tuple(sorted(challenge.extra["puzzle"]["numbers"])) for challenge in challenges}
    seeds = [challenge.extra["task_number"] - 500_000_000 for challenge in challenges]
    assert len(hands) == 300 and seeds == sorted(seeds) and seeds[-1] > 299


def test_more_types_or_tasks_leave_the_puzzles_of_a_type_as_they_are() -> None:
    few = adapter_of(task_types="operation", num_tasks_per_type=5)
    many = adapter_of(task_types="dyck_language,operation", num_tasks_per_type=9)
    assert [few.generate(i).messages for i in range(5)] == [many.generate(9 + i).messages for i in range(5)]


def test_other_seeds_and_difficulties_give_other_puzzles() -> None:
    prompts = [
        {adapter_of(num_tasks_per_type=3, task_types=["sudoku"], **settings).generate(i).messages[1]["content"]}
        for settings in ({}, {"seed": 1}, {"difficulty": "hard"})
        for i in range(3)
    ]
    assert len(set.union(*prompts)) == 9


def test_half_of_the_boolean_expressions_are_true() -> None:
    adapter = adapter_of(task_types="boolean_expressions", num_tasks_per_type=500)
    share = sum(adapter.reference_answer(adapter.generate(i)) == "True" for i in range(500)) / 500
    assert 0.42 < share < 0.58


def test_some_worked_matchings_have_no_error() -> None:
    adapter = adapter_of(task_types="dyck_language_reasoning_errors", num_tasks_per_type=300)
    share = sum(adapter.reference_answer(adapter.generate(i)) == "0" for i in range(300)) / 300
    assert 0.05 < share < 0.16


def test_difficulty_grows_from_level_to_level() -> None:
    for name in TASK_TYPES:
        sizes = []
        for level in LEVELS:
            adapter = adapter_of(task_types=name, difficulty=level, num_tasks_per_type=20)
            challenges = [adapter.generate(i) for i in range(5 if name == "sudoku" else 20)]
            if name == "cryptarithm":
                sizes.append(
                    sum(len(c.extra["puzzle"]["solution"]) - len(c.extra["puzzle"]["hints"]) for c in challenges)
                )
            elif name == "game_of_24":
                sizes.append(sum(sum(c.extra["puzzle"]["numbers"]) for c in challenges))
            elif name == "sudoku":
                sizes.append(sum(sum(row.count(0) for row in c.extra["puzzle"]["grid"]) for c in challenges))
            else:
                sizes.append(sum(len(c.messages[1]["content"]) for c in challenges))
        assert sizes == sorted(set(sizes)), name


# --- bad settings


def test_an_unknown_type_is_refused_and_the_known_ones_are_named() -> None:
    for settings in ({"task_types": "sudoku,chess"}, {"parameters": {"chess": {}}}):
        with pytest.raises(SettingsError, match=r"'chess'.*boolean_expressions.*sudoku"):
            adapter_of(**settings)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"task_types": "sudoku,sudoku"}, "twice"),
        ({"num_tasks_per_type": 0}, "num_tasks_per_type"),
        ({"num_tasks_per_type": 100_000_001}, "at most 100000000"),
        ({"difficulty": "absurd"}, "difficulty"),
        ({"language": "fr"}, "language"),
        ({"parameters": {"sudoku": {"empty": 3}}}, "parameters of sudoku: unknown setting 'empty'.*max_empty"),
        ({"parameters": {"sudoku": {"max_empty": 70}}}, "max_empty"),
        ({"parameters": '{"operation": {"operators": 99}}'}, "operators"),
        ({"task_numbers": "900000000"}, "900000000"),
        ({"task_numbers": [-1]}, "task_numbers"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        adapter_of(**settings)


@pytest.mark.parametrize(
    ("name", "parameters", "words"),
    [
        ("boolean_expressions", {"min_operands": 9, "max_operands": 8}, "min_operands=9"),
        ("cryptarithm", {"min_words": 4, "max_words": 3}, "min_words=4"),
        ("dyck_language", {"min_length": 5, "max_length": 5, "min_missing": 2, "max_missing": 2}, "both even"),
        ("dyck_language", {"min_length": 2, "max_length": 3, "min_missing": 5, "max_missing": 9}, "no sequence"),
        ("dyck_language_reasoning_errors", {"min_steps": 40}, "min_steps=40"),
        ("game_of_24", {"min_number": 1, "max_number": 1}, "make 24: none was found"),
        ("game_of_24", {"min_number": 9, "max_number": 5}, "min_number=9"),
        ("operation", {"max_result": 0}, "max_result=0: none was found"),
        ("operation", {"min_operands": 9}, "min_operands=9"),
        ("sudoku", {"size": 4, "min_empty": 13, "max_empty": 13}, "12 in a grid"),
        ("sudoku", {"min_empty": 36}, "min_empty=36"),
    ],
)
def test_an_impossible_difficulty_is_said_when_settings_are_validated(name: str, parameters: dict, words: str) -> None:
    adapter = adapter_of(task_types=name, num_tasks_per_type=3, parameters={name: parameters})
    with pytest.raises(SettingsError, match=words):
        adapter.validate()


def test_more_tasks_than_there_are_puzzles_are_refused() -> None:
    adapter = adapter_of(
        task_types="boolean_expressions",
        parameters={"boolean_expressions": {"min_operands": 2, "max_operands": 2, "negations": 0}},
        num_tasks_per_type=9,
    )
    with pytest.raises(SettingsError, match="hardly more than 8 different puzzles"):
        adapter.validate()


def test_the_same_task_twice_among_task_numbers_is_refused() -> None:
    with pytest.raises(SettingsError, match="are the same task"):
        adapter_of(task_numbers=[5, 5]).validate()


# --- challenges


def test_a_challenge_that_was_damaged_is_our_fault() -> None:
    adapter = adapter_of(num_tasks_per_type=1)
    for task_id in range(adapter.num_tasks()):
        whole = adapter.generate(task_id)
        best = adapter.reference_answer(whole)
        for damage in ({"task_type": "chess"}, {"puzzle": {}}, {"puzzle": None}, {"puzzle": {"numbers": "x"}}):
            fields = json.loads(whole.to_json())
            fields["extra"].update(damage)
            with pytest.raises(EnvError):
                adapter.evaluate(best, type(whole)(**fields))


def test_evaluations_are_summed_up_by_type() -> None:
    adapter = adapter_of(num_tasks_per_type=1)
    assert [adapter.generate(i).group for i in range(adapter.num_tasks())] == list(TASK_TYPES)


def test_what_the_model_sees_has_no_answer_in_it() -> None:
    adapter = adapter_of(num_tasks_per_type=20, difficulty="easy")
    for task_id in range(adapter.num_tasks()):
        challenge = adapter.generate(task_id)
        family = FAMILIES[challenge.extra["task_type"]]
        if family.name in ("cryptarithm", "game_of_24", "sudoku"):
            assert adapter.reference_answer(challenge) not in json.dumps(challenge.messages)
