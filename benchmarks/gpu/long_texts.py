"""Rows for SFT of which each fills the context: `python benchmarks/gpu/long_texts.py OUTPUT.parquet`."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

ROWS, WORDS = 1024, 3000
VOCABULARY = ["move", "board", "white", "black", "row", "column", "the", "of", "to", "and", "plays", "takes", "wins"]


def main() -> None:
    source = random.Random(0)
    rows = {
        "prompt": [f"Tell game {number}." for number in range(ROWS)],
        "response": [" ".join(source.choices(VOCABULARY, k=WORDS)) for _ in range(ROWS)],
    }
    pq.write_table(pa.table(rows), Path(sys.argv[1]))


if __name__ == "__main__":
    main()
