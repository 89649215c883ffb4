"""How an agent works on a task: limits and prompts. Apart from the agent itself, which needs mini-swe-agent."""

from __future__ import annotations

from pydantic import PositiveInt
from pydantic.dataclasses import dataclass

DEFAULT_CONFIG = "swebench_backticks"
"""mini-swe-agent's own for SWE-bench, with models that write their commands as text."""


@dataclass(frozen=True)
class AgentSettings:
    steps: PositiveInt = 50
    """Replies of the model."""
    command_s: PositiveInt = 60
    """Seconds of one command."""
    session_s: PositiveInt = 3600
    """Seconds from the first command to the end, the model's own time included."""
    format_errors: PositiveInt = 3
    """Replies in a row without exactly one command, after which the session ends."""
    config: str = DEFAULT_CONFIG
    """The prompts: a configuration that mini-swe-agent has, or a YAML file of that kind."""
    at_once: PositiveInt = 16
    """Sandboxes that an evaluation has open at a time; in training it is the agent loop's `sessions_at_once`."""
