"""What a model must be told of a game: the goal, the marks, how moves are written. Every token has its price.

The tables of games are in `board_games`, `dice_games`, `card_games`, `trick_games` and `hidden_boards`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Rules:
    """How one game is told. The defaults fit a game that OpenSpiel describes well itself."""

    text: str | Callable[[Mapping[str, Any]], str]
    """The rules, in which `{komi}` and the like are filled with the game's parameters; or made from the parameters."""
    players: tuple[str, ...]
    """What the model is called when it is player 0, player 1 …; for a board, its marks."""
    view: Callable[[Any, int], str] | None = None
    """(state, player to move) → what that player knows; None: OpenSpiel's own text of it."""
    move: Callable[[str], str] | None = None
    """OpenSpiel's text of a move → the prompt's; None: the same, without `mover_prefix`."""
    mover_prefix: str = ""
    """Pattern of what OpenSpiel writes before a move to name the mover, which the model knows."""
    first_board_line: int = 0
    """Lines before this one of OpenSpiel's text are bookkeeping."""
    one_move_per_text: bool = False
    """Actions with the same text do the same: one of them is shown, the text means the first."""
    ranges: bool = False
    """Neighbouring actions are listed together: `10-19 -> (1,0)-(1,9)`."""
    exact_case: bool = False
    """A move in other letter case is another move, as in chess: `bxc3`, `Bxc3`."""

    def told(self, parameters: Mapping[str, Any]) -> str:
        """The rules of the game with these parameters, all of them given."""
        if callable(self.text):
            return self.text(parameters)
        return self.text.format(**parameters) if "{" in self.text else self.text

    def name_of(self, player: int) -> str:
        return self.players[player] if player < len(self.players) else f"player {player}"

    def move_text(self, full_text: str) -> str:
        """'B c3' → 'c3': a move as the prompt shows it."""
        return self.move(full_text) if self.move else re.sub(f"^{self.mover_prefix}", "", full_text)


def spoken_of(other: int, player: int, players: int) -> str:
    """How player `other` of so many is called to `player`: 'you', 'opponent', or 'player 2' where there are more."""
    return "you" if other == player else "opponent" if players == 2 else f"player {other}"


def each_player(values: Sequence[Any], player: int) -> str:
    """([15, 6], 1) → 'you 6, opponent 15': a value of each player, the player's own first."""
    others = [other for other in range(len(values)) if other != player]
    colon = ":" if len(values) > 2 else ""
    return ", ".join(f"{spoken_of(other, player, len(values))}{colon} {values[other]}" for other in [player, *others])
