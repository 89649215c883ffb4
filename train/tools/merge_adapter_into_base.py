"""Merge a LoRA adapter into its base: a plain Hugging Face model that needs no PEFT to run.

    python train/tools/merge_adapter_into_base.py --base_model train/models/SmolLM2-135M-Instruct \\
        --adapter_model train/merged_model/lora_adapter --output_dir train/merged_model

The base is streamed: PEFT merges one layer at a time and every other tensor is copied as it is, so memory holds one
shard (`--max_shard_size`) and not the model. What was written is read back and compared with the base before it gets
its name: the layers of the adapter must differ, by what PEFT computed, and nothing else may. Then transformers and vLLM
load it, and its probabilities are compared with those of base and adapter (`export_proof`).

`--adapter_model` may also be a full model that was trained from the base: it is compared and proven in the same way.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError

from export_proof import NOT_VERIFIED, Proof, ProofError, print_checks, settle
from lora_adapter import check_adapter_fits, load_adapter, read_adapter_config, read_adapter_weights, target_layers
from model_files import copy_config, copy_tokenizer, is_tied, model_skeleton
from model_weights import (
    Difference,
    ExportError,
    ModelWeights,
    compare,
    max_abs_difference,
    parse_size,
    write_shards,
)
from proof_chats import check_chat_template
from proof_logits import adapter_loader, check_logits, directory_loader, num_layers, sample_ids
from proof_tensors import check_changed, check_layout, check_parameters
from proof_vllm import check_vllm
from whole_dir import TargetError, check_free_space, check_target, whole_dir

if TYPE_CHECKING:
    from peft.tuners.tuners_utils import BaseTunerLayer

DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}


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
    verify: bool = True,
) -> Difference | None:
    """Write base + adapter into the existing directory `output` and return the proven difference from the base.

    config.json and the generation config are the base's; tokenizer and chat template are the adapter directory's when
    it has them, else the base's. All of them are those of `trained`, a model directory, when that is given. Raises
    ExportError, also when the result is not proven. Without `verify` nothing is read back, and None is returned.
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
    if not verify:
        return None
    return prove_merge(weights, ModelWeights(output), stream.changes, cast=dtype is not None)


def convert_model(source: Path, output: Path, dtype: torch.dtype | None, max_shard_size: str) -> None:
    """Write a full model into the existing directory `output`, in another dtype where one is given."""
    weights = ModelWeights(source)
    tensors = ((name, weights.tensor(name)) for name in weights)
    cast = ((name, tensor.to(dtype) if dtype and tensor.is_floating_point() else tensor) for name, tensor in tensors)
    write_shards(output, weights, cast, max_shard_size, dtype)
    copy_config(source, output, dtype)
    copy_tokenizer(source, output)


def choose_base(base: Path | None, adapter: Path, use_base_model: bool) -> Path:
    """The base that was named, or that the adapter names. Raises ExportError where the two are not the same one."""
    named = read_adapter_config(adapter).get("base_model_name_or_path") if is_adapter(adapter) else None
    if base is None:
        if not named:
            raise ExportError(f"{adapter} names no base: pass --base_model")
        base = Path(named)
    if not base.is_dir():
        raise ExportError(f"--base_model {base} is not a directory: hf download {base} --local-dir train/models/{base}")
    other = Path(named) if named else base
    if other.is_dir() and other.resolve() != base.resolve() and not use_base_model:
        raise ExportError(
            f"--base_model is {base} and {adapter} was made for {named}: leave --base_model out, or pass "
            "--use_base_model to merge into the one that you name"
        )
    return base


def is_adapter(directory: Path) -> bool:
    """Whether it is an adapter's directory (or should be one), and not that of a full model."""
    return (directory / "adapter_config.json").is_file() or not (directory / "config.json").is_file()


def prove(options: argparse.Namespace, base: Path, model: Path, difference: Difference | None) -> Proof:
    """That `model` is `options.adapter_model` in or after `base`; their difference where it is known already."""
    trust, adapter = options.trust_remote_code, options.adapter_model
    weights, of_base = ModelWeights(model), ModelWeights(base)
    skeleton = model_skeleton(base, trust)
    parameters = sum(parameter.numel() for parameter in skeleton.parameters())
    adapted = None
    if is_adapter(adapter):
        names = set(read_adapter_weights(adapter))
        adapted = set(target_layers(load_adapter(skeleton, adapter, names), of_base, names))
    proof = Proof()
    proof.run("parameters", check_parameters, weights, parameters, is_tied(base))
    proof.run("tensors", check_layout, weights, of_base, options.dtype is not None or adapted is None)
    proof.run("changed", lambda: check_changed(difference or compare(of_base, weights, cast=True), adapted))
    trained = adapter if (adapter / "tokenizer_config.json").is_file() else base
    proof.run("chat template", check_chat_template, model, trained)
    if proof.failed:
        return proof
    original = adapter_loader(base, adapter, trust) if adapted else directory_loader(adapter, trust)
    loader, prompts = directory_loader(model, trust), sample_ids(model)
    untrained = directory_loader(base, trust)
    size = (parameters, num_layers(model), weights.dtype(next(iter(weights))))
    proof.run("transformers", check_logits, loader, original, untrained, prompts, *size)
    if not options.no_vllm:
        proof.run("vLLM", check_vllm, model, loader, prompts)
    return proof


def merge(options: argparse.Namespace) -> dict[str, Any]:
    """What the command line asks for; returns the report that is in export.json. Raises as `main` prints."""
    base, adapter, target = options.base_model, options.adapter_model, options.output_dir
    dtype = DTYPES.get(options.dtype)
    base = choose_base(base, adapter, options.use_base_model)
    check_target(target, options.overwrite)
    parse_size(options.max_shard_size)
    check_free_space(target, ModelWeights(base).num_bytes(dtype))
    with whole_dir(target, options.overwrite) as staging:
        difference = None
        if is_adapter(adapter):
            difference = merge_adapter(
                base,
                adapter,
                staging,
                dtype=dtype,
                max_shard_size=options.max_shard_size,
                trust_remote_code=options.trust_remote_code,
                verify=not options.no_verify,
            )
        else:
            check_layout(ModelWeights(adapter), ModelWeights(base), any_dtype=True)  # before anything is written
            convert_model(adapter, staging, dtype, options.max_shard_size)
        proof = None if options.no_verify else prove(options, base, staging, difference)
        report = {
            "source": str(adapter),
            "kind": "LoRA" if is_adapter(adapter) else "full",
            "base_model": str(base),
            "parameters": ModelWeights(staging).num_parameters(),
            "target": str(target),
            "proof": proof.as_json() if proof else NOT_VERIFIED,
        }
        settle(staging, target, report)
    return report


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--base_model", type=Path, help="the base's directory (default: the one that the adapter names)"
    )
    parser.add_argument("--adapter_model", type=Path, required=True, help="the PEFT adapter's directory, or a model's")
    parser.add_argument("--output_dir", type=Path, required=True)
    parser.add_argument(
        "--use_base_model", action="store_true", help="merge into --base_model although the adapter names another one"
    )
    parser.add_argument("--dtype", choices=sorted(DTYPES), help="default: the base's")
    parser.add_argument("--max_shard_size", default="5GB", help="size of the files, and of the memory used")
    parser.add_argument("--trust_remote_code", action="store_true", help="run the model code in the base's directory")
    parser.add_argument("--overwrite", action="store_true", help="replace the output once the new model is proven")
    parser.add_argument("--no_verify", action="store_true", help="prove nothing; export.json says so")
    parser.add_argument("--no_vllm", action="store_true", help="prove all but that vLLM loads it")
    options = parser.parse_args(arguments)
    try:
        report = merge(options)
    except ProofError as error:
        print_checks(error.report)
        print(f"error: {error}", file=sys.stderr)
        return 1
    except (ExportError, TargetError, OSError, SafetensorError) as error:  # the last two: disk full, no permission
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"interrupted: {options.output_dir} is what it was before", file=sys.stderr)
        return 130
    print_checks(report)
    print(f"  {'target':<13} {options.output_dir}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
