"""What the training engine holds on one GPU: verl's FSDP engine, in bytes.

    held = states(shape, settings)
    held.weights, held.optimizer                 # fp32 by default, over the shards
    update_peak(shape, settings, tokens=8192)    # {'activations': …, 'logits': …}: beside the states

Sources: verl 0.9.1, verl/workers/engine/fsdp/transformer_impl.py (_build_module, _build_fsdp_module,
forward_backward_batch, prepare_model_outputs) and verl/utils/torch_functional.py; torch's FSDP2 and AdamW.
"""

from __future__ import annotations

from dataclasses import dataclass

from memory.settings import Batch, Settings
from memory.shape import Shape

BF16, FP32 = 2, 4
FUSED_ROWS = 512
"""Tokens at a time of the fused log-probs (verl/utils/experimental/torch_functional.py, chunk_size)."""


@dataclass(frozen=True)
class States:
    """What is there from step to step."""

    weights: float
    gradients: float
    optimizer: float
    step: float
    """AdamW's square root of the second moments, in the step alone (torch/optim/adam.py, _multi_tensor_adam)."""


def states(shape: Shape, settings: Settings) -> States:
    """fp32 weights even with LoRA: `model_dtype: fp32`, and the adapter is cast to the base's dtype."""
    lora = lora_parameters(shape, settings)
    trained = lora if settings.lora_rank else shape.parameters
    part = settings.width / settings.shards
    return States(
        weights=part * (shape.parameters + lora),
        gradients=part * trained,
        optimizer=2 * part * trained,
        step=part * trained,
    )


def lora_parameters(shape: Shape, settings: Settings) -> int:
    if not settings.lora_rank:
        return 0
    return shape.lora_parameters(settings.lora_rank, settings.lora_targets, settings.lora_excluded)


def gathered(shape: Shape) -> float:
    """bf16 copies that FSDP gathers: what is outside the layers, which stays, one layer and the next."""
    return BF16 * (shape.outside + 2 * shape.largest_layer)


def kept_by_a_layer(shape: Shape, settings: Settings) -> float:
    """Bytes a token that one layer keeps for the backward pass in bf16.

    Counted over saved tensors of transformers' Llama and Qwen3 layers (tests/test_memory_trainer.py counts them again):
    the norms upcast to fp32; attention keeps queries, expanded keys and values, and its output; the MLP keeps gate, up,
    activation and product. The same sum as arXiv:2205.05198, for these layers.
    """
    size = 13.5 * shape.hidden + 8 * shape.queries + 8 * shape.inner
    if shape.query_norm:
        size += 5 * (shape.queries + shape.keys)
    if settings.lora_rank:
        size += 7 * 4 * settings.lora_rank + BF16 * shape.hidden  # what A gives, and the sums with the base
    return size


def mask(settings: Settings, batch: Batch, tokens: int) -> float:
    """Bytes of one layer's attention mask. flash-attention has none; sdpa makes one in bf16 in every layer, and with
    packed rows it spans all tokens (transformers/masking_utils.py; ATen's convert_boolean_attn_mask)."""
    if settings.attention.startswith("flash"):
        return 0.0
    return BF16 * tokens * (tokens if settings.packed else min(batch.row, tokens))


def update_logits(settings: Settings) -> float:
    """Bytes for each token and entry of the vocabulary in the update.

    bf16 logits, and the fp32 log-softmax of each row, which autograd keeps (logprobs_from_logits_v2); flash-attn's
    kernel writes the gradient over the logits. Counted with torch's own tensors, see benchmarks/memory_plan.py.
    """
    size = 2.3 if settings.fast_loss else 6.3
    if not settings.packed:
        size += BF16  # padded logits beside the ones without padding
    if settings.scaled:
        size += BF16
    if settings.entropy:
        size += 8.0 if settings.compiled else 26.0  # softmax, logsumexp and product in fp32, and their gradients
    return size


def infer_logits(settings: Settings) -> float:
    """The same without gradients, for log-probs and entropy (trainer_base.py asks for the entropy each time)."""
    size = 4.0 if settings.compiled else 10.3
    return size + BF16 * (not settings.packed) + BF16 * settings.scaled


def logits(shape: Shape, settings: Settings, tokens: int, each: float) -> float:
    if settings.fused:
        return 22.0 * min(FUSED_ROWS, tokens) * shape.vocabulary
    return each * tokens * shape.vocabulary


def update_peak(shape: Shape, settings: Settings, tokens: int) -> dict[str, float]:
    """The largest of three moments: logits, the deepest layer's gradients, the optimizer's step."""
    held = states(shape, settings)
    layer = kept_by_a_layer(shape, settings) * tokens
    one_mask = mask(settings, settings.update, tokens)
    if settings.checkpointing:  # the inputs of layers are kept, and one layer is computed again
        kept, again = BF16 * shape.hidden * shape.layers * tokens, layer + one_mask
    else:
        kept, again = (layer + one_mask) * shape.layers, 0.0
    full = not settings.lora_rank
    moments = [
        {
            "gathered weights": gathered(shape),
            "activations": kept + 1.5 * one_mask,
            "logits": logits(shape, settings, tokens, update_logits(settings)),
            "unsharded gradients": BF16 * shape.head * full,
        },
        {
            "gathered weights": gathered(shape),
            "activations": kept + again,
            # bf16 gradients of the head and a layer, and the layer's in fp32 to be reduced
            "unsharded gradients": full * (BF16 * shape.outside + (BF16 + FP32) * shape.largest_layer),
        },
        {"gathered weights": BF16 * shape.outside, "optimizer step": 0.0 if settings.everything_offload else held.step},
    ]
    return max(moments, key=lambda parts: sum(parts.values()))


def infer_peak(shape: Shape, settings: Settings, tokens: int) -> dict[str, float]:
    batch = settings.infer or settings.update
    layer = 0.5 * kept_by_a_layer(shape, settings) * tokens  # a part of the layer is alive at a time
    return {
        "gathered weights": gathered(shape),
        "activations": layer + 1.5 * mask(settings, batch, tokens),
        "logits": logits(shape, settings, tokens, infer_logits(settings)),
    }
