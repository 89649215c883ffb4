"""What a move is worth, in [0, 1]: the value, for the player who makes it, of the state that it leads to.

    action_value("tic_tac_toe", "3 2 4 7 6 0 8", 1, 2000)   → 1.0: it wins at once
    action_value("tic_tac_toe", "3 2 4 7 6 0 8", 5, 2000)   → 0.5: it holds the draw
    action_rank("tic_tac_toe", "3 2 4 7 6 0 8", 5, 2000)    → 0.0: it is the worst of the two

Each game has an estimator of the expected return (`games.estimators`). Values are pure functions of their arguments:
random numbers come from what the mover knows, and a budget is a number of simulations, never a time. How rightly they
rank moves, and what they cost, is measured by `benchmarks/openspiel_rewards.py`.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import pyspiel

from games.cases import Case
from games.estimators import (
    alphabeta,
    backgammon,
    battleship,
    cribbage,
    dots_and_boxes,
    exact,
    gin_rummy,
    go,
    goofspiel,
    liars_dice,
    phantom_ttt,
    sampling,
    search,
)
from games.estimators.decision import Decision, decision_of
from games.value_costs import MIN_SIMULATIONS, simulations_for

__all__ = ["action_rank", "action_value", "estimate", "prepare", "ranked_moves", "simulations_for"]

Estimator = Callable[[Decision, int, int], float]

ESTIMATORS: dict[str, Estimator] = {
    "backgammon": backgammon.utility,
    "battleship": battleship.utility,
    "blackjack": exact.blackjack,
    "checkers": alphabeta.utility,
    "chess": alphabeta.utility,
    "cribbage": cribbage.utility,
    "dots_and_boxes": dots_and_boxes.utility,
    "gin_rummy": gin_rummy.utility,
    "go": go.utility,
    "goofspiel": goofspiel.utility,
    "leduc_poker": exact.leduc,
    "liars_dice": liars_dice.utility,
    "phantom_ttt": phantom_ttt.utility,
    "pig": exact.pig,
}

# Games whose returns lie far inside their bounds: (what is even, what is a lot), in the game's own unit. The value is
# 1/2 + 1/2 tanh((return - even) / a lot), which keeps every ranking; "a lot" gives 0.88.
SCALES: dict[str, tuple[float, float]] = {
    "battleship": (0.0, 0.2),  # of a ship, which is worth 1, for one shot
    "cribbage": (0.0, 10.0),  # points of one deal
    "euchre": (0.0, 2.0),  # points: 1 for most hands that are made, 2 for a march or for setting the other side
    "gin_rummy": (0.0, 25.0),  # points: about one knock with a bonus
    "hearts": (19.5, 6.5),  # 26 less the points taken: an even share, and no point at all
    "leduc_poker": (0.0, 5.0),  # chips: what the first round can cost
}

# `rank` values at most so many moves: the one that was chosen and others drawn from the rest.
MAX_RANKED_MOVES = 40
RANK_BUDGET = 10  # a rank costs about as much as so many values, on its first use in a state
DECIMALS = 9  # beyond them, processors differ in the order of their sums


@functools.lru_cache(maxsize=16_384)
def action_value(name: str, history: str, action: int, simulations: int) -> float:
    """The value in [0, 1] of a legal action in the state after `history`, for the player to move there.

    The same arguments give the same value in every process. Raises EnvError when the history is not one of the game's.
    """
    return estimate(decision_of(name, history), action, simulations)


def estimate(decision: Decision, action: int, simulations: int) -> float:
    """The value itself, worked out anew."""
    utility = estimator_of(decision.case)(decision, action, simulations)
    return round(_normalised(decision.case, utility), DECIMALS)


def action_rank(name: str, history: str, action: int, simulations: int) -> float:
    """Where a legal action stands among all: 1 for the best, 0 for the worst, between by value; 1 where all are equal.

    All legal moves are valued, at most RANK_BUDGET times as many simulations being shared among them, and kept. Of more
    than MAX_RANKED_MOVES a fixed draw is valued, and an action outside it stands against the draw, cut to [0, 1].
    Raises EnvError as `action_value` does.
    """
    moves = ranked_moves(name, history)
    share = max(min(simulations, MIN_SIMULATIONS), simulations * RANK_BUDGET // max(len(moves), RANK_BUDGET))
    values = [action_value(name, history, one, share) for one in moves]
    low, high = min(values), max(values)
    value = action_value(name, history, action, share)
    if high == low:
        return float(value >= high)
    return min(max((value - low) / (high - low), 0.0), 1.0)


@functools.lru_cache(maxsize=1024)
def ranked_moves(name: str, history: str) -> tuple[int, ...]:
    """The legal moves that `action_rank` compares with, in order."""
    decision = decision_of(name, history)
    legal = decision.state.legal_actions()
    if len(legal) > MAX_RANKED_MOVES:
        legal = sorted(decision.random("ranked").sample(legal, MAX_RANKED_MOVES))
    return tuple(legal)


def prepare(case: Case) -> None:
    """Do now what would otherwise be done for the first value of this game in this process.

    Raises SettingsError for a game whose values cannot be worked out.
    """
    if ESTIMATORS.get(case.short_name) is estimator_of(case):
        exact.solve(case)


def estimator_of(case: Case) -> Estimator:
    """The game's own; for other games a search where nothing is hidden or random, else playouts in sampled worlds."""
    own = ESTIMATORS.get(case.short_name)
    players = case.game.num_players()
    if own and players <= 2:
        return own
    kind = case.game.get_type()
    terminal = kind.reward_model == pyspiel.GameType.RewardModel.TERMINAL
    if case.hidden or case.stochastic or not terminal or not sampling.two_sides(case.game):
        return sampling.utility
    return search.utility


def _normalised(case: Case, utility: float) -> float:
    if case.short_name in SCALES:
        even, scale = SCALES[case.short_name]
        return 0.5 + 0.5 * math.tanh((utility - even) / scale)
    low, high = case.game.min_utility(), case.game.max_utility()
    return min(max((utility - low) / (high - low), 0.0), 1.0)
