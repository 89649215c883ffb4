"""Rows of agent trajectories, read twice: once for what is light, to choose rows, and once for the rows to write.

    runs = choose_rows(source, "messages", seed=42, dropped=Counter())      # ids, run names and roles
    plan = runs.plan(val_ratio=0.05, max_samples=None)
    unusable = write_rows(source, "messages", plan, limits, outputs)        # all of it; {row: why it was left out}

The columns are those of SWE-Synth: instance_id, run_name, messages, model_patch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.types as pt

from row_io.chat_turns import (
    Chats,
    check_roles,
    is_blank,
    is_chat_type,
    is_text_type,
    read_chats,
    says_more,
    text_of,
    with_text,
)
from row_io.chat_turns import with_text_type as text_type_of
from row_io.parquet_output import ParquetOutput
from row_io.row_digests import SeenDigests, row_digests, text_digests
from row_io.row_source import Source, SourceError, require_columns
from swe_synth.length_limits import LengthLimit
from swe_synth.run_table import TRAIN, VAL, Plan, RunTable

PAIRS, CHATS = "prompt-response", "messages"
SIDES = {"train": TRAIN, "val": VAL}
NAMES = ("instance_id", "run_name")


def columns_of(layout: str) -> list[str]:
    """The columns that a source needs."""
    return [*NAMES, "messages", *(["model_patch"] if layout == PAIRS else [])]


def output_schema(source: Source, layout: str) -> pa.Schema:
    """The columns that are written. Raises SourceError for columns that are missing or of a type that cannot be."""
    require_columns(source, columns_of(layout))
    for name in columns_of(layout):
        kind = source.schema.field(name).type
        fits = is_text_type(kind) or (
            is_chat_type(kind) if name == "messages" else name in NAMES and pt.is_integer(kind)
        )
        if not fits:
            wanted = "a list of role and content, or its JSON" if name == "messages" else "text"
            raise SourceError(f"{source.name}: column {name} is {kind}, where {wanted} is needed")
    if layout == PAIRS:
        own = [("prompt", pa.string()), ("response", pa.string())]
    else:
        own = [("messages", text_type_of(source.schema.field("messages").type))]
    tools = [source.schema.field("tools")] if layout == CHATS and "tools" in source.columns else []
    return pa.schema([*own, *((name, pa.string()) for name in NAMES), *tools])


def choose_rows(source: Source, layout: str, seed: int, dropped: Counter[str]) -> RunTable:
    """The first pass: the runs, and in `dropped` how many rows cannot be used, by reason. Raises SourceError."""
    runs = RunTable(seed)
    columns = [f"{name}.role" if name == "messages" else name for name in columns_of(layout)]
    with source.progress("choosing rows") as advance:
        for batch in source.batches(columns, advance=advance):
            faults: dict[int, str] = {}
            texts = {}
            for name in columns_of(layout):
                if name != "messages":
                    texts[name] = read_text(batch, name, source, faults)
            chats = read_chats(batch.column("messages"))
            check_roles(chats)
            first = chats.first_assistant()
            for row in np.flatnonzero((first == 0) & (chats.lengths > 0)):
                chats.faults.setdefault(int(row), "messages begin with the assistant: there is no task")
            if layout == CHATS:
                for row in np.flatnonzero(first == chats.lengths):
                    chats.faults.setdefault(int(row), "messages have no assistant turn")
            faults = {**chats.faults, **faults}
            dropped.update(faults.values())
            usable = np.ones(batch.num_rows, bool)
            usable[list(faults)] = False
            runs.add(*(texts[name].fill_null("").to_pylist() for name in NAMES), chats.lengths, usable)
    return runs


def write_rows(
    source: Source, layout: str, plan: Plan, limits: list[LengthLimit], outputs: Mapping[str, ParquetOutput]
) -> dict[int, str]:
    """The second pass. Returns the rows that were planned and not written, with the reason. Raises SourceError."""
    unusable: dict[int, str] = {}
    seen = SeenDigests()
    schema = output_schema(source, layout)
    columns = columns_of(layout) + [name for name in schema.names if name == "tools"]
    start = 0
    with source.progress("writing") as advance:
        for batch in source.batches(columns, advance=advance):
            sides = plan.sides[start : start + batch.num_rows]
            chosen = np.flatnonzero(sides)
            if len(chosen):
                part = batch if len(chosen) == batch.num_rows else batch.take(pa.array(chosen))
                faults: dict[int, str] = {}
                make = _make_pairs if layout == PAIRS else _make_chats
                made, cut = make(part, source, limits, schema, faults)
                kept = _leave_out_duplicates(made, layout, faults, seen)
                for limit, rows in zip(limits, cut, strict=True):
                    limit.cut += int((rows & kept).sum())
                unusable.update((start + int(chosen[row]), reason) for row, reason in faults.items())
                for name, output in outputs.items():
                    output.write(made.filter(pa.array(kept & (sides[chosen] == SIDES[name]))))
            start += batch.num_rows
    return unusable


def read_text(batch: pa.RecordBatch, name: str, source: Source, faults: dict[int, str]) -> pa.Array:
    """The column as text. A row where it is null, blank or no text gets a fault."""
    column = batch.column(name)
    if name in source.json_columns:
        values = [None if text is None else orjson.loads(text) for text in column.to_pylist()]
        for row, value in enumerate(values):
            if value is not None and not isinstance(value, str):
                faults.setdefault(row, f"{name} is not text")
        column = pa.array([value if isinstance(value, str) else None for value in values], pa.string())
    column = column.cast(pa.string())
    for row in np.flatnonzero(is_blank(column)):
        faults.setdefault(int(row), f"{name} is null or empty")
    return column


def _make_pairs(
    part: pa.RecordBatch, source: Source, limits: list[LengthLimit], schema: pa.Schema, faults: dict[int, str]
) -> tuple[pa.RecordBatch, list[np.ndarray]]:
    """prompt, response, instance_id, run_name (rows with a fault have anything), and which rows each limit has cut."""
    chats = read_chats(part.column("messages"))
    prompts = _prompts(chats)
    faults.update(chats.faults)
    responses = read_text(part, "model_patch", source, faults).to_pylist()
    for row, (prompt, response) in enumerate(zip(prompts, responses, strict=True)):
        if not prompt.strip():
            faults.setdefault(row, "prompt is empty")
        elif row not in faults and _changes(response) in prompt:
            faults[row] = "the prompt holds the patch"
    cut = []
    for texts, limit in zip([prompts, responses], limits, strict=True):
        cut.append(np.zeros(len(texts), bool))
        good = [row for row in range(len(texts)) if row not in faults]
        for row, text in zip(good, limit.apply([texts[row] for row in good]), strict=True):
            cut[-1][row] = text != texts[row]
            texts[row] = text
            if text is None:
                faults[row] = limit.reason
    arrays = [pa.array(texts, pa.string()) for texts in (prompts, responses)]
    return pa.RecordBatch.from_arrays([*arrays, *_names(part, source)], schema=schema), cut


def _changes(patch: str) -> str:
    """The patch without the names of its first file."""
    return patch[max(0, patch.find("@@")) :].strip()


def _prompts(chats: Chats) -> list[str]:
    """The turns before the assistant's first one, as one text: with the roles where there is more than one turn."""
    texts = text_of(chats)
    first = chats.first_assistant()
    places = np.concatenate([np.arange(start, start + count) for start, count in zip(chats.starts, first, strict=True)])
    indices = pa.array(places, pa.int64())
    turns = list(zip(chats.roles.take(indices).to_pylist(), texts.take(indices).to_pylist(), strict=True))
    ends = np.cumsum(first).tolist()
    prompts = []
    for start, end in zip([0, *ends], ends, strict=False):
        said = [(role, text) for role, text in turns[start:end] if text and not text.isspace()]
        if len(said) == 1:
            prompts.append(said[0][1])
        else:
            prompts.append("\n\n".join(f"{role.capitalize()}:\n{text}" for role, text in said))
    return prompts


def _make_chats(
    part: pa.RecordBatch, source: Source, limits: list[LengthLimit], schema: pa.Schema, faults: dict[int, str]
) -> tuple[pa.RecordBatch, list[np.ndarray]]:
    """messages, instance_id, run_name, and tools where there are some (rows with a fault have anything); no cuts."""
    chats = read_chats(part.column("messages"))
    texts = text_of(chats)
    blank = is_blank(texts)
    assistant = np.array(chats.roles.to_numpy(zero_copy_only=False) == "assistant")
    says_nothing = assistant & blank & ~says_more(chats)
    for row in np.flatnonzero(chats.any_turn(says_nothing)):
        chats.faults.setdefault(int(row), "an assistant turn is empty")
    first = chats.first_assistant()
    spoken = np.concatenate([[0], np.cumsum(~blank)])
    for row in np.flatnonzero(spoken[chats.starts + first] == spoken[chats.starts]):
        chats.faults.setdefault(int(row), "prompt is empty")
    faults.update(chats.faults)
    messages = with_text(chats, texts).cast(schema.field("messages").type)
    arrays = [messages, *_names(part, source), *([part.column("tools")] if "tools" in schema.names else [])]
    return pa.RecordBatch.from_arrays(arrays, schema=schema), []


def _names(part: pa.RecordBatch, source: Source) -> list[pa.Array]:
    return [read_text(part, name, source, {}) for name in NAMES]


def _leave_out_duplicates(made: pa.RecordBatch, layout: str, faults: dict[int, str], seen: SeenDigests) -> np.ndarray:
    """Which rows are kept. One whose text an earlier row has, of whatever run, gets a fault."""
    if layout == PAIRS:
        digests = text_digests(*(made.column(name).to_pylist() for name in ("prompt", "response")))
    else:
        digests = row_digests(made.column("messages"))
    kept = np.ones(made.num_rows, bool)
    kept[list(faults)] = False
    good = np.flatnonzero(kept)
    repeated = good[seen.add(digests[good])]
    faults.update((int(row), "the same text as an earlier row") for row in repeated)
    kept[repeated] = False
    return kept
