"""Several environments in one run: which, in which proportions, and in which order their tasks come.

    data.custom_cls.config.env=[openspiel,lgc-v2:3]        # one openspiel task to three of lgc-v2
    data.custom_cls.config.adapter_config.lgc-v2.difficulty=easy

>>> read_parts(["openspiel", "lgc-v2:3"], {"lgc-v2": {"difficulty": "easy"}})
[Part(env='openspiel', weight=1.0, settings={}), Part(env='lgc-v2', weight=3.0, settings={'difficulty': 'easy'})]
>>> blend([2, 3], [1, 3])            # rows of an epoch: (which environment, which of its tasks, from 0)
[(1, 0), (0, 0), (1, 1), (1, 2), (1, 3), (0, 1), (1, 4), (1, 5)]

An epoch is the shortest one in which every task of every environment comes: the environment with the most tasks for
its weight is passed through once, the others are passed through again and again, and begin anew with the next epoch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from env_adapter import SettingsError, canonical_env_name

MAX_ROWS = 2_000_000
"""Of an epoch: its order is held in memory."""


@dataclass(frozen=True)
class Part:
    """One environment of a run."""

    env: str
    weight: float
    """Its share of the training rows, relative to the others."""
    settings: dict[str, Any]
    """The adapter's."""


def read_parts(env: str | Sequence[str], adapter_config: Mapping[str, Any]) -> list[Part]:
    """The environments of `data.custom_cls.config`: one with its settings, or a list with settings by environment.

    Settings of an environment that is not in the list are not used: a recipe can hold those of all. Raises
    SettingsError for an unknown environment, one that is named twice, and a weight that is not above 0.
    """
    if isinstance(env, str):
        return [Part(canonical_env_name(env), 1.0, dict(adapter_config))]
    by_env: dict[str, dict[str, Any]] = {}
    for name, settings in adapter_config.items():
        if not isinstance(settings, Mapping):
            raise SettingsError(
                f"adapter_config.{name}={settings!r}: of several environments, settings go by environment, as in "
                f"adapter_config.{_name_and_weight(env[0])[0] if env else 'openspiel'}.{name}"
            )
        by_env.setdefault(canonical_env_name(name), {}).update(settings)
    parts = [Part(name, weight, by_env.get(name, {})) for name, weight in map(_name_and_weight, env)]
    names = [part.env for part in parts]
    for name in names:
        if names.count(name) > 1:
            raise SettingsError(f"env={list(env)} names {name} twice: give it one weight")
    if not parts:
        raise SettingsError("env=[] names no environment")
    return parts


def _name_and_weight(item: Any) -> tuple[str, float]:
    name, colon, text = str(item).partition(":")
    try:
        weight = float(text) if colon else 1.0
    except ValueError:
        weight = math.nan
    if not 0 < weight <= 1e6:  # also false for NaN
        raise SettingsError(f"env {item}: the weight {text!r} is not a number above 0, at most a million")
    return canonical_env_name(name), weight


def blend(sizes: Sequence[int], weights: Sequence[float]) -> list[tuple[int, int]]:
    """The rows of an epoch, from the number of tasks of each environment: (environment, number of its row).

    The rows of an environment are counted from 0 and lie evenly over the epoch, so that the shares hold in every
    stretch of it. Row k of an environment with n tasks is in its pass k // n, at place k % n. Raises SettingsError for
    an epoch of more than MAX_ROWS.
    """
    passes = max(size / weight for size, weight in zip(sizes, weights, strict=True))
    counts = [max(size, round(passes * weight)) for size, weight in zip(sizes, weights, strict=True)]
    if sum(counts) > MAX_ROWS:
        raise SettingsError(
            f"weights {', '.join(f'{weight:g}' for weight in weights)} of environments with "
            f"{', '.join(map(str, sizes))} tasks make an epoch of {sum(counts)} rows, more than {MAX_ROWS}: "
            "ask for fewer tasks of those with a small weight"
        )
    places = [((row + 0.5) / count, part, row) for part, count in enumerate(counts) for row in range(count)]
    return [(part, row) for _, part, row in sorted(places)]


def pass_order(task_ids: Sequence[int], number: int) -> list[int]:
    """The tasks in the order of an environment's pass: as they are in the first, in others by a hash of both."""
    if number == 0:
        return list(task_ids)
    return sorted(task_ids, key=lambda task_id: sha256(f"pass {number}:{task_id}".encode()).digest())
