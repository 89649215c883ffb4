"""A block of JSON lines as a batch of a plan's schema.

Block(b'{"prompt": "2+2?", "answer": 4, "level": 1}\\n{"prompt": "", "answer": 5}\\n')
→ batch     one row: prompt, data_source, ability, reward_model, extra_info
  left_out  {"blank prompt": 1}
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain, compress, repeat
from pathlib import Path as FilePath

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from conversion_plan import ASKED, Kept, Plan
from field_survey import Columns, Path, Survey, survey_columns
from json_objects import BadLines, no_cycle_search, parse_objects, to_json, to_json_each
from json_rows import Block
from sample_rows import Message, RowFault, Sample, has_text, read_sample

Prompt = str | list[Message]
HASH_BITS = 64


@dataclass(frozen=True)
class Job:
    """A block, and how it is to be mapped. Hashes are made where there is a seed."""

    block: Block
    plan: Plan
    skip_bad: bool = False
    seed: int | None = None


@dataclass
class Mapped:
    """What became of a block. Without a batch, its survey says what the plan did not know, and the block is here."""

    bad: BadLines
    survey: Survey | None = None
    block: Block | None = None
    batch: pa.RecordBatch | None = None
    file: FilePath | None = None
    """Where the batch is on its way between processes."""
    hashes: np.ndarray | None = None
    """For each row, 64 bits that depend on its prompt and the seed; for chats, on the turns before the first answer."""
    left_out: Counter[str] = field(default_factory=Counter)
    used: Counter[tuple[str, Path]] = field(default_factory=Counter)
    """("prompt", ("question",)): in how many rows."""


def survey_block(block: Block, skip_bad: bool = False) -> Survey:
    """Raises SourceError for a line that is no JSON object."""
    with no_cycle_search():
        return survey_columns(Columns(parse_objects(block, skip_bad).rows), ASKED)


def map_block(job: Job) -> Mapped:
    """The block's rows in the plan's schema. Raises SourceError for a bad line.

    extra_info.index is null where the plan has no field for it.
    """
    with no_cycle_search():
        return _map_block(job)


def _map_block(job: Job) -> Mapped:
    plan = job.plan
    objects = parse_objects(job.block, job.skip_bad)
    mapped = Mapped(objects.bad)
    columns = Columns(objects.rows)
    survey = survey_columns(columns, ASKED)
    if not plan.survey.covers(survey):
        mapped.survey, mapped.block = survey, job.block
        return mapped
    prompts, answers, columns = _read_samples(columns, plan, mapped)
    mapped.batch = _batch(prompts, answers, columns, plan)
    if job.seed is not None:
        mapped.hashes = prompt_hashes(prompts, plan.wishes.system, job.seed)
    return mapped


def prompt_hashes(prompts: Sequence[Prompt], system: str | None, seed: int) -> np.ndarray:
    """64 bits for each prompt: equal for equal prompts, whether they are text or a chat."""
    digest = xxhash.xxh3_64_intdigest
    seed %= 1 << HASH_BITS
    start = "" if system is None else _turn_text("system", system)
    hashes = (
        digest((_turn_text("user", prompt, start) if type(prompt) is str else _opening(prompt, start)).encode(), seed)
        for prompt in prompts
    )
    return np.fromiter(hashes, np.uint64, len(prompts))


def _opening(chat: list[Message], start: str) -> str:
    """The turns before the assistant's first one."""
    texts = [] if chat[0]["role"] == "system" else [start]
    for message in chat:
        if message["role"] == "assistant":
            break
        texts.append(_turn_text(message["role"], message["content"] or ""))
    return "".join(texts)


def _turn_text(role: str, content: str, before: str = "") -> str:
    return f"{before}{role}\0{content}\1"


def _read_samples(columns: Columns, plan: Plan, mapped: Mapped) -> tuple[list[Prompt], list[str | None], Columns]:
    """(prompts, answers, columns) of the rows that can be used."""
    plain = _plain_texts(columns, plan)
    if plain:
        mapped.used["prompt", plan.prompts[0]] = mapped.used["answer", plan.answers[0]] = len(columns.rows)
        return *plain, columns
    samples: list[Sample] = []
    kept = []
    for row in columns.rows:
        try:
            sample = read_sample(row, plan)
        except RowFault as fault:
            mapped.left_out[str(fault)] += 1
            kept.append(False)
            continue
        samples.append(sample)
        kept.append(True)
        mapped.used["prompt", sample.prompt_field] += 1
        if sample.answer_field:
            mapped.used["answer", sample.answer_field] += 1
    if not all(kept):
        columns = Columns(list(compress(columns.rows, kept)))
    return [sample.prompt for sample in samples], [sample.answer for sample in samples], columns


def _is_blank(text: str) -> bool:
    return not text or text.isspace()


def _plain_texts(columns: Columns, plan: Plan) -> tuple[list[str], list[str]] | None:
    """Prompts and answers where all are texts of one field each, as in most files: ten times faster than row by row."""
    if len(plan.prompts) != 1 or len(plan.answers) != 1 or plan.joins_input or plan.prompts == (("messages",),):
        return None
    texts = columns[plan.prompts[0]], columns[plan.answers[0]]
    if any(set(map(type, column)) != {str} or any(map(_is_blank, column)) for column in texts):
        return None
    return texts


def _batch(prompts: Sequence[Prompt], answers: Sequence[str | None], columns: Columns, plan: Plan) -> pa.RecordBatch:
    number = len(prompts)
    index = pa.nulls(number, pa.int64()) if plan.index is None else pa.array(columns[plan.index], pa.int64())
    env = _texts(columns, plan.env, _same_text(plan.wishes.env, number))
    kept = [index, env, *(_array(columns, item) for item in plan.kept)]
    extra_info = pa.StructArray.from_arrays(kept, fields=list(plan.schema.field("extra_info").type))
    system = plan.wishes.system
    if plan.layout == "rl":
        sources = env
        for path in reversed(plan.data_sources):
            sources = _texts(columns, path, sources)
        reward_model = pa.StructArray.from_arrays(
            [_texts(columns, plan.style, _same_text("rule", number)), pa.array(answers, pa.string())],
            fields=list(plan.schema.field("reward_model").type),
        )
        chats = _chats(prompts, None, system, plan.schema.field("prompt").type)
        arrays = [chats, sources, _texts(columns, plan.ability, sources), reward_model]
    elif plan.layout == "messages":
        arrays = [_chats(prompts, answers, system, plan.schema.field("messages").type)]
    else:
        arrays = [pa.array(prompts, pa.string()), pa.array(answers, pa.string())]
    passed = [_passed(columns, item, prompts, system) for item in plan.passed]
    return pa.RecordBatch.from_arrays([*arrays, *passed, extra_info], schema=plan.schema)


def _chats(
    prompts: Sequence[Prompt], answers: Sequence[str | None] | None, system: str | None, kind: pa.DataType
) -> pa.Array:
    """The turns of each row: the system's where it has none, the prompt's, and the answer's where there is one."""
    if set(map(type, prompts)) <= {str}:
        turns = {"system": [system] * len(prompts) if system else None, "user": prompts, "assistant": answers}
        return _flat_chats({role: contents for role, contents in turns.items() if contents is not None}, kind)
    first = [] if system is None else [{"role": "system", "content": system}]
    rows = []
    for prompt, answer in zip(prompts, answers or repeat(None), strict=False):
        chat = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
        last = [] if answer is None else [{"role": "assistant", "content": answer}]
        rows.append([*([] if chat[0]["role"] == "system" else first), *chat, *last])
    return pa.array(rows, kind)


def _flat_chats(turns: dict[str, Sequence[str]], kind: pa.DataType) -> pa.Array:
    """Chats that all have these turns: role → one content a row."""
    contents = list(chain.from_iterable(zip(*turns.values(), strict=True)))
    number, length = len(contents), len(turns)
    roles = pa.array(list(turns)).take(pa.array(np.arange(number) % length))
    known = {"role": roles, "content": pa.array(contents, pa.string())}
    struct = kind.value_type
    children = [known[item.name] if item.name in known else pa.nulls(number, item.type) for item in struct]
    offsets = pa.array(np.arange(0, number + 1, length, dtype=np.int32))
    return pa.ListArray.from_arrays(offsets, pa.StructArray.from_arrays(children, fields=list(struct)), type=kind)


def _same_text(text: str, number: int) -> pa.Array:
    return pa.repeat(pa.scalar(text, pa.string()), number)


def _texts(columns: Columns, path: Path | None, others: pa.Array) -> pa.Array:
    """The field's values as text; the other one where there is none, or a blank."""
    if path is None:
        return others
    values = columns[path]
    if not set(map(type, values)) <= {str, type(None)}:
        values = [value if value is None or type(value) is str else to_json(value) for value in values]
    texts = pa.array(values, pa.string())
    blank = [text for text in set(values) if not has_text(text)]
    if not blank:
        return texts
    return pc.if_else(pc.is_in(texts, value_set=pa.array(blank, pa.string())), others, texts)


def _array(columns: Columns, item: Kept) -> pa.Array:
    values = columns[item.path]
    return pa.array(to_json_each(values) if item.as_json else values, item.type)


def _passed(columns: Columns, item: Kept, prompts: Sequence[Prompt], system: str | None) -> pa.Array:
    values = columns[item.path]
    if item.as_json:  # tools: a text is JSON already
        values = [value if value is None or isinstance(value, str) else to_json(value) for value in values]
    elif item.name == "loss_mask" and system is not None:
        values = [
            value if value is None or (isinstance(prompt, list) and prompt[0]["role"] == "system") else [0, *value]
            for value, prompt in zip(values, prompts, strict=True)
        ]
    return pa.array(values, item.type)
