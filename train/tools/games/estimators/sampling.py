"""Hidden information: the mean over worlds drawn anew of a short search, or of random playouts, in each.

    utility(decision_of("euchre", history), 24, 2000)   → -0.2 points for the mover's side, where another move has -1.25

A search in a world sees all hands, so that it cannot value a bluff or a look; in trick-taking games that matters
little, and it ranks better than playouts do (euchre: 0.99 against 0.90 of pairs in the same time).
"""

from __future__ import annotations

import random
from typing import Any

import pyspiel

from games.estimators import search
from games.estimators.decision import Decision
from games.estimators.worlds import worlds
from games.states import chance_outcome

MIN_WORLDS = 8
# Simulations in one world, the rest of the budget buys more worlds. Euchre: 100 worlds × 20 rank as 20 × 50 do, with
# half the noise. Hearts: 16 × 60 ranks as well as 120 × 400; playouts alone 0.95.
SIMULATIONS_PER_WORLD = {"euchre": 20, "hearts": 60, "latent_ttt": 100}


def utility(decision: Decision, action: int, simulations: int) -> float:
    """The expected return of the mover after the action."""
    per_world = SIMULATIONS_PER_WORLD.get(decision.case.short_name, 1)
    drawn = worlds(decision, max(MIN_WORLDS, simulations // per_world))
    seeds = decision.random("play")
    total = 0.0
    for world in drawn:
        total += _play_on(decision, world.child(action), per_world, random.Random(seeds.getrandbits(31)))
    return total / len(drawn)


def _play_on(decision: Decision, state: Any, simulations: int, numbers: random.Random) -> float:
    """The mover's return by a search from the next decision that tells it: any of a game of two sides, else its own."""
    game, mover = decision.game, decision.mover
    if game.get_type().reward_model != pyspiel.GameType.RewardModel.TERMINAL:
        return _random_playout(state, numbers).returns()[mover]  # MCTSBot refuses these
    while True:
        resolve_chance(state, numbers)
        if state.is_terminal():
            return state.returns()[mover]
        legal = state.legal_actions()
        player = state.current_player()
        if len(legal) == 1:
            state.apply_action(legal[0])
        elif player == mover or two_sides(game):
            root = search.tree(game, state, simulations, numbers.getrandbits(31))
            return search.return_of(root, state, mover, game)
        elif simulations > 1:
            root = search.tree(game, state, simulations // 2, numbers.getrandbits(31))
            state.apply_action(root.best_child().action)
        else:
            state.apply_action(numbers.choice(legal))


def resolve_chance(state: Any, numbers: random.Random) -> None:
    """Move the state on until chance has nothing to say."""
    while state.is_chance_node():
        state.apply_action(chance_outcome(state, numbers.random()))


def two_sides(game: Any) -> bool:
    """What one side wins the other loses: two players, or euchre's two against two."""
    zero_sum = game.get_type().utility in (pyspiel.GameType.Utility.ZERO_SUM, pyspiel.GameType.Utility.CONSTANT_SUM)
    return zero_sum and (game.num_players() == 2 or game.get_type().short_name == "euchre")


def _random_playout(state: Any, numbers: random.Random) -> Any:
    while not state.is_terminal():
        if state.is_chance_node():
            state.apply_action(chance_outcome(state, numbers.random()))
        else:
            legal = state.legal_actions()
            state.apply_action(legal[int(numbers.random() * len(legal))])
    return state
