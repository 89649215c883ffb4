"""The answers of an exported model: those of the trained one but for rounding, however much the rounding changes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from model_weights import ExportError
from proof_logits import SMALL_KL, check_logits, divergence, in_dtype, log_probs

PROMPTS = [[1, 5, 9, 2, 30, 7], [3, 3, 8]]
BF16 = torch.bfloat16


def network(scale: float) -> LlamaForCausalLM:
    """Large weights: sure of its answers, so that the last bits of a weight decide between them."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=4000, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        tie_word_embeddings=False,
    )  # fmt: skip
    model = LlamaForCausalLM(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(scale)
    return model


def changed(model: LlamaForCausalLM, change: Callable[[torch.Tensor], torch.Tensor]) -> LlamaForCausalLM:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(change(parameter))
    return model


def check(model: LlamaForCausalLM, scale: float, dtype: torch.dtype = BF16) -> str:
    return check_logits(lambda _: model, lambda _: network(scale), None, PROMPTS, 10_000, 2, dtype)


def test_rounding_passes_even_where_it_changes_much() -> None:
    wanted, rounded = network(10.0), in_dtype(network(10.0), BF16)
    assert divergence(log_probs(wanted, PROMPTS), log_probs(rounded, PROMPTS)) > SMALL_KL
    assert "nats a token" in check(rounded, 10.0)


def test_the_same_difference_without_a_reason_is_refused() -> None:
    torch.manual_seed(1)
    with pytest.raises(ExportError, match=r"rounding to bfloat16 explains .* does not answer as the trained model"):
        check(in_dtype(changed(network(10.0), lambda p: p * (1 + 0.004 * torch.randn_like(p))), BF16), 10.0)
    with pytest.raises(ExportError, match=r"rounding to float32 explains 0"):
        check(in_dtype(network(10.0), BF16), 10.0, torch.float32)


def test_a_model_that_answers_nothing_is_refused() -> None:
    with pytest.raises(ExportError, match="does not answer"):
        check(changed(network(10.0), lambda p: torch.full_like(p, float("nan"))), 10.0)
