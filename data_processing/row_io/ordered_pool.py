"""Work spread over processes, with the results in the order of the jobs.

    with ordered_pool(4) as results_of:
        for rows in results_of(make_rows, chunks(task_ids, 4)):
            file.write(rows)

One process means this one. No more than a few jobs a process are under way, so `jobs` may be an endless iterator. The
first job that fails ends the work with its own exception, after the results of all jobs before it.
"""

from __future__ import annotations

import itertools
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import connection, get_context, parent_process
from typing import Any, Protocol, TypeVar

from env_adapter import REGISTRY, EnvError, SettingsError

Job = TypeVar("Job")
Result = TypeVar("Result")

JOBS_AHEAD = 4
"""Jobs under way for each process: a slow one holds back the results behind it, and none should wait for work."""
MAX_CHUNK = 16


class ResultsOf(Protocol):
    def __call__(self, work: Callable[[Job], Result], jobs: Iterable[Job]) -> Iterator[Result]: ...


@contextmanager
def ordered_pool(processes: int) -> Iterator[ResultsOf]:
    """Yields a function like `map`. `work` must be a function of a module, and jobs and results must pickle.

    Raises SettingsError for less than one process; while results are read, whatever a job raised, and EnvError when a
    process died.
    """
    if processes < 1:
        raise SettingsError(f"--concurrency {processes}: must be at least 1")
    if processes == 1:
        yield map
        return
    # Not fork: a copy of a process with threads (Arrow has some) can start with a lock that nobody will release.
    executor = ProcessPoolExecutor(
        processes, mp_context=get_context("spawn"), initializer=_start_worker, initargs=(dict(REGISTRY),)
    )
    try:
        yield lambda work, jobs: _in_order(executor, work, iter(jobs), processes * JOBS_AHEAD)
    finally:
        executor.shutdown(cancel_futures=True)


def chunks(items: Sequence[Any], processes: int) -> Iterator[Sequence[Any]]:
    """The items in pieces for `processes`: one by one for a single one, else few enough to share the last ones out."""
    size = 1 if processes == 1 else max(1, min(MAX_CHUNK, len(items) // (processes * 8)))
    return (items[start : start + size] for start in range(0, len(items), size))


def _in_order(executor: ProcessPoolExecutor, work: Callable[[Any], Any], jobs: Iterator[Any], ahead: int) -> Iterator:
    def submit(job: Any) -> Future:
        with _interrupts_held():  # it may start a process
            return executor.submit(work, job)

    waiting: deque[Future] = deque()
    started = executor._processes  # the only place that knows how a process ended
    try:
        waiting.extend(submit(job) for job in itertools.islice(jobs, ahead))
        while waiting:
            yield waiting.popleft().result()
            waiting.extend(submit(job) for job in itertools.islice(jobs, 1))
    except BrokenProcessPool as error:
        if error.__cause__ is not None:
            raise  # an exception or a result that does not pickle: a bug, and the cause tells which
        if -signal.SIGINT in {process.exitcode for process in list(started.values())}:
            raise KeyboardInterrupt from error  # the workers can be faster than this process to hear of it
        raise EnvError(
            "a worker process died without an exception: killed for want of memory (lower --concurrency), or crashed "
            f"in native code: {error}"
        ) from error


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """A Ctrl-C in here comes at its end. A process that is started in here has none until `_start_worker`: it would
    print where in Python's own start it was."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start_worker(registry: dict[str, str]) -> None:
    REGISTRY.update(registry)  # an environment that a caller registered is known here as well
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C reaches the whole group: one process tells of it, not all
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """After a `kill -9` of the parent the workers would wait for jobs for ever, each with its memory."""
    connection.wait([parent_process().sentinel])
    os._exit(1)
