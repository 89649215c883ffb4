"""What the fields of JSON objects hold: which there are, of which kinds, and which of them stand side by side.

    {"prompt": "2+2?", "answer": "4", "metadata": {"level": 1}}
    {"question": "3+3?", "answer": 6}

    fields    prompt: text, absent; answer: text, integer; metadata.level: integer, absent; question: text, absent
    together  {prompt, answer}, {question, answer}

Surveys of blocks are merged. How an input is converted depends on its survey and on nothing else.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from itertools import chain, compress
from typing import Any

import pyarrow as pa

from row_io.column_types import merge_types
from row_io.source_error import SourceError

Path = tuple[str, ...]
"""("answer",), or ("metadata", "level") for a field of an object whose fields are looked at."""

OPENED = ("metadata", "extra_info", "reward_model")
"""Objects whose own fields become fields of extra_info."""
NATIVE = {("extra_info", "tools_kwargs"), ("extra_info", "interaction_kwargs"), ("loss_mask",)}
"""Fields that a trainer reads as objects or lists, so that JSON text would not do."""
MAX_FIELDS = 500
"""More are no fields but values used as names, of which a parquet file would have a column each."""
_EXACT = 2**53
_LONG = 2**63

ABSENT, TEXT, BOOLEAN, INTEGER, LONG, HUGE, NUMBER = "absent", "text", "boolean", "integer", "long", "huge", "number"
OBJECT, LIST, CHAT, ANSWERED = "object", "list", "chat", "answered chat"
_SIMPLE = {str: TEXT, bool: BOOLEAN, float: NUMBER, dict: OBJECT, type(None): ABSENT}
LISTS = {LIST, CHAT, ANSWERED}


@dataclass
class Survey:
    kinds: dict[Path, set[str]] = field(default_factory=dict)
    """Field → the kinds of its values, in the order of first appearance. A missing value and null are both `absent`."""
    together: set[frozenset[str]] = field(default_factory=set)
    """Of the names that were asked for: those that one row has a value of."""
    wide: set[str] = field(default_factory=set)
    """Objects of more than MAX_FIELDS fields, which are left closed."""
    types: dict[Path, pa.DataType | None] = field(default_factory=dict)
    """The Arrow type of each NATIVE field; None where its values do not agree."""
    message_keys: set[Path] = field(default_factory=set)
    """("messages", "tool_calls"): a key that a message of such a field has."""
    rows: int = 0

    def add(self, other: Survey) -> None:
        """Take in what another one saw. Raises SourceError for more than MAX_FIELDS fields at the top."""
        if not other.rows:
            return
        mine = set(self.kinds)
        for path in [*self.kinds, *other.kinds]:
            kinds = self.kinds.setdefault(path, set())
            kinds |= other.kinds.get(path, {ABSENT})
            if self.rows and path not in mine:
                kinds.add(ABSENT)
        for path, kind in other.types.items():
            self.types[path] = _merged(self.types.get(path, pa.null()), kind)
        self.message_keys |= other.message_keys
        self.together |= other.together
        self.wide |= other.wide
        self.rows += other.rows
        self._close_wide()

    def covers(self, other: Survey) -> bool:
        """Whether the other one saw nothing new."""
        return not other.rows or (
            all(kinds <= self.kinds.get(path, set()) for path, kinds in other.kinds.items())
            and all(ABSENT in self.kinds[path] for path in self.kinds.keys() - other.kinds.keys())
            and all(_merged(self.types.get(path), kind) == self.types.get(path) for path, kind in other.types.items())
            and other.together <= self.together
            and other.message_keys <= self.message_keys
            and other.wide <= self.wide
        )

    def _close_wide(self) -> None:
        for parent in OPENED:
            if sum(path[0] == parent for path in self.kinds) > MAX_FIELDS + 1:
                self.wide.add(parent)
        if self.wide:
            self.kinds = {path: kinds for path, kinds in self.kinds.items() if not _is_closed(path, self.wide)}
        top = [path[0] for path in self.kinds if len(path) == 1]
        if len(top) > MAX_FIELDS:
            raise _too_many(top)


class Columns:
    """The values of rows field by field, each taken out once."""

    def __init__(self, rows: Sequence[dict[str, Any]]) -> None:
        self.rows = rows
        self._values: dict[Path, Sequence[Any]] = {}

    def __getitem__(self, path: Path) -> Sequence[Any]:
        """One value a row; None where the row has no such field."""
        if path not in self._values:
            parents = self.rows if len(path) == 1 else self.objects(path[0])
            self._values[path] = [parent.get(path[-1]) for parent in parents]
        return self._values[path]

    def objects(self, name: str) -> Sequence[dict[str, Any]]:
        """The field's objects, empty ones in place of other values."""
        values = self[name,]
        return values if set(map(type, values)) == {dict} else [v if type(v) is dict else {} for v in values]

    def shapes(self, parent: str | None = None) -> dict[tuple[str, ...], None]:
        """The different lists of names that rows, or the objects in the field `parent`, have."""
        objects = self.rows if parent is None else self.objects(parent)
        shapes = dict.fromkeys(map(tuple, objects))
        if len(shapes) == 1:
            # All values at once, which is faster than name by name.
            paths = [(name,) if parent is None else (parent, name) for name in next(iter(shapes))]
            self._values.update(zip(paths, zip(*map(dict.values, objects), strict=True), strict=True))
        return shapes


def survey_columns(columns: Columns, asked: Collection[str]) -> Survey:
    """The survey of these rows. `asked` are the names whose standing together matters."""
    survey = Survey(rows=len(columns.rows))
    shapes = columns.shapes()
    names = dict.fromkeys(chain.from_iterable(shapes))
    if len(names) > MAX_FIELDS:
        raise _too_many(list(names))
    for name in names:
        _look_at((name,), columns[name,], survey)
        if name in OPENED and OBJECT in survey.kinds[name,]:
            children = dict.fromkeys(chain.from_iterable(columns.shapes(name)))
            if len(children) > MAX_FIELDS:
                survey.wide.add(name)
                continue
            for child in children:
                _look_at((name, child), columns[name, child], survey)
    survey.together = _together(columns, [name for name in names if name in asked], survey)
    return survey


def kinds_of(values: Sequence[Any]) -> set[str]:
    """The kinds of JSON values, whole numbers by size: to 2**53 (`integer`), 64 bits (`long`) or beyond (`huge`)."""
    types = set(map(type, values))
    kinds = {_SIMPLE[kind] for kind in types if kind in _SIMPLE}
    if int in types:
        numbers = [value for value in values if type(value) is int] if len(types) > 1 else values
        least, most = min(numbers), max(numbers)
        if least >= -_EXACT and most <= _EXACT:
            kinds.add(INTEGER)
        else:
            kinds.add(LONG if least >= -_LONG and most < _LONG else HUGE)
    if list in types:
        lists = [value for value in values if type(value) is list]
        no_chat = dict not in {type(value[0]) for value in lists if value}
        kinds |= {LIST} if no_chat else set(map(_list_kind, lists))
    return kinds


def _look_at(path: Path, values: list[Any], survey: Survey) -> None:
    kinds = survey.kinds[path] = kinds_of(values)
    if path in NATIVE:
        survey.types[path] = _arrow_type(values)
    elif kinds & {CHAT, ANSWERED} and len(path) == 1:
        messages = chain.from_iterable(value for value in values if type(value) is list)
        keys = set(chain.from_iterable(message for message in messages if type(message) is dict))
        survey.message_keys |= {(*path, key) for key in keys}


def _together(columns: Columns, names: list[str], survey: Survey) -> set[frozenset[str]]:
    """For each row those of the names that it has a value of, once."""
    sometimes = [name for name in names if ABSENT in survey.kinds[name,]]
    always = set(names) - set(sometimes)
    there = set(zip(*([value is not None for value in columns[name,]] for name in sometimes), strict=True))
    return {frozenset(always.union(compress(sometimes, flags))) for flags in there or {()}}


def _list_kind(value: list[Any]) -> str:
    if not value or not all(type(message) is dict and "role" in message for message in (value[0], value[-1])):
        return LIST
    return ANSWERED if value[-1]["role"] == "assistant" else CHAT


def _arrow_type(values: list[Any]) -> pa.DataType | None:
    try:
        return pa.array(values).type
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        return None


def _merged(mine: pa.DataType | None, other: pa.DataType | None) -> pa.DataType | None:
    return None if mine is None or other is None else merge_types(mine, other)


def _too_many(names: Sequence[str]) -> SourceError:
    return SourceError(
        f"over {MAX_FIELDS} different fields, such as {', '.join(names[-3:])}: are values used as names? Put them into "
        "one field, as an object"
    )


def _is_closed(path: Path, wide: Collection[str]) -> bool:
    return len(path) == 2 and path[0] in wide
