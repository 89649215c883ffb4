"""The tasks of an environment as verl's dataset: verl's `data.custom_cls`.

    data.custom_cls.path=train/tools/dataset-manager.py  data.custom_cls.name=DynamicEnvDataset
    data.train_files=[train]  data.val_files=[validation]
    +data.custom_cls.config.env=openspiel  +data.custom_cls.config.adapter_config.num_tasks_per_case=200

There is no file: a row is generated when it is asked for, and `data_files` names the split. For the first of these
settings a row looks like this:

    {"raw_prompt": [{"role": "user", "content": "tic_tac_toe, you are x ..."}], "data_source": "openspiel",
     "extra_info": {"env": "openspiel", "task_id": 7, "challenge": "{...}", "adapter_config": "{...}", ...}, ...}

`extra_info` is all that `reward-manager.py` needs to score an answer in any process.

Several environments in one run, with weights and with settings by environment (see mixture.py):

    +data.custom_cls.config.env=[openspiel,lgc-v2:3]  +data.custom_cls.config.adapter_config.lgc-v2.difficulty=easy
"""

# No `from __future__ import annotations`: verl does not enter this module into sys.modules, where dataclasses would
# look up annotations that are text.
import json
from hashlib import sha256
from typing import Any

import torch
from omegaconf import DictConfig, ListConfig, OmegaConf
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch.utils.data import Dataset

import run_phase
from env_adapter import SettingsError, parse_settings
from env_tasks import EnvTasks, PromptLimit
from mixture import blend, pass_order, read_parts
from task_split import SPLITS

SPLITS_OF_KEY = {"train_files": ("train",), "val_files": ("validation", "test")}
ONE_ANSWER = "single_turn_agent"
"""verl's agent loop of the rows that name none."""


@dataclass
class DatasetSettings:
    """`data.custom_cls.config`. A setting that is None has the default of `split_task_ids`."""

    env: str | list[str]
    """One environment, or a list of NAME or NAME:WEIGHT; then `adapter_config` goes by environment."""
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
    """One split of an environment, or of several: a finite list of tasks, generated one by one.

    Of several, the train split is a blend by their weights: in its order (`data.shuffle=False`) the shares hold in
    every batch, and an environment that comes more often than it has tasks begins its next pass when the last one is
    complete. verl's shuffle keeps the shares of the epoch. Validation and test have every task once.

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
        run_phase.tell_phases(run_phase.GRPO)  # verl makes the datasets in the process that drives the training
        self.split = _split_name(data_files, config)
        settings = _read_settings(config)
        self.is_mixture = not isinstance(settings.env, str)
        try:
            self.parts = read_parts(settings.env, settings.adapter_config)
        except SettingsError as error:
            raise SettingsError(f"data.custom_cls.config: {error}") from error
        drop_longer = bool(config.get("filter_overlong_prompts", False))
        if not drop_longer:
            _check_truncation(config)
        # verl gives a custom chat template to the processor where there is one.
        limit = PromptLimit(
            tokenizer, processor or tokenizer, _template_kwargs(config), config.max_prompt_length, drop_longer
        )
        self.tasks = [EnvTasks(part, self.split, settings.split_arguments(), limit) for part in self.parts]
        max_samples = max_samples or -1
        if not self.is_mixture and max_samples > 0:
            self.tasks[0].task_ids = self.tasks[0].task_ids[:max_samples]
        for tasks in self.tasks:
            tasks.check_lengths()
        self.rows = self._lay_out()
        if self.is_mixture and max_samples > 0:
            self.rows = self.rows[:max_samples]
        self.num_dropped = sum(tasks.num_dropped for tasks in self.tasks)
        # One loop is verl's `default_agent_loop`; where they differ, each row says which.
        self.names_loops = self.is_mixture and any(tasks.agent_loop for tasks in self.tasks)
        if self.split == "train":
            _check_batch_size(len(self.rows), config)
        # Once, since the dataloader asks for the state after every batch.
        ids = [[part, i] for part, i in self.rows] if self.is_mixture else self.task_ids
        self._task_ids_digest = sha256(json.dumps(ids).encode()).hexdigest()[:16]

    @property
    def task_ids(self) -> list[int]:
        """The task of every row, in its environment."""
        return [task_id for _, task_id in self.rows]

    def _lay_out(self) -> list[tuple[int, int]]:
        """(environment, task id) of every row."""
        sizes = [len(tasks.task_ids) for tasks in self.tasks]
        # By their sizes: each task once, and the first rows (max_samples) are some of each.
        weights = [part.weight for part in self.parts] if self.split == "train" else sizes
        passes: dict[tuple[int, int], list[int]] = {}
        rows = []
        for part, row in blend(sizes, weights):
            number, place = divmod(row, sizes[part])
            if (part, number) not in passes:
                passes[part, number] = pass_order(self.tasks[part].task_ids, number)
            rows.append((part, passes[part, number][place]))
        return rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """A row for verl. Raises SettingsError when its prompt is too long, IndexError outside the split."""
        part, task_id = self.rows[index]
        row = self.tasks[part].row_of(task_id)
        row["extra_info"] = {"index": index, **row["extra_info"]}
        if self.names_loops:
            row["agent_name"] = self.tasks[part].agent_loop or ONE_ANSWER
        return {
            **row,
            "index": index,
            "tools_kwargs": {},
            "interaction_kwargs": {},
            # verl: a batch must not be without a tensor.
            "dummy_tensor": torch.tensor([0], dtype=torch.uint8),
        }

    def state_dict(self) -> dict[str, Any]:
        """What the dataloader's checkpoint keeps of the dataset: enough to know whether a resumed run has the same."""
        if not self.is_mixture:
            tasks = self.tasks[0]
            return {"env": tasks.env, "adapter_config": tasks.adapter_config, "task_ids": self._task_ids_digest}
        return {
            "env": ",".join(f"{part.env}:{part.weight:g}" for part in self.parts),
            "adapter_config": json.dumps({part.env: part.settings for part in self.parts}, sort_keys=True),
            "task_ids": self._task_ids_digest,
        }

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
