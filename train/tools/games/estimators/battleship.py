"""Battleship: what a shot does to ships drawn from all the fleets that would have answered the earlier shots alike.

    utility(decision_of("battleship", history), 44, 200)   → 0.2 ships that the shot will help to sink

A fleet is drawn hit by hit, each time among the placements that explain it, and weighed by how many there were. In each
fleet a ship counts by how likely it is to go down in the shots that are left. What the other sinks does not depend on
the shot, and is left out. Against a player who knows nothing of the own ships, all places for them are worth the same,
and so are all placements here.
"""

from __future__ import annotations

import functools
import random
import re
from dataclasses import dataclass

from games.estimators.decision import Decision

_SHOT = re.compile(r"/shot_(\d+)_(\d+):([WHS])")
_MAX_TRIES = 20  # draws for each fleet that is wanted, before it is left at those that were found


@dataclass(frozen=True)
class _Seen:
    """The first answers to the mover's shots, as sets of bits, one for each cell."""

    shot: int
    hit: int
    """Cells of ships, sunk or not."""
    sinking: int
    """Cells where a ship went down."""
    order: dict[int, int]
    """Cell → when it was first shot at."""


def utility(decision: Decision, action: int, simulations: int) -> float:
    """What the shot adds to the value of the ships that will be sunk, against a shot at a cell that is known."""
    parameters = decision.case.parameters
    columns = parameters["board_width"]
    cells = parameters["board_height"] * columns
    if action >= cells:
        return 0.0  # a placement
    values = [float(value) for value in parameters["ship_values"].strip("[]").split(";")]
    seen = _seen(decision)
    fired = len(_SHOT.findall(decision.knowledge))
    left = parameters["num_shots"] - fired - 1
    after = seen.shot | 1 << action
    open_cells, open_before = cells - after.bit_count(), cells - seen.shot.bit_count()
    total = weights = 0.0
    for weight, fleet in _fleets(decision, simulations):
        total += weight * sum(
            value * _sunk_by_the_end(ship, after, left, open_cells)
            - value * _sunk_by_the_end(ship, seen.shot, left, open_before)
            for value, ship in zip(values, fleet, strict=True)
            if ship >> action & 1
        )
        weights += weight
    return total / weights if weights else 0.0


def _sunk_by_the_end(ship: int, shot: int, left: int, open_cells: int) -> float:
    """How likely a ship is to go down in the shots that are left: a rule of thumb that never prefers less found."""
    missing = (ship & ~shot).bit_count()
    if missing == 0:
        return 1.0
    spare = max(0, left + 1 - missing)
    finished = spare / (spare + missing + 3)  # about three shots are lost around a ship that was found
    if ship & shot:
        return finished
    return finished * (1 - (1 - min(1.0, missing / max(open_cells, 1))) ** spare)


def _seen(decision: Decision) -> _Seen:
    columns = decision.case.parameters["board_width"]
    hit = sinking = 0
    order: dict[int, int] = {}
    for row, column, answer in _SHOT.findall(decision.knowledge):
        cell = int(row) * columns + int(column)
        if cell in order:
            continue  # a second shot at a cell is answered as the first
        order[cell] = len(order)
        hit |= (answer != "W") << cell
        sinking |= (answer == "S") << cell
    return _Seen(sum(1 << cell for cell in order), hit, sinking, order)


@functools.lru_cache(maxsize=8)
def _fleets(decision: Decision, count: int) -> list[tuple[float, tuple[int, ...]]]:
    """(weight, the cells of each ship in order of ship) for fleets that fit all the answers."""
    seen = _seen(decision)
    parameters = decision.case.parameters
    places = [
        [
            place
            for place in _placements(parameters["board_height"], parameters["board_width"], size)
            if _fits(place, seen)
        ]
        for size in map(int, parameters["ship_sizes"].strip("[]").split(";"))
    ]
    numbers = decision.random("fleets")
    drawn = []
    for _ in range(_MAX_TRIES * count):
        fleet = _draw(places, seen.hit, numbers)
        if fleet:
            drawn.append(fleet)
            if len(drawn) == count:
                break
    return drawn


@functools.lru_cache(maxsize=32)
def _placements(rows: int, columns: int, size: int) -> list[int]:
    places = set()
    for row in range(rows):
        for column in range(columns):
            if column + size <= columns:
                places.add(sum(1 << row * columns + column + step for step in range(size)))
            if row + size <= rows:
                places.add(sum(1 << (row + step) * columns + column for step in range(size)))
    return sorted(places)


def _fits(place: int, seen: _Seen) -> bool:
    """No cell was a miss; the ship went down with its last cell, or some of it was never shot at."""
    if place & seen.shot & ~seen.hit:
        return False
    sinking = place & seen.sinking
    if place & ~seen.shot:
        return not sinking
    last = max(_cells_of(place), key=seen.order.__getitem__)
    return sinking == 1 << last


def _cells_of(bits: int) -> list[int]:
    return [cell for cell in range(bits.bit_length()) if bits >> cell & 1]


def _draw(places: list[list[int]], hits: int, numbers: random.Random) -> tuple[float, tuple[int, ...]] | None:
    """One fleet and its weight, or None where the draw came to a dead end.

    Sequential importance sampling: what is drawn among n ways weighs n times as much. A hit is explained by one ship of
    the fleet only, so that every fleet can be drawn in exactly one way.
    """
    fleet: list[int] = [0] * len(places)
    taken, weight = 0, 1.0
    unexplained = hits
    while unexplained:
        cell = unexplained & -unexplained
        ways = [
            (ship, place)
            for ship, chosen in enumerate(fleet)
            if not chosen
            for place in places[ship]
            if place & cell and not place & taken
        ]
        if not ways:
            return None
        ship, place = numbers.choice(ways)
        weight *= len(ways)
        fleet[ship] = place
        taken |= place
        unexplained &= ~place
    for ship in sorted((ship for ship, place in enumerate(fleet) if not place), key=lambda ship: len(places[ship])):
        ways = [place for place in places[ship] if not place & (taken | hits)]
        if not ways:
            return None
        place = numbers.choice(ways)
        weight *= len(ways)
        fleet[ship] = place
        taken |= place
    return weight, tuple(fleet)
