"""Faults of ours while a run goes on: counted, logged, never a reward, and too many of them stop the run.

    with watched(faults, limit=0.05, what="scoring 'openspiel'"):
        score = …                          # raises EnvError: no score, no signal; any other exception: a bug

verl 0.9.1's trainer goes on after an exception in an answer's scoring or in an agent loop: the answer is left out, its
prompt's others are trained on. So one fault costs one answer. When more than `limit` of a process's last 100 answers
(and at least 20) met one, or at the first bug, the run is stopped with the reason.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from env_adapter import EnvError
from run_phase import sign_of_life

logger = logging.getLogger("env-faults")

WINDOW, LEAST = 100, 20


class FaultCounter:
    """Counts the answers that could not be scored. Safe to call from any thread."""

    def __init__(self, place: str) -> None:
        self.place = place
        """Where they are met, for the message that stops the run: 'reward-manager.py'."""
        self.recent: deque[bool] = deque(maxlen=WINDOW)
        self.num_answers = self.num_faults = 0
        self.lock = threading.Lock()

    def count(self, is_fault: bool) -> float:
        """Returns the share of all answers of this process, this one included, that could not be scored."""
        with self.lock:
            self.recent.append(is_fault)
            self.num_answers += 1
            self.num_faults += is_fault
            return self.num_faults / self.num_answers

    def exceed(self, limit: float) -> bool:
        with self.lock:
            return len(self.recent) >= LEAST and sum(self.recent) > limit * len(self.recent)


@contextmanager
def watched(faults: FaultCounter, limit: float, what: str) -> Iterator[None]:
    """Count an EnvError raised within, and stop the run past the limit or at any other exception. All are raised on."""
    sign_of_life()
    try:
        yield
        sign_of_life()
    except EnvError as error:
        faults.count(True)
        _log_fault(faults, error)
        if faults.exceed(limit):
            reason = (
                f"{sum(faults.recent)} of the last {len(faults.recent)} answers could not be scored, more than "
                f"env_error_limit={limit:g}: mend the environment; the last fault was: {error}"
            )
            stop_run(reason, faults.place)
            raise EnvError(reason) from error
        raise
    except Exception as error:
        stop_run(f"{what} failed, and not for the answer: {type(error).__name__}: {error}", faults.place)
        raise


def _log_fault(faults: FaultCounter, error: EnvError) -> None:
    if faults.num_faults <= 3:
        logger.error("an answer could not be scored and is left out", exc_info=error)
    elif faults.num_faults % 100 == 0:
        logger.error("%d of %d answers could not be scored: %s", faults.num_faults, faults.num_answers, error)


def stop_run(reason: str, place: str) -> None:
    """Make verl's trainer, another process, raise a ValueError that ends with the reason; outside of a run, only log.

    An exception cannot do it (see above), nor can the end of this process. The trainer reads the status of every prompt
    from its TransferQueue and raises on one that it does not know
    (verl/trainer/ppo/v1/replay_buffer.py, `_sync_metadata_from_transfer_queue`). verl's older trainer has no queue and
    stops by the exception itself.
    """
    logger.error("stopping the run: %s", reason)
    # Imported here: they take seconds, and a program that only scores answers does without them.
    import ray
    import transfer_queue

    if not ray.is_initialized():
        return
    try:
        transfer_queue.kv_put(
            key=place,
            partition_id="train",
            tag={"is_prompt": True, "global_steps": 0, "status": f"stopped by {place}: {reason}"},
        )
    except AssertionError:
        logger.exception("there is no TransferQueue to stop the run by (trainer.use_v1=false?)")
