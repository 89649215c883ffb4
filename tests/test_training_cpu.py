"""Real GRPO steps through the front door: verl, Ray, FSDP and vLLM on CPU, with the tiny model and a real game."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from transformers import AutoModelForCausalLM

sys.path.insert(0, str(Path(__file__).parent / "scripts"))
from script_runner import Checkout

pytestmark = [pytest.mark.slow, pytest.mark.trains, pytest.mark.timeout(2400)]

SMALL = (
    "data.train_batch_size=4",
    "data.max_response_length=4",
    "data.filter_overlong_prompts=false",
    "actor_rollout_ref.rollout.n=2",
    "actor_rollout_ref.actor.entropy_coeff=0.01",  # a random model earns no reward, and must move all the same
    "trainer.val_before_train=false",
    "trainer.test_freq=-1",
    "trainer.save_freq=1",
    "trainer.max_actor_ckpt_to_keep=1",
)
TWO_RANKS = (
    "trainer.n_gpus_per_node=2",
    "ray_kwargs.ray_init.num_gpus=2",
    "ray_kwargs.ray_init.num_cpus=12",
)
SECRET = "hf_plantedSECRET"
LIMIT_S = 1200
"""For a run: most of it is the start of a dozen processes, beside another test's."""
LEGAL = "+data.custom_cls.config.adapter_config.reward_mode=legal"


class Run:
    """One training run by a GRPO script, found again among the machine's processes by its name."""

    command: tuple[str, ...] = ("openspiel-ppo-trainer.sh", "tic_tac_toe", *SMALL, LEGAL)

    def __init__(self, checkout: Checkout, model: Path, name: str) -> None:
        self.checkout, self.name = checkout, name
        self.directory = checkout.root / "train/artifacts/RL/checkpoints" / name
        self.environment = {
            **checkout.env,
            "AGENT_MODEL_REPO_ID": str(model),
            "WANDB_EXP": name,
            "VERITAS_MIN_FREE_GB": "1",
            "SUPERVISE_GRACE_S": "10",
            "HF_TOKEN": SECRET,
            "WANDB_TAGS": "tiny,test",
        }
        self.log = checkout.root / f"{name}.log"

    def start(self, *overrides: str, **environment: str) -> subprocess.Popen[bytes]:
        script, *arguments = self.command
        with self.log.open("wb") as log:
            return subprocess.Popen(
                ["bash", str(self.checkout.root / "train/scripts" / script), *arguments, *overrides],
                env={**self.environment, **environment},
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def steps(self) -> list[dict]:
        file = self.directory / "metrics.jsonl"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def wait_for(self, condition: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
        end = time.monotonic() + LIMIT_S
        while not condition():
            assert process.poll() is None, f"it ended with {process.returncode}: {self.tail()}"
            assert time.monotonic() < end, f"not within {LIMIT_S} s: {self.tail()}"
            time.sleep(0.2)

    def tail(self) -> str:
        return self.log.read_text(errors="replace")[-4000:]

    def processes(self) -> list[psutil.Process]:
        """Every process that has this run's name in its environment."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get("WANDB_EXP") == self.name and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
        return found

    def trainer(self) -> psutil.Process:
        """The driver, `python -m verl.trainer.main_ppo`, and not the supervisor that has it as an argument."""
        return next(p for p in self.processes() if p.cmdline()[1:3] == ["-m", "verl.trainer.main_ppo"])


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    checkout = Checkout(tmp_path_factory.mktemp("training"))
    with tempfile.TemporaryDirectory(prefix="ray-") as ray:  # the path of a socket has at most 107 bytes
        checkout.env["RAY_TMPDIR"] = ray
        yield checkout


@pytest.fixture
def run(checkout: Checkout, tiny: Path, request: pytest.FixtureRequest) -> Iterator[Run]:
    run = Run(checkout, tiny, f"run-{os.getpid()}-{request.node.name[:40]}")
    yield run
    for process in run.processes():
        process.kill()


@pytest.fixture(scope="module")
def lora_run(checkout: Checkout, tiny: Path) -> Run:
    """Four steps, with the driver killed by SIGKILL after the second checkpoint, and resumed by the same command."""
    run = Run(checkout, tiny, f"lora-{os.getpid()}")
    process = run.start("trainer.total_training_steps=4")
    run.wait_for((run.directory / "global_step_2").exists, process)
    run.wait_for(lambda: (run.directory / "latest_checkpointed_iteration.txt").read_text() >= "2", process)
    run.command_lines = [" ".join(process.cmdline()) for process in run.processes()]
    run.trainer().kill()
    assert process.wait(60) != 0
    assert run.processes() == []
    run.killed_reason = (run.directory / "exit_reason.txt").read_text()
    run.killed_screen = run.tail()
    run.killed_after = int((run.directory / "latest_checkpointed_iteration.txt").read_text())
    run.first_log = run.log.read_text(errors="replace")
    process = run.start("trainer.total_training_steps=4")
    assert process.wait(LIMIT_S) == 0, run.tail()
    return run


def test_a_killed_run_resumes_at_its_last_checkpoint_and_ends_at_the_last_step(lora_run: Run) -> None:
    assert 2 <= lora_run.killed_after < 4
    steps = [entry["step"] for entry in lora_run.steps()]
    # Each once and in order; verl logs a step after its checkpoint, and may have been killed in between.
    assert steps == sorted(set(steps)) and set(range(1, 5)) - set(steps) <= {lora_run.killed_after}
    assert (lora_run.directory / "latest_checkpointed_iteration.txt").read_text() == "4"
    assert f"from step {lora_run.killed_after}" in lora_run.log.read_text()
    starts = [json.loads(line) for line in (lora_run.directory / "starts.jsonl").read_text().splitlines()]
    assert [start["resumed_from"] for start in starts] == [0, lora_run.killed_after]
    exits = [json.loads(line) for line in (lora_run.directory / "exits.jsonl").read_text().splitlines()]
    assert [(end["status"], end["reason"], end["step"]) for end in exits[1:]] == [(0, "finished", 4)]
    assert exits[0]["status"] != 0
    assert lora_run.processes() == []


def test_the_checkpoints_of_both_starts_are_counted_together(lora_run: Run) -> None:
    assert [path.name for path in lora_run.directory.glob("global_step_*")] == ["global_step_4"]


def test_a_killed_run_goes_on_in_the_same_run_at_weights_and_biases(lora_run: Run) -> None:
    ids = {json.loads(line)["wandb_run_id"] for line in (lora_run.directory / "starts.jsonl").read_text().splitlines()}
    assert len(ids) == 1
    folders = list((lora_run.checkout.root / "train/artifacts/wandb/wandb").glob(f"offline-run-*-{ids.pop()}"))
    assert len(folders) == 2


def test_the_metrics_have_their_documented_names(lora_run: Run) -> None:
    names = {"train/reward", "train/loss", "train/kl_loss", "train/learning_rate", "train/grad_norm"}
    names |= {"rollout/throughput", "rollout/response_length", "train/step_seconds"}
    for entry in lora_run.steps():
        assert names <= set(entry["data"])
        assert "system/gpu_utilization" not in entry["data"]


def test_the_list_of_runs_has_it(lora_run: Run) -> None:
    listed = lora_run.checkout.script("train/scripts/runs.sh", "--json")
    (run,) = (run for run in json.loads(listed.stdout) if run["name"] == lora_run.name)
    assert (run["state"], run["step"], run["total"], run["kind"]) == ("finished", 4, 4, "GRPO")
    assert run["value"] == lora_run.steps()[-1]["data"]["critic/score/mean"]


def test_a_secret_is_nowhere(lora_run: Run) -> None:
    assert len(lora_run.command_lines) > 4
    texts = [lora_run.first_log, lora_run.log.read_text(errors="replace"), *lora_run.command_lines]
    folders = [lora_run.checkout.root / "train/artifacts", lora_run.checkout.root / "train/outputs"]
    folders.append(Path(lora_run.checkout.env["RAY_TMPDIR"]))
    written = [path for folder in folders for path in folder.rglob("*") if path.is_file() and path.suffix != ".pt"]
    assert len(written) > 20
    assert not [text[:200] for text in texts if SECRET in text]
    assert not [path for path in written if SECRET.encode() in path.read_bytes()]


def test_a_killed_trainer_is_said_last_and_both_starts_are_in_the_log(lora_run: Run) -> None:
    assert lora_run.killed_reason.startswith("the trainer was killed by signal 9")
    last = lora_run.killed_screen.splitlines()[-4:]
    assert last[0] == "error: the trainer was killed by signal 9"
    assert last[-1] == f"log    {lora_run.directory}/run.log"
    log = (lora_run.directory / "run.log").read_text()
    assert log.count("=== ") == 2 and "Training Progress" in log
    assert (lora_run.directory / "exit_reason.txt").read_text() == "finished\n"
    phase = json.loads((lora_run.directory / "phase.json").read_text())
    assert phase == {"phase": "after log metrics", "step": 4}


def test_the_rollout_has_the_trainers_weights(lora_run: Run) -> None:
    for entry in lora_run.steps():
        # bfloat16 noise on a random model's nearly equal probabilities; other weights have no correlation.
        assert entry["data"]["training/rollout_actor_probs_pearson_corr"] > 0.9
        assert 0 <= entry["data"]["critic/score/mean"] <= 1
        assert entry["data"]["actor/kl_coef"] == 0.001


def test_outputs_lie_where_the_docs_say(lora_run: Run) -> None:
    train = lora_run.checkout.root / "train"
    assert list((train / "artifacts/wandb").rglob("offline-run-*"))
    assert list((train / "outputs").glob("????-??-??/??-??-??/.hydra/config.yaml"))
    assert (lora_run.directory / "global_step_4/actor/lora_train_meta.json").exists()


def test_the_checkpoint_becomes_a_plain_model_that_vllm_scores(lora_run: Run, tiny: Path, tmp_path: Path) -> None:
    target = tmp_path / "merged model"
    merged = lora_run.checkout.bash(
        "bash train/scripts/merge-ppo.sh",
        CHECKPOINT_BASE=str(lora_run.directory),
        TARGET_DIR=str(target),
    )
    assert merged.returncode == 0, merged.stderr[-3000:]
    model = AutoModelForCausalLM.from_pretrained(target)
    base = AutoModelForCausalLM.from_pretrained(tiny)
    assert model.num_parameters() == base.num_parameters()
    assert any(not a.equal(b) for a, b in zip(model.parameters(), base.parameters(), strict=True))
    adapter = json.loads((target / "lora_adapter/adapter_config.json").read_text())
    assert adapter["base_model_name_or_path"] == str(tiny)

    scored = lora_run.checkout.bash(
        f"bash train/scripts/evaluate.sh --model '{target}' --env openspiel --set game_types=tic_tac_toe "
        f"--max-tokens 4 --output '{tmp_path}/scores'"
    )
    assert scored.returncode == 0, scored.stderr[-3000:]
    assert json.loads((tmp_path / "scores/summary.json").read_text())["tasks"] == 10


def test_ctrl_c_ends_full_fine_tuning_of_two_ranks_and_leaves_nothing_but_a_checkpoint(
    run: Run, tiny: Path, tmp_path: Path
) -> None:
    process = run.start("trainer.total_training_steps=500", "trainer.save_freq=1", *TWO_RANKS, ENABLE_LORA="0")
    run.wait_for((run.directory / "latest_checkpointed_iteration.txt").exists, process)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(60) == 130
    assert run.processes() == []
    assert (run.directory / "exit_reason.txt").read_text() == "ended by SIGINT\n"
    merged = run.checkout.bash(
        f"bash train/scripts/merge.sh --base-model '{tiny}' --no-vllm",
        CHECKPOINT_BASE=str(run.directory),
        TARGET_DIR=str(tmp_path / "model"),
    )
    assert merged.returncode == 0, merged.stderr[-3000:]
    report = json.loads((tmp_path / "model/export.json").read_text())
    assert (report["ranks"], report["kind"]) == (2, "full")
    assert report["proof"]["passed"]


def test_a_broken_environment_stops_the_run_and_says_why(run: Run) -> None:
    reward = Path(__file__).parent / "faulty_reward.py"
    process = run.start(
        "trainer.total_training_steps=500",
        "data.train_batch_size=16",
        f"reward.custom_reward_function.path='{reward}'",
    )
    assert process.wait(LIMIT_S) not in (0, 124, 130)
    last = run.tail()[run.tail().rindex("\nerror: ") :].strip().splitlines()
    assert last[0].endswith("the last fault was: the sandbox is down") and len(last) <= 5
    assert last[1].startswith("phase  generate (step 1)") and "mend the environment" in " ".join(last)
    assert run.steps() == []
    assert run.processes() == []
