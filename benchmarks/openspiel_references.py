"""What `openspiel_rewards.py` holds rewards against where there is something better than more of the same.

reference(load_case("leduc_poker"), None) → ("solved", a function of a decision and a move), or None
"""

from __future__ import annotations

import functools
import math
import random
import re
import subprocess
from collections.abc import Callable
from typing import Any

import pyspiel

from games.cases import Case, load_case
from games.estimators import alphabeta, dots_and_boxes, exact
from games.estimators.decision import Decision

Value = Callable[[Decision, int], float | None]
"""In [0, 1]; None where this decision is out of its reach."""

DOTS_LINES, DOTS_POSITIONS = 20, 500_000
LEDUC_ITERATIONS, LIARS_ITERATIONS = 600, 40
BLACKJACK_GAMES = 3000
DEEPER_POSITIONS = 300_000


def reference(case: Case, stockfish: str | None) -> tuple[str, Value] | None:
    """(kind, value) or None where the estimator itself must do, with more simulations."""
    if case.name == "liars_dice":
        return "solved", _liars_dice
    if case.short_name == "leduc_poker":
        return "solved", _leduc
    if case.short_name == "blackjack":
        return "solved", _blackjack
    if case.short_name == "dots_and_boxes":
        return "solved*", _dots_and_boxes
    if case.short_name == "chess" and stockfish:
        return "engine", functools.partial(_chess, _Stockfish(stockfish))
    if case.short_name in alphabeta.DEPTH:
        return "deeper", _deeper
    if case.short_name == "backgammon":
        try:
            from fit_backgammon import gnu_win
        except ImportError:
            return None
        return "engine", lambda decision, move: gnu_win(decision.state.child(move), decision.mover)
    return None


@functools.cache
def _equilibrium(name: str, iterations: int) -> Any:
    solver = pyspiel.CFRPlusSolver(load_case(name).game)
    for _ in range(iterations):
        solver.evaluate_and_update_policy()
    return solver.tabular_average_policy()


def _leduc(decision: Decision, move: int) -> float:
    """The equilibrium of more iterations, over many worlds that OpenSpiel resamples."""
    policy = _equilibrium(decision.case.name, LEDUC_ITERATIONS)
    numbers = random.Random(1)
    total, worlds = 0.0, 300
    for _ in range(worlds):
        world = decision.state.resample_from_infostate(decision.mover, numbers.random)
        total += pyspiel.expected_returns(world.child(move), policy, -1, True)[decision.mover]
    return 0.5 + 0.5 * math.tanh(total / worlds / 5)


def _liars_dice(decision: Decision, move: int) -> float:
    """One die each: the equilibrium, over the six dice that the other may have."""
    policy = _equilibrium(decision.case.name, LIARS_ITERATIONS)
    total = 0.0
    for die in range(6):
        history = list(decision.history)
        history[1 - decision.mover] = die
        state = decision.game.new_initial_state()
        for action in history:
            state.apply_action(action)
        total += pyspiel.expected_returns(state.child(move), policy, -1, True)[decision.mover]
    return 0.5 + 0.5 * total / 6


def _blackjack(decision: Decision, move: int) -> float:
    """Games from resampled decks, without putting cards back; further cards are drawn as the solution says."""
    numbers, total = random.Random(1), 0.0
    for _ in range(BLACKJACK_GAMES):
        state = decision.state.resample_from_infostate(0, numbers.random).child(move)
        while not state.is_terminal():
            if state.is_chance_node():
                action = numbers.choice(state.legal_actions())
            else:
                now = Decision(decision.case, tuple(state.history()), state, 0, "")
                action = max(state.legal_actions(), key=lambda one: exact.blackjack(now, one, 1))
            state.apply_action(action)
        total += state.returns()[0]
    return 0.5 + 0.5 * total / BLACKJACK_GAMES


def _dots_and_boxes(decision: Decision, move: int) -> float | None:
    """Solved where at most 20 lines are left."""
    state = decision.state.child(move)
    if state.is_terminal():
        return 0.5 + 0.5 * state.returns()[decision.mover]
    if state.dbn_string().count("0") > DOTS_LINES:
        return None
    limits = dots_and_boxes.SOLVED_LINES, dots_and_boxes.SOLVED_POSITIONS
    dots_and_boxes.SOLVED_LINES, dots_and_boxes.SOLVED_POSITIONS = DOTS_LINES, DOTS_POSITIONS
    try:
        return 0.5 + 0.5 * dots_and_boxes.utility(decision, move, 100)
    finally:
        dots_and_boxes.SOLVED_LINES, dots_and_boxes.SOLVED_POSITIONS = limits


def _deeper(decision: Decision, move: int) -> float:
    """Alpha-beta, two plies deeper and to the end of it."""
    depths = alphabeta.DEPTH
    alphabeta.DEPTH = {game: depth + 2 for game, depth in depths.items()}
    try:
        return 0.5 + 0.5 * alphabeta.utility(decision, move, DEEPER_POSITIONS)
    finally:
        alphabeta.DEPTH = depths


def _chess(engine: _Stockfish, decision: Decision, move: int) -> float:
    state = decision.state.child(move)
    if state.is_terminal():
        return 0.5 + 0.5 * state.returns()[decision.mover]
    return 1 / (1 + 10 ** (engine.centipawns(str(state)) / 400))  # for the other player, who is to move


class _Stockfish:
    """A UCI engine that looks ten plies deep."""

    def __init__(self, path: str) -> None:
        self._engine = subprocess.Popen([path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)

    def centipawns(self, position: str) -> int:
        """What the player to move is ahead; a mate counts 3000."""
        self._engine.stdin.write(f"ucinewgame\nposition fen {position}\ngo depth 10\n")
        score = 0
        for line in self._engine.stdout:
            told = re.search(r"score (cp|mate) (-?\d+)", line)
            if told:
                value = int(told[2])
                score = value if told[1] == "cp" else 3000 if value > 0 else -3000
            if line.startswith("bestmove"):
                break
        return max(-3000, min(3000, score))
