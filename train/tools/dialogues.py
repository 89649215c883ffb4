"""Tasks that are done turn by turn, such as whole games, played by a model that answers many conversations at once.

    rows = play(adapter, model, challenges, samples=1, sampling=Sampling(), max_errors=0.01)

In every round each task that waits for the model is asked, all in one batch; then all go on until the model is asked
again, in threads: opponents think while others do. An adapter whose dialogues hold something dear, such as a sandbox,
says how many may go on at a time: `dialogues_at_once`. The rows are those of answers.jsonl (`evaluation_results`), with
the whole chat as the response, and what was handed in at its end, such as a patch, as the submission.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from chat_models import Answer, ChatModel, Sampling
from env_adapter import Challenge, Dialogue, EnvAdapter, EnvError
from env_cli import derived_seed, progress_bar


@dataclass
class _Task:
    challenge: Challenge
    sample: int
    dialogue: Dialogue
    answers: list[Answer] = field(default_factory=list)
    error: str | None = None

    @property
    def done(self) -> bool:
        return self.error is not None or self.dialogue.over

    def advance(self) -> None:
        try:
            self.dialogue.advance()
        except EnvError as fault:
            self.error = f"EnvError: {fault}"

    def hear(self, answer: Answer) -> None:
        if answer.error is not None:
            self.error = answer.error
            return
        self.answers.append(answer)
        self.dialogue.answer(answer.text)

    def row(self) -> dict[str, Any]:
        score = self.dialogue.score() if self.error is None else None
        tokens = [answer.tokens for answer in self.answers]
        cut = any(answer.finish_reason == "length" for answer in self.answers)
        return {
            "task_id": self.challenge.task_id,
            "sample": self.sample,
            "messages": self.challenge.messages,
            "response": "\n\n".join(f"{each['role']}: {each['content']}" for each in self.dialogue.transcript),
            **({"submission": self.dialogue.submission} if hasattr(self.dialogue, "submission") else {}),
            "score": score.value if score else None,
            "metrics": dict(score.metrics) if score else {},
            "finish_reason": "length" if cut else "stop",
            "tokens": None if None in tokens else sum(tokens),
            "error": self.error,
            "group": self.challenge.group,
        }


def play(
    adapter: EnvAdapter,
    model: ChatModel,
    challenges: Sequence[Challenge],
    samples: int,
    sampling: Sampling,
    max_errors: float,
) -> list[dict[str, Any]]:
    """The rows of answers.jsonl, `samples` for each challenge in turn. Raises EnvError past the share of errors."""
    tasks = [
        _Task(challenge, sample, adapter.dialogue(challenge)) for challenge in challenges for sample in range(samples)
    ]
    progress = progress_bar(len(tasks), "tasks")
    with contextlib.ExitStack() as closing, ThreadPoolExecutor(os.cpu_count()) as threads:
        for task in tasks:
            closing.callback(task.dialogue.close)
        at_once = getattr(adapter, "dialogues_at_once", None) or len(tasks)
        waiting, later = tasks[:at_once], tasks[at_once:]
        while waiting:
            list(threads.map(_Task.advance, waiting))
            asked = [task for task in waiting if not task.done]
            for task in list(asked):
                if not _make_room(task.dialogue, model, sampling):
                    task.dialogue.give_up()
                    asked.remove(task)
            if asked:
                answers = model.answer(
                    [task.dialogue.messages for task in asked],
                    [derived_seed(sampling.seed, t.challenge.task_id, t.sample, len(t.answers)) for t in asked],
                    sampling,
                    max_errors=1.0,  # the share is that of whole tasks
                    quiet=True,
                )
                for task, answer in zip(asked, answers, strict=True):
                    task.hear(answer)
            _check_errors(tasks, max_errors)
            ended = [task for task in waiting if task.done]
            for task in ended:
                task.dialogue.close()
            progress.update(len(ended))
            waiting = [task for task in waiting if not task.done]
            room = at_once - len(waiting)
            waiting, later = waiting + later[:room], later[room:]
    progress.close()
    return [task.row() for task in tasks]


def _make_room(dialogue: Dialogue, model: ChatModel, sampling: Sampling) -> bool:
    """Let the dialogue leave out what was said until it fits the model; False where it does not even then."""
    while not model.fits(dialogue.messages, sampling):
        if not dialogue.forget():
            return False
    return True


def _check_errors(tasks: Sequence[_Task], max_errors: float) -> None:
    failed = [task for task in tasks if task.error is not None]
    if len(failed) > max_errors * len(tasks):
        raise EnvError(
            f"{len(failed)} of {len(tasks)} tasks cannot be scored, more than --max-errors {max_errors:g} allows; "
            f"the last, task {failed[-1].challenge.task_id}: {failed[-1].error}"
        )
