"""What the pages say of `lgc-v2` and `reasoning-gym` is so."""

from __future__ import annotations

import dataclasses
import itertools
import re
from pathlib import Path
from typing import Any

import pytest

from env_adapter import Challenge, get_env_adapter
from lgc_v2_adapter import TASK_TYPES, LogicSettings
from logic.families import FAMILIES, task_number
from logic.game_of_24 import find_expression
from reasoning_gym_adapter import ReasoningGymSettings
from reasoning_gym_checks import REFUSED, SCORED, usable_datasets
from reasoning_gym_package import HAS_PYCOSAT

DOCS = Path(__file__).parent.parent / "docs"


def section(heading: str) -> str:
    return (DOCS / "environments.md").read_text().partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


def rows(text: str, heading: str) -> list[list[str]]:
    table = text.partition(f"| {heading} |")[2].partition("\n\n")[0]
    return [line.strip("| ").split(" | ") for line in table.splitlines()[2:]]


def indented(text: str) -> str:
    return "\n".join(f"    {line}".rstrip() for line in text.splitlines())


def chat(challenge: Challenge) -> str:
    return "\n".join(f"{message['role']}\n{indented(message['content'])}" for message in challenge.messages)


def easy(**settings: Any):
    return get_env_adapter("lgc-v2", {"difficulty": "easy", **settings})


def test_the_logic_tasks_shown_are_those_that_are_made() -> None:
    text = section("Logic tasks")
    adapter = easy(task_numbers=[task_number(name, 1) for name in TASK_TYPES])
    shown = []
    for task_id in range(len(TASK_TYPES)):
        challenge = adapter.generate(task_id)
        answer = f"\n    → {adapter.reference_answer(challenge)}"
        shown.append(
            f"{challenge.group}, {challenge.extra['task_number']}\n{indented(challenge.messages[1]['content'])}{answer}"
        )
    assert "```\n" + "\n".join(shown) + "\n```" in text
    game = easy(task_numbers=[500_000_001])
    assert f"```\n{chat(game.generate(0))}\n```" in text
    for answer, value in (("(10 - 10 / 5) * 3", 1), ("3 * 10 - 5", 0)):
        assert f"`{answer}`" in text and game.evaluate(answer, game.generate(0)).value == value
    assert f"```\n{chat(easy(task_numbers=[600_000_001], language='zh').generate(0))}\n```" in text


def test_the_gym_task_shown_is_the_one_that_is_made() -> None:
    adapter = get_env_adapter("reasoning-gym", {"datasets": "leg_counting"})
    challenge = adapter.generate(3)
    assert f"```\n{chat(challenge)}\n```" in section("reasoning-gym")
    for answer, value in (("229", 1), ("<answer>229</answer>", 1), ("229 or 230", 0)):
        assert f"`{answer}`" in section("reasoning-gym") and adapter.evaluate(answer, challenge).value == value


@pytest.mark.parametrize(
    ("heading", "table", "settings"),
    [
        ("Logic tasks", "logic setting", LogicSettings()),
        ("reasoning-gym", "reasoning-gym setting", ReasoningGymSettings()),
    ],
)
def test_the_settings_and_their_defaults_are_those_of_the_adapter(heading: str, table: str, settings: Any) -> None:
    found = {cells[0].strip("`"): cells[1].strip() for cells in rows(section(heading), table)}
    assert set(found) == {field.name for field in dataclasses.fields(settings)}
    for name, default in found.items():
        value = getattr(settings, name)
        assert default in ("none", "", "all eight") if isinstance(value, dict | list) else default == str(value), name


def test_the_difficulties_and_ids_are_those_of_the_task_types() -> None:
    found = rows(section("Logic tasks"), "task type | id | parameters | easy | medium | hard")
    expected = []
    for number, (name, family) in enumerate(FAMILIES.items()):
        names = ", ".join(f"`{field.name}`" for field in dataclasses.fields(family.levels["easy"]))
        levels = (dataclasses.astuple(family.levels[level]) for level in ("easy", "medium", "hard"))
        values = [", ".join(f"{value:g}" for value in level) for level in levels]
        expected.append([f"`{name}`", str(number), names, *values])
    assert found == expected


def test_the_datasets_that_are_refused_or_scored_by_the_package_are_named() -> None:
    text = section("reasoning-gym")
    always = {name: reason for name, reason in REFUSED.items() if name != "zebra_puzzles"}
    assert {cells[0].strip("`"): cells[1] for cells in rows(text, "refused dataset | why")} == always
    assert f"takes {len(usable_datasets()) + (not HAS_PYCOSAT)} of the datasets" in text
    assert "`zebra_puzzles` only where pycosat is installed" in text
    named = re.search(r"the score is full \(([^)]*)\)", text)
    assert named and set(re.findall(r"`(\w+)`", named[1])) == set(SCORED)


@pytest.mark.slow
def test_566_easy_hands_make_24() -> None:
    hands = itertools.combinations_with_replacement(range(1, 11), 4)
    assert sum(find_expression(hand, 24) is not None for hand in hands) == 566
    assert "566 easy and 1,362 medium hands" in section("Logic tasks")
