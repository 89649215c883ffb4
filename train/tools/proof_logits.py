"""Whether a model on disk answers as the trained one: plain transformers loads it, and its probabilities are compared.

    check_logits(model, trained, untrained, prompts)
    "KL(trained‖model) 0.00041 nats a token, 4% of KL(trained‖base)"

Models are loaded one after the other, in float32. Where one does not fit into the memory, all are cut to their first
layers, and the check says so.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import torch
import transformers

from checkpoint_tensors import CheckpointTensors
from export_proof import NotMade
from model_files import model_skeleton
from model_weights import ExportError
from proof_chats import SAMPLE_CHATS, load_tokenizer, token_ids

SMALL_KL = 0.02
"""Nats a token, from the trained model. More than that is looked into: rounding to bfloat16 mostly gives thousandths,
and gave 0.064 where 25 steps had moved every weight of a 135M model."""
MOST_UNEXPLAINED = 0.1
"""Of it, that rounding the trained weights does not give as well."""
MOST_SHARE = 0.25
"""Of what training changed. Rounding: a few hundredths."""
UNSEEN_KL = 1e-6
"""Below this much change, rounding alone can be a large share of it."""
MEMORY_SHARE = 0.2

Loader = Callable[[int | None], Any]
"""Number of layers (None: all) → a model in float32."""


def sample_ids(directory: Path) -> list[list[int]]:
    """Token ids of the sample chats; of made-up texts where there is no tokenizer."""
    vocabulary = _text_config(_config(directory)).vocab_size
    tokenizer = load_tokenizer(directory)
    if tokenizer is None:
        numbers = torch.Generator().manual_seed(0)
        return [torch.randint(vocabulary, (32,), generator=numbers).tolist() for _ in SAMPLE_CHATS]
    return [ids for chat in SAMPLE_CHATS if (ids := [i for i in token_ids(tokenizer, chat) if i < vocabulary])]


def check_logits(
    model: Loader,
    trained: Loader,
    untrained: Loader | None,
    prompts: list[list[int]],
    parameters: int,
    layers: int,
    dtype: torch.dtype,
) -> str:
    """What separates `model` from `trained`, mean over the prompts' tokens; refused where it is too much.

    `untrained` is what training started from, where that is known. `parameters`, `layers` and `dtype`, in which its
    weights are stored, are those of the model.
    """
    shown = _layers_that_fit(parameters, layers)
    wanted = log_probs(trained(shown), prompts)
    found = log_probs(model(shown), prompts)
    error = divergence(wanted, found)
    words = f"KL(trained‖model) {error:.2g} nats a token"
    if not error <= SMALL_KL:
        rounded = log_probs(in_dtype(trained(shown), dtype), prompts)
        if not divergence(rounded, found) <= MOST_UNEXPLAINED * error:
            explained = f"rounding to {str(dtype).removeprefix('torch.')} explains {divergence(wanted, rounded):.2g}"
            raise ExportError(f"{words}, and {explained}: it does not answer as the trained model")
    if untrained is not None:
        effect = divergence(wanted, log_probs(untrained(shown), prompts))
        share = error / effect if effect else 0.0
        words += f", {share:.1%} of KL(trained‖base) {effect:.2g}"
        if error > UNSEEN_KL and share > MOST_SHARE:
            raise ExportError(f"{words}: training is lost in it, or in the rounding (then --dtype float32 keeps it)")
    return words + (f"; sampled: the first {shown} of {layers} layers, for want of memory" if shown else "")


@torch.no_grad()
def log_probs(model: Any, prompts: list[list[int]]) -> torch.Tensor:
    """(tokens of all prompts, vocabulary)."""
    return torch.cat([torch.log_softmax(model(torch.tensor([ids])).logits[0].double(), -1) for ids in prompts])


@torch.no_grad()
def in_dtype(model: Any, dtype: torch.dtype) -> Any:
    """The same model with an adapter merged and its weights rounded to what `dtype` can hold."""
    model = model.merge_and_unload() if hasattr(model, "merge_and_unload") else model
    for parameter in model.parameters():
        parameter.copy_(parameter.to(dtype))
    return model


def divergence(wanted: torch.Tensor, found: torch.Tensor) -> float:
    """KL(wanted‖found), the mean over the tokens, in nats."""
    nats = float((wanted.exp() * (wanted - found)).sum(-1).mean())
    return 0.0 if nats < 0 else nats  # NaN stays NaN


def directory_loader(directory: Path, trust_remote_code: bool = False) -> Loader:
    """As a user loads it. Its model raises ExportError when a tensor is missing, too many, or of another shape."""

    def load(layers: int | None) -> Any:
        return _load(directory, _config(directory, layers, trust_remote_code), None, layers, trust_remote_code)

    return load


def checkpoint_loader(
    source: Path, tensors: CheckpointTensors, adapted: bool, trust_remote_code: bool = False
) -> Loader:
    """The trained model (or, not `adapted`, its base) from the ranks' files; `source` is the checkpoint's config."""

    def load(layers: int | None) -> Any:
        config = _config(source, layers, trust_remote_code)
        names = set(_skeleton_names(source, config, trust_remote_code))
        state = {name: tensors.weight(name, adapted) for name in tensors if name in names}
        return _load(source, config, state, layers, trust_remote_code)

    return load


def adapter_loader(base: Path, adapter: Path, trust_remote_code: bool = False) -> Loader:
    """Base and adapter as PEFT runs them, unmerged."""

    def load(layers: int | None) -> Any:
        from peft import PeftModel

        return PeftModel.from_pretrained(directory_loader(base, trust_remote_code)(layers), adapter).eval()

    return load


def _load(
    source: Path, config: Any, state: dict[str, torch.Tensor] | None, layers: int | None, trust_remote_code: bool
) -> Any:
    transformers.logging.disable_progress_bar()
    cls = type(model_skeleton(source, trust_remote_code))
    where = {"pretrained_model_name_or_path": None if state else source, "state_dict": state}
    try:
        model, info = cls.from_pretrained(**where, config=config, dtype=torch.float32, output_loading_info=True)
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise ExportError(f"{source} does not load in transformers: {error}") from error
    wrong = {kind: sorted(info[kind]) for kind in ("missing_keys", "unexpected_keys", "mismatched_keys") if info[kind]}
    if layers is not None:
        wrong.pop("unexpected_keys", None)
    if wrong:
        raise ExportError(f"{source} loads in transformers with {'; '.join(f'{k}: {v[:3]}' for k, v in wrong.items())}")
    return model.eval()


def _layers_that_fit(parameters: int, layers: int) -> int | None:
    """None when a float32 copy of the model fits into the free memory; else how many layers do."""
    share = MEMORY_SHARE * psutil.virtual_memory().available / (4 * parameters)
    if share >= 1:
        return None
    if int(share * layers) < 1:
        raise NotMade("not even one layer of the model fits into the free memory")
    return int(share * layers)


def _config(directory: Path, layers: int | None = None, trust_remote_code: bool = False) -> Any:
    config = transformers.AutoConfig.from_pretrained(directory, trust_remote_code=trust_remote_code)
    if layers is not None:
        text = _text_config(config)
        for name, value in list(vars(text).items()):  # lists with an entry for each layer, such as layer_types
            if isinstance(value, list) and len(value) == text.num_hidden_layers:
                setattr(text, name, value[:layers])
        text.num_hidden_layers = layers
    return config


def _text_config(config: Any) -> Any:
    return config.get_text_config()


def num_layers(directory: Path, trust_remote_code: bool = False) -> int:
    return _text_config(_config(directory, None, trust_remote_code)).num_hidden_layers


def _skeleton_names(source: Path, config: Any, trust_remote_code: bool) -> list[str]:
    cls = type(model_skeleton(source, trust_remote_code))
    with torch.device("meta"):
        return list(cls._from_config(config).state_dict())
