"""Which games there are. A case is an OpenSpiel load string that is fit to be asked about.

    >>> resolve_cases([], ["hex", "go(go_board_size=9)"])
    ['hex(board_size=5)', 'hex(board_size=7)', 'hex(board_size=9)', 'go(board_size=9)']

A short name means all the known cases of that game; a load string means itself.
"""

from __future__ import annotations

import functools
import re
import warnings
from dataclasses import dataclass
from typing import Any

import pyspiel

from env_adapter import SettingsError

DEFAULT_CASES = [
    "tic_tac_toe",
    "connect_four",
    "hex(board_size=5)",
    "hex(board_size=7)",
    "hex(board_size=9)",
    "breakthrough(rows=6,columns=6)",
    "breakthrough(rows=8,columns=8)",
    "clobber(rows=5,columns=5)",
    "clobber(rows=6,columns=6)",
    "clobber(rows=7,columns=7)",
    "dots_and_boxes(num_rows=3,num_cols=3)",
    "dots_and_boxes(num_rows=4,num_cols=4)",
    "dots_and_boxes(num_rows=5,num_cols=5)",
    "othello",
    "go(board_size=9)",
    "go(board_size=13)",
    "chess",
    "checkers",
]
# OpenSpiel itself warns of known issues in quoridor, on stderr at every load: it has to be asked for.
AVAILABLE_CASES = [*DEFAULT_CASES, "quoridor(board_size=5)", "quoridor(board_size=7)"]

_OLD_PARAMETERS = {"go": {"go_board_size": "board_size"}}  # spellings that older documentation used


@dataclass(frozen=True)
class Case:
    """A loaded game, with the string that loads it again in any process."""

    name: str
    game: Any
    """The `pyspiel.Game`."""

    @property
    def short_name(self) -> str:
        return self.game.get_type().short_name


def resolve_cases(cases: list[str], game_types: list[str]) -> list[str]:
    """The load strings that the two settings ask for, in order, each game once.

    `cases` is the pool (empty: the default cases, and `game_types` may then name any available one); `game_types`
    picks from the pool by short name, and a load string among them stands for itself. Raises SettingsError for a name
    that matches nothing and for a game that OpenSpiel rejects or that cannot be asked about.
    """
    pool = cases or AVAILABLE_CASES
    chosen: list[str] = []
    for game_type in game_types:
        matches = [case for case in pool if case.partition("(")[0] == game_type] or (
            [game_type] if "(" in game_type or game_type in pool else []
        )
        if not matches:
            names = ", ".join(dict.fromkeys(case.partition("(")[0] for case in pool))
            raise SettingsError(f"unknown game {game_type!r} in game_types: known are {names}, or a full load string")
        chosen += matches
    unique: dict[str, str] = {}
    for name in chosen if game_types else cases or DEFAULT_CASES:
        case = load_case(name)
        unique.setdefault(f"{case.short_name} {sorted(case.game.get_parameters().items())}", case.name)
    return list(unique.values())


@functools.lru_cache(maxsize=256)
def load_case(name: str) -> Case:
    """The case of a load string. Raises SettingsError when OpenSpiel rejects it or it is not supported."""
    name = _modern_spelling(name.strip())
    try:
        game = pyspiel.load_game(name)
    except pyspiel.SpielError as error:
        reason = str(error).partition("\n")[0]
        raise SettingsError(f"game {name!r}: {reason} Known cases: {', '.join(AVAILABLE_CASES)}") from error
    fault = _unsupported(game)
    if fault:
        raise SettingsError(
            f"game {name!r} {fault}, which is not supported yet (reward_mode 'outcome' has no right value for it): "
            f"choose among {', '.join(AVAILABLE_CASES)}"
        )
    # A size such as 0 or -3 loads, and then crashes the process inside OpenSpiel.
    sizes = [value for value in pyspiel.game_parameters_from_string(name).values() if isinstance(value, int)]
    if any(size < 0 for size in sizes) or len(game.new_initial_state().legal_actions()) < 2:
        raise SettingsError(f"game {name!r} has nothing to decide at its start: check its parameters")
    return Case(name, game)


def _modern_spelling(name: str) -> str:
    """'go(go_board_size=9)' → 'go(board_size=9)', with a warning."""
    modern = name
    for old, new in _OLD_PARAMETERS.get(name.partition("(")[0], {}).items():
        modern = re.sub(rf"(?<=[(,]){old}(?==)", new, modern)
    if modern != name:
        warnings.warn(f"{name!r} is an old spelling: read as {modern!r}", stacklevel=3)
    return modern


def _unsupported(game: Any) -> str | None:
    """Why single decisions of this game have no fair prompt or no right value yet, or None when they have."""
    kind = game.get_type()
    if kind.dynamics != pyspiel.GameType.Dynamics.SEQUENTIAL:
        return "has simultaneous moves"
    if kind.chance_mode != pyspiel.GameType.ChanceMode.DETERMINISTIC:
        return "has chance nodes"
    if kind.information != pyspiel.GameType.Information.PERFECT_INFORMATION:
        return "has hidden information"
    if game.num_players() != 2:
        return f"has {game.num_players()} player(s) where 2 are needed"
    if kind.utility not in (pyspiel.GameType.Utility.ZERO_SUM, pyspiel.GameType.Utility.CONSTANT_SUM):
        return "is not zero-sum"
    if kind.reward_model != pyspiel.GameType.RewardModel.TERMINAL:
        return "gives rewards before its end"
    return None
