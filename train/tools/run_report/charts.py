"""Pictures of a run, or of two over one another, of any number of steps: inline SVG as in report_parts/frame.py.

    curves([Curve("a-run", "run1", [(1, 0.2), (2, 0.4)])], "mean reward")
    stacked([Bar(1, 10, {"generate": 12.0, "update": 30.0})], ["generate", "update"], "seconds of a step")

A curve of more than MOST_POINTS is drawn with the lowest and the highest value of each stretch of steps, so no spike is
lost; the line through it is a moving mean of all values.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean, median

from report_parts.frame import BOTTOM, LEFT, RIGHT, Frame, Series, diamond, smooth, svg
from report_parts.numbers import axis_number, number
from report_parts.page import text

MOST_POINTS = 240
MOST_DOTS = 60
"""Above it a curve has no dots; some places of its line still tell their value to the mouse."""
PLACES = 24
WIDEST_MEAN = 101
"""The most steps in a moving mean: at 10,000 steps it is a hundredth of the picture."""
MOST_BARS = 60


@dataclass(frozen=True)
class Curve:
    name: str
    style: str
    """The CSS class that gives the colour: run1, run2 …"""
    points: Series
    marks: Sequence[tuple[float, float, float | None, float | None]] = ()
    """Few and apart, such as validations: (step, value, low, high), the last two None where there is no interval."""
    dashed: bool = False


@dataclass(frozen=True)
class Bar:
    first: int
    last: int
    """The steps that it stands for."""
    parts: dict[str, float] = field(default_factory=dict)


def thinned(points: Series, most: int = MOST_POINTS) -> list[tuple[float, float]]:
    """At most `most` of the points, in their order: the lowest and the highest of each stretch, and both ends."""
    count = len(points)
    if count <= most:
        return list(points)
    buckets = max(1, (most - 2) // 2)
    kept, value = {0, count - 1}, [y for _, y in points].__getitem__
    for bucket in range(buckets):
        inside = range(bucket * count // buckets, (bucket + 1) * count // buckets)
        kept.add(min(inside, key=value))
        kept.add(max(inside, key=value))
    return [points[index] for index in sorted(kept)]


def moving_mean(points: Series) -> list[tuple[float, float]]:
    """`smooth` over at most WIDEST_MEAN steps; of a long series at evenly spaced steps alone, where it is drawn."""
    count = len(points)
    if count <= 2 * MOST_POINTS:
        return smooth(points, WIDEST_MEAN) if count >= 5 else list(points)
    half, values = WIDEST_MEAN // 2, [y for _, y in points]
    places = [round(each * (count - 1) / (MOST_POINTS - 1)) for each in range(MOST_POINTS)]
    return [(points[place][0], fmean(values[max(0, place - half) : place + half + 1])) for place in places]


def curves(
    lines: Sequence[Curve],
    label: str,
    width: int = 360,
    height: int = 170,
    unit_range: bool = False,
    tick_count: int = 4,
) -> str:
    """The lines over one another. '' where none has a point.

    `unit_range`: the values lie in [0, 1], and the axis does not leave it. The axis is logarithmic where a few values
    would flatten all others (`is_log`).
    """
    xs = [x for line in lines for x, *_ in (*line.points, *line.marks)]
    ys = [y for line in lines for _, y, *_ in (*line.points, *line.marks)]
    if not xs:
        return ""
    ends = [end for line in lines for mark in line.marks for end in mark[2:] if end is not None]
    log = is_log(lines)
    x_low, x_high = (min(xs), max(xs)) if min(xs) < max(xs) else (min(xs) - 1, max(xs) + 1)
    frame = Frame((x_low, x_high), y_range([*ys, *ends], unit_range, log), width, height, log)
    parts = frame.axes("training step", tick_count, max(4, width // 80), axis_number)
    for line in lines:
        parts += _curve(frame, line, several=len(lines) > 1)
    for line in lines:
        parts += _marks(frame, line, several=len(lines) > 1)
    return svg(width, height, parts, f"{label} by training step")


def is_log(lines: Sequence[Curve]) -> bool:
    """Whether the y axis is logarithmic: all values above 0 and the highest over 50 times the middle one."""
    ys = [y for line in lines for _, y in line.points]
    ends = [y for line in lines for mark in line.marks for y in mark[1:] if y is not None]
    return bool(ys) and min([*ys, *ends]) > 0 and max(ys) > 50 * median(ys)


def y_range(values: Sequence[float], unit_range: bool = False, log: bool = False) -> tuple[float, float]:
    """The axis for the values, with some space; it does not pass 0 where no value does."""
    low, high = min(values), max(values)
    if log:
        return low / 1.5, high * 1.5
    space = (high - low) * 0.1 or abs(high) * 0.1 or 0.05
    padded = (low - space if low < 0 else max(0.0, low - space)), (high + space if high > 0 else min(0.0, high + space))
    if padded[0] == padded[1]:
        padded = (0.0, 1.0)  # nothing but zeros
    return (max(0.0, padded[0]), min(1.0, padded[1])) if unit_range else padded


def _curve(frame: Frame, line: Curve, several: bool) -> list[str]:
    points, parts = line.points, []
    if not points:
        return []
    name = f"{line.name}, " if several else ""
    style = text(line.style)
    many = len(points) > MOST_DOTS
    if many:
        parts.append(f'<polyline class="{style} noise" points="{frame.path(thinned(points))}"/>')
    mean = moving_mean(points)
    if len(mean) > 1:
        dashes = " dashed" if line.dashed else ""
        parts.append(f'<polyline class="{style} curve{dashes}" points="{frame.path(thinned(mean))}"/>')
    shown = [mean[round(each * (len(mean) - 1) / (PLACES - 1))] for each in range(PLACES)] if many else points
    kind = "place" if many else f"{style} dot"
    what = f"{name}mean around step" if many else f"{name}step"
    for x, y in shown:
        title = text(f"{what} {number(x)}: {number(y)}")
        place = f'cx="{frame.x(x):.1f}" cy="{frame.y(y):.1f}"'
        parts.append(f'<circle class="{kind}" {place} r="{6 if many else 2.4}"><title>{title}</title></circle>')
    return parts


def _marks(frame: Frame, line: Curve, several: bool) -> list[str]:
    parts = []
    style = text(line.style) if several else "validation"
    line_style = f"{style} mark-line" if several else "validation-line"
    marks = list(line.marks)
    if len(marks) > 1:
        parts.append(f'<polyline class="{line_style}" points="{frame.path(thinned([mark[:2] for mark in marks]))}"/>')
    most = MOST_DOTS if frame.width > 500 else MOST_DOTS // 3
    if len(marks) > most:
        kept = {x for x, _ in thinned([mark[:2] for mark in marks], most)}
        marks = [mark for mark in marks if mark[0] in kept]
    name = f"{line.name}, validation" if several else "validation"
    for x, y, low, high in marks:
        title = f"{name} at step {number(x)}: {number(y)}"
        if low is not None and high is not None:
            title += f", 95 % interval {number(low)} to {number(high)}"
            ends = f'x1="{frame.x(x):.1f}" x2="{frame.x(x):.1f}" y1="{frame.y(low):.1f}" y2="{frame.y(high):.1f}"'
            parts.append(f'<line class="{style} reach" {ends}/>')
        parts.append(diamond(frame.x(x), frame.y(y), title, f"{style} mark", 5 if frame.width > 500 else 3.5))
    return parts


def stacked(bars: Sequence[Bar], names: Sequence[str], label: str, width: int = 760, height: int = 260) -> str:
    """Bars of parts on one another, in the order of `names`; the n-th has the CSS class part<n>. '' without bars."""
    if not bars or not any(sum(bar.parts.values()) > 0 for bar in bars):
        return ""
    low, high = bars[0].first - 0.5, bars[-1].last + 0.5
    top = max(sum(bar.parts.values()) for bar in bars)
    frame = Frame((low, high), (0.0, top * 1.05), width, height)
    parts = frame.axes("training step", 4, style=axis_number)
    gap = min(2.0, (width - LEFT - RIGHT) / len(bars) * 0.15)
    for bar in bars:
        left, right, below = frame.x(bar.first - 0.5), frame.x(bar.last + 0.5), 0.0
        steps = f"step {bar.first}" if bar.first == bar.last else f"steps {bar.first} to {bar.last}"
        for index, name in enumerate(names):
            seconds = bar.parts.get(name, 0.0)
            if seconds <= 0:
                continue
            y_high, y_low = frame.y(below + seconds), frame.y(below)
            below += seconds
            if y_low - y_high < 0.05:
                continue  # nothing that could be seen
            place = f'x="{left + gap / 2:.1f}" y="{y_high:.1f}" width="{right - left - gap:.1f}"'
            title = text(f"{steps}, {name}: {number(seconds)} s")
            parts.append(
                f'<rect class="part{index}" {place} height="{y_low - y_high:.1f}"><title>{title}</title></rect>'
            )
    parts.append(f'<line class="axis" x1="{LEFT}" x2="{width - RIGHT}" y1="{height - BOTTOM}" y2="{height - BOTTOM}"/>')
    return svg(width, height, parts, label)


def as_bars(seconds: dict[int, dict[str, float]], most: int = MOST_BARS) -> list[Bar]:
    """Step → part → seconds, as at most `most` bars of equal numbers of steps: the mean of each."""
    steps = sorted(seconds)
    count = min(most, len(steps))
    bars = []
    for index in range(count):
        inside = steps[index * len(steps) // count : (index + 1) * len(steps) // count]
        names = {name for step in inside for name in seconds[step]}
        means = {name: sum(seconds[step].get(name, 0.0) for step in inside) / len(inside) for name in names}
        bars.append(Bar(inside[0], inside[-1], means))
    return bars
