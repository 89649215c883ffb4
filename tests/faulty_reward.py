"""reward-manager.py on a machine whose environment breaks in the middle of a run: once the file $BREAKS is there."""

import importlib.util
import os
from pathlib import Path

from env_adapter import EnvError
from lgc_v2_adapter import LogicAdapter

spec = importlib.util.spec_from_file_location(
    "reward_manager", Path(os.environ["VERITAS_ROOT"]) / "train/tools/reward-manager.py"
)
reward_manager = importlib.util.module_from_spec(spec)
spec.loader.exec_module(reward_manager)
evaluate = LogicAdapter.evaluate


def evaluate_until_it_breaks(self, response, challenge):
    if Path(os.environ["BREAKS"]).exists():
        raise EnvError("the sandbox is down")
    return evaluate(self, response, challenge)


LogicAdapter.evaluate = evaluate_until_it_breaks
compute_score = reward_manager.compute_score
