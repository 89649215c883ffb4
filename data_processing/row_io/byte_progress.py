"""A progress bar in bytes on stderr; where stderr is a log file, a line every ten seconds."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def byte_progress(label: str, total: int) -> Iterator[Callable[[int], object]]:
    """Yields a function that takes the number of bytes done since its last call."""
    from tqdm import tqdm

    terminal = sys.stderr.isatty()
    with tqdm(
        desc=label,
        total=total,
        unit="B",
        unit_scale=True,
        mininterval=0.1 if terminal else 10,
        delay=0 if terminal else 10,  # a short run leaves nothing in a log
        file=sys.stderr,
    ) as bar:
        yield bar.update
