"""sft-dataset.py as verl uses it: real parquet files, verl's own config, loader and collator."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from torch.utils.data import DistributedSampler
from torchdata.stateful_dataloader import StatefulDataLoader
from transformers import AutoTokenizer
from verl.trainer.sft_trainer import create_sft_dataset
from verl.utils.checkpoint import CheckpointHandler
from verl.utils.dataset.dataset_utils import SFTTensorCollator

from sft.conversations import ColumnNames, DataError
from sft.token_table import tokenise, tokenise_part

ROOT = Path(__file__).parent.parent
PAIRS = {"prompt": [f"{i} + {i} = ?" for i in range(8)], "response": [str(2 * i) for i in range(8)]}


@pytest.fixture(scope="module")
def tokenizer(tiny: Path) -> Any:
    return AutoTokenizer.from_pretrained(tiny)


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DictConfig:
    """The data section of our own recipe, with files to be named by the test."""
    variables = {"VERITAS_ROOT": str(ROOT), "WANDB_EXP": "x", "CHECKPOINT_DIR": "x", "AGENT_MODEL_PATH": "x"}
    for name, value in {**variables, "PROFILE": "cpu", "SFT_TRAIN_FILES": "unset"}.items():
        monkeypatch.setenv(name, value)
    with initialize_config_dir(str(ROOT / "train/config"), version_base=None):
        data = compose("sft", ["hydra.searchpath=[pkg://verl.trainer.config]", "data.train_batch_size=2"]).data
    data.cache_dir = str(tmp_path / "cache")
    return data


def write(file: Path, columns: dict[str, Any]) -> Path:
    pq.write_table(pa.table(columns), file)
    return file


def dataset(files: list[Path], config: DictConfig, tokenizer: Any, **settings: Any) -> Any:
    config.train_files = [str(file) for file in files]
    config.update(settings)
    return create_sft_dataset(config.train_files, config, tokenizer, None)


def answers(data: Any, tokenizer: Any) -> list[str]:
    texts = []
    for row in (data[i] for i in range(len(data))):
        texts.append(tokenizer.decode(row["input_ids"][row["loss_mask"].bool()]).removesuffix("<|im_end|>"))
    return texts


def test_files_of_both_layouts_are_read_in_their_order(
    tmp_path: Path, config: DictConfig, tokenizer: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    chats = [[{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}]]
    files = [write(tmp_path / "pairs.parquet", PAIRS), write(tmp_path / "chats.parquet", {"messages": chats})]
    data = dataset(files, config, tokenizer)
    assert answers(data, tokenizer) == [*PAIRS["response"], "Ho"]
    row = data[0]
    assert {key: tensor.dtype for key, tensor in row.items()} == dict.fromkeys(row, torch.int64)
    assert row["position_ids"].tolist() == list(range(len(row["input_ids"])))
    said = capsys.readouterr().out
    assert "pairs.parquet: prompt and response" in said
    assert "chats.parquet: messages" in said
    assert "9 rows → 9 samples" in said
    assert "0 rows dropped, 0 truncated" in said
    assert "4 steps an epoch of 2; 1 samples over are left out" in said
    assert "⟦0<|im_end|>⟧" in said


def test_verls_collator_packs_the_rows(tmp_path: Path, config: DictConfig, tokenizer: Any) -> None:
    data = dataset([write(tmp_path / "a.parquet", PAIRS)], config, tokenizer)
    batch = SFTTensorCollator("no_padding")([data[0], data[1]])
    assert batch["input_ids"].offsets().diff().tolist() == [len(data[0]["input_ids"]), len(data[1]["input_ids"])]
    assert batch["loss_mask"].values().sum() == sum(data[i]["loss_mask"].sum() for i in (0, 1))


def test_columns_of_other_names(tmp_path: Path, config: DictConfig, tokenizer: Any) -> None:
    columns = {"problem_statement": PAIRS["prompt"], "model_patch": PAIRS["response"], "messages": [None] * 8}
    file = write(tmp_path / "a.parquet", columns)
    data = dataset([file], config, tokenizer, prompt_key="problem_statement", response_key="model_patch")
    assert answers(data, tokenizer) == PAIRS["response"]


def test_a_prompt_that_is_a_chat_keeps_its_roles(tmp_path: Path, config: DictConfig, tokenizer: Any) -> None:
    prompts = [[{"role": "system", "content": "Be brief."}, {"role": "user", "content": text}] for text in "abcd"]
    data = dataset([write(tmp_path / "a.parquet", {"prompt": prompts, "response": list("efgh")})], config, tokenizer)
    assert tokenizer.decode(data[0]["input_ids"]).startswith("<|im_start|>system\nBe brief.<|im_end|>")
    assert answers(data, tokenizer) == list("efgh")


def test_faulty_rows_are_counted_by_reason_and_never_trained_on(
    tmp_path: Path, config: DictConfig, tokenizer: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    user, said = {"role": "user", "content": "q"}, {"role": "assistant", "content": "good"}
    rows = [
        {"messages": [user, said], "loss_mask": [0, 1]},
        {"messages": [user, said], "loss_mask": None},
        {"messages": [], "loss_mask": []},
        {"messages": None, "loss_mask": None},
        {"messages": [user], "loss_mask": None},
        {"messages": [user, {"role": "assistant", "content": " "}], "loss_mask": None},
        {"messages": [user, {"role": "assistant", "content": None}], "loss_mask": None},
        {"messages": [user, said], "loss_mask": [1]},
        {"messages": [user, said], "loss_mask": [1, 1]},
        {"messages": [user, said], "loss_mask": [0, 7]},
        {"messages": [user, said], "loss_mask": [0, 0]},
        {"messages": [{"role": None, "content": "q"}, said], "loss_mask": None},
        {"messages": [user, said], "loss_mask": None},
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    data = dataset([tmp_path / "a.parquet"], config, tokenizer)
    assert answers(data, tokenizer) == ["good"] * 3
    out = capsys.readouterr().out
    for line in (
        "10 rows dropped",
        "2 × empty messages (the first: a.parquet row 3)",
        "2 × no assistant turn to train on (the first: a.parquet row 5)",
        "2 × empty assistant turn (the first: a.parquet row 6)",
        "1 × loss mask with another length than the messages (the first: a.parquet row 8)",
        "1 × loss mask that marks a turn which is not the assistant's (the first: a.parquet row 9)",
        "1 × loss mask with a value other than 0 and 1 (the first: a.parquet row 10)",
        "1 × message without a role (the first: a.parquet row 12)",
    ):
        assert line in out


def test_null_and_blank_prompts_and_responses_are_left_out(tmp_path: Path, config: DictConfig, tokenizer: Any) -> None:
    columns = {"prompt": ["a", None, "", " ", "b", "c"], "response": ["1", "2", "3", "4", None, "5"]}
    assert answers(dataset([write(tmp_path / "a.parquet", columns)], config, tokenizer), tokenizer) == ["1", "5"]


def test_tools_may_be_lists_or_json_text(tmp_path: Path, config: DictConfig, tokenizer: Any) -> None:
    import chat_templates

    tokenizer = AutoTokenizer.from_pretrained(tokenizer.name_or_path, chat_template=chat_templates.WITH_TOOLS)
    tool = {"name": "run", "parameters": {"path": {"type": "string"}}}
    call = {"role": "assistant", "content": None, "tool_calls": [{"name": "run", "arguments": {"path": "a"}}]}
    other = {"role": "assistant", "content": "x", "tool_calls": [{"name": "see", "arguments": {"line": 3}}]}
    rows = [
        {"messages": [{"role": "user", "content": "go"}, turn], "tools": json.dumps([tool])} for turn in (call, other)
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "text.parquet")
    pq.write_table(pa.Table.from_pylist([{**row, "tools": [tool]} for row in rows]), tmp_path / "list.parquet")
    for name in ("text", "list"):
        data = dataset([tmp_path / f"{name}.parquet"], config, tokenizer)
        # Parquet fills every call with the other's arguments as nulls: they must not be taught.
        assert answers(data, tokenizer) == [
            '<call>{"name": "run", "arguments": {"path": "a"}}</call>',
            'x<call>{"name": "see", "arguments": {"line": 3}}</call>',
        ]
        assert '"parameters": {"path": {"type": "string"}}' in tokenizer.decode(data[0]["input_ids"])


LONG = {"prompt": ["a", "b", "c", "d"], "response": ["1", "2", "3 " * 40, "4"]}


def test_an_over_long_row_stops_the_run_by_default(tmp_path: Path, config: DictConfig, tokenizer: Any) -> None:
    with pytest.raises(DataError, match=r"1 of 4 rows have more than data.max_length=64 .*a.parquet row 3.*SFT_TRUNC"):
        dataset([write(tmp_path / "a.parquet", LONG)], config, tokenizer, max_length=64)


@pytest.mark.parametrize(
    ("policy", "samples", "line"),
    [
        ("drop", 3, "1 rows dropped, 0 truncated"),
        ("right", 4, "0 rows dropped, 1 truncated"),
        ("left", 4, "0 rows dropped, 1 truncated"),
        ("split", 5, "0 rows dropped, 1 truncated"),
    ],
)
def test_over_long_rows_are_handled_as_configured(
    tmp_path: Path,
    config: DictConfig,
    tokenizer: Any,
    capsys: pytest.CaptureFixture[str],
    policy: str,
    samples: int,
    line: str,
) -> None:
    data = dataset([write(tmp_path / "a.parquet", LONG)], config, tokenizer, max_length=64, truncation=policy)
    assert len(data) == samples
    assert max(len(data[i]["input_ids"]) for i in range(samples)) <= 64
    assert line in capsys.readouterr().out


@pytest.mark.parametrize("parts", [1, 3, 9])
def test_a_table_in_parts_has_the_same_rows_in_the_same_order(tmp_path: Path, tokenizer: Any, parts: int) -> None:
    file = tmp_path / "a.parquet"
    pd.DataFrame({"prompt": [f"p{i}" for i in range(40)], "response": [f"r{i}" for i in range(40)]}).to_parquet(
        file, row_group_size=7
    )

    def settings(count: int) -> dict[str, Any]:
        return {"max_length": 64, "policy": "error", "cache_dir": tmp_path / f"cache-{count}", "parts": count}

    whole = tokenise([file], ColumnNames(), tokenizer, **settings(1))
    for number in reversed(range(parts)):  # as the ranks happen to come
        tokenise_part(number, [file], ColumnNames(), tokenizer, **settings(parts))
    made = {path: path.stat().st_mtime_ns for path in (tmp_path / f"cache-{parts}").rglob("*.arrow")}
    table = tokenise([file], ColumnNames(), tokenizer, **settings(parts))
    assert (table.digest, table.summary) == (whole.digest, whole.summary)
    assert len(made) == min(parts, 6)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / f"cache-{parts}").rglob("*.arrow")} == made


def test_the_cache_is_not_used_for_other_content_or_settings(
    tmp_path: Path, config: DictConfig, tokenizer: Any
) -> None:
    file = write(tmp_path / "a.parquet", LONG)
    first = dataset([file], config, tokenizer)
    assert len(dataset([file], config, tokenizer, max_length=64, truncation="drop")) == len(first) - 1
    write(file, PAIRS)
    assert len(dataset([file], config, tokenizer)) == len(PAIRS["prompt"])


BAD_FILES = {
    "columns": (
        {"question": ["a"], "answer": ["b"]},
        r"'prompt' and 'response' nor 'messages'; it has question, answer",
    ),
    "a number": ({"prompt": ["a"], "response": [3]}, r"column 'response' holds int64, where text is needed"),
    "a list of text": ({"messages": [["a", "b"]]}, r"column 'messages' holds list<.*string>, where a list of"),
    "a text mask": (
        {"messages": [[{"role": "user", "content": "a"}]], "loss_mask": ["01"]},
        r"column 'loss_mask' holds string, where a list of 0 and 1",
    ),
    "no row": ({"prompt": pa.array([], pa.string()), "response": pa.array([], pa.string())}, "no rows"),
    "no good row": ({"prompt": ["", None], "response": ["b", "c"]}, "no row can be trained on"),
    "too few rows": ({"prompt": ["a"], "response": ["b"]}, r"1 samples are fewer than data.train_batch_size=2"),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_a_bad_file_is_refused_with_its_reason(tmp_path: Path, config: DictConfig, tokenizer: Any, case: str) -> None:
    columns, reason = BAD_FILES[case]
    with pytest.raises(DataError, match=reason):
        dataset([write(tmp_path / "a.parquet", columns)], config, tokenizer)


@pytest.mark.parametrize("keep", [0.9, 0.0])
def test_a_truncated_file_is_refused(tmp_path: Path, config: DictConfig, tokenizer: Any, keep: float) -> None:
    file = write(tmp_path / "a.parquet", PAIRS)
    file.write_bytes(file.read_bytes()[: int(file.stat().st_size * keep)])
    with pytest.raises(DataError, match=r"a.parquet is not a whole parquet file"):
        dataset([file], config, tokenizer)


def test_a_file_that_is_damaged_inside_is_refused(tmp_path: Path, config: DictConfig, tokenizer: Any) -> None:
    file = tmp_path / "a.parquet"
    pq.write_table(pa.table({key: value * 500 for key, value in PAIRS.items()}), file, compression="zstd")
    content = bytearray(file.read_bytes())
    content[20:200] = bytes(180)
    file.write_bytes(content)
    with pytest.raises(DataError, match=r"a.parquet is damaged"):
        dataset([file], config, tokenizer)


def test_an_unknown_policy_or_padding_is_refused(tmp_path: Path, config: DictConfig, tokenizer: Any) -> None:
    file = write(tmp_path / "a.parquet", PAIRS)
    with pytest.raises(DataError, match=r"truncation=middle .*use error, drop"):
        dataset([file], config, tokenizer, truncation="middle")
    with pytest.raises(DataError, match=r"pad_mode=right"):
        dataset([file], config, tokenizer, truncation="error", pad_mode="right")


class Loader:
    """verl's loader and checkpoint handler around a dataset, without a model."""

    def __init__(self, data: Any, directory: Path) -> None:
        self.sampler = DistributedSampler(data, num_replicas=1, rank=0, shuffle=True, drop_last=True)
        self.loader = StatefulDataLoader(
            data, batch_size=2, sampler=self.sampler, drop_last=True, collate_fn=SFTTensorCollator("no_padding")
        )
        self.directory = directory
        self.step = 0

    def handler(self) -> CheckpointHandler:
        handler = CheckpointHandler.__new__(CheckpointHandler)  # its constructor wants a model
        handler.dp_rank = handler.rank = 0
        handler.train_dataloader = self.loader
        return handler

    def resume(self, step: int) -> None:
        handler = self.handler()
        handler.resume_global_step = step
        handler._load_dataloader_state(str(self.directory / f"global_step_{step}"))
        self.step = step

    def run(self, upto: int) -> list[tuple[int, list[int]]]:
        """(step, tokens of its batch), as verl's fit() goes through epochs, with a checkpoint after each step."""
        seen = []
        for epoch in range(self.step // len(self.loader), 10):
            self.sampler.set_epoch(epoch)
            for batch in self.loader:
                self.step += 1
                seen.append((self.step, batch["input_ids"].values().tolist()))
                directory = self.directory / f"global_step_{self.step}"
                directory.mkdir(parents=True, exist_ok=True)
                torch.save(self.loader.state_dict(), directory / "data_0.pt")
                if self.step == upto:
                    return seen
        return seen


@pytest.mark.parametrize("stop", range(1, 9))
def test_a_resumed_run_sees_the_same_batches_also_at_the_end_of_an_epoch(
    tmp_path: Path, config: DictConfig, tokenizer: Any, stop: int
) -> None:
    data = dataset([write(tmp_path / "a.parquet", PAIRS)], config, tokenizer)
    whole = Loader(data, tmp_path / "run").run(10)  # 4 steps an epoch
    assert len(whole) == 10
    again = Loader(dataset([tmp_path / "a.parquet"], config, tokenizer), tmp_path / "run")
    again.resume(stop)
    assert again.run(10) == whole[stop:]


@pytest.mark.parametrize("stop", [3, 4])
def test_resuming_with_other_data_is_refused(tmp_path: Path, config: DictConfig, tokenizer: Any, stop: int) -> None:
    Loader(dataset([write(tmp_path / "a.parquet", PAIRS)], config, tokenizer), tmp_path / "run").run(4)
    other = write(tmp_path / "b.parquet", {**PAIRS, "response": PAIRS["response"][::-1]})
    loader = Loader(dataset([other], config, tokenizer), tmp_path / "run")
    with pytest.raises(DataError, match="made with other data"):
        loader.resume(stop)
        loader.run(5)


def test_a_checkpoint_without_its_place_in_the_data_is_refused(
    tmp_path: Path, config: DictConfig, tokenizer: Any
) -> None:
    loader = Loader(dataset([write(tmp_path / "a.parquet", PAIRS)], config, tokenizer), tmp_path / "run")
    with pytest.raises(DataError, match=r"data_0.pt is not there"):
        loader.resume(3)


@pytest.mark.slow
def test_a_trainer_that_fails_does_not_close_its_trackers_when_python_ends(tmp_path: Path) -> None:
    code = (
        "import os, sys; from sft.ending import end_after_a_fault; from verl.utils.tracking import Tracking\n"
        "end_after_a_fault() if sys.argv[1] == 'ours' else None\n"
        "Tracking.finish = lambda self, exit_code=0, write=os.write: write(2, b'closed')\n"
        "tracking = Tracking.__new__(Tracking); sys.exit(1)"
    )
    for which, closed in (("ours", False), ("verl's", True)):
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "train/tools")}
        done = subprocess.run(
            [sys.executable, "-c", code, which], env=environment, capture_output=True, text=True, cwd=tmp_path
        )
        assert done.returncode == 1 and ("closed" in done.stderr) == closed, done.stderr
