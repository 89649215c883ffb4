"""A LoRA adapter in PEFT's format: read, checked against a base, and put into a model that holds no weights.

read_adapter_config(adapter)                        # raises ExportError for what cannot be merged
weights = read_adapter_weights(adapter)
check_adapter_fits(model_skeleton(base), weights, base)
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from model_weights import ExportError, ModelWeights, read_json

if TYPE_CHECKING:
    from peft import PeftModel
    from peft.tuners.tuners_utils import BaseTunerLayer
    from transformers import PreTrainedModel


def read_adapter_config(adapter: Path) -> dict:
    """adapter_config.json, when it is a LoRA adapter that can change something. Raises ExportError."""
    path = adapter / "adapter_config.json"
    if not path.is_file():
        raise ExportError(f"{adapter} has no adapter_config.json: it is not a PEFT adapter directory")
    config = read_json(path)
    if config.get("peft_type") != "LORA":
        raise ExportError(f"{path}: peft_type is {config.get('peft_type')!r}, and only LORA can be merged")
    if not config.get("lora_alpha"):
        raise ExportError(
            f"{path}: lora_alpha is {config.get('lora_alpha')!r}, which makes the adapter change nothing "
            "(verl before 0.9 wrote 0): set it to the value of the training run"
        )
    return config


def read_adapter_weights(adapter: Path) -> dict[str, torch.Tensor]:
    """The adapter's tensors by their PEFT names. Raises ExportError when there are none, or all of them are zero."""
    path = adapter / "adapter_model.safetensors"
    if not path.is_file():
        raise ExportError(f"{path} is missing")
    try:
        weights = load_file(path)
    except SafetensorError as error:
        raise ExportError(f"{path} is truncated or damaged ({error}): copy it again") from error
    # PEFT saves a copy of an embedding's own weights beside its adapter: that is the base, not a change to it.
    weights = {name: tensor for name, tensor in weights.items() if ".base_layer." not in name}
    other = [name for name in weights if ".lora_" not in name]
    if other:
        raise ExportError(
            f"{path} holds {other[0]}, which is no LoRA tensor: modules_to_save and biases are not merged"
        )
    if not any(tensor.any() for name, tensor in weights.items() if ".lora_B" in name or ".lora_embedding_B" in name):
        raise ExportError(
            f"{path}: every lora_B is zero, so the merged model would be the base itself: "
            "the adapter was never trained, or the checkpoint was written before the first step"
        )
    return weights


def check_adapter_fits(model: PreTrainedModel, adapter_weights: dict[str, torch.Tensor], base: Path) -> None:
    """Raises ExportError naming both shapes for an adapter of another base, and for one on tied embeddings."""
    modules = dict(model.named_modules())
    embeddings = (model.get_input_embeddings(), model.get_output_embeddings())
    tied = model.config.get_text_config().tie_word_embeddings
    for name, tensor in adapter_weights.items():
        layer = name.removeprefix("base_model.model.").partition(".lora_")[0]
        if tied and modules.get(layer) in embeddings and layer in modules:
            raise ExportError(
                f"the adapter changes {layer}, which this base ties to its other embedding: a merged model would not "
                "be the trained one. Train with lora exclude_modules=[lm_head,embed_tokens]"
            )
        match = re.fullmatch(r"base_model\.model\.(.+)\.lora_([AB])\.weight", name)
        if not match:
            continue  # embeddings, DoRA magnitudes: PEFT checks these itself
        module = modules.get(match[1])
        if module is None:
            raise ExportError(f"the adapter is for another base: {base} has no layer {match[1]}")
        rows, columns = module.weight.shape if isinstance(module, torch.nn.Linear) else reversed(module.weight.shape)
        side, wanted, got = (
            ("input", columns, tensor.shape[1]) if match[2] == "A" else ("output", rows, tensor.shape[0])
        )
        if wanted != got:
            raise ExportError(
                f"the adapter is for another base: {name} is {tuple(tensor.shape)} and {match[1]} in {base} is "
                f"{(rows, columns)}: the layer's {side} has {wanted} features, the adapter's {got}"
            )


def load_adapter(model: PreTrainedModel, adapter: Path, names: set[str]) -> PeftModel:
    """The hollow model with the adapter in it. Raises ExportError unless every tensor of it found its place."""
    from peft import PeftModel, get_peft_model_state_dict

    try:
        peft_model = PeftModel.from_pretrained(model, adapter)
    except (RuntimeError, ValueError) as error:
        raise ExportError(f"{adapter} does not fit the base: {error}") from error
    lost = sorted(names - set(get_peft_model_state_dict(peft_model, save_embedding_layers=False)))
    if lost:
        raise ExportError(f"{adapter}: {len(lost)} tensors have no place in the base, the first is {lost[0]}")
    return peft_model


def target_layers(peft_model: PeftModel, base: ModelWeights, adapter_names: set[str]) -> dict[str, BaseTunerLayer]:
    """Tensor name in the base's files → the PEFT layer that changes it. Raises ExportError for another layout."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    model = peft_model.base_model.model
    targets = {}
    for module_name, layer in model.named_modules():
        # verl names target modules by their last part: PEFT then also makes layers that the adapter has no weights for.
        if not isinstance(layer, BaseTunerLayer) or not any(f".{module_name}.lora_" in name for name in adapter_names):
            continue
        base_layer = layer.get_base_layer()
        for parameter, _ in base_layer.named_parameters(recurse=False):
            name = f"{module_name}.{parameter}"
            if name not in base:
                raise ExportError(
                    f"{base.directory} does not store {name} under this name: its layout is not supported"
                )
            targets[name] = layer
    return targets
