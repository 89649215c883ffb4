"""What verl is told of one scored answer, besides the reward: its validation makes a mean of every name.

    {"score": 1.0, "answered": 1.0, "solved": 1.0, "reward/game_of_24": 1.0, "env_error": 0.0}

verl 0.9.1 groups by `data_source`, which is the environment, and a mean is over the answers that have the name. So
`val-core/lgc-v2/reward/mean@1` is an environment's, and `val-aux/lgc-v2/reward/game_of_24/mean@1` one type's of it.
verl's older trainer (`trainer.use_v1=false`) wants the same names of every answer.
"""

from __future__ import annotations

from env_adapter import Challenge, Score


def answer_metrics(challenge: Challenge, score: Score, env_error: float) -> dict[str, float]:
    """`env_error`: the share of this worker's answers that could not be scored."""
    by_type = {f"reward/{challenge.group}": score.value} if challenge.group else {}
    return {"score": score.value, **score.metrics, **by_type, "env_error": env_error}
