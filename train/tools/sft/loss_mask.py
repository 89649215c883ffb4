"""A conversation as token ids, and the mask of what the loss is taken on: the assistant's turns, to their end mark.

    <|im_start|>user\n2 + 2 = ?<|im_end|>\n<|im_start|>assistant\n4<|im_end|>\n
    ------------------------------------------------------------ ‾‾‾‾‾‾‾‾‾‾‾      trained: what the model itself says

The text is the chat template's own, of the whole conversation. Where an answer begins is where the template's
generation prompt ends, so the model is trained on just what it will have to produce. Two things follow from that:

* Some templates show earlier turns otherwise than they were said (Qwen3 leaves out their thinking). A conversation
  that such a template changes becomes one sample for each trained turn, with the history as the model will see it.
* The generation prompt is tokenised by itself when the model answers. Where the whole text would put the last
  character of a prompt and the first of its answer into one token, the text is tokenised in pieces instead.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from sft.conversations import Conversation, DataError, RowFault

_TEMPLATE_IS_OURS = ("tokenize", "return_dict", "return_tensors", "add_generation_prompt", "continue_final_message")
_PROBES = ("a", "b")
"""Two answers that differ from their first character on: what their renderings share is the template's."""


@dataclass(frozen=True)
class Sample:
    input_ids: list[int]
    loss_mask: list[int]
    """1 where the loss is taken on this token, as a prediction from those before it; never at the first token."""
    end_added: bool = False
    """The template ends a turn by no token of its own: the tokenizer's end token was appended."""
    unlike_prompt: bool = False
    """The template's generation prompt holds something that an answer does not begin with, such as an open <think>."""

    @property
    def trained(self) -> int:
        return sum(self.loss_mask)


class ChatTokenizer:
    """Applies a tokenizer's chat template. Without one, a prompt and its answer are put together as plain text.

    Raises DataError for a tokenizer that cannot be used so.
    """

    def __init__(self, tokenizer: Any, template_kwargs: dict[str, Any] | None = None) -> None:
        if not getattr(tokenizer, "is_fast", False):
            raise DataError(f"{type(tokenizer).__name__} has no fast version: the place of a token is not known")
        if tokenizer.eos_token_id is None:
            raise DataError("the tokenizer has no eos_token: a model trained with it would not learn to stop")
        self._tokenizer = tokenizer
        self._kwargs = {key: value for key, value in (template_kwargs or {}).items() if key not in _TEMPLATE_IS_OURS}
        added = tokenizer.added_tokens_decoder.items()
        self._marks = {number for number, token in added if token.special} | {tokenizer.eos_token_id}

    def samples(self, conversation: Conversation) -> list[Sample]:
        """One sample, or one for each trained turn where the template rewrites history. Raises RowFault."""
        if not self._tokenizer.chat_template:
            return [self._plain(conversation)]
        turns = [index for index, trained in enumerate(conversation.trained) if trained]
        text = self._render(conversation, turns[-1] + 1)
        spans: list[tuple[int, int]] = []
        unlike_prompt = False
        for index in turns:
            upto = text if index == turns[-1] else self._render(conversation, index + 1)
            if not text.startswith(upto):
                return [self._last_turn(conversation, turn) for turn in turns]
            start, as_asked = self._start(conversation, index, upto)
            unlike_prompt = unlike_prompt or not as_asked
            spans.append((start, len(upto)))
        return [self._tokenise(text, spans, unlike_prompt)]

    def _last_turn(self, conversation: Conversation, index: int) -> Sample:
        text = self._render(conversation, index + 1)
        start, as_asked = self._start(conversation, index, text)
        return self._tokenise(text, [(start, len(text))], not as_asked)

    def _render(self, conversation: Conversation, count: int, *more: dict[str, Any], generate: bool = False) -> str:
        from jinja2 import TemplateError

        kwargs = dict(self._kwargs)
        if conversation.enable_thinking is not None:
            kwargs["enable_thinking"] = conversation.enable_thinking
        try:
            return self._tokenizer.apply_chat_template(
                [*conversation.messages[:count], *more],
                tools=conversation.tools,
                tokenize=False,
                add_generation_prompt=generate,
                **kwargs,
            )
        except TemplateError as error:
            raise RowFault(f"chat template refuses it ({str(error).strip().rstrip('.')[:80]})") from error

    def _start(self, conversation: Conversation, index: int, text: str) -> tuple[int, bool]:
        """Where turn `index`, the last of `text`, begins to be the model's own, and whether its prompt ends there."""
        asked = self._render(conversation, index, generate=True)
        if text.startswith(asked):
            return len(asked), True
        # The generation prompt holds more than the turn's header (an opened <think>): the header is what the turn
        # would begin with whatever was said.
        first, second = (self._render(conversation, index, {"role": "assistant", "content": it}) for it in _PROBES)
        return min(_common_prefix(first, second), _common_prefix(first, text)), False

    def _tokenise(self, text: str, spans: list[tuple[int, int]], unlike_prompt: bool) -> Sample:
        encoded = self._tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        ids, offsets = encoded["input_ids"], encoded["offset_mapping"]
        cuts = sorted({place for span in spans for place in span})
        if any(_is_inside_a_token(cut, offsets) for cut in cuts):
            ids, offsets = self._in_pieces(text, cuts)
        mask = [0] * len(ids)
        last, end_added = 0, False
        for start, end in spans:
            inside = range(_first_token(start, offsets), _first_token(end, offsets))
            said = self._without_tail(ids, inside)
            end_added = not said
            for place in said or inside:
                mask[place], last = 1, place
        ids, mask = ids[: last + 1], mask[: last + 1]  # what follows the last trained token has no influence on it
        if end_added:
            ids, mask = [*ids, self._tokenizer.eos_token_id], [*mask, 1]
        return _sample(ids, mask, end_added, unlike_prompt)

    def _without_tail(self, ids: list[int], inside: range) -> range:
        """The tokens of a turn up to its end mark, without the line break that templates put behind it, or none."""
        for place in reversed(inside):
            if ids[place] in self._marks:
                tail = self._tokenizer.decode(ids[place + 1 : inside.stop])
                return range(0) if tail.strip() else range(inside.start, place + 1)
        return range(0)

    def _in_pieces(self, text: str, cuts: list[int]) -> tuple[list[int], list[tuple[int, int]]]:
        ids: list[int] = []
        offsets: list[tuple[int, int]] = []
        for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True):
            piece = self._tokenizer(text[start:end], add_special_tokens=False, return_offsets_mapping=True)
            ids += piece["input_ids"]
            offsets += [(low + start, high + start) for low, high in piece["offset_mapping"]]
        return ids, offsets

    def _plain(self, conversation: Conversation) -> Sample:
        roles = [message["role"] for message in conversation.messages]
        if roles != ["user", "assistant"]:
            raise DataError(
                "the model's tokenizer has no chat template, and these rows are chats: use an instruct model, or set "
                "model.custom_chat_template"
            )
        prompt, answer = (message["content"] for message in conversation.messages)
        before = self._tokenizer(prompt)["input_ids"]
        if before and before[-1] == self._tokenizer.eos_token_id:
            before = before[:-1]
        after = [*self._tokenizer(answer, add_special_tokens=False)["input_ids"], self._tokenizer.eos_token_id]
        return _sample([*before, *after], [0] * len(before) + [1] * len(after), True, False)


def _sample(ids: list[int], mask: list[int], end_added: bool, unlike_prompt: bool) -> Sample:
    # verl shifts the mask over the packed rows of a batch: a mark at a row's first token would train the row before it.
    return Sample(ids, [0, *mask[1:]], end_added, unlike_prompt)


def _first_token(place: int, offsets: list[tuple[int, int]]) -> int:
    """The index of the first token that begins at this character or later."""
    return bisect_left(offsets, place, key=itemgetter(0))


def _is_inside_a_token(place: int, offsets: list[tuple[int, int]]) -> bool:
    index = _first_token(place, offsets)
    return index > 0 and offsets[index - 1][1] > place


def _common_prefix(one: str, other: str) -> int:
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
