"""Which games there are. A case is an OpenSpiel load string that is fit to be asked about.

    >>> resolve_cases(game_types=["breakthrough", "go(go_board_size=9)"])
    ['breakthrough(rows=6,columns=6)', 'breakthrough(rows=8,columns=8)', 'go(board_size=9)']
    >>> resolve_cases(game_list=["hex", "pig"], game_configs={"hex": [{"board_size": 5}, {"board_size": 7}]})
    ['hex(board_size=5)', 'hex(board_size=7)', 'pig']

A short name means all the known cases of that game; a load string means itself.
"""

from __future__ import annotations

import functools
import os
import re
import subprocess
import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyspiel

from env_adapter import SettingsError

# Board games that come in several sizes, and the classics: perfect information, no chance.
DEFAULT_CASES_BOARD_SIZES = [
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
# The seven games that evaluators of game play ask for most, in the sizes that they ask for.
FOCUS_CASES = [
    "clobber(rows=5,columns=5)",
    "clobber(rows=6,columns=6)",
    "clobber(rows=7,columns=7)",
    "gin_rummy",
    "gin_rummy(hand_size=7,knock_card=10)",
    "goofspiel",
    "goofspiel(num_cards=8)",
    "goofspiel(num_cards=10)",
    "goofspiel(num_cards=12)",
    "goofspiel(num_cards=14)",
    "goofspiel(num_cards=16)",
    "hex(board_size=5)",
    "hex(board_size=7)",
    "hex(board_size=9)",
    "hex(board_size=11)",
    "leduc_poker",
    "liars_dice",
    "liars_dice(numdice=5)",
    "othello",
]
# New cases go to the end: task ids run case by case.
DEFAULT_CASES = list(
    dict.fromkeys(
        [
            "tic_tac_toe",
            "connect_four",
            *DEFAULT_CASES_BOARD_SIZES,
            *FOCUS_CASES,
            "battleship",
            "backgammon",
            "pig",
            "pig(winscore=20)",
            "blackjack",
            "phantom_ttt",
            "latent_ttt",
            "hearts",
            "cribbage",
            "euchre",
        ]
    )
)
# OpenSpiel itself warns of known issues in quoridor, on stderr at every load: it has to be asked for.
AVAILABLE_CASES = [*DEFAULT_CASES, "quoridor(board_size=5)", "quoridor(board_size=7)"]

# Spellings that older documentation used.
_OLD_NAMES = {"latent_tic_tac_toe": "latent_ttt", "phantom_tic_tac_toe": "phantom_ttt"}
_OLD_PARAMETERS = {"go": {"go_board_size": "board_size"}, "liars_dice": {"num_dice": "numdice"}}

_TRIAL_SECONDS = 60


@dataclass(frozen=True)
class Case:
    """A loaded game, with the string that loads it again in any process."""

    name: str
    plain: Any
    """The `pyspiel.Game` of the name."""
    game: Any
    """The game that is played: `plain`, or its turn-based form where the players of `plain` move at the same time."""

    @property
    def short_name(self) -> str:
        return self.plain.get_type().short_name

    @property
    def parameters(self) -> dict[str, Any]:
        """Every parameter with its value, the defaults too."""
        return self.plain.get_parameters()

    @property
    def simultaneous(self) -> bool:
        """Players move at the same time: the second mover of a round must not learn the first one's choice."""
        return self.plain.get_type().dynamics == pyspiel.GameType.Dynamics.SIMULTANEOUS

    @property
    def hidden(self) -> bool:
        """Some player does not know the whole state."""
        kind = self.plain.get_type()
        return self.simultaneous or kind.information != pyspiel.GameType.Information.PERFECT_INFORMATION

    @property
    def stochastic(self) -> bool:
        """There are chance nodes: dice, or cards that are dealt."""
        return self.plain.get_type().chance_mode != pyspiel.GameType.ChanceMode.DETERMINISTIC


def resolve_cases(
    cases: Sequence[str] = (),
    game_types: Sequence[str] = (),
    game_list: Sequence[str] = (),
    game_configs: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
) -> list[str]:
    """The load strings that the settings ask for, in order, each game once.

    `cases`, or `game_list` with `game_configs` (one case for each pair), is the pool; without them the pool is the
    default cases, and `game_types` may name any available one. `game_types` picks from the pool by short name, and a
    load string among them stands for itself. Raises SettingsError for a name that matches nothing and for a game that
    OpenSpiel rejects or that cannot be asked about.
    """
    if cases and (game_list or game_configs):
        raise SettingsError("cases and game_list/game_configs both say which games: give one of the two")
    given = list(cases) or _cases_of_pairs(game_list, game_configs or {})
    pool = given or AVAILABLE_CASES
    chosen: list[str] = []
    for game_type in game_types:
        name = _modern_spelling(game_type)
        matches = [case for case in pool if _modern_spelling(case).partition("(")[0] == name] or (
            [name] if "(" in name or name in pool else []
        )
        if not matches:
            names = ", ".join(dict.fromkeys(case.partition("(")[0] for case in pool))
            raise SettingsError(f"unknown game {game_type!r} in game_types: known are {names}, or a full load string")
        chosen += matches
    unique: dict[str, str] = {}
    for name in chosen if game_types else given or DEFAULT_CASES:
        case = load_case(name)
        unique.setdefault(f"{case.short_name} {sorted(case.parameters.items())}", case.name)
    return list(unique.values())


def _cases_of_pairs(game_list: Sequence[str], game_configs: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[str]:
    """(["hex", "pig"], {"hex": [{"board_size": 5}]}) → ["hex(board_size=5)", "pig"]; no list: the games configured."""
    games = list(game_list) or list(game_configs)
    unused = [name for name in game_configs if name not in games]
    if unused:
        raise SettingsError(f"game_configs has {', '.join(unused)}, which game_list has not: add it there")
    pairs = []
    for name in games:
        for config in game_configs.get(name) or [{}]:
            parameters = ",".join(f"{key}={value}" for key, value in config.items())
            pairs.append(f"{name}({parameters})" if parameters else name)
    return pairs


@functools.lru_cache(maxsize=256)
def load_case(name: str) -> Case:
    """The case of a load string. Raises SettingsError when OpenSpiel rejects it or it cannot be asked about.

    A case that is not among the available ones is first tried out in a process of its own, since parameters that make
    no sense may end the process inside OpenSpiel. It takes a tenth of a second.
    """
    name = _modern_spelling(name.strip())
    fault = None if name in AVAILABLE_CASES else _fault_of_trial(name)
    if fault:
        raise SettingsError(f"game {name!r} {fault}. Known cases: {', '.join(AVAILABLE_CASES)}")
    return load_untried_case(name)


def load_untried_case(name: str) -> Case:
    """As `load_case`, without a trial: for the trial itself. Raises SettingsError that tells the reason alone."""
    try:
        plain = pyspiel.load_game(name)
    except (pyspiel.SpielError, ValueError, IndexError, MemoryError) as error:
        reason = str(error).partition("\n")[0].rstrip(".")
        raise SettingsError(f"is rejected by OpenSpiel: {reason}") from error
    fault = _unsupported(plain)
    if fault:
        raise SettingsError(fault)
    simultaneous = plain.get_type().dynamics == pyspiel.GameType.Dynamics.SIMULTANEOUS
    return Case(name, plain, pyspiel.convert_to_turn_based(plain) if simultaneous else plain)


def _modern_spelling(name: str) -> str:
    """'go(go_board_size=9)' → 'go(board_size=9)', with a warning."""
    game, bracket, parameters = name.partition("(")
    modern = _OLD_NAMES.get(game, game)
    for old, new in _OLD_PARAMETERS.get(modern, {}).items():
        parameters = re.sub(rf"(?:(?<=,)|^){old}(?==)", new, parameters)
    modern += bracket + parameters
    if modern != name:
        warnings.warn(f"{name!r} is an old spelling: read as {modern!r}", stacklevel=3)
    return modern


def _unsupported(game: Any) -> str | None:
    """Why decisions of this game cannot be asked about, or None when they can."""
    kind = game.get_type()
    dynamics, chance = pyspiel.GameType.Dynamics, pyspiel.GameType.ChanceMode
    if kind.dynamics not in (dynamics.SEQUENTIAL, dynamics.SIMULTANEOUS):
        return "is a mean-field game"
    if kind.chance_mode not in (chance.DETERMINISTIC, chance.EXPLICIT_STOCHASTIC):
        return "has chance events that OpenSpiel cannot list"
    if not (kind.provides_observation_string or kind.provides_information_state_string):
        return "has no text of what a player sees"
    if not game.max_utility() > game.min_utility():
        return "has no better and worse ends"
    return None


@functools.lru_cache(maxsize=256)
def _fault_of_trial(name: str) -> str | None:
    """What went wrong when a process of its own played some games of this case, or None."""
    tools, known = str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH")
    environment = {**os.environ, "PYTHONPATH": f"{tools}{os.pathsep}{known}" if known else tools}
    command = [sys.executable, "-m", "games.trial", name]
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=_TRIAL_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return f"needs more than {_TRIAL_SECONDS} s for a few random games: check its parameters"
    if done.returncode < 0:
        return "ends the process inside OpenSpiel: check its parameters"
    return (done.stdout.strip() or done.stderr.strip()[-300:]) if done.returncode else None
