"""What the run is doing, in a file that its watcher reads (train/scripts/lib/watch_run.py).

    {"phase": "generate", "step": 12}

verl 0.9.1 tells nobody where it is. Both of our datasets are made in the process that drives the training, so they call
`tell_phases`, which wraps verl's own methods for the phases: what they do is unchanged. Each beginning writes the file;
within a phase `sign_of_life` touches it whenever an answer has a score, in whatever process that is. Without
VERITAS_PHASE_FILE, which the scripts set for a training run alone, nothing is wrapped and nothing is written.
"""

from __future__ import annotations

import faulthandler
import functools
import importlib
import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

from atomic_file import atomic_file

SHARED = {"verl.utils.tracking:Tracking.log": "log metrics"}
GRPO = SHARED | {
    "verl.trainer.ppo.v1.replay_buffer:ReplayBuffer.sample": "generate",
    "verl.trainer.ppo.v1.replay_buffer:ReplayBufferAsync.sample": "generate",
    "verl.trainer.ppo.v1.trainer_base:PPOTrainer._compute_reward_colocate": "reward",
    "verl.trainer.ppo.v1.trainer_base:PPOTrainer._compute_old_log_prob": "old log-probs",
    "verl.trainer.ppo.v1.trainer_base:PPOTrainer._compute_ref_log_prob": "reference log-probs",
    "verl.trainer.ppo.v1.trainer_base:PPOTrainer._compute_values": "critic values",
    "verl.trainer.ppo.v1.trainer_base:PPOTrainer._update_critic": "update critic",
    "verl.trainer.ppo.v1.trainer_base:PPOTrainer._update_actor": "update",
    "verl.trainer.ppo.v1.trainer_base:PPOTrainer._save_checkpoint": "save",
    "verl.trainer.ppo.v1.trainer_base:PPOTrainer._load_checkpoint": "load checkpoint",
    "verl.trainer.ppo.v1.trainer_base:PPOTrainer._validate": "validate",
    "verl.checkpoint_engine.base:CheckpointEngineManager.update_weights": "weights sync",
}
SFT = SHARED | {
    "verl.workers.engine_workers:TrainingWorker.train_batch": "update",
    "verl.workers.engine_workers:TrainingWorker.infer_batch": "validate",
    "verl.utils.checkpoint.checkpoint_handler:CheckpointHandler.save_checkpoint": "save",
    "verl.utils.checkpoint.checkpoint_handler:CheckpointHandler.load_checkpoint": "load checkpoint",
}
"""Method → the phase that it is. Of phases within each other the outermost counts: validation generates too."""


class UpstreamChanged(RuntimeError):
    """verl has another method for a phase: a run whose phase nobody knows would be ended as one that stands still."""


STEP_NAMES = ("global_steps", "step")
"""Arguments of verl's methods that have the step's number, where the object itself has not."""

_inside = False
_step: int | None = None
_last_sign = 0.0
_stacks: TextIO | None = None


def phase_file() -> Path | None:
    """None outside of a watched run."""
    name = os.environ.get("VERITAS_PHASE_FILE")
    return Path(name) if name else None


def tell_phases(methods: dict[str, str]) -> None:
    """From now on this process writes its phases; "start" is the first. Raises UpstreamChanged."""
    if phase_file() is None or os.environ.get("LOCAL_RANK", "0") != "0":
        return
    _show_stacks_on_signal()
    for name, phase in methods.items():
        module, _, path = name.partition(":")
        owner_name, _, method_name = path.partition(".")
        owner = getattr(importlib.import_module(module), owner_name, None)
        method = vars(owner).get(method_name) if owner else None
        if not callable(method):
            raise UpstreamChanged(
                f"verl has no {name}, which is the phase {phase!r} of a run: see train/tools/run_phase.py"
            )
        if not hasattr(method, "told_phase"):
            setattr(owner, method_name, _telling(method, phase))
    _write("start")


def sign_of_life() -> None:
    """Something was done within the phase. At most one a second; free of charge outside of a watched run."""
    global _last_sign
    file, now = phase_file(), time.monotonic()
    if file is None or now - _last_sign < 1.0:
        return
    _last_sign = now
    _show_stacks_on_signal()
    try:
        os.utime(file)
    except OSError:
        return  # not begun yet, or on another machine


def _show_stacks_on_signal() -> None:
    """SIGUSR1 writes this process's stacks beside the phase file: py-spy may not read another process everywhere."""
    global _stacks
    file = phase_file()
    if _stacks is not None or file is None or not file.parent.is_dir():
        return
    folder = file.parent / ".stacks"
    try:
        folder.mkdir(exist_ok=True)
        _stacks = (folder / str(os.getpid())).open("w")
    except OSError:
        return  # another machine, or a full disk
    faulthandler.register(signal.SIGUSR1, file=_stacks, all_threads=True)


def _telling(method: Callable[..., Any], phase: str) -> Callable[..., Any]:
    @functools.wraps(method)
    def told(self: Any, *args: Any, **kwargs: Any) -> Any:
        global _inside, _step
        if _inside:
            return method(self, *args, **kwargs)
        _inside = True
        _step = next(
            (step for step in (getattr(self, "global_steps", None), *map(kwargs.get, STEP_NAMES)) if step), _step
        )
        _write(phase)
        try:
            result = method(self, *args, **kwargs)
        finally:
            _inside = False
        _write(f"after {phase}")  # an exception leaves the phase as it is
        return result

    told.told_phase = phase
    return told


def _write(phase: str) -> None:
    file = phase_file()
    if file is None:
        return
    try:
        with atomic_file(file) as temporary:
            temporary.write_text(json.dumps({"phase": phase, "step": _step}))
    except OSError:
        return  # a full disk: the checkpoint's own error tells of it
