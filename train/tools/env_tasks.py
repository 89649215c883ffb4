"""The tasks of one environment in one split, with those left out whose prompt is too long.

tasks = EnvTasks(part, "train", {"validation_fraction": 0.1}, limit)
tasks.task_ids            # [17, 4, …]
tasks.row_of(17)          # what verl is given of the task, but for its place in the dataset
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from typing import Any

from env_adapter import SettingsError, shared_env_adapter
from mixture import Part
from task_split import split_task_ids

logger = logging.getLogger("dataset-manager")

PROBED_PROMPTS = 16
"""Prompts measured when the dataset is built: a limit that most tasks exceed fails before a model is loaded."""


@dataclass(frozen=True)
class PromptLimit:
    """`data.max_prompt_length`, and how tokens are counted: as the rollout counts them."""

    tokenizer: Any
    templater: Any
    """Has the chat template: the processor, where there is one."""
    template_kwargs: dict[str, Any]
    max_tokens: int
    drop_longer: bool
    """`data.filter_overlong_prompts`."""

    def lengths(self, prompts: list[list[dict[str, str]]]) -> list[int]:
        """The lengths in tokens, with the chat template and the opening of the answer."""
        texts = [
            self.templater.apply_chat_template(
                messages, add_generation_prompt=True, tokenize=False, **self.template_kwargs
            )
            for messages in prompts
        ]
        return [len(ids) for ids in self.tokenizer(texts, add_special_tokens=False)["input_ids"]]


class EnvTasks:
    """Raises SettingsError for everything that the user can mend."""

    def __init__(self, part: Part, split: str, split_arguments: dict[str, Any], limit: PromptLimit) -> None:
        self.env, self.split, self.limit = part.env, split, limit
        self.adapter_config = json.dumps(part.settings, sort_keys=True)
        self.adapter = shared_env_adapter(self.env, self.adapter_config)
        self.adapter.validate()
        self.agent_loop: str | None = getattr(self.adapter, "agent_loop", None)
        self.task_ids = split_task_ids(self.adapter.num_tasks(), split, **split_arguments)
        self.num_dropped = 0

    def check_lengths(self) -> None:
        """Drop the tasks that are too long, or look at the first few."""
        if self.limit.drop_longer:
            self._drop_overlong()
            return
        first = self.task_ids[:PROBED_PROMPTS]
        lengths = self.limit.lengths([self.adapter.generate(task_id).messages for task_id in first])
        for task_id, length in zip(first, lengths, strict=True):
            self._check_length(task_id, length)

    def row_of(self, task_id: int) -> dict[str, Any]:
        """Raises SettingsError when the prompt is too long."""
        challenge = self.adapter.generate(task_id)
        if not self.limit.drop_longer:
            self._check_length(task_id, self.limit.lengths([challenge.messages])[0])
        return {
            "raw_prompt": challenge.messages,
            "data_source": self.env,
            "ability": self.env,
            # verl wants a ground truth and writes it to its logs; the answer is checked, not compared.
            "reward_model": {"style": "rule", "ground_truth": f"{self.env}/{task_id}"},
            "extra_info": {
                "env": self.env,
                "task_id": task_id,
                "split": self.split,
                "challenge": challenge.to_json(),
                "adapter_config": self.adapter_config,
            },
        }

    def _check_length(self, task_id: int, length: int) -> None:
        if length > self.limit.max_tokens:
            raise SettingsError(
                f"the prompt of {self.env} task {task_id} ({self.split}) has {length} tokens, more than "
                f"data.max_prompt_length={self.limit.max_tokens}: raise it, or leave such tasks out with "
                "data.filter_overlong_prompts=True"
            )

    def _drop_overlong(self) -> None:
        kept = []
        for start in range(0, len(self.task_ids), 256):
            task_ids = self.task_ids[start : start + 256]
            lengths = self.limit.lengths([self.adapter.generate(task_id).messages for task_id in task_ids])
            kept += [i for i, length in zip(task_ids, lengths, strict=True) if length <= self.limit.max_tokens]
        self.num_dropped = len(self.task_ids) - len(kept)
        if not kept:
            raise SettingsError(
                f"every prompt of the {self.split} split of {self.env} ({self.num_dropped} tasks) has more than "
                f"data.max_prompt_length={self.limit.max_tokens} tokens: raise it"
            )
        if self.num_dropped:
            logger.warning(
                "%s, %s: dropped %d of %d tasks whose prompt is longer than data.max_prompt_length=%d tokens",
                *(self.env, self.split, self.num_dropped, len(self.task_ids), self.limit.max_tokens),
            )
        self.task_ids = kept
