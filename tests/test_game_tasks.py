"""Whole games as tasks of the adapter: the same everywhere, in every split, and refused where they cannot be played."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from env_adapter import Challenge, EnvError, SettingsError
from games.match import Match
from games.whole_games import game_task, new_match
from openspiel_adapter import OpenSpielAdapter
from task_split import split_task_ids

TOOLS = Path(__file__).parent.parent / "train" / "tools"
GAMES = {"mode": "game", "game_types": "tic_tac_toe,leduc_poker,hearts", "num_tasks_per_case": 40}


def test_a_task_is_a_case_a_seed_and_a_seat() -> None:
    adapter = OpenSpielAdapter({**GAMES, "opponents": "random, MCTS(20)", "max_turns": 7, "seed": 5})
    assert adapter.num_tasks() == 120
    challenge = adapter.generate(83)
    assert challenge.extra == {
        "mode": "game",
        "game": "hearts",
        "seed": "5|3",
        "seat": 3,
        "opponents": ["random", "mcts(20)"],
        "tries": 3,
        "max_turns": 7,
        "history_turns": None,
    }
    assert [adapter.generate(task_id).extra["seat"] for task_id in range(4)] == [0, 1, 0, 1]
    assert "You are West." in challenge.messages[-1]["content"]


def test_the_messages_are_the_games_first_turn_against_random_players() -> None:
    adapter = OpenSpielAdapter(GAMES)
    for task_id in range(0, 120, 7):
        challenge = adapter.generate(task_id)
        match = new_match(challenge.extra, "random")
        match.advance()
        assert match.messages == challenge.messages
        assert [message["role"] for message in match.messages] == ["system", "user"]


def test_tasks_are_the_same_in_another_process_and_after_json() -> None:
    code = f"""
from openspiel_adapter import OpenSpielAdapter
adapter = OpenSpielAdapter({GAMES!r})
for task_id in (119, 0, 63): print(adapter.generate(task_id).to_json())
"""
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": str(TOOLS)}, capture_output=True, text=True, check=True
    )
    adapter = OpenSpielAdapter(GAMES)
    for line, task_id in zip(done.stdout.splitlines(), (119, 0, 63), strict=True):
        assert line == adapter.generate(task_id).to_json()
        assert Challenge.from_json(line) == adapter.generate(task_id)


def test_every_task_has_luck_of_its_own_and_splits_share_none() -> None:
    adapter = OpenSpielAdapter({**GAMES, "game_types": "leduc_poker", "num_tasks_per_case": 300})
    keys = {
        split: {self_key(adapter, i) for i in split_task_ids(300, split)} for split in ("train", "validation", "test")
    }
    assert sum(map(len, keys.values())) == 300
    assert len(set.union(*keys.values())) == 300
    assert len({json.dumps(adapter.generate(task_id).messages) for task_id in range(300)}) >= 6


def self_key(adapter: OpenSpielAdapter, task_id: int) -> tuple[Any, ...]:
    extra = adapter.generate(task_id).extra
    return extra["game"], extra["seed"], extra["seat"]


def test_a_game_is_no_single_question() -> None:
    adapter = OpenSpielAdapter(GAMES)
    adapter.validate()
    challenge = adapter.generate(0)
    assert adapter.agent_loop == "openspiel_game" and OpenSpielAdapter({"game_types": "hex"}).agent_loop is None
    assert adapter.reference_answer(challenge) is None and adapter.random_answer(challenge, 1) is None
    with pytest.raises(EnvError, match=r"whole game .*GAME_MODE=game"):
        adapter.evaluate("1", challenge)
    with pytest.raises(IndexError, match="outside 0 … 119"):
        adapter.generate(120)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"opponents": "mcts"}, "opponent 'mcts' is not known: it is random, mcts"),
        ({"opponents": ""}, "name at least one"),
        ({"opponents": "random,mcts(5), Random"}, "each once"),
        ({"opponents": "mcts(1)"}, "2 to 1000000 simulations"),
        ({"tries": 0}, "tries=0"),
        ({"max_turns": 0}, "max_turns=0"),
        ({"promote_at": 1.5}, "promote_at=1.5"),
        ({"mode": "games"}, "mode='games'"),
    ],
)
def test_settings_that_cannot_be_played_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        OpenSpielAdapter({**GAMES, **settings})


def test_settings_come_as_text_from_the_environment() -> None:
    settings = OpenSpielAdapter(
        {**GAMES, "opponents": "mcts(20,5),self", "history_turns": "none", "tries": "2"}
    ).settings
    assert (settings.opponents, settings.history_turns, settings.tries) == (["mcts(20,5)", "self"], None, 2)


@pytest.mark.parametrize(
    "change",
    [
        {"mode": "state"},
        {"game": "no_such_game"},
        {"game": None},
        {"seat": 2},
        {"seat": "0"},
        {"seat": True},
        {"tries": None},
        {"max_turns": 2.5},
    ],
)
def test_a_damaged_task_is_a_fault_of_ours(change: dict[str, Any]) -> None:
    extra = OpenSpielAdapter(GAMES).generate(0).extra
    assert isinstance(new_match(extra, "random"), Match)
    with pytest.raises(EnvError, match="corrupted challenge"):
        new_match({**extra, **change}, "random")
    with pytest.raises(EnvError, match="corrupted challenge"):
        new_match({key: value for key, value in extra.items() if key not in change}, "random")
    with pytest.raises(EnvError, match="corrupted challenge"):
        new_match(extra, "nobody")


def test_a_single_decision_is_no_game() -> None:
    challenge = OpenSpielAdapter({"game_types": "tic_tac_toe"}).generate(0)
    with pytest.raises(EnvError, match="not the extra of a game task"):
        new_match(challenge.extra, "random")


def test_a_task_needs_nothing_but_its_extra() -> None:
    from games.cases import load_case

    extra = game_task(load_case("hex(board_size=5)"), 3, 0, ["random"], 3, 100, None)
    assert new_match(json.loads(json.dumps(extra)), "random").seat == 1
