"""A trainer that logs as verl's do and trains nothing: python tests/tracked_trainer.py FIRST_STEP LAST_STEP LOGGER…"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch
import verl.utils.checkpoint.checkpoint_manager as checkpoint_manager
from verl.utils.tracking import Tracking

RUN = Path(os.environ["CHECKPOINT_DIR"])
CONFIG = {
    "actor_rollout_ref": {},
    "trainer": {"default_local_dir": str(RUN), "max_actor_ckpt_to_keep": 2, "n_gpus_per_node": 1},
}


class Trainer:
    total_training_steps = 9

    def fit(self, first: int, last: int, loggers: list[str]) -> None:
        self.logger = Tracking("a-project", "a-run", loggers, CONFIG)
        manager = checkpoint_manager.BaseCheckpointManager.__new__(checkpoint_manager.BaseCheckpointManager)
        manager.previous_saved_paths = []
        for step in range(first, last + 1):
            actor = RUN / f"global_step_{step}/actor"
            manager.ensure_checkpoint_capacity(2)
            (actor / "huggingface").mkdir(parents=True)
            (actor / "huggingface/config.json").write_text("{}")
            (actor / "fsdp_config.json").write_text('{"world_size": 1}')
            torch.save({}, actor / "model_world_size_1_rank_0.pt")
            manager.register_checkpoint(str(actor), 2)
            (RUN / "latest_checkpointed_iteration.txt").write_text(str(step))
            self.logger.log({"critic/score/mean": step / 10, "actor/lr": 1e-4, "val-core/a/reward/mean@1": 0.5}, step)
        self.logger.finish()


if __name__ == "__main__":
    Trainer().fit(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
