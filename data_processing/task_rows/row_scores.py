"""The score of a row's answer, by the environment's own evaluator: in whichever process this is called.

question = Question(response_field="answer", json_columns=frozenset(), env=None, settings=None)
score_rows(question, (1, [{"task_id": 7, "env": "openspiel", "prompt": […], "answer": "1", …}]))
→ [RowScore(row=1, task_id=7, kind="tic_tac_toe", value=1.0, metrics={"legal": 1.0, …}, …)]
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from env_adapter import Challenge, EnvAdapter, EnvError, SettingsError, canonical_env_name, shared_env_adapter
from task_rows.answered_task import AnsweredTask, read_row, same_prompt
from task_rows.row_layouts import task_type


@dataclass(frozen=True)
class Question:
    """What the rows are asked, the same for all."""

    response_field: str
    json_columns: frozenset[str]
    env: str | None
    settings: dict[str, Any] | None
    """Of `--set` and `--adapter-config`; None where neither is given."""


@dataclass(frozen=True)
class RowScore:
    row: int
    """Its number, from 1."""
    task_id: int | None = None
    kind: str = ""
    """The type of task."""
    task: bytes = b""
    """Equal for rows of one task."""
    response: str | None = None
    value: float | None = None
    """The reward; None: no answer, or a fault."""
    metrics: dict[str, float] | None = None
    fault: str | None = None


def score_rows(question: Question, job: tuple[int, list[dict[str, Any]]]) -> list[RowScore]:
    """The scores of rows that follow each other, the first of them with this number.

    Raises SettingsError that names the row for one that cannot be scored as it is.
    """
    first, rows = job
    scores = []
    for number, row in enumerate(rows, start=first):
        try:
            for name in question.json_columns & row.keys():
                row[name] = None if row[name] is None else json.loads(row[name])
            scores.append(_score(number, read_row(row, question.response_field), question))
        except SettingsError as error:
            raise SettingsError(f"row {number}: {error}") from error
        except Exception as error:
            error.add_note(f"row {number} of the input")
            raise
    return scores


def _score(number: int, answered: AnsweredTask, question: Question) -> RowScore:
    if answered.response is None:
        return RowScore(number, answered.task_id)
    try:
        adapter, challenge = open_task(answered, question)
        score = adapter.evaluate(answered.response, challenge)
    except EnvError as error:
        return RowScore(number, answered.task_id, response=answered.response, fault=" ".join(str(error).split()))
    task = sha256(json.dumps([challenge.env, challenge.task_id, challenge.messages]).encode()).digest()
    return RowScore(
        number, challenge.task_id, task_type(challenge), task, answered.response, score.value, dict(score.metrics)
    )


def open_task(answered: AnsweredTask, question: Question) -> tuple[EnvAdapter, Challenge]:
    """The task of a row, and the environment that made it. Raises SettingsError, or EnvError for a broken challenge."""
    challenge = None if answered.challenge is None else Challenge.from_json(answered.challenge)
    env = question.env or answered.env or (challenge and challenge.env)
    if not env:
        raise SettingsError("it names no env: give --env")
    env = canonical_env_name(env)
    for named in (answered.env, challenge and challenge.env):
        if named and canonical_env_name(named) != env:
            raise SettingsError(f"it is of env {named}, and {'--env' if question.env else 'its env'} says {env}")
    settings = {**(answered.settings or {}), **(question.settings or {})}
    try:
        adapter = shared_env_adapter(env, json.dumps(settings, sort_keys=True))
    except ModuleNotFoundError as error:
        raise SettingsError(f"env {env} needs {error.name!r}, which is not installed") from error
    if challenge is None:
        challenge = _make_again(adapter, answered, question, settings)
    return adapter, challenge


def _make_again(adapter: EnvAdapter, answered: AnsweredTask, question: Question, settings: dict[str, Any]) -> Challenge:
    """The task of a row that has its id alone. Raises SettingsError where it is not known to be the same task."""
    if answered.task_id is None:
        raise SettingsError(
            "it has neither a challenge (in the column challenge, extra_info or metadata) nor a task_id: "
            "nothing says which task it answers"
        )
    if answered.settings is None and question.settings is None and answered.prompt is None:
        raise SettingsError(
            f"task_id {answered.task_id} alone does not say which task it is: it has no challenge, no adapter_config "
            "and no prompt. Give the settings that it was made with: --set or --adapter-config ('{}' for the defaults)"
        )
    try:
        challenge = adapter.generate(answered.task_id)
    except IndexError as error:
        raise SettingsError(
            f"there is no task {answered.task_id} with the settings {json.dumps(settings)}: "
            "give those that it was made with (--set, --adapter-config)"
        ) from error
    if answered.prompt is not None and not same_prompt(answered.prompt, challenge):
        raise SettingsError(
            f"task {answered.task_id} has another prompt with the settings {json.dumps(settings)}: "
            "give those that it was made with (--set, --adapter-config)"
        )
    return challenge
