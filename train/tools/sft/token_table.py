"""All rows of some parquet files as token ids: made once, kept on disk, memory-mapped by every rank.

    table = tokenise([Path("train.parquet")], ColumnNames(), tokenizer, max_length=2048, policy="error", cache_dir=…)
    table.rows[7]["input_ids"]      # a sample that can be trained on
    print(table.summary)            # what was read, left out and cut

A row that cannot be trained on leaves a record with its fault, so that nothing disappears without being counted.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from datasets import Dataset, Features, List, Value, concatenate_datasets
from datasets.exceptions import DatasetGenerationError

from sft.conversations import ColumnNames, DataError, Layout, RowFault, choose_layout, read_conversation
from sft.lengths import OVER_LONG, check_policy, fit
from sft.loss_mask import ChatTokenizer, Sample

VERSION = 1
"""Part of the key of the cache: raise it when the same rows would give other tokens."""
BATCH_ROWS = 64
FEATURES = Features(
    {
        "input_ids": List(Value("int32")),
        "loss_mask": List(Value("int8")),
        "fault": Value("string"),
        "place": Value("string"),
        "part": Value("int32"),
        "was_cut": Value("bool"),
        "end_added": Value("bool"),
        "unlike_prompt": Value("bool"),
    }
)


@dataclass(frozen=True)
class Summary:
    """What the files held, for people."""

    files: dict[str, str]
    """File name → the columns it was read by."""
    rows: int
    samples: int
    tokens: int
    trained_tokens: int
    longest: int
    max_length: int
    cut_rows: int
    ends_added: int
    unlike_prompt: int
    faults: dict[str, int] = field(default_factory=dict)
    """Why rows were left out → how many."""
    first_places: dict[str, str] = field(default_factory=dict)
    """Fault → file and row of its first one."""

    def __str__(self) -> str:
        lines = [f"  {name}: {columns}" for name, columns in self.files.items()]
        lines.append(
            f"  {self.rows:,} rows → {self.samples:,} samples, {self.tokens:,} tokens "
            f"({self.trained_tokens:,} trained), the longest {self.longest:,} of {self.max_length:,}"
        )
        dropped = sum(self.faults.values())
        lines.append(f"  {dropped:,} rows dropped, {self.cut_rows:,} truncated")
        for fault, count in self.faults.items():
            lines.append(f"    {count:,} × {fault} (the first: {self.first_places[fault]})")
        if self.ends_added:
            lines.append(f"  {self.ends_added:,} samples have no end mark by the chat template: eos was appended")
        if self.unlike_prompt:
            lines.append(
                f"  {self.unlike_prompt:,} samples do not begin as the chat template's generation prompt ends "
                "(thinking?): the model will be asked in another way than it was trained"
            )
        return "\n".join(lines)


@dataclass(frozen=True)
class TokenTable:
    rows: Dataset
    """Those that can be trained on: input_ids and loss_mask, as numpy arrays."""
    summary: Summary
    digest: str
    """Tells tables apart: of all lengths and of a thousand samples' tokens."""


def tokenise(
    files: list[Path],
    names: ColumnNames,
    tokenizer: Any,
    *,
    max_length: int,
    policy: str,
    cache_dir: Path,
    template_kwargs: dict[str, Any] | None = None,
    parts: int = 1,
) -> TokenTable:
    """Every row of the files, in order. Raises DataError for what the user can mend, before anything is trained.

    With several parts each of as many processes may have made its own by `tokenise_part`: they are found in the cache.
    """
    layouts = {file: _layout_of(file, names) for file in files}
    work = _Work(layouts, tokenizer, template_kwargs, max_length, policy, cache_dir, parts)
    table = concatenate_datasets([work.part(number) for number in range(len(work.groups))])
    faults = table.data.column("fault")
    kept = np.flatnonzero(pc.equal(faults, "").to_numpy(zero_copy_only=False))
    rows = table.select(kept).select_columns(["input_ids", "loss_mask"]).with_format("numpy")
    lengths = pc.list_value_length(table.data.column("input_ids")).to_numpy()[kept]
    summary = _summarise(table, {file.name: str(layouts[file]) for file in files}, lengths, max_length)
    _refuse(summary, policy, max_length)
    return TokenTable(rows, summary, _digest(rows, lengths))


def tokenise_part(
    number: int,
    files: list[Path],
    names: ColumnNames,
    tokenizer: Any,
    *,
    max_length: int,
    policy: str,
    cache_dir: Path,
    template_kwargs: dict[str, Any] | None = None,
    parts: int = 1,
) -> None:
    """Make one part of the same table, in this process. Ranks share the work so: a process with torch's threads in it
    must not be forked, which is how `datasets` would do it.
    """
    layouts = {file: _layout_of(file, names) for file in files}
    work = _Work(layouts, tokenizer, template_kwargs, max_length, policy, cache_dir, parts)
    if number < len(work.groups):
        work.part(number)


class _Work:
    """The row groups of some files, in parts of consecutive ones, and how each part becomes tokens."""

    def __init__(
        self,
        layouts: dict[Path, Layout],
        tokenizer: Any,
        template_kwargs: dict[str, Any] | None,
        max_length: int,
        policy: str,
        cache_dir: Path,
        parts: int,
    ) -> None:
        check_policy(policy)
        if not sum(pq.read_metadata(file).num_rows for file in layouts):
            raise DataError(f"{', '.join(map(str, layouts))}: no rows")
        groups = [
            (file, group, layout)
            for file, layout in layouts.items()
            for group in range(pq.read_metadata(file).num_row_groups)
        ]
        count = min(parts, len(groups))
        bounds = [len(groups) * number // count for number in range(count + 1)]
        self.groups = [groups[start:end] for start, end in pairwise(bounds)]
        self._arguments = {
            "chat": ChatTokenizer(tokenizer, template_kwargs),
            "max_length": max_length,
            "policy": policy,
        }
        self._key = _cache_key(list(layouts), layouts, tokenizer, template_kwargs, max_length, policy)
        self._cache_dir = cache_dir

    def part(self, number: int) -> Dataset:
        """From the cache, where it has been made before."""
        try:
            return Dataset.from_generator(
                _records,
                features=FEATURES,
                cache_dir=str(self._cache_dir),
                gen_kwargs={"groups": self.groups[number], **self._arguments},
                fingerprint=f"{self._key}-{number}-of-{len(self.groups)}",
            )
        except DatasetGenerationError as error:
            if isinstance(error.__cause__, DataError):
                raise error.__cause__ from None
            raise


def _records(
    groups: list[tuple[Path, int, Layout]], chat: ChatTokenizer, max_length: int, policy: str
) -> Iterator[dict[str, Any]]:
    for file, group, layout in groups:
        for number, row in _rows_of(file, group, layout):
            yield from _records_of(row, f"{file.name} row {number}", layout, chat, max_length, policy)


def _rows_of(file: Path, group: int, layout: Layout) -> Iterator[tuple[int, dict[str, Any]]]:
    """The rows of one row group, with their numbers in the file, from 1."""
    try:
        with pq.ParquetFile(file) as parquet:
            number = sum(parquet.metadata.row_group(i).num_rows for i in range(group))
            for batch in parquet.iter_batches(BATCH_ROWS, row_groups=[group], columns=layout.columns):
                for row in batch.to_pylist():
                    number += 1
                    yield number, row
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{file} is damaged ({str(error).splitlines()[0]}): make or copy it again") from error


def _records_of(
    row: dict[str, Any], place: str, layout: Layout, chat: ChatTokenizer, max_length: int, policy: str
) -> Iterator[dict[str, Any]]:
    try:
        whole = chat.samples(read_conversation(row, layout))
        samples = [window for sample in whole for window in fit(sample, max_length, policy)]
    except RowFault as fault:
        yield _record(Sample([], []), place, 0, fault=str(fault))
        return
    was_cut = sum(len(sample.input_ids) for sample in samples) < sum(len(sample.input_ids) for sample in whole)
    for part, sample in enumerate(samples):
        yield _record(sample, place, part, was_cut=was_cut or len(samples) > len(whole))


def _record(sample: Sample, place: str, part: int, fault: str = "", was_cut: bool = False) -> dict[str, Any]:
    return {**vars(sample), "place": place, "part": part, "fault": fault, "was_cut": was_cut}


def _layout_of(file: Path, names: ColumnNames) -> Layout:
    try:
        schema = pq.read_schema(file)
    except (OSError, pa.ArrowException) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{file} is not a whole parquet file ({reason}): make or copy it again") from error
    return choose_layout(schema, names, str(file))


def _cache_key(files: list[Path], layouts: dict[Path, Layout], tokenizer: Any, *settings: Any) -> str:
    state = [(str(file.absolute()), file.stat().st_size, file.stat().st_mtime_ns, str(layouts[file])) for file in files]
    words = tokenizer.backend_tokenizer.to_str(), tokenizer.chat_template, tokenizer.eos_token_id
    text = json.dumps([VERSION, state, words, settings], sort_keys=True, default=str)
    return sha256(text.encode()).hexdigest()[:32]


def _summarise(table: Dataset, files: dict[str, str], lengths: np.ndarray, max_length: int) -> Summary:
    columns = table.data
    faults = columns.column("fault").to_pylist()
    counts = Counter(fault for fault in faults if fault)
    places: dict[str, str] = {}
    for index, fault in enumerate(faults):
        if fault and fault not in places:
            places[fault] = columns.column("place")[index].as_py()
    first = pc.equal(columns.column("part"), 0)

    def count(name: str, *also: Any) -> int:
        flags = columns.column(name)
        for other in also:
            flags = pc.and_(flags, other)
        return pc.sum(flags).as_py() or 0

    return Summary(
        files=files,
        rows=pc.sum(first).as_py() or 0,
        samples=len(lengths),
        tokens=int(lengths.sum()),
        trained_tokens=sum(pc.sum(pc.list_flatten(chunk)).as_py() or 0 for chunk in columns.column("loss_mask").chunks),
        longest=int(lengths.max(initial=0)),
        max_length=max_length,
        cut_rows=count("was_cut", first),
        ends_added=count("end_added"),
        unlike_prompt=count("unlike_prompt"),
        faults=dict(counts.most_common()),
        first_places=places,
    )


def _refuse(summary: Summary, policy: str, max_length: int) -> None:
    if policy == "error" and summary.faults.get(OVER_LONG):
        raise DataError(
            f"{summary.faults[OVER_LONG]:,} of {summary.rows:,} rows have more than data.max_length={max_length} "
            f"(SFT_MAX_LENGTH) tokens, the first is {summary.first_places[OVER_LONG]}: raise it, or say what becomes "
            "of them with SFT_TRUNCATION=drop, right, left or split"
        )
    if not summary.samples:
        raise DataError(f"no row can be trained on:\n{summary}")


def _digest(rows: Dataset, lengths: np.ndarray) -> str:
    digest = sha256(lengths.astype("<i8").tobytes())
    for index in np.unique(np.linspace(0, len(rows) - 1, 1000, dtype=int)):
        row = rows[int(index)]
        digest.update(row["input_ids"].astype("<i4").tobytes() + row["loss_mask"].astype("<i1").tobytes())
    return digest.hexdigest()[:16]
