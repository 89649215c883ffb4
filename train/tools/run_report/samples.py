"""The answers that verl has kept of a run: its validations, and its rollouts where they are dumped.

    <run>/validation/50.jsonl     trainer.validation_data_dir: a line for each answer of the validation at step 50
    {"input": "user\\nWhat is 1 + 1?\\nassistant\\n", "output": "2", "gts": "openspiel/679", "score": 1.0, "step": 50,
     "uid": "12972fc4…_0_0", "legal": 1.0, "reward/tic_tac_toe": 1.0}

`gts` is the environment and the number of the task; `uid` ends in the session and the sequence. A session of several
sequences, such as a whole game, counts once: its last sequence is its answer.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from intervals import Interval, mean_interval, paired_difference
from run_record import read_records

MOST_BYTES = 64 * 2**20
"""Of all validations together: a second or so to read. The first and the last are always read."""
SHOWN = 3
Tasks = dict[str, list[float]]


@dataclass(frozen=True)
class Answer:
    task: str
    """Environment and number, such as openspiel/679."""
    group: str | None
    """The type of task, such as tic_tac_toe."""
    prompt: str
    text: str
    score: float
    opening: str
    """The first prompt of the session."""

    @property
    def env(self) -> str:
        return self.task.rpartition("/")[0]


@dataclass(frozen=True)
class Validation:
    step: int
    answers: list[Answer]

    def scores(self, name: str | None = None) -> Tasks:
        """Task → its scores; `name` is an environment or <environment>/<type>."""
        found: Tasks = defaultdict(list)
        for answer in self.answers:
            if name in (None, answer.env, f"{answer.env}/{answer.group}"):
                found[answer.task].append(answer.score)
        return dict(found)

    def reward(self, name: str | None = None) -> Interval | None:
        """The mean over tasks with its 95 % interval."""
        scores = self.scores(name)
        return mean_interval([fmean(each) for each in scores.values()], _bounds(scores)) if scores else None


def read_validations(folder: Path, notes: list[str]) -> list[Validation]:
    """In the order of their steps; some between the first and the last are left out where they are large."""
    files = sorted((path for path in folder.glob("*.jsonl") if path.stem.isdigit()), key=lambda path: int(path.stem))
    chosen = _within(files, MOST_BYTES)
    if len(chosen) < len(files):
        notes.append(f"Intervals are of {len(chosen)} of the {len(files)} validations: the others were not read.")
    read = [Validation(int(path.stem), read_answers(path, notes)) for path in chosen]
    return [validation for validation in read if validation.answers]


def read_answers(path: Path, notes: list[str]) -> list[Answer]:
    """One for each session. Answers without a finite score are counted in `notes`."""
    sessions: dict[str, tuple[dict[str, Any], str, str]] = {}
    for index, record in enumerate(read_records(path, notes)):
        uid = str(record.get("uid") or f"{index}_0_0")
        session, prompt = uid.rpartition("_")[0], str(record.get("input", ""))
        opening = sessions[session][2] if session in sessions else prompt
        sessions[session] = record, uid, opening
    answers, lost = [], 0
    for record, uid, opening in sessions.values():
        score = record.get("score")
        if not isinstance(score, int | float) or not math.isfinite(score):
            lost += 1
            continue
        groups = [key for key, value in record.items() if key.startswith("reward/") and value is not None]
        answers.append(
            Answer(
                str(record.get("gts") or uid.rsplit("_", 2)[0]),
                groups[0].removeprefix("reward/") if groups else None,
                str(record.get("input", "")),
                str(record.get("output", "")),
                float(score),
                opening,
            )
        )
    if lost:
        notes.append(f"{lost} of the answers in {path.parent.name}/{path.name} have no score: left out.")
    return answers


def change(before: Validation, after: Validation, name: str | None = None) -> Interval | None:
    """The mean of after - before over the tasks of both, with its interval; None where they share none."""
    first, last = ({task: fmean(each) for task, each in side.scores(name).items()} for side in (before, after))
    if not first.keys() & last.keys():
        return None
    bounds = _bounds(before.scores(name)) and _bounds(after.scores(name))
    return paired_difference(first, last, (-1.0, 1.0) if bounds else None)


def same_tasks(one: Validation, other: Validation) -> tuple[Validation, Validation]:
    """The answers to tasks that both have with the same first prompt: two runs may number other tasks alike."""
    shared = {(a.task, a.opening) for a in one.answers} & {(a.task, a.opening) for a in other.answers}
    kept = [[a for a in side.answers if (a.task, a.opening) in shared] for side in (one, other)]
    return Validation(one.step, kept[0]), Validation(other.step, kept[1])


def newest_rollouts(folder: Path, notes: list[str]) -> Validation | None:
    files = sorted((path for path in folder.glob("*.jsonl") if path.stem.isdigit()), key=lambda path: int(path.stem))
    answers = read_answers(files[-1], notes) if files else []
    return Validation(int(files[-1].stem), answers) if answers else None


def best_and_worst(answers: Sequence[Answer]) -> tuple[list[Answer], list[Answer]]:
    """The answers of the highest and of the lowest score, each of another task; among equals, the first."""
    best = _of_tasks(sorted(answers, key=lambda answer: -answer.score), set())
    worst = _of_tasks(sorted(answers, key=lambda answer: answer.score), {id(answer) for answer in best})
    return best, worst


def _of_tasks(answers: Iterable[Answer], taken: set[int]) -> list[Answer]:
    chosen: dict[str, Answer] = {}
    for answer in answers:
        if len(chosen) == SHOWN:
            break
        if id(answer) not in taken:
            chosen.setdefault(answer.task, answer)
    return list(chosen.values())


def _within(files: Sequence[Path], most: int) -> list[Path]:
    """Evenly chosen files of at most so many bytes together, always with the first and the last."""
    count = len(files)
    while count > 2:
        chosen = [files[round(index * (len(files) - 1) / (count - 1))] for index in range(count)]
        if sum(path.stat().st_size for path in chosen) <= most:
            return chosen
        count = max(2, count * 3 // 4)
    return list(files) if len(files) <= 2 else [files[0], files[-1]]


def _bounds(scores: Tasks) -> tuple[float, float] | None:
    """Rewards of our environments lie in [0, 1]; another reward function may leave it."""
    return (0.0, 1.0) if all(0 <= score <= 1 for each in scores.values() for score in each) else None
