"""Games that are solved outright: pig by dynamic programming, blackjack by the cards left, Leduc poker by CFR+.

    pig(winscore=20) at 0:0, nothing rolled yet: "roll" → 0.23: how much oftener the roller wins than loses

Solutions are worked out once in a process, by `solve` or on first use: pig 0.4 s for 100 points, Leduc poker 0.6 s.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyspiel

from env_adapter import SettingsError
from games.cases import Case, load_case
from games.estimators.decision import Decision

LEDUC_ITERATIONS = 80  # CFR+: exploitability 0.01 of ±13 chips
PIG_SWEEPS = 60  # values move by less than 1e-6 from there on
MAX_PIG_SCORE = 128  # the table has this many values to the third power


def solve(case: Case) -> None:
    """Work out the solution of a game now, so that no answer waits for it. Raises SettingsError for one too large."""
    if case.short_name == "leduc_poker":
        _equilibrium(case.name)
    elif case.short_name == "pig":
        _pig_table(*_pig_rules(case.parameters))


def leduc(decision: Decision, action: int, simulations: int) -> float:
    """The mover's chips after the action when both go on by an equilibrium, over every card the other may hold."""
    policy = _equilibrium(decision.case.name)
    total = weight = 0.0
    for probability, world in _leduc_worlds(decision):
        total += probability * pyspiel.expected_returns(world.child(action), policy, -1, True)[decision.mover]
        weight += probability
    return total / weight


@functools.lru_cache(maxsize=4)
def _equilibrium(name: str) -> Any:
    solver = pyspiel.CFRPlusSolver(load_case(name).game)
    for _ in range(LEDUC_ITERATIONS):
        solver.evaluate_and_update_policy()
    return solver.tabular_average_policy()


def _leduc_worlds(decision: Decision) -> Iterator[tuple[float, Any]]:
    """(probability, state) for each card that the other player may hold."""
    other = 1 - decision.mover
    for card, _ in decision.game.new_initial_state().chance_outcomes():
        state, probability = decision.game.new_initial_state(), 1.0
        for place, outcome in enumerate(decision.history):
            outcome = card if place == other else outcome
            if state.is_chance_node():
                probability *= dict(state.chance_outcomes()).get(outcome, 0.0)
                if not probability:
                    break
            state.apply_action(outcome)
        if probability:
            yield probability, state


def pig(decision: Decision, action: int, simulations: int) -> float:
    """How much oftener the mover wins than loses when both play on without a fault."""
    parameters = decision.case.parameters
    start, turn = _pig_table(*_pig_rules(parameters))
    one, two, total = map(int, re.findall(r"\d+", decision.state.observation_string(decision.mover))[:3])
    own, other = (one, two) if decision.mover == 0 else (two, one)
    return 2 * _pig_value(start, turn, parameters, own, other, total, roll=action == 0) - 1


def _pig_rules(parameters: dict[str, Any]) -> tuple[int, int, bool]:
    if parameters["winscore"] > MAX_PIG_SCORE:
        raise SettingsError(
            f"pig is solved up to winscore={MAX_PIG_SCORE}, not for {parameters['winscore']}: lower it, or use "
            "reward_mode=legal or mode=game"
        )
    return parameters["winscore"], parameters["diceoutcomes"], parameters["piglet"]


def _pig_value(
    start: np.ndarray, turn: np.ndarray, parameters: dict[str, Any], own: int, other: int, total: int, roll: bool
) -> float:
    goal, faces = parameters["winscore"], parameters["diceoutcomes"]
    if not roll:
        return 1.0 if own + total >= goal else float(1 - start[other, own + total])
    gains = [1 if parameters["piglet"] else face for face in range(2, faces + 1)]
    kept = sum(1.0 if own + total + gain >= goal else turn[total + gain, own, other] for gain in gains)
    return float((1 - start[other, own] + kept) / faces)


@functools.lru_cache(maxsize=4)
def _pig_table(goal: int, faces: int, piglet: bool) -> tuple[np.ndarray, np.ndarray]:
    """The mover's probability of winning, as [own, other] at the start of a turn and as [turn total, own, other].

    Neller and Presser, "Optimal play of the dice game Pig" (2004). The limit on a game's length is left out.
    """
    gains = [1 if piglet else face for face in range(2, faces + 1)]
    start = np.full((goal, goal), 0.5)
    turn = np.ones((goal + max(gains), goal, goal))
    for _ in range(PIG_SWEEPS):
        passed = 1 - start.T  # the mover's probability once the other is to move, as [own, other]
        for total in range(goal - 1, -1, -1):
            open_ = goal - total  # own scores below this have not won by stopping
            stop = np.ones((goal, goal))
            stop[:open_] = passed[total:]
            roll = (passed + sum(turn[total + gain] for gain in gains)) / faces
            turn[total] = np.maximum(stop, roll)
            turn[total, open_:] = 1.0
        start = turn[0].copy()
    return start, turn


def blackjack(decision: Decision, action: int, simulations: int) -> float:
    """What the player wins on average when it draws on for the best. One action draws, the other stands.

    The cards still to come are taken to come from all those that the player has not seen, each time anew: within 0.01
    of drawing without putting back.
    """
    own, shown = list(decision.state.cards(0)), decision.state.dealers_visible_card()
    unseen = [0] * 10
    for card in range(52):
        unseen[_points(card) - 1] += card not in (*own, shown)
    odds = tuple(count / sum(unseen) for count in unseen)
    total, soft = 0, False
    for card in own:
        total, soft = _add(total, soft, _points(card))
    dealer = _dealer(odds, *_add(0, False, _points(shown)))
    if decision.state.action_to_string(0, action) == "Stand":
        return _stand(dealer, total)
    return _hit(odds, dealer, total, soft)


def _points(card: int) -> int:
    """1 for an ace to 10 for a ten, jack, queen or king."""
    return min(card % 13 + 1, 10)


def _add(total: int, soft: bool, points: int) -> tuple[int, bool]:
    """The best total with one more card, and whether an ace in it counts 11."""
    total, soft = (total + 11, True) if points == 1 and total + 11 <= 21 else (total + points, soft)
    return (total - 10, False) if total > 21 and soft else (total, soft)


@functools.lru_cache(maxsize=2048)
def _dealer(odds: tuple[float, ...], total: int, soft: bool) -> tuple[float, ...]:
    """The probabilities of the dealer's 17, 18, 19, 20, 21 and of going bust; the dealer stands on every 17."""
    if total >= 17:
        return tuple(float(min(total, 22) - 17 == place) for place in range(6))
    ends = [0.0] * 6
    for points, probability in enumerate(odds, 1):
        for place, end in enumerate(_dealer(odds, *_add(total, soft, points))):
            ends[place] += probability * end
    return tuple(ends)


def _stand(dealer: tuple[float, ...], total: int) -> float:
    if total > 21:
        return -1.0
    return dealer[5] + sum(p * ((total > end) - (total < end)) for end, p in zip(range(17, 22), dealer, strict=False))


@functools.lru_cache(maxsize=2048)
def _hit(odds: tuple[float, ...], dealer: tuple[float, ...], total: int, soft: bool) -> float:
    value = 0.0
    for points, probability in enumerate(odds, 1):
        then, then_soft = _add(total, soft, points)
        best = -1.0
        if then <= 21:
            best = max(_stand(dealer, then), _hit(odds, dealer, then, then_soft))
        value += probability * best
    return value
