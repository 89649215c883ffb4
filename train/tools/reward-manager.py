"""The score of one answer, as verl asks for it: verl's `reward.custom_reward_function`.

    reward.custom_reward_function.path=train/tools/reward-manager.py  reward.custom_reward_function.name=compute_score

    compute_score("openspiel", "4", "", {"env": "openspiel", "challenge": "{...}", "adapter_config": "{...}"})
    → {"score": 1.0, "legal": 1.0, ..., "reward/tic_tac_toe": 1.0, "env_error": 0.0}

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

from typing import Any

from answer_metrics import answer_metrics
from env_adapter import Challenge, EnvError, Score, SettingsError, canonical_env_name, shared_env_adapter
from env_faults import FaultCounter, watched

RESERVED_METRICS = {
    "score": "it is the reward",
    "reward": "verl's validation has one of its own",
    "env_error": "it is the share of answers that could not be scored",
    "acc": "verl's validation would count answers that could not be scored as 0",
}
FROM_VERL = {"reward_router_address", "reward_model_tokenizer"}
"""Passed by verl where a reward model is served."""


faults = FaultCounter("reward-manager.py")


def compute_score(
    data_source: str,
    solution_str: str,
    ground_truth: Any,
    extra_info: dict[str, Any] | None = None,
    env_error_limit: float = 0.05,
    **kwargs: Any,
) -> dict[str, float]:
    """The reward under "score", in [0, 1], and the environment's metrics; the same keys for every answer of a type.

    "env_error" is the share of this worker's answers, so far, that could not be scored. `data_source` and
    `ground_truth` are verl's and not needed. Raises EnvError for an answer that cannot be scored.
    """
    what = f"scoring {str(data_source)!r}"  # verl passes numpy's strings
    with watched(faults, 0.0, what):
        limit = _checked_limit(env_error_limit, kwargs)
    with watched(faults, limit, what):
        challenge, score = _evaluate(solution_str, extra_info)
    return answer_metrics(challenge, score, faults.count(False))


compute_lgc_v2_score = compute_score


def _evaluate(response: str, extra_info: dict[str, Any] | None) -> tuple[Challenge, Score]:
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
    return challenge, score


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
