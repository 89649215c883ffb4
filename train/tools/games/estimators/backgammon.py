"""Backgammon: a small network, fitted to what GNU Backgammon expects, looks at the position that the move leaves.

    utility(decision_of("backgammon", "4"), 978, 1)   → -0.07 for 13/9 8/7: how much oftener the mover wins than loses

A random playout takes 0.9 ms and says little: 25 of them are off by 0.1. The network (196 inputs, 24 hidden,
60 µs) ranks 0.96 of pairs as GNU Backgammon does where that sees more than 0.03 between them.
`benchmarks/fit_backgammon.py` made it.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np

from games.estimators.decision import Decision
from games.estimators.sampling import utility as sampled_utility

POINTS, CHECKERS = 24, 15
BAR = POINTS  # the index of the bar in a list of checkers
_NETWORK = Path(__file__).with_name("backgammon.npz")


def utility(decision: Decision, action: int, simulations: int) -> float:
    """How much oftener the mover wins than loses after the action. Gammons are not told from other wins."""
    if decision.case.parameters["hyper_backgammon"]:
        return sampled_utility(decision, action, simulations)
    return 2 * _win(decision.state.child(action), decision.mover) - 1


def _win(state: Any, player: int) -> float:
    """The player's probability of winning once its move is done."""
    if state.is_terminal():
        return float(state.returns()[player] > 0)
    if not state.is_chance_node() and state.current_player() == player:  # the second half of a double
        return max(_win(state.child(action), player) for action in state.legal_actions())
    return _evaluate(*checkers(state, player))


def checkers(state: Any, player: int) -> tuple[list[int], list[int]]:
    """(own, other's) checkers on the points 1 to 24 as their owner counts them, and on the bar."""
    tensor = state.observation_tensor(player)
    sides = []
    for side, owner in enumerate((player, 1 - player)):
        counts = [0] * (POINTS + 1)
        for place in range(POINTS):
            start = 4 * (side * POINTS + place)
            one, two, three, above = tensor[start : start + 4]
            if one or two or three or above:
                count = round(one + 2 * two + 3 * three + (3 + above if above else 0))
                counts[POINTS - 1 - place if owner == 0 else place] = count
        counts[BAR] = round(tensor[2 * 4 * POINTS + 3 * side])
        sides.append(counts)
    return sides[0], sides[1]


def features(own: list[int], other: list[int]) -> list[float]:
    """The 196 inputs, the other player being about to roll: the coding of TD-Gammon (Tesauro, 1992)."""
    inputs: list[float] = []
    for counts in (own, other):
        for count in counts[:POINTS]:
            inputs += (count == 1, count >= 2, count >= 3, max(0, count - 3) / 2)
        inputs += (counts[BAR] / 2, (CHECKERS - sum(counts)) / CHECKERS)
    return inputs


def _evaluate(own: list[int], other: list[int]) -> float:
    first, first_bias, second, second_bias = _network()
    hidden = np.maximum(first @ np.array(features(own, other)) + first_bias, 0.0)
    return float(1 / (1 + np.exp(-(second @ hidden + second_bias))))


@functools.cache
def _network() -> tuple[np.ndarray, ...]:
    with np.load(_NETWORK, allow_pickle=False) as arrays:
        return tuple(arrays[name].astype(np.float64) for name in ("first", "first_bias", "second", "second_bias"))
