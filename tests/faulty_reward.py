"""reward-manager.py on a machine where the environment is broken: what a run does then is tested with it."""

import importlib.util
import os
from pathlib import Path

import openspiel_adapter
from env_adapter import EnvError

spec = importlib.util.spec_from_file_location(
    "reward_manager", Path(os.environ["VERITAS_ROOT"]) / "train/tools/reward-manager.py"
)
reward_manager = importlib.util.module_from_spec(spec)
spec.loader.exec_module(reward_manager)


def broken(self, response, challenge):
    raise EnvError("the sandbox is down")


openspiel_adapter.OpenSpielAdapter.evaluate = broken
compute_score = reward_manager.compute_score
