"""The decision that is valued: a state, who moves in it, what the mover knows, and a source of random numbers.

    decision = decision_of("liars_dice", "2 5 3")
    decision.knowledge               # "1 6 1-4": player 1, its own die and the bid; not the other's die
    decision.random("worlds", 7)     # the same numbers in any process, for any hidden die

Random numbers are drawn from what the mover knows and never from what it does not, so that a value is the same in all
the worlds that the mover cannot tell apart. Worlds do not depend on the action: two moves are compared in the same.
"""

from __future__ import annotations

import functools
import random
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from games.cases import Case, load_case
from games.states import state_of


@dataclass(frozen=True, eq=False)  # the same object for the same decision: see `decision_of`
class Decision:
    case: Case
    history: tuple[int, ...]
    """Every action and chance outcome that led here."""
    state: Any
    """The true `pyspiel.State`, shared: clone it, never move in it."""
    mover: int
    knowledge: str
    """What the mover can tell this state from others by: the history itself where nothing is hidden."""
    salt: str = ""
    """Another salt gives other random numbers: to measure the noise of an estimate. Rewards use none."""

    @property
    def game(self) -> Any:
        return self.case.game

    def random(self, *purpose: object) -> random.Random:
        """A stream of random numbers that (case, knowledge, purpose) alone decides."""
        return random.Random(self.seed(*purpose))

    def seed(self, *purpose: object) -> int:
        """31 bits, which fit a C int."""
        text = "|".join(map(str, (self.case.name, self.knowledge, self.salt, *purpose)))
        return int.from_bytes(sha256(text.encode()).digest()[:4], "big") >> 1


@functools.lru_cache(maxsize=256)
def decision_of(name: str, history: str, salt: str = "") -> Decision:
    """The decision of a case after a history such as "7 19 18". Raises EnvError when the game has none there."""
    state = state_of(name, history)
    case = load_case(name)
    mover = state.current_player()
    return Decision(case, tuple(map(int, history.split())), state, mover, _knowledge(case, state, mover, history), salt)


def _knowledge(case: Case, state: Any, mover: int, history: str) -> str:
    if not case.hidden:
        return history
    # Gin's information state costs milliseconds, and cribbage's tells the other's cards.
    if case.plain.get_type().provides_information_state_string and case.short_name != "cribbage":
        return f"{mover} {state.information_state_string(mover)}"
    return f"{mover} {state.observation_string(mover)}"
