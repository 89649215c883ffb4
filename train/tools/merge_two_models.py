"""Average the weights of two models of one architecture: (1 - alpha) × first + alpha × second.

    python train/tools/merge_two_models.py --model-a train/models/sft --model-b train/merged_model --alpha 0.5 \\
        --target-dir train/merged_model_average

      models    0.5 × train/models/sft + 0.5 × train/merged_model
      changed   210 of 272 tensors of the first, max |Δ| 0.00195; 210 of the second, max |Δ| 0.00195
      …

Config, tokenizer, chat template and dtype are the first's. Read, averaged and written tensor by tensor: memory grows
with a file (`--max-shard-size`) and not with the model. What was written is read back and compared with the average
before it gets its name, so the target is there whole or not at all. Alpha 0 gives the first model back bit by bit,
alpha 1 the second.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from merge_adapter_into_base import DTYPES
from model_files import copy_config, copy_tokenizer
from model_pair import chat_templates_differ, read_pair
from model_weights import ExportError, ModelWeights, max_abs_difference, parse_size, write_shards
from whole_dir import TargetError, check_free_space, check_target, ended_by_sigterm, whole_dir

CHUNK = 2**15  # elements at once: the wide copies stay in the cache, ten times as fast as copies of whole tensors


def average(a: torch.Tensor, b: torch.Tensor, alpha: float, dtype: torch.dtype | None = None) -> torch.Tensor:
    """(1 - alpha) × a + alpha × b in `dtype` (default: a's), rounded once. Equal elements stay as they are.

    Computed in float32, or in float64 for parents that are not 16-bit. Raises ValueError for integers that differ.
    """
    dtype = dtype if dtype is not None and a.is_floating_point() else a.dtype
    if not a.is_floating_point():
        if not torch.equal(a, b):
            raise ValueError("integers that differ have no average")
        return a
    if alpha in (0, 1):  # not computed: 0 × a + b would lose the sign of a zero
        return (b if alpha else a).to(dtype)
    wide = torch.float32 if a.dtype.itemsize == b.dtype.itemsize == 2 else torch.float64
    result = torch.empty(a.shape, dtype=dtype)
    for into, x, y in chunks(result, a, b):
        into.copy_(torch.lerp(x.to(wide), y.to(wide), alpha))
    return result


def chunks(*tensors: torch.Tensor) -> Iterator[tuple[torch.Tensor, ...]]:
    """Flat pieces of tensors of one shape, CHUNK elements each; views, where a tensor is contiguous."""
    return zip(*(tensor.reshape(-1).split(CHUNK) for tensor in tensors), strict=True)


def averaged_tensors(
    a: ModelWeights, b: ModelWeights, alpha: float, dtype: torch.dtype | None
) -> Iterator[tuple[str, torch.Tensor]]:
    """(name, average) in the order of the first model's files. Raises ExportError."""
    for name in a:
        try:
            tensor = average(a.tensor(name), b.tensor(name), alpha, dtype)
        except ValueError as error:
            raise ExportError(f"{name} in {a.directory} and {b.directory}: {error}") from error
        if not all(piece.isfinite().all() for (piece,) in chunks(tensor)):
            raise ExportError(
                f"the average of {name} in {a.directory} and {b.directory} is not finite in {tensor.dtype}: "
                "a parent is damaged, or its values are too large for --dtype"
            )
        yield name, tensor


def prove_average(
    a: ModelWeights, b: ModelWeights, written: ModelWeights, alpha: float, dtype: torch.dtype | None
) -> dict[str, Any]:
    """How the model on disk differs from both parents, when each of its tensors is their average. Raises ExportError.

    An average that is one of its parents is refused unless alpha asks for that.
    """
    if set(written) != set(a):
        raise ExportError(f"{written.directory} has {len(written)} tensors, and {a.directory} {len(a)} of other names")
    changes: dict[str, dict[str, float]] = {"a": {}, "b": {}}
    for name, wanted in averaged_tensors(a, b, alpha, dtype):
        found = written.tensor(name)
        if found.dtype != wanted.dtype or not torch.equal(found, wanted):
            raise ExportError(f"{written.directory}: {name} is not the average that was written: is the disk failing?")
        for which, parent in (("a", a), ("b", b)):
            change = max(max_abs_difference(x, y) for x, y in chunks(parent.tensor(name), found))
            if change:
                changes[which][name] = change
    for which, parent in (("a", a), ("b", b)):
        if 0 < alpha < 1 and not changes[which]:
            raise ExportError(
                f"the average is {parent.directory} itself: the two models are the same, or differ by less than the "
                "dtype can hold (try --dtype float32)"
            )
    return {
        "tensors": len(a),
        "tensors_changed": len(changes["a"]),
        "max_abs_change": max(changes["a"].values(), default=0.0),
        "tensors_changed_from_second": len(changes["b"]),
        "max_abs_change_from_second": max(changes["b"].values(), default=0.0),
    }


def merge_two_models(
    model_a: Path,
    model_b: Path,
    target: Path,
    *,
    alpha: float = 0.5,
    dtype: torch.dtype | None = None,
    max_shard_size: str = "500MB",
    overwrite: bool = False,
    trust_remote_code: bool = False,
) -> dict[str, Any]:
    """Write the average to `target`; returns the report, which is also in its export.json.

    Raises ExportError when the models do not fit or the result is not their average, TargetError when the target
    cannot be written. In both cases the target is what it was before.
    """
    if not 0 <= alpha <= 1:
        raise ExportError(f"--alpha {alpha:g}: the weight of the second model is from 0 to 1")
    check_target(target, overwrite)
    parse_size(max_shard_size)
    a, b = read_pair(model_a, model_b, trust_remote_code)
    check_free_space(target, a.num_bytes(dtype))
    with whole_dir(target, overwrite) as staging:
        write_shards(staging, a, averaged_tensors(a, b, alpha, dtype), max_shard_size, dtype)
        copy_config(model_a, staging, dtype)
        copy_tokenizer(model_a, staging)
        written = ModelWeights(staging)
        changes = prove_average(a, b, written, alpha, dtype)
        report = {
            "kind": "average",
            "model_a": str(model_a),
            "model_b": str(model_b),
            "alpha": alpha,
            "parameters": written.num_parameters(),
            **changes,
            "chat_templates_differ": chat_templates_differ(model_a, model_b),
            "target": str(target),
            "proof": {"passed": True, "checks": proven(len(a), alpha)},
        }
        (staging / "export.json").write_text(json.dumps(report, indent=2) + "\n")
    return report


def proven(tensors: int, alpha: float) -> list[dict[str, Any]]:
    """What export.json says was checked, in the form of an export's proof; a failed check gets no report."""
    weights = {0: "is the first's", 1: "is the second's"}.get(alpha, f"is {1 - alpha:g} × first + {alpha:g} × second")
    details = {
        "architecture": "the configs describe the same computation, the tokenizers give the same ids",
        "tensors": f"names and shapes of all {tensors} are the parents', tied embeddings are stored once",
        "values": f"each tensor, read back, {weights}",
    }
    return [{"name": name, "verdict": "pass", "measured": measured} for name, measured in details.items()]


def print_report(report: dict[str, Any]) -> None:
    alpha = report["alpha"]
    rows = {
        "models": f"{1 - alpha:g} × {report['model_a']} + {alpha:g} × {report['model_b']}",
        "params": f"{report['parameters']:,}",
        "changed": (
            f"{report['tensors_changed']} of {report['tensors']} tensors of the first, "
            f"max |Δ| {report['max_abs_change']:.3g}; {report['tensors_changed_from_second']} of the second, "
            f"max |Δ| {report['max_abs_change_from_second']:.3g}"
        ),
        "proof": ", ".join(check["name"] for check in report["proof"]["checks"]),
        "target": report["target"],
    }
    for name, value in rows.items():
        print(f"  {name:8}  {value}")
    if report["chat_templates_differ"]:
        print("  the chat templates of the two differ: the average has the first's")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model-a", type=Path, help="the first model's directory: config, tokenizer and dtype are its")
    parser.add_argument("--model-b", type=Path, help="the second model's directory")
    parser.add_argument("--alpha", type=float, default=0.5, help="weight of the second, 0 to 1 (default: %(default)s)")
    parser.add_argument("--target-dir", type=Path, required=True)
    parser.add_argument("--dtype", choices=sorted(DTYPES), help="default: the first's")
    parser.add_argument(
        "--max-shard-size", default="500MB", help="size of the files; memory grows with it (default: %(default)s)"
    )
    parser.add_argument("--trust-remote-code", action="store_true", help="run the model code in the directories")
    parser.add_argument("--overwrite", action="store_true", help="replace the target once the average is proven")
    options = parser.parse_args(arguments)
    for flag, variable, value in (("a", "MODEL_A", options.model_a), ("b", "MODEL_B", options.model_b)):
        if value is None:
            parser.error(f"--model-{flag} or the variable {variable} must name a model's directory")
    try:
        with ended_by_sigterm():
            report = merge_two_models(
                options.model_a,
                options.model_b,
                options.target_dir,
                alpha=options.alpha,
                dtype=DTYPES.get(options.dtype),
                max_shard_size=options.max_shard_size,
                overwrite=options.overwrite,
                trust_remote_code=options.trust_remote_code,
            )
    except (ExportError, TargetError, OSError, SafetensorError) as error:  # the last two: disk full, no permission
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"interrupted: {options.target_dir} is what it was before", file=sys.stderr)
        return 130
    print_report(report)
    return 0


if __name__ == "__main__":
    sys.exit(main())
