"""Chats as Arrow columns: who speaks, what is the task, what is wrong with a row. All rows of a batch at once.

    messages                                                         role             content
    [{"role": "system", "content": "You fix bugs."},                 first_assistant  2
     {"role": "user", "content": [{"type": "text", "text": "…"}]},   task             the first two turns
     {"role": "assistant", "content": None, "tool_calls": […]}]

A column of messages is a list of structs, or text: the JSON of such a list. Content is text, null, or a list of text
blocks, which is read as their text together.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from row_io.source_error import SourceError

ROLES = ("system", "developer", "user", "assistant", "tool", "function")
CALL = pa.struct([("name", pa.string()), ("arguments", pa.string())])
CALLS = pa.list_(pa.struct([("id", pa.string()), ("type", pa.string()), ("function", CALL)]))
OTHER_TEXT = ("tool_call_id", "name", "reasoning_content")
TURN = pa.struct(
    [
        ("role", pa.string()),
        ("content", pa.string()),
        ("tool_calls", CALLS),
        *((name, pa.string()) for name in OTHER_TEXT),
    ]
)
"""A turn that was read from JSON text. The arguments of a call are JSON text, as the OpenAI API has them."""


class ChatFault(ValueError):
    """Why a row's messages cannot be used, in a few words."""


@dataclass(frozen=True)
class Chats:
    """The chats of a batch, one a row."""

    turns: pa.StructArray
    starts: np.ndarray  # where each row's turns begin, one more at the end
    lengths: np.ndarray
    faults: dict[int, str]

    @property
    def roles(self) -> pa.Array:
        return self.turns.field("role")

    def first_assistant(self) -> np.ndarray:
        """For each row: which of its turns is the assistant's first, or how many turns there are where none is."""
        places = np.flatnonzero(_true(pc.equal(self.roles, "assistant")))
        if not len(places):
            return self.lengths.copy()
        following = np.searchsorted(places, self.starts)
        first = np.append(places, np.iinfo(np.int64).max)[following] - self.starts
        return np.minimum(first, self.lengths)

    def any_turn(self, marked: np.ndarray) -> np.ndarray:
        """Whether each row has a turn that is marked, by a boolean for every turn."""
        counts = np.concatenate([[0], np.cumsum(marked)])
        return counts[self.starts + self.lengths] > counts[self.starts]


def read_chats(column: pa.Array) -> Chats:
    """Raises SourceError for a column that can hold no messages. A row that holds none has a fault."""
    faults: dict[int, str] = {}
    if is_text_type(column.type):
        column, faults = _from_json(column.cast(pa.string()))
    elif not is_chat_type(column.type):
        raise SourceError(f"column messages is {column.type}; it has to be a list of role and content, or its JSON")
    offsets = column.offsets.to_numpy()
    first, last = int(offsets[0]), int(offsets[-1])
    lengths = np.diff(offsets).astype(np.int64)
    lengths[_true(column.is_null())] = 0
    for row in np.flatnonzero(lengths == 0):
        faults.setdefault(int(row), "messages is null or empty")
    turns = column.values.slice(first, last - first)
    return Chats(turns, offsets[:-1].astype(np.int64) - first, lengths, faults)


def is_text_type(kind: pa.DataType) -> bool:
    """Whether this is text, or null in all rows."""
    return pt.is_string(kind) or pt.is_large_string(kind) or pt.is_null(kind)


def is_chat_type(kind: pa.DataType) -> bool:
    """Whether this is a list of structs with a role that is text."""
    if not (pt.is_list(kind) or pt.is_large_list(kind)) or not pt.is_struct(kind.value_type):
        return False
    place = kind.value_type.get_field_index("role")
    role = kind.value_type.field(place).type if place >= 0 else None
    return role is not None and (pt.is_string(role) or pt.is_large_string(role))


def check_roles(chats: Chats) -> None:
    """Add to the faults the rows with a turn whose role is missing or unknown: it could be the assistant's."""
    known = pc.is_in(chats.roles, value_set=pa.array(ROLES, chats.roles.type))
    unknown = ~_true(known)
    if not unknown.any():
        return
    for row in np.flatnonzero(chats.any_turn(unknown)):
        place = chats.starts[row] + int(np.argmax(unknown[chats.starts[row] : chats.starts[row] + chats.lengths[row]]))
        role = chats.roles[place].as_py()
        reason = "a turn has no role" if not role else f"a turn has the unknown role {role[:20]!r}"
        chats.faults.setdefault(int(row), reason)


def text_of(chats: Chats) -> pa.Array:
    """Each turn's content as text, null where it has none. Rows with content that is no text get a fault."""
    if chats.turns.type.get_field_index("content") < 0:
        return pa.nulls(len(chats.turns), pa.string())
    content = chats.turns.field("content")
    kind = content.type
    if pt.is_null(kind):
        return pa.nulls(len(content), pa.string())
    if pt.is_string(kind) or pt.is_large_string(kind):
        return content
    blocks = kind.value_type if hasattr(kind, "value_type") else None
    place = blocks.get_field_index("text") if blocks is not None and pt.is_struct(blocks) else -1
    if place < 0:
        raise SourceError(f"the content of messages is {kind}; it has to be text, or a list of blocks with a text")
    offsets = content.offsets.to_numpy()
    inner = content.values.slice(int(offsets[0]), int(offsets[-1] - offsets[0]))
    offsets = offsets - offsets[0]
    texts = inner.field("text")
    silent = _true(texts.is_null())
    counts = np.concatenate([[0], np.cumsum(silent)])
    for row in np.flatnonzero(chats.any_turn(counts[offsets[1:]] > counts[offsets[:-1]])):
        chats.faults.setdefault(int(row), "a turn's content is not text")
    lists = type(content).from_arrays(pa.array(offsets, content.offsets.type), pc.fill_null(texts, ""))
    joined = pc.binary_join(lists, "")
    return pc.if_else(content.is_null(), pa.scalar(None, joined.type), joined)


def is_blank(texts: pa.Array) -> np.ndarray:
    """Whether each text is null, empty or white space."""
    return ~_true(pc.greater(pc.utf8_length(pc.utf8_trim_whitespace(texts)), 0))


def says_more(chats: Chats) -> np.ndarray:
    """Whether each turn calls a tool, or has reasoning beside its content."""
    more = np.zeros(len(chats.turns), bool)
    names = [field.name for field in chats.turns.type]
    if "tool_calls" in names:
        calls = chats.turns.field("tool_calls")
        is_list = hasattr(calls.type, "value_type")
        more |= _true(pc.greater(pc.list_value_length(calls), 0)) if is_list else _true(calls.is_valid())
    if "reasoning_content" in names and pt.is_string(chats.turns.field("reasoning_content").type):
        more |= ~is_blank(chats.turns.field("reasoning_content"))
    return more


def with_text(chats: Chats, texts: pa.Array) -> pa.ListArray:
    """The messages again, with these texts as contents and all else as it was. All rows must be without a fault."""
    names = [field.name for field in chats.turns.type]
    arrays = [chats.turns.field(name) for name in names if name != "content"]
    others = [name for name in names if name != "content"]
    arrays.insert(others.index("role") + 1, texts)
    others.insert(others.index("role") + 1, "content")
    turns = pa.StructArray.from_arrays(arrays, names=others)
    offsets = np.append(chats.starts, chats.starts[-1] + chats.lengths[-1]) if len(chats.starts) else np.zeros(1)
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), turns)


def with_text_type(kind: pa.DataType) -> pa.DataType:
    """The type of what with_text makes of a column of this type."""
    turn = TURN if is_text_type(kind) else kind.value_type
    fields = [field for field in turn if field.name != "content"]
    place = [field.name for field in fields].index("role") + 1
    return pa.list_(pa.struct([*fields[:place], pa.field("content", pa.string()), *fields[place:]]))


def _from_json(column: pa.Array) -> tuple[pa.ListArray, dict[int, str]]:
    rows, faults = [], {}
    for number, text in enumerate(column.to_pylist()):
        try:
            rows.append(_turns(text))
        except ChatFault as fault:
            rows.append([])
            faults[number] = str(fault)
    return pa.array(rows, pa.list_(TURN)), faults


def _turns(text: str | None) -> list[dict[str, Any]]:
    if text is None:
        raise ChatFault("messages is null or empty")
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        raise ChatFault("messages is text that is no JSON") from None
    if value is None or value == []:
        raise ChatFault("messages is null or empty")
    if not isinstance(value, list) or not all(isinstance(turn, dict) for turn in value):
        raise ChatFault("messages is not a list of turns")
    return [read_turn(turn) for turn in value]


def read_turn(turn: dict[str, Any]) -> dict[str, Any]:
    """The turn with the keys of TURN, and no other. Raises ChatFault. Its role may be None."""
    role, content = turn.get("role"), turn.get("content")
    if role is not None and not isinstance(role, str):
        raise ChatFault("a turn's role is not text")
    if isinstance(content, list):
        content = "".join(_block_texts(content))
    elif content is not None and not isinstance(content, str):
        raise ChatFault("a turn's content is not text")
    kept: dict[str, Any] = {"role": role, "content": content, "tool_calls": _calls(turn.get("tool_calls"))}
    for name in OTHER_TEXT:
        value = turn.get(name)
        kept[name] = value if isinstance(value, str) else None
    return kept


def _block_texts(blocks: list[Any]) -> Iterable[str]:
    for block in blocks:
        text = block.get("text") if isinstance(block, dict) else block
        if not isinstance(text, str):
            raise ChatFault("a turn's content is not text")
        yield text


def _calls(calls: Any) -> list[dict[str, Any]] | None:
    if calls is None:
        return None
    if not isinstance(calls, list) or not all(isinstance(call, dict) for call in calls):
        raise ChatFault("a turn's tool calls are not a list of objects")
    kept = []
    for call in calls:
        function = call.get("function")
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise ChatFault("a tool call has no function name")
        arguments = function.get("arguments")
        if arguments is not None and not isinstance(arguments, str):
            arguments = orjson.dumps(arguments).decode()
        kept.append(
            {
                "id": None if call.get("id") is None else str(call["id"]),
                "type": None if call.get("type") is None else str(call["type"]),
                "function": {"name": function["name"], "arguments": arguments},
            }
        )
    return kept


def _true(mask: pa.Array) -> np.ndarray:
    """A boolean array for numpy; null is False."""
    return pc.fill_null(mask, False).to_numpy(zero_copy_only=False)
