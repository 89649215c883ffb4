"""Tasks from a repository's history: a commit that changes code and tests is taken apart.

The row's base_commit is the commit's parent, as it is in the history; patch is what the commit does to the code, and
test_patch what it does to the tests. What else it changes, such as a changelog, is left out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from env_adapter import SettingsError
from swe.patches import PatchError, apply_patch, patched_paths
from swe_tasks.bench import Bench, Trial, split_tests
from swe_tasks.git_commands import diff_between, git, line
from swe_tasks.layout import Layout, find_layout, is_test
from swe_tasks.statements import find_failures, write_statement

MAX_FILES = 5
"""Of code that a commit changes: more is a rewrite."""
MIN_QUOTE = 8
"""Characters: a shorter line, such as `else:`, tells nothing."""


@dataclass(frozen=True)
class Commit:
    hash: str
    parent: str


@dataclass(frozen=True)
class Options:
    """What the user said of the layout."""

    source_dirs: tuple[str, ...] = ()
    tests: tuple[str, ...] = ()
    pythonpath: tuple[str, ...] = ()

    def layout(self, bench: Bench, commit: str) -> Layout | None:
        """Of a commit; None where it has no package or no tests."""
        try:
            paths = bench.repo_cache.paths(bench.repo, commit)
            return find_layout(paths, self.source_dirs, self.tests, self.pythonpath)
        except SettingsError:
            return None


def list_commits(bench: Bench) -> list[Commit]:
    """Commits with one parent that change Python code and tests, the newest first."""
    log = git(
        ["log", "--no-merges", "--no-renames", "--name-only", "-z", "--format=%x01%H %P", bench.commit], bench.git_dir
    )
    found = []
    for entry in log.decode(errors="replace").split("\x01")[1:]:
        head, _, names = entry.partition("\0")
        hashes = head.split()
        python = [name.strip() for name in names.split("\0") if name.strip().endswith(".py")]
        tests = [name for name in python if is_test(name)]
        if len(hashes) == 2 and tests and 1 <= len(python) - len(tests) <= MAX_FILES:
            found.append(Commit(*hashes))
    return found


def try_commit(bench: Bench, options: Options, commit: Commit) -> Trial:
    """Raises EnvError for faults of ours."""
    layout, before = options.layout(bench, commit.hash), options.layout(bench, commit.parent)
    if layout is None or before is None:
        return Trial("no package or no tests at that time")
    listing = git(["diff-tree", "-r", "-z", "--name-only", "--no-renames", commit.parent, commit.hash], bench.git_dir)
    changed = [name for name in listing.decode(errors="replace").split("\0") if name]
    code = [path for path in changed if path in layout.sources or path in before.sources]
    tests = [path for path in changed if path not in code and (is_test(path) or path in layout.tests)]
    if not (1 <= len(code) <= MAX_FILES) or not tests:
        return Trial("does not change both code and tests")
    patch = diff_between(bench.git_dir, commit.parent, commit.hash, code)
    test_patch = diff_between(bench.git_dir, commit.parent, commit.hash, tests)
    try:
        with bench.checkout(commit.parent) as tree:
            _apply(tree, test_patch)
            first = bench.run(tree, layout.tests, layout.pythonpath)
            _apply(tree, patch)
            fixed = [bench.run(tree, layout.tests, layout.pythonpath) for _ in range(2)]
    except PatchError:
        return Trial("changes more than text")
    if any(run.problem for run in fixed):
        return Trial("the tests do not run to their end")
    passing = sorted(t for t, status in fixed[0].statuses.items() if status == fixed[1].statuses.get(t) == "passed")
    failing, others, why_not = split_tests(passing, first, layout.tests)
    if why_not:
        return Trial(why_not)
    subject, created_at = line(["show", "-s", "--format=%s%x00%cI", commit.hash], bench.git_dir).split("\0")
    texts = bench.repo_cache.read_text(bench.repo, commit.hash, {test.partition("::")[0] for test in failing})
    row = bench.row(
        commit.parent,
        patch,
        (failing, others),
        write_statement(bench.package, failing, find_failures(first.output), texts, title(subject, patch)),
        layout.pythonpath,
        test_patch=test_patch,
        created_at=created_at,
        made_by="commit",
        commit=commit.hash,
    )
    why_not = bench.check(row, bench.noop(commit.parent, before.sources))
    return Trial(why_not) if why_not else Trial("kept", row)


def title(subject: str, patch: str) -> str:
    """A commit's subject as an issue's title; "" for one that quotes what the patch adds."""
    added = {text[1:].strip() for text in patch.splitlines() if text.startswith("+") and not text.startswith("+++")}
    if any(len(text) >= MIN_QUOTE and text in subject for text in added):
        return ""
    return re.sub(r"\s*\(#\d+\)$", "", subject).strip()


def _apply(tree: Path, patch: str) -> None:
    patched_paths(patch)  # raises PatchError for what is not text
    apply_patch(tree, patch)
