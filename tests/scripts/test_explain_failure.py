"""explain_failure.py, on the output of runs that really failed (tests/failed_runs), and on the shapes of others."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from script_runner import ROOT

sys.path.insert(0, str(ROOT / "train/scripts/lib"))
from explain_failure import FIXES, HOST_MEMORY, KILLED, MEMORY, Failure, explain

RUNS = ROOT / "tests/failed_runs"
DRIVER = """Error executing job with overrides: ['trainer.total_training_steps=4']
Traceback (most recent call last):
  File "{ROOT}/.venv/lib/python3.11/site-packages/verl/trainer/main_ppo.py", line 90, in run_ppo
    ray.get(runner.run.remote(config))
"""
RAISED = "ray.exceptions.RayTaskError(OutOfMemoryError): ray::"
OUT_OF_GPU = f"""{DRIVER}{RAISED}TaskRunnerV1.run() (pid=7, ip=10.0.0.1, repr=<x object at 0x1>)
  File "{{ROOT}}/.venv/lib/python3.11/site-packages/verl/trainer/ppo/v1/trainer_base.py", line 610, in _step_once
    batch = self._update_actor(batch, metrics=metrics)
{RAISED}WorkerDict.actor_rollout_update_actor() (pid=8, ip=10.0.0.1)
  File "{{ROOT}}/.venv/lib/python3.11/site-packages/verl/workers/engine/fsdp/transformer_impl.py", line 700, in forward
    logits = model(**inputs)
torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79.11 GiB

Set the environment variable HYDRA_FULL_ERROR=1 for a complete stack trace.
"""
ACTOR_DIED = f"""{DRIVER}ray.exceptions.ActorDiedError: The actor died unexpectedly before finishing this task.
	class_name: create_colocated_worker_cls.<locals>.WorkerDict
"""
WATCHDOG = (
    "(WorkerDict pid=9) [rank1]:[E123 ProcessGroupNCCL.cpp:616] [Rank 1] "
    "Watchdog caught collective operation timeout: WorkNCCL(SeqNum=8)\n"
)
RAYLET = "(raylet) {} Workers (tasks / actors) killed due to memory pressure (OOM), {} Workers crashed\n"


def raised_by(who: str, error: str) -> str:
    lines = ["Traceback (most recent call last):", '  File "core.py", line 3, in run', error]
    return "".join(f"{who} {line}\n" for line in lines)


def told(text: str, status: int = 1, **more: object) -> Failure:
    return explain(text.replace("{ROOT}", str(ROOT)).splitlines(), status, **more)


def test_of_the_wrappers_of_ray_the_innermost_is_the_cause_and_gpu_memory_names_its_knobs() -> None:
    failure = told(OUT_OF_GPU)
    assert failure.cause.startswith("OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.")
    assert failure.places[-1].endswith("transformer_impl.py:700 in forward")
    assert failure.fix == MEMORY
    for knob in ("gpu_memory_utilization", "ppo_max_token_len_per_gpu", "MICRO_BATCH_SIZE", "ENABLE_LORA", "offload"):
        assert knob in failure.fix


def test_a_worker_that_was_killed_is_named_and_a_harmless_error_before_it_is_not() -> None:
    harmless = raised_by("(AgentLoopWorkerTQ pid=5)", "EnvError: one sandbox failed")
    failure = told(harmless + ACTOR_DIED, lost=["ray::WorkerDict (pid 9)"])
    assert failure.cause == "ray::WorkerDict (pid 9) died"


def test_the_last_words_of_the_worker_that_died_are_the_cause() -> None:
    words = raised_by("(EngineCore pid=77) ERROR 11-23 04:00:00 [core.py:1]", "ValueError: bad block")
    failure = told(words + ACTOR_DIED, lost=["VLLM::EngineCore (pid 77)"])
    assert (failure.cause, failure.places) == ("ValueError: bad block", ["core.py:3 in run"])


@pytest.mark.parametrize(
    ("text", "kills", "cause", "fix"),
    [
        (WATCHDOG + ACTOR_DIED, 0, "Watchdog caught collective operation timeout", "NCCL_SOCKET_IFNAME"),
        (RAYLET.format(2, 0) + ACTOR_DIED, 0, "out of memory: ray::WorkerDict (pid 9) died", HOST_MEMORY),
        (ACTOR_DIED, 1, "out of memory: ray::WorkerDict (pid 9) died", HOST_MEMORY),
        (RAYLET.format(0, 1) + ACTOR_DIED, 0, "ray::WorkerDict (pid 9) died", "dmesg"),
    ],
)
def test_what_leaves_no_exception_is_told_from_what_others_say(text: str, kills: int, cause: str, fix: str) -> None:
    failure = told(text, lost=["ray::WorkerDict (pid 9)"], oom_kills=kills)
    assert cause in failure.cause and fix in failure.fix


def test_what_our_reward_says_stands_without_verls_words_for_it() -> None:
    text = raised_by(
        "[rank0]:", "ValueError: Unknown status: stopped by reward-manager.py: scoring 'toy' failed, and not for it"
    )
    assert told(text).cause == "stopped by reward-manager.py: scoring 'toy' failed, and not for it"


def test_a_step_without_scores_is_told_by_what_the_answers_failed_of() -> None:
    step = raised_by(
        "[rank0]:", "RuntimeError: selected terminal groups with no materializable trajectories. Enable it"
    )
    assert told(step).cause.startswith("RuntimeError: selected")
    scoring = raised_by("(RewardLoopWorker pid=5)", "env_faults.EnvError: a reward must lie in [0, 1], not nan")
    assert told(scoring + step).cause == "EnvError: a reward must lie in [0, 1], not nan"
    killed = told(scoring + step, lost=["ray::RewardLoopWorker (pid 5)"])
    assert killed == Failure("ray::RewardLoopWorker (pid 5) died, and no answer of the step has a score", [], KILLED)


def test_a_message_on_the_next_line_is_found() -> None:
    text = 'Traceback (most recent call last):\n  File "a.py", line 1, in f\nValueError:\n  too few rows\n'
    assert told(text).cause == "ValueError: too few rows"


def test_without_any_traceback_the_last_line_is_shown() -> None:
    assert told("loading\nerror: WANDB_MODE is not known\n\n").cause.endswith("error: WANDB_MODE is not known")
    assert told("", -9) == Failure("the trainer was killed by signal 9", [], KILLED)
    torchrun = (
        '  File "run.py", line 1, in f\nChildFailedError:\n=====\n  traceback : Signal 9 (SIGKILL) received by PID 37\n'
    )
    assert told(torchrun) == Failure("Signal 9 (SIGKILL) received by PID 37", [], KILLED)


def test_every_fix_can_be_reached() -> None:
    reached = {
        "RuntimeError: CUDA out of memory. Tried": 0,
        "ValueError: No available memory for the cache blocks. Try increasing": 1,
        "ray.exceptions.OutOfMemoryError: Task was killed due to the node running low on memory.": 2,
        "OSError: [Errno 28] No space left on device": 3,
        "torch.distributed.DistBackendError: NCCL error": 4,
        "ValueError: … could not be scored, more than env_error_limit=0.05": 5,
        "ValueError: … scoring 'openspiel' failed, and not for the answer: KeyError: 'x'": 6,
        "RuntimeError: Sync replay buffer selected terminal groups with no materializable trajectories.": 7,
        "OSError: [Errno 98] Address already in use": 8,
        "RuntimeError: CUDA error: device-side assert triggered": 9,
        "RuntimeError: PytorchStreamReader failed reading zip archive: failed finding central directory": 10,
    }
    assert len(reached) == len(FIXES)
    for line, number in reached.items():
        text = f'Traceback (most recent call last):\n  File "a.py", line 1, in f\n{line}\n'
        assert told(text).fix == FIXES[number][1], line


REAL = {
    "sft_data_error": (
        "DataError: 14 of 48 rows have more than data.max_length=128",
        "train/tools/sft/token_table.py:283",
    ),
    "killed_sft_trainer": ("Signal 9 (SIGKILL) received by PID 29884", ""),
    "killed_vllm": ("VLLM::EngineCore (pid 7000) died", ""),
}
LOST = {"killed_vllm": ["VLLM::EngineCore (pid 7000)"]}


@pytest.mark.parametrize("name", REAL)
def test_the_cause_of_a_run_that_really_failed_is_found(name: str) -> None:
    cause, place = REAL[name]
    failure = told((RUNS / f"{name}.log").read_text(), lost=LOST.get(name, []))
    assert failure.cause.startswith(cause)
    assert place in " ".join(failure.places)


def test_every_recorded_run_has_a_test() -> None:
    assert {path.stem for path in Path(RUNS).glob("*.log")} == set(REAL)
