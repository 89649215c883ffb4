"""Worlds that the mover cannot tell from the true one: what it does not know is drawn anew.

    worlds(decision_of("leduc_poker", "0 4 1"), 3)   → three states in which the other player holds three other cards

The cards that the mover sees, and the moves that it saw, stay; nothing of the hidden part of the true state is used.
States come from random games, in which a move tells little of the hand behind it: cards are drawn evenly.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Sequence
from typing import Any

import pyspiel

from games.cases import load_case
from games.estimators import hearts_worlds
from games.estimators.decision import Decision


@functools.lru_cache(maxsize=8)
def worlds(decision: Decision, count: int) -> tuple[Any, ...]:
    """`count` states, drawn with equal weight. They are shared: clone them, never move in them."""
    draw = _DRAW.get(decision.case.short_name, _resampled)
    numbers = decision.random("worlds")
    return tuple(draw(decision, numbers) for _ in range(count))


def _resampled(decision: Decision, numbers: random.Random) -> Any:
    """By OpenSpiel's own means. Where it has none, the true state: only games that are not listed here come to that."""
    if decision.case.simultaneous:
        return _bids_redrawn(decision, numbers)
    if decision.case.hidden and _can_resample(decision.case.name):
        return decision.state.resample_from_infostate(decision.mover, numbers.random)
    return decision.state


@functools.lru_cache(maxsize=256)
def _can_resample(name: str) -> bool:
    """Asked once for a case, since OpenSpiel writes each refusal to stderr."""
    state = load_case(name).game.new_initial_state()
    while state.is_chance_node():
        state.apply_action(state.legal_actions()[0])
    try:
        state.resample_from_infostate(state.current_player(), lambda: 0.5)
    except pyspiel.SpielError:
        return False
    return True


def _bids_redrawn(decision: Decision, numbers: random.Random) -> Any:
    """What others chose in this round, which the turn-based form has put before the mover's choice."""
    state = decision.game.new_initial_state()
    history, known = decision.history, 0
    for place, action in enumerate(history):
        if state.current_player() in (decision.mover, pyspiel.PlayerId.CHANCE.value):
            known = place + 1
        state.apply_action(action)
    state = replay(decision, history[:known])
    for _ in history[known:]:
        state.apply_action(numbers.choice(state.legal_actions()))
    return state if state.current_player() == decision.mover else decision.state


def _latent_ttt(decision: Decision, numbers: random.Random) -> Any:
    """The other player's last move is the one thing that is not seen, but that it did not end the game."""
    if not decision.history:
        return decision.state
    before = replay(decision, decision.history[:-1])
    return numbers.choice([world for world in map(before.child, before.legal_actions()) if not world.is_terminal()])


def replay(decision: Decision, history: Sequence[int]) -> Any:
    state = decision.game.new_initial_state()
    for action in history:
        state.apply_action(action)
    return state


_DRAW = {"hearts": hearts_worlds.draw, "latent_ttt": _latent_ttt}
