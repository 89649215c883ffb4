"""What a row of a dataset says of one answer: to which task, of which environment, with which settings.

    {"task_id": 7, "env": "openspiel", "prompt": […], "answer": "4", "metadata": {"challenge": "{…}", …}}
    {"messages": […, {"role": "assistant", "content": "4"}], "task_id": 7, "env": "openspiel", …}
    {"prompt": […], "reward_model": {"ground_truth": "4"}, "extra_info": {"challenge": "{…}", "env": "openspiel"}}

A field is looked for in the row itself, then in `extra_info`, then in `metadata`: what converters make of metadata.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from env_adapter import Challenge, SettingsError

RESPONSE_FIELDS = ("response", "answer", "completion", "output", "assistant", "label")
MESSAGES, GROUND_TRUTH = "messages", "reward_model.ground_truth"
INSIDE = ("extra_info", "metadata")
USED_COLUMNS = (
    *("task_id", "env", "prompt", MESSAGES, "challenge", "adapter_config"),
    *("reward_model", *INSIDE),
)


@dataclass(frozen=True)
class AnsweredTask:
    response: str | None
    """The answer; None where the row has none."""
    env: str | None
    task_id: int | None
    challenge: str | None
    """A Challenge as JSON."""
    settings: dict[str, Any] | None
    """The adapter's, as they were recorded."""
    prompt: list[dict[str, Any]] | str | None


def find_response_field(columns: Sequence[str], chosen: str | None) -> str:
    """The field that holds the answers: `chosen`, or the first that there is. Raises SettingsError without one."""
    there = ", ".join(columns) or "none"
    if chosen is not None:
        if chosen.partition(".")[0] not in columns:
            raise SettingsError(f"--response-field {chosen}: no such column; there are {there}")
        return chosen
    for name in (*RESPONSE_FIELDS, MESSAGES):
        if name in columns:
            return name
    if "reward_model" in columns:
        return GROUND_TRUTH
    raise SettingsError(
        f"no column with answers among {there}: name it with --response-field ({', '.join(RESPONSE_FIELDS)} and the "
        "last assistant turn of messages are found without)"
    )


def read_row(row: Mapping[str, Any], response_field: str) -> AnsweredTask:
    """Raises SettingsError that names the field of a wrong type; the caller adds which row it is."""
    inside = [_place(row.get(name)) for name in INSIDE]

    def find(name: str) -> Any:
        return next((place[name] for place in (row, *inside) if place.get(name) is not None), None)

    env, task_id = find("env"), find("task_id")
    if env is not None and not isinstance(env, str):
        raise SettingsError(f"env is {_short(env)}, not a name")
    if isinstance(task_id, str) and task_id.isdecimal():
        task_id = int(task_id)
    if task_id is not None and (not isinstance(task_id, int) or isinstance(task_id, bool)):
        raise SettingsError(f"task_id is {_short(task_id)}, not a whole number")
    challenge = find("challenge")
    return AnsweredTask(
        response=_response(row, response_field),
        env=env,
        task_id=task_id,
        challenge=json.dumps(challenge) if isinstance(challenge, Mapping) else challenge,
        settings=_json_object(find("adapter_config"), "adapter_config"),
        prompt=_prompt(row),
    )


def same_prompt(prompt: list[dict[str, Any]] | str, challenge: Challenge) -> bool:
    """Whether a row's prompt is the challenge's. A text, in which roles are lost, must hold every message in order."""
    if isinstance(prompt, str):
        words = (rf"(?<!\w){re.escape(message['content'].strip())}(?!\w)" for message in challenge.messages)
        return re.search(".*?".join(words), prompt, re.DOTALL) is not None
    return [(turn.get("role"), turn.get("content")) for turn in prompt] == [
        (turn["role"], turn["content"]) for turn in challenge.messages
    ]


def _response(row: Mapping[str, Any], field: str) -> str | None:
    if field == MESSAGES:
        turns = _turns(row, MESSAGES)
        value = turns[-1].get("content") if turns and turns[-1].get("role") == "assistant" else None
    else:
        name, _, key = field.partition(".")
        value = (_json_object(row.get(name), name) or {}).get(key) if key else row.get(name)
    if field == GROUND_TRUTH and value == "":
        return None  # how a row for RL says that there is no answer
    if isinstance(value, list) and value and isinstance(value[-1], Mapping):  # a chat of which the last turn answers
        value = value[-1].get("content")
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise SettingsError(f"{field} is {_short(value)}, not a text")


def _prompt(row: Mapping[str, Any]) -> list[dict[str, Any]] | str | None:
    prompt = row.get("prompt")
    if isinstance(prompt, str) or prompt:
        return prompt if isinstance(prompt, str) else _turns(row, "prompt")
    turns = _turns(row, MESSAGES)
    if turns and turns[-1].get("role") == "assistant":
        turns = turns[:-1]
    return turns or None


def _turns(row: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    turns = row.get(name) or []
    if not isinstance(turns, list) or not all(isinstance(turn, Mapping) for turn in turns):
        raise SettingsError(f"{name} is {_short(turns)}, not a list of messages")
    return turns


def _place(value: Any) -> Mapping[str, Any]:
    """What can be looked into; a data set of other people may have anything under these names."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return {}
    return value if isinstance(value, Mapping) else {}


def _json_object(value: Any, name: str) -> dict[str, Any] | None:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError as error:
            raise SettingsError(f"{name} is {_short(value)}, not JSON") from error
    if value is not None and not isinstance(value, dict):
        raise SettingsError(f"{name} is {_short(value)}, not an object")
    return value


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:79]}…"
