"""Phantom tic-tac-toe: playouts between players who see their own marks, and the marks that they ran into.

    utility(decision_of("phantom_ttt", "0"), 4, 1000)   → -0.15: how much oftener o wins than loses from the centre

A search in a world sees the hidden marks, and so never runs into one. Here a player completes a line when it can, stops
one that it knows of, and else tries a cell that may be free. Boards are two sets of bits, one for each player.
"""

from __future__ import annotations

import functools
import itertools
import random
from collections.abc import Callable

from games.estimators.decision import Decision

LINES = [sum(1 << cell for cell in line) for line in ((0, 1, 2), (3, 4, 5), (6, 7, 8), (0, 3, 6), (1, 4, 7), (2, 5, 8))]
LINES += [1 << 0 | 1 << 4 | 1 << 8, 1 << 2 | 1 << 4 | 1 << 6]
FULL = 0b111111111
MAX_WORLDS = 200  # each is played out several times: some take many draws

# The marks of both, and what each knows of the other's: [own, own], [seen by 0, seen by 1], whose turn it is.
World = tuple[list[int], list[int], int]


def utility(decision: Decision, action: int, simulations: int) -> float:
    """How much oftener the mover wins than loses after the action."""
    keep_turn = decision.case.parameters["gameversion"] == "classical"
    numbers = decision.random("play")
    total = 0
    for marks, seen, player in itertools.islice(itertools.cycle(_worlds(decision, MAX_WORLDS)), simulations):
        world = [list(marks), list(seen), player]
        _move(world, action, keep_turn)
        total += _play_on(world, keep_turn, random.Random(numbers.getrandbits(31)).random, decision.mover)
    return total / simulations


@functools.lru_cache(maxsize=16)
def _worlds(decision: Decision, count: int) -> list[World]:
    """Games like the true one to the mover: the other's moves are drawn until the mover's own end as they did."""
    keep_turn = decision.case.parameters["gameversion"] == "classical"
    moves = _own_moves(decision, keep_turn)
    numbers = decision.random("worlds").random
    return [_draw(moves, decision.mover, keep_turn, numbers) for _ in range(count)]


def _own_moves(decision: Decision, keep_turn: bool) -> list[tuple[int, bool]]:
    """(cell, whether it was free) for each of the mover's moves, all of which it saw."""
    world: list = [[0, 0], [0, 0], 0]
    moves = []
    for action in decision.history:
        player = world[2]
        free = not world[0][1 - player] >> action & 1
        if player == decision.mover:
            moves.append((action, free))
        _move(world, action, keep_turn)
    return moves


def _draw(moves: list[tuple[int, bool]], mover: int, keep_turn: bool, numbers: Callable[[], float]) -> World:
    """One game in which the mover's moves went as they did; most of the other's turns are drawn only once."""
    while True:
        world: list = [[0, 0], [0, 0], 0]
        left = iter(moves)
        expected = next(left, None)
        while True:
            if world[2] == mover:
                if expected is None:
                    return world
                cell, free = expected
                if free == bool(world[0][1 - mover] >> cell & 1):
                    break
                _move(world, cell, keep_turn)
                expected = next(left, None)
            else:
                _move(world, _any(FULL & ~(world[0][1 - mover] | world[1][1 - mover]), numbers), keep_turn)
            if _won(world[0][0]) or _won(world[0][1]) or world[0][0] | world[0][1] == FULL:
                break


def _move(world: list, cell: int, keep_turn: bool) -> None:
    marks, seen, player = world
    bit = 1 << cell
    if marks[1 - player] & bit:
        seen[player] |= bit
        if keep_turn:
            return
    else:
        marks[player] |= bit
    world[2] = 1 - player


def _play_on(world: list, keep_turn: bool, numbers: Callable[[], float], mover: int) -> int:
    """1 when the mover wins, -1 when it loses, 0 for a draw."""
    marks, seen, _ = world
    while True:
        if _won(marks[mover]):
            return 1
        if _won(marks[1 - mover]):
            return -1
        if marks[0] | marks[1] == FULL:
            return 0
        player = world[2]
        _move(world, _choose(marks[player], seen[player], numbers), keep_turn)


def _choose(own: int, other: int, numbers: Callable[[], float]) -> int:
    """A cell that completes an own line as far as is known, else one that stops a known line, else any."""
    free = FULL & ~(own | other)
    for marks in (own, other):
        wins = _completions(marks) & free
        if wins:
            return _any(wins, numbers)
    return _any(free, numbers)


@functools.cache
def _completions(marks: int) -> int:
    """The cells that complete a line of these marks."""
    return sum({line & ~marks for line in LINES if (line & marks).bit_count() == 2})


@functools.cache
def _won(marks: int) -> bool:
    return any(line & marks == line for line in LINES)


@functools.cache
def _cells(bits: int) -> list[int]:
    return [cell for cell in range(9) if bits >> cell & 1]


def _any(bits: int, numbers: Callable[[], float]) -> int:
    cells = _cells(bits)
    return cells[int(numbers() * len(cells))]
