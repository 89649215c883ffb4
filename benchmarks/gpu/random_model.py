"""A model of a known shape with random weights, for measuring speed where no large model can be downloaded.

    python benchmarks/gpu/random_model.py qwen3-4b --tokenizer train/models/SmolLM2-135M-Instruct --output /tmp/qwen3-4b

Its answers are random tokens, and it next to never ends one, so each has the full length. The tokenizer is another
model's: ids beyond its vocabulary decode to nothing.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, LlamaConfig, PretrainedConfig, Qwen3Config

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")
SHAPES: dict[str, PretrainedConfig] = {
    # config.json of Qwen/Qwen3-4B, Apache-2.0
    "qwen3-4b": Qwen3Config(
        hidden_size=2560,
        intermediate_size=9728,
        num_hidden_layers=36,
        num_attention_heads=32,
        num_key_value_heads=8,
        head_dim=128,
        vocab_size=151_936,
        max_position_embeddings=40_960,
        tie_word_embeddings=True,
        rope_parameters={"rope_type": "default", "rope_theta": 1_000_000.0},
    ),
    # As small as a model can be that takes the same way through the code.
    "toy": LlamaConfig(
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        vocab_size=49_152,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
    ),
}


def write_model(shape: str, tokenizer: Path, output: Path) -> int:
    """The number of parameters written, in bfloat16. Raises FileNotFoundError where `tokenizer` holds no model."""
    config = SHAPES[shape]
    special = json.loads((tokenizer / "config.json").read_text())
    for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
        setattr(config, name, special.get(name))
    torch.manual_seed(0)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model.save_pretrained(output)
    for name in TOKENIZER_FILES:
        if (tokenizer / name).exists():
            shutil.copy(tokenizer / name, output / name)
    return model.num_parameters()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("shape", choices=SHAPES)
    parser.add_argument("--tokenizer", type=Path, required=True, help="a model's directory")
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    parameters = write_model(options.shape, options.tokenizer, options.output)
    print(f"{options.output}: {options.shape}, {parameters / 1e9:.3f} billion parameters")


if __name__ == "__main__":
    main()
