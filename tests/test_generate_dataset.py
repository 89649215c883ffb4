"""data_processing/generate_dataset.py: deterministic parquet that verl's own loaders read."""

import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import env_adapter
import generate_dataset
from env_adapter import Challenge
from toy_eval_env import ToyAdapter

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def toy(monkeypatch):
    monkeypatch.setitem(env_adapter.REGISTRY, "toy", "toy_eval_env:ToyAdapter")


def run(output, *arguments):
    return generate_dataset.main(["--env", "toy", "--output", str(output), *arguments])


def rows_of(path):
    return pq.read_table(path).to_pylist()


def test_messages_end_with_the_reference_answer(tmp_path):
    assert run(tmp_path / "a.parquet") == 0
    rows = rows_of(tmp_path / "a.parquet")
    assert len(rows) == 32  # 80 % of 40
    adapter = ToyAdapter()
    for row in rows:
        challenge = adapter.generate(row["task_id"])
        assert row["env"] == "toy"
        assert row["messages"][:-1] == challenge.messages
        assert row["messages"][-1]["role"] == "assistant"
        assert adapter.evaluate(row["messages"][-1]["content"], challenge).value == 1


def test_random_answers_are_well_formed_and_not_all_right(tmp_path):
    assert run(tmp_path / "a.parquet", "--answers", "random") == 0
    adapter = ToyAdapter()
    scores = [
        adapter.evaluate(row["messages"][-1]["content"], adapter.generate(row["task_id"])).value
        for row in rows_of(tmp_path / "a.parquet")
    ]
    assert min(scores) == 0.5


@pytest.mark.parametrize("arguments", [[], ["--answers", "random"], ["--format", "rl"]])
def test_same_arguments_same_bytes_other_seed_other_rows(tmp_path, arguments):
    for name, seed in [("a", "1"), ("b", "1"), ("c", "2")]:
        assert run(tmp_path / f"{name}.parquet", "--num-samples", "9", "--seed", seed, *arguments) == 0
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    assert rows_of(tmp_path / "a.parquet") != rows_of(tmp_path / "c.parquet")


def test_train_rows_are_not_in_the_test_split(tmp_path):
    for split in ("train", "test"):
        assert run(tmp_path / f"{split}.parquet", "--split", split, "--answers", "none") == 0
    train, test = ({row["task_id"] for row in rows_of(tmp_path / f"{split}.parquet")} for split in ("train", "test"))
    assert len(test) == 4
    assert not train & test


def test_rl_rows_carry_the_whole_challenge(tmp_path):
    assert run(tmp_path / "a.parquet", "--format", "rl", "--set", "tasks=50") == 0
    row = rows_of(tmp_path / "a.parquet")[0]
    challenge = Challenge.from_json(row["extra_info"]["challenge"])
    assert challenge == ToyAdapter().generate(row["extra_info"]["task_id"])
    assert row["prompt"] == challenge.messages
    assert row["data_source"] == row["extra_info"]["env"] == "toy"
    assert row["extra_info"]["adapter_config"] == '{"tasks": 50}'
    assert row["reward_model"] == {"style": "rule", "ground_truth": str(challenge.extra["sum"])}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--num-samples", "33"], "the split has 32 tasks"),
        (["--num-samples", "-1"], "the split has 32 tasks"),
        (["--set", "takss=3"], "did you mean 'tasks'"),
        (["--set", "tasks=4", "--split", "test"], "the test split of 4 tasks is empty"),
        (["--set", "tasks"], "write KEY=VALUE"),
        (["--adapter-config", "[1]"], "not a JSON object"),
        (["--adapter-config", "{"], "not JSON"),
        (["--set", "no_answers=true"], "no reference answers"),
        (["--set", "fail_generate=true"], "the toy shop is closed"),
        (["--format", "rl", "--answers", "random"], "no ground truth"),
        (["--validation-fraction", "0.9"], "leave something to train on"),
    ],
)
def test_bad_input_is_one_line_and_no_file(tmp_path, capsys, arguments, words):
    assert run(tmp_path / "a.parquet", *arguments) == 2
    error = [line for line in capsys.readouterr().err.splitlines() if "generate_dataset:" in line]
    assert len(error) == 1
    assert words in error[0]
    assert not list(tmp_path.iterdir())


def test_a_fault_in_the_middle_keeps_the_earlier_file(tmp_path, monkeypatch):
    target = tmp_path / "a.parquet"
    assert run(target) == 0
    before = target.read_bytes()

    def out_of_space(self, challenge):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ToyAdapter, "reference_answer", out_of_space)
    assert run(target) == 2
    assert target.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["a.parquet"]


def test_runs_alone_from_another_folder_without_torch(tmp_path):
    script = ROOT / "data_processing" / "generate_dataset.py"
    code = f"""
import runpy, sys
sys.argv = ["generate_dataset", "--help"]
try:
    runpy.run_path({str(script)!r}, run_name="__main__")
except SystemExit as end:
    assert end.code == 0
assert not {{"torch", "verl", "vllm", "transformers"}} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--answers" in done.stdout


@pytest.mark.slow
def test_verls_sft_dataset_reads_it_and_trains_the_answer_alone(tmp_path):
    from omegaconf import OmegaConf
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast
    from verl.utils.dataset.multiturn_sft_dataset import MultiTurnSFTDataset

    assert run(tmp_path / "a.parquet") == 0
    alphabet = {chr(code): code for code in range(128)} | {"[UNK]": 128}
    bare = Tokenizer(models.WordLevel(alphabet, unk_token="[UNK]"))
    bare.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bare, pad_token="\x00", eos_token="~", unk_token="[UNK]")
    tokenizer.chat_template = (
        "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}~{% endfor %}"
        "{% if add_generation_prompt %}<assistant>{% endif %}"
    )
    config = OmegaConf.create({"max_length": 128, "truncation": "error", "pad_mode": "right"})
    dataset = MultiTurnSFTDataset(str(tmp_path / "a.parquet"), tokenizer, config)
    assert len(dataset) == 32
    row = rows_of(tmp_path / "a.parquet")[5]
    item = dataset[5]
    trained = "".join(chr(token) for token in item["input_ids"][item["loss_mask"].bool()].tolist())
    assert trained == row["messages"][-1]["content"] + "~"
