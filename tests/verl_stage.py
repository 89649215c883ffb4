"""What the tests of dataset-manager.py and reward-manager.py share: verl's own config, and a tokenizer from nothing."""

from __future__ import annotations

import copy
import functools
from pathlib import Path

from hydra import compose, initialize_config_module
from omegaconf import DictConfig
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

TOOLS = Path(__file__).parent.parent / "train" / "tools"
CHAT_TEMPLATE = (
    "{% if enable_thinking %}<|im_start|>system\nThink.<|im_end|>\n{% endif %}"
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def compose_config(*overrides: str) -> DictConfig:
    """verl's PPO config with our two files in it, on the environment "toy", and the overrides of a user."""
    return copy.deepcopy(_compose(overrides))


@functools.cache
def _compose(overrides: tuple[str, ...]) -> DictConfig:
    ours = [
        f"data.custom_cls.path={TOOLS}/dataset-manager.py",
        "data.custom_cls.name=DynamicEnvDataset",
        f"reward.custom_reward_function.path={TOOLS}/reward-manager.py",
        "data.train_files=[train]",
        "data.val_files=[validation]",
        "data.train_batch_size=16",
        "data.seed=7",
        "+data.custom_cls.config.env=toy",
    ]
    with initialize_config_module("verl.trainer.config", version_base=None):
        return compose("ppo_trainer", overrides=[*ours, *overrides])


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """A fast tokenizer with a chat template: one token a byte, and the two marks of a message."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizer(models.BPE(vocab={byte: i for i, byte in enumerate(alphabet)}, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<|im_end|>", pad_token="<|im_end|>")
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>"]})
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer
