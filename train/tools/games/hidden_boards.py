"""The words for boards of which a player sees a part: phantom and latent tic-tac-toe, battleship.

You are player 0. Your ships:
  0123456789
0 ..**.EEeEe
…
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from games.rules import Rules

_PLACEMENT = re.compile(r"place ship (horizont|vertic)ally with top-left corner in \((\d+), (\d+)\)")


def _phantom_rules(parameters: Mapping[str, Any]) -> str:
    taken = "and you choose again" if parameters["gameversion"] == "classical" else "and your turn is lost"
    return (
        "Phantom tic-tac-toe: three in a row wins, but you do not see the opponent's moves. If the cell you choose is "
        f"already the opponent's, it is shown to you {taken}. Moves are (row,column)."
    )


def _battleship_rules(parameters: Mapping[str, Any]) -> str:
    rows, columns = parameters["board_height"], parameters["board_width"]
    sizes = parameters["ship_sizes"].strip("[]").split(";")
    values = [float(value) for value in parameters["ship_values"].strip("[]").split(";")]
    worth = "" if set(values) == {1.0} else ", worth " + ", ".join(f"{value:g}" for value in values)
    loss = parameters["loss_multiplier"]
    lost = "a ship you lose" if loss == 1 else f"{loss:g} times a ship you lose"
    again = "" if parameters["allow_repeated_shots"] else " No cell may be shot at twice."
    return (
        f"Battleship on {rows} x {columns} cells, (row,column) from (0,0) at the top left. Both first place ships of "
        f"{', '.join(sizes)} cells{worth} in secret, then shoot in turns, {parameters['num_shots']} shots each.{again} "
        f"A ship is sunk when all its cells are hit. A ship you sink counts for you, {lost} against you.\n"
        "Your ships: letters, a capital where hit, * a miss. Your shots: X hit, o miss."
    )


def _battleship_view(state: Any, player: int) -> str:
    own, _, shots = state.observation_string(player).partition("Player's shot outcomes:")
    shots = shots.translate(str.maketrans("@#", "oX"))
    events = state.information_state_string(player)
    sunk, seen = 0, set()
    for cell, outcome in re.findall(r"/shot_(\d+_\d+):([WHS])", events):
        sunk += outcome == "S" and cell not in seen
        seen.add(cell)
    fired = "/shot_" in events or "/oppshot_" in events
    told = f"Your ships:\n{_grid(own)}"
    sizes = state.get_game().get_parameters()["ship_sizes"].strip("[]").split(";")
    placed = len(re.findall(r"/[hv]_", events))
    if placed < len(sizes):
        return f"{told}\nPlace your next ship, of {sizes[placed]} cells."
    return told + (f"\nYour shots, {sunk} ships sunk:\n{_grid(shots)}" if fired else "\nNo shot has been fired.")


def _grid(text: str) -> str:
    """OpenSpiel's framed board with numbered rows and columns, and dots for empty cells."""
    rows = [line[1:-1].replace(" ", ".") for line in text.split("\n") if line.startswith("|")]
    header = "  " + "".join(str(column % 10) for column in range(len(rows[0])))
    return "\n".join([header, *(f"{index % 10} {row}" for index, row in enumerate(rows))])


def _battleship_move(text: str) -> str:
    """'Pl0: shoot at (3, 4)' → '(3,4)'; 'Pl0: place ship horizontally …' → 'right from (3,4)'."""
    placement = _PLACEMENT.search(text)
    if placement:
        direction = "right" if placement[1] == "horizont" else "down"
        return f"{direction} from ({placement[2]},{placement[3]})"
    return text.partition("shoot at ")[2].replace(" ", "")


HIDDEN_BOARDS: dict[str, Rules] = {
    "phantom_ttt": Rules(_phantom_rules, ("x", "o"), mover_prefix="[xo]"),
    "latent_ttt": Rules(
        "Latent tic-tac-toe: three in a row wins, but the opponent's last move is shown only after your next one. "
        "If the cell you choose is already taken, your move is lost. Moves are (row,column).",
        ("x", "o"),
        mover_prefix="[xo]",
    ),
    "battleship": Rules(_battleship_rules, (), _battleship_view, _battleship_move, ranges=True),
}
