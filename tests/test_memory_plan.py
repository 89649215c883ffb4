"""train/tools/memory: parameters, what the plan grows with, what it refuses, and what it says against measured runs."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, LlamaConfig, Qwen3Config

from memory import GIB
from memory.machine import Machine, gpu_memory, ram_limit
from memory.plan import ERROR, Plan, make_plan
from memory.proposals import Change, propose
from memory.settings import Settings, read_settings
from memory.shape import Shape, ShapeError, built_tensors, read_shape, shape_of, stored_tensors
from memory.trainer import kept_by_a_layer
from memory_plan import Composed, summary, table

ROOT = Path(__file__).parent.parent
sys.path.append(str(ROOT / "train" / "scripts" / "lib"))
EIGHTY = Machine(gpu_memory("80", ""), 128 * GIB)
RECIPES = ("openspiel", "openspiel_game", "lgc_v2", "mixture", "swe_synth", "swe_agent", "sft")


def _benchmark() -> ModuleType:
    spec = importlib.util.spec_from_file_location("memory_plan_benchmark", ROOT / "benchmarks" / "memory_plan.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


BENCHMARK = _benchmark()
MEASURED = json.loads(BENCHMARK.RESULTS.read_text())
LLAMA_70B = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 8192,
    "intermediate_size": 28672,
    "num_hidden_layers": 80,
    "num_attention_heads": 64,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "tie_word_embeddings": False,
    "max_position_embeddings": 131072,
}


@pytest.fixture(scope="module")
def known() -> dict[str, Shape]:
    return BENCHMARK.shapes({**MEASURED["models"], "Llama-70B": LLAMA_70B})


def recipe(name: str, profile: str, *overrides: str, **environment: str) -> Composed:
    os.environ.update(BENCHMARK.STAND_INS | {"PROFILE": profile} | environment)
    return Composed(ROOT / "train" / "config", name, list(overrides))


@pytest.fixture(scope="module")
def lora() -> Settings:
    """The openspiel recipe with LoRA on one GPU of 80 GB."""
    before = dict(os.environ)
    settings = recipe("openspiel", "1x80gb", TUNING="lora")()
    os.environ.clear()
    os.environ.update(before)
    return settings


# --- the model


def test_parameters_are_those_of_the_built_model(tiny: Path, tmp_path: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny)
    (tmp_path / "config.json").write_text((tiny / "config.json").read_text())
    assert stored_tensors(tiny) and not stored_tensors(tmp_path)
    from_weights, from_config = read_shape(tiny), read_shape(tmp_path)
    assert from_weights == replace(from_config, linears=from_weights.linears)
    assert sorted(from_weights.linears) == sorted(from_config.linears)
    assert from_weights.parameters == sum(parameter.numel() for parameter in model.parameters())
    adapted = get_peft_model(model, LoraConfig(r=8, target_modules="all-linear", task_type="CAUSAL_LM"))
    trained = sum(parameter.numel() for parameter in adapted.parameters() if parameter.requires_grad)
    assert from_weights.lora_parameters(8, "all-linear", None) == trained


def test_parameters_of_known_models(known: dict[str, Shape]) -> None:
    assert known["SmolLM2-135M"].parameters == 134_515_008
    assert known["Qwen3-4B"].parameters == 4_022_468_096
    assert known["Llama-70B"].parameters == pytest.approx(70.55e9, rel=1e-3)
    qwen = known["Qwen3-4B"]
    assert qwen.parameters == qwen.outside + qwen.layers * qwen.largest_layer
    assert qwen.query_norm and not known["Llama-70B"].query_norm


def test_a_head_that_is_stored_beside_a_tied_embedding_counts_once() -> None:
    config = {"num_attention_heads": 2, "hidden_size": 8, "num_hidden_layers": 1, "vocab_size": 10}
    tensors = {"model.embed_tokens.weight": (10, 8), "lm_head.weight": (10, 8), "model.layers.0.q.weight": (8, 8)}
    assert shape_of({**config, "tie_word_embeddings": True}, tensors).parameters == 144
    assert shape_of({**config, "tie_word_embeddings": False}, tensors).parameters == 224


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "no config.json yet"),
        ("{", "cannot be read"),
        ("[]", "cannot be read"),
        ("{}", "does not say hidden_size"),
    ],
)
def test_a_directory_that_says_nothing_is_not_planned(tmp_path: Path, text: str | None, reason: str) -> None:
    if text:
        (tmp_path / "config.json").write_text(text)
    with pytest.raises(ShapeError, match=reason):
        read_shape(tmp_path)


@pytest.mark.parametrize("wrong", [{"model_type": "no_such_model"}, {"num_attention_heads": 9}])
def test_a_config_that_transformers_refuses_is_not_planned(tmp_path: Path, wrong: dict) -> None:
    (tmp_path / "config.json").write_text(json.dumps({**LLAMA_70B, **wrong}))
    with pytest.raises(ShapeError, match="transformers cannot build"):
        built_tensors(tmp_path)


@pytest.mark.parametrize("kind", [LlamaConfig, Qwen3Config])
def test_a_layer_keeps_what_autograd_saves(kind: type, lora: Settings) -> None:
    """The formula of kept_by_a_layer against the bytes of the saved tensors, weights left out."""
    tokens, kept = 256, []
    for layers in (1, 3):
        config = kind(
            hidden_size=128, intermediate_size=320, num_hidden_layers=layers, num_attention_heads=4,
            num_key_value_heads=2, head_dim=32, vocab_size=64, attn_implementation="sdpa",
        )  # fmt: skip
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).train()
        weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
        saved: dict[int, torch.UntypedStorage] = {}

        def keep(tensor: torch.Tensor, weights: set[int] = weights, saved: dict = saved) -> torch.Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in weights:
                saved[storage.data_ptr()] = storage
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            output = model.model(input_ids=torch.zeros(1, tokens, dtype=torch.long), use_cache=False)
        assert output.last_hidden_state.requires_grad
        kept.append(sum(storage.nbytes() for storage in saved.values()))
    shape = Shape(0, 1, 128, 128, 64, 320, 64, 64, kind is Qwen3Config, 0, 0, 0, False, ())
    measured = (kept[1] - kept[0]) / 2 / tokens
    assert kept_by_a_layer(shape, replace(lora, lora_rank=0)) == pytest.approx(measured, rel=0.15)


# --- what it grows with


def sizes(plan: Plan) -> list[float]:
    return [*(phase.size for phase in plan.phases), plan.host.size, plan.allocated]


def with_tokens(settings: Settings, tokens: int) -> Settings:
    assert settings.infer
    update = replace(settings.update, tokens=tokens, least=tokens)
    return replace(settings, update=update, infer=replace(settings.infer, tokens=tokens, least=tokens))


@given(
    more=st.sampled_from(["tokens", "rank", "parameters", "sequences"]),
    low=st.integers(1, 60_000),
    extra=st.integers(0, 60_000),
    full=st.booleans(),
    checkpointing=st.booleans(),
    packed=st.booleans(),
    attention=st.sampled_from(["sdpa", "flash_attention_2"]),
    fused=st.booleans(),
    gpus=st.sampled_from([1, 2, 8]),
)
def test_more_of_anything_never_takes_less(
    lora: Settings, known: dict[str, Shape], more: str, low: int, extra: int, full: bool, **settings: object
) -> None:
    base = replace(lora, lora_rank=0 if full else 16, reference=full, **settings)
    shape, few, many = known["Qwen3-4B"], base, base
    shapes = (shape, shape)
    if more == "tokens":
        few, many = with_tokens(base, low), with_tokens(base, low + extra)
    elif more == "rank":
        few, many = replace(base, lora_rank=1 + low % 512), replace(base, lora_rank=1 + low % 512 + extra % 512)
    elif more == "parameters":
        shapes = (shape.scaled(low / 30_000), shape.scaled((low + extra) / 30_000))
    else:
        assert base.rollout
        few = replace(base, rollout=replace(base.rollout, sequences=low))
        many = replace(base, rollout=replace(base.rollout, sequences=low + extra))
    less, much = (sizes(make_plan(*pair, EIGHTY)) for pair in zip(shapes, (few, many), strict=True))
    assert all(b >= a * (1 - 1e-6) for a, b in zip(less, much, strict=True))


@given(full=st.booleans(), gpus=st.integers(1, 8), more=st.integers(1, 8), nodes=st.integers(1, 4))
def test_more_gpus_never_take_more_of_each_for_what_is_sharded(
    lora: Settings, known: dict[str, Shape], full: bool, gpus: int, more: int, nodes: int
) -> None:
    base = replace(lora, lora_rank=0 if full else 32, nodes=nodes)
    few, many = (
        make_plan(known["Qwen3-4B"], replace(base, gpus=count), EIGHTY).phases[0].parts for count in (gpus, gpus + more)
    )
    for part in ("weights", "gradients", "optimizer"):
        assert many[part] < few[part]


def test_what_saves_memory_is_planned_to(lora: Settings, known: dict[str, Shape]) -> None:
    shape, full = known["Qwen3-4B"], replace(lora, lora_rank=0)
    peak = make_plan(shape, full, EIGHTY).peak.size

    def update(settings: Settings) -> float:
        return make_plan(shape, settings, EIGHTY).phases[0].size

    assert update(lora) < update(full)
    assert update(replace(lora, fused=True)) < update(lora)
    assert update(lora) < update(replace(lora, checkpointing=False))
    assert update(replace(full, everything_offload=True)) < 0.3 * update(full)
    offloaded = make_plan(shape, replace(full, param_offload=True, optimizer_offload=True), EIGHTY)
    assert update(replace(full, param_offload=True, optimizer_offload=True)) == update(full), "it is back in the update"
    assert offloaded.phases[2].size < make_plan(shape, full, EIGHTY).phases[2].size
    assert make_plan(shape, replace(lora, width=2), EIGHTY).peak.size < peak


# --- what fits


@pytest.mark.parametrize("profile", sorted(path.stem for path in (ROOT / "train/config/profile").glob("*gb.yaml")))
def test_a_model_of_4b_with_lora_fits_on_every_gpu_profile(profile: str, known: dict[str, Shape]) -> None:
    settings = recipe("openspiel", profile, TUNING="lora", GPU_COUNT=profile[0])()
    plan = make_plan(known["Qwen3-4B"], settings, Machine(gpu_memory("", profile), 256 * GIB))
    assert plan.problems == []
    assert plan.engine and plan.engine.sequences > 16
    assert "GB a GPU at the peak" in summary(plan, EIGHTY) and "rollout engine" in table(plan)


@pytest.mark.slow
@pytest.mark.parametrize("tuning", ["lora", "full"])
@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_of_the_cpu_profile_is_accepted_with_12_gib(
    name: str, tuning: str, known: dict[str, Shape]
) -> None:
    settings = recipe(name, "cpu", TUNING=tuning)()
    assert not make_plan(known["SmolLM2-135M"], settings, Machine(0, 12 * GIB)).refused
    assert make_plan(known["Qwen3-4B"], settings, Machine(0, 12 * GIB)).refused


def test_70b_is_refused_on_one_gpu_with_and_without_lora(known: dict[str, Shape], lora: Settings) -> None:
    for settings in (lora, replace(lora, lora_rank=0)):
        plan = make_plan(known["Llama-70B"], settings, EIGHTY)
        assert plan.refused
        assert "phase update" in plan.problems[0].words and "rollout engine" in plan.problems[-1].words


def test_rows_that_may_be_short_are_a_warning_and_no_refusal(lora: Settings, known: dict[str, Shape]) -> None:
    long = replace(lora, update=replace(lora.update, tokens=10**6, least=2048), checkpointing=False)
    (problem,) = make_plan(known["Qwen3-4B"], long, EIGHTY).problems
    assert not problem.certain and "rows are as long as they may be" in problem.words


def test_an_engine_without_room_for_one_sequence_is_refused(lora: Settings, known: dict[str, Shape]) -> None:
    assert lora.rollout
    small = replace(lora, rollout=replace(lora.rollout, share=0.15))
    (problem,) = make_plan(known["Qwen3-4B"], small, EIGHTY).problems
    assert problem.certain and "one sequence of 40960 tokens" in problem.words
    shorter = replace(small, rollout=replace(lora.rollout, share=0.15, model_len=2560))
    assert make_plan(known["Qwen3-4B"], shorter, EIGHTY).problems == []


# --- proposals


def as_typed(words: str) -> Change:
    """What the scripts make of a proposal's words."""
    exported = {"ENABLE_LORA": ("TUNING", {"1": "lora"}), "LAYERED_SUMMON": ("LAYERED_SUMMON", {"1": "true"})}
    overrides, environment = [], []
    for word in words.partition(" on ")[0].split():
        key, _, value = word.partition("=")
        if "." in key:
            overrides.append(word)
            continue
        name, values = exported.get(key, (key, {}))
        environment.append((name, values.get(value, value)))
        if key == "SFT_LORA_RANK":
            environment.append(("TUNING", "lora"))
    return Change(words, tuple(overrides), tuple(environment))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "model", "environment", "overrides", "wanted"),
    [
        ("openspiel", "Llama-70B", {"TUNING": "full"}, [], "GPU_COUNT=8"),
        ("sft", "Llama-70B", {"TUNING": "full", "GPU_COUNT": "1"}, [], "SFT_LORA_RANK="),
        (
            "openspiel",
            "Qwen3-4B",
            {"TUNING": "lora"},
            ["actor_rollout_ref.rollout.gpu_memory_utilization=0.85"],
            "0.65",
        ),
        (
            "openspiel",
            "Qwen3-4B",
            {"TUNING": "lora"},
            ["actor_rollout_ref.rollout.gpu_memory_utilization=0.15"],
            "_len",
        ),
        (
            "openspiel",
            "Qwen3-4B",
            {"TUNING": "lora"},
            ["actor_rollout_ref.actor.ppo_max_token_len_per_gpu=131072"],
            "ppo_max_token_len_per_gpu=",
        ),
        (
            "sft",
            "Qwen3-4B",
            {"TUNING": "lora", "SFT_MAX_LENGTH": "16384"},
            ["data.train_batch_size=64"],
            "SFT_MICRO_BATCH_SIZE_PER_GPU=",
        ),
    ],
)
def test_a_proposal_that_is_typed_fits(
    name: str,
    model: str,
    environment: dict[str, str],
    overrides: Sequence[str],
    wanted: str,
    known: dict[str, Shape],
) -> None:
    composed, shape = recipe(name, "1x80gb", *overrides, **environment), known[model]
    assert make_plan(shape, composed(), EIGHTY).problems
    proposals = propose(composed, shape, EIGHTY)
    assert wanted in " ".join(proposals)
    for words in proposals:
        if words.startswith("a model of"):
            billions = float(words.split("about ")[1].split()[0])
            assert not make_plan(shape.scaled(billions * 1e9 / shape.parameters), composed(), EIGHTY).problems
        else:
            there = Machine(EIGHTY.gpu, 0) if " such GPUs" in words else EIGHTY
            assert not make_plan(shape, composed([as_typed(words)]), there).problems, words


# --- the machine, and measurements


@pytest.mark.parametrize(
    ("groups", "files", "gib"),
    [
        ("", {}, 64),
        ("0::/\n", {"memory.max": "max\n"}, 64),
        ("0::/\n", {"memory.max": f"{12 * GIB}\n"}, 12),
        ("0::/job/step\n", {"job/memory.max": f"{8 * GIB}\n", "job/step/memory.max": "max\n"}, 8),
        ("5:cpu:/\n4:memory:/box\n", {"memory/box/memory.limit_in_bytes": f"{6 * GIB}\n"}, 6),
        ("4:memory:/box\n", {"memory/box/memory.limit_in_bytes": "9223372036854771712\n"}, 64),
    ],
)
def test_ram_is_what_the_control_groups_leave(tmp_path: Path, groups: str, files: dict[str, str], gib: int) -> None:
    proc, cgroups = tmp_path / "proc", tmp_path / "cgroup"
    (proc / "self").mkdir(parents=True)
    (proc / "meminfo").write_text(f"MemTotal:       {64 * 2**20} kB\nMemFree:        1 kB\n")
    (proc / "self/cgroup").write_text(groups)
    for name, text in files.items():
        (cgroups / name).parent.mkdir(parents=True, exist_ok=True)
        (cgroups / name).write_text(text)
    assert ram_limit(proc, cgroups) == gib * GIB


def test_a_gpu_is_what_was_found_or_what_the_profile_names() -> None:
    assert gpu_memory("141", "1x80gb") > gpu_memory("80", "4x141gb") == gpu_memory("", "2x80gb")
    assert gpu_memory("", "cpu") == 0 == gpu_memory("0", "own")
    assert pytest.approx(gpu_memory("80", ""), rel=0.002) == 81559 * 2**20


@pytest.mark.parametrize("row", MEASURED["rows"], ids=lambda row: row["name"])
def test_the_plan_is_as_near_to_measured_runs_as_it_says(row: dict, known: dict[str, Shape]) -> None:
    plan = BENCHMARK.planned(row, known[row["model"]])
    if row["measured"] is None:
        assert plan.peak.size > gpu_memory("", row["profile"])
    else:
        assert BENCHMARK.predicted(row, plan) / GIB == pytest.approx(row["measured"], rel=ERROR)


def test_settings_follow_the_recipe() -> None:
    game = recipe("openspiel", "cpu", "+demo=grpo", TUNING="lora")()
    assert (game.kind, game.cpu, game.update.tokens, game.infer, game.reference) == ("grpo", True, 1600, None, False)
    full = recipe("openspiel", "1x80gb", TUNING="full")()
    assert (full.lora_rank, full.reference, full.update.limit, full.update.tokens) == (0, True, 12_288, 12_288)
    sft = recipe("sft", "1x80gb", TUNING="full", SFT_MAX_LENGTH="1024", SFT_TRAIN_BATCH_SIZE="4")()
    assert (sft.kind, sft.update.tokens, sft.update.limit, sft.rollout) == ("sft", 4 * 1024, None, None)
    assert read_settings(recipe("sft", "1x80gb", "engine.model_dtype=bf16").config()).width == 2
