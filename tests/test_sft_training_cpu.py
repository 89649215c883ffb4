"""Real SFT through the front door: torchrun, verl and FSDP on CPU, with the tiny model and two train files."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from transformers import AutoModelForCausalLM

from training_run import Checkout, processes_of

pytestmark = [pytest.mark.slow, pytest.mark.trains, pytest.mark.timeout(2400)]

STEPS_AN_EPOCH = 6
SETTINGS = {
    "SFT_TRAIN_BATCH_SIZE": "8",
    "SFT_MICRO_BATCH_SIZE_PER_GPU": "4",
    "SFT_MAX_LENGTH": "128",
    "SFT_TOTAL_EPOCHS": "2",
    "SFT_LR": "3e-3",
    "SFT_SAVE_FREQ": "1",
    "SFT_TEST_FREQ": "3",
    "VERITAS_MIN_FREE_GB": "1",
    "SUPERVISE_GRACE_S": "10",
}


class SFTRun:
    """One run of lgc-v2-SFT-trainer.sh, found again among the machine's processes by its name."""

    def __init__(self, checkout: Checkout, model: Path, files: dict[str, str], name: str, **settings: str) -> None:
        self.checkout, self.name = checkout, f"{name}-{os.getpid()}"
        self.directory = checkout.root / "train/artifacts/checkpoints" / self.name
        self.log = checkout.root / f"{self.name}.log"
        self.environment = {
            **checkout.env,
            **SETTINGS,
            **files,
            **settings,
            "AGENT_MODEL_REPO_ID": str(model),
            "WANDB_EXP": self.name,
        }

    def start(self, *overrides: str) -> subprocess.Popen[bytes]:
        script = self.checkout.root / "train/scripts/lgc-v2-SFT-trainer.sh"
        with self.log.open("ab") as log:
            command = ["bash", str(script), *overrides]
            return subprocess.Popen(
                command, env=self.environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )

    def finish(self, *overrides: str) -> None:
        assert self.start(*overrides).wait(1200) == 0, self.log.read_text(errors="replace")[-4000:]

    def kill_after_checkpoint(self, step: int) -> int:
        """Start it, kill the trainer by SIGKILL once this step is saved whole; returns the last step that was."""
        process = self.start()
        end = time.monotonic() + 400
        while self.latest() < step:
            assert process.poll() is None and time.monotonic() < end, self.log.read_text(errors="replace")[-4000:]
            time.sleep(0.01)
        for trainer in self.processes():
            if trainer.cmdline()[1:3] in (["-u", "-m"], ["-m", "verl.trainer.sft_trainer"]):
                trainer.kill()
        assert process.wait(60) != 0
        assert self.processes() == []
        return self.latest()

    def latest(self) -> int:
        file = self.directory / "latest_checkpointed_iteration.txt"
        return int(file.read_text()) if file.exists() else 0

    def metrics(self, key: str) -> dict[int, Any]:
        """Step → value, of all starts of the run."""
        entries = [json.loads(line) for line in (self.directory / "metrics.jsonl").read_text().splitlines()]
        steps = [entry["step"] for entry in entries]
        assert steps == sorted(set(steps))
        return {entry["step"]: entry["data"][key] for entry in entries if key in entry["data"]}

    def processes(self) -> list[psutil.Process]:
        return processes_of(self.name)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    return Checkout(tmp_path_factory.mktemp("sft"))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Two train files of the two layouts, with rows of many lengths, and one to validate on."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder = tmp_path_factory.mktemp("parquet files")
    pairs = [{"prompt": f"Count to {n}", "response": " ".join(map(str, range(1, n + 1)))} for n in range(1, 26)]
    chats = [
        {"messages": [{"role": "user", "content": f"Say {n} times la"}, {"role": "assistant", "content": "la " * n}]}
        for n in range(1, 26)
    ]
    for name, rows in (("pairs", pairs), ("chats", chats), ("val", pairs[::3] + chats[::3])):
        if name == "val":
            rows = [row if "messages" in row else {"messages": as_chat(row)} for row in rows]
        pq.write_table(pa.Table.from_pylist(rows), folder / f"{name}.parquet")
    return {
        "SFT_TRAIN_FILES": f"{folder}/pairs.parquet, {folder}/chats.parquet",
        "SFT_VAL_FILES": f"{folder}/val.parquet",
    }


def as_chat(row: dict[str, str]) -> list[dict[str, str]]:
    return [{"role": "user", "content": row["prompt"]}, {"role": "assistant", "content": row["response"]}]


@pytest.fixture(scope="module")
def whole(checkout: Checkout, tiny: Path, files: dict[str, str]) -> SFTRun:
    """Full fine-tuning, from start to end without a stop."""
    run = SFTRun(checkout, tiny, files, "whole", SFT_MAX_CKPT_TO_KEEP="1")
    run.finish()
    return run


@pytest.fixture(scope="module", params=[("full", STEPS_AN_EPOCH), ("lora", 3)], ids=["full", "lora"])
def resumed(request: pytest.FixtureRequest, checkout: Checkout, tiny: Path, files: dict[str, str]) -> Iterator[SFTRun]:
    """Killed and resumed: full fine-tuning at the end of its first epoch, LoRA in the middle of it."""
    kind, step = request.param
    lora = {"SFT_LORA_RANK": "8", "SFT_LORA_ALPHA": "16"} if kind == "lora" else {}
    run = SFTRun(checkout, tiny, files, f"resumed-{kind}", **lora)
    # The checkpoint after `step` is the last: so the end of an epoch is met in every run of this test.
    run.environment["SFT_SAVE_FREQ"] = str(step)
    run.killed_after = run.kill_after_checkpoint(step)
    assert run.killed_after == step
    run.finish()
    yield run
    for process in run.processes():
        process.kill()


def test_the_loss_falls_on_rows_that_were_trained_and_on_rows_that_were_not(whole: SFTRun) -> None:
    validation = whole.metrics("val/loss")
    assert list(validation) == [3, 6, 9, 12]
    assert validation[12] < validation[3] - 0.1
    losses = whole.metrics("train/loss")
    assert list(losses) == list(range(1, 13))
    assert losses[12] < losses[1] - 0.1


def test_the_log_tells_what_the_files_hold_and_what_is_trained(whole: SFTRun) -> None:
    log = whole.log.read_text()
    assert "pairs.parquet: prompt and response" in log
    assert "chats.parquet: messages" in log
    assert "50 rows → 50 samples" in log
    assert f"{STEPS_AN_EPOCH} steps an epoch of 8; 2 samples over are left out" in log
    assert "⟦" in log


def test_old_checkpoints_are_removed_as_asked(whole: SFTRun) -> None:
    steps = sorted(path.name for path in whole.directory.glob("global_step_*") if any(path.glob("model*")))
    assert steps == ["global_step_12"]


def test_a_killed_run_goes_on_with_the_same_data_to_the_same_step(whole: SFTRun, resumed: SFTRun) -> None:
    assert resumed.latest() == 2 * STEPS_AN_EPOCH
    # Batches of other rows would have other numbers of tokens.
    assert resumed.metrics("train/global_tokens") == whole.metrics("train/global_tokens")
    assert f"resume   from step {resumed.killed_after}" in resumed.log.read_text()
    assert list(resumed.metrics("val/loss"))[-1] == 2 * STEPS_AN_EPOCH
    starts = [json.loads(line) for line in (resumed.directory / "starts.jsonl").read_text().splitlines()]
    assert [start["resumed_from"] for start in starts] == [0, resumed.killed_after]
    assert len({start["wandb_run_id"] for start in starts}) == 1
    assert list(resumed.metrics("train/learning_rate")) == list(range(1, 2 * STEPS_AN_EPOCH + 1))
    assert (resumed.directory / "total_steps.txt").read_text() == f"{2 * STEPS_AN_EPOCH}\n"


def test_a_resumed_run_learns_what_an_uninterrupted_one_does(whole: SFTRun, resumed: SFTRun) -> None:
    if "lora" in resumed.name:
        losses = resumed.metrics("val/loss")
        assert losses[12] < losses[3]
    else:  # bfloat16 arithmetic on two threads differs in the last digits
        assert resumed.metrics("val/loss")[12] == pytest.approx(whole.metrics("val/loss")[12], rel=0.02)


def test_the_checkpoint_becomes_a_plain_model(resumed: SFTRun, tiny: Path, tmp_path: Path) -> None:
    target = tmp_path / "merged model"
    merged = resumed.checkout.bash(
        "bash train/scripts/merge-sft.sh", CHECKPOINT_BASE=str(resumed.directory), TARGET_DIR=str(target)
    )
    assert merged.returncode == 0, merged.stderr[-3000:]
    model, base = AutoModelForCausalLM.from_pretrained(target), AutoModelForCausalLM.from_pretrained(tiny)
    assert model.num_parameters() == base.num_parameters()
    changed = [name for (name, a), b in zip(model.named_parameters(), base.parameters(), strict=True) if not a.equal(b)]
    assert changed
    if "lora" in resumed.name:
        assert not [name for name in changed if "embed_tokens" in name or "lm_head" in name]
        adapter = json.loads((target / "lora_adapter/adapter_config.json").read_text())
        assert (adapter["r"], adapter["lora_alpha"]) == (8, 16)
    with torch.no_grad():
        assert torch.isfinite(model(torch.tensor([[1, 2, 3]])).logits).all()


def test_other_data_under_the_same_name_are_refused(whole: SFTRun, files: dict[str, str]) -> None:
    whole.environment |= {"SFT_TRAIN_FILES": files["SFT_TRAIN_FILES"].partition(",")[0], "SFT_TOTAL_EPOCHS": "9"}
    assert whole.start().wait(300) != 0
    assert "the checkpoint was made with other data" in whole.log.read_text()


SHORTER = {
    "--num-samples 512": "--num-samples 128",
    "SFT_TEST_FREQ=8": "SFT_TEST_FREQ=2",
    "trainer.total_training_steps=10": "trainer.total_training_steps=1",
}


def test_the_way_from_sft_to_grpo_runs_as_the_page_says(tmp_path: Path, tiny: Path) -> None:
    """The commands of docs/training.md, with a smaller model to begin with and fewer steps.

    All but the last: a random model of 1.6M parameters earns no reward, and an adapter that has not moved is rightly
    not merged. The tests of GRPO merge one.
    """
    page = (Path(__file__).parent.parent / "docs/training.md").read_text()
    commands = page.partition("## From SFT to GRPO")[2].partition("```bash\n")[2].partition("```")[0]
    commands, _, last = commands.strip().rpartition("\n")
    assert last.endswith("merge-ppo.sh")
    for on_the_page, here in SHORTER.items():
        assert on_the_page in commands
        commands = commands.replace(on_the_page, here)
    checkout = Checkout(tmp_path)
    shutil.copytree(Path(__file__).parent.parent / "data_processing", checkout.root / "data_processing")
    checkout.own_python()
    with tempfile.TemporaryDirectory(prefix="ray-") as ray:  # the path of a socket has at most 107 bytes
        environment = {**checkout.env, "AGENT_MODEL_REPO_ID": str(tiny), "RAY_TMPDIR": ray, "VERITAS_MIN_FREE_GB": "1"}
        done = subprocess.run(
            ["bash", "-euc", commands], cwd=checkout.root, env=environment, capture_output=True, text=True, timeout=1200
        )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    assert "128 samples" in done.stdout
    validation = [float(text) for text in re.findall(r"step:\d+ - val/loss:([0-9.]+)", done.stdout)]
    assert len(validation) == 4
    assert validation[-1] < validation[0]
    start = json.loads((checkout.root / "train/artifacts/RL/checkpoints/experts-grpo/starts.jsonl").read_text())
    assert start["model"] == str(checkout.root / "train/models/experts")
    assert (checkout.root / "train/artifacts/RL/checkpoints/experts-grpo/global_step_1/actor").is_dir()
