"""Where metrics go: verl's own Tracking with our module in it, and real W&B and TensorBoard files read back."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
import types
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import run_tracking
from cpu_platform import UpstreamChanged
from gpu_meter import GpuMeter, Reading, gpus_of_run
from metric_names import METRICS, documented_names
from wandb_server import WandbServer

TESTS = Path(__file__).parent
SECRET = "hf_plantedSECRET"
WANDB = {
    "WANDB_MODE": "offline",
    "WANDB_TAGS": "tiny,test",
    "WANDB_NOTES": "what I wanted to know",
    "WANDB_ENTITY": "a-team",
    "WANDB_RUN_ID": "abcd1234",
    "WANDB_RESUME": "allow",
}


def track(run: Path, first: int, last: int, *loggers: str, **environment: str) -> str:
    """Steps of a run by `tracked_trainer.py`; what it printed."""
    run.mkdir(exist_ok=True)
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("VERL_", "WANDB_"))}
    variables = {
        "CHECKPOINT_DIR": str(run),
        "HF_TOKEN": SECRET,
        "PYTHONPATH": str(TESTS.parent / "train/tools"),
        "TENSORBOARD_DIR": str(run / "tensorboard"),
        "TRACKIO_DIR": str(run / "trackio"),
        "VERL_FILE_LOGGER_PATH": str(run / "metrics.jsonl"),
        "VERL_PLATFORM": "cpu",
        "VERL_USE_EXTERNAL_MODULES": "cpu_platform,run_tracking",
        "WANDB_DIR": str(run),
        **WANDB,
        **environment,
    }
    command = [sys.executable, str(TESTS / "tracked_trainer.py"), str(first), str(last), *loggers]
    done = subprocess.run(command, env=inherited | variables, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def resumed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Steps 1 to 3, and 3 to 5 by another start, as after a kill."""
    run = tmp_path_factory.mktemp("tracked") / "run"
    for first, last in ((1, 3), (3, 5)):
        printed = track(run, first, last, "console", "file", "wandb", "tensorboard")
        assert f"step:{last} - " in printed and "train/reward:" in printed
        assert SECRET not in printed
        if last == 3:
            shutil.rmtree(run / "global_step_3")
    return run


@pytest.mark.slow
def test_wandb_sync_makes_one_run_of_both_starts(resumed: Path) -> None:
    with WandbServer() as server:
        folders = sorted(map(str, (resumed / "wandb").glob("offline-run-*")))
        environment = {**os.environ, "WANDB_BASE_URL": server.url, "WANDB_API_KEY": "a" * 40}
        sync = [sys.executable, "-m", "wandb", "sync", "--yes", *folders]
        done = subprocess.run(sync, env=environment, capture_output=True, text=True, timeout=100, cwd=resumed)
        assert done.returncode == 0, done.stderr
    (run,) = server.runs.values()
    assert (run.name, run.entity, run.project, run.display_name) == ("abcd1234", "a-team", "a-project", "a-run")
    assert run.tags == ["tiny", "test"] and run.notes == "what I wanted to know"
    assert len(folders) == 2, "a folder for each start"
    assert [row["train/step"] for row in run.history] == [1, 2, 3, 3, 4, 5]
    assert all(row["critic/score/mean"] == row["train/reward"] and row["val/reward"] == 0.5 for row in run.history)
    assert [row["train/reward"] for row in run.history] == [0.1, 0.2, 0.3, 0.3, 0.4, 0.5]


@pytest.mark.slow
def test_tensorboard_has_every_metric_by_step(resumed: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(resumed / "tensorboard")).Reload()
    assert {"train/reward", "train/learning_rate", "val/reward", "critic/score/mean"} <= set(events.Tags()["scalars"])
    by_step = {event.step: event.value for event in events.Scalars("train/reward")}
    assert by_step == pytest.approx({step: step / 10 for step in range(1, 6)})


@pytest.mark.slow
def test_the_file_of_metrics_is_appended_to_and_the_end_is_known(resumed: Path) -> None:
    lines = [json.loads(line) for line in (resumed / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 3, 4, 5]
    assert all(line["data"]["train/reward"] == line["step"] / 10 for line in lines)
    assert not [name for line in lines for name in line["data"] if name.startswith("system/")], "there is no GPU here"
    assert (resumed / "total_steps.txt").read_text() == "9\n"


@pytest.mark.slow
def test_checkpoints_of_before_a_resume_are_counted(resumed: Path) -> None:
    assert sorted(path.name for path in resumed.glob("global_step_*")) == ["global_step_4", "global_step_5"]


@pytest.mark.slow
def test_no_tracker_writes_a_secret(resumed: Path) -> None:
    written = [path for path in resumed.rglob("*") if path.is_file()]
    assert len(written) > 10
    assert not [path for path in written if SECRET.encode() in path.read_bytes()]


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("trackio") is None, reason="trackio is not installed: it is optional")
def test_a_resumed_run_is_one_run_of_trackio(tmp_path: Path) -> None:
    for step in (1, 2):
        track(tmp_path / "run", step, step, "trackio")
    (database,) = (tmp_path / "run/trackio").glob("*.db")
    rows = sqlite3.connect(database).execute("select run_name, step, metrics from metrics order by step").fetchall()
    assert [(name, step) for name, step, _ in rows] == [("a-run", 1), ("a-run", 2)]
    assert json.loads(rows[1][2])["train/reward"] == 0.2


def test_a_process_that_is_not_told_to_leaves_verl_alone() -> None:
    code = "import run_tracking, sys; sys.exit('verl' in sys.modules)"
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(TESTS.parent / "train/tools")}
    assert subprocess.run([sys.executable, "-c", code], env=environment, timeout=60).returncode == 0


def test_another_verl_is_not_hooked_in_silence() -> None:
    class FileLogger:
        def __init__(self, path: str) -> None: ...

    class Tracking:
        def log(self, data: dict, step: int, backend: str | None = None) -> None: ...

    with pytest.raises(UpstreamChanged, match="FileLogger"):
        run_tracking.hook_tracking(types.SimpleNamespace(FileLogger=FileLogger, Tracking=Tracking))
    with pytest.raises(UpstreamChanged, match="ensure_checkpoint_capacity"):
        run_tracking.hook_checkpoint_manager(types.SimpleNamespace(BaseCheckpointManager=FileLogger))


# --- names


@given(st.dictionaries(st.sampled_from([s for m in METRICS for s in m.sources]), st.floats()))
def test_documented_names_are_finite_and_never_in_the_way_of_verls(data: dict[str, float]) -> None:
    names = documented_names(data)
    assert set(names) <= {metric.name for metric in METRICS} - set(data)
    assert all(abs(value) < float("inf") for value in names.values())


def test_names_that_verl_uses_are_left_to_it() -> None:
    assert documented_names({"train/loss": 2.5, "train/lr": 1e-5, "train/grad_norm": 0.1}) == {
        "train/learning_rate": 1e-5
    }
    assert documented_names({"critic/score/mean": 0.5, "critic/rewards/mean": 0.4}) == {"train/reward": 0.5}
    assert documented_names({"timing_per_token_ms/gen": 0.0, "actor/lr": "none"}) == {}
    validated = {"val-core/a/reward/mean@1": 0.2, "val-core/b/reward/mean@1": 0.4, "val-aux/a/reward/x/mean@1": 1.0}
    assert documented_names(validated) == {"val/reward": pytest.approx(0.3)}


def test_the_table_of_the_page_is_that_of_the_code() -> None:
    page = (TESTS.parent / "docs/wandb.md").read_text(encoding="utf-8")
    for metric in METRICS:
        sources = ", ".join(f"`{source}`" for source in metric.sources) or "–"
        assert f"| `{metric.name}` | {sources} | {metric.meaning} |" in page, metric.name


# --- GPUs


def test_a_meter_tells_the_mean_and_the_most_since_it_was_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    readings = [Reading(50.0, 10.0), Reading(100.0, 30.0), Reading(0.0, 20.0)]
    read, done = list(readings), threading.Event()

    def next_reading(_: object) -> Reading | None:
        if read:
            return read.pop(0)
        done.set()
        return None

    monkeypatch.setattr("gpu_meter.read_gpus", next_reading)
    meter = GpuMeter(["a GPU"], interval_s=0.001)
    assert done.wait(60)
    assert meter.take() == {"system/gpu_utilization": 50.0, "system/gpu_memory": 30.0}
    assert meter.take() == {}
    meter.end()


def test_without_a_gpu_nothing_is_measured() -> None:
    assert GpuMeter([]).take() == {}
    if not Path("/dev/nvidiactl").exists():
        assert gpus_of_run(None, 8) == []
