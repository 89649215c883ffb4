"""Dots and boxes: solved near the end, else playouts between players who take boxes and give none away in need.

    utility(decision_of("dots_and_boxes(num_rows=2,num_cols=2)", "0 1"), 4, 2000)   → 1.0: the move wins

A set of bits says which lines are not drawn yet; what is still to win depends on it alone. In playouts a player takes
what is open, then draws lines that open nothing; when none is left, chains are handed over, the shortest first, and
whoever gets one takes it all or leaves its last two boxes to keep the other on the move (Berlekamp, "The Dots and Boxes
Game", 2000).
"""

from __future__ import annotations

import functools
import random
from collections.abc import Callable

from games.estimators.decision import Decision

# Up to this many lines the position is solved, if that takes no more than the positions below: 60 ms. Most positions of
# 17 lines need 1000, of 19 lines 15,000.
SOLVED_LINES = 19
SOLVED_POSITIONS = 8000


class _TooManyPositions(Exception):
    pass


def utility(decision: Decision, action: int, simulations: int) -> float:
    """The expected return of the mover after the action; one simulation is one playout."""
    parameters = decision.case.parameters
    board = _board(parameters["num_rows"], parameters["num_cols"])
    state = decision.state.child(action)
    mover = decision.mover
    if state.is_terminal():
        return state.returns()[mover]
    text = state.observation_string(mover)
    ahead = (text.count("1") - text.count("2")) * (1 if mover == 0 else -1)
    sign = 1 if state.current_player() == mover else -1
    open_lines = sum(1 << line for line, drawn in enumerate(state.dbn_string()) if drawn == "0")
    worth = _margin if parameters["utility_margin"] else _win
    if open_lines.bit_count() <= SOLVED_LINES:
        try:
            narrow = () if parameters["utility_margin"] else (-sign * ahead - 1, -sign * ahead + 1)
            return worth(ahead + sign * board.solve(open_lines, *narrow))
        except _TooManyPositions:
            pass
    seeds = decision.random("play")
    total = 0.0
    for _ in range(simulations):
        total += worth(ahead + sign * board.play_out(open_lines, random.Random(seeds.getrandbits(31)).random))
    return total / simulations


def _margin(boxes: int) -> float:
    return float(boxes)


def _win(boxes: int) -> float:
    return float((boxes > 0) - (boxes < 0))


class _Board:
    """The lines of each box and the boxes of each line."""

    def __init__(self, rows: int, columns: int) -> None:
        horizontal = (rows + 1) * columns
        self.boxes = []
        for row in range(rows):
            for column in range(columns):
                top, left = row * columns + column, horizontal + row * (columns + 1) + column
                self.boxes.append((top, top + columns, left, left + 1))
        self.masks = [sum(1 << line for line in lines) for lines in self.boxes]
        count = horizontal + rows * (columns + 1)
        self.sides = [
            [self.masks[box] for box, lines in enumerate(self.boxes) if line in lines] for line in range(count)
        ]

    def solve(self, open_lines: int, low: int = -1000, high: int = 1000) -> int:
        """Boxes that the player to move gets more than the other, both playing without a fault.

        Where that is not between `low` and `high`, it tells only on which side. Raises _TooManyPositions.
        """
        known: dict[int, tuple[int, int]] = {}
        left = SOLVED_POSITIONS

        def value(lines: int, low: int, high: int) -> int:
            nonlocal left
            boxes = sum(1 for mask in self.masks if mask & lines)
            least, most = known.get(lines, (-boxes, boxes))
            if least >= high or most <= low or least == most:
                return least if least >= high else most
            low, high = max(low, least), min(high, most)
            left -= 1
            if left < 0:
                raise _TooManyPositions
            free, moves = self._free_or_moves(lines)
            best, floor = -1000, low
            for line in (free,) if free else moves:
                rest = lines & ~line
                gain = self._gain(lines, line)
                got = gain + value(rest, floor - gain, high - gain) if gain else -value(rest, -high, -floor)
                best = max(best, got)
                floor = max(floor, best)
                if floor >= high:
                    break
            known[lines] = (best if best > low else least, best if best < high else most)
            return best

        return value(open_lines, low, high)

    def _gain(self, lines: int, line: int) -> int:
        """Boxes that drawing the line completes."""
        rest = lines & ~line
        return sum(not mask & rest for mask in self.sides[line.bit_length() - 1])

    def _free_or_moves(self, lines: int) -> tuple[int, list[int]]:
        """(a line that completes a box and is never wrong to draw, or 0; else the lines worth a try).

        Where the only boxes to take begin a chain, these are: take on, or hand the last two over.
        """
        tries: set[int] = set()
        for mask in self.masks:
            line = mask & lines
            if not line or line & (line - 1):
                continue
            beyond = [other & lines & ~line for other in self.sides[line.bit_length() - 1] if other != mask]
            if not beyond or not beyond[0] or beyond[0].bit_count() != 1:
                return line, []
            tries.update((line, beyond[0]))
        if tries:
            return 0, sorted(tries)
        return 0, sorted((1 << place for place in _bits(lines)), key=lambda line: self._opened(lines, line))

    def _opened(self, lines: int, line: int) -> int:
        """Boxes that the other could take after the line is drawn."""
        return sum((mask & lines).bit_count() == 2 for mask in self.sides[line.bit_length() - 1])

    def play_out(self, lines: int, numbers: Callable[[], float]) -> int:
        """Boxes that the player to move gets more than the other in one playout."""
        degree = [(mask & lines).bit_count() for mask in self.masks]
        balance, sign = 0, 1
        safe = _bits(lines)
        while lines:
            open_box = next((box for box, count in enumerate(degree) if count == 1), None)
            if open_box is not None:
                place = (self.masks[open_box] & lines).bit_length() - 1
            else:
                place = -1
                while safe:  # lines that were unsafe once stay so
                    index = int(numbers() * len(safe))
                    place = safe[index]
                    safe[index] = safe[-1]
                    safe.pop()
                    if lines >> place & 1 and all(degree[box] > 2 for box in self.boxes_of(place)):
                        break
                    place = -1
                if place < 0:
                    return balance + sign * _chains_value(self._chains(lines, degree))
            lines &= ~(1 << place)
            gained = 0
            for box in self.boxes_of(place):
                degree[box] -= 1
                gained += not degree[box]
            if gained:
                balance += sign * gained
            else:
                sign = -sign
        return balance

    def boxes_of(self, line: int) -> tuple[int, ...]:
        return self._boxes_of[line]

    @functools.cached_property
    def _boxes_of(self) -> list[tuple[int, ...]]:
        return [tuple(self.masks.index(mask) for mask in masks) for masks in self.sides]

    def _chains(self, lines: int, degree: list[int]) -> tuple[tuple[int, bool], ...]:
        """(boxes, whether it is a loop) of each connected part, as if junctions were parts of chains."""
        parts, seen = [], set()
        for box, count in enumerate(degree):
            if not count or box in seen:
                continue
            stack, members, ends = [box], 0, 0
            seen.add(box)
            while stack:
                one = stack.pop()
                members += 1
                for place in _bits(self.masks[one] & lines):
                    beyond = [other for other in self.boxes_of(place) if other != one]
                    if not beyond:
                        ends += 1
                    elif beyond[0] not in seen:
                        seen.add(beyond[0])
                        stack.append(beyond[0])
            parts.append((members, ends == 0))
        return tuple(sorted(parts))


@functools.lru_cache(maxsize=50_000)
def _chains_value(chains: tuple[tuple[int, bool], ...]) -> int:
    """What the player who must open one of the chains gets more than the other: the shortest chain or loop first."""
    if not chains:
        return 0
    best = -1000
    for loop in (False, True):
        first = next((index for index, chain in enumerate(chains) if chain[1] == loop), None)
        if first is None:
            continue
        length = chains[first][0]
        rest = _chains_value(chains[:first] + chains[first + 1 :])
        taken = length + rest
        left = 4 if loop else 2
        if length >= left + (0 if loop else 1):
            taken = max(taken, length - 2 * left - rest)
        best = max(best, -taken)
    return best


def _bits(number: int) -> list[int]:
    places = []
    while number:
        low = number & -number
        places.append(low.bit_length() - 1)
        number ^= low
    return places


@functools.lru_cache(maxsize=16)
def _board(rows: int, columns: int) -> _Board:
    return _Board(rows, columns)
