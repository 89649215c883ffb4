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

The right answer to this one is "1": it completes the top row. Where something is hidden or the players move at the same
time, the user's message has what this player knows and nothing more.
"""

from __future__ import annotations

import re
from typing import Any

from games.board_games import BOARD_GAMES
from games.card_games import CARD_GAMES
from games.cases import Case
from games.cribbage import CRIBBAGE
from games.dice_games import DICE_GAMES
from games.hidden_boards import HIDDEN_BOARDS
from games.rules import Rules
from games.trick_games import TRICK_GAMES

RULES: dict[str, Rules] = {**BOARD_GAMES, **DICE_GAMES, **CARD_GAMES, **CRIBBAGE, **TRICK_GAMES, **HIDDEN_BOARDS}

WHAT_TO_ANSWER = "Answer with the number of one action and nothing else."

MAX_PROMPT_CHARS = 6000
"""Characters of both messages together: states that need more are not asked about. Go on 19 x 19 needs 5000."""

# A longer list is set in running text: lines cost a reader, and a context window, more than commas do.
MAX_ACTION_LINES = 12

# Box drawing costs two to three tokens a character.
_ASCII = str.maketrans("┌┬┐├┼┤└┴┘─│╴╶", "+++++++++-|  ")

_LAST_NUMBER = re.compile(r"(.*?)([0-9]+)([^0-9]*)", re.DOTALL)


def build_messages(case: Case, state: Any) -> list[dict[str, str]]:
    """The chat for the player to move: every legal action is in it, and nothing of the reward settings."""
    rules = case_rules(case)
    player = state.current_player()
    position = f"\n{rules.view(state, player)}" if rules.view else f" Board:\n{_board(case, rules, state, player)}"
    actions = listed_actions(rules, state)
    listed = "\n".join(actions) if len(actions) <= MAX_ACTION_LINES else ", ".join(actions)
    return [
        {"role": "system", "content": f"{rules.told(case.parameters)}\n{WHAT_TO_ANSWER}"},
        {"role": "user", "content": f"You are {rules.name_of(player)}.{position}\nActions:\n{listed}"},
    ]


def prompt_chars(messages: list[dict[str, str]]) -> int:
    return sum(len(message["content"]) for message in messages)


def _board(case: Case, rules: Rules, state: Any, player: int) -> str:
    """OpenSpiel's own text of what this player sees."""
    kind = case.plain.get_type()
    seen = (state.observation_string if kind.provides_observation_string else state.information_state_string)(player)
    lines = seen.translate(_ASCII).split("\n")[rules.first_board_line :]
    return "\n".join([line.rstrip() for line in lines]).strip("\n")


def case_rules(case: Case) -> Rules:
    """The rules of a game; of one that is not described, its name, with moves as OpenSpiel writes them."""
    kind = case.plain.get_type()
    return RULES.get(kind.short_name) or Rules(f"{kind.long_name}.", (), exact_case=True)


def legal_moves(state: Any) -> list[tuple[int, str]]:
    """Every legal action with OpenSpiel's own text for it."""
    player = state.current_player()
    return [(action, state.action_to_string(player, action)) for action in state.legal_actions()]


def shown_moves(rules: Rules, state: Any) -> list[tuple[int, str]]:
    """Every legal action with the prompt's text for it; of actions that do the same, the first."""
    moves = [(action, rules.move_text(text)) for action, text in legal_moves(state)]
    if not rules.one_move_per_text:
        return moves
    first: dict[str, int] = {}
    for action, text in moves:
        first.setdefault(text, action)
    return [(action, text) for text, action in first.items()]


def listed_actions(rules: Rules, state: Any) -> list[str]:
    """['7 -> b3', …], or ['10-19 -> (1,0)-(1,9)', …] where the rules ask for ranges."""
    moves = shown_moves(rules, state)
    if not rules.ranges:
        return [f"{action} -> {text}" for action, text in moves]
    runs: list[list[tuple[int, str]]] = []
    for move in moves:
        if runs and _follows(runs[-1][-1], move):
            runs[-1].append(move)
        else:
            runs.append([move])
    return [_run_text(run) for run in runs]


def _follows(one: tuple[int, str], other: tuple[int, str]) -> bool:
    """(18, '(1,8)') is followed by (19, '(1,9)')."""
    before, after = (_LAST_NUMBER.fullmatch(text) for _, text in (one, other))
    if other[0] != one[0] + 1 or not before or not after:
        return False
    return (before[1], int(before[2]) + 1, before[3]) == (after[1], int(after[2]), after[3])


def _run_text(run: list[tuple[int, str]]) -> str:
    if len(run) < 3:
        return ", ".join(f"{action} -> {text}" for action, text in run)
    last_word = run[-1][1].rpartition(" ")[2]  # "down from (0,4)-(0,9)"
    return f"{run[0][0]}-{run[-1][0]} -> {run[0][1]}-{last_word}"
