"""A tiny model that can play: almost every token that it samples is a digit or the end of a turn.

    build_player(tiny, tmp_path / "player")     # `tiny` is the random model of the fixture

Everything else is as it was, random: which digit comes depends on what stands before, a little. Nobody taught it a
game, but whole ones can be tried in seconds, with legal moves, illegal ones, and games that are lost by them.
"""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

DIGITS = "012345678"


def build_player(tiny: Path, directory: Path, end_share: float = 0.1) -> Path:
    """A copy of the model whose next token is the end of the turn with about this probability, else one of DIGITS."""
    tokenizer = AutoTokenizer.from_pretrained(tiny)
    model = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32)
    vocabulary, width = model.get_input_embeddings().weight.shape
    model.config.tie_word_embeddings = False
    head = torch.nn.Linear(width, vocabulary, bias=False)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        # One direction of the residual stream is the same in every state, and the head reads the chosen tokens off it.
        head.weight.zero_()
        digits = [tokenizer.encode(digit, add_special_tokens=False)[0] for digit in DIGITS]
        head.weight[digits] = torch.randn(len(digits), width, generator=generator) * 0.2
        head.weight[:, 0] = -4.0
        head.weight[digits, 0] = 0.0
        head.weight[tokenizer.eos_token_id, 0] = 0.0
        odds = end_share / (1 - end_share) * len(digits)
        for layer in model.model.layers:  # so that what stands before matters
            layer.self_attn.v_proj.weight *= 4
            layer.self_attn.o_proj.weight *= 4
        embeddings = model.get_input_embeddings().weight
        embeddings *= 10
        embeddings[:, 0] = 1.0
        head.weight[tokenizer.eos_token_id, 0] = torch.log(torch.tensor(odds)) / width**0.5
    model.lm_head = head
    model.to(torch.bfloat16).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory
