"""Whether a model's tokenizer and chat template are the trained one's, and the chats that models are compared on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from export_proof import NotMade
from model_weights import ExportError

SAMPLE_CHATS = (
    [{"role": "user", "content": "What is the capital of France? Think step by step."}],
    [{"role": "user", "content": "Write a function in Python that adds two numbers."}],
    [{"role": "user", "content": "用一句话介绍你自己。"}],
    [
        {"role": "user", "content": "Tic-tac-toe: three in a row wins. You are x. Where do you play?"},
        {"role": "assistant", "content": "In the middle."},
        {"role": "user", "content": "The opponent took a corner. And now?"},
    ],
)  # fmt: skip


def check_chat_template(model: Path, trained: Path) -> str:
    """The chat template is the trained model's, to the letter, and tokenises chats to the same ids."""
    ours, theirs = load_tokenizer(model), load_tokenizer(trained)
    if ours is None or theirs is None:
        if ours is not theirs:
            raise ExportError(f"{trained if ours is None else model} has a tokenizer and the other has none")
        raise NotMade("there is no tokenizer")
    if ours.chat_template != theirs.chat_template:
        raise ExportError(f"the chat template differs from that in {trained}")
    if [token_ids(ours, chat) for chat in SAMPLE_CHATS] != [token_ids(theirs, chat) for chat in SAMPLE_CHATS]:
        raise ExportError(f"the tokenizer gives other ids than that in {trained}")
    kind = "the chat template is" if ours.chat_template else "there is no chat template; the tokenizer is"
    return f"{kind} the trained model's, and {len(SAMPLE_CHATS)} sample chats have the same token ids"


def load_tokenizer(directory: Path) -> Any:
    """The tokenizer of a model directory; None where it has none. Raises ExportError for one that cannot be loaded."""
    if not any((directory / name).is_file() for name in ("tokenizer_config.json", "tokenizer.json", "tokenizer.model")):
        return None
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(directory)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ExportError(f"the tokenizer in {directory} does not load: {error}") from error


def token_ids(tokenizer: Any, chat: list[dict[str, str]], most: int = 256) -> list[int]:
    if tokenizer.chat_template:
        text = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    else:
        text = "\n".join(turn["content"] for turn in chat)
    return tokenizer(text, add_special_tokens=False)["input_ids"][:most]
