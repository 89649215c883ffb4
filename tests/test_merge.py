"""A merged model is the trained one, or it is refused."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

import merge_adapter_into_base
from checkpoint_steps import find_checkpoint
from export_checkpoint import check_complete, export_checkpoint
from export_checkpoint import main as export_main
from merge_adapter_into_base import main as merge_main
from merge_adapter_into_base import merge_adapter, prove_merge
from model_weights import ExportError, ModelWeights, compare

TOOLS = Path(merge_adapter_into_base.__file__).parent


def save_base(directory: Path, hidden_size: int = 32, tied: bool = True) -> Path:
    config = LlamaConfig(
        vocab_size=64, hidden_size=hidden_size, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=16, attention_bias=True, tie_word_embeddings=tied, eos_token_id=2,
    )  # fmt: skip
    torch.manual_seed(0)
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(directory)
    (directory / "tokenizer_config.json").write_text('{"from": "base"}')
    (directory / "vocab.json").write_text("{}")
    return directory


def save_adapter(base: Path, directory: Path, scale: float = 0.1, **settings: object) -> Path:
    config = LoraConfig(**{"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "down_proj"], **settings})
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), config)
    torch.manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name or "lora_embedding_B" in name:
                parameter.normal_(std=scale)
            elif "magnitude" in name:
                parameter.mul_(1.1)
    model.save_pretrained(directory)
    return directory


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def adapter(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_adapter(base, tmp_path_factory.mktemp("adapter"))


@pytest.fixture
def output(tmp_path: Path) -> Path:
    path = tmp_path / "output"
    path.mkdir()
    return path


@pytest.mark.parametrize("settings", [{}, {"use_rslora": True}, {"use_dora": True}], ids=["lora", "rslora", "dora"])
def test_streaming_gives_what_peft_gives(base: Path, tmp_path: Path, output: Path, settings: dict) -> None:
    adapter = save_adapter(base, tmp_path / "adapter", **settings)
    difference = merge_adapter(base, adapter, output)
    assert sorted(difference.changed) == [
        f"model.layers.{layer}.{name}.weight" for layer in (0, 1) for name in ("mlp.down_proj", "self_attn.q_proj")
    ]
    peft_model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), adapter)
    ids = torch.arange(20)[None]
    with torch.no_grad():
        wanted_logits = peft_model(ids).logits
        merged = AutoModelForCausalLM.from_pretrained(output)
        torch.testing.assert_close(merged(ids).logits, wanted_logits, atol=0.02, rtol=0.02)
    wanted = peft_model.merge_and_unload().state_dict()
    for name, tensor in merged.state_dict().items():
        assert torch.equal(tensor, wanted[name]), name
    assert merged.lm_head.weight is merged.model.embed_tokens.weight
    assert (output / "config.json").read_text() == (base / "config.json").read_text().rstrip() + "\n"


def test_shards_are_small_and_load(base: Path, adapter: Path, output: Path) -> None:
    merge_adapter(base, adapter, output, max_shard_size="20KB")
    files = sorted(path.name for path in output.glob("model-*"))
    assert len(files) > 1
    assert files[0] == f"model-00001-of-{len(files):05d}.safetensors"
    whole = output / "whole"
    whole.mkdir()
    merge_adapter(base, adapter, whole)
    assert not compare(ModelWeights(output), ModelWeights(whole)).changed
    assert AutoModelForCausalLM.from_pretrained(output).config.vocab_size == 64


def test_dtype_is_the_bases_or_the_one_asked_for(base: Path, adapter: Path, tmp_path: Path) -> None:
    for arguments, dtype in (([], torch.bfloat16), (["--dtype", "float32"], torch.float32)):
        target = tmp_path / str(dtype)
        command = ["--base_model", str(base), "--adapter_model", str(adapter), "--output_dir", str(target)]
        assert merge_main([*command, *arguments]) == 0
        weights = ModelWeights(target)
        assert {weights.dtype(name) for name in weights} == {dtype}
        assert json.loads((target / "config.json").read_text())["dtype"] == str(dtype).removeprefix("torch.")


def test_the_tokenizer_is_the_adapters_when_it_has_one(base: Path, adapter: Path, tmp_path: Path) -> None:
    own = tmp_path / "own"
    shutil.copytree(adapter, own)
    (own / "tokenizer_config.json").write_text('{"from": "adapter"}')
    (own / "chat_template.jinja").write_text("{{ trained }}")
    for source, wanted in ((adapter, "base"), (own, "adapter")):
        target = tmp_path / wanted
        target.mkdir()
        merge_adapter(base, source, target)
        assert json.loads((target / "tokenizer_config.json").read_text()) == {"from": wanted}
        # Nothing of the other tokenizer is mixed in.
        assert (target / "vocab.json").is_file() == (wanted == "base")
        assert (target / "chat_template.jinja").is_file() == (wanted == "adapter")


def test_a_zero_adapter_is_refused(base: Path, tmp_path: Path, output: Path) -> None:
    with pytest.raises(ExportError, match="every lora_B is zero"):
        merge_adapter(base, save_adapter(base, tmp_path / "zero", scale=0), output)
    with pytest.raises(ExportError, match=r"identical to the base.*smaller than the dtype can hold"):
        merge_adapter(base, save_adapter(base, tmp_path / "small", scale=1e-9), output)
    alpha = save_adapter(base, tmp_path / "alpha", lora_alpha=0)
    with pytest.raises(ExportError, match="lora_alpha is 0"):
        merge_adapter(base, alpha, output)


def test_an_adapter_of_another_base_is_refused_with_both_shapes(adapter: Path, tmp_path: Path, output: Path) -> None:
    wide = save_base(tmp_path / "wide", hidden_size=64)
    with pytest.raises(ExportError, match=r"another base: .*lora_B.*\(32, 4\).*\(64, 48\).*64 features.* 32"):
        merge_adapter(wide, adapter, output)
    config = json.loads((wide / "config.json").read_text())
    (wide / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 1, "hidden_size": 32}))
    with pytest.raises(ExportError, match=r"another base: .* has no layer model\.layers\.1"):
        merge_adapter(wide, adapter, output)


def test_an_adapter_on_tied_embeddings_is_refused(base: Path, tmp_path: Path, output: Path) -> None:
    adapter = save_adapter(base, tmp_path / "adapter", target_modules=["q_proj", "embed_tokens"])
    with pytest.raises(ExportError, match="ties to its other embedding"):
        merge_adapter(base, adapter, output)


@pytest.mark.parametrize("sabotage", ["base copied", "target zeroed", "other changed", "lm_head added", "lost", "NaN"])
def test_a_sabotaged_model_is_refused(base: Path, adapter: Path, output: Path, sabotage: str) -> None:
    expected = merge_adapter(base, adapter, output).changed
    prove_merge(ModelWeights(base), ModelWeights(output), expected)
    file = output / "model.safetensors"
    tensors = load_file(file)
    target, other = "model.layers.0.self_attn.q_proj.weight", "model.norm.weight"
    if sabotage == "base copied":
        tensors = load_file(base / "model.safetensors")
    elif sabotage == "target zeroed":
        tensors[target] = torch.zeros_like(tensors[target])
    elif sabotage == "other changed":
        tensors[other] = tensors[other] * 1.5
    elif sabotage == "lm_head added":
        tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()
    elif sabotage == "lost":
        del tensors[other]
    else:
        tensors[target][0, 0] = float("nan")
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(ExportError):
        prove_merge(ModelWeights(base), ModelWeights(output), expected)
    if sabotage in ("lm_head added", "lost"):
        with pytest.raises(ExportError):
            check_complete(ModelWeights(output), ModelWeights(base).num_parameters(), tied=sabotage != "lost")


def test_a_refusal_leaves_no_target_and_an_old_one_alone(
    base: Path, adapter: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    target, zero = tmp_path / "target", save_adapter(base, tmp_path / "zero", scale=0)
    command = ["--base_model", str(base), "--output_dir", str(target), "--adapter_model"]
    assert merge_main([*command, str(zero)]) == 1
    assert not target.exists()
    assert merge_main([*command, str(adapter)]) == 0
    before = (target / "model.safetensors").read_bytes()
    assert merge_main([*command, str(adapter)]) == 1
    assert "--overwrite" in capsys.readouterr().err
    assert merge_main([*command, str(zero), "--overwrite"]) == 1
    assert (target / "model.safetensors").read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} == {"target", "zero"}
    assert merge_main(["--base_model", "org/model", "--output_dir", str(target), "--adapter_model", "x"]) == 1
    assert "hf download org/model" in capsys.readouterr().err


def test_a_truncated_base_is_refused(base: Path, adapter: Path, tmp_path: Path, output: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(base, broken)
    with (broken / "model.safetensors").open("r+b") as file:
        file.truncate(9000)
    with pytest.raises(ExportError, match=r"model\.safetensors is missing or truncated"):
        merge_adapter(broken, adapter, output)


def make_step(experiment: Path, step: int, world_size: int = 1) -> Path:
    local = experiment / f"global_step_{step}" / "actor"
    (local / "huggingface").mkdir(parents=True)
    (local / "huggingface" / "config.json").write_text("{}")
    (local / "fsdp_config.json").write_text(json.dumps({"FSDP_version": 2, "world_size": world_size}))
    for rank in range(world_size):
        torch.save({"w": torch.zeros(2000)}, local / f"model_world_size_{world_size}_rank_{rank}.pt")
    return local


def test_the_latest_complete_step_is_found(tmp_path: Path) -> None:
    for step in (5, 10, 20, 25):
        make_step(tmp_path, step)
    (tmp_path / "latest_checkpointed_iteration.txt").write_text("20\n")
    with (tmp_path / "global_step_20/actor/model_world_size_1_rank_0.pt").open("r+b") as file:
        file.truncate(3000)
    checkpoint, remarks = find_checkpoint(tmp_path)
    assert checkpoint.step == 10
    assert "global_step_25 is newer" in remarks[0]
    assert "truncated (3000 bytes)" in remarks[1]
    assert find_checkpoint(tmp_path, 25)[0].step == 25
    with pytest.raises(ExportError, match="has no global_step_7: there is step 5, 10, 20, 25"):
        find_checkpoint(tmp_path, 7)
    with pytest.raises(ExportError, match="truncated"):
        find_checkpoint(tmp_path, 20)
    with pytest.raises(ExportError, match=r"--role actor is there"):
        find_checkpoint(tmp_path, 10, role="critic")
    (tmp_path / "latest_checkpointed_iteration.txt").write_text("twenty")
    with pytest.raises(ExportError, match="holds 'twenty', not a step"):
        find_checkpoint(tmp_path)


def test_an_incomplete_or_absent_checkpoint_says_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="has no global_step"):
        find_checkpoint(tmp_path)
    with pytest.raises(ExportError, match="is not a directory"):
        find_checkpoint(tmp_path / "nowhere")
    local = make_step(tmp_path / "runs" / "mine", 3, world_size=2)
    checkpoint, remarks = find_checkpoint(tmp_path)
    assert checkpoint.step == 3
    assert "mine is the only experiment in" in remarks[0]
    make_step(tmp_path / "runs" / "yours", 4)
    with pytest.raises(ExportError, match=r"2 experiment\(s\)(.|\n)*mine: step 3\n.*yours: step 4"):
        find_checkpoint(tmp_path)
    with pytest.raises(ExportError, match=r"is a step: pass the experiment's directory, .*mine,"):
        find_checkpoint(local)
    (local / "model_world_size_2_rank_1.pt").unlink()
    with pytest.raises(ExportError, match=r"lacks 1 of the 2 ranks' files: model_world_size_2_rank_1\.pt"):
        find_checkpoint(tmp_path / "runs" / "mine")


def train(model: Path, output: Path, ranks: int, *overrides: str) -> Path:
    """Two steps of verl's own SFT trainer on CPU, each one saved."""
    import pandas

    rows = [[{"role": "user", "content": f"say {i}"}, {"role": "assistant", "content": f"{i} it is"}] for i in range(8)]
    data = output.with_suffix(".parquet")
    pandas.DataFrame({"messages": rows}).to_parquet(data)
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nnodes=1", f"--nproc_per_node={ranks}",
        "-m", "verl.trainer.sft_trainer",
        f"data.train_files={data}", f"data.val_files={data}", "data.train_batch_size=4",
        "data.micro_batch_size_per_gpu=2", "data.use_dynamic_bsz=False", "data.max_length=64", "data.num_workers=0",
        f"model.path={model}", "model.use_remove_padding=False", "+model.override_config.attn_implementation=sdpa",
        "engine.strategy=fsdp2", "engine.use_torch_compile=False", "optim.lr=1e-2", "trainer.device=cpu",
        "trainer.logger=[console]", f"trainer.default_local_dir={output}", "trainer.total_epochs=1",
        "trainer.save_freq=1", "trainer.test_freq=-1", *overrides,
    ]  # fmt: skip
    environment = {
        **os.environ, "PYTHONPATH": f"{TOOLS}:{TOOLS / 'cpu_metadata'}", "VERL_PLATFORM": "cpu",
        "VERL_USE_EXTERNAL_MODULES": "cpu_platform", "OMP_NUM_THREADS": "2", "OMP_WAIT_POLICY": "PASSIVE",
    }  # fmt: skip
    result = subprocess.run(command, env=environment, cwd=output.parent, capture_output=True, text=True, timeout=600)
    assert result.returncode == 0, result.stderr[-3000:]
    return output


@pytest.fixture(scope="session")
def lora_run(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    lora = ["model.lora_rank=8", "model.lora_alpha=16", "model.target_modules=all-linear"]
    return train(tiny, tmp_path_factory.mktemp("lora") / "run", 1, *lora)


@pytest.fixture(scope="session")
def full_run(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tiny, tmp_path_factory.mktemp("full") / "run", 2)


@pytest.mark.slow
def test_a_lora_checkpoint_becomes_the_merged_model_and_its_adapter(
    tiny: Path, lora_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    target = tmp_path / "merged"
    command = ["--checkpoint-base", str(lora_run), "--target-dir", str(target), "--base-model", str(tiny)]
    assert export_main(command) == 0
    assert "LoRA, r=8, alpha=16" in capsys.readouterr().out
    config = json.loads((target / "lora_adapter" / "adapter_config.json").read_text())
    assert (config["base_model_name_or_path"], config["r"], config["lora_alpha"]) == (str(tiny), 8, 16)
    report = json.loads((target / "export.json").read_text())
    assert (report["global_step"], report["tensors_changed"], report["tensors"]) == (2, 14, 20)
    assert (target / "chat_template.jinja").read_text() == (tiny / "chat_template.jinja").read_text()
    peft_model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny), target / "lora_adapter")
    merged = AutoModelForCausalLM.from_pretrained(target)
    with torch.no_grad():
        ids = torch.arange(100, 140)[None]
        untrained = AutoModelForCausalLM.from_pretrained(tiny)(ids).logits
        torch.testing.assert_close(merged(ids).logits, peft_model(ids).logits, atol=0.02, rtol=0.02)
        assert (merged(ids).logits - untrained).abs().max() > 0.1
    # Without --base-model the frozen weights in the checkpoint are the base, and the result is the same.
    alone = tmp_path / "alone"
    export_checkpoint(find_checkpoint(lora_run)[0], alone)
    assert not compare(ModelWeights(target), ModelWeights(alone)).changed


@pytest.mark.slow
def test_another_base_than_the_trained_one_is_refused(tiny: Path, lora_run: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(tiny, other)
    tensors = load_file(other / "model.safetensors")
    tensors["model.norm.weight"] = tensors["model.norm.weight"] * 1.1
    save_file(tensors, other / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ExportError, match=r"trained on another base .* 1 of 20 frozen tensors differ"):
        export_checkpoint(find_checkpoint(lora_run)[0], tmp_path / "target", base_model=other)
    assert {path.name for path in tmp_path.iterdir()} == {"other"}


@pytest.mark.slow
def test_a_full_checkpoint_of_two_ranks_is_the_sum_of_its_shards(tiny: Path, full_run: Path, tmp_path: Path) -> None:
    checkpoint, _ = find_checkpoint(full_run)
    assert len(checkpoint.shards) == 2
    report = export_checkpoint(checkpoint, tmp_path / "model", base_model=tiny)
    assert (report["kind"], report["parameters"]) == ("full", 1_609_888)
    assert report["tensors_changed"] == 20
    shards = [torch.load(path, weights_only=False) for path in checkpoint.shards]
    name = "model.layers.0.self_attn.q_proj.weight"
    wanted = torch.cat([shard[name].to_local() for shard in shards]).to(torch.bfloat16)
    assert torch.equal(ModelWeights(tmp_path / "model").tensor(name), wanted)
    assert not (tmp_path / "model" / "lora_adapter").exists()
    # A base that is already the trained model: nothing was trained.
    with pytest.raises(ExportError, match="the training changed nothing"):
        export_checkpoint(checkpoint, tmp_path / "again", base_model=tmp_path / "model")


@pytest.mark.slow
def test_a_shard_that_verl_cannot_read_leaves_no_target(lora_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(lora_run, run)
    torch.save({}, run / "global_step_2" / "model_world_size_1_rank_0.pt")
    command = [sys.executable, TOOLS / "export_checkpoint.py", "--checkpoint-base", run, "--target-dir", tmp_path / "x"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1].startswith("error: verl's merger failed")
    assert {path.name for path in tmp_path.iterdir()} == {"run"}
