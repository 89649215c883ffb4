"""What the model sees: the system tells the rules and what to answer, the user the position and every legal action.

    system   Tic-tac-toe: three in a row wins. Moves are (row,column).
             Answer with the number of one action and nothing else.
    user     You are o. Board:
             o.o
             xx.
             xox
             Actions:
             1 -> (0,1)
             5 -> (1,2)

The right answer to this one is "1": it completes the top row.
"""

from __future__ import annotations

from typing import Any

from games.cases import Case
from games.rules import Rules, move_text, rules_of

WHAT_TO_ANSWER = "Answer with the number of one action and nothing else."

# A longer list is set in running text: lines cost a reader, and a context window, more than commas do.
MAX_ACTION_LINES = 12

# Box drawing costs two to three tokens a character.
_ASCII = str.maketrans("┌┬┐├┼┤└┴┘─│╴╶", "+++++++++-|  ")


def build_messages(case: Case, state: Any) -> list[dict[str, str]]:
    """The chat for the player to move: every legal action is in it, and nothing of the reward settings."""
    rules = case_rules(case)
    player = state.current_player()
    board = _seen_by(case, state, player).translate(_ASCII).split("\n")[rules.first_board_line :]
    board_text = "\n".join([line.rstrip() for line in board]).strip("\n")
    actions = [f"{action} -> {move_text(rules, text)}" for action, text in legal_moves(state)]
    listed = "\n".join(actions) if len(actions) <= MAX_ACTION_LINES else ", ".join(actions)
    about = rules.text.format(**case.parameters) if "{" in rules.text else rules.text
    return [
        {"role": "system", "content": f"{about}\n{WHAT_TO_ANSWER}"},
        {"role": "user", "content": f"You are {_name_of(rules, player)}. Board:\n{board_text}\nActions:\n{listed}"},
    ]


def _seen_by(case: Case, state: Any, player: int) -> str:
    """OpenSpiel's own text of what this player knows."""
    if case.plain.get_type().provides_observation_string:
        return state.observation_string(player)
    return state.information_state_string(player)


def _name_of(rules: Rules, player: int) -> str:
    return rules.players[player] if player < len(rules.players) else f"player {player}"


def case_rules(case: Case) -> Rules:
    kind = case.plain.get_type()
    return rules_of(kind.short_name, kind.long_name)


def legal_moves(state: Any) -> list[tuple[int, str]]:
    """Every legal action with OpenSpiel's own text for it."""
    player = state.current_player()
    return [(action, state.action_to_string(player, action)) for action in state.legal_actions()]
