"""The average of two models is their average, bit by bit, or it is refused."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

import merge_two_models
from merge_two_models import average, main, prove_average
from merge_two_models import merge_two_models as merge
from model_files import model_skeleton
from model_weights import ExportError, ModelWeights, compare

FLOATS = st.floats(-1e4, 1e4, width=16)
TARGET = "model.layers.0.self_attn.q_proj.weight"


def edit_tensors(directory: Path, **changed: torch.Tensor | None) -> None:
    """Replace tensors of a model (dots in names are double underscores), add some, or remove those given as None."""
    file = directory / "model.safetensors"
    tensors = load_file(file)
    for name, tensor in changed.items():
        tensors.pop(name.replace("__", "."), None)
        if tensor is not None:
            tensors[name.replace("__", ".")] = tensor
    save_file(tensors, file, metadata={"format": "pt"})


def edit_json(path: Path, **changed: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changed}))


@pytest.fixture(scope="session")
def other(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`tiny`, as a training would leave it: every tensor is changed a little, and the chat template too."""
    directory = tmp_path_factory.mktemp("models") / "other"
    shutil.copytree(tiny, directory)
    torch.manual_seed(3)
    file = directory / "model.safetensors"
    tensors = {name: tensor + 0.1 * torch.randn_like(tensor) for name, tensor in load_file(file).items()}
    save_file(tensors, file, metadata={"format": "pt"})
    (directory / "chat_template.jinja").write_text("{{ messages }}")
    return directory


@pytest.fixture
def pair(tiny: Path, other: Path, tmp_path: Path) -> tuple[Path, Path]:
    """Copies of both that a test may damage."""
    return shutil.copytree(tiny, tmp_path / "one"), shutil.copytree(other, tmp_path / "two")


def bits(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.view({1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[tensor.dtype.itemsize])


# --- the average


@given(st.lists(st.tuples(FLOATS, FLOATS), min_size=1), st.floats(0, 1), st.sampled_from(["float16", "float32"]))
def test_an_average_is_the_exact_one_rounded_once(pairs: list[tuple[float, float]], alpha: float, kind: str) -> None:
    dtype = getattr(torch, kind)
    a, b = (torch.tensor(column, dtype=dtype) for column in zip(*pairs, strict=True))
    result = average(a, b, alpha)
    x, y = (tensor.double().numpy() for tensor in (a, b))
    exact = (1 - alpha) * x + alpha * y
    spacing = np.spacing(np.maximum(np.abs(exact), np.finfo(kind).tiny).astype(kind)).astype(np.float64)
    slack = 1e-6 * np.maximum(np.abs(x), np.abs(y)) if kind == "float16" else 1e-12
    assert result.dtype == dtype
    assert (np.abs(result.double().numpy() - exact) <= spacing / 2 + slack).all()


@given(st.lists(FLOATS, min_size=1), st.floats(0, 1))
def test_the_average_of_equals_is_bit_for_bit_the_same(values: list[float], alpha: float) -> None:
    tensor = torch.tensor([value for value in values if value] or [1.0]).to(torch.bfloat16)
    assert torch.equal(bits(average(tensor, tensor.clone(), alpha)), bits(tensor))


@given(st.lists(st.tuples(FLOATS, FLOATS), min_size=1))
def test_alpha_0_and_1_give_the_parents_back_with_the_sign_of_their_zeros(pairs: list[tuple[float, float]]) -> None:
    a, b = (torch.tensor(column, dtype=torch.bfloat16) for column in zip(*pairs, strict=True))
    assert torch.equal(bits(average(a, b, 0)), bits(a))
    assert torch.equal(bits(average(a, b, 1)), bits(b))


def test_a_tensor_larger_than_a_chunk_is_averaged_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = torch.randn(7, 11), torch.randn(11, 7).T
    whole = average(a, b, 0.3)
    monkeypatch.setattr(merge_two_models, "CHUNK", 10)
    assert torch.equal(average(a, b, 0.3), whole)
    torch.testing.assert_close(whole, 0.7 * a + 0.3 * b)


# --- the model


@pytest.mark.parametrize("alpha", [0.0, 0.25, 1.0])
def test_the_written_model_is_the_average_and_loads(tiny: Path, other: Path, tmp_path: Path, alpha: float) -> None:
    target = tmp_path / "target"
    report = merge(tiny, other, target, alpha=alpha, max_shard_size="1MB")
    assert len(list(target.glob("model-*.safetensors"))) > 1
    a, b, found = ModelWeights(tiny), ModelWeights(other), ModelWeights(target)
    assert list(found) and set(found) == set(a) and "lm_head.weight" not in found
    for name in found:
        wanted = ((1 - alpha) * a.tensor(name).double() + alpha * b.tensor(name).double()).to(torch.bfloat16)
        torch.testing.assert_close(found.tensor(name), wanted, rtol=0.004, atol=1e-9)
        if alpha in (0, 1):
            assert torch.equal(bits(found.tensor(name)), bits((b if alpha else a).tensor(name)))
    for name in ("config.json", "generation_config.json", "chat_template.jinja", "tokenizer.json"):
        assert (target / name).read_text().strip() == (tiny / name).read_text().strip(), name
    model = AutoModelForCausalLM.from_pretrained(target)
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert report["parameters"] == model.num_parameters() == 1_609_888
    assert (report["tensors_changed"], report["tensors_changed_from_second"]) == (20 * (alpha > 0), 20 * (alpha < 1))
    assert report == json.loads((target / "export.json").read_text())
    assert report["proof"]["passed"] and report["chat_templates_differ"]


def test_dtype_is_the_firsts_or_the_one_asked_for(pair: tuple[Path, Path], tmp_path: Path) -> None:
    one, two = pair
    wide = {name: tensor.float() for name, tensor in load_file(two / "model.safetensors").items()}
    save_file(wide, two / "model.safetensors", metadata={"format": "pt"})
    for arguments, dtype in (([], "bfloat16"), (["--dtype", "float32"], "float32")):
        target = tmp_path / dtype
        command = ["--model-a", str(one), "--model-b", str(two), "--target-dir", str(target), *arguments]
        assert main(command) == 0
        weights = ModelWeights(target)
        assert {weights.dtype(name) for name in weights} == {getattr(torch, dtype)}
        assert json.loads((target / "config.json").read_text())["dtype"] == dtype


def test_a_stored_copy_of_a_tied_output_layer_is_dropped_and_another_one_refused(
    pair: tuple[Path, Path], tmp_path: Path
) -> None:
    one, two = pair
    embedding = ModelWeights(two).tensor("model.embed_tokens.weight")
    edit_tensors(two, lm_head__weight=embedding.clone())
    merge(one, two, tmp_path / "target")
    assert set(ModelWeights(tmp_path / "target")) == set(ModelWeights(one))
    edit_tensors(two, lm_head__weight=embedding + 1)
    with pytest.raises(ExportError, match=r"two stores lm_head\.weight, which its config ties .*untied the two"):
        merge(one, two, tmp_path / "again")


# --- refusals


def damage(kind: str, one: Path, two: Path) -> None:
    """Make the second model one that does not fit the first."""
    q_proj = ModelWeights(two).tensor(TARGET)
    if kind == "architecture":
        edit_json(two / "config.json", model_type="qwen2", architectures=["Qwen2ForCausalLM"])
    elif kind == "heads":
        config = json.loads((two / "config.json").read_text())
        edit_json(two / "config.json", num_attention_heads=config["num_attention_heads"] * 2)
    elif kind == "quantised":
        edit_json(two / "config.json", quantization_config={"quant_method": "fp8"})
    elif kind == "shape":
        edit_tensors(two, **{TARGET.replace(".", "__"): q_proj[:-2]})
    elif kind == "lost":
        edit_tensors(two, model__norm__weight=None)
    elif kind == "lost in both":
        for directory in (one, two):
            edit_tensors(directory, model__norm__weight=None)
    elif kind == "extra":
        edit_tensors(two, model__extra__weight=q_proj)
    elif kind == "NaN":
        edit_tensors(two, **{TARGET.replace(".", "__"): q_proj.fill_(math.nan)})
    elif kind == "codes":
        edit_tensors(two, **{TARGET.replace(".", "__"): q_proj.to(torch.float8_e4m3fn)})
    elif kind == "added token":
        tokenizer = AutoTokenizer.from_pretrained(two)
        tokenizer.add_tokens(["<think>"])
        tokenizer.save_pretrained(two)
    elif kind == "digits":
        tokenizer = json.loads((two / "tokenizer.json").read_text())
        tokenizer["pre_tokenizer"] = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True}
        (two / "tokenizer.json").write_text(json.dumps(tokenizer))
    elif kind == "no tokenizer":
        for file in two.glob("tokenizer*"):
            file.unlink()
    elif kind == "truncated":
        os.truncate(two / "model.safetensors", 9000)
    elif kind == "same":
        shutil.copyfile(one / "model.safetensors", two / "model.safetensors")
    else:
        shutil.rmtree(two)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("architecture", "different architectures or sizes.*model_type in config.json is 'llama' and 'qwen2'"),
        ("heads", "different architectures or sizes.*num_attention_heads in config.json is"),
        ("quantised", "two is quantised"),
        ("shape", r"q_proj\.weight is \(\d+, \d+\) in \S+one and \(\d+, \d+\) in \S+two: an embedding"),
        ("lost", r"two lacks 1 tensors of \S+one, the first is model\.norm\.weight: .*incomplete export"),
        ("lost in both", "store [0-9,]+ parameters and their config asks for 1,609,888"),
        ("extra", r"one lacks 1 tensors of \S+two, the first is model\.extra\.weight"),
        ("NaN", r"average of model\.layers\.0\.self_attn\.q_proj\.weight .* is not finite"),
        ("codes", "float8_e4m3fn: use the unquantised model"),
        ("added token", r"different tokenizers: 1 tokens differ, the first is '<think>', id None and \d+"),
        ("digits", r"different tokenizers: they cut text differently \(pre_tokenizer\)"),
        ("no tokenizer", "two has no tokenizer"),
        ("truncated", r"two/model\.safetensors is missing or truncated"),
        ("same", "one itself: the two models are the same"),
        ("absent", r"two is not a directory: .*fetch_model\.py"),
    ],
)
def test_a_pair_that_does_not_fit_is_refused_and_leaves_nothing(
    pair: tuple[Path, Path], tmp_path: Path, kind: str, reason: str
) -> None:
    damage(kind, *pair)
    with pytest.raises(ExportError, match=reason):
        merge(*pair, tmp_path / "target")
    assert {path.name for path in tmp_path.iterdir()} <= {"one", "two"}


def test_what_changes_no_logit_may_differ(pair: tuple[Path, Path], tmp_path: Path) -> None:
    one, two = pair
    edit_json(two / "config.json", eos_token_id=7, transformers_version="4.0", use_cache=False, attention_dropout=0.1)
    edit_json(two / "tokenizer_config.json", padding_side="left")
    merge(one, two, tmp_path / "target")
    assert json.loads((tmp_path / "target/config.json").read_text()) == json.loads((one / "config.json").read_text())


@pytest.mark.parametrize("sabotage", ["parent copied", "tensor zeroed", "other weight", "lost", "lm_head added"])
def test_a_sabotaged_average_is_refused(tiny: Path, other: Path, tmp_path: Path, sabotage: str) -> None:
    target = tmp_path / "target"
    merge(tiny, other, target, alpha=0.5)
    a, b = ModelWeights(tiny), ModelWeights(other)
    prove_average(a, b, ModelWeights(target), 0.5, None)
    tensor = ModelWeights(target).tensor(TARGET)
    if sabotage == "parent copied":
        shutil.copyfile(tiny / "model.safetensors", target / "model.safetensors")
    elif sabotage == "tensor zeroed":
        edit_tensors(target, **{TARGET.replace(".", "__"): torch.zeros_like(tensor)})
    elif sabotage == "other weight":
        edit_tensors(target, **{TARGET.replace(".", "__"): average(a.tensor(TARGET), b.tensor(TARGET), 0.6)})
    elif sabotage == "lost":
        edit_tensors(target, model__norm__weight=None)
    else:
        edit_tensors(target, lm_head__weight=ModelWeights(target).tensor("model.embed_tokens.weight").clone())
    with pytest.raises(ExportError):
        prove_average(a, b, ModelWeights(target), 0.5, None)


def test_a_refusal_is_one_line_and_an_old_target_stays(
    tiny: Path, other: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    target = tmp_path / "target"
    command = ["--model-a", str(tiny), "--target-dir", str(target), "--model-b"]
    assert main([*command, str(other), "--alpha", "0.25"]) == 0
    out = capsys.readouterr().out
    assert "0.75 × " in out and "20 of 20 tensors of the first" in out and "chat templates of the two differ" in out
    before = (target / "model.safetensors").read_bytes()
    for arguments, reason in (
        ([str(other)], "--overwrite"),
        ([str(other), "--overwrite", "--alpha", "1.5"], "--alpha 1.5"),
        ([str(other), "--overwrite", "--alpha", "nan"], "--alpha nan"),
        ([str(other), "--overwrite", "--max-shard-size", "big"], "not a size"),
        ([str(tiny), "--overwrite"], "the two models are the same"),
    ):
        assert main([*command, *arguments]) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("error: ") and reason in line
    assert (target / "model.safetensors").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["target"]
    assert not compare(ModelWeights(tiny), ModelWeights(tiny)).changed


# --- a large one


@pytest.fixture(scope="module")
def large_pair(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two models of 370 MB in 48 layers, with random weights."""
    directory = tmp_path_factory.mktemp("large")
    sizes = {"num_hidden_layers": 48, "intermediate_size": 40_000}
    for seed, name in enumerate(("one", "two")):
        shutil.copytree(tiny, directory / name)
        edit_json(directory / name / "config.json", **sizes)
        torch.manual_seed(seed)
        tensors = {
            name: torch.randn(parameter.shape, dtype=torch.bfloat16)
            for name, parameter in model_skeleton(directory / name).named_parameters()
        }
        save_file(tensors, directory / name / "model.safetensors", metadata={"format": "pt"})
    return directory / "one", directory / "two"


def run_with_peak(*arguments: object) -> int:
    """Run the tool in a process of its own; its peak of memory in bytes, file pages that it has mapped included."""
    code = (
        "import resource, sys; from merge_two_models import main; status = main(sys.argv[1:]);"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024); sys.exit(status)"
    )
    command = [sys.executable, "-c", code, *map(str, arguments)]
    env = {**os.environ, "PYTHONPATH": str(Path(merge_two_models.__file__).parent)}
    result = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    return int(result.stdout.split()[-1])


@pytest.mark.slow
def test_memory_holds_a_file_and_not_a_model(
    tiny: Path, other: Path, large_pair: tuple[Path, Path], tmp_path: Path
) -> None:
    small = run_with_peak("--model-a", tiny, "--model-b", other, "--target-dir", tmp_path / "small")
    models = ["--model-a", large_pair[0], "--model-b", large_pair[1]]
    large = run_with_peak(*models, "--target-dir", tmp_path / "large", "--max-shard-size", "100MB")
    size = ModelWeights(large_pair[0]).num_bytes()
    assert size > 300e6
    assert large - small < size / 2


@pytest.mark.slow
def test_an_ended_merge_leaves_nothing(large_pair: tuple[Path, Path], tmp_path: Path) -> None:
    one, two = large_pair
    command = [sys.executable, merge_two_models.__file__, "--model-a", one, "--model-b", two]
    command += ["--target-dir", tmp_path / "target", "--max-shard-size", "100MB"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not list(tmp_path.glob(".target.partial-*/*.safetensors")):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 143
    assert list(tmp_path.iterdir()) == []
