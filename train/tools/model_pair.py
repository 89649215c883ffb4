"""Whether two model directories can be averaged: one architecture, one tokenizer, tensors of the same names and shapes.

    a, b = read_pair(Path("train/models/before"), Path("train/models/after"))      # two ModelWeights, or ExportError

An average of models that only look alike loads and talks nonsense, so every difference that matters is refused, with
both values and the likely cause.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from model_files import TOKENIZER_FILES, model_skeleton
from model_weights import ExportError, ModelWeights

NOT_COMPUTED_WITH = {
    "_name_or_path", "transformers_version", "dtype", "torch_dtype", "use_cache", "initializer_range",
    "bos_token_id", "eos_token_id", "pad_token_id", "id2label", "label2id",
    "output_attentions", "output_hidden_states", "return_dict", "output_router_logits", "router_aux_loss_coef",
}  # fmt: skip
"""Keys of config.json that change no logit: who saved it, how it is trained, how it is sampled. So does any dropout."""


class AverageableWeights(ModelWeights):
    """A model's tensors, without an output layer that is stored although the config ties it to the embedding."""

    def __init__(self, directory: Path, tied: dict[str, str]) -> None:
        super().__init__(directory)
        for copy, original in tied.items():
            if copy not in self or original not in self:
                continue
            if not torch.equal(self.tensor(copy), self.tensor(original)):
                raise ExportError(
                    f"{directory} stores {copy}, which its config ties to {original}, with other values: "
                    "whoever merged it has untied the two; export it again"
                )
            del self._entries[copy]


def read_pair(a: Path, b: Path, trust_remote_code: bool = False) -> tuple[ModelWeights, ModelWeights]:
    """The tensors of both, after all checks. Raises ExportError."""
    for directory in (a, b):
        if not directory.is_dir():
            raise ExportError(
                f"{directory} is not a directory: `python train/tools/fetch_model.py {directory}` downloads a model "
                "of the hub and prints where it is"
            )
    check_same_architecture(a, b, trust_remote_code)
    skeleton = model_skeleton(a, trust_remote_code)
    keys = getattr(skeleton, "_tied_weights_keys", None)  # {"lm_head.weight": "model.embed_tokens.weight"}
    tied = keys if isinstance(keys, dict) and skeleton.config.get_text_config().tie_word_embeddings else {}
    first, second = AverageableWeights(a, tied), AverageableWeights(b, tied)
    check_same_tensors(first, second)
    parameters = sum(parameter.numel() for parameter in skeleton.parameters())
    if first.num_parameters() != parameters:
        raise ExportError(
            f"{a} and {b} store {first.num_parameters():,} parameters and their config asks for {parameters:,}: "
            "a tensor is lost, duplicated or resized in both; export them again"
        )
    check_same_tokenizer(a, b, trust_remote_code)
    return first, second


def check_same_architecture(a: Path, b: Path, trust_remote_code: bool = False) -> None:
    """Raises ExportError when the two configs do not describe the same computation, or one is quantised."""
    first, second = (_config(directory, trust_remote_code) for directory in (a, b))
    for directory, config in ((a, first), (b, second)):
        if any("quantization_config" in key for key in config):
            raise ExportError(f"{directory} is quantised, and codes cannot be averaged: use the model it was made from")
    for key in sorted({*first, *second}, key=lambda key: (key != "model_type", key != "architectures", key)):
        if NOT_COMPUTED_WITH & {*key.split(".")} or key.endswith("dropout"):
            continue
        if first.get(key) != second.get(key):
            raise ExportError(
                f"{a} and {b} are models of different architectures or sizes, and only two trainings of one base can "
                f"be averaged: {key} in config.json is {first.get(key)!r} and {second.get(key)!r}"
            )


def check_same_tensors(a: ModelWeights, b: ModelWeights) -> None:
    """Raises ExportError naming the first tensor that is not in both, in one shape, as numbers that can be averaged."""
    for one, other in ((a, b), (b, a)):
        lost = sorted(set(one) - set(other))
        if lost:
            raise ExportError(
                f"{other.directory} lacks {len(lost)} tensors of {one.directory}, the first is {lost[0]}: it is an "
                "adapter or an incomplete export, or was saved by another version of transformers; export it again"
            )
    for name in a:
        if a.shape(name) != b.shape(name):
            raise ExportError(
                f"{name} is {a.shape(name)} in {a.directory} and {b.shape(name)} in {b.directory}: an embedding that "
                "was resized for new tokens, or models of different sizes"
            )
        for weights in (a, b):
            if weights.dtype(name).itemsize == 1 and weights.dtype(name).is_floating_point:
                raise ExportError(f"{name} in {weights.directory} is {weights.dtype(name)}: use the unquantised model")


def check_same_tokenizer(a: Path, b: Path, trust_remote_code: bool = False) -> None:
    """Raises ExportError when a text would be other token ids for the two. Chat templates may differ."""
    if _same_files(a, b):
        return
    from transformers import AutoTokenizer

    tokenizers = []
    for directory in (a, b):
        try:
            tokenizers.append(AutoTokenizer.from_pretrained(directory, trust_remote_code=trust_remote_code))
        except (OSError, ValueError) as error:
            raise ExportError(f"{directory} has no tokenizer that can be loaded: {error}") from error
    first, second = (tokenizer.get_vocab() for tokenizer in tokenizers)
    differing = sorted(token for token in {*first, *second} if first.get(token) != second.get(token))
    if differing:
        token = differing[0]
        raise ExportError(
            f"{a} and {b} have different tokenizers: {len(differing)} tokens differ, the first is {token!r}, id "
            f"{first.get(token)} and {second.get(token)}: tokens were added to one, or these are two bases"
        )
    for part in ("model", "normalizer", "pre_tokenizer"):
        if _part(tokenizers[0], part) != _part(tokenizers[1], part):
            raise ExportError(f"{a} and {b} have different tokenizers: they cut text differently ({part})")


def chat_templates_differ(a: Path, b: Path) -> bool:
    """Whether the two have chat_template.jinja files or entries of tokenizer_config.json that are not the same."""
    return _chat_template(a) != _chat_template(b)


def _config(directory: Path, trust_remote_code: bool) -> dict[str, Any]:
    """config.json with its defaults, nested keys as `text_config.hidden_size`."""
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(directory, trust_remote_code=trust_remote_code)
    except (OSError, ValueError) as error:
        raise ExportError(f"{directory}/config.json is not a model's config: {error}") from error
    return _flat(config.to_dict())


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _same_files(a: Path, b: Path) -> bool:
    """Whether every file that cuts text into tokens is there twice, byte for byte."""
    names = {
        path.name
        for directory in (a, b)
        for pattern in TOKENIZER_FILES
        for path in directory.glob(pattern)
        if path.is_file() and "chat_template" not in path.name
    }
    files = [(a / name, b / name) for name in sorted(names)]
    return bool(files) and all(
        one.is_file() and other.is_file() and one.read_bytes() == other.read_bytes() for one, other in files
    )


def _part(tokenizer: Any, part: str) -> Any:
    """A part of a fast tokenizer as JSON, None for a slow one."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    return json.loads(backend.to_str()).get(part) if backend is not None else None


def _chat_template(directory: Path) -> str | None:
    path = directory / "chat_template.jinja"
    if path.is_file():
        return path.read_text(encoding="utf-8")
    config = directory / "tokenizer_config.json"
    return json.loads(config.read_text(encoding="utf-8")).get("chat_template") if config.is_file() else None
