"""Checks of an exported model's tensors: against its base, its config, and the checkpoint that it comes from.

    check_parameters(model, 134_515_008, tied=True)     "134,515,008 as the config asks for, lm_head tied …"
    check_trained(model, CheckpointTensors(checkpoint)) "every tensor is the checkpoint's but for rounding, …"

Each returns what it measured and raises ExportError where it does not hold. One tensor of each model is in memory.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from checkpoint_tensors import CheckpointTensors
from model_weights import Difference, ExportError, ModelWeights, likely_cause, max_abs_difference, read_json, some_of


def check_layout(model: ModelWeights, like: ModelWeights, any_dtype: bool = False) -> str:
    """Names, shapes and (unless `any_dtype`) dtypes are those of another model."""
    extra, missing = sorted(set(model) - set(like)), sorted(set(like) - set(model))
    if extra or missing:
        raise ExportError(f"tensors too many: {some_of(extra)}; missing: {some_of(missing)}")
    for name in like:
        if model.shape(name) != like.shape(name):
            cause = likely_cause(name, model.shape(name), like.shape(name))
            raise ExportError(f"{name} is {model.shape(name)} and in the base {like.shape(name)}: {cause}")
        if not any_dtype and model.dtype(name) != like.dtype(name):
            raise ExportError(f"{name} is {model.dtype(name)} and in the base {like.dtype(name)}")
    dtypes = sorted({str(model.dtype(name)).removeprefix("torch.") for name in model})
    stored = f"{'names and shapes' if any_dtype else 'names, shapes and dtypes'} as in the base, {', '.join(dtypes)}"
    return f"{len(model)} {stored}"


def check_parameters(model: ModelWeights, parameters: int, tied: bool) -> str:
    """As many parameters as the config asks for: no duplicated lm_head, no lost tensor."""
    if tied and "lm_head.weight" in model:
        raise ExportError(f"{model.directory} stores lm_head.weight, which its config ties to the embedding")
    if model.num_parameters() != parameters:
        raise ExportError(
            f"{model.directory} has {model.num_parameters():,} parameters and its config asks for {parameters:,}: "
            "with save_lora_only=True the checkpoint holds no base; otherwise a tensor is lost or duplicated"
        )
    return f"{parameters:,} as the config asks for, " + ("lm_head tied to the embedding" if tied else "no tied tensors")


_NOT_THE_MODELS = frozenset({"dtype", "torch_dtype", "transformers_version", "attn_implementation"})


def check_config(model: Path, trained: Path) -> str:
    """config.json is the trained model's but for the dtype, and generation_config.json says the same."""
    for file in ("config.json", "generation_config.json"):
        ours, theirs = (_settings(directory / file) for directory in (model, trained))
        other = sorted(key for key in {*ours, *theirs} if ours.get(key) != theirs.get(key))
        if other:
            raise ExportError(f"{file} differs from that in {trained} in {some_of(other)}")
    return "config.json and generation_config.json are the trained model's"


def _settings(path: Path) -> dict[str, Any]:
    """Without what says how a machine stores and runs the weights; empty where there is no file."""
    content = read_json(path) if path.is_file() else {}
    return {key: value for key, value in content.items() if key not in _NOT_THE_MODELS}


def check_changed(difference: Difference, adapted: Iterable[str] | None) -> str:
    """Something differs from the base and, for an adapter, nothing that it does not change."""
    if not difference.changed:
        raise ExportError("the model is identical to the base: the training changed nothing, or it was not merged")
    changed = f"{len(difference.changed)} of {difference.tensors} tensors, by up to {difference.max_abs:.3g}"
    if adapted is None:
        return changed
    others = sorted(set(difference.changed) - set(adapted))
    if others:
        raise ExportError(f"{some_of(others)} differ from the base, and the adapter does not change them")
    unchanged = sorted(set(adapted) - set(difference.changed))
    if unchanged:
        return f"{changed}; {some_of(unchanged)} of the adapter's changed by less than the dtype can hold"
    return f"{changed}: exactly the adapter's"


def check_trained(model: ModelWeights, trained: CheckpointTensors) -> str:
    """Every tensor is the checkpoint's own, put together without verl and PEFT, to the rounding that verl does."""
    worst = kept = whole = 0.0
    for name in model:
        if name not in trained:
            raise ExportError(f"{name} is not in the checkpoint")
        wanted, found = trained.weight(name), model.tensor(name).to(torch.float32)
        if wanted.shape != found.shape:
            raise ExportError(f"{name} is {tuple(found.shape)} and in the checkpoint {tuple(wanted.shape)}")
        error = (found - wanted).abs()
        if not (error <= trained.rounding(name)).all():  # also where a value is not a number
            raise ExportError(f"{name} differs from the checkpoint by up to {float(error.max()):.3g}")
        worst = max(worst, float(error.max()))
        if name in trained.adapted:
            frozen = trained.weight(name, adapted=False)
            change = wanted - frozen
            kept += float(((found - frozen) * change).sum())
            whole += float((change * change).sum())
    words = f"every tensor is the checkpoint's but for rounding, by up to {worst:.2g}"
    return words + (f"; {kept / whole:.0%} of the change is kept" if whole else "")


def change_from_frozen(model: ModelWeights, trained: CheckpointTensors) -> Difference:
    """How an adapter's model differs from the weights that were frozen in its checkpoint, in the model's dtypes."""
    changed = {}
    for name in model:
        frozen = trained.weight(name, adapted=False).to(model.dtype(name))
        if difference := max_abs_difference(frozen, model.tensor(name)):
            changed[name] = difference
    return Difference(changed, len(model))
