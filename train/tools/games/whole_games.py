"""Tasks that are whole games: what a task is made of, and the match that is played for it.

    extra = game_task(load_case("tic_tac_toe"), number=3, seed=0, opponents=["random"], tries=3, max_turns=100, …)
    {"mode": "game", "game": "tic_tac_toe", "seed": "0|3", "seat": 1, "opponents": ["random"], "tries": 3, …}
    opening(extra)                        # the chat that the model sees first
    new_match(extra, "random")            # games.match.Match

A task fixes the luck and the seat, which goes round with the task's number. Games that begin alike are tasks of their
own: they go on differently.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from env_adapter import EnvError, SettingsError
from games.cases import Case, load_case
from games.chat import Message
from games.match import Match
from games.opponents import parse_opponent

_NUMBERS = ("seat", "tries", "max_turns")


def check_opponents(names: Sequence[str]) -> list[str]:
    """The opponents in one spelling. Raises SettingsError for none, an unknown one, or one that is there twice."""
    opponents = [parse_opponent(name).name for name in names]
    if not opponents or len(set(opponents)) < len(opponents):
        raise SettingsError(f"opponents={', '.join(names)}: name at least one, and each once")
    return opponents


def game_task(
    case: Case,
    number: int,
    seed: int,
    opponents: Sequence[str],
    tries: int,
    max_turns: int,
    history_turns: int | None,
) -> dict[str, Any]:
    """Task `number` of a case as JSON values: all that `new_match` needs."""
    return {
        "mode": "game",
        "game": case.name,
        "seed": f"{seed}|{number}",
        "seat": number % case.game.num_players(),
        "opponents": list(opponents),
        "tries": tries,
        "max_turns": max_turns,
        "history_turns": history_turns,
    }


def is_game(extra: Mapping[str, Any]) -> bool:
    return extra.get("mode") == "game"


def new_match(extra: Mapping[str, Any], opponent: str) -> Match:
    """Raises EnvError where `extra` is no game task."""
    try:
        if not is_game(extra) or not all(type(extra[name]) is int for name in _NUMBERS):
            raise ValueError("not the extra of a game task")
        return Match(
            load_case(extra["game"]),
            str(extra["seed"]),
            extra["seat"],
            parse_opponent(opponent),
            extra["tries"],
            extra["max_turns"],
            extra["history_turns"],
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:  # a SettingsError is a ValueError
        raise EnvError(f"corrupted challenge: {error!r} in {str(dict(extra))[:300]}") from error


def opening(extra: Mapping[str, Any]) -> list[Message]:
    """What the model sees first when the others' moves before that are random ones.

    A search may begin otherwise, and takes its time: a task has to be there at once. The rules and the length of the
    first turn are the same.
    """
    match = new_match(extra, "random")
    match.advance()
    return match.messages
