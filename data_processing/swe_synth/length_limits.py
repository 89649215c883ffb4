"""Prompts and responses of at most so many characters or tokens: longer ones are cut, or dropped with their row.

A cut prompt keeps its beginning (who the model is) and its end (what is asked), and says what it lost:

    You are a programmer. …
    [… 81,022 characters left out …]
    … TypeError in parse(): fix it.

A cut response keeps its beginning. A patch that was cut is no patch any more, so the default is to drop such rows.
Tokens are those of the text alone, without a chat template.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from row_io.source_error import SourceError, first_line

CUT, DROP = "cut", "drop"


@dataclass
class LengthLimit:
    """`what` is prompt or response. `cut` is for the number of texts that were cut and written."""

    what: str
    characters: int | None
    tokens: int | None
    action: str
    tokenizer: Any = None
    cut: int = 0

    def apply(self, texts: Sequence[str]) -> list[str | None]:
        """The texts within the limits; None for one that is dropped."""
        kept: list[str | None] = list(texts)
        if self.characters is not None:
            kept = [text if len(text) <= self.characters else self._cut_characters(text) for text in texts]
        if self.tokens is not None:
            places = [place for place, text in enumerate(kept) if text is not None]
            encodings = self.tokenizer.encode_batch([kept[place] for place in places], add_special_tokens=False)
            for place, encoding in zip(places, encodings, strict=True):
                if len(encoding) > self.tokens:
                    kept[place] = self._cut_tokens(kept[place], encoding.offsets)
        return kept

    @property
    def reason(self) -> str:
        """Why a row is dropped."""
        limits = [f"{self.characters} characters"] if self.characters is not None else []
        limits += [f"{self.tokens} tokens"] if self.tokens is not None else []
        return f"{self.what} of more than {' or '.join(limits)}"

    def _cut_characters(self, text: str) -> str | None:
        if self.action == DROP:
            return None
        assert self.characters is not None
        if self.what == "response":
            return text[: self.characters]
        room = self.characters - len(_mark(len(text)))
        if room < 2:
            return text[: self.characters]
        return _without_middle(text, room - room // 2, len(text) - room // 2)

    def _cut_tokens(self, text: str, offsets: list[tuple[int, int]]) -> str | None:
        if self.action == DROP:
            return None
        assert self.tokens is not None
        if self.what == "prompt":
            room = self.tokens - self._count(_mark(len(text)))
            while room > 1:
                start = offsets[-(room // 2)][0]
                candidate = _without_middle(text, offsets[room - room // 2 - 1][1], start)
                excess = self._count(candidate) - self.tokens
                if excess <= 0:
                    return candidate
                room -= excess
        room = self.tokens
        while room > 0:
            candidate = text[: offsets[room - 1][1]]
            excess = self._count(candidate) - self.tokens  # the cut may fall inside of a word: other tokens
            if excess <= 0:
                return candidate
            room -= excess
        return None

    def _count(self, text: str) -> int:
        return len(self.tokenizer.encode(text, add_special_tokens=False))


def load_tokenizer(name: str) -> Any:
    """A tokenizer of the library `tokenizers` from a model's directory or the hub. Raises SourceError."""
    from tokenizers import Tokenizer

    directory = Path(name).expanduser()
    path = directory / "tokenizer.json" if directory.is_dir() else Path(_download(name))
    try:
        tokenizer = Tokenizer.from_file(str(path)) if path.is_file() else _converted(directory)
    except Exception as error:  # neither library raises anything narrower
        raise SourceError(f"--tokenizer {name}: {path} cannot be read: {first_line(error)}") from error
    tokenizer.no_truncation()  # a file may ask for it, and every text would be short enough
    tokenizer.no_padding()
    return tokenizer


def _converted(directory: Path) -> Any:
    """Of a model that has its tokenizer in an older format."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(directory, use_fast=True).backend_tokenizer


def _download(name: str) -> str:
    import httpx
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return hf_hub_download(name, "tokenizer.json", token=os.environ.get("HF_TOKEN") or None)
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, httpx.HTTPError) as error:
        endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
        raise SourceError(
            f"--tokenizer {name} is no directory, and {endpoint} does not give its tokenizer.json: {first_line(error)}"
        ) from error


def _without_middle(text: str, head: int, tail: int) -> str:
    return f"{text[:head]}{_mark(tail - head)}{text[tail:]}"


def _mark(characters: int) -> str:
    return f"\n[… {characters:,} characters left out …]\n"
