"""The chats of many rows as two columns, turn after turn: what is the same for all turns is done at once.

[{"role": "user", "content": "2+2?"}], [{"role": "user", "content": "3+3?"}, {"role": "assistant", "content": "6"}]

role      user   user   assistant
content   2+2?   3+3?   6
bounds    0, 1, 3
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, chain
from typing import Any

import pyarrow as pa

from row_io.chat_turns import ROLES

Message = dict[str, Any]
_ROLES = frozenset(ROLES)


@dataclass(frozen=True)
class Dialogues:
    """A row's turns are those from `bounds[row]` to `bounds[row + 1]`."""

    roles: list[str]
    contents: list[str | None]
    bounds: list[int]
    others: dict[str, list[Any]]
    """Further keys of the messages."""

    def __len__(self) -> int:
        return len(self.bounds) - 1

    def lengths(self) -> list[int]:
        return [end - start for start, end in self._rows()]

    def last_roles(self) -> list[str]:
        return [self.roles[end - 1] for end in self.bounds[1:]]

    def first_roles(self) -> list[str]:
        return [self.roles[start] for start in self.bounds[:-1]]

    def split_last(self) -> tuple[Dialogues, list[str | None]]:
        """(all turns but each row's last one, the contents of those)."""
        ends = self.bounds[1:]
        last = [self.contents[end - 1] for end in ends]
        bounds = [bound - place for place, bound in enumerate(self.bounds)]
        return self._mapped(lambda turns: _joined(turns[start : end - 1] for start, end in self._rows()), bounds), last

    def with_last(self, role: str, contents: Sequence[str | None]) -> Dialogues:
        """With one turn more for each row that has a content."""
        return self._inserted(role, contents, last=True)

    def with_first(self, role: str, content: str) -> Dialogues:
        """With a first turn of this role for each row that does not begin with one."""
        return self._inserted(role, [None if own == role else content for own in self.first_roles()], last=False)

    def openings(self) -> list[str]:
        """The turns before the assistant's first one, as one text that differs where they do."""
        texts = []
        for start, end in self._rows():
            roles = self.roles[start:end]
            if "assistant" in roles:
                end = start + roles.index("assistant")
            turns = zip(self.roles[start:end], self.contents[start:end], strict=True)
            texts.append("".join([f"{role}\0{content or ''}\1" for role, content in turns]))
        return texts

    def to_arrow(self, kind: pa.DataType) -> pa.Array:
        """A list of turns for each row, of this type."""
        struct = kind.value_type
        known = {**self.others, "role": self.roles, "content": self.contents}
        children = [
            pa.array(known[item.name], item.type) if item.name in known else pa.nulls(len(self.roles), item.type)
            for item in struct
        ]
        turns = pa.StructArray.from_arrays(children, fields=list(struct))
        return pa.ListArray.from_arrays(pa.array(self.bounds, pa.int32()), turns, type=kind)

    def _rows(self) -> zip[tuple[int, int]]:
        return zip(self.bounds, self.bounds[1:], strict=False)

    def _inserted(self, role: str, contents: Sequence[str | None], last: bool) -> Dialogues:
        added = [content is not None for content in contents]
        bounds = [bound + more for bound, more in zip(self.bounds, accumulate(added, initial=0), strict=True)]

        def with_turns(turns: list[Any], new: Sequence[Any]) -> list[Any]:
            rows = zip(self._rows(), added, new, strict=True)
            if last:
                return _joined(
                    [*turns[start:end], value] if add else turns[start:end] for (start, end), add, value in rows
                )
            return _joined([value, *turns[start:end]] if add else turns[start:end] for (start, end), add, value in rows)

        nothing = [None] * len(added)
        return Dialogues(
            with_turns(self.roles, [role] * len(added)),
            with_turns(self.contents, contents),
            bounds,
            {name: with_turns(turns, nothing) for name, turns in self.others.items()},
        )

    def _mapped(self, change: Any, bounds: list[int]) -> Dialogues:
        others = {name: change(turns) for name, turns in self.others.items()}
        return Dialogues(change(self.roles), change(self.contents), bounds, others)


def from_texts(texts: list[str]) -> Dialogues:
    """Each text as the user's only turn."""
    return Dialogues(["user"] * len(texts), list(texts), list(range(len(texts) + 1)), {})


def from_messages(chats: Sequence[list[Message]], keys: Sequence[str]) -> Dialogues:
    """Chats of messages that have a role and a content, and `keys`, which may be missing."""
    messages = list(chain.from_iterable(chats))
    return Dialogues(
        [message["role"] for message in messages],
        [message["content"] for message in messages],
        list(accumulate(map(len, chats), initial=0)),
        {key: [message.get(key) for message in messages] for key in keys},
    )


def from_plain_chats(values: Sequence[Any]) -> Dialogues | None:
    """Chats of turns with a known role and a text that is not blank. None where not all are: look at each row, then."""
    if set(map(type, values)) != {list} or not all(values):
        return None
    messages = list(chain.from_iterable(values))
    if set(map(type, messages)) != {dict}:
        return None
    if {"role", "content"} - set.intersection(*map(set, dict.fromkeys(map(tuple, messages)))):
        return None
    chats = from_messages(values, ())
    if set(map(type, chats.roles)) != {str} or not set(chats.roles) <= _ROLES:
        return None
    if set(map(type, chats.contents)) != {str} or any(not text or text.isspace() for text in chats.contents):
        return None
    return chats


def _joined(parts: Any) -> list[Any]:
    return list(chain.from_iterable(parts))
