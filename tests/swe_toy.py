"""Tasks of software repair made here and now: a small package in a git repository, each commit with bugs of its own.

    cache_dir = toy_tasks(tmp_path, 4)      # task_0.json … task_3.json, repos/toy__calc.git
    adapter = get_env_adapter("swe-synth", {"cache_dir": str(cache_dir), "use_cache_only": True})

The first tasks have one bug, later ones two. They are the same wherever and whenever they are made, hashes included.
"""

from __future__ import annotations

import atexit
import functools
import itertools
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REPO = "toy/calc"

SOURCES = {
    "calc/__init__.py": '"""Little calculations."""\n',
    "calc/ranges.py": '''"""Numbers and the ranges that they are in."""


def clamp(x, lo, hi):
    """x, or the nearest end of the range."""
    if x < lo:
        return lo
    if x > hi:
        return hi
    return x


def overlap(a, b):
    """The length that two ranges share."""
    return max(0, min(a[1], b[1]) - max(a[0], b[0]))


def steps(start, stop, width):
    """The numbers from start up to, and without, stop."""
    found = []
    while start < stop:
        found.append(start)
        start += width
    return found
''',
    "calc/stats.py": '''"""What a list of numbers is like."""


def mean(numbers):
    return sum(numbers) / len(numbers)


def median(numbers):
    ordered = sorted(numbers)
    middle = len(ordered) // 2
    if len(ordered) % 2:
        return ordered[middle]
    return mean(ordered[middle - 1 : middle + 1])


def spread(numbers):
    return max(numbers) - min(numbers)


class Tally:
    """Counts how often things were seen."""

    def __init__(self):
        self.counts = {}

    def see(self, thing):
        self.counts[thing] = self.counts.get(thing, 0) + 1

    def most_seen(self):
        """The thing seen most, the earliest of several."""
        return max(self.counts, key=self.counts.get)
''',
    "calc/words.py": '''"""Words and letters."""

VOWELS = "aeiou"


def title(text):
    return " ".join(word[:1].upper() + word[1:] for word in text.split())


def is_palindrome(text):
    letters = [letter.lower() for letter in text if letter.isalnum()]
    return letters == letters[::-1]


def vowels(text):
    return sum(letter in VOWELS for letter in text.lower())


def shorten(text, length):
    """The text, or its beginning and three dots; never longer than length."""
    if len(text) <= length:
        return text
    return text[: length - 3] + "..."
''',
    "calc/money.py": '''"""Amounts in cents."""


def split_bill(cents, people):
    """Shares that add up, the larger ones first."""
    share, rest = divmod(cents, people)
    return [share + 1] * rest + [share] * (people - rest)


def discounted(cents, percent):
    return cents - cents * percent // 100


def shown(cents):
    return f"{cents // 100}.{cents % 100:02d}"
''',
}

TESTS = {
    "tests/test_ranges.py": """from calc.ranges import clamp, overlap, steps


def test_clamp_keeps_what_is_inside():
    assert clamp(2, 0, 3) == 2


def test_clamp_below():
    assert clamp(-4, 0, 3) == 0


def test_clamp_above():
    assert clamp(5, 0, 3) == 3


def test_overlap():
    assert overlap((0, 5), (3, 9)) == 2


def test_overlap_of_ranges_apart():
    assert overlap((0, 1), (3, 4)) == 0


def test_steps():
    assert steps(0, 6, 2) == [0, 2, 4]
""",
    "tests/test_stats.py": """import pytest

from calc.stats import Tally, mean, median, spread


def test_mean():
    assert mean([1, 2, 6]) == 3


@pytest.mark.parametrize(("numbers", "wanted"), [([3, 1, 2], 2), ([4, 1, 2, 3], 2.5)])
def test_median(numbers, wanted):
    assert median(numbers) == wanted


def test_spread():
    assert spread([4, 9, 2]) == 7


class TestTally:
    def test_most_seen(self):
        tally = Tally()
        for thing in "abcb":
            tally.see(thing)
        assert tally.most_seen() == "b"

    def test_counts(self):
        tally = Tally()
        tally.see("a")
        tally.see("a")
        assert tally.counts == {"a": 2}
""",
    "tests/test_words.py": """from calc.words import is_palindrome, shorten, title, vowels


def test_title():
    assert title("the  last word") == "The Last Word"


def test_palindrome():
    assert is_palindrome("Never odd, or even")


def test_no_palindrome():
    assert not is_palindrome("never")


def test_vowels():
    assert vowels("A tree") == 3


def test_shorten():
    assert shorten("a long sentence", 9) == "a long..."


def test_shorten_leaves_what_fits():
    assert shorten("a word", 6) == "a word"
""",
    "tests/test_money.py": """from calc.money import discounted, shown, split_bill


def test_split_bill():
    assert split_bill(1000, 3) == [334, 333, 333]


def test_discounted():
    assert discounted(2000, 15) == 1700


def test_shown():
    assert shown(1205) == "12.05"
""",
}


@dataclass(frozen=True)
class Bug:
    file: str
    right: str
    wrong: str
    words: str
    tests: tuple[str, ...]


BUGS = [
    Bug(
        "calc/ranges.py",
        "        return hi\n",
        "        return lo\n",
        "clamp(5, 0, 3) returns 0, and it should return 3.",
        ("tests/test_ranges.py::test_clamp_above",),
    ),
    Bug(
        "calc/stats.py",
        "    middle = len(ordered) // 2\n",
        "    middle = len(ordered) // 2 - 1\n",
        "The median of [3, 1, 2] is given as 1; it is 2.",
        ("tests/test_stats.py::test_median[numbers0-2]", "tests/test_stats.py::test_median[numbers1-2.5]"),
    ),
    Bug(
        "calc/words.py",
        "    return letters == letters[::-1]\n",
        "    return letters != letters[::-1]\n",
        'is_palindrome("Never odd, or even") is False.',
        ("tests/test_words.py::test_palindrome", "tests/test_words.py::test_no_palindrome"),
    ),
    Bug(
        "calc/money.py",
        "[share + 1] * rest",
        "[share] * rest",
        "Three people who split 10.00 pay 9.99 together: the rest of the division is lost.",
        ("tests/test_money.py::test_split_bill",),
    ),
    Bug(
        "calc/stats.py",
        "self.counts.get(thing, 0) + 1",
        "self.counts.get(thing, 1)",
        "A Tally that has seen a thing twice says that it was seen once.",
        ("tests/test_stats.py::TestTally::test_most_seen", "tests/test_stats.py::TestTally::test_counts"),
    ),
    Bug(
        "calc/ranges.py",
        "    while start < stop:\n",
        "    while start <= stop:\n",
        "steps(0, 6, 2) ends with 6, though stop should be left out.",
        ("tests/test_ranges.py::test_steps",),
    ),
    Bug(
        "calc/words.py",
        "for letter in text.lower()",
        "for letter in text",
        "Capital vowels are not counted by vowels().",
        ("tests/test_words.py::test_vowels",),
    ),
    Bug(
        "calc/money.py",
        "cents % 100:02d",
        "cents % 100",
        'shown(1205) is "12.5" where "12.05" is right.',
        ("tests/test_money.py::test_shown",),
    ),
    Bug(
        "calc/ranges.py",
        "    return max(0, min(a[1], b[1]) - max(a[0], b[0]))\n",
        "    return min(a[1], b[1]) - max(a[0], b[0])\n",
        "overlap() of two ranges that do not touch is negative.",
        ("tests/test_ranges.py::test_overlap_of_ranges_apart",),
    ),
    Bug(
        "calc/words.py",
        "text[: length - 3]",
        "text[:length]",
        'shorten("a long sentence", 9) is longer than 9 letters.',
        ("tests/test_words.py::test_shorten",),
    ),
    Bug(
        "calc/money.py",
        "    return cents - cents * percent // 100\n",
        "    return cents * percent // 100\n",
        "discounted() returns the discount and not the price that is left.",
        ("tests/test_money.py::test_discounted",),
    ),
    Bug(
        "calc/stats.py",
        "    return max(numbers) - min(numbers)\n",
        "    return max(numbers) + min(numbers)\n",
        "The spread of [4, 9, 2] should be 7.",
        ("tests/test_stats.py::test_spread",),
    ),
]
ALL_TESTS = [
    *(f"tests/test_ranges.py::test_{name}" for name in ("clamp_keeps_what_is_inside", "clamp_below", "clamp_above")),
    *(f"tests/test_ranges.py::test_{name}" for name in ("overlap", "overlap_of_ranges_apart", "steps")),
    "tests/test_stats.py::test_mean",
    *(f"tests/test_stats.py::test_median[{name}]" for name in ("numbers0-2", "numbers1-2.5")),
    "tests/test_stats.py::test_spread",
    *(f"tests/test_stats.py::TestTally::test_{name}" for name in ("most_seen", "counts")),
    *(f"tests/test_words.py::test_{name}" for name in ("title", "palindrome", "no_palindrome", "vowels")),
    *(f"tests/test_words.py::test_{name}" for name in ("shorten", "shorten_leaves_what_fits")),
    *(f"tests/test_money.py::test_{name}" for name in ("split_bill", "discounted", "shown")),
]
CHOICES = [*((bug,) for bug in BUGS), *itertools.combinations(BUGS, 2)]
"""The bugs of each task."""


def toy_tasks(directory: Path, count: int) -> Path:
    """Make `count` tasks (at most 78) in `directory`/tasks, and return that: a cache_dir with its repository."""
    if not 0 < count <= len(CHOICES):
        raise ValueError(f"{count} tasks: there are 1 to {len(CHOICES)}")
    cache_dir, tree = directory / "tasks", directory / "calc"
    for path, text in {**SOURCES, **TESTS}.items():
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).write_text(text)
    git("init", "--quiet", "--initial-branch=main", cwd=tree)
    right = _commit(tree, "The package")
    cache_dir.mkdir(parents=True, exist_ok=True)
    for number, bugs in enumerate(CHOICES[:count]):
        row = _row(tree, number, bugs, right)
        (cache_dir / f"task_{number}.json").write_text(json.dumps(row, indent=1))
    git("clone", "--quiet", "--bare", str(tree), str(cache_dir / "repos/toy__calc.git"), cwd=directory)
    shutil.rmtree(tree)
    return cache_dir


@functools.cache
def shared_toy_tasks(count: int) -> Path:
    """The same tasks for all tests of this process, deleted at its end."""
    directory = Path(tempfile.mkdtemp(prefix="swe-toy-"))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    return toy_tasks(directory, count)


class ToySettings(Mapping[str, Any]):
    """Settings of the environment swe-synth with these tasks, which are made when the settings are first read."""

    def __init__(self, count: int, **others: Any) -> None:
        self.count, self.others = count, others

    def _settings(self) -> dict[str, Any]:
        return {"cache_dir": str(shared_toy_tasks(self.count)), "use_cache_only": True, **self.others}

    def __getitem__(self, key: str) -> Any:
        return self._settings()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._settings())

    def __len__(self) -> int:
        return len(self._settings())


def _row(tree: Path, number: int, bugs: tuple[Bug, ...], right: str) -> dict[str, object]:
    git("checkout", "--quiet", "-b", f"task-{number}", right, cwd=tree)
    for bug in bugs:
        text = (tree / bug.file).read_text()
        assert text.count(bug.right) == 1, bug
        (tree / bug.file).write_text(text.replace(bug.right, bug.wrong))
    base = _commit(tree, "Bugs")
    failing = [test for bug in bugs for test in bug.tests]
    return {
        "instance_id": f"toy__calc-{number}",
        "repo": REPO,
        "base_commit": base,
        "problem_statement": "\n".join(bug.words for bug in bugs),
        "hints_text": "\n".join(f"The line is to be {bug.right.strip()}" for bug in bugs),
        "patch": git("diff", base, right, cwd=tree),
        "test_patch": "",
        "FAIL_TO_PASS": json.dumps(failing),
        "PASS_TO_PASS": json.dumps([test for test in ALL_TESTS if test not in failing]),
        "pythonpath": ["."],
        "mutation": [bug.wrong for bug in bugs],
    }


def _commit(tree: Path, message: str) -> str:
    git("add", ".", cwd=tree)
    git("commit", "--quiet", "-m", message, cwd=tree)
    return git("rev-parse", "HEAD", cwd=tree).strip()


def git(*arguments: str, cwd: Path) -> str:
    """What git prints, with nobody's settings, and the same author and date always."""
    environment = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "GIT_CONFIG_NOSYSTEM": "1"}
    for who in ("AUTHOR", "COMMITTER"):
        environment |= {f"GIT_{who}_NAME": "A", f"GIT_{who}_EMAIL": "a@example.org"}
        environment[f"GIT_{who}_DATE"] = "2026-01-01T00:00:00Z"
    done = subprocess.run(["git", *arguments], cwd=cwd, env=environment, check=True, capture_output=True, text=True)
    return done.stdout
