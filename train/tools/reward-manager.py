"""The score of one answer, as verl asks for it: verl's `reward.custom_reward_function`.

    reward.custom_reward_function.path=train/tools/reward-manager.py  reward.custom_reward_function.name=compute_score

    compute_score("openspiel", "4", "", {"env": "openspiel", "challenge": "{...}", "adapter_config": "{...}"})
    → {"score": 1.0, "legal": 1.0, ..., "env_error": 0.0}

The row's `extra_info`, written by `dataset-manager.py`, says which environment and which task it is: a reward worker
needs no configuration of its own. verl calls a plain function like this one in a thread, so several answers are scored
at once in each of its `reward.num_workers` processes.

Faults of ours are not wrong answers. What verl 0.9.1's trainer does with an exception from here:

* The answer is left out, neither a 0 nor a hang. Its prompt's other answers are still trained on (`sync` mode; the
  others draw a new prompt) and a padding row without loss takes its place. In validation it is left out of the mean.
* The run goes on, unless not one answer of a step has a score.

So an `EnvError` is raised: no score, no signal. When more than 5 % of a worker's last 100 answers (and at least 20)
met one, the run is stopped; `reward.custom_reward_function.reward_kwargs.env_error_limit=0.1` moves that limit. Any
other exception is a bug of an adapter, since no text may make it raise, and stops the run at once.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from typing import Any

from env_adapter import Challenge, EnvError, Score, SettingsError, canonical_env_name, shared_env_adapter

logger = logging.getLogger("reward-manager")

WINDOW, LEAST = 100, 20
RESERVED_METRICS = {
    "score": "it is the reward",
    "reward": "verl's validation has one of its own",
    "env_error": "it is the share of answers that could not be scored",
    "acc": "verl's validation would count answers that could not be scored as 0",
}
FROM_VERL = {"reward_router_address", "reward_model_tokenizer"}
"""Passed by verl where a reward model is served."""


class FaultCounter:
    """Counts the answers that could not be scored. Safe to call from any thread."""

    def __init__(self) -> None:
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


faults = FaultCounter()


def compute_score(
    data_source: str,
    solution_str: str,
    ground_truth: Any,
    extra_info: dict[str, Any] | None = None,
    env_error_limit: float = 0.05,
    **kwargs: Any,
) -> dict[str, float]:
    """The reward under "score", in [0, 1], and the environment's metrics; the same keys for every answer of an env.

    "env_error" is the share of this worker's answers, so far, that could not be scored. `data_source` and
    `ground_truth` are verl's and not needed. Raises EnvError for an answer that cannot be scored.
    """
    try:
        limit = _checked_limit(env_error_limit, kwargs)
        score = _evaluate(solution_str, extra_info)
    except EnvError as error:
        faults.count(True)
        _log_fault(error)
        if faults.exceed(limit):
            reason = (
                f"{sum(faults.recent)} of the last {len(faults.recent)} answers could not be scored, more than "
                f"env_error_limit={limit:g}: mend the environment; the last fault was: {error}"
            )
            _stop_run(reason)
            raise EnvError(reason) from error
        raise
    except Exception as error:
        _stop_run(f"scoring {data_source!r} failed, and not for the answer: {type(error).__name__}: {error}")
        raise
    return {"score": score.value, **score.metrics, "env_error": faults.count(False)}


compute_lgc_v2_score = compute_score


def _evaluate(response: str, extra_info: dict[str, Any] | None) -> Score:
    """Raises EnvError when the row is not one of dataset-manager.py, or for whatever the adapter calls a fault."""
    row = extra_info or {}
    for key in ("env", "challenge", "adapter_config"):
        if not isinstance(row.get(key), str):
            raise EnvError(f"extra_info[{key!r}] is {row.get(key)!r}: the row does not come from dataset-manager.py")
    env = canonical_env_name(row["env"])
    challenge = Challenge.from_json(row["challenge"])
    if challenge.env != env:
        raise EnvError(f"extra_info names the env {env!r}, its challenge the env {challenge.env!r}")
    score = shared_env_adapter(env, row["adapter_config"]).evaluate(response, challenge)
    for name in RESERVED_METRICS.keys() & score.metrics.keys():
        raise TypeError(f"env {env!r} has a metric named {name!r}, but {RESERVED_METRICS[name]}: rename it")
    return score


def _checked_limit(limit: Any, others: dict[str, Any]) -> float:
    unknown = others.keys() - FROM_VERL
    if unknown:
        raise SettingsError(f"unknown reward_kwargs {sorted(unknown)}: known is env_error_limit")
    try:
        share = float(limit)
    except (TypeError, ValueError):
        share = -1.0
    if not 0 <= share <= 1:
        raise SettingsError(f"reward_kwargs.env_error_limit={limit!r}: a share of the answers is wanted, from 0 to 1")
    return share


def _log_fault(error: EnvError) -> None:
    if faults.num_faults <= 3:
        logger.error("an answer could not be scored and is left out", exc_info=error)
    elif faults.num_faults % 100 == 0:
        logger.error("%d of %d answers could not be scored: %s", faults.num_faults, faults.num_answers, error)


def _stop_run(reason: str) -> None:
    """Make verl's trainer, another process, raise a ValueError that ends with the reason; outside of a run, only log.

    An exception from a reward function cannot do it (see above), nor can the end of this process. The trainer reads
    the status of every prompt from its TransferQueue and raises on one that it does not know
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
            key="reward-manager",
            partition_id="train",
            tag={"is_prompt": True, "global_steps": 0, "status": f"stopped by reward-manager.py: {reason}"},
        )
    except AssertionError:
        logger.exception("there is no TransferQueue to stop the run by (trainer.use_v1=false?)")
