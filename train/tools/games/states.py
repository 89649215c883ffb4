"""Which states the model is asked about: decisions met in random games, each prompt once.

    >>> table = StateTable(load_case("tic_tac_toe"), seed=0, max_random_steps=None)
    >>> table.history(0), table.history(1)
    ((1,), (6, 7, 4))

Entry k depends on (case, seed, max_random_steps, k) alone, so a table is grown as far as it is needed, in any process.
"""

from __future__ import annotations

import functools
import random
import re
from collections.abc import Callable, Iterable
from hashlib import sha256
from typing import Any

import pyspiel

from env_adapter import EnvError, SettingsError
from games.cases import Case, load_case
from games.prompts import MAX_PROMPT_CHARS, build_messages, case_rules, prompt_chars, shown_moves

TERMINAL, CHANCE = pyspiel.PlayerId.TERMINAL.value, pyspiel.PlayerId.CHANCE.value

# Where there are more moves, they cannot all lead to one state.
_FEW_MOVES = 4

# The table of a game that has no state left to give ends after this many random games in a row without a new one.
MAX_MISSES = 10_000


class StateTable:
    """The distinct decision states of one case, found one by one as they are asked for.

    `skip` says of a history that its state is not worth asking about; it must always say the same.
    """

    def __init__(
        self,
        case: Case,
        seed: int = 0,
        max_random_steps: int | None = None,
        skip: Callable[[tuple[int, ...]], bool] | None = None,
    ) -> None:
        self._case = case
        self._seed = seed
        self._max_random_steps = max_random_steps
        self._skip = skip
        self._rules = case_rules(case)
        self._histories: list[tuple[int, ...]] = []
        self._prompts_seen: set[bytes] = set()
        self._games_played = 0
        self._exhausted = False

    def history(self, index: int) -> tuple[int, ...]:
        """The actions that lead to state `index`. Raises SettingsError when the case has fewer distinct states."""
        found = self.available(index + 1)
        if found <= index:
            raise SettingsError(
                f"{self._case.name} has only {found} distinct states within max_random_steps={self._max_random_steps} "
                f"({self._games_played} random games tried): set num_tasks_per_case to at most {found}, "
                "raise max_random_steps, or set on_shortage=cap"
            )
        return self._histories[index]

    def available(self, wanted: int) -> int:
        """How many of the first `wanted` states exist. It finds them all, which is where a table's time goes."""
        while len(self._histories) < wanted and not self._exhausted:
            self._find_next()
        return min(wanted, len(self._histories))

    def _find_next(self) -> None:
        for _ in range(MAX_MISSES):
            history = self._candidate(self._games_played)
            self._games_played += 1
            if history is None:
                continue
            state = play(self._case, history)
            if self._is_forced(state):
                continue
            messages = build_messages(self._case, state)
            if prompt_chars(messages) > MAX_PROMPT_CHARS:
                continue
            key = sha256(messages[-1]["content"].encode()).digest()[:16]  # the system's words are the case's
            if key in self._prompts_seen:
                continue
            self._prompts_seen.add(key)
            if not (self._skip and self._skip(history)):
                self._histories.append(history)
                return
        self._exhausted = True

    def _is_forced(self, state: Any) -> bool:
        """Whether actions that look different all do the same: in backgammon, 16/11/7 and 16/12/7."""
        if not self._rules.one_move_per_text:
            return False
        moves = shown_moves(self._rules, state)
        return len(moves) <= _FEW_MOVES and len({str(state.child(action)) for action, _ in moves}) < 2

    def _candidate(self, number: int) -> tuple[int, ...] | None:
        """One decision, chosen evenly among those of random game `number`; None when that game had none."""
        uniform = _uniform(f"{self._seed}|{self._case.name}|{number}")
        history, decisions = random_game(self._case, uniform, self._max_random_steps)
        return tuple(history[: decisions[int(uniform() * len(decisions))]]) if decisions else None


def random_game(case: Case, uniform: Callable[[], float], max_steps: int | None = None) -> tuple[list[int], list[int]]:
    """A game between random players: (every action, chance outcomes too; where in it a player had a choice).

    It ends early before a player's move number `max_steps`, from 0. `uniform` gives numbers in [0, 1).
    """
    state = case.game.new_initial_state()
    history: list[int] = []
    decisions: list[int] = []
    steps = 0
    while (player := state.current_player()) != TERMINAL:
        if player == CHANCE:
            action = chance_outcome(state, uniform())
        else:
            legal = state.legal_actions()
            if len(legal) > 1:  # a forced move teaches nothing
                decisions.append(len(history))
            if steps == max_steps:
                break
            steps += 1
            action = legal[int(uniform() * len(legal))]
        state.apply_action(action)
        history.append(action)
    return history, decisions


def chance_outcome(state: Any, number: float) -> int:
    """The outcome of a chance node that a number in [0, 1) picks."""
    outcomes = state.chance_outcomes()
    for outcome, probability in outcomes:
        number -= probability
        if number < 0:
            return outcome
    return outcomes[-1][0]  # the probabilities add up to a little less than 1


def _uniform(seed: str) -> Callable[[], float]:
    """A source of numbers in [0, 1) that the text alone decides, in any version of Python."""
    return random.Random(int.from_bytes(sha256(seed.encode()).digest()[:8], "big")).random


def play(case: Case, history: Iterable[int]) -> Any:
    """The `pyspiel.State` after these actions and chance outcomes, which must be legal."""
    state = case.game.new_initial_state()
    for action in history:
        state.apply_action(action)
    return state


@functools.lru_cache(maxsize=1024)
def state_of(name: str, history: str) -> Any:
    """The decision state of a case after a history such as "7 19 18". It is shared: clone it, never move in it.

    Raises EnvError for a history that is not one of this game's, or does not end in a decision.
    """
    if not re.fullmatch(r"(\d{1,6}( \d{1,6})*)?", history, re.ASCII):
        raise EnvError(f"corrupted challenge: history {history[:80]!r} is not a list of actions")
    try:
        state = load_case(name).game.new_initial_state()
    except SettingsError as error:
        raise EnvError(f"corrupted challenge: {error}") from error
    for action in map(int, history.split()):
        if state.is_terminal() or action not in state.legal_actions():
            raise EnvError(f"corrupted challenge: action {action} of history {history[:80]!r} is illegal in {name}")
        state.apply_action(action)
    if state.is_terminal() or state.is_chance_node():
        raise EnvError(f"corrupted challenge: nobody is to move in {name} after {history[:80]!r}")
    return state
