"""The settings of the environment `swe-synth`, each as a value or as the text of a variable.

parse_settings(SweSynthSettings, {"cache_dir": "tasks", "task_id_range": "0:100", "limits": '{"wall_s": 120}'})
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import field
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, NonNegativeInt, PositiveFloat, PositiveInt
from pydantic.dataclasses import dataclass

from env_adapter import MaybePath, none_of_text, parse_settings
from sandbox.limits import Limits
from swe.agent_settings import AgentSettings
from swe.prompts import CHARACTERS_PER_TOKEN
from swe.repos import GITHUB


def _numbers_of_text(value: Any) -> Any:
    """'3, 5 8' → ['3', '5', '8']."""
    return re.findall(r"[^\s,\[\]]+", value) if isinstance(value, str) else value


def _range_of_text(value: Any) -> Any:
    """'0:100' → ('0', '100')."""
    value = none_of_text(value)
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"\s*[\[(]?\s*(\d+)\s*[:,]\s*(\d+)\s*[\])]?\s*", value)
    return match.groups() if match else [value]


def _limits_of_text(value: Any) -> Any:
    value = json.loads(value or "{}") if isinstance(value, str) else value
    return parse_settings(Limits, value) if isinstance(value, Mapping) else value


def _agent_of_text(value: Any) -> Any:
    value = json.loads(value or "{}") if isinstance(value, str) else value
    return parse_settings(AgentSettings, value) if isinstance(value, Mapping) else value


@dataclass(frozen=True)
class SweSynthSettings:
    """Task i is the i-th of the numbers that `task_ids` or `task_id_range` give, in their order."""

    mode: Literal["patch", "agent"] = "patch"
    """patch: one answer, a diff. agent: the model works in the repository with shell commands, and submits a diff."""
    dataset_name: str = "princeton-nlp/SWE-bench_Lite"
    """A dataset of the hub, or a directory or file that `datasets` reads."""
    split: str = "test"
    task_ids: Annotated[list[NonNegativeInt], BeforeValidator(_numbers_of_text)] = field(default_factory=list)
    """Exactly these rows, by number."""
    task_id_range: Annotated[tuple[NonNegativeInt, NonNegativeInt] | None, BeforeValidator(_range_of_text)] = None
    """The rows from the first number up to, and without, the second: "0:100". Default: the first 100 there are."""
    cache_dir: MaybePath = None
    """Files task_{number}.json: tasks of its own, or a copy of the dataset's rows."""
    use_cache_only: bool = False
    """Nothing is downloaded: neither rows nor repositories."""
    repo_cache: MaybePath = None
    """Repositories; default: `repos` in cache_dir, or train/artifacts/swe_repos without one."""
    repo_url: str = GITHUB
    """Where owner/name is fetched from."""
    prompt_tokens: PositiveInt = 6000
    """The longest prompt, estimated: `data.max_prompt_length` counts, so stay below it."""
    characters_per_token: PositiveFloat = CHARACTERS_PER_TOKEN
    distractors: NonNegativeInt = 3
    """How many files are shown beside those to be changed."""
    include_hints: bool = False
    """Show `hints_text`, the comments on the issue: they can hold the answer."""
    backend: Literal["auto", "bwrap", "docker", "none"] = "auto"
    """Where tests run. none: nowhere, for making prompts only."""
    python: MaybePath = None
    """The Python whose packages the tests use, with pytest; default: the one that runs this."""
    limits: Annotated[Limits, BeforeValidator(_limits_of_text)] = field(default_factory=Limits)
    """Of one run of tests, such as {"wall_s": 120}."""
    max_sandboxes: Annotated[PositiveInt | None, BeforeValidator(none_of_text)] = None
    """How many run at a time on a machine, over all processes; default: one for each core."""
    agent: Annotated[AgentSettings, BeforeValidator(_agent_of_text)] = field(default_factory=AgentSettings)
    """mode=agent, such as {"steps": 30}: swe/agent_settings.py."""
