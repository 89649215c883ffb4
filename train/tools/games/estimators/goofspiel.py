"""Goofspiel: playouts between players who bid about as high as the prize is, without knowing the other's bid.

    utility(decision_of("goofspiel(num_cards=5)", "4"), 4, 1000)   → 0.06: the five for the five

A search would let the second mover see the first one's bid. Against the equilibrium, these playouts rank 0.88 of pairs
of first bids of 5 cards rightly (random ones 0.63) and 0.83 of those of 4 cards in mid-game (0.83), where pairs are
bids whose values differ by more than 0.05.
"""

from __future__ import annotations

import bisect
import functools
import random
import re
from collections.abc import Callable
from math import exp

from games.estimators.decision import Decision
from games.estimators.sampling import utility as sampled_utility

# How far a bid strays from the prize, in ranks for each card in hand. From 0.15 to 0.4 all rank alike on 4 cards; on 5,
# 0.15 and 0.2 rank 0.88 rightly, 0.4 only 0.72. A fixed 0.7 ranks 0.91, but in a large hand is too easily outguessed.
SPREAD = 0.2


def utility(decision: Decision, action: int, simulations: int) -> float:
    """The mover's return after the bid, in the game's own unit (by default +1 for a win, -1 for a loss)."""
    parameters = decision.case.parameters
    if parameters["players"] != 2:
        return sampled_utility(decision, action, simulations)
    table = _Table(decision)
    numbers = decision.random("play")
    score = _SCORES[parameters["returns_type"]]
    total = 0.0
    for _ in range(simulations):
        total += score(*table.play_on(action + 1, random.Random(numbers.getrandbits(31)).random))
    return total / simulations


_SCORES: dict[str, Callable[[float, float], float]] = {
    "win_loss": lambda own, other: float((own > other) - (own < other)),
    "point_difference": lambda own, other: own - other,
    "total_points": lambda own, other: own,
}


class _Table:
    """What the mover sees: both hands as far as they are known, the prize, what was won."""

    def __init__(self, decision: Decision) -> None:
        count = decision.case.parameters["num_cards"]
        self.order = decision.case.parameters["points_order"]
        text = decision.state.information_state_string(decision.mover)
        prizes = list(map(int, re.search(r"Point card sequence: ([\d ]*)", text)[1].split()))
        rounds = decision.case.parameters["num_turns"]
        self.rounds = (rounds if rounds > 0 else count) - len(prizes)
        self.prize, self.left = prizes[-1], [card for card in range(1, count + 1) if card not in prizes]
        points = list(map(int, re.search(r"Points: ([-\d ]*)", text)[1].split()))
        self.own_points, self.other_points = points[decision.mover], points[1 - decision.mover]
        self.own = _hand(text, decision.mover)
        wins = list(map(int, re.search(r"Win sequence: ([-\d ]*)", text)[1].split()))
        known = re.search(rf"P{1 - decision.mover} hand: ", text)
        self._other = _hand(text, 1 - decision.mover) if known else None
        self._count = count
        if not known:
            bids = list(map(int, re.search(r"action sequence: ([\d ]*)", text)[1].split()))
            mover = decision.mover
            self._rounds = [
                (bid + 1, 0 if win < 0 else 1 if win == mover else -1) for bid, win in zip(bids, wins, strict=True)
            ]

    def play_on(self, bid: int, numbers: Callable[[], float]) -> tuple[float, float]:
        """(points of the mover, points of the other) at the end of a game in which this is the mover's bid now."""
        hands = [self.own.copy(), self._other.copy() if self._other is not None else self._draw_other(numbers)]
        left, prize = self.left.copy(), self.prize
        points = [float(self.own_points), float(self.other_points)]
        own: int | None = bid
        for rounds_left in range(self.rounds, -1, -1):
            rank = bisect.bisect_left(left, prize)
            bids = [own if own is not None else _bid(hands[0], rank, numbers), _bid(hands[1], rank, numbers)]
            hands[0].remove(bids[0])
            hands[1].remove(bids[1])
            if bids[0] != bids[1]:
                points[bids[1] > bids[0]] += prize
            if not rounds_left:
                break
            place = {"ascending": 0, "descending": len(left) - 1}.get(self.order)
            prize = left.pop(int(numbers() * len(left)) if place is None else place)
            own = None
        return points[0], points[1]

    def _draw_other(self, numbers: Callable[[], float]) -> list[int]:
        """A hand that the other may hold: bids that won and lost as they did, one card each."""
        while True:
            hand = list(range(1, self._count + 1))
            for bid, outcome in self._rounds:
                fitting = [card for card in hand if (bid > card) - (bid < card) == outcome]
                if not fitting:
                    break
                hand.remove(fitting[int(numbers() * len(fitting))])
            else:
                return hand


def _hand(text: str, player: int) -> list[int]:
    return list(map(int, re.search(rf"P{player} hand: ([\d ]*)", text)[1].split()))


def _bid(hand: list[int], rank: int, numbers: Callable[[], float]) -> int:
    """A card about as high among the hand as the prize is among those left."""
    return hand[bisect.bisect(_cumulated(len(hand), rank), numbers())]


@functools.cache
def _cumulated(size: int, rank: int) -> list[float]:
    weights = [exp(-abs(card - rank) / (SPREAD * size)) for card in range(size)]
    total = sum(weights)
    return [sum(weights[: card + 1]) / total for card in range(size - 1)]
