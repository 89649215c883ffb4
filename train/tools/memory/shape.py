"""A model's dimensions and parameter counts, from its directory.

    shape = read_shape(Path("train/models/SmolLM2-135M-Instruct"))
    shape.parameters, shape.layers, shape.hidden, shape.vocabulary      # (134515008, 30, 576, 49152)

config.json has the dimensions. Parameters are counted from the headers of the safetensors files, and where there are
none, from the model that transformers builds of the config on torch's meta device, which holds no weights.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, replace
from pathlib import Path

from safetensors import SafetensorError, safe_open

LAYER = re.compile(r"\.(\d+)\.")


class ShapeError(ValueError):
    """The directory does not say what its model looks like: the message says what is missing."""


@dataclass(frozen=True)
class Shape:
    parameters: int
    """All of them; a head that is tied to the embedding counts once."""
    layers: int
    hidden: int
    queries: int
    """Attention heads × their dimension."""
    keys: int
    """The same of the key heads."""
    inner: int
    """Width of the MLP, of all the experts that a token visits."""
    vocabulary: int
    positions: int
    """The longest sequence that the model is made for, in tokens."""
    query_norm: bool
    """Whether queries and keys are normalised, as in Qwen3."""
    largest_layer: int
    """Parameters of the largest layer: what FSDP gathers at a time."""
    outside: int
    """Parameters outside the layers: embedding, head, last norm."""
    head: int
    """Parameters of the output layer, tied or not."""
    tied: bool
    linears: tuple[tuple[str, int, int], ...]
    """(module, outputs, inputs) of the linear layers that LoRA can adapt."""

    def lora_parameters(self, rank: int, targets: object, excluded: object) -> int:
        """What LoRA of this rank trains: rank × (inputs + outputs) of each layer that it adapts (arXiv:2106.09685)."""
        return sum(
            rank * (outputs + inputs)
            for name, outputs, inputs in self.linears
            if (targets == "all-linear" or _matches(name, targets)) and not _matches(name, excluded)
        )

    def scaled(self, share: float) -> Shape:
        """The same architecture with about this share of the parameters: narrower, not flatter."""
        width = math.sqrt(share)
        return replace(
            self,
            parameters=round(self.parameters * share),
            largest_layer=round(self.largest_layer * share),
            outside=round(self.outside * share),
            head=round(self.head * share),
            hidden=round(self.hidden * width),
            queries=round(self.queries * width),
            keys=round(self.keys * width),
            inner=round(self.inner * width),
            linears=tuple((name, round(o * width), round(i * width)) for name, o, i in self.linears),
        )


def _matches(name: str, pattern: object) -> bool:
    """As PEFT matches: a regular expression over the whole name, or names by their end."""
    if not pattern:
        return False
    if isinstance(pattern, str):
        return re.fullmatch(pattern, name) is not None
    return any(name == end or name.endswith(f".{end}") for end in pattern)  # type: ignore[union-attr]


def read_config(directory: Path) -> dict:
    """config.json, the language model's part of it. Raises ShapeError."""
    path = directory / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        config = config.get("text_config") or config
    except FileNotFoundError as error:
        raise ShapeError(f"{directory} has no config.json yet") from error
    except (OSError, ValueError, AttributeError) as error:
        raise ShapeError(f"{path} cannot be read: {error}") from error
    wanted = ("hidden_size", "num_hidden_layers", "num_attention_heads", "vocab_size")
    missing = [key for key in wanted if not isinstance(config.get(key), int) or config[key] < 1]
    if missing:
        raise ShapeError(f"{path} does not say {', '.join(missing)}")
    return config


def read_shape(directory: Path) -> Shape:
    """The shape of the model in `directory`. Raises ShapeError."""
    config = read_config(directory)
    return shape_of(config, stored_tensors(directory) or built_tensors(directory))


def shape_of(config: dict, tensors: dict[str, tuple[int, ...]]) -> Shape:
    heads = config["num_attention_heads"]
    head = config.get("head_dim") or config["hidden_size"] // heads
    experts = config.get("num_experts_per_tok") or 0
    inner = config.get("intermediate_size") or 4 * config["hidden_size"]
    if experts and config.get("moe_intermediate_size"):
        inner = experts * config["moe_intermediate_size"]
    tied = bool(config.get("tie_word_embeddings", _has_no_head(tensors)))
    if tied:
        tensors = {name: shape for name, shape in tensors.items() if not name.endswith("lm_head.weight")}
    layers: dict[str, int] = {}
    for name, shape in tensors.items():
        if found := LAYER.search(name):
            prefix = name[: found.end()]
            layers[prefix] = layers.get(prefix, 0) + math.prod(shape)
    parameters = sum(math.prod(shape) for shape in tensors.values())
    return Shape(
        parameters=parameters,
        layers=config["num_hidden_layers"],
        hidden=config["hidden_size"],
        queries=heads * head,
        keys=(config.get("num_key_value_heads") or heads) * head,
        inner=inner,
        vocabulary=config["vocab_size"],
        positions=config.get("max_position_embeddings") or 2048,
        query_norm=any(name.endswith("q_norm.weight") for name in tensors),
        largest_layer=max(layers.values(), default=0),
        outside=parameters - sum(layers.values()),
        head=config["vocab_size"] * config["hidden_size"],
        tied=tied,
        linears=tuple(
            (name.removesuffix(".weight"), *shape)
            for name, shape in tensors.items()
            if len(shape) == 2 and name.endswith(".weight") and LAYER.search(name)
        ),
    )


def _has_no_head(tensors: dict[str, tuple[int, ...]]) -> bool:
    return not any(name.endswith("lm_head.weight") for name in tensors)


def stored_tensors(directory: Path) -> dict[str, tuple[int, ...]]:
    """Names and shapes in the safetensors files; empty where there are none, or they are not whole."""
    index = directory / "model.safetensors.index.json"
    shapes: dict[str, tuple[int, ...]] = {}
    try:
        files = set(json.loads(index.read_text())["weight_map"].values()) if index.exists() else {"model.safetensors"}
        for name in sorted(files):
            with safe_open(directory / name, framework="np") as file:  # headers alone: no torch, which takes seconds
                shapes |= {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118
    except (OSError, ValueError, KeyError, AttributeError, SafetensorError):
        return {}  # a directory that holds only a config is enough for a plan
    return shapes


def built_tensors(directory: Path) -> dict[str, tuple[int, ...]]:
    """The same of the model that transformers builds on the meta device. Raises ShapeError."""
    import torch
    from huggingface_hub.errors import StrictDataclassError
    from transformers import AutoConfig, AutoModelForCausalLM

    try:
        config = AutoConfig.from_pretrained(directory)
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config)
    except (ValueError, KeyError, TypeError, AttributeError, OSError, ImportError, StrictDataclassError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ShapeError(f"transformers cannot build {directory}/config.json: {reason[:200]}") from error
    return {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
