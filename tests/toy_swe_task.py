"""A task of software repair from nothing: a repository of two files with a bug, in a directory of repositories.

task = make_task(tmp_path)
task.row.problem_statement, task.repos, task.evaluator().evaluate(task.row, task.row.patch).resolved
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from sandbox.bubblewrap import Bubblewrap
from swe.evaluator import Evaluator
from swe.repos import RepoCache
from swe.rows import SweRow
from swe.test_runs import python_folders

PYTHON = Path(sys.executable)
CORE = """\
\"\"\"Numbers.\"\"\"


def clamp(x, lo, hi):
    if x < lo:
        return lo
    if x > hi:
        return lo
    return x
"""
TESTS = """\
from calc.core import clamp


def test_inside():
    assert clamp(2, 1, 3) == 2


def test_above():
    assert clamp(9, 1, 3) == 3
"""
PATCH = """\
diff --git a/calc/core.py b/calc/core.py
--- a/calc/core.py
+++ b/calc/core.py
@@ -5,5 +5,5 @@ def clamp(x, lo, hi):
     if x < lo:
         return lo
     if x > hi:
-        return lo
+        return hi
     return x
"""


@dataclass(frozen=True)
class Task:
    row: SweRow
    repos: RepoCache

    def evaluator(self) -> Evaluator:
        return Evaluator(Bubblewrap(python_folders(PYTHON)), self.repos, PYTHON)


def make_cache(directory: Path, number: int) -> Path:
    """A cache_dir with so many tasks, which differ by their name and text."""
    (directory / "repos").mkdir(parents=True)
    row = make_task(directory / "repos").row
    for index in range(number):
        text = f"{row.problem_statement} It was seen {index} times."
        task = replace(row, instance_id=f"toy__calc-{index}", problem_statement=text)
        (directory / f"task_{index}.json").write_text(json.dumps(task.to_dict()))
    return directory


def make_task(directory: Path) -> Task:
    """The repository has a second commit, with the bug mended: what no agent may see."""
    bare = directory / "toy__calc.git"
    tree = directory / "work"
    for name, text in {"calc/__init__.py": "", "calc/core.py": CORE, "tests/test_core.py": TESTS}.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(text)
    _git(tree, "init", "--quiet", "--initial-branch=main")
    _git(tree, "add", ".")
    _git(tree, "commit", "--quiet", "-m", "with the bug")
    base = _git(tree, "rev-parse", "HEAD")
    (tree / "calc/core.py").write_text(CORE.replace("hi:\n        return lo", "hi:\n        return hi"))
    _git(tree, "commit", "--quiet", "-am", "mended")
    _git(directory, "clone", "--quiet", "--bare", str(tree), str(bare))
    row = SweRow(
        instance_id="toy__calc-1",
        repo="toy/calc",
        base_commit=base,
        problem_statement="clamp(9, 1, 3) gives 1, not 3.",
        patch=PATCH,
        test_patch="",
        fail_to_pass=("tests/test_core.py::test_above",),
        pass_to_pass=("tests/test_core.py::test_inside",),
    )
    return Task(row, RepoCache(directory, fetch=False))


def _git(folder: Path, *arguments: str) -> str:
    people = ("AUTHOR", "COMMITTER")
    who = {f"GIT_{role}_{what}": "someone@example.org" for role in people for what in ("NAME", "EMAIL")}
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "GIT_CONFIG_NOSYSTEM": "1", **who}
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout.strip()
