"""A row of a parquet file as a conversation, from either of two layouts:

    {"prompt": "2 + 2 = ?", "response": "4"}                      the answer is trained
    {"messages": [{"role": "user", "content": "2 + 2 = ?"},       every assistant turn is trained, or those that the
                  {"role": "assistant", "content": "4"}],         optional column `loss_mask` marks: one 0 or 1 for
     "loss_mask": [0, 1]}                                         each message; a message's own `weight` is its 0 or 1

Which one a file has is told by its columns; a file that has both is read as prompt and response.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.types as pt

Message = dict[str, Any]


class DataError(ValueError):
    """Something in the files or settings that the user can mend: the message names it and says how."""


class RowFault(ValueError):
    """Why one row cannot be trained on, in a few words: rows are counted by it and left out."""


@dataclass(frozen=True)
class ColumnNames:
    """Names of columns, as the recipe's `data.*_key` give them."""

    prompt: str = "prompt"
    response: str = "response"
    messages: str = "messages"
    tools: str = "tools"
    loss_mask: str = "loss_mask"
    enable_thinking: str = "enable_thinking"


@dataclass(frozen=True)
class Layout:
    """The columns that one file is read by."""

    prompt: str | None = None
    response: str | None = None
    messages: str | None = None
    tools: str | None = None
    loss_mask: str | None = None
    enable_thinking: str | None = None

    @property
    def columns(self) -> list[str]:
        return [name for name in vars(self).values() if name]

    def __str__(self) -> str:
        main = [self.messages] if self.messages else [self.prompt, self.response]
        return " and ".join(name for name in [*main, self.tools, self.loss_mask] if name)


@dataclass(frozen=True)
class Conversation:
    messages: list[Message]
    trained: tuple[bool, ...]
    """For each message: is it an assistant turn that the loss is taken on?"""
    tools: list[Any] | None = None
    enable_thinking: bool | None = None


def choose_layout(schema: pa.Schema, names: ColumnNames, file: str) -> Layout:
    """How to read a file with this schema. Raises DataError for missing columns and for types that cannot be right."""
    there = set(schema.names)

    def optional(name: str) -> str | None:
        return name if name in there else None

    common = {"tools": optional(names.tools), "enable_thinking": optional(names.enable_thinking)}
    if {names.prompt, names.response} <= there:
        _check_type(schema, names.prompt, file, _is_text, _is_messages, wanted="text or chat messages")
        _check_type(schema, names.response, file, _is_text, wanted="text")
        return Layout(prompt=names.prompt, response=names.response, **common)
    if names.messages in there:
        _check_type(schema, names.messages, file, _is_messages, wanted="a list of {role, content}")
        mask = optional(names.loss_mask)
        if mask:
            _check_type(schema, mask, file, _is_mask, wanted="a list of 0 and 1, one for each message")
        return Layout(messages=names.messages, loss_mask=mask, **common)
    raise DataError(
        f"{file} has neither the columns {names.prompt!r} and {names.response!r} nor {names.messages!r}; it has "
        f"{', '.join(schema.names) or 'none'}. Set SFT_PROMPT_KEY and SFT_RESPONSE_KEY (or data.messages_key) to yours"
    )


def read_conversation(row: Mapping[str, Any], layout: Layout) -> Conversation:
    """The conversation of a row. Raises RowFault for one that nothing can be learned from."""
    tools = _read_tools(row[layout.tools]) if layout.tools else None
    thinking = row[layout.enable_thinking] if layout.enable_thinking else None
    if layout.messages:
        messages = _read_messages(row[layout.messages], "messages")
        trained = _trained_turns(messages, row[layout.loss_mask] if layout.loss_mask else None)
    else:
        messages = [
            *_read_prompt(row[layout.prompt]),
            {"role": "assistant", "content": _read_text(row[layout.response], "response")},
        ]
        trained = (*[False] * (len(messages) - 1), True)
    if not any(trained):
        raise RowFault("no assistant turn to train on")
    if any(turn and not _says_something(message) for turn, message in zip(trained, messages, strict=True)):
        raise RowFault("empty assistant turn")
    return Conversation(messages, trained, tools, None if thinking is None else bool(thinking))


def _read_prompt(prompt: Any) -> list[Message]:
    if not isinstance(prompt, list):
        return [{"role": "user", "content": _read_text(prompt, "prompt")}]
    messages = _read_messages(prompt, "prompt")
    if messages[-1]["role"] == "assistant":
        raise RowFault("prompt ends with an assistant turn")
    return messages


def _read_text(text: Any, what: str) -> str:
    if text is None or not text.strip():
        raise RowFault(f"empty {what}")
    return text


def _read_messages(value: Sequence[Mapping[str, Any]] | None, what: str) -> list[Message]:
    if not value:
        raise RowFault(f"empty {what}")
    messages = []
    for message in value:
        if not message or not message.get("role"):
            raise RowFault("message without a role")
        # Parquet gives every message the keys of all others, with null where it had none.
        kept = _without_nulls(message)
        kept["content"] = _content_text(kept.get("content"))
        messages.append(kept)
    return messages


def _content_text(content: Any) -> str:
    """A message's text; parts of type text are joined."""
    if content is None or isinstance(content, str):
        return content or ""
    if isinstance(content, list) and all(isinstance(part, dict) and "text" in part for part in content):
        return "".join(part["text"] for part in content)
    raise RowFault("message that is not text")


def _trained_turns(messages: list[Message], mask: Sequence[Any] | None) -> tuple[bool, ...]:
    if mask is None:
        marks: Sequence[Any] = [message.pop("weight", message["role"] == "assistant") for message in messages]
    else:
        marks = mask
        if len(marks) != len(messages):
            raise RowFault("loss mask with another length than the messages")
    if any(mark not in (0, 1) for mark in marks):
        raise RowFault("loss mask with a value other than 0 and 1")
    assistant = [message["role"] == "assistant" for message in messages]
    if mask is not None and any(mark and not own for mark, own in zip(marks, assistant, strict=True)):
        raise RowFault("loss mask that marks a turn which is not the assistant's")
    return tuple(bool(mark) and own for mark, own in zip(marks, assistant, strict=True))


def _says_something(message: Message) -> bool:
    return bool(message["content"].strip() or message.get("tool_calls") or message.get("reasoning_content"))


def _read_tools(value: Any) -> list[Any] | None:
    """Tool schemas: a list, or JSON text, which keeps parquet from filling in each other's keys."""
    if not value:
        return None
    try:
        tools = json.loads(value) if isinstance(value, str) else _without_nulls(value)
        tools = [json.loads(tool) if isinstance(tool, str) else tool for tool in tools]
    except (TypeError, ValueError) as error:
        raise RowFault("tools that are not JSON") from error
    return tools or None


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_nulls(item) for item in value if item is not None]
    return value


def _check_type(schema: pa.Schema, name: str, file: str, *accepted: Any, wanted: str) -> None:
    kind = schema.field(name).type
    if not pt.is_null(kind) and not any(accepts(kind) for accepts in accepted):
        raise DataError(f"{file}: column {name!r} holds {kind}, where {wanted} is needed")


def _is_text(kind: pa.DataType) -> bool:
    if pt.is_dictionary(kind):
        kind = kind.value_type
    return pt.is_string(kind) or pt.is_large_string(kind) or pt.is_string_view(kind)


def _is_list(kind: pa.DataType) -> bool:
    return pt.is_list(kind) or pt.is_large_list(kind) or pt.is_fixed_size_list(kind) or pt.is_list_view(kind)


def _is_messages(kind: pa.DataType) -> bool:
    return _is_list(kind) and pt.is_struct(kind.value_type) and kind.value_type.get_field_index("role") >= 0


def _is_mask(kind: pa.DataType) -> bool:
    return _is_list(kind) and (pt.is_boolean(kind.value_type) or pt.is_integer(kind.value_type))
