"""The mean training reward of each environment, and of each type of its tasks, among the metrics of every step.

    trainer.v1.sampler.custom_sampler.path=train/tools/measured_replay_buffer.py
    trainer.v1.sampler.custom_sampler.name=MeasuredReplayBuffer
    +trainer.v1.sampler.sampler_kwargs.poll_seconds=0.2

    training/reward/openspiel               0.41
    training/reward/lgc-v2                  0.12
    training/reward/lgc-v2/game_of_24       0.05

verl 0.9.1 logs the reward of a whole batch alone (`critic/score/mean`); what its replay buffer returns beside a batch
is logged as well, and a class of one's own can be set for it. Such a class is given no group filter, so
`algorithm.filter_groups` would be ignored: check_recipe.py refuses it.

verl looks every 2 seconds whether the answers of a step are finished, and has no setting for it: here it is
`poll_seconds`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from statistics import fmean
from typing import Any

import transfer_queue as tq
from verl.trainer.ppo.v1.replay_buffer import ReplayBuffer


class MeasuredReplayBuffer(ReplayBuffer):
    """verl's own for `trainer_mode=sync`, with metrics and a poll interval (seconds).

    Raises ValueError in another mode.
    """

    def __init__(self, **kwargs: Any) -> None:
        if kwargs["trainer_mode"] != "sync":
            raise ValueError(
                f"trainer.v1.trainer_mode={kwargs['trainer_mode']}: MeasuredReplayBuffer is for sync; "
                "set trainer.v1.sampler.custom_sampler.path=null"
            )
        super().__init__(**kwargs)
        self.poll_interval = float(kwargs["sampler_kwargs"].get("poll_seconds", self.poll_interval))

    def sample(self, global_steps: int, partition_id: str, batch_size: int) -> tuple[Any, dict[str, Any]]:
        batch, metrics = super().sample(global_steps=global_steps, partition_id=partition_id, batch_size=batch_size)
        if partition_id == "val" or not batch.keys:
            return batch, metrics
        data = tq.kv_batch_get(
            keys=batch.keys, partition_id=batch.partition_id, select_fields=["data_source", "extra_fields"]
        )
        # As verl's validation reads them: an index gives another kind of list than pop does.
        sources, fields = data.pop("data_source").tolist(), data.pop("extra_fields").tolist()
        infos = [field.get("reward_extra_info", {}) for field in fields]
        return batch, {**metrics, **mean_rewards(batch.keys, sources, infos)}


def mean_rewards(keys: Iterable[str], sources: Iterable[str], infos: Iterable[dict[str, Any]]) -> dict[str, float]:
    """From verl's keys (`<prompt>_<session>_<sequence>`), environments, and what answer_metrics.py makes of answers.

    A session of several sequences, such as a whole game, counts once.
    """
    sessions = {key.rpartition("_")[0]: (source, info) for key, source, info in zip(keys, sources, infos, strict=True)}
    rewards: dict[str, list[float]] = defaultdict(list)
    for source, info in sessions.values():
        for name, value in info.items():
            if name == "score":
                rewards[source].append(value)
            elif name.startswith("reward/"):
                rewards[f"{source}/{name.removeprefix('reward/')}"].append(value)
    return {f"training/reward/{name}": fmean(values) for name, values in sorted(rewards.items())}
