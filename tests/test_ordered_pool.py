"""data_processing/row_io/ordered_pool.py: results in order, few jobs under way, and a failing job's own exception."""

from __future__ import annotations

import itertools
import os
import time
from concurrent.futures.process import BrokenProcessPool

import pytest

from env_adapter import EnvError, SettingsError
from row_io.ordered_pool import JOBS_AHEAD, chunks, ordered_pool


class TwoWordsError(Exception):
    """Pickles and does not unpickle, as many a library's errors do."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(f"{first} {second}")


def slow_then_fast(number: int) -> tuple[int, int]:
    time.sleep(0.2 if number == 0 else 0)
    return number, os.getpid()


def fail_at_five(number: int) -> int:
    if number == 5:
        raise KeyError("five")
    return number


def fail_with_two_words(number: int) -> int:
    raise TwoWordsError("no", str(number))


def die(number: int) -> int:
    os._exit(3)


@pytest.mark.parametrize("processes", [1, 2])
def test_results_come_in_the_order_of_the_jobs_and_only_as_they_are_asked_for(processes):
    taken = []
    jobs = (taken.append(number) or number for number in itertools.count())
    with ordered_pool(processes) as results_of:
        results = list(itertools.islice(results_of(slow_then_fast, jobs), 20))
    assert [number for number, _ in results] == list(range(20))
    assert (os.getpid() in {pid for _, pid in results}) == (processes == 1)
    assert len(taken) <= 20 + JOBS_AHEAD * processes


@pytest.mark.parametrize("processes", [1, 2])
def test_a_failing_job_ends_it_with_its_own_exception_after_the_results_before_it(processes):
    seen = []
    with pytest.raises(KeyError, match="five"), ordered_pool(processes) as results_of:
        for result in results_of(fail_at_five, range(100)):
            seen.append(result)
    assert seen == [0, 1, 2, 3, 4]


def test_a_process_that_dies_is_told_apart_from_an_exception_that_does_not_travel():
    with pytest.raises(EnvError, match="a worker process died"), ordered_pool(2) as results_of:
        list(results_of(die, range(3)))
    with pytest.raises(BrokenProcessPool) as caught, ordered_pool(2) as results_of:
        list(results_of(fail_with_two_words, range(3)))
    assert "TwoWordsError" in str(caught.value.__cause__)


@pytest.mark.parametrize("processes", [0, -1])
def test_no_processes_are_refused(processes):
    with pytest.raises(SettingsError, match=f"--concurrency {processes}"), ordered_pool(processes):
        pass


@pytest.mark.parametrize(("number", "processes"), [(0, 1), (0, 4), (1, 4), (7, 1), (100, 3), (10_000, 8)])
def test_chunks_hold_every_item_once_in_order(number, processes):
    pieces = list(chunks(range(number), processes))
    assert list(itertools.chain.from_iterable(pieces)) == list(range(number))
    assert all(len(piece) == (1 if processes == 1 else len(pieces[0])) for piece in pieces[:-1])
