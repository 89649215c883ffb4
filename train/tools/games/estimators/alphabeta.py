"""Chess and checkers: alpha-beta to a fixed depth, with a simple count at the leaves.

    utility(decision_of("chess", ""), 2426, 2000)   → 0.02 for e4: what the move leaves, from -1 (lost) to 1 (won)

Random playouts say almost nothing of a chess position, and cost 0.6 ms each: 22 of them rank 0.55 of pairs as
Stockfish 15 does ten plies deep, one ply here 0.85, two 0.86, three no more. The depth is the same for all moves, since
the side that moves last looks better than it is; captures are answered before positions are counted. Where a search
takes more positions than it may, the depth before counts.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

from games.estimators.decision import Decision
from games.estimators.search import skip_forced

NOISY = 0.7  # a move that changes the count by this many pieces is a capture, and is answered before it counts
DEEPEST_CAPTURE = -3
DEPTH = {"chess": 2, "checkers": 4}  # plies after the move
_WON = 1000.0  # in pieces: more than any count


class _OutOfPositions(Exception):
    pass


def utility(decision: Decision, action: int, simulations: int) -> float:
    """The expected return of the mover after the action; `simulations` is how many positions it may take."""
    count, scale = COUNTS[decision.case.short_name]
    state = skip_forced(decision.state.child(action))
    if state.is_terminal():
        return state.returns()[decision.mover]
    search = _Search(count, simulations)
    sign = 1 if state.current_player() == decision.mover else -1
    return sign * math.tanh(search.value(state, DEPTH[decision.case.short_name]) / scale)


class _Search:
    def __init__(self, count: Callable[[Any], float], positions: int) -> None:
        self._count = count
        self._left = positions

    def value(self, state: Any, depth: int) -> float:
        """The value for the player to move, in units of the count; of a lesser depth when positions run out."""
        count = self._count(state)
        value = count
        for ply in range(1, depth + 1):
            try:
                value = self._value(state, ply, -math.inf, math.inf, count)
            except _OutOfPositions:
                break
        return value

    def _value(self, state: Any, depth: int, low: float, high: float, count: float) -> float:
        """Negamax with alpha-beta; `count` is that of the state, for the player to move."""
        player = state.current_player()
        best = -math.inf
        if depth < 1:  # no one has to go on capturing
            best = count
            if best >= high:
                return best
            low = max(low, best)
        children = []
        for move in state.legal_actions():
            child = state.child(move)
            self._left -= 1
            if child.is_terminal():
                children.append((child.returns()[player] * (_WON + depth), True, None))
                continue
            same = child.current_player() == player
            after = self._count(child) if same else -self._count(child)
            if depth > 1 or (abs(after - count) >= NOISY and depth > DEEPEST_CAPTURE):
                children.append((after, same, child))
            else:
                children.append((after, same, None))
        if self._left < 0:
            raise _OutOfPositions
        children.sort(key=_guess, reverse=True)
        for value, same, child in children:
            if child is not None:
                after = value if same else -value
                if same:
                    value = self._value(child, depth - 1, low, high, after)
                else:
                    value = -self._value(child, depth - 1, -high, -low, after)
            if value > best:
                best = value
                low = max(low, best)
                if low >= high:
                    break
        return best


def _guess(child: tuple[float, bool, Any]) -> float:
    return child[0]


def _chess(state: Any) -> float:
    """Pawns that the player to move is ahead, with a little for where the pieces stand."""
    board = state.observation_string(0).partition(" ")[0].translate(_EMPTY_SQUARES).replace("/", "")
    ahead = sum(map(_chess_worths().__getitem__, enumerate(board)))
    return ahead if state.current_player() == 1 else -ahead  # 1 is White


_EMPTY_SQUARES = {ord(str(number)): "." * number for number in range(1, 9)}


@functools.cache
def _chess_worths() -> dict[tuple[int, str], float]:
    """(square from a8, piece) → its worth to White: material, pawns that have come far, the centre, a king at home."""
    worths = {}
    for square in range(64):
        row, column = divmod(square, 8)  # row 0 is the eighth rank
        centre = (3.5 - abs(3.5 - column)) + (3.5 - abs(3.5 - row))  # 0 in a corner to 6
        for piece, worth in {
            "P": 1.0 + 0.04 * (6 - row) ** 2 * (6 - row > 0) * 0.5 + 0.02 * (3.5 - abs(3.5 - column)),
            "N": 2.9 + 0.08 * centre,
            "B": 3.1 + 0.05 * centre,
            "R": 5.0 + 0.1 * (row == 1),
            "Q": 9.3 + 0.02 * centre,
            "K": 0.08 * (row - 6) - 0.03 * (3.5 - abs(3.5 - column)),
        }.items():
            worths[square, piece] = worth
            worths[(7 - row) * 8 + column, piece.lower()] = -worth
        worths[square, "."] = 0.0
    return worths


def _checkers(state: Any) -> float:
    """Men that the player to move is ahead; a king is worth more, and a man more the further it has come."""
    rows = state.observation_string(0).split("\n")[:-2]
    ahead = 0.0
    for place, row in enumerate(rows):
        cells = row[1:]
        ahead += cells.count("o") * (1 + 0.03 * (len(rows) - place)) - cells.count("+") * (1 + 0.03 * place)
        ahead += 1.6 * (cells.count("8") - cells.count("*"))
    return ahead if state.current_player() == 0 else -ahead


# What is counted, and how many of it make a game as good as won (the return of tanh 1 = 0.76).
COUNTS: dict[str, tuple[Callable[[Any], float], float]] = {
    "chess": (_chess, 4.0),
    "checkers": (_checkers, 3.0),
}
