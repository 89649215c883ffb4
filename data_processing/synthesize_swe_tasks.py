"""Make tasks of software repair from any Python package with tests: an sdist, or a git repository.

    pip download --no-deps --no-binary :all: toolz==1.2.0
    python data_processing/synthesize_swe_tasks.py --source toolz-1.2.0.tar.gz --num-tasks 50 --output tasks/toolz
    python data_processing/synthesize_swe_tasks.py --source ~/src/flask --mode both --num-tasks 50 --output tasks/flask

Two ways to a task. --mode mutate puts a small bug into the code, of the kind that people make; --mode mine takes a
commit that changes code and tests apart. A task is kept if some tests fail, at most half of those that pass otherwise,
and if in the sandbox its right answer solves it and doing nothing does not.

OUTPUT/task_0.json, a row of SWE-bench, shortened:
    {"instance_id": "pypi__toolz-5ecd1f0b1c", "repo": "pypi/toolz", "base_commit": "7c02a9…",
     "problem_statement": "merge: wrong result\\n\\nWith toolz 1.2.0 this does not work: …",
     "patch": "diff --git a/toolz/dicttoolz.py b/toolz/dicttoolz.py …", "test_patch": "",
     "FAIL_TO_PASS": "[\\"toolz/tests/test_dicttoolz.py::TestDict::test_merge\\"]", "PASS_TO_PASS": "[…]",
     "pythonpath": ["."], "made_by": "mutation", …}
OUTPUT/repos/pypi__toolz.git holds the commits. OUTPUT is a cache_dir of the environment swe-synth.

The same arguments give the same tasks, with any --concurrency. A run that was interrupted goes on where it stopped when
the same command is given again.
"""

from __future__ import annotations

import argparse
import functools
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "train" / "tools"))

from env_adapter import SettingsError
from env_cli import exit_code, progress_bar
from row_io.ordered_pool import ResultsOf, ordered_pool
from swe_tasks.bench import Bench, Trial, passing_tests
from swe_tasks.call_map import Calls, record_calls
from swe_tasks.commits import Options, list_commits, try_commit
from swe_tasks.layout import Layout, find_layout
from swe_tasks.mutants import Place, list_mutants, try_mutant
from swe_tasks.source_repo import Source, SourceRepo, describe_source, import_source
from swe_tasks.task_files import TaskFiles, task_files

MUTATE, MINE, BOTH = "mutate", "mine", "both"


class OutOfTime(Exception):
    """--max-seconds are over."""


def synthesize(args: argparse.Namespace) -> None:
    for name in ("num_tasks", "test_seconds", "concurrency"):
        if getattr(args, name) < 1:
            raise SettingsError(f"--{name.replace('_', '-')} {getattr(args, name)}: at least 1")
    deadline = None if args.max_seconds is None else time.monotonic() + args.max_seconds
    source = describe_source(args.source, args.repo, args.revision)
    if args.mode != MUTATE and not source.commit:
        raise SettingsError(
            f"--mode {args.mode} needs a history, and --source {args.source} is an sdist, which has none"
        )
    try:
        with task_files(args.output.absolute(), _arguments(args, source)) as files:
            if files is None:
                print(f"{args.output} is complete")
                return
            run = Run(args, source, files, deadline)
            with run.bench.checkout(run.repo.commit) as tree, ordered_pool(args.concurrency) as run.results_of:
                run.make_all(tree)
            run.finish()  # no worker is at work any more: what none of the tasks needs can go
    except OutOfTime:
        print(f"stopped after {args.max_seconds:g} s: {files.number} of {args.num_tasks} tasks in {args.output}")


class Run:
    """One run, from the source to the tasks."""

    results_of: ResultsOf

    def __init__(self, args: argparse.Namespace, source: Source, files: TaskFiles, deadline: float | None) -> None:
        self.args, self.files, self.deadline = args, files, deadline
        repos = files.output / "repos"
        self.repo: SourceRepo = import_source(source, repos)
        self.options = Options(tuple(args.source_dirs), tuple(args.tests), tuple(args.pythonpath))
        self.bench = Bench(
            repos,
            source.repo,
            self.repo.commit,
            source.version,
            source.created_at,
            args.python,
            args.test_seconds,
            files.scratch,
        )

    def make_all(self, tree: Path) -> None:
        """`tree` holds the source as it was given."""
        args, files = self.args, self.files
        mutants, try_one = self._mutants(tree) if args.mode != MINE else ([], None)
        commits = list_commits(self.bench) if args.mode != MUTATE else []
        files.resume(len(mutants) + len(commits))
        if files.trials:
            print(f"going on after {files.trials} trials of an interrupted run", file=sys.stderr)
        self.progress = progress_bar(args.num_tasks, "tasks")
        self.progress.initial = self.progress.n = files.number  # the rate is of this run's tasks
        try:
            wanted = args.num_tasks // 2 if args.mode == BOTH else args.num_tasks
            if args.mode != MUTATE:
                self._try_all(MINE, commits, functools.partial(try_commit, self.bench, self.options), wanted)
            if try_one is not None:
                self._try_all(MUTATE, mutants, try_one, args.num_tasks - files.of_kind(MINE))
        finally:
            self.progress.close()
        if not files.number:
            reasons = "; ".join(f"{number} × {outcome}" for (_, outcome), number in sorted(files.tried.items()))
            raise SettingsError(f"none of {files.trials} candidates makes a task: {reasons or 'there are none'}")

    def finish(self) -> None:
        self.files.finish(self.repo)
        fewer = (
            "" if self.files.number >= self.args.num_tasks else f": there are no more, of {self.args.num_tasks} wanted"
        )
        print(f"wrote {self.files.number} tasks to {self.args.output}{fewer}")
        for (kind, outcome), number in sorted(self.files.tried.items(), key=lambda item: (item[0][0], -item[1])):
            print(f"{number:>8,}  {kind}: {outcome}")

    def _mutants(self, tree: Path) -> tuple[Sequence[Any], Callable[[Any], Trial]]:
        bench, options = self.bench, self.options
        paths = bench.repo_cache.paths(bench.repo, bench.commit)
        layout = find_layout(paths, options.source_dirs, options.tests, options.pythonpath)
        passing, remark, calls = self.files.once(lambda: self._watch(tree, layout))
        print(
            f"{bench.repo}: {len(passing)} tests pass in {len(layout.tests)} files"
            + (f" (left out: {remark})" if remark else ""),
            file=sys.stderr,
        )
        texts = bench.repo_cache.read_text(bench.repo, bench.commit, layout.sources)
        return list_mutants(texts, self.args.seed), functools.partial(
            try_mutant, Place(bench, layout, tuple(passing), calls, tree)
        )

    def _watch(self, tree: Path, layout: Layout) -> tuple[list[str], str, Calls]:
        passing, remark = passing_tests(self.bench, tree, layout.tests, layout.pythonpath)
        return passing, remark, record_calls(self.bench, tree, layout)

    def _try_all(self, kind: str, candidates: Sequence[Any], try_one: Callable[[Any], Trial], wanted: int) -> None:
        """Candidates in their order, until there are as many tasks of this kind as wanted."""
        files = self.files
        if files.of_kind(kind) >= wanted:
            return
        for trial in self._trials(try_one, candidates[files.done[kind] :]):
            files.add(kind, trial.outcome, trial.row, self.repo)
            self.progress.set_postfix(tried=files.trials, refresh=False)
            self.progress.update(trial.row is not None)
            if files.of_kind(kind) >= wanted:
                return

    def _trials(self, try_one: Callable[[Any], Trial], candidates: Sequence[Any]) -> Iterator[Trial]:
        for trial in self.results_of(try_one, candidates):
            yield trial
            if self.deadline is not None and time.monotonic() > self.deadline:
                raise OutOfTime


def _arguments(args: argparse.Namespace, source: Source) -> dict[str, Any]:
    """All that the tasks depend on: neither --concurrency nor --max-seconds."""
    names = ("mode", "num_tasks", "seed", "source_dirs", "tests", "pythonpath", "test_seconds")
    return {
        "source": source.digest,
        "repo": source.repo,
        "python": str(args.python),
        **{name: getattr(args, name) for name in names},
    }


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, required=True, help="a git repository, or an sdist (.tar.gz)")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="the cache_dir to write")
    parser.add_argument("--num-tasks", type=int, default=50, metavar="N", help="(default: %(default)s)")
    parser.add_argument(
        "--mode", choices=(MUTATE, MINE, BOTH), default=MUTATE, help="both: half are mined (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="which mutations (default: %(default)s)")
    parser.add_argument("--source-dirs", nargs="+", default=[], metavar="PATH", help="of the package (default: found)")
    parser.add_argument("--tests", nargs="+", default=[], metavar="PATH", help="files, directories (default: found)")
    parser.add_argument(
        "--pythonpath", nargs="+", default=[], metavar="DIR", help="what tests import from (default: src and .)"
    )
    parser.add_argument(
        "--python",
        type=Path,
        default=Path(sys.executable),
        help="the interpreter that has pytest and what the package needs (default: this one)",
    )
    parser.add_argument("--repo", metavar="OWNER/NAME", help="its name in the rows (default: of the remote, or pypi/…)")
    parser.add_argument("--revision", default="HEAD", help="of a git repository (default: %(default)s)")
    parser.add_argument(
        "--test-seconds", type=int, default=15, metavar="S", help="processor time of all tests (default: %(default)s)"
    )
    parser.add_argument(
        "--max-seconds", type=float, metavar="S", help="stop early; the same command goes on (default: never)"
    )
    parser.add_argument(
        "--concurrency",
        "--workers",
        type=int,
        default=os.cpu_count() or 1,
        help="processes that run tests (default: one a core)",
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    args = make_parser().parse_args(argv)
    return exit_code("synthesize_swe_tasks", lambda: synthesize(args), "the same command goes on")


if __name__ == "__main__":
    sys.exit(main())
