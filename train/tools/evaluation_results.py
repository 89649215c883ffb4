"""What an evaluation leaves in its directory, how it is summed up, and how two of them are compared.

    answers.jsonl   one line per answer: {"task_id": 7, "sample": 0, "messages": […], "response": "4", "score": 1.0,
                    "metrics": {"legal": 1.0}, "finish_reason": "stop", "tokens": 2, "error": null, "group": "hex"}
    summary.json    {"reward": {"mean": 0.53, "low": 0.47, "high": 0.59, "n": 64}, "metrics": {…}, "model": …, …}

Beside them is what the environment itself writes for other tools, such as preds.json of swe-synth.

An answer with an `error` has no score: a fault of the server or of the environment is not a wrong answer.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from atomic_file import atomic_file
from env_adapter import SettingsError
from intervals import Interval, mean_interval, paired_difference

REWARD = "reward"


@dataclass(frozen=True)
class TaskResult:
    """The answers to one task: the unit of every interval."""

    task_id: int
    messages: list[dict[str, str]]
    rows: list[dict[str, Any]]
    """Its scored answers, as in answers.jsonl."""

    @property
    def key(self) -> tuple[int, str]:
        """Two evaluations compare a task only where both id and prompt are the same."""
        return self.task_id, json.dumps(self.messages, sort_keys=True)

    def mean(self, name: str = REWARD) -> float:
        """The mean over its samples of the reward or of a metric."""
        return fmean(row["score"] if name == REWARD else row["metrics"][name] for row in self.rows)


@dataclass(frozen=True)
class Evaluation:
    summary: dict[str, Any]
    tasks: list[TaskResult]


@dataclass(frozen=True)
class Comparison:
    """The same tasks before and after."""

    gains: dict[str, Interval]
    """'reward' and each metric that both have: after - before, paired by task."""
    pairs: list[tuple[TaskResult, TaskResult]]
    left_out: int
    """Tasks that only one of the two has."""


def group_by_task(rows: Iterable[dict[str, Any]]) -> list[TaskResult]:
    """Tasks with at least one scored answer, in the order of their first row."""
    by_task: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        if row["error"] is None:
            by_task[row["task_id"]].append(row)
    return [TaskResult(task_id, rows[0]["messages"], rows) for task_id, rows in by_task.items()]


def by_group(tasks: Iterable[TaskResult]) -> dict[str, list[TaskResult]]:
    """The tasks of each game, or of whatever else `Challenge.group` names; those without a group are left out."""
    groups: dict[str, list[TaskResult]] = defaultdict(list)
    for task in tasks:
        group = task.rows[0].get("group")
        if group is not None:
            groups[group].append(task)
    return dict(sorted(groups.items()))


def bounds_of(name: str, tasks: Iterable[TaskResult]) -> tuple[float, float] | None:
    """(0, 1) for the reward and for a metric that never leaves it; None where the range is not known."""
    if name == REWARD:
        return 0.0, 1.0
    inside = all(0 <= row["metrics"][name] <= 1 for task in tasks for row in task.rows)
    return (0.0, 1.0) if inside else None


def metric_names(tasks: Iterable[TaskResult]) -> list[str]:
    """The metrics that every scored answer has, in the adapter's order."""
    rows = [row for task in tasks for row in task.rows]
    return [name for name in rows[0]["metrics"] if all(name in row["metrics"] for row in rows)] if rows else []


def intervals_of(tasks: list[TaskResult]) -> dict[str, Interval]:
    """The mean over tasks of the reward and of each metric."""
    return {
        name: mean_interval([task.mean(name) for task in tasks], bounds_of(name, tasks))
        for name in [REWARD, *metric_names(tasks)]
    }


def compare(before: Evaluation, after: Evaluation) -> Comparison:
    """Raises SettingsError where the two were not asked the same tasks: their difference would mean nothing."""
    env_before, env_after = before.summary.get("env"), after.summary.get("env")
    if env_before != env_after:
        raise SettingsError(f"the evaluations are of two environments, {env_before} and {env_after}")
    first = {task.task_id: task for task in before.tasks}
    second = {task.task_id: task for task in after.tasks}
    pairs = [(first[task_id], second[task_id]) for task_id in first if task_id in second]
    if not pairs:
        raise SettingsError("the evaluations share no task: use the same split, seeds and adapter settings for both")
    for one, other in pairs:
        if one.key != other.key:
            raise SettingsError(
                f"task {one.task_id} has another prompt in the second evaluation: "
                "evaluate both models with the same adapter settings"
            )
    tasks = [task for pair in pairs for task in pair]
    gains = {}
    for name in [REWARD, *metric_names(tasks)]:
        bounds = bounds_of(name, tasks)
        gains[name] = paired_difference(
            {one.key: one.mean(name) for one, _ in pairs},
            {other.key: other.mean(name) for _, other in pairs},
            (bounds[0] - bounds[1], bounds[1] - bounds[0]) if bounds else None,
        )
    return Comparison(gains, pairs, len(first) + len(second) - 2 * len(pairs))


def write_evaluation(
    directory: Path, rows: list[dict[str, Any]], summary: dict[str, Any], exports: Mapping[str, str] | None = None
) -> None:
    """Writes both files, and `exports`, name → text; summary.json comes last: where it is, the others are its own."""
    with atomic_file(directory / "answers.jsonl") as temporary, temporary.open("w", encoding="ascii") as file:
        # ASCII escapes, because an answer can hold what UTF-8 cannot, such as half of a surrogate pair.
        file.writelines(json.dumps(row) + "\n" for row in rows)
        file.flush()
        (directory / "summary.json").unlink(missing_ok=True)
    for name, text in (exports or {}).items():
        with atomic_file(directory / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    with atomic_file(directory / "summary.json") as temporary:
        temporary.write_text(json.dumps(summary, indent=2) + "\n", encoding="ascii")


def read_evaluation(directory: Path) -> Evaluation:
    """Raises SettingsError for a directory without a whole evaluation."""
    try:
        summary = json.loads((directory / "summary.json").read_text(encoding="utf-8"))
        with (directory / "answers.jsonl").open(encoding="utf-8") as file:
            tasks = group_by_task(json.loads(line) for line in file)
    except FileNotFoundError as error:
        raise SettingsError(f"{error.filename} is missing: {directory} holds no finished evaluation") from error
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise SettingsError(f"{directory} is not an evaluation that this version can read: {error!r}") from error
    if not isinstance(summary, dict) or not tasks:
        raise SettingsError(f"{directory} holds no scored answer")
    return Evaluation(summary, tasks)


def interval_json(intervals: dict[str, Interval]) -> dict[str, dict[str, Any]]:
    return {name: asdict(interval) for name, interval in intervals.items()}
