"""The prompts and answers of many rows: at once where all are plain, as in most files, else row by row.

{"prompt": "2+2?", "answer": "4"}, {"prompt": "3+3?", "answer": ""}

rl, messages   chats with a turn of the user (and one of the assistant)      pair   texts
left_out       {"blank answer": 1}
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import compress
from typing import Any

import numpy as np
import xxhash

from json_conversion.conversion_plan import Plan
from json_conversion.dialogues import Dialogues, from_messages, from_plain_chats, from_texts
from json_conversion.field_survey import Columns, Path
from json_conversion.sample_rows import RowFault, Sample, read_sample

HASH_BITS = 64


@dataclass(frozen=True)
class Samples:
    """Of the rows that can be used."""

    columns: Columns
    prompts: list[str] | Dialogues
    """Texts in the layout `pair`, else chats as they are written: in `messages` with the answer."""
    answers: Sequence[str | None]
    with_system: Sequence[bool]
    """Whether a row's chat was given the system's turn."""

    def hashes(self, seed: int) -> np.ndarray:
        """64 bits for each row: equal for equal prompts; of a chat, for equal turns before the first answer."""
        chats = from_texts(self.prompts) if isinstance(self.prompts, list) else self.prompts
        seed %= 1 << HASH_BITS
        numbers = (xxhash.xxh3_64_intdigest(text.encode(), seed) for text in chats.openings())
        return np.fromiter(numbers, np.uint64, len(chats))


def read_samples(columns: Columns, plan: Plan, left_out: Counter[str], used: Counter[tuple[str, Path]]) -> Samples:
    """Counts the rows that cannot be used by reason, and the others by the fields that they were read from."""
    found = _plain_texts(columns, plan) or _plain_chats(columns, plan)
    if found is None:
        columns, found = _one_by_one(columns, plan, left_out, used)
    else:
        used["prompt", plan.prompts[0]] += len(columns.rows)
        if plan.answers and plan.prompts[0] not in plan.chat_answers:
            used["answer", plan.answers[0]] += len(columns.rows)
    prompts, answers = found
    if plan.layout == "pair":
        assert isinstance(prompts, list)
        return Samples(columns, prompts, answers, [])
    chats = from_texts(prompts) if isinstance(prompts, list) else prompts
    system, with_system = plan.wishes.system, []
    if system is not None:
        with_system = [role != "system" for role in chats.first_roles()]
        chats = chats.with_first("system", system)
    if plan.layout == "messages":
        chats = chats.with_last("assistant", answers)
    return Samples(columns, chats, answers, with_system)


Found = tuple[list[str] | Dialogues, Sequence[str | None]]


def _one_by_one(
    columns: Columns, plan: Plan, left_out: Counter[str], used: Counter[tuple[str, Path]]
) -> tuple[Columns, Found]:
    samples: list[Sample] = []
    usable = []
    for row in columns.rows:
        try:
            sample = read_sample(row, plan)
        except RowFault as fault:
            left_out[str(fault)] += 1
            usable.append(False)
            continue
        usable.append(True)
        samples.append(sample)
        used["prompt", sample.prompt_field] += 1
        if sample.answer_field:
            used["answer", sample.answer_field] += 1
    if not all(usable):
        columns = Columns(list(compress(columns.rows, usable)))
    prompts: Any = [sample.prompt for sample in samples]
    if plan.layout != "pair":
        chats = [[{"role": "user", "content": text}] if isinstance(text, str) else text for text in prompts]
        prompts = from_messages(chats, plan.message_keys)
    return columns, (prompts, [sample.answer for sample in samples])


def _plain_texts(columns: Columns, plan: Plan) -> Found | None:
    """Where all prompts and answers are texts of one field each."""
    if len(plan.prompts) != 1 or plan.joins_input or plan.prompts == (("messages",),):
        return None
    prompts, answers = _texts(columns, plan.prompts), _texts(columns, plan.answers)
    return (list(prompts), answers) if prompts and answers else None


def _plain_chats(columns: Columns, plan: Plan) -> Found | None:
    """Where all prompts are chats of plain turns in one field, and all end with the answer, or none does."""
    if len(plan.prompts) != 1 or plan.message_keys or (*plan.prompts[0], "tool_calls") in plan.survey.message_keys:
        return None
    chats = from_plain_chats(columns[plan.prompts[0]])
    if chats is None:
        return None
    last_roles = set(chats.last_roles())
    if "assistant" not in last_roles:
        answers = _texts(columns, plan.answers)
        return (chats, answers) if answers and "system" not in last_roles else None
    if last_roles != {"assistant"}:
        return None
    prompts, own = chats.split_last()
    if 0 in prompts.lengths() or "system" in (roles := set(prompts.last_roles())):
        return None
    holds_answers = plan.prompts[0] in plan.chat_answers
    if plan.layout == "rl":
        answers = own if holds_answers else _texts(columns, plan.answers)
        return (prompts, answers) if answers and "assistant" not in roles else None
    return (chats, [None] * len(chats)) if holds_answers else None


def _texts(columns: Columns, paths: Sequence[Path]) -> Sequence[str] | None:
    """The values of the only field, if each is a text that is not blank."""
    if len(paths) != 1:
        return None
    values = columns[paths[0]]
    plain = set(map(type, values)) == {str} and not any([not text or text.isspace() for text in values])  # noqa: C419
    return values if plain else None
