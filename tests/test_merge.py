"""A merged model is the trained one, or it is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

import proof_logits
from merge_adapter_into_base import main as merge_main
from merge_adapter_into_base import merge_adapter, prove_merge
from model_weights import ExportError, ModelWeights, compare
from proof_tensors import check_parameters


def save_base(directory: Path, hidden_size: int = 32, tied: bool = True) -> Path:
    config = LlamaConfig(
        vocab_size=64, hidden_size=hidden_size, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=16, attention_bias=True, tie_word_embeddings=tied, eos_token_id=2,
    )  # fmt: skip
    torch.manual_seed(0)
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(directory)
    words = WordLevel({"<unk>": 0, "w1": 1, "</s>": 2, **{f"w{i}": i for i in range(3, 64)}}, unk_token="<unk>")
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(words), eos_token="</s>", unk_token="<unk>")
    tokenizer.save_pretrained(directory)
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
        command = ["--no_vllm", "--base_model", str(base), "--adapter_model", str(adapter), "--output_dir", str(target)]
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
        config = json.loads((target / "tokenizer_config.json").read_text())
        assert config.get("from", "base") == wanted
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
            check_parameters(ModelWeights(output), ModelWeights(base).num_parameters(), tied=sabotage != "lost")


def test_a_refusal_leaves_no_target_and_an_old_one_alone(
    base: Path, adapter: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    target, zero = tmp_path / "target", save_adapter(base, tmp_path / "zero", scale=0)
    command = ["--no_vllm", "--base_model", str(base), "--output_dir", str(target), "--adapter_model"]
    assert merge_main([*command, str(zero)]) == 1
    assert not target.exists()
    assert merge_main([*command, str(adapter)]) == 0
    before = (target / "model.safetensors").read_bytes()
    assert merge_main([*command, str(adapter)]) == 1
    assert "--overwrite" in capsys.readouterr().err
    assert merge_main([*command, str(zero), "--overwrite"]) == 1
    assert (target / "model.safetensors").read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} == {"target", "zero"}
    assert merge_main(["--base_model", "org/model", "--output_dir", str(target), "--adapter_model", str(adapter)]) == 1
    assert "hf download org/model" in capsys.readouterr().err


def test_a_truncated_base_is_refused(base: Path, adapter: Path, tmp_path: Path, output: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(base, broken)
    with (broken / "model.safetensors").open("r+b") as file:
        file.truncate(9000)
    with pytest.raises(ExportError, match=r"model\.safetensors is missing or truncated"):
        merge_adapter(broken, adapter, output)


def merged(output: Path, *arguments: object) -> int:
    return merge_main(["--no_vllm", "--output_dir", str(output), *map(str, arguments)])


def checks(output: Path) -> dict[str, str]:
    proof = json.loads((output / "export.json").read_text())["proof"]
    return {check["name"]: check["verdict"] for check in proof["checks"]}


@pytest.mark.parametrize("settings", [{}, {"use_rslora": True}, {"use_dora": True}], ids=["lora", "rslora", "dora"])
def test_the_proof_stands_beside_the_model(base: Path, tmp_path: Path, settings: dict) -> None:
    adapter, output = save_adapter(base, tmp_path / "adapter", **settings), tmp_path / "merged"
    assert merged(output, "--adapter_model", adapter) == 0, "the adapter names its base"
    names = ("parameters", "tensors", "changed", "chat template", "transformers")
    assert checks(output) == dict.fromkeys(names, "pass")
    assert merged(tmp_path / "quick", "--adapter_model", adapter, "--no_verify") == 0
    assert not json.loads((tmp_path / "quick" / "export.json").read_text())["proof"]["passed"]


def test_another_base_than_the_adapters_has_to_be_meant(
    base: Path, adapter: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    other, output = tmp_path / "other", tmp_path / "merged"
    shutil.copytree(base, other)
    arguments = (output, "--adapter_model", adapter, "--base_model", other)
    assert merged(*arguments) == 1
    assert "--use_base_model" in capsys.readouterr().err and not output.exists()
    assert merged(*arguments, "--use_base_model") == 0
    nameless = tmp_path / "nameless"
    shutil.copytree(adapter, nameless)
    config = json.loads((nameless / "adapter_config.json").read_text())
    (nameless / "adapter_config.json").write_text(json.dumps({**config, "base_model_name_or_path": None}))
    assert merged(tmp_path / "x", "--adapter_model", nameless) == 1
    assert "names no base: pass --base_model" in capsys.readouterr().err


def test_a_full_model_is_proven_against_its_base_too(base: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    trained, output = tmp_path / "trained", tmp_path / "merged"
    shutil.copytree(base, trained)
    tensors = load_file(base / "model.safetensors")
    torch.manual_seed(0)
    changed = {name: tensor + 0.05 * torch.randn_like(tensor) for name, tensor in tensors.items()}
    save_file(changed, trained / "model.safetensors", metadata={"format": "pt"})
    assert merged(output, "--adapter_model", trained, "--base_model", base, "--dtype", "float32") == 0
    assert checks(output)["changed"] == "pass"
    assert torch.equal(ModelWeights(output).tensor("model.norm.weight"), changed["model.norm.weight"].float())
    assert merged(tmp_path / "same", "--adapter_model", base, "--base_model", base) == 1
    assert checks(tmp_path / "same.refused")["changed"] == "FAIL"
    changed["model.embed_tokens.weight"] = torch.zeros(80, 32, dtype=torch.bfloat16)
    save_file(changed, trained / "model.safetensors", metadata={"format": "pt"})
    capsys.readouterr()
    assert merged(tmp_path / "y", "--adapter_model", trained, "--base_model", base) == 1
    message = capsys.readouterr().err
    assert "(64, 32)" in message and "(80, 32)" in message and "vocabulary was resized" in message


def test_a_model_that_does_not_fit_is_compared_by_its_first_layers(
    base: Path, adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layers = []
    monkeypatch.setattr(proof_logits, "_layers_that_fit", lambda parameters, all_layers: layers.append(all_layers) or 1)
    assert merged(tmp_path / "merged", "--adapter_model", adapter) == 0
    proof = json.loads((tmp_path / "merged" / "export.json").read_text())["proof"]
    assert "sampled: the first 1 of 2 layers, for want of memory" in proof["checks"][-1]["measured"]
    assert layers == [2]
