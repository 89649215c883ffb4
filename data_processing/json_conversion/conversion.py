"""JSON files into the train and validation files of a plan: read in blocks, mapped by processes, written in order.

    totals = Conversion(files, targets, Wishes("rl"), val_ratio=0.05, seed=42).run()
    totals.written          {"train": 950, "val": 50}
    totals.left_out         {"blank prompt": 3}

Memory does not grow with the input. What is written depends on the input and the options alone, not on the number of
processes or on where blocks end.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pyarrow.compute as pc

from json_conversion.block_exchange import map_to_file, received
from json_conversion.block_mapping import Job, Mapped, Split, map_block, survey_block
from json_conversion.conversion_plan import Plan, Wishes, make_plan
from json_conversion.field_survey import Path as Field
from json_conversion.field_survey import Survey
from json_conversion.json_blocks import JsonBlock, json_blocks
from json_conversion.json_objects import BadLines
from json_conversion.sample_columns import HASH_BITS
from row_io.byte_progress import byte_progress
from row_io.ordered_pool import ordered_pool
from row_io.parquet_output import ParquetOutput, parquet_files
from row_io.shuffled_rows import ShuffledRows, shuffled_rows
from row_io.source_error import SourceError

BLOCK_BYTES = 1 << 20
"""Parsed, this has room in a processor's cache: four times as much takes a fifth longer for each row."""
SAMPLED_FILES, SAMPLE_BYTES = 16, 4 << 20
PROCESSES = 2
"""More would wait for the one that writes, and take memory."""
ONE_PROCESS_BYTES = 24 << 20
"""Below this, starting processes takes longer than they save."""


class PlanChanged(Exception):
    """The input holds something that the plan did not foresee."""


class SplitMissed(Exception):
    """No prompt, or every prompt, was drawn for validation. `cut` draws one, or all but one."""

    def __init__(self, cut: int) -> None:
        self.cut = cut


@dataclass
class Totals:
    """What became of the rows."""

    plan: Plan
    written: dict[str, int]
    """Target → rows."""
    left_out: Counter[str] = field(default_factory=Counter)
    used: Counter[tuple[str, Field]] = field(default_factory=Counter)
    """("prompt", ("question",)): how many rows had it there."""
    bad: BadLines = field(default_factory=BadLines)
    least: int = 1 << HASH_BITS
    """Of the prompts' hashes."""
    most: int = -1

    @property
    def rows(self) -> int:
        return sum(self.written.values())

    def add(self, mapped: Mapped) -> None:
        self.left_out.update(mapped.left_out)
        self.used.update(mapped.used)
        self.bad.add(mapped.bad)
        if mapped.hashes:
            self.least = min(self.least, mapped.hashes[0])
            self.most = max(self.most, mapped.hashes[1])


@dataclass
class Conversion:
    files: list[Path]
    targets: dict[str, Path]
    """"train", and "val" where val_ratio is not 0."""
    wishes: Wishes
    val_ratio: float = 0.0
    seed: int = 42
    shuffle: bool = False
    skip_bad: bool = False
    survey: Survey = field(default_factory=Survey)
    """What was seen of the fields so far."""

    def __post_init__(self) -> None:
        self.total_bytes = sum(path.stat().st_size for path in self.files)
        self.processes = 1 if self.total_bytes < ONE_PROCESS_BYTES else PROCESSES
        self.cut = int(self.val_ratio * 2**HASH_BITS)

    def run(self) -> Totals:
        """Most inputs are read once, since their first rows have the fields of all; others once more to see the fields.

        Raises SourceError where the input cannot be used; then nothing is written.
        """
        for path in self.files[:: -(-len(self.files) // SAMPLED_FILES)]:
            for block in islice(json_blocks(path, SAMPLE_BYTES), 1):
                self.survey.add(survey_block(block, self.skip_bad))
        plan = self.plan()
        while True:
            try:
                if plan is None:
                    self.survey_all()
                    plan = make_plan(self.survey, self.wishes)
                return self.write(plan)
            except PlanChanged:
                plan = None
            except SplitMissed as missed:
                self.cut = missed.cut

    def plan(self) -> Plan | None:
        """The plan for what was seen so far; None where that is not enough for one."""
        try:
            return make_plan(self.survey, self.wishes)
        except SourceError:
            return None

    def survey_all(self) -> None:
        """See the fields of all rows. Raises SourceError for a bad line, and where there are no rows."""
        self.survey = Survey()
        with byte_progress("reading fields", self.total_bytes) as advance, ordered_pool(self.processes) as results_of:
            for survey in results_of(_survey, ((block, self.skip_bad) for block in self.blocks(advance))):
                self.survey.add(survey)
        if not self.survey.rows:
            raise SourceError(f"{' and '.join(map(str, self.files[:3]))}: no rows")

    def write(self, plan: Plan) -> Totals:
        """Write all rows. Raises PlanChanged, SplitMissed or SourceError, and then there are no files."""
        totals = Totals(plan, dict.fromkeys(self.targets, 0))
        with ExitStack() as stack:
            files = stack.enter_context(parquet_files(self.targets, plan.schema, self.files))
            outputs = {name: self.output(file, self.targets[name].parent, stack) for name, file in files.items()}
            for mapped in stack.enter_context(closing(self.mapped_blocks(plan))):
                totals.add(mapped)
                batch = with_index_from(totals.rows, mapped.batch) if plan.index is None else mapped.batch
                parts = {"train": batch[: mapped.train_rows], "val": batch[mapped.train_rows :]}
                for name, part in parts.items():
                    if part.num_rows:
                        outputs[name].write(part if 2 * part.num_rows >= batch.num_rows else copied(part))
                        totals.written[name] += part.num_rows
            self.check(totals)
        return totals

    def mapped_blocks(self, plan: Plan) -> Iterator[Mapped]:
        """All blocks, in order and with their rows. Raises PlanChanged."""
        with ExitStack() as stack:
            work = map_block
            if self.processes > 1:  # the directory first: it goes after the processes that write in it
                directory = stack.enter_context(TemporaryDirectory(prefix="convert-to-parquet-"))
                work = partial(map_to_file, directory=Path(directory))
            results_of = stack.enter_context(ordered_pool(self.processes))
            advance = stack.enter_context(byte_progress("converting", self.total_bytes))
            split = Split(self.seed, self.cut) if self.val_ratio else None
            jobs = (Job(block, plan, self.skip_bad, split) for block in self.blocks(advance))
            for mapped in results_of(work, jobs):
                if mapped.survey is not None:
                    self.survey.add(mapped.survey)
                    newer = self.plan()
                    if newer is None or newer != plan:
                        raise PlanChanged
                    plan = newer  # of the jobs to come as well: it knows of what is no news
                    mapped = map_block(Job(mapped.block, plan, self.skip_bad, split))
                yield received(mapped)

    def blocks(self, advance: Callable[[int], object]) -> Iterator[JsonBlock]:
        for path in self.files:
            for block in json_blocks(path, BLOCK_BYTES):
                yield block
                advance(block.end - block.start)

    def output(self, file: ParquetOutput, directory: Path, stack: ExitStack) -> ParquetOutput | ShuffledRows:
        if not self.shuffle:
            return file
        return stack.enter_context(shuffled_rows(file, self.total_bytes, self.seed, directory))

    def check(self, totals: Totals) -> None:
        """Raises SourceError where no row can be used or all have one prompt, SplitMissed where a side is empty."""
        if not totals.rows:
            reasons = "; ".join(f"{number:,} × {reason}" for reason, number in totals.left_out.most_common())
            raise SourceError(f"no row can be used ({reasons})")
        if self.val_ratio and totals.least == totals.most:
            raise SourceError(
                f"--val-ratio {self.val_ratio}: all rows that can be used ({totals.rows:,}) have the same prompt, "
                "which cannot be on both sides: give --val-ratio 0"
            )
        if not totals.written.get("val", 1):
            raise SplitMissed(totals.least + 1)
        if not totals.written["train"]:
            raise SplitMissed(totals.most)


def copied(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The rows in memory of their own: a few that wait for others would keep the memory of their whole block."""
    return batch.take(pa.array(range(batch.num_rows)))


def with_index_from(first: int, batch: pa.RecordBatch) -> pa.RecordBatch:
    """The batch with `first` more in extra_info.index."""
    extra_info = batch.column("extra_info")
    fields = list(extra_info.type)
    index, *others = (extra_info.field(place) for place in range(len(fields)))
    changed = pa.StructArray.from_arrays([pc.add(index, first), *others], fields=fields)
    return batch.set_column(batch.schema.get_field_index("extra_info"), batch.schema.field("extra_info"), changed)


def _survey(job: tuple[JsonBlock, bool]) -> Survey:
    return survey_block(*job)
