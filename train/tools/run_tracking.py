"""What verl's tracking does otherwise in our runs; verl imports this module by VERL_USE_EXTERNAL_MODULES.

    VERL_USE_EXTERNAL_MODULES=run_tracking python -m verl.trainer.main_ppo …     # train/scripts/lib/tracking.sh sets it

- every logger has the documented names too (`metric_names.py`), and how busy the GPUs are;
- the `file` logger appends: verl's begins anew at each resume;
- trackio goes on with the run of the same name after a resume, and the charts of W&B go by the run's own steps;
- old checkpoints are removed once the new one is whole, those from before a resume too. verl removes the old one
  before the new one is noted as the latest, and forgets all that an earlier start has saved.

Written against verl 0.9.1; raises UpstreamChanged where that has changed its shape.
"""

from __future__ import annotations

import importlib.abc
import importlib.util
import inspect
import os
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

from cpu_platform import UpstreamChanged
from gpu_meter import GpuMeter, gpus_of_run
from ledger.metrics_file import TOTAL_STEPS
from metric_names import documented_names

CHECKPOINT_MANAGER = "verl.utils.checkpoint.checkpoint_manager"


def make_meter(config: dict[str, Any]) -> GpuMeter:
    if os.environ.get("VERL_PLATFORM", "").strip().lower() == "cpu":
        return GpuMeter([])
    trainer = config["trainer"]
    try:
        # Ray hides the GPUs from the process that logs: the script has kept which ones the run was given.
        handles = gpus_of_run(os.environ.get("VERITAS_GPUS"), trainer.get("n_gpus_per_node") or 1)
    except ModuleNotFoundError:
        print("note: nvidia-ml-py is not installed: no system/gpu_utilization and no system/gpu_memory")
        handles = []
    return GpuMeter(handles)


class CheckpointKeeper:
    """Removes old checkpoints when the latest one is a new one."""

    def __init__(self, config: dict[str, Any]) -> None:
        from ledger.pruning import checkpoints_to_keep, latest_step

        self._run = Path(config["trainer"]["default_local_dir"])
        self._keep = checkpoints_to_keep(config)
        self._seen = latest_step(self._run)  # of an earlier start, and perhaps later than what is gone on from

    def look(self) -> None:
        from ledger.pruning import latest_step, prune

        if self._keep is None:
            return
        latest = latest_step(self._run)
        if latest is None or latest == self._seen:
            return
        self._seen = latest
        try:
            prune(self._run, self._keep)
        except OSError as error:  # a disk that is slow to let go must not end a run
            print(f"note: an old checkpoint could not be removed, and is tried again at the next one: {error}")


def hook_tracking(tracking: ModuleType) -> None:
    """Makes `Tracking` and `FileLogger` of verl/utils/tracking.py ours."""
    shapes = {
        tracking.FileLogger.__init__: ["self", "project_name", "experiment_name"],
        tracking.Tracking.__init__: ["self", "project_name", "experiment_name", "default_backend", "config"],
        tracking.Tracking.log: ["self", "data", "step", "backend"],
    }
    for function, parameters in shapes.items():
        if list(inspect.signature(function).parameters) != parameters:
            raise UpstreamChanged(f"verl/utils/tracking.py: {function.__qualname__} no longer takes {parameters}")
    first_init, first_log, first_finish = (getattr(tracking.Tracking, name) for name in ("__init__", "log", "finish"))

    class AppendingFileLogger(tracking.FileLogger):
        def __init__(self, project_name: str, experiment_name: str) -> None:
            path = os.environ.get("VERL_FILE_LOGGER_PATH")
            if not path:
                super().__init__(project_name, experiment_name)
                return
            self.project_name, self.experiment_name, self.filepath = project_name, experiment_name, path
            print(f"Appending metrics to {path}")
            self.fp = Path(path).open("ab", buffering=0)  # noqa: SIM115 - verl closes it, in finish

    def init(
        self: Any,
        project_name: str,
        experiment_name: str,
        default_backend: str | list[str] = "console",
        config: dict[str, Any] | None = None,
    ) -> None:
        if "trackio" in default_backend:
            import trackio

            trackio.init(project=project_name, name=experiment_name, config=config, resume="allow")
        first_init(self, project_name, experiment_name, default_backend, config)
        if "wandb" in self.logger:
            # `wandb sync` numbers a step that is done again after a kill as a new one: charts go by ours.
            self.logger["wandb"].define_metric("*", step_metric="train/step")
        if config:
            self.gpu_meter, self.checkpoint_keeper = make_meter(config), CheckpointKeeper(config)
            # Both trainers make their Tracking themselves, and only they know how many steps there will be.
            trainer = sys._getframe(1).f_locals.get("self")
            steps, metrics = getattr(trainer, "total_training_steps", None), os.environ.get("VERL_FILE_LOGGER_PATH")
            if steps and metrics:
                Path(metrics).with_name(TOTAL_STEPS).write_text(f"{steps}\n")

    def log(self: Any, data: dict[str, Any], step: int, backend: Any = None) -> None:
        measured = self.gpu_meter.take() if hasattr(self, "gpu_meter") else {}
        first_log(self, {**data, **documented_names(data), **measured, "train/step": step}, step, backend)
        if hasattr(self, "checkpoint_keeper"):
            self.checkpoint_keeper.look()

    def finish(self: Any, exit_code: int = 0) -> None:
        if hasattr(self, "gpu_meter"):
            self.gpu_meter.end()
        first_finish(self, exit_code)

    tracking.FileLogger = AppendingFileLogger
    tracking.Tracking.__init__, tracking.Tracking.log, tracking.Tracking.finish = init, log, finish


def hook_checkpoint_manager(manager: ModuleType) -> None:
    """verl's managers remove nothing any more: CheckpointKeeper does."""
    for name, parameters in (
        ("ensure_checkpoint_capacity", ["self", "max_ckpt_to_keep"]),
        ("register_checkpoint", ["self", "new_path", "max_ckpt_to_keep"]),
    ):
        found = getattr(manager.BaseCheckpointManager, name, None)
        if found is None or list(inspect.signature(found).parameters) != parameters:
            raise UpstreamChanged(f"verl/utils/checkpoint/checkpoint_manager.py: {name} no longer takes {parameters}")
        setattr(manager.BaseCheckpointManager, name, lambda *_, **__: None)


class HookAtImport(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Hooks verl's checkpoint manager when a process imports it: it takes seconds, and few processes need it."""

    def find_spec(self, fullname: str, path: Any, target: ModuleType | None = None) -> ModuleSpec | None:
        if fullname != CHECKPOINT_MANAGER:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is None or spec.loader is None:
            raise UpstreamChanged(f"{CHECKPOINT_MANAGER} is not there")
        self._loader, spec.loader = spec.loader, self
        return spec

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        hook_checkpoint_manager(module)


def install() -> None:
    import verl.utils.tracking

    if verl.utils.tracking.FileLogger.__name__ == "AppendingFileLogger":
        return
    hook_tracking(verl.utils.tracking)
    if CHECKPOINT_MANAGER in sys.modules:
        hook_checkpoint_manager(sys.modules[CHECKPOINT_MANAGER])
    else:
        sys.meta_path.insert(0, HookAtImport())


if "run_tracking" in os.environ.get("VERL_USE_EXTERNAL_MODULES", "").split(","):
    install()
