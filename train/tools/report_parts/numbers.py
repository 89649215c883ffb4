"""Numbers as the text of a report: short, with a sign, with an interval, as a time."""

from __future__ import annotations

from intervals import Interval


def number(value: float) -> str:
    """Short: three significant digits, no exponent where it can be helped."""
    if value == int(value) and abs(value) < 1e6:
        return str(int(value))
    return f"{value:.3g}"


def axis_number(value: float) -> str:
    """At most seven characters, to stand beside an axis: 12k, 0.25, 5e-4."""
    size = abs(value)
    for power, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if size >= power * (10 if unit == "k" else 1):
            return f"{value / power:.4g}{unit}"
    if 0 < size < 1e-3:
        digits, _, exponent = f"{value:.1e}".partition("e")
        return f"{digits.removesuffix('.0')}e{int(exponent)}"
    return f"{value:.4g}" if size >= 1e-2 else f"{value:.3g}"


def signed(value: float) -> str:
    return f"{value:+.3f}".replace("-", "−")


def signed_short(value: float) -> str:
    """For what is no share: four significant digits."""
    return f"{value:+.4g}".replace("-", "−")


def signed_interval(gain: Interval) -> str:
    if gain.low is None or gain.high is None:
        return f"{signed(gain.mean)} (one task)"
    return f"{signed(gain.mean)} [{signed(gain.low)}, {signed(gain.high)}]"


def duration(seconds: float) -> str:
    """'8.2 s', '3 min 05 s', '2 h 04 min'."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
