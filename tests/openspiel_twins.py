"""Histories that one player cannot tell apart: the same game, but for what is hidden from that player.

for twin in twins(case, history, tries=300, seed=1): …      # other cards, dice, ships or bids of the others
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pyspiel

from games.cases import Case
from games.states import play


def twins(case: Case, history: tuple[int, ...], tries: int, seed: int) -> Iterator[tuple[int, ...]]:
    """Some of the histories that differ from this one and leave its player to move with the same information.

    Each is made by changing one event of the game, or by exchanging two, and playing the rest of it as it was.
    """
    rng = random.Random(seed)
    known = information(case, play(case, history), history)
    for _ in range(tries):
        other = _changed(case, history, rng)
        state = None if other is None or other == history else _replayed(case, other)
        if state is not None and information(case, state, other) == known:
            yield other


def information(case: Case, state: Any, history: tuple[int, ...]) -> tuple[Any, ...]:
    """All that the player to move has learnt so far, as OpenSpiel itself tells it."""
    player = state.current_player()
    if case.short_name == "cribbage":  # its information state has the cards of the others: this is the public part
        events = [(event.player, event.action) for event in state.full_history()]
        plays = tuple(action for who, action in events if who == player or (who >= 0 and action < 52))
        return player, state.observation_string(player), plays
    told = (player, len(history), state.information_state_string(player))
    # In euchre it tells a suit that was named in the second round as "Pick up!".
    return (*told, state.trump_suit()) if case.short_name == "euchre" else told


def _changed(case: Case, history: tuple[int, ...], rng: random.Random) -> tuple[int, ...] | None:
    changed = list(history)
    if not changed:
        return None
    one, other = rng.randrange(len(changed)), rng.randrange(len(changed))
    if rng.random() < 0.5:
        changed[one], changed[other] = changed[other], changed[one]
    else:
        changed[one] = rng.choice(play(case, history[:one]).legal_actions())
    return tuple(changed)


def _replayed(case: Case, history: tuple[int, ...]) -> Any | None:
    """The state after a history that may not be one of the game's: None then, and where nobody is to move."""
    state = case.game.new_initial_state()
    for action in history:
        if state.current_player() == pyspiel.PlayerId.TERMINAL or action not in state.legal_actions():
            return None
        state.apply_action(action)
    return state if state.current_player() >= 0 else None
