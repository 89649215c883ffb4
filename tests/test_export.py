"""Real checkpoints of verl become models that are proven, and a model that is not the trained one is refused."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

import export_checkpoint as exporting
from checkpoint_steps import find_checkpoint
from checkpoint_tensors import CheckpointTensors
from export_checkpoint import export_checkpoint
from export_checkpoint import main as export_main
from export_proof import FAIL, MARK, REPORT, Check, Proof
from model_hub import TOKEN, model_hub
from model_weights import ExportError, ModelWeights, compare

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

TOOLS = Path(exporting.__file__).parent
LORA = ("model.lora_rank=8", "model.lora_alpha=16", "model.target_modules=all-linear")
KINDS = ["full-1", "full-2", "lora-1", "lora-2"]
CPU = {
    "PYTHONPATH": f"{TOOLS}:{TOOLS / 'cpu_metadata'}", "VERL_PLATFORM": "cpu", "OMP_NUM_THREADS": "2",
    "VERL_USE_EXTERNAL_MODULES": "cpu_platform", "OMP_WAIT_POLICY": "PASSIVE", "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind", "TORCHDYNAMO_DISABLE": "1",
}  # fmt: skip


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
    environment = {**os.environ, **CPU}
    result = subprocess.run(command, env=environment, cwd=output.parent, capture_output=True, text=True, timeout=600)
    assert result.returncode == 0, result.stderr[-3000:]
    return output


@pytest.fixture(scope="session")
def run_of(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The run of a kind such as 'lora-2': what is trained, over how many ranks. Made when first asked for."""
    made: dict[str, Path] = {}

    def run(kind: str) -> Path:
        if kind not in made:
            what, _, ranks = kind.partition("-")
            made[kind] = train(
                tiny, tmp_path_factory.mktemp(kind) / "run", int(ranks), *(LORA if what == "lora" else ())
            )
        return made[kind]

    return run


@pytest.fixture(scope="session", autouse=True)
def merged_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """verl's merger, ten seconds of imports: what it writes for a checkpoint is copied when it is asked again."""
    merger, written = exporting.run_verl_merger, tmp_path_factory.mktemp("written")
    made: dict[Path, Path] = {}

    def run_verl_merger(local_dir: Path, target: Path, trust_remote_code: bool = False) -> None:
        if local_dir not in made:
            merger(local_dir, target, trust_remote_code)
            made[local_dir] = shutil.copytree(target, written / str(len(made)))
        else:
            shutil.copytree(made[local_dir], target)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(exporting, "run_verl_merger", run_verl_merger)
        yield


def export(run: Path, target: Path, *arguments: str) -> int:
    return export_main(["--checkpoint-base", str(run), "--target-dir", str(target), "--no-vllm", *arguments])


@pytest.fixture(scope="session")
def exported(
    tiny: Path, run_of: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], tuple[Path, str]]:
    """The model of a run of this kind, not to be changed, and what its export printed. Made when first asked for."""
    made: dict[str, tuple[Path, str]] = {}

    def model(kind: str) -> tuple[Path, str]:
        if kind not in made:
            target, printed = tmp_path_factory.mktemp(kind) / "model", io.StringIO()
            with redirect_stdout(printed):
                assert export(run_of(kind), target, "--base-model", str(tiny)) == 0
            made[kind] = target, printed.getvalue()
        return made[kind]

    return model


def verdicts(directory: Path) -> dict[str, str]:
    return {
        check["name"]: check["verdict"] for check in json.loads((directory / REPORT).read_text())["proof"]["checks"]
    }


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_checkpoint_becomes_a_proven_model(
    tiny: Path, exported: Callable[[str], tuple[Path, str]], kind: str
) -> None:
    target, shown = exported(kind)
    assert dict.fromkeys(verdicts(target), "pass") == verdicts(target)
    for name in ("parameters", "config", "trained", "tensors", "changed", "chat template", "transformers"):
        assert f"  {name:<13} pass" in shown
    report = json.loads((target / REPORT).read_text())
    assert (report["kind"], report["ranks"]) == ("LoRA" if "lora" in kind else "full", int(kind[-1]))
    assert report["proof"]["passed"] and not (target / MARK).exists()
    assert (report["global_step"], report["parameters"]) == (2, 1_609_888)
    assert (target / "chat_template.jinja").read_text() == (tiny / "chat_template.jinja").read_text()
    assert (target / "lora_adapter").is_dir() == ("lora" in kind)


def test_the_adapter_beside_the_model_gives_its_answers(
    tiny: Path, run_of: Callable[[str], Path], exported: Callable[[str], tuple[Path, str]], tmp_path: Path
) -> None:
    target, _ = exported("lora-1")
    config = json.loads((target / "lora_adapter" / "adapter_config.json").read_text())
    assert (config["base_model_name_or_path"], config["r"], config["lora_alpha"]) == (str(tiny), 8, 16)
    peft_model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny), target / "lora_adapter")
    merged = AutoModelForCausalLM.from_pretrained(target)
    with torch.no_grad():
        ids = torch.arange(100, 140)[None]
        untrained = AutoModelForCausalLM.from_pretrained(tiny)(ids).logits
        torch.testing.assert_close(merged(ids).logits, peft_model(ids).logits, atol=0.02, rtol=0.02)
        assert (merged(ids).logits - untrained).abs().max() > 0.1
    # Without --base-model the frozen weights in the checkpoint are the base, and the result is the same.
    alone = tmp_path / "alone"
    assert export(run_of("lora-1"), alone) == 0
    assert not compare(ModelWeights(target), ModelWeights(alone)).changed


@pytest.mark.parametrize("kind", ["full-2", "lora-2"])
def test_float32_keeps_what_bfloat16_rounds_away(run_of: Callable[[str], Path], tmp_path: Path, kind: str) -> None:
    run = run_of(kind)
    trained = CheckpointTensors(find_checkpoint(run)[0])
    errors = {}
    for dtype in ("bfloat16", "float32"):
        assert export(run, tmp_path / dtype, "--dtype", dtype) == 0
        model = ModelWeights(tmp_path / dtype)
        assert {str(model.dtype(name)) for name in model} == {f"torch.{dtype}"}
        assert json.loads((tmp_path / dtype / "config.json").read_text())["dtype"] == dtype
        errors[dtype] = sum(float((model.tensor(name).float() - trained.weight(name)).square().sum()) for name in model)
    assert errors["float32"] < errors["bfloat16"] / 2
    assert errors["float32"] == 0 or kind == "lora-2"  # verl has rounded the adapter


def copy_of_base(target: Path, tiny: Path) -> None:
    shutil.copy(tiny / "model.safetensors", target / "model.safetensors")


def edited(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path, Path], None]:
    def sabotage(target: Path, tiny: Path) -> None:
        tensors = load_file(target / "model.safetensors")
        change(tensors)
        save_file(tensors, target / "model.safetensors", metadata={"format": "pt"})

    return sabotage


def base_with_noise(tensors: dict[str, torch.Tensor]) -> None:
    """Differs from the base in every target, and is not what was trained."""
    torch.manual_seed(0)
    for name, tensor in tensors.items():
        if "proj" in name:
            tensors[name] = tensor + 1e-3 * torch.randn_like(tensor)


def cut_short(target: Path, tiny: Path) -> None:
    with (target / "model.safetensors").open("r+b") as file:
        file.truncate(100_000)


def other_template(target: Path, tiny: Path) -> None:
    (target / "chat_template.jinja").write_text("{{ messages[0].content }}")


def other_eos(target: Path, tiny: Path) -> None:
    config = json.loads((target / "config.json").read_text())
    (target / "config.json").write_text(json.dumps({**config, "rope_theta": 1.0, "eos_token_id": 0}))


Q, NORM, HEAD = "model.layers.0.self_attn.q_proj.weight", "model.norm.weight", "lm_head.weight"
SABOTAGE = {
    "base copied": (copy_of_base, "trained"),
    "base with noise": (edited(base_with_noise), "trained"),
    "one tensor zeroed": (edited(lambda t: t[Q].zero_()), "trained"),
    "another tensor changed": (edited(lambda t: t[NORM].mul_(1.1)), "trained"),
    "lm_head added": (edited(lambda t: t.update({HEAD: t["model.embed_tokens.weight"].clone()})), "parameters"),
    "a tensor lost": (edited(lambda t: t.pop(NORM)), "parameters"),
    "not a number": (edited(lambda t: t[Q].fill_(float("nan"))), "trained"),
    "cut short": (cut_short, "files"),
    "another chat template": (other_template, "chat template"),
    "another config": (other_eos, "config"),
}  # fmt: skip


@pytest.mark.parametrize("kind", ["full-2", "lora-2"])
def test_a_sabotaged_model_is_refused_and_marked(
    tiny: Path,
    run_of: Callable[[str], Path],
    exported: Callable[[str], tuple[Path, str]],
    tmp_path: Path,
    kind: str,
    capsys: pytest.CaptureFixture,
) -> None:
    good, _ = exported(kind)
    untouched = shutil.copytree(good, tmp_path / "untouched")
    assert export(run_of(kind), untouched, "--verify-only", "--base-model", str(tiny)) == 0
    for name, (sabotage, caught) in SABOTAGE.items():
        target = shutil.copytree(good, tmp_path / name.replace(" ", "-"))
        sabotage(target, tiny)
        capsys.readouterr()
        assert export(run_of(kind), target, "--verify-only", "--base-model", str(tiny)) == 1, name
        assert verdicts(target)[caught] == "FAIL", name
        assert not json.loads((target / REPORT).read_text())["proof"]["passed"]
        assert caught in (target / MARK).read_text()
        assert "must not be used" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["full-1", "lora-1"])
def test_an_exporter_that_hands_over_the_base_is_caught(
    tiny: Path, run_of: Callable[[str], Path], tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if the merge had been forgotten, or verl had written the wrong weights."""
    run, merger, merge = run_of(kind), exporting.run_verl_merger, exporting.merge_adapter

    def merger_of_the_base(directory: Path, written: Path, trust_remote_code: bool) -> None:
        merger(directory, written, trust_remote_code)
        shutil.copy(tiny / "model.safetensors", written / "model.safetensors")

    def forgotten_merge(base: Path, adapter: Path, output: Path, **settings: object) -> None:
        merge(base, adapter, output, **settings)
        shutil.copy(base / "model.safetensors", output / "model.safetensors")

    monkeypatch.setattr(exporting, "run_verl_merger", merger_of_the_base)
    monkeypatch.setattr(exporting, "merge_adapter", forgotten_merge)
    old = tmp_path / "target"
    old.mkdir()
    (old / "mine").write_text("old")
    assert export(run, old, "--overwrite") == 1
    assert [path.name for path in old.iterdir()] == ["mine"]
    assert (tmp_path / "target.refused" / MARK).is_file()
    assert verdicts(tmp_path / "target.refused")["trained"] == "FAIL"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["target", "target.refused"]
    # Nothing is checked, and export.json says so.
    assert export(run, tmp_path / "unproven", "--no-verify") == 0
    proof = json.loads((tmp_path / "unproven" / REPORT).read_text())["proof"]
    assert not proof["passed"] and "--no-verify" in proof["why"]


def test_another_base_than_the_trained_one_is_refused(
    tiny: Path,
    run_of: Callable[[str], Path],
    exported: Callable[[str], tuple[Path, str]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
) -> None:
    other = tmp_path / "other"
    shutil.copytree(tiny, other)
    edited(lambda tensors: tensors[NORM].mul_(1.1))(other, tiny)
    with pytest.raises(ExportError, match=r"trained on another base .* 1 of 20 frozen tensors differ"):
        export_checkpoint(find_checkpoint(run_of("lora-1"))[0], tmp_path / "target", base_model=other)
    assert {path.name for path in tmp_path.iterdir()} == {"other"}
    # A base that is already the trained model: nothing was trained.
    assert export(run_of("full-2"), tmp_path / "again", "--base-model", str(exported("full-2")[0])) == 1
    assert "changed" in capsys.readouterr().err
    assert verdicts(tmp_path / "again.refused")["changed"] == "FAIL"


def test_a_full_checkpoint_of_two_ranks_is_the_sum_of_its_shards(run_of: Callable[[str], Path], tmp_path: Path) -> None:
    checkpoint, _ = find_checkpoint(run_of("full-2"))
    assert export(run_of("full-2"), tmp_path / "model") == 0
    shards = [torch.load(path, weights_only=False) for path in checkpoint.shards]
    wanted = torch.cat([shard[Q].to_local() for shard in shards]).to(torch.bfloat16)
    assert torch.equal(ModelWeights(tmp_path / "model").tensor(Q), wanted)
    assert verdicts(tmp_path / "model")["parameters"] == "pass"
    assert "changed" not in verdicts(tmp_path / "model"), "the base is not known"


def test_a_shard_that_verl_cannot_read_leaves_no_target(run_of: Callable[[str], Path], tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(run_of("lora-1"), run)
    torch.save({}, run / "global_step_2" / "model_world_size_1_rank_0.pt")
    command = [sys.executable, TOOLS / "export_checkpoint.py", "--checkpoint-base", run, "--target-dir", tmp_path / "x"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1].startswith("error: verl's merger failed")
    assert {path.name for path in tmp_path.iterdir()} == {"run"}


def test_only_a_proven_model_is_pushed(
    run_of: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    target, arguments = tmp_path / "model", ("--push-to-hub", "my-org/my-model")
    with model_hub() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
        with pytest.raises(SystemExit):
            export(run_of("full-1"), target, *arguments, "--no-verify")
        with monkeypatch.context() as sabotage:
            sabotage.setattr(exporting, "prove_export", lambda *_: Proof([Check("trained", FAIL, "it is not")]))
            assert export(run_of("full-1"), target, *arguments) == 1
        assert not hub.repositories
        assert export(run_of("full-1"), target, *arguments) == 0
        assert "my-org/my-model" in capsys.readouterr().out
        (uploaded,) = hub.repositories.values()
        assert uploaded.private
        assert uploaded.files["model.safetensors"] == (target / "model.safetensors").read_bytes()


def test_vllm_loads_it_and_a_model_that_it_cannot_load_is_refused(
    run_of: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in CPU.items():
        monkeypatch.setenv(name, value)
    command = ["--checkpoint-base", str(run_of("lora-1")), "--target-dir", str(tmp_path / "model")]
    assert export_main(command) == 0
    assert verdicts(tmp_path / "model")["vLLM"] == "pass"
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "not a number")
    assert export_main([*command, "--verify-only"]) == 1
    assert verdicts(tmp_path / "model")["vLLM"] == "FAIL"
