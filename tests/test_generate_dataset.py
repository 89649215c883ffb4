"""data_processing/generate_dataset.py: deterministic files that verl's own loaders and the converters read."""

import json
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import env_adapter
import generate_dataset
from env_adapter import Challenge, get_env_adapter
from toy_eval_env import ToyAdapter

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def toy(monkeypatch):
    monkeypatch.setitem(env_adapter.REGISTRY, "toy", "toy_eval_env:ToyAdapter")
    env_adapter._build_shared.cache_clear()


def run(output, *arguments):
    return generate_dataset.main(["--env", "toy", "--output", str(output), *arguments])


def rows_of(path):
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return pq.read_table(path).to_pylist()


def error_line(capsys):
    lines = [line for line in capsys.readouterr().err.splitlines() if "generate_dataset:" in line]
    assert len(lines) == 1
    return lines[0]


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


@pytest.mark.parametrize("ending", ["parquet", "jsonl"])
@pytest.mark.parametrize("arguments", [[], ["--answers", "random"], ["--format", "rl"], ["--format", "plain"]])
def test_same_arguments_same_bytes_other_seed_other_rows(tmp_path, arguments, ending):
    paths = [tmp_path / f"{name}.{ending}" for name in "abc"]
    for path, seed in zip(paths, ["1", "1", "2"], strict=True):
        assert run(path, "--num-samples", "9", "--seed", seed, *arguments) == 0
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert rows_of(paths[0]) != rows_of(paths[2])


@pytest.mark.parametrize("layout", ["plain", "messages", "rl"])
@pytest.mark.parametrize("answers", ["reference", "none"])
def test_both_endings_hold_the_same_rows(tmp_path, layout, answers):
    for ending in ("jsonl", "parquet"):
        assert run(tmp_path / f"a.{ending}", "--format", layout, "--answers", answers) == 0
    assert rows_of(tmp_path / "a.jsonl") == rows_of(tmp_path / "a.parquet")


def test_a_plain_row_has_the_words_that_converters_look_for(tmp_path):
    assert run(tmp_path / "a.jsonl", "--set", "tasks=50", "--split", "validation") == 0
    row = rows_of(tmp_path / "a.jsonl")[0]
    challenge = ToyAdapter({"tasks": 50}).generate(row["task_id"])
    assert row == {
        "task_id": challenge.task_id,
        "env": "toy",
        "task_type": "toy",
        "prompt": challenge.messages,
        "answer": str(challenge.extra["sum"]),
        "metadata": {
            "answers": "reference",
            "split": "validation",
            "challenge": challenge.to_json(),
            "adapter_config": '{"tasks": 50}',
        },
    }


def test_train_rows_are_not_in_the_test_split(tmp_path):
    for split in ("train", "test"):
        assert run(tmp_path / f"{split}.parquet", "--split", split, "--answers", "none") == 0
    train, test = ({row["task_id"] for row in rows_of(tmp_path / f"{split}.parquet")} for split in ("train", "test"))
    assert len(test) == 4
    assert not train & test


def test_the_three_splits_of_openspiel_share_no_task_and_no_prompt(tmp_path):
    ids, prompts = [], []
    for split in ("train", "validation", "test"):
        arguments = ["--env", "openspiel", "--set", "game_types=tic_tac_toe", "--split", split, "--answers", "random"]
        assert run(tmp_path / f"{split}.jsonl", *arguments) == 0
        rows = rows_of(tmp_path / f"{split}.jsonl")
        assert {row["metadata"]["split"] for row in rows} == {split}
        ids += [row["task_id"] for row in rows]
        prompts += [json.dumps(row["prompt"]) for row in rows]
    assert sorted(ids) == list(range(100))
    assert len(set(prompts)) == 100


@pytest.mark.parametrize(("case", "actions"), [("tic_tac_toe", 9), ("dots_and_boxes(num_rows=2,num_cols=2)", 12)])
def test_openspiels_reference_answer_is_the_best_move_and_the_lowest_of_equals(tmp_path, case, actions):
    arguments = ["--env", "openspiel", "--set", f"game_types={case}", "--num-samples", "12"]
    assert run(tmp_path / "a.jsonl", *arguments, "--set", "value_budget_ms=2") == 0
    adapter = get_env_adapter("openspiel", {"game_types": case})
    ties = 0
    for row in rows_of(tmp_path / "a.jsonl"):
        challenge = Challenge.from_json(row["metadata"]["challenge"])
        scores = {action: adapter.evaluate(str(action), challenge) for action in range(actions)}
        values = {action: score.value for action, score in scores.items() if score.metrics["legal"]}
        best = [action for action, value in values.items() if value == max(values.values())]
        assert row["answer"] == str(min(best))
        assert row["task_type"] == case
        ties += len(best) > 1
    assert ties


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
        (["--concurrency", "0"], "--concurrency 0: must be at least 1"),
        (["--concurrency", "2", "--set", "fail_generate=true"], "the toy shop is closed"),
    ],
)
def test_bad_input_is_one_line_and_no_file(tmp_path, capsys, arguments, words):
    assert run(tmp_path / "a.parquet", *arguments) == 2
    assert words in error_line(capsys)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["a.csv", "a", "a.json"])
def test_an_unknown_ending_is_refused(tmp_path, capsys, name):
    assert run(tmp_path / name) == 2
    assert "end it in .parquet or .jsonl" in error_line(capsys)


def test_a_directory_as_output_is_refused(tmp_path, capsys):
    (tmp_path / "a.jsonl").mkdir()
    assert run(tmp_path / "a.jsonl") == 2
    assert "is a directory" in error_line(capsys)


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
