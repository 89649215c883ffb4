"""Programs for tests of the environment `trace`: some that make tasks, and one of every kind that does not."""

from __future__ import annotations

import functools
import json
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

LOOP = """def total(n):
    s = 0
    for i in range(n):
        if i % {a} == 1:
            s += i * {b}
        else:
            s -= 1
    return s


x = total({n})
print("total is", x)
"""
WORDS = """words = ["alpha", "be", "gamma{a}", "d"]
found = {{}}
for word in words:
    key = len(word) * {b}
    found[key] = word[::-1]
print(sorted(found.items()))
"""
COLLATZ = """n = int(input())
while n > 1:
    n = n // 2 if n % 2 == 0 else 3 * n + 1
    rest = n % {a}
print("end", rest)
"""
USELESS = {
    "no program": "x = (",
    "it fails": "x = 1\nprint(1 / 0)",
    "it never ends": "while True:\n    pass",
    "it ends with a status": "print('no')\nraise SystemExit(3)",
    "it prints nothing": "x = 1 if False else 2\ny = [x] and None",
    "its output is in it": "print('hello world')",
    "it prints too much": "for n in range(100000):\n    print(n)",
    "the clock": "import time\nprint(time.time_ns())",
    "an address": "print(object())",
    "the order of a set": "print({str(n) for n in range(50)})",
    "chance": "import random\nprint(random.random())",
    "it ends its parent": "import os\nos.kill(os.getppid(), 9)",
    "it ends everything": "import os\nos.kill(-1, 9)",
    "the network": "import socket\nsocket.create_connection(('192.0.2.1', 80), 1)\nprint('reached')",
}


def good_programs(count: int) -> list[dict[str, str]]:
    shapes = (LOOP, WORDS, COLLATZ)
    return [
        {"code": shapes[k % 3].format(a=k % 7 + 2, b=k % 5 + 1, n=k + 4), "input": str(3 + 2 * k)} for k in range(count)
    ]


def write_programs(path: Path, rows: list[dict[str, str]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


class ProgramSettings(Mapping[str, Any]):
    """Settings of an adapter on a file that is written when they are first read."""

    def __init__(self, count: int) -> None:
        self.count = count

    @functools.cached_property
    def _settings(self) -> dict[str, Any]:
        folder = tempfile.mkdtemp(prefix="trace-programs-")
        return {"programs": str(write_programs(Path(folder) / "programs.jsonl", good_programs(self.count)))}

    def __getitem__(self, key: str) -> Any:
        return self._settings[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._settings)

    def __len__(self) -> int:
        return len(self._settings)
