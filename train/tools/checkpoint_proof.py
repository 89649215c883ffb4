"""The proof that a model directory is what a checkpoint holds: all checks, in the order of their cost.

proof = prove_export(Path("train/merged_model"), checkpoint, ModelWeights(base), parameters)
proof.passed
"""

from __future__ import annotations

from pathlib import Path

from checkpoint_steps import Checkpoint
from checkpoint_tensors import CheckpointTensors
from export_proof import FAIL, Check, Proof
from model_files import is_tied, model_skeleton
from model_weights import ExportError, ModelWeights, compare
from proof_chats import check_chat_template
from proof_logits import check_logits, checkpoint_loader, directory_loader, num_layers, sample_ids
from proof_tensors import (
    change_from_frozen,
    check_changed,
    check_config,
    check_layout,
    check_parameters,
    check_trained,
)
from proof_vllm import check_vllm


def count_parameters(checkpoint: Checkpoint, trust_remote_code: bool = False) -> int:
    """The parameters that the checkpoint's own config asks for; tied ones count once. Raises ExportError."""
    skeleton = model_skeleton(checkpoint.directory / "huggingface", trust_remote_code)
    return sum(parameter.numel() for parameter in skeleton.parameters())


def prove_export(
    model: Path,
    checkpoint: Checkpoint,
    base: ModelWeights | None,
    parameters: int,
    trust_remote_code: bool = False,
    with_vllm: bool = True,
) -> Proof:
    """Check that `model` is what the checkpoint holds. `base` is what the run started from, where that is known."""
    source = checkpoint.directory / "huggingface"
    proof = Proof()
    try:
        weights, trained = ModelWeights(model), CheckpointTensors(checkpoint)
    except ExportError as error:
        proof.checks.append(Check("files", FAIL, str(error)))
        return proof
    proof.run("parameters", check_parameters, weights, parameters, is_tied(source))
    proof.run("config", check_config, model, source)
    proof.run("trained", check_trained, weights, trained)
    adapted = trained.adapted or None
    if base is not None:
        proof.run("tensors", check_layout, weights, base, adapted is None)
        proof.run("changed", lambda: check_changed(compare(base, weights, cast=True), adapted))
    elif adapted:
        proof.run("changed", lambda: check_changed(change_from_frozen(weights, trained), adapted))
    proof.run("chat template", check_chat_template, model, source)
    if proof.failed:
        return proof  # a wrong model is not worth minutes of loading
    untrained = None
    if adapted:
        untrained = checkpoint_loader(source, trained, False, trust_remote_code)
    elif base is not None:
        untrained = directory_loader(base.directory, trust_remote_code)
    loader, prompts = directory_loader(model, trust_remote_code), sample_ids(model)
    original = checkpoint_loader(source, trained, True, trust_remote_code)
    size = (parameters, num_layers(model), weights.dtype(next(iter(weights))))
    proof.run("transformers", check_logits, loader, original, untrained, prompts, *size)
    if with_vllm:
        proof.run("vLLM", check_vllm, model, loader, prompts)
    return proof
