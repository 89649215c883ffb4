"""reward-manager.py with a fault in the environment, RELIABILITY_FAULT: raise, hang or nan (see reliability.py)."""

import importlib.util
import os
import time
from pathlib import Path

import openspiel_adapter

spec = importlib.util.spec_from_file_location(
    "reward_manager", Path(os.environ["VERITAS_ROOT"]) / "train/tools/reward-manager.py"
)
reward_manager = importlib.util.module_from_spec(spec)
spec.loader.exec_module(reward_manager)


def faulty(self, response, challenge):
    """In place of OpenSpielAdapter.evaluate."""
    fault = os.environ["RELIABILITY_FAULT"]
    if fault == "raise":
        raise KeyError("winner")
    if fault == "hang":
        time.sleep(1e6)
    return openspiel_adapter.Score(float("nan"), {"legal": 0.0})


openspiel_adapter.OpenSpielAdapter.evaluate = faulty
compute_score = reward_manager.compute_score
