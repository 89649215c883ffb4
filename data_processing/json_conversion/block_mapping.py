"""A block of JSON lines as a batch of a plan's schema.

{"prompt": "2+2?", "answer": 4, "level": 1}
{"prompt": "", "answer": 5}
→ batch     one row: prompt, data_source, ability, reward_model, extra_info
  left_out  {"blank prompt": 1}
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path as FilePath

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from json_conversion.conversion_plan import ASKED, Plan
from json_conversion.field_survey import Columns, Path, Survey, survey_columns
from json_conversion.json_blocks import JsonBlock
from json_conversion.json_objects import BadLines, no_cycle_search, parse_objects, to_json, to_json_each
from json_conversion.output_schema import Kept
from json_conversion.sample_columns import Samples, read_samples
from json_conversion.sample_rows import has_text


@dataclass(frozen=True)
class Split:
    """Rows whose hash, of their prompt and the seed, is less than `cut` are for validation."""

    seed: int
    cut: int


@dataclass(frozen=True)
class Job:
    """A block, and how it is to be mapped."""

    block: JsonBlock
    plan: Plan
    skip_bad: bool = False
    split: Split | None = None


@dataclass
class Mapped:
    """What became of a block. Without a batch, its survey says what the plan did not know, and the block is here."""

    bad: BadLines
    survey: Survey | None = None
    block: JsonBlock | None = None
    batch: pa.RecordBatch | None = None
    """First the rows for training, then those for validation."""
    file: FilePath | None = None
    """Where the batch is on its way between processes."""
    train_rows: int = 0
    hashes: tuple[int, int] | None = None
    """The least and the greatest."""
    left_out: Counter[str] = field(default_factory=Counter)
    used: Counter[tuple[str, Path]] = field(default_factory=Counter)
    """("prompt", ("question",)): in how many rows."""


def survey_block(block: JsonBlock, skip_bad: bool = False) -> Survey:
    """Raises SourceError for a line that is no JSON object."""
    with no_cycle_search():
        return survey_columns(Columns(parse_objects(block, skip_bad).rows), ASKED)


def map_block(job: Job) -> Mapped:
    """The block's rows in the plan's schema. Raises SourceError for a bad line.

    Where the plan has no field for it, extra_info.index counts the block's rows.
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
    samples = read_samples(columns, plan, mapped.left_out, mapped.used)
    mapped.batch = _batch(samples, plan)
    mapped.train_rows = mapped.batch.num_rows
    if job.split and mapped.train_rows:
        _divide(mapped, samples.hashes(job.split.seed), job.split.cut)
    return mapped


def _divide(mapped: Mapped, hashes: np.ndarray, cut: int) -> None:
    mapped.hashes = int(hashes.min()), int(hashes.max())
    validate = hashes < np.uint64(cut)
    mapped.train_rows -= int(validate.sum())
    if validate.any():
        mapped.batch = mapped.batch.take(pa.array(np.argsort(validate, kind="stable")))


def _batch(samples: Samples, plan: Plan) -> pa.RecordBatch:
    columns, prompts = samples.columns, samples.prompts
    number = len(columns.rows)
    index = pa.array(range(number) if plan.index is None else columns[plan.index], pa.int64())
    env = _texts(columns, plan.env, _same_text(plan.wishes.env, number))
    kept = [index, env, *(_array(columns, item) for item in plan.kept)]
    extra_info = pa.StructArray.from_arrays(kept, fields=list(plan.schema.field("extra_info").type))
    if isinstance(prompts, list):
        arrays = [pa.array(prompts, pa.string()), pa.array(samples.answers, pa.string())]
    else:
        arrays = [prompts.to_arrow(plan.schema.field(0).type)]
    if plan.layout == "rl":
        sources = env
        for path in reversed(plan.data_sources):
            sources = _texts(columns, path, sources)
        reward_model = pa.StructArray.from_arrays(
            [_texts(columns, plan.style, _same_text("rule", number)), pa.array(samples.answers, pa.string())],
            fields=list(plan.schema.field("reward_model").type),
        )
        arrays += [sources, _texts(columns, plan.ability, sources), reward_model]
    passed = [_passed(columns, item, samples.with_system) for item in plan.passed]
    return pa.RecordBatch.from_arrays([*arrays, *passed, extra_info], schema=plan.schema)


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


def _passed(columns: Columns, item: Kept, with_system: Sequence[bool]) -> pa.Array:
    values = columns[item.path]
    if item.as_json:  # tools: a text is JSON already
        values = [value if value is None or isinstance(value, str) else to_json(value) for value in values]
    elif item.name == "loss_mask" and with_system:
        values = [[0, *mask] if mask and more else mask for mask, more in zip(values, with_system, strict=True)]
    return pa.array(values, item.type)
