"""The contract between an environment and the trainer, and the registry of environments.

An environment is a finite list of tasks that a program can check. Three methods are all that training needs:

    adapter = get_env_adapter("openspiel", {"game_types": "tic_tac_toe"})
    challenge = adapter.generate(7)                       # what the model sees, and what scoring needs
    score = adapter.evaluate("4", challenge)              # Score(value=1.0, metrics={...})

Adapters know nothing of verl, torch or Hydra. `dataset-manager.py` and `reward-manager.py` know nothing of any single
environment. The laws that every adapter obeys are tests: `tests/test_env_contract.py`.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import importlib
import json
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Protocol, TypeVar, runtime_checkable

from pydantic import BeforeValidator, ValidationError

SettingsT = TypeVar("SettingsT")


class EnvError(RuntimeError):
    """A fault of ours, not of the model: sandbox down, missing repository, corrupted challenge. Never a reward."""


class SettingsError(ValueError):
    """A setting that the user can mend: the message names it, its value and what is accepted."""


class NotHere(SettingsError):
    """Something that this machine lacks or cannot reach, such as a hub or a sandbox: a dry run can do without it."""


@dataclass(frozen=True)
class Challenge:
    """One task, complete: nothing else is needed to show it to a model or to score an answer to it."""

    env: str
    """Canonical environment name; it routes the reward."""
    task_id: int
    messages: list[dict[str, str]]
    """The chat prompt: all that the model sees."""
    extra: dict[str, Any]
    """JSON values only: all that `evaluate` needs, in any process."""

    @property
    def group(self) -> str | None:
        """What evaluations sum up by: the game or the type, where a task has one."""
        return self.extra.get("game") or self.extra.get("task_type")

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), ensure_ascii=False, sort_keys=True, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Challenge:
        """Raises EnvError when the text is not a whole Challenge."""
        try:
            fields = json.loads(text)
            return cls(**fields)
        except (TypeError, ValueError) as error:
            raise EnvError(f"not a Challenge: {error}: {text[:200]!r}") from error


@dataclass(frozen=True)
class Score:
    value: float
    """The reward, in [0, 1]."""
    metrics: dict[str, float]
    """Named parts of the reward; the same keys for every answer of an environment."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.value <= 1.0:  # also false for NaN
            raise EnvError(f"a reward must lie in [0, 1], not {self.value}")


class Dialogue(Protocol):
    """A task that is done turn by turn, such as a whole game. An adapter that has such tasks has `agent_loop`, the name
    of the agent loop that trains on them, and a method `dialogue(challenge)` that begins one.
    """

    over: bool

    @property
    def messages(self) -> list[dict[str, str]]:
        """What the model sees when it is asked next."""

    @property
    def transcript(self) -> list[dict[str, str]]:
        """All that was told and said so far, but for the system's words."""

    def advance(self) -> None:
        """Go on until the model is asked or all is over; it may take a while. Raises EnvError for faults of ours."""

    def answer(self, reply: str) -> None:
        """The model's reply. Any text is a valid argument."""

    def forget(self) -> bool:
        """The messages have become too long for the model: show less of what was said. False where there is no less."""

    def give_up(self) -> None:
        """And so the task ends here."""

    def score(self) -> Score:
        """When all is over."""

    def close(self) -> None:
        """Let go of what it holds, such as a sandbox, over or not. Called in the end, whatever has happened."""


@runtime_checkable
class EnvAdapter(Protocol):
    """An adapter may also have `agent_loop` and `dialogue` (see Dialogue), and `exports(model, answers)`: files for
    other tools, name → text, that an evaluation writes beside its results; answers are pairs (challenge, text).
    """

    name: str

    def num_tasks(self) -> int:
        """How many tasks this configuration has; ids are 0 … num_tasks()-1, each with a prompt of its own."""

    def validate(self) -> None:
        """Raises SettingsError when some of these tasks do not exist, so that it is said before a run starts."""

    def generate(self, task_id: int) -> Challenge:
        """The task with this id: a pure function of (settings, task_id). Raises IndexError outside the range."""

    def evaluate(self, response: str, challenge: Challenge) -> Score:
        """The score of an answer, deterministic. Any text is a valid argument; raises EnvError for faults of ours.

        Called from several threads at once.
        """

    def reference_answer(self, challenge: Challenge) -> str | None:
        """The best answer known, as a model would write it, or None where the environment has none."""

    def random_answer(self, challenge: Challenge, seed: int) -> str | None:
        """A well-formed answer of no particular merit (a legal move): it teaches the format and nothing else."""


# name → where it lives. Imported on first use, so that only its users need its dependencies.
REGISTRY: dict[str, str] = {
    "lgc-v2": "lgc_v2_adapter:LogicAdapter",
    "openspiel": "openspiel_adapter:OpenSpielAdapter",
    "reasoning-gym": "reasoning_gym_adapter:ReasoningGymAdapter",
    "swe-synth": "swe_synth_adapter:SweSynthAdapter",
    "trace": "trace_adapter:TraceAdapter",
}
_SPELLINGS = {
    "lgc_v2": "lgc-v2",
    "logic-v2": "lgc-v2",
    "logic_v2": "lgc-v2",
    "open_spiel": "openspiel",
    "open-spiel": "openspiel",
    "reasoning_gym": "reasoning-gym",
    "swe_synth": "swe-synth",
    "swesynth": "swe-synth",
}


def canonical_env_name(env: str) -> str:
    """'Open_Spiel' → 'openspiel'. Raises SettingsError for a name that is not registered."""
    key = str(env).strip().lower()
    name = _SPELLINGS.get(key, key)
    if name not in REGISTRY:
        raise SettingsError(f"unknown env {env!r}: known are {', '.join(sorted(REGISTRY))}")
    return name


def get_env_adapter(env: str, config: Mapping[str, Any] | None = None) -> EnvAdapter:
    """The adapter of an environment, with its settings checked. Raises SettingsError for an unknown env or setting."""
    module, _, cls = REGISTRY[canonical_env_name(env)].partition(":")
    return getattr(importlib.import_module(module), cls)(config)


_SHARED_LOCK = threading.Lock()
_build_shared = functools.cache(lambda env, config_json: get_env_adapter(env, json.loads(config_json)))


def shared_env_adapter(env: str, config_json: str = "{}") -> EnvAdapter:
    """The one adapter that this process has for these settings, built on first use; safe to call from any thread.

    It lives here because verl executes a file anew each time that it loads it by path: a cache there is not shared.
    """
    with _SHARED_LOCK:
        return _build_shared(canonical_env_name(env), config_json)


def parse_settings(cls: type[SettingsT], config: Mapping[str, Any] | None) -> SettingsT:
    """Fill a settings dataclass (`pydantic.dataclasses.dataclass`) from a mapping.

    Text is converted to what a field wants, since an environment variable can only be text. An unknown key or a wrong
    type raises SettingsError, which lists the settings there are.
    """
    known = [field.name for field in dataclasses.fields(cls)]
    config = dict(config or {})
    for key in config:
        if key not in known:
            close = difflib.get_close_matches(str(key), known, n=1)
            hint = f" (did you mean {close[0]!r}?)" if close else ""
            raise SettingsError(f"unknown setting {key!r}{hint}: known are {', '.join(known)}")
    try:
        return cls(**config)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, e['loc']))}={e['input']!r}: {e['msg']}" for e in error.errors())
        raise SettingsError(f"{faults}. Settings: {', '.join(known)}") from error


def _split_commas(value: Any) -> Any:
    """'a, b(x=1,y=2)' → ['a', 'b(x=1,y=2)']: commas inside parentheses belong to the item."""
    if not isinstance(value, str):
        return value
    return [item.strip() for item in re.split(r",(?![^(]*\))", value) if item.strip()]


StrList = Annotated[list[str], BeforeValidator(_split_commas)]
"""A setting that is a list of names, or one text with commas between them."""


def none_of_text(value: Any) -> Any:
    """An environment variable that is not set is empty text."""
    return None if isinstance(value, str) and not value.strip() else value


MaybePath = Annotated[Path | None, BeforeValidator(none_of_text)]
"""A setting that is a path, or nothing."""
