"""The prompt and the answer of one row, checked: what cannot be trained on has a reason, in a few words.

{"question": "2+2?", "answer": 4}                                 rl: prompt "2+2?", answer "4"
{"messages": [{"role": "user", …}, {"role": "assistant", …}]}     sft: the chat as it is
{"prompt": "2+2?", "answer": " "}                                 RowFault: blank answer
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from json_conversion.conversion_plan import Plan
from json_conversion.field_survey import Path
from json_conversion.json_objects import Row, kind_name, to_json
from row_io.chat_turns import ROLES, ChatFault, read_turn

Message = dict[str, Any]


class RowFault(ValueError):
    """Why a row cannot be used, in a few words: rows are counted by it and left out."""


@dataclass(frozen=True)
class Sample:
    prompt: str | list[Message]
    """Text of the user, or the turns of a chat; with the answer where `answer` is None."""
    answer: str | None
    prompt_field: Path
    answer_field: Path | None
    """None: the answer is the chat's last turn, or there is none."""


def read_sample(row: Row, plan: Plan) -> Sample:
    """The row's prompt and answer. Raises RowFault for a row that cannot be used."""
    prompt_field = field_of(row, plan.prompts)
    if prompt_field is None:
        raise RowFault("no prompt")
    prompt = value_of(row, prompt_field)
    answer_field = field_of(row, plan.answers)
    answer = value_of(row, answer_field) if answer_field else None
    if isinstance(prompt, list):
        prompt, answer = _read_chat(prompt, answer, row, plan, prompt_field in plan.chat_answers)
    else:
        if prompt_field == ("messages",) and isinstance(prompt, str):
            raise RowFault("messages is text, not a list of turns")  # often the JSON of one
        if prompt_field == ("instruction",) and plan.joins_input:
            prompt = _joined(prompt, row.get("input"))
        prompt = _text(prompt, "prompt")
        answer = read_answer(answer, row, plan)
    return Sample(prompt, answer, prompt_field, answer_field)


def field_of(row: Row, paths: Sequence[Path]) -> Path | None:
    """The first of the fields that the row has a value of."""
    return next((path for path in paths if value_of(row, path) is not None), None)


def value_of(row: Row, path: Path) -> Any:
    """None also where the row has no such field."""
    parent = row if len(path) == 1 else row.get(path[0])
    return parent.get(path[-1]) if isinstance(parent, dict) else None


def read_answer(answer: Any, row: Row, plan: Plan) -> str:
    """A response has to be text. A ground truth may be any value, as JSON, and is not needed where an env scores."""
    match answer:
        case [{"role": "assistant", **turn}]:  # written as a chat of one turn
            answer = turn.get("content")
    if plan.layout != "rl":
        return _text(answer, "answer")
    if answer is None or answer in ("", [], {}) or (isinstance(answer, str) and answer.isspace()):
        if plan.challenge is not None and isinstance(value_of(row, plan.challenge), str):
            return ""
        raise RowFault("no answer" if answer is None else "blank answer")
    return answer if isinstance(answer, str) else to_json(answer)


def has_text(text: str | None) -> bool:
    return bool(text) and not text.isspace()


def _read_chat(
    value: list[Any], answer: Any, row: Row, plan: Plan, holds_answer: bool
) -> tuple[list[Message], str | None]:
    chat = [_message(message, plan) for message in value]
    own = chat[-1] if chat and chat[-1]["role"] == "assistant" else None
    prompt = chat[:-1] if own else chat
    if not any(has_text(message["content"]) for message in prompt if message["role"] != "system"):
        raise RowFault("blank prompt" if prompt else "no prompt")
    if own and not (has_text(own["content"]) or own.get("tool_calls")):
        raise RowFault("blank answer")
    if plan.layout == "rl":
        if prompt[-1]["role"] == "assistant":
            raise RowFault("prompt that ends with an assistant's turn")
        return prompt, read_answer(own["content"] if own and holds_answer else answer, row, plan)
    if own is None:
        return chat, read_answer(answer, row, plan)
    if not holds_answer:
        raise RowFault("prompt that ends with an assistant's turn")
    return chat, None


def _message(message: Any, plan: Plan) -> Message:
    if not isinstance(message, dict):
        raise RowFault(f"prompt with {kind_name(message)} in place of a message")
    try:
        turn = read_turn(message)
    except ChatFault as fault:
        raise RowFault(str(fault)) from fault
    if turn["role"] not in ROLES:
        role = turn["role"]
        raise RowFault(f"a turn has the unknown role {role[:20]!r}" if role else "a turn has no role")
    weight = message.get("weight")
    if plan.layout == "messages":
        if weight not in (None, 0, 1):
            raise RowFault("a turn's weight is not 0 or 1")
        turn["weight"] = None if weight is None else int(weight)
    if turn["content"] is None and not (turn["tool_calls"] and plan.layout == "messages"):
        raise RowFault("a turn has no text")
    return turn


def _joined(instruction: Any, text: Any) -> Any:
    if text is None or text == "":
        return instruction
    return f"{_text(instruction, 'prompt')}\n\n{_text(text, 'input')}"


def _text(value: Any, what: str) -> str:
    if isinstance(value, str):
        if not has_text(value):
            raise RowFault(f"blank {what}")
        return value
    raise RowFault(f"no {what}" if value is None else f"{what} is {kind_name(value)}")
