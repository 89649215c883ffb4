"""Input for the converters' benchmark and tests: the shapes of real data, of any size, the same on every machine.

    write_trajectories(Path("calls.parquet"), 1e9, every_call=True)     # SWE-Synth: a row for each call of the model
    write_tasks(Path("tasks.jsonl"), 1e9)                               # {"prompt": …, "answer": …, "metadata": …}

Text is made of words of skewed frequency, so that it compresses about as much as code does.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

TURN = pa.struct([("role", pa.string()), ("content", pa.string())])
TRAJECTORIES = pa.schema(
    [
        ("instance_id", pa.string()),
        ("messages", pa.list_(TURN)),
        ("model_patch", pa.string()),
        ("run_name", pa.string()),
    ]
)
CORPUS_CHARS = 32_000_000
GROUP_CHARS = 48_000_000


class Words:
    """Pieces of one long made-up text."""

    def __init__(self, seed: int, chars: int = CORPUS_CHARS) -> None:
        self.random = random.Random(seed)
        letters = "etaoinsrhldcumfpgwybvkxjqz_"
        names = ["".join(self.random.choices(letters, k=self.random.randint(2, 11))) for _ in range(6000)]
        code = [
            "self.",
            "return",
            "def",
            "\n    ",
            "\n        ",
            "=",
            "(",
            ")",
            "import",
            "None",
            "if",
            "for",
            "in",
        ] * 40
        words = code + names
        weights = [1 / (rank + 10) for rank in range(len(words))]
        self.random.shuffle(words)
        self.text = " ".join(self.random.choices(words, weights, k=chars // 6))

    def piece(self, mean: int) -> str:
        """A text of 0.3 to 1.7 times so many characters."""
        size = int(mean * self.random.uniform(0.3, 1.7))
        start = self.random.randrange(len(self.text) - size)
        return self.text[start : start + size]


def trajectories(every_call: bool, seed: int = 0, words: Words | None = None) -> Iterator[dict[str, Any]]:
    """Rows without end: one for each call of the model, or one for each run."""
    words = words or Words(seed)
    system = words.piece(3000)
    instance = 0
    while True:
        instance += 1
        task = words.piece(2500)
        for run in range(words.random.randint(1, 3)):
            messages = [{"role": "system", "content": system}, {"role": "user", "content": task}]
            patch = f"diff --git a/x.py b/x.py\n--- a/x.py\n+++ b/x.py\n{words.piece(1500)}\n"
            calls = words.random.randint(4, 16)
            for call in range(calls):
                messages = [*messages, {"role": "assistant", "content": words.piece(700)}]
                if every_call or call == calls - 1:
                    names = {"instance_id": f"repo__project-{instance}", "run_name": f"run-{run}"}
                    yield {**names, "messages": messages, "model_patch": patch}
                messages = [*messages, {"role": "user", "content": words.piece(3000)}]


def write_trajectories(path: Path, size: float, every_call: bool, seed: int = 0) -> None:
    """A parquet file of about `size` bytes."""
    rows: list[dict[str, Any]] = []
    chars = 0
    with pq.ParquetWriter(path, TRAJECTORIES) as writer:
        for row in trajectories(every_call, seed):
            rows.append(row)
            chars += sum(len(message["content"]) for message in row["messages"])
            if chars >= min(GROUP_CHARS, size / 4):
                writer.write_table(pa.Table.from_pylist(rows, TRAJECTORIES))
                rows, chars = [], 0
                if path.stat().st_size >= size:
                    return


def write_tasks(path: Path, size: float, seed: int = 0) -> None:
    """A file of JSON lines of about `size` bytes, a task with its answer in each."""
    words = Words(seed)
    written = number = 0
    with path.open("w", encoding="utf-8") as file:
        while written < size:
            number += 1
            row = {
                "prompt": words.piece(2500),
                "answer": words.piece(900),
                "task_type": f"kind-{words.random.randrange(8)}",
                "metadata": {"level": words.random.randrange(10), "source": f"file-{number % 97}.txt"},
            }
            written += file.write(json.dumps(row) + "\n")
