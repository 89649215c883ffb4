"""Which fields become the prompt, the answer and the rest of a row: decided once for a whole input, from its survey.

    {"prompt": "2+2?", "answer": "4", "task_type": "sums", "metadata": {"level": 1, "tags": ["a"]}}

    rl         prompt ← prompt, reward_model.ground_truth ← answer, data_source ← task_type
    sft        prompt ← prompt, response ← answer
    extra_info index, env, task_type, level as a whole number, tags as JSON text

All batches and both files have the one schema of the plan.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.types as pt

from json_conversion.field_survey import (
    ABSENT,
    ANSWERED,
    BOOLEAN,
    INTEGER,
    LISTS,
    LONG,
    OBJECT,
    OPENED,
    TEXT,
    Path,
    Survey,
)
from json_conversion.output_schema import Kept, column_type, has_empty_struct, output_schema
from row_io.chat_turns import CALLS, OTHER_TEXT
from row_io.source_error import SourceError
from task_rows.row_layouts import MESSAGES

PROMPTS = ("prompt", "messages", "question", "instruction")
RESPONSES = ("response", "answer", "completion", "output", "assistant", "label")
GROUND_TRUTHS = ("reward_model.ground_truth", "ground_truth", "answer", "solution", "label", *RESPONSES)
DATA_SOURCES = ("data_source", "task_type")
ASKED = frozenset(name.partition(".")[0] for name in (*PROMPTS, *GROUND_TRUTHS, *DATA_SOURCES))
"""The names whose standing side by side the plan looks at."""
MESSAGE_KEYS = {"tool_calls": CALLS, **dict.fromkeys(OTHER_TEXT, pa.string()), "weight": pa.int64()}
"""Keys of a message, beside role and content, that chat templates or the SFT trainer read; their types."""


@dataclass(frozen=True)
class Wishes:
    """What the user asked for."""

    format: str = "rl"
    env: str = "lgc-v2"
    prompt_field: str | None = None
    answer_field: str | None = None
    """--response-field or --ground-truth-field."""
    data_source_field: str | None = None
    system: str | None = None

    @property
    def answer_flag(self) -> str:
        return "--ground-truth-field" if self.format == "rl" else "--response-field"


@dataclass(frozen=True)
class Plan:
    wishes: Wishes
    layout: str
    """`rl`, `pair` (prompt and response) or `messages`."""
    prompts: tuple[Path, ...]
    """A row's prompt is the first of these that it has; no row has two of them."""
    answers: tuple[Path, ...]
    chat_answers: tuple[Path, ...]
    """The prompts whose last turn is the answer, where that is the assistant's."""
    data_sources: tuple[Path, ...]
    ability: Path | None
    style: Path | None
    env: Path | None
    index: Path | None
    """None: extra_info.index counts the rows."""
    challenge: Path | None
    """A row that has it is scored by its environment, and may be without a ground truth."""
    kept: tuple[Kept, ...]
    """The fields of extra_info, after index and env."""
    passed: tuple[Kept, ...]
    """The columns that the SFT trainer reads beside the messages."""
    dropped_keys: tuple[str, ...]
    """Keys of messages that are left out."""
    schema: pa.Schema
    survey: Survey = field(compare=False, repr=False)

    @property
    def message_keys(self) -> list[str]:
        """The keys of messages that are written beside role and content."""
        if self.layout != "messages":
            return []
        struct = self.schema.field("messages").type.value_type
        return [item.name for item in struct if item.name not in ("role", "content")]

    @property
    def joins_input(self) -> bool:
        """Whether an instruction is followed by the field `input`."""
        return ("instruction",) in self.prompts and self.wishes.prompt_field is None


def make_plan(survey: Survey, wishes: Wishes) -> Plan:
    """Raises SourceError where the input has no prompt or no answer, and where a field cannot be written."""
    return _Planner(survey, wishes).plan()


class _Planner:
    def __init__(self, survey: Survey, wishes: Wishes) -> None:
        self.survey, self.wishes = survey, wishes
        self.opened = {
            name for name in OPENED if survey.kinds.get((name,), {TEXT}) <= {OBJECT, ABSENT} and name not in survey.wide
        }
        self.kinds = {
            path: kinds - {ABSENT}
            for path, kinds in survey.kinds.items()
            if len(path) == 1 or path[0] in self.opened
        }  # fmt: skip

    def plan(self) -> Plan:
        wishes, rl = self.wishes, self.wishes.format == "rl"
        prompts = self.find(wishes.prompt_field, "--prompt-field", PROMPTS)
        challenge = self.first({TEXT}, "extra_info.challenge", "metadata.challenge", "challenge") if rl else None
        answers, prompts = self.find_answers(prompts, challenge)
        if not prompts:
            raise self.missing("prompt", PROMPTS, "--prompt-field")
        if set(prompts) & set(answers):
            raise SourceError(f"--prompt-field and {wishes.answer_flag} are both {_dotted(answers[0])}")
        chat_answers = tuple(
            path for path in prompts if ANSWERED in self.kinds[path] and not self.beside(path, answers)
        )
        layout = "rl" if rl else "pair"
        if not rl and (wishes.system is not None or any(self.kinds[path] & LISTS for path in prompts)):
            layout = "messages"
        env = self.first({TEXT}, "env", "extra_info.env", "metadata.env")
        index = self.first_whole("extra_info.index", "index", "metadata.index")
        style = self.first({TEXT}, "reward_model.style") if rl else None
        ability = self.first({TEXT}, "ability") if rl else None
        data_sources = self.find(wishes.data_source_field, "--data-source-field", DATA_SOURCES) if rl else ()
        passed = () if rl else tuple(self.passed_columns(layout))
        used = {*prompts, *answers, env, index, style, ability, *(column.path for column in passed)}
        if ("data_source",) in data_sources:
            used.add(("data_source",))
        if ("instruction",) in prompts and wishes.prompt_field is None:
            used.add(("input",))
        kept = tuple(self.kept_fields(used))
        message_type, dropped = self.message_type(prompts, layout)
        return Plan(
            wishes, layout, prompts, answers, chat_answers, data_sources, ability, style, env, index, challenge, kept,
            passed, dropped, output_schema(layout, message_type, passed, kept), copy.deepcopy(self.survey),
        )  # fmt: skip

    def find(self, chosen: str | None, flag: str, names: Sequence[str]) -> tuple[Path, ...]:
        """The field that the user named, or those of `names` that take each other's place. Raises SourceError."""
        if chosen is None:
            return self.alternatives(names)
        path = (chosen,) if (chosen,) in self.kinds else tuple(chosen.split(".", 1))
        if not self.kinds.get(path):
            raise SourceError(f"{flag} {chosen}: no row has this field; {self.names()}")
        return (path,)

    def alternatives(self, names: Sequence[str], beside: Sequence[Path] = ()) -> tuple[Path, ...]:
        """Those of the fields that are there, less each that any row has beside an earlier one: it is something else.

        In {"response": …, "label": "good"} the label is no second name of the response, and where the response is
        missing, the label is not the answer.
        """
        found: list[Path] = []
        for name in dict.fromkeys(names):
            path = tuple(name.split("."))
            if self.kinds.get(path) and not self.beside(path, (*found, *beside)):
                found.append(path)
        return tuple(found)

    def beside(self, path: Path, others: Sequence[Path]) -> bool:
        """Whether a row has the field and one of the others."""
        return any({path[0], other[0]} <= row for other in others for row in self.survey.together)

    def find_answers(
        self, prompts: tuple[Path, ...], challenge: Path | None
    ) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
        """(answers, prompts): a chat may hold the answer itself, as its last turn."""
        wishes = self.wishes
        answered = [path for path in prompts if ANSWERED in self.kinds[path]]
        if wishes.format == "rl":
            answers = self.find(wishes.answer_field, "--ground-truth-field", GROUND_TRUTHS)
            names = GROUND_TRUTHS
        elif wishes.answer_field is not None:
            answers, names = self.find(wishes.answer_field, "--response-field", ()), ()
        else:
            answers, names = self.alternatives(RESPONSES, beside=answered), RESPONSES
        answers = tuple(path for path in answers if path not in prompts or wishes.answer_field is not None)
        if answers or answered or challenge or not prompts:
            return answers, prompts
        if ANSWERED in self.kinds.get(("messages",), ()) and wishes.prompt_field is None:
            return (), (("messages",),)
        raise self.missing("answer", names, wishes.answer_flag)

    def first(self, kinds: set[str], *names: str) -> Path | None:
        """The first of the fields that is there and holds nothing but these kinds."""
        paths = (tuple(name.split(".")) for name in names)
        return next((path for path in paths if self.kinds.get(path) and self.kinds[path] <= kinds), None)

    def first_whole(self, *names: str) -> Path | None:
        """The first of the fields that every row has, a whole number of 64 bits."""
        path = self.first({INTEGER, LONG}, *names)
        parents_miss = path is not None and any(ABSENT in self.survey.kinds[path[:end]] for end in (1, len(path)))
        return None if parents_miss else path

    def kept_fields(self, used: set[Path | None]) -> Iterator[Kept]:
        names = {"index", "env"}
        # The order of appearance, in the rows and in each object, which does not depend on where blocks end.
        places = {path[0]: place for place, path in enumerate(self.kinds) if len(path) == 1}
        for path in sorted(self.kinds, key=lambda path: (len(path), len(path) == 2 and places[path[0]])):
            if path in used or (len(path) == 1 and path[0] in self.opened):
                continue
            name = path[-1]
            while name in names:
                name = f"{path[0] if len(path) == 2 else 'source'}_{name}"
            names.add(name)
            if path[-1] in ("tools_kwargs", "interaction_kwargs") and path in self.survey.types:
                yield Kept(name, path, self.native_type(path))
            else:
                yield Kept(name, path, *column_type(self.kinds[path]))

    def passed_columns(self, layout: str) -> Iterator[Kept]:
        tools, mask, thinking = ("tools",), ("loss_mask",), ("enable_thinking",)
        if self.kinds.get(tools) and self.kinds[tools] <= {TEXT, *LISTS}:
            yield Kept("tools", tools, pa.string(), as_json=True)
        if self.kinds.get(mask) and layout == "messages":
            kind = self.native_type(mask)
            if not (pt.is_list(kind) and (pt.is_integer(kind.value_type) or pt.is_boolean(kind.value_type))):
                raise SourceError(f"loss_mask holds {kind}, where a list of 0 and 1 is needed, one for each message")
            yield Kept("loss_mask", mask, kind)
        if self.kinds.get(thinking) == {BOOLEAN}:
            yield Kept("enable_thinking", thinking, pa.bool_())

    def native_type(self, path: Path) -> pa.DataType:
        kind = self.survey.types[path]
        if kind is None or has_empty_struct(kind):
            raise SourceError(
                f"{_dotted(path)} holds {'values of different types' if kind is None else 'empty objects'}, which "
                "parquet cannot; as text it would not be understood. Make its values agree or leave it out"
            )
        return pa.string() if pt.is_null(kind) else kind

    def message_type(self, prompts: Sequence[Path], layout: str) -> tuple[pa.DataType, tuple[str, ...]]:
        """(the type of the chat, the keys of messages that are left out)."""
        keys = {path[1] for path in self.survey.message_keys if path[:1] in prompts} - {"role", "content"}
        kept = [name for name in MESSAGE_KEYS if name in keys and layout == "messages"]
        extra = [pa.field(name, MESSAGE_KEYS[name]) for name in kept]
        return pa.list_(pa.struct([*MESSAGES.value_type, *extra])), tuple(sorted(keys - set(kept)))

    def missing(self, what: str, names: Sequence[str], flag: str) -> SourceError:
        wanted = ", ".join(dict.fromkeys(names))
        return SourceError(f"no {what}: no row has any of {wanted}; {self.names()}. Choose one with {flag}")

    def names(self) -> str:
        paths = [path for path in self.kinds if len(path) == 2 or path[0] not in self.opened]
        return f"the fields are {', '.join(map(_dotted, paths)) or 'none'}"


def _dotted(path: Path) -> str:
    return ".".join(path)
