"""The axes of a chart, and what a picture is made of: inline SVG, whose colours come from the page's style.

frame = Frame((1, 18), (0.0, 0.6), width=760, height=300)
svg(760, 300, [*frame.axes("training step"), f'<circle cx="{frame.x(3)}" cy="{frame.y(0.4)}" r="3"/>'], "reward")
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from report_parts.numbers import number
from report_parts.page import text

LEFT, RIGHT, TOP, BOTTOM = 44, 14, 12, 38
Series = Sequence[tuple[float, float]]


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers between low and high, roughly `about` of them.

    >>> ticks(0.0, 1.0)
    [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    """
    if not high > low:
        return [low]
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(index * step, 12) for index in range(first, last + 1)]


def log_ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Powers of ten between low and high, thinned out to `about`; with others between them where they are few."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    powers = [power for power in (10.0**exponent for exponent in range(first, last + 1)) if low <= power <= high]
    if len(powers) >= 3:
        return powers[:: math.ceil(len(powers) / about)]
    factors = (1, 3) if len(powers) == 2 else (1, 2, 5)
    between = (10.0**exponent * factor for exponent in range(first, last + 1) for factor in factors)
    return [tick for tick in between if low <= tick <= high]


@dataclass(frozen=True)
class Frame:
    """Where a value lies in a picture."""

    xs: tuple[float, float]
    """The least and the largest x: the two differ."""
    ys: tuple[float, float]
    width: int
    height: int
    log: bool = False
    """The y axis is logarithmic: all y are above 0."""

    def x(self, value: float) -> float:
        low, high = self.xs
        return LEFT + (value - low) / (high - low) * (self.width - LEFT - RIGHT)

    def y(self, value: float) -> float:
        low, high = map(math.log10, self.ys) if self.log else self.ys
        value = math.log10(value) if self.log else value
        return self.height - BOTTOM - (value - low) / (high - low) * (self.height - TOP - BOTTOM)

    def axes(
        self, x_label: str, tick_count: int = 5, x_ticks: int | None = None, style: Callable[[float], str] = number
    ) -> list[str]:
        """Grid lines with their numbers, whole numbers below the x axis, its line and label."""
        parts = []
        for y in (log_ticks if self.log else ticks)(*self.ys, tick_count):
            py, right = self.y(y), self.width - RIGHT
            parts.append(f'<line class="grid" x1="{LEFT}" x2="{right}" y1="{py:.1f}" y2="{py:.1f}"/>')
            parts.append(f'<text x="{LEFT - 7}" y="{py + 4:.1f}" text-anchor="end">{style(y)}</text>')
        for x in (x for x in ticks(*self.xs, x_ticks or max(2, self.width // 110)) if x == int(x)):
            middle = f'<text x="{self.x(x):.1f}" y="{self.height - BOTTOM + 17}" text-anchor="middle">'
            parts.append(f"{middle}{style(x)}</text>")
        return [*parts, x_axis(self.width, self.height, x_label)]

    def path(self, points: Sequence[tuple[float, float]]) -> str:
        return " ".join(f"{self.x(x):.1f},{self.y(y):.1f}" for x, y in points)


def smooth(points: Series, widest: int | None = None) -> list[tuple[float, float]]:
    """A moving mean over a sixth of the points, centred; at the ends it has fewer, so it never overstates a rise.

    `widest`: the most points of one mean.
    """
    half = max(1, len(points) // 12)
    if widest:
        half = min(half, widest // 2)
    values = [y for _, y in points]
    result = []
    for index, (x, _) in enumerate(points):
        around = values[max(0, index - half) : index + half + 1]
        result.append((x, sum(around) / len(around)))
    return result


def x_axis(width: int, height: int, label: str) -> str:
    y, middle = height - BOTTOM, (LEFT + width - RIGHT) / 2
    return (
        f'<line class="axis" x1="{LEFT}" x2="{width - RIGHT}" y1="{y}" y2="{y}"/>'
        f'<text x="{middle}" y="{height - 5}" text-anchor="middle">{text(label)}</text>'
    )


def diamond(x: float, y: float, title: str, style: str = "validation", size: float = 6) -> str:
    corners = f"{x:.1f},{y - size:.1f} {x + size:.1f},{y:.1f} {x:.1f},{y + size:.1f} {x - size:.1f},{y:.1f}"
    return f'<polygon class="{style}" points="{corners}"><title>{text(title)}</title></polygon>'


def svg(width: int, height: int, parts: Sequence[str], label: str) -> str:
    return (
        f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" '
        f'aria-label="{text(label)}">{"".join(parts)}</svg>'
    )
