"""The words for games of dice: liar's dice, pig, backgammon.

You are player 1.
Your dice: 1 1 3 5 6
Bids so far: opponent 1-3, you 4-5, opponent 5-1
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from games.rules import Rules, each_player, spoken_of

_POINTS = 24


def _liars_dice_rules(parameters: Mapping[str, Any]) -> str:
    players, each, sides = parameters["players"], parameters["numdice"], parameters["dice_sides"]
    dice = [parameters.get(f"numdice{player}", each) for player in range(players)]
    higher = (
        "a bid is beaten by more dice of any face, or by as many of a higher face"
        if parameters["bidding_rule"] == "reset-face"
        else "a bid is beaten by any number of a higher face, or by more dice of the same face"
    )
    held = f"{each} dice each" if len(set(dice)) == 1 else "dice: " + ", ".join(map(str, dice))
    return (
        f"Liar's dice, {held}, {sum(dice)} in all, rolled in secret. A bid q-f says that at least q of all the dice "
        f"show f; a {sides} counts as every face. Bids go round: {higher}. Liar ends it: the last bid is checked, and "
        "its bidder wins if it was true, else the one who said Liar."
    )


def _liars_dice_view(state: Any, player: int) -> str:
    dice, *bids = state.information_state_string(player).split()
    said = ", ".join(f"{spoken_of(index % 2, player, 2)} {bid}" for index, bid in enumerate(bids))
    return f"Your dice: {' '.join(dice)}\nBids so far: {said or 'none'}"


def _pig_rules(parameters: Mapping[str, Any]) -> str:
    gain = "adds 1" if parameters["piglet"] else "is added"
    return (
        f"Pig: roll a die of {parameters['diceoutcomes']} sides as often as you like. A 1 ends your turn and loses its "
        f"points, another number {gain} to the turn's total. Stop adds the total to your score and ends the turn. "
        f"First to {parameters['winscore']} wins."
    )


def _pig_view(state: Any, player: int) -> str:
    """OpenSpiel's text: 'Scores: 52 63, Turn total: 0'."""
    scores, total = state.observation_string(player).partition("\n")[0].removeprefix("Scores: ").split(", Turn total: ")
    return f"Scores: {each_player(scores.split(), player)}. Your turn's total: {total}"


def _backgammon_rules(parameters: Mapping[str, Any]) -> str:
    scoring = {
        "winloss_scoring": "",
        "enable_gammons": " Winning before the opponent has borne off any counts double.",
        "full_scoring": " Winning before the opponent has borne off any counts double, or triple with one of the "
        "opponent's on the bar or in your home.",
    }[parameters["scoring_type"]]
    return (
        "Backgammon. You move from point 24 down to 1, the opponent the other way; both are given in your numbers. "
        "A point with two or more of the opponent's is closed; a single one is hit (*) and must enter again from the "
        "Bar. With all your checkers on points 6 to 1 you bear Off; first to bear off all wins. A move names both "
        "dice: 13/8 6/2, 13/8/2 with one checker, 6/4(2) twice. A double is played in two answers of two dice each."
        f"{scoring}"
    )


def _backgammon_view(state: Any, player: int) -> str:
    """From the exact counts of the observation tensor: 4 numbers a point, mine first; then bar, borne off, turn."""
    tensor = state.observation_tensor(player)
    sides = []
    for side in (0, 1):
        start = side * 4 * _POINTS
        points = {}
        for position in range(_POINTS):
            one, two, three, above = tensor[start + 4 * position : start + 4 * position + 4]
            count = round(one + 2 * two + 3 * three + (3 + above if above else 0))
            if count:
                points[_POINTS - position if player == 0 else position + 1] = count
        bar, off = (round(tensor[2 * 4 * _POINTS + 3 * side + offset]) for offset in (0, 1))
        checkers = [f"{point}:{points[point]}" for point in sorted(points, reverse=True)]
        sides.append(" ".join(checkers + [f"Bar:{bar}"] * bool(bar) + [f"Off:{off}"] * bool(off)))
    dice = " ".join(str(round(die)) for die in sorted(tensor[-2:], reverse=True))
    again = " (second half of the double)" if "Extra turn: 1" in state.observation_string(player) else ""
    return f"Dice: {dice}{again}\nYours (point:checkers): {sides[0]}\nOpponent's: {sides[1]}"


DICE_GAMES: dict[str, Rules] = {
    "liars_dice": Rules(_liars_dice_rules, (), _liars_dice_view),
    "pig": Rules(_pig_rules, (), _pig_view),
    "backgammon": Rules(
        _backgammon_rules,
        (),
        _backgammon_view,
        move=lambda text: text.partition(" - ")[2] or text,  # "135 - 6/2 6/1": the number is the action's
        one_move_per_text=True,
    ),
}
