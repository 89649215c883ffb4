"""The resolved config of a run, the recipe's with no overrides, and where two configs differ.

    train/artifacts/RL/checkpoints/my-run/config.yaml     what the run wrote, where it did
    starts.jsonl: cd /repo && env PROFILE=cpu … python -m verl.trainer.main_ppo … --config-name openspiel data.seed=1

Without config.yaml it is Hydra's copy in train/outputs, else composed again from the recorded command, with the recipes
of today.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from run_record import Run

CONFIG = Path(__file__).resolve().parents[2] / "config"
SCRIPT_MODULES = Path(__file__).resolve().parents[2] / "scripts" / "lib"
SECRET_KEY = re.compile(
    r"(api_?key|access_?key|(access|auth|hf)_token|password|passwd|secret|credentials)", re.IGNORECASE
)
IN_URL = re.compile(r"(://)[^/@\s]+@")
MACHINE = ("PROFILE",)
"""Variables that say on what machine the run was: the recipe is compared for the same one."""
Flat = dict[str, Any]


@dataclass(frozen=True)
class Command:
    """What a recorded command says."""

    environment: dict[str, str]
    recipe: str
    overrides: list[str]


def read_command(text: str) -> Command | None:
    """None where the text is no command that starts a trainer with a recipe."""
    try:
        words = shlex.split(text.replace("\\\n", " "))
    except ValueError:
        return None
    if "--config-name" not in words[:-1]:
        return None
    place = words.index("--config-name")
    environment = {"VERITAS_ROOT": words[1]} if words[0] == "cd" else {}
    for word in words[:place]:
        name, equals, value = word.partition("=")
        if equals and re.fullmatch(r"[A-Za-z_]\w*", name):
            environment[name] = value
    return Command(environment, words[place + 1], words[place + 2 :])


def run_config(run: Run) -> tuple[Flat, str]:
    """(the resolved config, where it is from). An empty config where it is not known, and then why."""
    written = run.directory / "config.yaml"
    if written.is_file():
        try:
            config = yaml.load(
                written.read_text(encoding="utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)
            )
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            return {}, f"{written.name} cannot be read: {str(error).splitlines()[0]}"
        return (flat(config), written.name) if isinstance(config, dict) else ({}, f"{written.name} is no config")
    command = read_command(run.command)
    if command is None:
        return {}, "neither config.yaml nor a command was recorded"
    if copy := _hydras_copy(command):
        return copy, "Hydra's copy of the latest start"
    config, why = _composed(command.recipe, tuple(command.overrides), _items(command.environment))
    return config, why or "composed again from the recorded command, with the recipes of today"


def recipe_config(run: Run) -> tuple[Flat, str]:
    """(the recipe with no overrides, its name). What it cannot do without is the run's: model, directory, profile."""
    command = read_command(run.command)
    if command is None:
        return {}, "no command was recorded"
    needed = set(re.findall(r"\$\{oc\.env:([A-Z_]+)\}", "".join(path.read_text() for path in CONFIG.rglob("*.yaml"))))
    environment = {name: command.environment.get(name, f"<{name}>") for name in needed}
    environment |= {name: command.environment[name] for name in MACHINE if name in command.environment}
    config, why = _composed(command.recipe, (), _items(environment))
    return config, why or f"{command.recipe}.yaml"


def differences(one: Flat, other: Flat) -> list[tuple[str, str, str]]:
    """(key, value in one, in the other) of every key that differs; '–' where it is missing. Secrets are masked."""
    missing = object()
    rows = []
    for key in sorted({*one, *other}):
        left, right = one.get(key, missing), other.get(key, missing)
        if left is missing or right is missing or left != right:
            rows.append((key, *("–" if each is missing else shown(key, each) for each in (left, right))))
    return rows


def flat(config: Mapping[str, Any], prefix: str = "") -> Flat:
    """Nested mappings as dotted keys; lists and empty mappings are values."""
    result: Flat = {}
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            result |= flat(value, f"{prefix}{key}.")
        else:
            result[f"{prefix}{key}"] = value
    return result


def shown(key: str, value: Any) -> str:
    """A value as text: without a secret, and without the password of a URL."""
    if value is not None and value != "" and SECRET_KEY.search(key.rpartition(".")[2]):
        return "***"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return IN_URL.sub(r"\1***@", str(value))


def _hydras_copy(command: Command) -> Flat:
    """What Hydra wrote at the start, resolved with the variables of then; {} where it is gone or does not resolve."""
    from omegaconf import DictConfig, OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    for override in command.overrides:
        if override.startswith("hydra.run.dir="):
            path = Path(override.partition("=")[2].strip("'").replace("\\'", "'")) / ".hydra" / "config.yaml"
            if not path.is_file():
                continue
            with _only(command.environment):
                try:
                    config = OmegaConf.load(path)
                    OmegaConf.resolve(config)
                except (OmegaConfBaseException, yaml.YAMLError, ValueError):
                    return {}  # it is composed again then, which says why not
            return flat(OmegaConf.to_container(config)) if isinstance(config, DictConfig) else {}
    return {}


def _items(environment: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(environment.items()))


@lru_cache(maxsize=8)
def _composed(recipe: str, overrides: tuple[str, ...], environment: tuple[tuple[str, str], ...]) -> tuple[Flat, str]:
    """(the config, '') or ({}, why it cannot be had)."""
    sys.path.append(str(SCRIPT_MODULES))
    try:
        from check_recipe import RecipeError, compose_recipe
    except ModuleNotFoundError as error:
        return {}, f"{error.name} is not installed: the recipe was not composed"
    finally:
        sys.path.remove(str(SCRIPT_MODULES))
    from omegaconf import OmegaConf

    with _only(dict(environment)):
        try:
            config = OmegaConf.to_container(compose_recipe(CONFIG, recipe, list(overrides)))
        except RecipeError as error:
            return {}, f"{recipe}.yaml does not compose: {error}"
    return flat(config), ""


@contextmanager
def _only(environment: Mapping[str, str]) -> Iterator[None]:
    """The environment of the recorded command, and nothing of ours that a recipe would read."""
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update({name: before[name] for name in ("PATH", "HOME") if name in before})
    os.environ.update(environment)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
