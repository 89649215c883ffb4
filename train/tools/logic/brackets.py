"""What the bracket families share: pairs, and random openings of a well-formed sequence."""

from __future__ import annotations

from random import Random

PAIRS = {"(": ")", "[": "]", "{": "}", "<": ">"}
OPENS = {close: open_ for open_, close in PAIRS.items()}


def random_prefix(rng: Random, length: int, depth: int, kinds: str) -> str:
    """`length` brackets of these kinds that can be completed, and lack exactly `depth` closing ones.

    length - depth must be even and at least 0.
    """
    text, stack = [], []
    for position in range(length):
        left = length - position
        must_open = not stack or depth - len(stack) == left
        must_close = len(stack) - depth == left
        if must_open or (not must_close and rng.random() < 0.5):
            bracket = rng.choice(kinds)
            stack.append(bracket)
            text.append(bracket)
        else:
            text.append(PAIRS[stack.pop()])
    return "".join(text)


def open_brackets(text: str) -> str:
    """The brackets still open at the end, outermost first. Raises ValueError where one closes what is not open."""
    stack: list[str] = []
    for bracket in text:
        if bracket in PAIRS:
            stack.append(bracket)
        elif not stack or PAIRS[stack.pop()] != bracket:
            raise ValueError(f"{bracket!r} closes nothing in {text[:200]!r}")
    return "".join(stack)


def closing(text: str) -> str:
    """What completes the text."""
    return "".join(PAIRS[bracket] for bracket in reversed(open_brackets(text)))
