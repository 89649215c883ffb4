"""Any dataset of the package reasoning-gym, or a mixture of several: the environment `reasoning-gym`.

The two messages of a task of leg_counting, and its answers:

    You may reason first. End with the final answer, in the form that is asked for, alone in <answer></answer>.

    Your task is to count how many legs there are in total when given a list of animals.

    Now, how many legs are there in total if you have 13 bees, 14 scorpions, 3 starfishs, 3 flatworms, 6 tigers?

    "<answer>229</answer>" scores 1.0, as "229" does; "230" and "229 or 230" score 0.

Prompts and references are the package's; how answers are checked stands in reasoning_gym_checks.py.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import random
import threading
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import field
from hashlib import sha256
from typing import Annotated, Any

from pydantic import BeforeValidator, Field
from pydantic.dataclasses import dataclass

from answer_text import final_statement, spellings
from env_adapter import Challenge, EnvError, Score, SettingsError, StrList, parse_settings
from reasoning_gym_checks import REFUSED, is_right, kept_entry, usable_datasets
from reasoning_gym_package import DATASETS, create_dataset

__all__ = ["ReasoningGymAdapter", "ReasoningGymSettings"]

MAX_STATEMENT = 6000
"""Characters of an answer: partitions of palindromes are the longest that the default settings ask for."""
MAX_SKIPPED = 200
"""Tasks in a row that repeat an earlier one or have no answer, until a dataset counts as used up."""
_SIZE = 200_000
"""Indices of a dataset. The package makes what is asked for, but gsm_symbolic draws something for each beforehand."""
_INSTRUCTIONS = (
    "You may reason first. End with the final answer, in the form that is asked for, alone in <answer></answer>."
)


def _json_of_text(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) else value


@dataclass(frozen=True)
class ReasoningGymSettings:
    """Ids run dataset by dataset, in the order of `datasets`."""

    datasets: StrList = field(default_factory=list)
    """Names in the package, such as `chain_sum,leg_counting`."""
    configs: Annotated[dict[str, dict[str, Any]], BeforeValidator(_json_of_text)] = field(default_factory=dict)
    """Dataset → its own settings, such as {"chain_sum": {"min_terms": 2, "max_terms": 3}}."""
    weights: Annotated[dict[str, Annotated[float, Field(gt=0, le=1e6)]], BeforeValidator(_json_of_text)] = field(
        default_factory=dict
    )
    """Dataset → its share of the tasks, relative to the others; 1 for those that are not named."""
    num_tasks: Annotated[int, Field(ge=1, le=_SIZE // 2)] = 500
    """Of all datasets together."""
    seed: int = 0


class ReasoningGymAdapter:
    """The environment `reasoning-gym` (see `env_adapter.EnvAdapter`). Raises SettingsError for what it cannot serve."""

    name = "reasoning-gym"

    def __init__(self, config: Mapping[str, Any] | None = None) -> None:
        self.settings = parse_settings(ReasoningGymSettings, config)
        names = self.settings.datasets
        if not names:
            raise SettingsError(f"datasets is empty: name one or more of {', '.join(usable_datasets())}")
        for name in names:
            _check_name(name)
        if len(set(names)) < len(names):
            raise SettingsError(f"datasets={','.join(names)} names one twice")
        for key in ("configs", "weights"):
            strangers = set(getattr(self.settings, key)) - set(names)
            if strangers:
                raise SettingsError(f"{key} of {', '.join(sorted(strangers))}: not among datasets={','.join(names)}")
        self._counts = shares(self.settings.num_tasks, [self.settings.weights.get(name, 1.0) for name in names])
        empty = [name for name, count in zip(names, self._counts, strict=True) if not count]
        if empty:
            raise SettingsError(
                f"num_tasks={self.settings.num_tasks} leaves none for {', '.join(empty)}: raise it or the weights"
            )
        self._ends = list(itertools.accumulate(self._counts))
        self._sources = [TaskSource(name, self.settings.configs.get(name, {}), self.settings.seed) for name in names]

    def num_tasks(self) -> int:
        return self.settings.num_tasks

    def validate(self) -> None:
        """Make every task once, since nothing else tells that there are enough. Raises SettingsError where not."""
        for source, count in zip(self._sources, self._counts, strict=True):
            source.index(count - 1)

    def generate(self, task_id: int) -> Challenge:
        if not 0 <= task_id < self.num_tasks():
            raise IndexError(f"task id {task_id} is outside 0 … {self.num_tasks() - 1}")
        place = bisect_right(self._ends, task_id)
        source = self._sources[place]
        index = source.index(task_id - (self._ends[place] - self._counts[place]))
        question, entry = source.task(index)
        messages = [{"role": "system", "content": _INSTRUCTIONS}, {"role": "user", "content": question}]
        return Challenge(self.name, task_id, messages, {"task_type": source.name, "index": index, "entry": entry})

    def evaluate(self, response: str, challenge: Challenge) -> Score:
        """Metrics: `answered` (something is stated as the answer), and `solved`, which is the reward: 1 or 0."""
        name, entry = _open(challenge)
        statement = final_statement(response, MAX_STATEMENT)
        try:
            solved = float(statement is not None and _states_right(statement, name, entry))
        except (KeyError, TypeError) as error:
            raise EnvError(f"corrupted challenge {challenge.task_id}: {error!r}") from error
        return Score(solved, {"answered": float(statement is not None), "solved": solved})

    def reference_answer(self, challenge: Challenge) -> str | None:
        _, entry = _open(challenge)
        return f"<answer>{entry['answer']}</answer>"

    def random_answer(self, challenge: Challenge, seed: int) -> str | None:
        """The answer to another task of the same dataset, as the first task of this adapter's settings has it."""
        name, _ = _open(challenge)
        source = next((source for source in self._sources if source.name == name), None)
        if source is None:
            return None
        number = random.Random(f"{seed}:{challenge.task_id}").randrange(1000)
        return f"<answer>{source.task(number)[1]['answer']}</answer>"


class TaskSource:
    """The tasks of one dataset, with those left out that repeat an earlier one or cannot be answered.

    Raises SettingsError for settings that the dataset does not take.
    """

    def __init__(self, name: str, config: Mapping[str, Any], seed: int) -> None:
        self.name = name
        known = {field.name for field in dataclasses.fields(DATASETS[name][1])} - {"seed", "size"}
        unknown = sorted(set(config) - known)
        if unknown:
            raise SettingsError(
                f"configs of {name}: unknown setting {', '.join(unknown)}: known are {', '.join(sorted(known))}"
            )
        derived = int.from_bytes(sha256(f"{seed}:{name}".encode()).digest()[:4], "big") >> 1
        try:
            self._dataset = create_dataset(name, seed=derived, size=_SIZE, **config)
        except (AssertionError, TypeError, ValueError) as error:
            raise SettingsError(f"configs of {name}: {dict(config)} is refused: {error}") from error
        self._kept: list[int] = []
        self._seen: set[bytes] = set()
        self._next = 0
        self._lock = threading.Lock()

    def task(self, index: int) -> tuple[str, dict[str, Any]]:
        """(question, what `reasoning_gym_checks` keeps of the task) of the package's own index."""
        entry = self._dataset[index]
        return entry["question"], kept_entry(self.name, entry)

    def index(self, number: int) -> int:
        """The package's index of our task `number`. Raises SettingsError where there are not as many."""
        with self._lock:
            while len(self._kept) <= number:
                self._find_one()
            return self._kept[number]

    def _find_one(self) -> None:
        for index in range(self._next, min(self._next + MAX_SKIPPED, _SIZE)):
            question, entry = self.task(index)
            digest = sha256(question.encode()).digest()[:12]
            if digest not in self._seen and _can_be_answered(self.name, entry):
                self._seen.add(digest)
                self._kept.append(index)
                self._next = index + 1
                return
        raise SettingsError(
            f"num_tasks: {self.name} has hardly more than {len(self._kept)} different tasks with an answer with these "
            f"settings: the next {MAX_SKIPPED} were none. Ask for fewer, or for other configs"
        )


def shares(total: int, weights: list[float]) -> list[int]:
    """`total` split by weights into whole numbers, the largest remainders rounded up."""
    exact = [total * weight / sum(weights) for weight in weights]
    counts = [int(share) for share in exact]
    by_remainder = sorted(range(len(weights)), key=lambda i: (counts[i] - exact[i], i))
    for i in by_remainder[: total - sum(counts)]:
        counts[i] += 1
    return counts


def _check_name(name: str) -> None:
    if name in REFUSED:
        raise SettingsError(f"dataset {name!r} is not used: {REFUSED[name]}")
    if name not in DATASETS:
        raise SettingsError(f"unknown dataset {name!r}: known are {', '.join(usable_datasets())}")


def _can_be_answered(name: str, entry: Mapping[str, Any]) -> bool:
    answer = entry["answer"]
    if answer is None:
        return False
    statement = final_statement(f"<answer>{answer}</answer>", MAX_STATEMENT)
    return statement is not None and _states_right(statement, name, entry)


def _states_right(statement: str, name: str, entry: Mapping[str, Any]) -> bool:
    return any(is_right(name, form, entry) for form in spellings(statement))


def _open(challenge: Challenge) -> tuple[str, dict[str, Any]]:
    """The dataset and what was kept of its task. Raises EnvError for a challenge that `generate` did not make."""
    try:
        name, entry = challenge.extra["task_type"], challenge.extra["entry"]
        if name not in DATASETS or not isinstance(entry["answer"], str):
            raise ValueError("no dataset, or no answer")
    except (KeyError, TypeError, ValueError) as error:
        raise EnvError(f"corrupted challenge {challenge.task_id}: {error!r} in {str(challenge.extra)[:300]}") from error
    return name, entry
