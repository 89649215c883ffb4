"""Gin rummy: games between OpenSpiel's simple gin bots, which knock as soon as they can, from resampled worlds.

    utility(decision_of("gin_rummy", history), 12, 50)   → -5.2 points, where throwing another card has -13.2

Random players almost never knock, so that their games say little and take as long (0.5 ms). All moves of a decision
are tried in the same worlds, with the same stock.
"""

from __future__ import annotations

import functools
import random
import threading
from typing import Any

import pyspiel

from games.cases import load_case
from games.estimators.decision import Decision
from games.estimators.worlds import worlds

_gin = pyspiel.gin_rummy


def utility(decision: Decision, action: int, simulations: int) -> float:
    """The expected points of the mover after the action; one simulation is one game."""
    players = _players(decision.case.name, threading.get_ident())
    stocks = decision.random("stock")
    total = 0.0
    for world in worlds(decision, simulations):
        stock = list(range(players.cards))
        random.Random(stocks.getrandbits(31)).shuffle(stock)
        total += players.play_on(world.child(action), stock)[decision.mover]
    return total / simulations


class _Players:
    """Two bots, and the one thing that they cannot do: carry on after another has knocked for them."""

    def __init__(self, game: Any) -> None:
        parameters = game.get_parameters()
        self.cards = parameters["num_ranks"] * parameters["num_suits"]
        self._bots = [pyspiel.make_simple_gin_rummy_bot(parameters, player) for player in (0, 1)]
        self._hands = _gin.GinRummyUtils(parameters["num_ranks"], parameters["num_suits"], parameters["hand_size"])

    def play_on(self, state: Any, stock: list[int]) -> list[float]:
        """The returns of a game that goes on from here, with the cards of the stock in this order."""
        for bot in self._bots:
            bot.restart()
        undealt = iter(stock)
        while not state.is_terminal():
            if state.is_chance_node():
                legal = set(state.legal_actions())
                action = next(card for card in undealt if card in legal)
            elif state.current_phase() == _gin.Phase.KNOCK:
                action = self._knock(state)
            else:
                action = self._bots[state.current_player()].step(state)
            state.apply_action(action)
        return state.returns()

    def _knock(self, state: Any) -> int:
        """The discard that leaves the least deadwood, then the best melds."""
        legal = state.legal_actions()
        hand = state.hands()[state.current_player()]
        discards = [card for card in legal if card < self.cards]
        if discards:
            return min(discards, key=lambda card: self._hands.min_deadwood([one for one in hand if one != card]))
        best = {_gin.MELD_ACTION_BASE + self._hands.meld_to_int(meld) for meld in self._hands.best_meld_group(hand)}
        return next((action for action in legal if action in best), legal[-1])


@functools.lru_cache(maxsize=16)
def _players(name: str, thread: int) -> _Players:
    """Making them takes 4 ms. Bots remember their game, so that each thread has its own."""
    return _Players(load_case(name).game)
