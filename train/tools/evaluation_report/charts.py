"""Small pictures for the report, as inline SVG text: colours come from the page's style, so they follow dark mode.

svg = line_chart([(1, 0.2), (2, 0.4)], validation=[(2, 0.5)], y_label="mean reward")
"""

from __future__ import annotations

from collections.abc import Sequence

from report_parts.frame import BOTTOM, LEFT, RIGHT, TOP, Frame, Series, diamond, smooth, svg, ticks, x_axis
from report_parts.numbers import number


def line_chart(
    points: Series,
    validation: Series = (),
    y_label: str = "",
    width: int = 760,
    height: int = 300,
    unit_range: bool = False,
    tick_count: int = 5,
) -> str:
    """Raw points, a smoothed line over them where there are at least five, and validation as diamonds.

    `unit_range`: the values lie in [0, 1], and the axis does not leave it.
    """
    everything = [*points, *validation]
    x_low, x_high = min(x for x, _ in everything), max(x for x, _ in everything)
    if x_low == x_high:
        x_low, x_high = x_low - 1, x_high + 1
    frame = Frame((x_low, x_high), _padded([y for _, y in everything], unit_range), width, height)
    parts = frame.axes("training step", tick_count)
    for x, y in points:
        title = f"step {number(x)}: {number(y)}"
        place = f'cx="{frame.x(x):.1f}" cy="{frame.y(y):.1f}"'
        parts.append(f'<circle class="raw" {place} r="3"><title>{title}</title></circle>')
    line = smooth(points) if len(points) >= 5 else points
    if len(line) > 1:
        parts.append(f'<polyline class="smoothed" points="{frame.path(line)}"/>')
    if len(validation) > 1:
        parts.append(f'<polyline class="validation-line" points="{frame.path(validation)}"/>')
    for x, y in validation:
        parts.append(diamond(frame.x(x), frame.y(y), f"validation at step {number(x)}: {number(y)}"))
    return svg(width, height, parts, f"{y_label} by training step")


def histogram(before: Sequence[float], after: Sequence[float], width: int = 760, height: int = 230) -> str:
    """How many tasks have which reward, in tenths of [0, 1], before and after side by side."""
    counts = [[0] * 10, [0] * 10]
    for row, values in zip(counts, (before, after), strict=True):
        for value in values:
            row[min(9, int(value * 10 + 1e-9))] += 1
    top = max(1, *counts[0], *counts[1])
    slot = (width - LEFT - RIGHT) / 10
    bar = slot * 0.36
    parts = []
    for y in (tick for tick in ticks(0, top, 4) if tick == int(tick)):
        py = height - BOTTOM - y / top * (height - TOP - BOTTOM)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{width - RIGHT}" y1="{py:.1f}" y2="{py:.1f}"/>')
        parts.append(f'<text x="{LEFT - 7}" y="{py + 4:.1f}" text-anchor="end">{number(y)}</text>')
    for index in range(10):
        x = LEFT + slot * (index + 0.5)
        for shift, name, row in ((-bar - 1, "before", counts[0]), (1, "after", counts[1])):
            size = row[index] / top * (height - TOP - BOTTOM)
            title = f"{index / 10:.1f} to {(index + 1) / 10:.1f}, {name}: {row[index]} tasks"
            parts.append(
                f'<rect class="{name}" x="{x + shift:.1f}" y="{height - BOTTOM - size:.1f}" width="{bar:.1f}" '
                f'height="{size:.1f}" rx="1.5"><title>{title}</title></rect>'
            )
    for index in range(0, 11, 2):
        x = LEFT + slot * index
        parts.append(f'<text x="{x:.1f}" y="{height - BOTTOM + 17}" text-anchor="middle">{index / 10:.1f}</text>')
    parts.append(x_axis(width, height, "reward of a task"))
    return svg(width, height, parts, "number of tasks by reward, before and after")


def whiskers(rows: Sequence[tuple[str, float, float | None, float | None]], width: int = 170) -> str:
    """Means with their intervals on one axis from 0 to 1: rows of (css class, mean, low, high)."""
    height = 13 * len(rows) + 5
    scale = width - 12
    parts = [
        f'<line class="grid" x1="{6 + scale * x}" x2="{6 + scale * x}" y1="1" y2="{height - 1}"/>' for x in (0, 0.5, 1)
    ]
    for index, (name, mean, low, high) in enumerate(rows):
        y = 9 + 13 * index
        if low is not None and high is not None:
            x1, x2 = 6 + scale * low, 6 + scale * high
            parts.append(f'<line class="whisker {name}" x1="{x1:.1f}" x2="{x2:.1f}" y1="{y}" y2="{y}"/>')
        parts.append(f'<circle class="{name}" cx="{6 + scale * mean:.1f}" cy="{y}" r="4.2"/>')
    label = "; ".join(f"{name} {number(mean)}" for name, mean, *_ in rows)
    return svg(width, height, parts, label)


def _padded(values: Sequence[float], unit_range: bool) -> tuple[float, float]:
    low, high = min(values), max(values)
    space = (high - low) * 0.12 or max(abs(high) * 0.1, 0.05)
    low, high = low - space, high + space
    return (max(0.0, low), min(1.0, high)) if unit_range else (low, high)
