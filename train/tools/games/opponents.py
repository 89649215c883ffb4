"""Who plays the other seats of a game: `random`, `mcts(100)`, `mcts(1000,50)` or `self`.

    >>> parse_opponent(" MCTS(1000, 50) ")
    Opponent(name='mcts(1000,50)', simulations=1000, rollouts=50)
    >>> parse_opponent("mcts(100)").move(load_case("tic_tac_toe"), play(load_case("tic_tac_toe"), [4, 1]), seed=7)
    6

`mcts(n)` is OpenSpiel's own search with n simulations, `mcts(n,r)` with r random playouts in each. It sees the true
state, other players' cards too, as the opponents of game evaluations do; only a bid that is made at the same time as
its own it does not see. `self` is the policy that is trained or evaluated: it is asked by whoever runs the game, and
has no `move`.
"""

from __future__ import annotations

import functools
import random
import re
from dataclasses import dataclass
from typing import Any

import pyspiel

from env_adapter import SettingsError
from games.cases import Case
from games.states import TERMINAL, chance_outcome, play

UCT_C = 1.4  # of returns in [-1, 1], as in game evaluations; wider returns are scaled to it
TREE_MB = 256
MAX_SIMULATIONS, MAX_ROLLOUTS = 1_000_000, 1000
MAX_WORLDS = 16

_KNOWN = "random, mcts(SIMULATIONS), mcts(SIMULATIONS,ROLLOUTS) or self"


@dataclass(frozen=True)
class Opponent:
    name: str
    """As `parse_opponent` reads it, in one spelling."""
    simulations: int = 0
    rollouts: int = 1

    @property
    def is_policy(self) -> bool:
        return self.name == "self"

    @property
    def strength(self) -> float:
        """Random playouts for a move: 0 for `random`; -1 for `self`, whose strength nobody knows."""
        return -1.0 if self.is_policy else float(self.simulations * self.rollouts)

    def move(self, case: Case, state: Any, seed: int) -> int:
        """A legal action in a decision state, which stays as it is. The same seed gives the same move.

        A search lets other threads run while it thinks, except in games with simultaneous moves or rewards on the way.
        """
        if self.is_policy:
            raise ValueError("the policy's moves are asked of the policy")
        if state.is_terminal() or state.is_chance_node():
            raise ValueError("nobody is to move: a search that starts there would end the process")
        numbers = random.Random(seed)
        legal = state.legal_actions()
        if len(legal) == 1 or not self.simulations:
            return legal[int(numbers.random() * len(legal))]
        if case.game.get_type().reward_model != pyspiel.GameType.RewardModel.TERMINAL:
            return self._by_playouts(state, legal, numbers)
        if case.simultaneous and state.current_player() > 0:
            return self._against_unseen_bids(case, state, legal, numbers)
        return self._bot(case.game, self.simulations, numbers).step(state)

    def _bot(self, game: Any, simulations: int, numbers: random.Random) -> Any:
        exploration = UCT_C * (game.max_utility() - game.min_utility()) / 2
        evaluator = pyspiel.RandomRolloutEvaluator(self.rollouts, numbers.getrandbits(31))
        solve = game.num_players() == 2 and game.get_type().chance_mode == pyspiel.GameType.ChanceMode.DETERMINISTIC
        # Never a time limit: it would make games depend on the machine.
        return pyspiel.MCTSBot(
            game, evaluator, exploration, simulations, TREE_MB, solve, numbers.getrandbits(31), False
        )

    def _against_unseen_bids(self, case: Case, state: Any, legal: list[int], numbers: random.Random) -> int:
        """The players before this one have moved in this round: their bids are drawn anew, the best mean wins."""
        mover, history = state.current_player(), state.history()
        worlds = max(1, min(MAX_WORLDS, self.simulations // (4 * len(legal))))
        values = dict.fromkeys(legal, 0.0)
        for _ in range(worlds):
            world = play(case, history[: len(history) - mover])
            while world.current_player() != mover:
                bids = world.legal_actions()
                world.apply_action(bids[int(numbers.random() * len(bids))])
            root = self._bot(case.game, max(2, self.simulations // worlds), numbers).mcts_search(world)
            for child in root.children:
                values[child.action] += child.outcome[mover] if child.outcome else _mean(child)
        return max(legal, key=values.__getitem__)

    def _by_playouts(self, state: Any, legal: list[int], numbers: random.Random) -> int:
        """OpenSpiel's search refuses rewards on the way (cribbage): the same number of playouts, without a tree."""
        mover = state.current_player()
        best, most = legal[0], float("-inf")
        for place, action in enumerate(legal):
            share = range(place, self.simulations * self.rollouts, len(legal))
            if not share:
                break
            ends = [_playout(state.child(action), numbers) for _ in share]
            mean = sum(_lead(returns, mover) for returns in ends) / len(ends)
            if mean > most:
                best, most = action, mean
        return best


def _mean(node: Any) -> float:
    return node.total_reward / max(1, node.explore_count)


def _lead(returns: list[float], player: int) -> float:
    others = [value for other, value in enumerate(returns) if other != player]
    return returns[player] - (max(others) if others else 0.0)


def _playout(state: Any, numbers: random.Random) -> list[float]:
    while (player := state.current_player()) != TERMINAL:
        if player < 0:
            state.apply_action(chance_outcome(state, numbers.random()))
        else:
            legal = state.legal_actions()
            state.apply_action(legal[int(numbers.random() * len(legal))])
    return state.returns()


@functools.lru_cache(maxsize=256)
def parse_opponent(text: str) -> Opponent:
    """Raises SettingsError for a text that names no opponent."""
    name = "".join(text.split()).lower()
    if name in ("random", "self"):
        return Opponent(name)
    match = re.fullmatch(r"mcts\(([0-9]{1,7})(?:,([0-9]{1,4}))?\)", name, re.ASCII)
    if not match:
        raise SettingsError(f"opponent {text!r} is not known: it is {_KNOWN}")
    simulations, rollouts = int(match[1]), int(match[2] or 1)
    if not (2 <= simulations <= MAX_SIMULATIONS and 1 <= rollouts <= MAX_ROLLOUTS):
        raise SettingsError(
            f"opponent {text!r}: 2 to {MAX_SIMULATIONS} simulations and 1 to {MAX_ROLLOUTS} rollouts are possible"
        )
    return Opponent(f"mcts({simulations}{f',{rollouts}' if rollouts > 1 else ''})", simulations, rollouts)
