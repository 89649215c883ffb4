"""Cribbage: what a move wins in the deal that is being played, over hands that the other player may hold.

    utility(decision_of("cribbage", history), 362, 300)   → 7.4 points more than the other gets

The whole game, to 121, is a dozen deals of mostly luck: played out at random it hides what a move is worth (OpenSpiel's
own bounds are ±1149). In the playouts each player takes the most points that a card can score at once.
"""

from __future__ import annotations

import functools
import random
from typing import Any

from games.estimators.decision import Decision
from games.estimators.sampling import utility as sampled_utility
from games.states import chance_outcome

DECK, HAND = 52, 6
DEALT = 2 * HAND
GAME = 30.0  # points that winning the game counts as, on top of those of the deal
_MAX_TRIES = 30


def utility(decision: Decision, action: int, simulations: int) -> float:
    """The mover's points less the other's from here to the end of the deal; a game won or lost counts ±30 more."""
    if decision.game.num_players() != 2:
        return sampled_utility(decision, action, simulations)
    mover = decision.mover
    now = decision.state.returns()
    seeds = decision.random("play")
    total = 0.0
    for world, starter_known in _worlds(decision, simulations):
        numbers = random.Random(seeds.getrandbits(31))
        state = world.child(action)
        _play_deal(state, starter_known, numbers)
        total += _margin(state, mover) - (now[mover] - now[1 - mover])
    return total / simulations


def _margin(state: Any, mover: int) -> float:
    points = state.returns()
    margin = points[mover] - points[1 - mover]
    if not state.is_terminal():
        return margin
    bonus = 2 * state.get_game().get_parameters()["winner_bonus_reward"]  # one's gain and the other's loss
    return margin - bonus + GAME if margin > 0 else margin + bonus - GAME


def _play_deal(state: Any, starter_known: bool, numbers: random.Random) -> None:
    """Move the state on to the end of its deal."""
    while not state.is_terminal():
        if state.is_chance_node():
            if starter_known:
                return  # the next deal
            starter_known = True
            state.apply_action(chance_outcome(state, numbers.random()))
            continue
        legal = state.legal_actions()
        number = numbers.random()
        if len(legal) == 1 or legal[0] >= DECK:
            state.apply_action(legal[int(number * len(legal))])  # the other's discard to the crib: any
        else:
            state.apply_action(_best_card(state, legal, number))


def _best_card(state: Any, legal: list[int], number: float) -> int:
    player = state.current_player()
    gains = []
    for card in legal:
        points = state.child(card).returns()
        gains.append(points[player] - points[1 - player])
    best = max(gains)
    choices = [card for card, gain in zip(legal, gains, strict=True) if gain == best]
    return choices[int(number * len(choices))]


@functools.lru_cache(maxsize=8)
def _worlds(decision: Decision, count: int) -> list[tuple[Any, bool]]:
    """(state, whether the starter is turned) with hands of the other that fit all that it has played and passed."""
    before, start = _start_of_deal(decision)
    deal, moves = decision.history[start : start + DEALT], decision.history[start + DEALT :]
    first = decision.mover * HAND
    own = deal[first : first + HAND]
    shown = [card for card in moves[2:] if card < DECK]  # the starter, and what was played
    played = [card for card in shown[1:] if card not in own]
    unseen = [card for card in range(DECK) if card not in own and card not in shown]
    numbers = decision.random("worlds")
    drawn: list[tuple[Any, bool]] = []
    for _ in range(count * _MAX_TRIES):
        hidden = numbers.sample(unseen, HAND - len(played))
        hands = [*own, *played, *hidden] if decision.mover == 0 else [*played, *hidden, *own]
        state = _replay(before, hands, moves, decision.mover, hidden, numbers)
        if state is not None:
            drawn.append((state, len(moves) > 2))
            if len(drawn) == count:
                return drawn
    return (drawn or [(decision.state, len(moves) > 2)]) * count


def _start_of_deal(decision: Decision) -> tuple[Any, int]:
    """The state before the last deal, and how many actions led to it."""
    state = decision.game.new_initial_state()
    run, starts = 0, [(state.clone(), 0)]
    for place, action in enumerate(decision.history):
        run = run + 1 if state.is_chance_node() else 0
        if run == 1:
            before = state.clone(), place
        if run == DEALT:
            starts = [before]
        state.apply_action(action)
    return starts[0]


def _replay(
    before: Any, hands: list[int], moves: tuple[int, ...], mover: int, hidden: list[int], numbers: random.Random
) -> Any:
    """The state after the deal went as it did with other hands, or None where a move was not possible with them."""
    state = before.clone()
    for card in hands:
        state.apply_action(card)
    for action in moves:
        legal = state.legal_actions()
        if not state.is_chance_node() and state.current_player() != mover and legal[0] >= DECK and len(legal) > 1:
            pairs = [one for one in legal if set(divmod(one - DECK, DECK)) <= set(hidden)]
            action = numbers.choice(pairs)
        if action not in legal:
            return None
        state.apply_action(action)
    return state
