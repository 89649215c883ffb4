"""The files of a Hugging Face model directory beside its weights: config, tokenizer, chat template, code.

model = model_skeleton(directory)       # every layer of the model, and no memory
copy_config(directory, output)          # byte for byte: nothing goes through a load and a save
copy_tokenizer(directory, output)
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from model_weights import ExportError, read_json

if TYPE_CHECKING:
    from transformers import PreTrainedModel

TOKENIZER_FILES = (
    "tokenizer*", "special_tokens_map.json", "added_tokens.json", "chat_template*", "additional_chat_templates",
    "vocab.*", "merges.txt", "*.model", "*.tiktoken", "*processor_config.json",
)  # fmt: skip


def model_skeleton(directory: Path, trust_remote_code: bool = False) -> PreTrainedModel:
    """The model of `directory/config.json` with every layer and no memory: its parameters are one number, expanded.

    PEFT skips what is on the meta device, so the parameters are on the CPU; float32, or PEFT would round the adapter.
    """
    import transformers

    try:
        config = transformers.AutoConfig.from_pretrained(directory, trust_remote_code=trust_remote_code)
    except (OSError, ValueError) as error:
        raise ExportError(f"{directory}/config.json is not a model's config: {error}") from error
    cls = getattr(transformers, (config.architectures or [""])[0], transformers.AutoModelForCausalLM)
    with torch.device("meta"):
        if cls is transformers.AutoModelForCausalLM:
            model = cls.from_config(config, trust_remote_code=trust_remote_code)
        else:
            model = cls._from_config(config)
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            hollow = torch.zeros(1, dtype=torch.float32).expand(parameter.shape)
            setattr(module, name, torch.nn.Parameter(hollow, requires_grad=False))
    model.tie_weights()
    return model


def is_tied(directory: Path) -> bool:
    """Whether the model's lm_head is its embedding."""
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(directory).get_text_config().tie_word_embeddings


def copy_config(source: Path, output: Path, dtype: torch.dtype | None = None) -> None:
    """config.json, generation_config.json and the model's own code, as they are, but for the dtype.

    `output` may be `source`: then config.json is changed in place.
    """
    config = read_json(source / "config.json")
    if dtype is not None:
        config.pop("torch_dtype", None)
        config["dtype"] = str(dtype).removeprefix("torch.")
    (output / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    for path in [source / "generation_config.json", *source.glob("*.py")]:
        if path.is_file() and source != output:
            shutil.copyfile(path, output / path.name)


def copy_tokenizer(source: Path, output: Path) -> None:
    """The tokenizer's, chat template's and processor's files, byte for byte."""
    for path in {path for pattern in TOKENIZER_FILES for path in source.glob(pattern)}:
        if path.is_dir():
            shutil.copytree(path, output / path.name, dirs_exist_ok=True)
        else:
            shutil.copyfile(path, output / path.name)
