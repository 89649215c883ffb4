"""Runs the front-door scripts on a GPU machine with the settings of each measurement, and keeps what they logged.

    python benchmarks/gpu/runs.py --gpus 0 --work /tmp/gpu --results benchmarks/results/gpu \
        warm-data sft-135m-full grpo-135m-lora merge-135m-lora

writes RESULTS/NAME.json for each: GPU, versions, command, seconds until the end of the first step, the logged metrics
of every step, peak memory of the GPU. Queues for several GPUs are several processes: a name waits until what it needs
is there. Nothing is downloaded; where the environment lacks something, --grpo and --sft add overrides (KEY=VALUE).
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from measurements import MEASUREMENTS, Measurement

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "train/tools")]
from ledger.records import git, installed_versions  # noqa: E402

KEPT = (
    "actor/",
    "critic/score/",
    "perf/",
    "prompt_length/",
    "response_length/",
    "rollout_corr/",
    "timing_s/",
    "train/",
    "training/",
    "trl/",
    "val",
)


class PeakMemory(threading.Thread):
    """The most memory in use on any of some GPUs, in GiB, asked for four times a second."""

    def __init__(self, gpus: str) -> None:
        super().__init__(daemon=True)
        self.command = ["nvidia-smi", "-i", gpus, "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
        self.done = threading.Event()
        self.gib = 0.0

    def run(self) -> None:
        while not self.done.wait(0.25):
            answer = subprocess.run(self.command, capture_output=True, text=True, check=True).stdout
            self.gib = max(self.gib, max(float(line) for line in answer.split()) / 1024)


def wait_for(path: Path, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not path.exists():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{path} is not there after {seconds:.0f} s")
        time.sleep(0.5)


def run_bounded(command: list[str], environment: dict[str, str], log: Path, limit_s: float) -> int:
    """The command's status; -15 or -9 where it was ended at the limit."""
    with log.open("wb") as file:
        process = subprocess.Popen(
            command, env=environment, cwd=ROOT, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            return process.wait(limit_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
        return -signal.SIGTERM


def logged_steps(path: Path) -> list[dict[str, object]]:
    if not path.exists():
        return []
    rows = [json.loads(line) for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]
    return [
        {"step": row["step"], **{key: value for key, value in row["data"].items() if key.startswith(KEPT)}}
        for row in rows
    ]


def measure(name: str, measurement: Measurement, options: argparse.Namespace) -> dict[str, object]:
    work = options.work
    command = [part.format(work=work, python=sys.executable) for part in measurement.command]
    if measurement.overrides is not None:
        given = options.sft if "SFT" in measurement.command[1] else options.grpo
        command += [part.format(work=work, root=ROOT) for part in measurement.overrides] + given
    variables = {key: value.format(work=work) for key, value in measurement.variables.items()}
    queue = options.gpus.replace(",", "-")
    environment = {
        **os.environ,
        "CUDA_VISIBLE_DEVICES": options.gpus,
        "RAY_ADDRESS": "local",  # queues side by side do not join each other's Ray
        "RAY_TMPDIR": f"/tmp/ray-{queue}",
        "VERITAS_PYTHON": sys.executable,
        "WANDB_EXP": name,
        **variables,
    }
    for path in measurement.needs:
        wait_for(Path(path.format(work=work)), options.wait)
    log = work / "logs" / f"{name}.log"
    metrics = Path(measurement.metrics.format(work=work, root=ROOT, name=name))
    memory = PeakMemory(options.gpus)
    memory.start()
    started = time.monotonic()
    first_step: list[float] = []

    def watch_first_step() -> None:
        while not memory.done.wait(0.2):
            if any(step["step"] == 1 for step in logged_steps(metrics)):
                first_step.append(time.monotonic() - started)
                return

    if measurement.metrics:
        threading.Thread(target=watch_first_step, daemon=True).start()
    status = run_bounded(command, environment, log, measurement.limit_s)
    seconds = time.monotonic() - started
    memory.done.set()
    if status == 0 and measurement.makes:
        Path(measurement.makes.format(work=work)).touch()
    return {
        "name": name,
        "status": status,
        "seconds": round(seconds, 1),
        "seconds_to_end_of_step_1": round(first_step[0], 1) if first_step else None,
        "gpus": gpu_names(options.gpus),
        "peak_memory_gib": round(memory.gib, 1),
        "command": command,
        "variables": variables,
        "commit": git("rev-parse", "HEAD"),
        "versions": installed_versions(),
        "steps": logged_steps(metrics) if measurement.metrics else [],
        "end_of_log": log.read_text(errors="replace").splitlines()[-(40 if status else 12) :],
    }


def gpu_names(gpus: str) -> list[str]:
    command = ["nvidia-smi", "-i", gpus, "--query-gpu=name,driver_version", "--format=csv,noheader"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="+", choices=MEASUREMENTS, metavar="NAME", help=", ".join(MEASUREMENTS))
    parser.add_argument("--gpus", default="0", help="numbers with commas between them")
    parser.add_argument("--work", type=Path, required=True, help="models, data and logs: a directory with 40 GB free")
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--grpo", nargs="*", default=[], metavar="KEY=VALUE")
    parser.add_argument("--sft", nargs="*", default=[], metavar="KEY=VALUE")
    parser.add_argument("--wait", type=float, default=900, help="seconds to wait for what another queue makes")
    options = parser.parse_args()
    options.results.mkdir(parents=True, exist_ok=True)
    (options.work / "logs").mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("VERITAS_ROOT", str(ROOT))
    failed = 0
    for name in options.names:
        print(f"{time.strftime('%H:%M:%S')} {name} …", flush=True)
        try:
            result = measure(name, MEASUREMENTS[name], options)
        except TimeoutError as error:
            result = {"name": name, "status": 1, "end_of_log": [str(error)]}
        (options.results / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n")
        failed += result["status"] != 0
        print(f"{time.strftime('%H:%M:%S')} {name}: status {result['status']}, {result.get('seconds')} s", flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
