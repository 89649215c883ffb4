"""Merge a LoRA adapter into its base: a plain Hugging Face model that needs no PEFT to run.

    python train/tools/merge_adapter_into_base.py --base_model train/models/SmolLM2-135M-Instruct \\
        --adapter_model train/merged_model/lora_adapter --output_dir train/merged_model

The base is streamed: PEFT merges one layer at a time and every other tensor is copied as it is, so memory holds one
shard (`--max_shard_size`) and not the model. What was written is read back and compared with the base before it gets
its name: the layers of the adapter must differ, by what PEFT computed, and nothing else may.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from model_files import copy_config, copy_tokenizer, model_skeleton
from model_weights import (
    Difference,
    ExportError,
    ModelWeights,
    compare,
    max_abs_difference,
    parse_size,
    read_json,
    write_shards,
)
from whole_dir import TargetError, check_free_space, check_target, whole_dir

if TYPE_CHECKING:
    from peft import PeftModel
    from peft.tuners.tuners_utils import BaseTunerLayer
    from transformers import PreTrainedModel

DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}


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


class StreamedMerge:
    """Iterates over (name, tensor) of the merged model in the order of the base's files."""

    def __init__(self, base: ModelWeights, targets: dict[str, BaseTunerLayer], dtype: torch.dtype | None) -> None:
        self.base, self.targets, self.dtype = base, targets, dtype
        self.changes: dict[str, float] = {}
        """Tensor name → the largest absolute change of an element, as PEFT computed it; only what changed."""

    def __iter__(self) -> Iterator[tuple[str, torch.Tensor]]:
        waiting: dict[str, torch.Tensor] = {}
        for name in self.base:
            if name in self.targets and name not in waiting:
                waiting.update(self._merge_layer(name))
            yield name, waiting.pop(name) if name in waiting else self._read(name)

    def _read(self, name: str) -> torch.Tensor:
        tensor = self.base.tensor(name)
        return tensor.to(self.dtype) if self.dtype and tensor.is_floating_point() else tensor

    def _merge_layer(self, name: str) -> dict[str, torch.Tensor]:
        layer = self.targets[name]
        base_layer = layer.get_base_layer()
        names = {other.rpartition(".")[2]: other for other, its_layer in self.targets.items() if its_layer is layer}
        before = {parameter: self._read(other) for parameter, other in names.items()}
        for parameter, tensor in before.items():
            setattr(base_layer, parameter, torch.nn.Parameter(tensor.clone(), requires_grad=False))
        layer.merge()
        merged = {}
        for parameter, other in names.items():
            merged[other] = getattr(base_layer, parameter).data
            change = max_abs_difference(before[parameter], merged[other])
            if change:
                self.changes[other] = change
            setattr(base_layer, parameter, None)
        return merged


def prove_merge(base: ModelWeights, merged: ModelWeights, expected: dict[str, float], cast: bool = False) -> Difference:
    """The difference of two models on disk, when it is the one that PEFT computed and not none. Raises ExportError."""
    difference = compare(base, merged, cast=cast)
    if not difference.changed:
        raise ExportError(
            f"{merged.directory} is identical to the base {base.directory}: the adapter changes nothing, or its "
            "changes are smaller than the dtype can hold (try --dtype float32)"
        )
    for name in sorted({*difference.changed, *expected}):
        found, wanted = difference.changed.get(name, 0.0), expected.get(name, 0.0)
        if found != wanted:
            raise ExportError(f"{merged.directory}: {name} differs from the base by {found:g} and should by {wanted:g}")
    return difference


def merge_adapter(
    base: Path,
    adapter: Path,
    output: Path,
    *,
    dtype: torch.dtype | None = None,
    max_shard_size: str = "5GB",
    trust_remote_code: bool = False,
    trained: Path | None = None,
) -> Difference:
    """Write base + adapter into the existing directory `output` and return the proven difference from the base.

    config.json and the generation config are the base's; tokenizer and chat template are the adapter directory's when
    it has them, else the base's. All of them are those of `trained`, a model directory, when that is given. Raises
    ExportError, also when the result is not proven.
    """
    read_adapter_config(adapter)
    adapter_weights = read_adapter_weights(adapter)
    weights = ModelWeights(base)
    model = model_skeleton(base, trust_remote_code)
    check_adapter_fits(model, adapter_weights, base)
    peft_model = load_adapter(model, adapter, set(adapter_weights))
    stream = StreamedMerge(weights, target_layers(peft_model, weights, set(adapter_weights)), dtype)
    with torch.no_grad():
        write_shards(output, weights, stream, max_shard_size, dtype)
    stored_as = dtype or weights.dtype(next(iter(stream.targets)))
    copy_config(trained or base, output, stored_as if dtype or trained else None)
    copy_tokenizer(trained or (adapter if (adapter / "tokenizer_config.json").is_file() else base), output)
    return prove_merge(weights, ModelWeights(output), stream.changes, cast=dtype is not None)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base_model", type=Path, required=True, help="the base's directory")
    parser.add_argument("--adapter_model", type=Path, required=True, help="the PEFT adapter's directory")
    parser.add_argument("--output_dir", type=Path, required=True)
    parser.add_argument("--dtype", choices=sorted(DTYPES), help="default: the base's")
    parser.add_argument("--max_shard_size", default="5GB", help="size of the files, and of the memory used")
    parser.add_argument("--trust_remote_code", action="store_true", help="run the model code in the base's directory")
    parser.add_argument("--overwrite", action="store_true", help="replace the output once the new model is proven")
    options = parser.parse_args(arguments)
    dtype = DTYPES.get(options.dtype)
    try:
        if not options.base_model.is_dir():
            hint = f"hf download {options.base_model} --local-dir train/models/{options.base_model}"
            raise ExportError(f"--base_model {options.base_model} is not a directory: {hint}")
        check_target(options.output_dir, options.overwrite)
        parse_size(options.max_shard_size)
        check_free_space(options.output_dir, ModelWeights(options.base_model).num_bytes(dtype))
        with whole_dir(options.output_dir, options.overwrite) as staging:
            difference = merge_adapter(
                options.base_model,
                options.adapter_model,
                staging,
                dtype=dtype,
                max_shard_size=options.max_shard_size,
                trust_remote_code=options.trust_remote_code,
            )
    except (ExportError, TargetError, OSError, SafetensorError) as error:  # the last two: disk full, no permission
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"interrupted: {options.output_dir} is what it was before", file=sys.stderr)
        return 130
    print(
        f"{options.output_dir}: {len(difference.changed)} of {difference.tensors} tensors differ from the base, "
        f"by at most {difference.max_abs:.3g}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
