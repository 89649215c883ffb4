"""The embedded model: right tokens, right size, tied, and never half there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

import embedded_model
from embedded_model import ModelError, build_model, find_gguf, main, missing_parts
from model_weights import ModelWeights
from whole_dir import TargetError, check_free_space, ended_by_sigterm, whole_dir

TOOLS = Path(embedded_model.__file__).parent


@pytest.mark.slow
def test_tiny_is_small_tied_seeded_and_stops_at_the_end_of_a_turn(tiny: Path, tmp_path: Path) -> None:
    weights = ModelWeights(tiny)
    assert weights.num_parameters() == 1_609_888
    assert "lm_head.weight" not in weights
    _check_tokens(tiny)
    again = tmp_path / "again"
    build_model("tiny", again)
    assert (again / "model.safetensors").read_bytes() == (tiny / "model.safetensors").read_bytes()


@pytest.mark.slow
def test_smollm2_is_whole_and_tied(smollm2: Path) -> None:
    weights = ModelWeights(smollm2)
    assert len(weights) == 272
    assert weights.num_parameters() == 134_515_008
    assert {weights.dtype(name) for name in weights} == {torch.bfloat16}
    _check_tokens(smollm2)
    model = AutoModelForCausalLM.from_pretrained(smollm2)
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert model.config.architectures == ["LlamaForCausalLM"]


@pytest.mark.slow
def test_smollm2_knows_the_capital_of_france_and_stops(smollm2: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(smollm2)
    model = AutoModelForCausalLM.from_pretrained(smollm2, dtype=torch.float32)
    question = [{"role": "user", "content": "What is the capital of France?"}]
    ids = tokenizer.apply_chat_template(question, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    answer = model.generate(**ids, max_new_tokens=40, do_sample=False)[0, ids["input_ids"].shape[1] :]
    assert "Paris" in tokenizer.decode(answer)
    assert answer[-1] == tokenizer.eos_token_id


def _check_tokens(model: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(model)
    assert (tokenizer.eos_token, tokenizer.pad_token) == ("<|im_end|>", "<|im_end|>")
    generation = GenerationConfig.from_pretrained(model)
    assert generation.eos_token_id == generation.pad_token_id == tokenizer.eos_token_id == 2
    assert tokenizer.model_max_length == 8192
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Hi"}], add_generation_prompt=True, tokenize=False
    )
    assert prompt.endswith("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n")
    # Digits stand alone, also after spaces: the GGUF's own rule ("smollm"), which the plain conversion loses.
    assert tokenizer.tokenize("a\n  12") == ["a", "ĊĠĠ", "1", "2"]
    text = "x  1,234 . don't \u2581 \N{SNOWMAN} <|im_end|>"
    assert tokenizer.decode(tokenizer(text).input_ids) == text


@pytest.mark.slow
def test_a_whole_model_is_left_alone_and_a_cut_one_is_not_taken_for_whole(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in tiny.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    before = (copy / "model.safetensors").stat().st_mtime_ns
    assert main(["tiny", "--output", str(copy)]) == 0
    assert "already there" in capsys.readouterr().out
    assert (copy / "model.safetensors").stat().st_mtime_ns == before
    with (copy / "model.safetensors").open("r+b") as file:
        file.truncate(1_000_000)
    assert main(["tiny", "--output", str(copy)]) == 1
    assert "model.safetensors is truncated" in capsys.readouterr().err
    (copy / "model.safetensors").write_bytes(b"\x00")
    assert missing_parts(copy)


def test_a_missing_package_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded_model, "PACKAGE", "no_such_package")
    with pytest.raises(ModelError, match="no_such_package is not installed: run `make setup`"):
        find_gguf()


def test_an_error_leaves_nothing_behind(tmp_path: Path) -> None:
    target = tmp_path / "model"
    with pytest.raises(KeyboardInterrupt), whole_dir(target) as staging:
        (staging / "config.json").write_text("{}")
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("library", ["turns it into its own error", "lets it through"])
def test_a_sigterm_leaves_nothing_behind_whatever_a_library_makes_of_it(tmp_path: Path, library: str) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as ended, ended_by_sigterm(), whole_dir(tmp_path / "model") as staging:
        (staging / "half").write_text("x")
        try:
            signal.raise_signal(signal.SIGTERM)
        except SystemExit as error:
            if library.startswith("turns"):
                raise ModelError(f"in a callback: {error!r}") from error
            raise
    assert ended.value.code == 143
    assert list(tmp_path.iterdir()) == []
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_failed_replacement_keeps_the_old_directory(tmp_path: Path) -> None:
    target = tmp_path / "model"
    target.mkdir()
    (target / "old").write_text("old")
    with pytest.raises(TargetError, match="--overwrite"), whole_dir(target):
        pass
    with pytest.raises(ZeroDivisionError), whole_dir(target, overwrite=True):
        raise ZeroDivisionError
    assert [path.name for path in target.iterdir()] == ["old"]
    with whole_dir(target, overwrite=True) as staging:
        (staging / "new").write_text("new")
    assert [path.name for path in target.iterdir()] == ["new"]
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_target_that_appears_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    target = tmp_path / "model"
    with pytest.raises(TargetError, match="appeared while it was being built"), whole_dir(target) as staging:
        (staging / "mine").write_text("")
        target.mkdir()
        (target / "theirs").write_text("")
    assert [path.name for path in target.iterdir()] == ["theirs"]


def test_what_a_killed_process_left_is_removed_and_not_taken_for_whole(tmp_path: Path) -> None:
    target = tmp_path / "model"
    code = (
        "import sys, time; from pathlib import Path; from whole_dir import whole_dir\n"
        f"with whole_dir(Path({str(target)!r})) as staging:\n"
        "    (staging / 'half').write_text('x'); print('ready', flush=True); time.sleep(60)"
    )
    environment = {**os.environ, "PYTHONPATH": str(TOOLS)}
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not target.exists()
    assert len(list(tmp_path.iterdir())) == 1
    with whole_dir(target) as staging:
        (staging / "whole").write_text("")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_no_space_is_found_before_writing(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match=r"needs 1050000000\.00 GB and its disk has"):
        check_free_space(tmp_path / "not" / "there" / "yet", 10**18)
