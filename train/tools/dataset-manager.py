"""The tasks of an environment as verl's dataset: verl's `data.custom_cls`.

    data.custom_cls.path=train/tools/dataset-manager.py  data.custom_cls.name=DynamicEnvDataset
    data.train_files=[train]  data.val_files=[validation]
    +data.custom_cls.config.env=openspiel  +data.custom_cls.config.adapter_config.num_tasks_per_case=200

There is no file: a row is generated when it is asked for, and `data_files` names the split. For the first of these
settings a row looks like this:

    {"raw_prompt": [{"role": "user", "content": "tic_tac_toe, you are x ..."}], "data_source": "openspiel",
     "extra_info": {"env": "openspiel", "task_id": 7, "challenge": "{...}", "adapter_config": "{...}", ...}, ...}

`extra_info` is all that `reward-manager.py` needs to score an answer in any process.
"""

# No `from __future__ import annotations`: verl does not enter this module into sys.modules, where dataclasses would
# look up annotations that are text.
import json
import logging
from hashlib import sha256
from typing import Any

import torch
from omegaconf import DictConfig, ListConfig, OmegaConf
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch.utils.data import Dataset

from env_adapter import SettingsError, canonical_env_name, parse_settings, shared_env_adapter
from task_split import SPLITS, split_task_ids

logger = logging.getLogger("dataset-manager")

SPLITS_OF_KEY = {"train_files": ("train",), "val_files": ("validation", "test")}
PROBED_PROMPTS = 16
"""Prompts measured when the dataset is built: a limit that most tasks exceed fails before a model is loaded."""


@dataclass
class DatasetSettings:
    """`data.custom_cls.config`. A setting that is None has the default of `split_task_ids`."""

    env: str
    adapter_config: dict[str, Any] = Field(default_factory=dict)
    validation_fraction: float | None = None
    test_fraction: float | None = None
    split_seed: int | None = None

    def split_arguments(self) -> dict[str, Any]:
        arguments = {
            "validation_fraction": self.validation_fraction,
            "test_fraction": self.test_fraction,
            "seed": self.split_seed,
        }
        return {name: value for name, value in arguments.items() if value is not None}


class DynamicEnvDataset(Dataset):
    """One split of an environment: a finite list of tasks, generated one by one.

    A prompt may have at most `data.max_prompt_length` tokens, counted as the rollout counts them. What happens to a
    longer one is said by verl's own keys:

    * `filter_overlong_prompts=True`: it is left out. All prompts are generated and tokenised when the dataset is built,
      since the number of steps in an epoch depends on it; how many were dropped is logged (`num_dropped`).
    * otherwise it is an error that names the task, found in the first few prompts when the dataset is built or else
      when its row is asked for. verl 0.9.1 itself ignores `data.truncation`: its agent loop cuts every long prompt on
      the left, with no more than a warning. A task without its beginning cannot be solved, and its reward would be
      noise, so nothing but `truncation=error` is accepted here.

    Raises SettingsError for everything that the user can mend, before any model is loaded.
    """

    def __init__(
        self, data_files: Any, tokenizer: Any, config: DictConfig, processor: Any = None, max_samples: int = -1
    ) -> None:
        self.split = _split_name(data_files, config)
        settings = _read_settings(config)
        self.env = canonical_env_name(settings.env)
        self.adapter_config = json.dumps(settings.adapter_config, sort_keys=True)
        self.adapter = shared_env_adapter(self.env, self.adapter_config)
        self.adapter.validate()
        self.tokenizer = tokenizer
        # verl gives a custom chat template to the processor where there is one.
        self.templater = processor or tokenizer
        self.template_kwargs = _template_kwargs(config)
        self.max_prompt_length = config.max_prompt_length
        self.num_dropped = 0

        self.task_ids = split_task_ids(self.adapter.num_tasks(), self.split, **settings.split_arguments())
        if max_samples is not None and max_samples > 0:
            self.task_ids = self.task_ids[:max_samples]
        self.lengths_are_known = bool(config.get("filter_overlong_prompts", False))
        if self.lengths_are_known:
            self._drop_overlong()
        else:
            _check_truncation(config)
            self._check_lengths(self.task_ids[:PROBED_PROMPTS])
        if self.split == "train":
            _check_batch_size(len(self.task_ids), config)
        # Once, since the dataloader asks for the state after every batch.
        self._task_ids_digest = sha256(json.dumps(self.task_ids).encode()).hexdigest()[:16]

    def __len__(self) -> int:
        return len(self.task_ids)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """A row for verl. Raises SettingsError when its prompt is too long, IndexError outside the split."""
        task_id = self.task_ids[index]
        challenge = self.adapter.generate(task_id)
        if not self.lengths_are_known:
            self._check_length(task_id, self._prompt_lengths([challenge.messages])[0])
        return {
            "raw_prompt": challenge.messages,
            "data_source": self.env,
            "ability": self.env,
            # verl wants a ground truth and writes it to its logs; the answer is checked, not compared.
            "reward_model": {"style": "rule", "ground_truth": f"{self.env}/{task_id}"},
            "extra_info": {
                "index": index,
                "env": self.env,
                "task_id": task_id,
                "split": self.split,
                "challenge": challenge.to_json(),
                "adapter_config": self.adapter_config,
            },
            "index": index,
            "tools_kwargs": {},
            "interaction_kwargs": {},
            # verl: a batch must not be without a tensor.
            "dummy_tensor": torch.tensor([0], dtype=torch.uint8),
        }

    def state_dict(self) -> dict[str, Any]:
        """What the dataloader's checkpoint keeps of the dataset: enough to know whether a resumed run has the same."""
        return {"env": self.env, "adapter_config": self.adapter_config, "task_ids": self._task_ids_digest}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Raises SettingsError when the checkpoint was made with other tasks: its place in the epoch means nothing."""
        changed = [
            f"{key}: {state[key]!r} → {value!r}" for key, value in self.state_dict().items() if state[key] != value
        ]
        if changed:
            raise SettingsError(
                f"the checkpoint was made with other tasks ({'; '.join(changed)}): "
                "resume with the settings it was made with, or start a run with another name"
            )

    @classmethod
    async def process_multi_modal_info(
        cls, messages: Any, image_patch_size: int, config: Any
    ) -> tuple[None, None, None]:
        """Asked by verl's agent loop of a model with a processor: images, videos, audios. Our prompts are text."""
        return None, None, None

    def _prompt_lengths(self, prompts: list[list[dict[str, str]]]) -> list[int]:
        """The lengths in tokens, with the chat template and the opening of the answer."""
        texts = [
            self.templater.apply_chat_template(
                messages, add_generation_prompt=True, tokenize=False, **self.template_kwargs
            )
            for messages in prompts
        ]
        return [len(ids) for ids in self.tokenizer(texts, add_special_tokens=False)["input_ids"]]

    def _check_length(self, task_id: int, length: int) -> None:
        if length > self.max_prompt_length:
            raise SettingsError(
                f"the prompt of {self.env} task {task_id} ({self.split}) has {length} tokens, more than "
                f"data.max_prompt_length={self.max_prompt_length}: raise it, or leave such tasks out with "
                "data.filter_overlong_prompts=True"
            )

    def _check_lengths(self, task_ids: list[int]) -> None:
        lengths = self._prompt_lengths([self.adapter.generate(task_id).messages for task_id in task_ids])
        for task_id, length in zip(task_ids, lengths, strict=True):
            self._check_length(task_id, length)

    def _drop_overlong(self) -> None:
        kept = []
        for start in range(0, len(self.task_ids), 256):
            task_ids = self.task_ids[start : start + 256]
            lengths = self._prompt_lengths([self.adapter.generate(task_id).messages for task_id in task_ids])
            kept += [i for i, length in zip(task_ids, lengths, strict=True) if length <= self.max_prompt_length]
        self.num_dropped = len(self.task_ids) - len(kept)
        if not kept:
            raise SettingsError(
                f"every prompt of the {self.split} split of {self.env} ({self.num_dropped} tasks) has more than "
                f"data.max_prompt_length={self.max_prompt_length} tokens: raise it"
            )
        if self.num_dropped:
            logger.warning(
                "%s, %s: dropped %d of %d tasks whose prompt is longer than data.max_prompt_length=%d tokens",
                *(self.env, self.split, self.num_dropped, len(self.task_ids), self.max_prompt_length),
            )
        self.task_ids = kept


LGCV2DynamicDataset = DynamicEnvDataset


def _split_name(data_files: Any, config: DictConfig) -> str:
    """The split that `data_files` names. verl tells a train dataset from a validation dataset by nothing else."""
    for key, splits in SPLITS_OF_KEY.items():
        names = _as_list(config.get(key))
        if names and (len(names) > 1 or names[0] not in splits):
            wanted = " or ".join(f"[{split}]" for split in splits)
            raise SettingsError(
                f"data.{key}={names}: tasks are generated, so it must name a split: data.{key}={wanted}"
            )
    names = _as_list(data_files)
    if len(names) != 1 or names[0] not in SPLITS:
        raise SettingsError(f"data_files={names} must name one split: {', '.join(f'[{split}]' for split in SPLITS)}")
    return names[0]


def _as_list(names: Any) -> list[str]:
    if names is None:
        return []
    return list(names) if isinstance(names, list | tuple | ListConfig) else [names]


def _read_settings(config: DictConfig) -> DatasetSettings:
    raw = OmegaConf.to_container(config.custom_cls.get("config") or OmegaConf.create({}), resolve=True)
    env = raw.get("env")
    if not env:
        raise SettingsError("no environment is chosen: set +data.custom_cls.config.env=openspiel (or another env)")
    if not isinstance(env, str):
        raise SettingsError(f"data.custom_cls.config.env={env!r}: one environment, not a mixture of several")
    try:
        return parse_settings(DatasetSettings, raw)
    except SettingsError as error:
        raise SettingsError(f"data.custom_cls.config: {error}") from error


def _template_kwargs(config: DictConfig) -> dict[str, Any]:
    """The user's arguments of the chat template, less those that would change what it returns (as verl does)."""
    kwargs = dict(config.get("apply_chat_template_kwargs") or {})
    return {key: value for key, value in kwargs.items() if key not in ("tokenize", "return_dict", "return_tensors")}


def _check_truncation(config: DictConfig) -> None:
    truncation = config.get("truncation", "error")
    if truncation != "error":
        raise SettingsError(
            f"data.truncation={truncation}: a task that is cut cannot be solved. Use data.truncation=error, or leave "
            "long tasks out with data.filter_overlong_prompts=True"
        )


def _check_batch_size(num_tasks: int, config: DictConfig) -> None:
    """verl drops the last, partial batch of an epoch: a split smaller than a batch would give it no step at all."""
    batch_size = max(config.train_batch_size, config.get("gen_batch_size") or 0)
    if num_tasks < batch_size:
        raise SettingsError(
            f"the train split has {num_tasks} tasks, fewer than data.train_batch_size={batch_size} "
            "(or gen_batch_size): use more tasks or a smaller batch"
        )
