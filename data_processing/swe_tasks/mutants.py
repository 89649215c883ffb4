"""Tasks by mutation: a small bug is put into the source, the tests that fail tell of it, and undoing it is the answer.

The row's base_commit is a commit without a history, which holds the package with the bug in it: its tests are there,
and some of them fail.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from swe_tasks.bench import Bench, Trial, split_tests
from swe_tasks.call_map import Calls, copy_tree, tests_of
from swe_tasks.git_commands import commit_of, diff_between, with_file
from swe_tasks.layout import Layout
from swe_tasks.operators import Mutation, changes_meaning, find_mutations
from swe_tasks.statements import find_failures, write_statement


@dataclass(frozen=True)
class Mutant:
    path: str
    mutation: Mutation


@dataclass(frozen=True)
class Place:
    """What all trials of mutants share."""

    bench: Bench
    layout: Layout
    passing: tuple[str, ...]
    calls: Calls
    tree: Path
    """The source as it was given, never changed."""


def list_mutants(texts: Mapping[str, str], seed: int) -> list[Mutant]:
    """All mutants of these files, in an order that depends on nothing but them and the seed: the kinds take turns."""
    kinds: dict[str, list[Mutant]] = {}
    for path, text in texts.items():
        for mutation in find_mutations(text):
            kinds.setdefault(mutation.operator, []).append(Mutant(path, mutation))

    def rank(mutant: Mutant) -> bytes:
        mutation = mutant.mutation
        return sha256(f"{seed}:{mutant.path}:{mutation.start}:{mutation.end}:{mutation.replacement}".encode()).digest()

    turns = itertools.zip_longest(*(sorted(kinds[kind], key=rank) for kind in sorted(kinds)))
    return [mutant for turn in turns for mutant in turn if mutant is not None]


def try_mutant(place: Place, mutant: Mutant) -> Trial:
    """Raises EnvError for faults of ours."""
    bench, layout = place.bench, place.layout
    tests = tests_of(place.calls, mutant.path, mutant.mutation.function_line)
    if not tests:
        return Trial("no test comes by it")
    text = bench.repo_cache.read_text(bench.repo, bench.commit, [mutant.path])[mutant.path]
    changed = mutant.mutation.apply(text)
    if not changes_meaning(text, changed):
        return Trial("means the same, or nothing")
    with bench.folder() as folder:
        tree = folder / "tree"
        copy_tree(place.tree, tree)
        (tree / mutant.path).unlink()
        (tree / mutant.path).write_bytes(changed.encode())
        run = bench.run(tree, tests, layout.pythonpath)
    failing, others, why_not = split_tests(place.passing, run, tests)
    if why_not:
        return Trial(why_not)
    with bench.folder() as scratch:
        tree_with_bug = with_file(bench.git_dir, bench.commit, mutant.path, changed, scratch)
    commit = commit_of(bench.git_dir, tree_with_bug, f"{bench.package}\n")
    patch = diff_between(bench.git_dir, commit, bench.commit)
    files = {test.partition("::")[0] for test in failing}
    statement = write_statement(
        bench.package, failing, find_failures(run.output), bench.repo_cache.read_text(bench.repo, bench.commit, files)
    )
    how = {
        "operator": mutant.mutation.operator,
        "file": mutant.path,
        "line": mutant.mutation.line,
        "function": mutant.mutation.function,
    }
    row = bench.row(commit, patch, (failing, others), statement, layout.pythonpath, made_by="mutation", mutation=how)
    why_not = bench.check(row, bench.noop(commit, [mutant.path]))
    return Trial(why_not) if why_not else Trial("kept", row)
