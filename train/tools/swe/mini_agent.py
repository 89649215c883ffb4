"""mini-swe-agent's agent, run in a thread of its own: https://github.com/SWE-agent/mini-swe-agent

Its system prompt, its way to write a command, its observations and its errors are those of a mini-swe-agent
configuration, by default the one that its SWE-bench runs use with models that write commands as text:

    I look at the code first.
    ```mswea_bash_command
    grep -n "def clamp" -A 5 calc/core.py
    ```

The agent submits with a command whose first line of output is COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT; what follows in
that output is its patch.
"""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

# Set before the first import: no banner, and neither a directory in the user's home nor the keys that its .env holds.
os.environ.setdefault("MSWEA_SILENT_STARTUP", "1")
os.environ.setdefault("MSWEA_GLOBAL_CONFIG_DIR", str(Path(__file__).parent))

import minisweagent
import yaml
from minisweagent.agents.default import DefaultAgent
from minisweagent.config import get_config_from_spec
from minisweagent.exceptions import FormatError, InterruptAgentFlow
from minisweagent.models.utils.actions_text import format_observation_messages, parse_regex_actions

from answer_text import after_thinking
from env_adapter import SettingsError
from swe.agent_settings import DEFAULT_CONFIG

Message = dict[str, str]

ACTION = r"```mswea_bash_command\s*\n(.*?)\n```"
SYSTEM = {"system": "Linux", "release": "", "version": "", "machine": ""}
"""What a prompt may say of the machine: a task is the same on all of them."""

logging.getLogger("minisweagent").setLevel(logging.WARNING)


@functools.cache
def load_config(name: str = DEFAULT_CONFIG) -> dict[str, Any]:
    """A configuration: one that mini-swe-agent has, or a YAML file. Raises SettingsError."""
    try:
        config = get_config_from_spec(name)
        for section, key in (
            ("agent", "system_template"),
            ("agent", "instance_template"),
            ("model", "observation_template"),
            ("model", "format_error_template"),
        ):
            if not isinstance(config[section][key], str):
                raise TypeError(f"{section}.{key} is not text")
    except (OSError, KeyError, TypeError, ValueError, AttributeError, yaml.YAMLError) as error:
        raise SettingsError(
            f"agent_config={name} is no configuration of mini-swe-agent {minisweagent.__version__} for commands in "
            f"text (agent.system_template, …): {error}"
        ) from error
    return config


def exit_message(status: str, submission: str = "") -> dict[str, Any]:
    """The message with which mini-swe-agent ends: raise an InterruptAgentFlow with it."""
    return {"role": "exit", "content": status, "extra": {"exit_status": status, "submission": submission}}


class PolicyModel:
    """mini-swe-agent's `Model` over a function from messages to a reply, which may raise InterruptAgentFlow."""

    def __init__(self, ask: Callable[[list[Message]], str], config: Mapping[str, Any]) -> None:
        self.config = config.get("model", {})
        self.replies = self.format_errors = 0
        self._ask = ask

    def query(self, messages: list[dict[str, Any]], **kwargs: Any) -> dict[str, Any]:
        reply = self._ask([{"role": each["role"], "content": each["content"]} for each in messages])
        self.replies += 1
        try:
            actions = parse_regex_actions(
                after_thinking(reply) or "",
                action_regex=self.config.get("action_regex", ACTION),
                format_error_template=self.config["format_error_template"],
            )
        except FormatError as error:
            self.format_errors += 1
            # The agent forgets a reply that it cannot read, and would then complain of nothing that is in the chat.
            error.messages = (self._said(reply, []), *error.messages)
            raise
        return self._said(reply, actions)

    @staticmethod
    def _said(reply: str, actions: list[dict[str, str]]) -> dict[str, Any]:
        return {"role": "assistant", "content": reply, "extra": {"actions": actions, "cost": 0.0}}

    def format_message(self, **kwargs: Any) -> dict[str, Any]:
        return kwargs

    def format_observation_messages(
        self, message: dict[str, Any], outputs: list[dict[str, Any]], template_vars: dict[str, Any] | None = None
    ) -> list[dict[str, Any]]:
        template = self.config["observation_template"]
        return format_observation_messages(outputs, observation_template=template, template_vars=template_vars)

    def get_template_vars(self, **kwargs: Any) -> dict[str, Any]:
        return dict(self.config)

    def serialize(self) -> dict[str, Any]:
        return {}


class NoEnvironment:
    """mini-swe-agent's `Environment` before there is one: what a prompt may say of it."""

    config: Mapping[str, Any] = {}

    def execute(self, action: dict[str, Any], cwd: str = "") -> dict[str, Any]:
        raise NotImplementedError("no command runs here")

    def get_template_vars(self, **kwargs: Any) -> dict[str, Any]:
        return dict(SYSTEM)

    def serialize(self) -> dict[str, Any]:
        return {}


def new_agent(
    model: PolicyModel, environment: Any, config: Mapping[str, Any], steps: int, format_errors: int
) -> DefaultAgent:
    """`steps`: replies of the model; `format_errors`: unreadable ones in a row. Its limits of cost and time are off."""
    templates = {key: config["agent"][key] for key in ("system_template", "instance_template")}
    return DefaultAgent(
        model, environment, **templates, step_limit=steps, cost_limit=0.0, max_consecutive_format_errors=format_errors
    )


def opening(task: str, config_name: str = DEFAULT_CONFIG) -> list[Message]:
    """The chat with which the agent begins on a task. Raises SettingsError for a configuration that cannot be used."""

    def end(messages: list[Message]) -> str:
        raise InterruptAgentFlow(exit_message("Opening"))

    config = load_config(config_name)
    agent = new_agent(PolicyModel(end, config), NoEnvironment(), config, 1, 1)
    try:
        agent.run(task)
    except Exception as error:  # jinja2's own errors, of a template that a user wrote
        raise SettingsError(f"agent_config={config_name}: its templates cannot be filled: {error}") from error
    return chat(agent.messages)


def chat(messages: list[dict[str, Any]]) -> list[Message]:
    """The messages of an agent as a model sees them."""
    return [{"role": each["role"], "content": each["content"]} for each in messages if each["role"] != "exit"]
