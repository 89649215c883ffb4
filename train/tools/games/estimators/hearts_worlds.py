"""Hearts hands that fit all that one player has seen: its own cards, the play, who could not follow, what it passed.

OpenSpiel's own resampling ends the process in the pass phase, and may not come back later in the hand.
"""

from __future__ import annotations

import functools
import random
from typing import Any

from games.estimators.decision import Decision

PLAYERS, HAND, PASSED, SUITS = 4, 13, 3, 4
_MAX_TRIES = 50


def draw(decision: Decision, numbers: random.Random) -> Any:
    """A state that the mover cannot tell from the true one; the true one where many draws fit nothing."""
    seen = _look(decision)
    for _ in range(_MAX_TRIES):
        hands = seen.deal(numbers)
        state = hands and seen.replay(hands, numbers)
        if state is not None:
            return state
    return decision.state


@functools.lru_cache(maxsize=16)
def _look(decision: Decision) -> _Seen:
    return _Seen(decision)


class _Seen:
    """The decision from the mover's chair. Cards are numbers, and a card's suit is its number modulo 4."""

    def __init__(self, decision: Decision) -> None:
        self._decision = decision
        self._mover = decision.mover
        history = decision.history
        first = 1
        self._head = history[:first]
        passing = decision.case.parameters["pass_cards"]
        self._shift = history[0] if passing else 0  # cards go to the player this many seats on; 0: none are passed
        dealt = history[first : first + PLAYERS * HAND]
        moves = history[first + PLAYERS * HAND :]
        all_passed = PLAYERS * PASSED if self._shift else 0
        self._passes, self._plays = moves[:all_passed], moves[all_passed:]
        self._own_dealt = [card for place, card in enumerate(dealt) if place % PLAYERS == self._mover]
        start = self._mover * PASSED
        self._own_passed = list(self._passes[start : start + PASSED])
        self._hands: list[list[int]] = [[] for _ in range(PLAYERS)]  # known cards as they were when play began
        self._voids: list[set[int]] = [set() for _ in range(PLAYERS)]
        if len(self._passes) == all_passed:
            self._follow(decision)
        else:
            self._hands[self._mover] = list(self._own_dealt)
        known = {card for hand in self._hands for card in hand}
        self._unseen = [card for card in range(PLAYERS * HAND) if card not in known]

    def _follow(self, decision: Decision) -> None:
        """Read the play: who held which card, and who could not follow suit."""
        state = decision.game.new_initial_state()
        for action in decision.history[: len(decision.history) - len(self._plays)]:
            state.apply_action(action)
        led = 0
        for number, card in enumerate(self._plays):
            player = state.current_player()
            led = card % SUITS if number % PLAYERS == 0 else led
            if card % SUITS != led:
                self._voids[player].add(led)
            self._hands[player].append(card)
            state.apply_action(card)
        own = set(self._own_dealt)
        if self._shift:
            giver = (self._mover - self._shift) % PLAYERS
            received = self._passes[giver * PASSED : giver * PASSED + PASSED]
            own = own - set(self._own_passed) | set(received)
            taker = (self._mover + self._shift) % PLAYERS
            self._hands[taker] += [card for card in self._own_passed if card not in self._hands[taker]]
            self._received = list(received)
        self._hands[self._mover] = sorted(own)

    def deal(self, numbers: random.Random) -> list[list[int]] | None:
        """All four hands as they were when play began, or None where the draw came to a dead end."""
        hands = [list(hand) for hand in self._hands]
        cards = list(self._unseen)
        numbers.shuffle(cards)
        # A suit that fewer players may hold is dealt first.
        cards.sort(key=lambda card: sum(card % SUITS not in void for void in self._voids))
        for card in cards:
            room = [
                player
                for player in range(PLAYERS)
                if player != self._mover and len(hands[player]) < HAND and card % SUITS not in self._voids[player]
            ]
            if not room:
                return None
            weights = [HAND - len(hands[player]) for player in room]
            hands[numbers.choices(room, weights)[0]].append(card)
        return hands

    def replay(self, hands: list[list[int]], numbers: random.Random) -> Any:
        """The state after the same passes of the mover and the same play, or None where a card could not be played."""
        dealt, passes = self._before_passing(hands, numbers)
        state = self._decision.game.new_initial_state()
        for action in self._head:
            state.apply_action(action)
        for place in range(PLAYERS * HAND):
            state.apply_action(dealt[place % PLAYERS][place // PLAYERS])
        for action in (*passes, *self._plays):
            if action not in state.legal_actions():
                return None
            state.apply_action(action)
        return state

    def _before_passing(self, hands: list[list[int]], numbers: random.Random) -> tuple[list[list[int]], list[int]]:
        """(the hands as they were dealt, the passes so far in order)."""
        if not self._shift:
            return hands, []
        if len(self._passes) < PLAYERS * PASSED:
            passed = [numbers.sample(hand, PASSED) for hand in hands]
            passed[self._mover] = self._own_passed
            return hands, [card for given in passed for card in given][: len(self._passes)]
        passed = []
        for player in range(PLAYERS):
            taker = (player + self._shift) % PLAYERS
            if player == self._mover:
                passed.append(self._own_passed)
            elif taker == self._mover:
                passed.append(self._received)
            else:
                passed.append(numbers.sample(hands[taker], PASSED))
        dealt = []
        for player, hand in enumerate(hands):
            received = passed[(player - self._shift) % PLAYERS]
            dealt.append([card for card in hand if card not in received] + passed[player])
        return dealt, [card for given in passed for card in given]
