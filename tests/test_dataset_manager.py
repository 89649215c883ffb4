"""dataset-manager.py as verl uses it: loaded by path, with verl's config, sampler, dataloader and collate function."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging

import pytest
import ray.cloudpickle
import torch
from omegaconf import DictConfig
from torchdata.stateful_dataloader import StatefulDataLoader
from verl.trainer.ppo.utils import create_rl_dataset, create_rl_sampler
from verl.utils import tensordict_utils
from verl.utils.dataset.rl_dataset import collate_fn
from verl.utils.tokenizer.continuous_token_wiring import create_continuous_token_builder

import toy_env
from env_adapter import Challenge, SettingsError
from verl_stage import byte_tokenizer, compose_config

ADAPTER = "+data.custom_cls.config.adapter_config"


@pytest.fixture(autouse=True)
def toy(monkeypatch: pytest.MonkeyPatch) -> type[toy_env.ToyAdapter]:
    return toy_env.register(monkeypatch)


@pytest.fixture(scope="module")
def tokenizer():
    return byte_tokenizer()


def train_set(config: DictConfig, tokenizer, max_samples: int = -1):
    return create_rl_dataset(config.data.train_files, config.data, tokenizer, None, max_samples=max_samples)


def validation_set(config: DictConfig, tokenizer):
    return create_rl_dataset(config.data.val_files, config.data, tokenizer, None, is_train=False)


def train_loader(config: DictConfig, tokenizer, num_workers: int = 0) -> StatefulDataLoader:
    """As verl makes it (PPOTrainer._init_dataloader)."""
    dataset = train_set(config, tokenizer)
    return StatefulDataLoader(
        dataset=dataset,
        batch_size=config.data.train_batch_size,
        num_workers=num_workers,
        drop_last=True,
        collate_fn=collate_fn,
        sampler=create_rl_sampler(config.data, dataset),
    )


def task_ids(batch: dict) -> list[int]:
    return [info["task_id"] for info in batch["extra_info"]]


def test_a_users_settings_reach_the_adapter(tokenizer):
    dataset = train_set(compose_config(f"{ADAPTER}.num_tasks=50"), tokenizer)
    assert dataset.tasks[0].adapter.settings.num_tasks == 50
    assert len(dataset) == 40
    assert json.loads(dataset[0]["extra_info"]["adapter_config"]) == {"num_tasks": 50}


def test_the_settings_of_the_split_reach_it(tokenizer):
    split = "+data.custom_cls.config"
    config = compose_config(f"{split}.validation_fraction=0.3", f"{split}.test_fraction=0", f"{split}.split_seed=1")
    assert (len(train_set(config, tokenizer)), len(validation_set(config, tokenizer))) == (140, 60)
    assert train_set(config, tokenizer).task_ids != train_set(compose_config(), tokenizer).task_ids[:140]


def test_the_three_splits_share_no_task(tokenizer):
    config = compose_config()
    test_config = compose_config("data.val_files=[test]")
    parts = [train_set(config, tokenizer), validation_set(config, tokenizer), validation_set(test_config, tokenizer)]
    assert [part.split for part in parts] == ["train", "validation", "test"]
    assert sorted(i for part in parts for i in part.task_ids) == list(range(200))


def test_train_and_validation_set_share_one_adapter(tokenizer, toy):
    config = compose_config()
    assert train_set(config, tokenizer).tasks[0].adapter is validation_set(config, tokenizer).tasks[0].adapter
    assert len(toy.built) == 1


def test_the_old_name_of_the_class_works(tokenizer):
    assert len(train_set(compose_config("data.custom_cls.name=LGCV2DynamicDataset"), tokenizer)) == 160


def test_max_samples_cuts_the_split(tokenizer):
    config = compose_config()
    assert train_set(config, tokenizer, max_samples=20).task_ids == train_set(config, tokenizer).task_ids[:20]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (f"{ADAPTER}.num_task=9", "unknown setting 'num_task' (did you mean 'num_tasks'?)"),
        ("+data.custom_cls.config.num_tasks=9", "data.custom_cls.config: unknown setting 'num_tasks'"),
        ("+data.custom_cls.config.split_seed=x", "data.custom_cls.config: split_seed='x'"),
        ("data.custom_cls.config.env=null", "set +data.custom_cls.config.env"),
        ("data.custom_cls.config.env=chess2", "unknown env 'chess2'"),
        ("data.custom_cls.config.env=[toy,toy]", "names toy twice"),
        ("data.train_files=[/data/train.parquet]", "data.train_files=['/data/train.parquet']"),
        ("data.train_files=[train,validation]", "data.train_files=['train', 'validation']"),
        ("data.val_files=[train]", "must name a split: data.val_files=[validation] or [test]"),
        ("data.train_batch_size=161", "160 tasks, fewer than data.train_batch_size=161"),
        ("data.truncation=left", "a task that is cut cannot be solved"),
    ],
)
def test_a_wrong_setting_is_an_error_that_names_it(tokenizer, override, message):
    with pytest.raises(SettingsError) as error:
        train_set(compose_config(override), tokenizer)
    assert message in str(error.value)


def test_a_row_survives_its_way_to_the_reward_worker(tokenizer):
    dataset = train_set(compose_config(), tokenizer)
    rows = [dataset[i] for i in range(5)]
    batch = tensordict_utils.get_tensordict(collate_fn(rows))
    [first, *_] = batch.chunk(2)
    first = ray.cloudpickle.loads(ray.cloudpickle.dumps(first))
    for i in range(len(first)):
        arrived = {key: getattr(column[i], "data", column[i]) for key, column in first.items()}
        assert arrived.keys() == rows[i].keys()
        for key in rows[i].keys() - {"dummy_tensor"}:
            assert arrived[key] == rows[i][key], key
        info = arrived["extra_info"]
        assert Challenge.from_json(info["challenge"]) == dataset.tasks[0].adapter.generate(info["task_id"])
        assert (info["env"], info["split"], info["index"]) == ("toy", "train", i)


def test_a_prompts_length_is_the_one_that_the_rollout_sees(tokenizer):
    config = compose_config("+data.apply_chat_template_kwargs.enable_thinking=True")
    dataset = train_set(config, tokenizer)
    messages = dataset[0]["raw_prompt"]
    builder = create_continuous_token_builder(tokenizer, chat_template_kwargs=config.data.apply_chat_template_kwargs)
    assert dataset.tasks[0].limit.lengths([messages]) == [len(builder.build_initial_tokens(messages))]
    without = train_set(compose_config(), tokenizer).tasks[0].limit.lengths([messages])
    assert dataset.tasks[0].limit.lengths([messages])[0] == without[0] + len("system\nThink.\n") + 2


def test_overlong_prompts_are_dropped_and_counted(tokenizer, caplog):
    config = compose_config(
        f"{ADAPTER}.long_every=5", "data.max_prompt_length=300", "data.filter_overlong_prompts=True"
    )
    with caplog.at_level(logging.WARNING):
        dataset = train_set(config, tokenizer)
    assert dataset.num_dropped > 0
    assert len(dataset) + dataset.num_dropped == 160
    assert all((task_id + 1) % 5 for task_id in dataset.task_ids)
    assert f"dropped {dataset.num_dropped} of 160" in caplog.text


def test_it_is_an_error_when_every_prompt_is_overlong(tokenizer):
    with pytest.raises(SettingsError, match="every prompt of the train split"):
        train_set(compose_config("data.max_prompt_length=9", "data.filter_overlong_prompts=True"), tokenizer)


def test_an_overlong_prompt_fails_before_training_where_they_are_many(tokenizer):
    with pytest.raises(SettingsError, match=r"toy task \d+ \(train\) has 4\d\d tokens, .*max_prompt_length=300"):
        train_set(compose_config(f"{ADAPTER}.long_every=2", "data.max_prompt_length=300"), tokenizer)


def test_a_rare_overlong_prompt_fails_when_its_row_is_asked_for(tokenizer):
    task_id = next(i for i in train_set(compose_config(), tokenizer).task_ids[16:] if i >= 100)
    config = compose_config(f"{ADAPTER}.long_every={task_id + 1}", "data.max_prompt_length=300")
    dataset = train_set(config, tokenizer)
    with pytest.raises(SettingsError, match=f"toy task {task_id} "):
        dataset[dataset.task_ids.index(task_id)]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_every_task_comes_once_in_an_epoch_and_in_another_order_in_the_next(tokenizer, num_workers):
    loader = train_loader(compose_config(), tokenizer, num_workers)
    epochs = [[i for batch in loader for i in task_ids(batch)] for _ in range(2)]
    for epoch in epochs:
        assert sorted(epoch) == sorted(loader.dataset.task_ids)
    assert epochs[0] != epochs[1]


def test_the_order_is_that_of_the_seed(tokenizer):
    def order(seed: int) -> list[int]:
        return list(create_rl_sampler(compose_config(f"data.seed={seed}").data, train_set(compose_config(), tokenizer)))

    assert order(7) == order(7) != order(8)


def endless(loader: StatefulDataLoader):
    """As verl draws batches (PPOTrainer._fetch_one_gen_batch): a new epoch when the last one has ended."""
    while True:
        yield from loader


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("stop_after", [3, 10], ids=["in the epoch", "at its end"])
def test_a_resumed_run_goes_on_where_it_was(tokenizer, stop_after, num_workers):
    config = compose_config()  # 10 batches in an epoch
    loader = train_loader(config, tokenizer, num_workers)
    batches = endless(loader)
    list(itertools.islice(batches, stop_after))
    state = loader.state_dict()
    uninterrupted = [task_ids(batch) for batch in itertools.islice(batches, 12)]

    resumed = train_loader(config, tokenizer, num_workers)
    resumed.load_state_dict(state)
    assert [task_ids(batch) for batch in itertools.islice(endless(resumed), 12)] == uninterrupted


# A worker that fails so takes torch's dataloader up to 20 s to join.
@pytest.mark.parametrize("num_workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_a_run_cannot_be_resumed_with_other_tasks(tokenizer, num_workers):
    loader = train_loader(compose_config(), tokenizer, num_workers)
    next(iter(loader))
    other = train_loader(compose_config(f"{ADAPTER}.num_tasks=300"), tokenizer, num_workers)
    other.load_state_dict(loader.state_dict())
    with pytest.raises(SettingsError, match="made with other tasks"):
        next(iter(other))


def test_a_model_with_a_processor_finds_no_pictures_in_our_prompts(tokenizer):
    dataset = train_set(compose_config(), tokenizer)
    found = asyncio.run(dataset.process_multi_modal_info(dataset[0]["raw_prompt"], image_patch_size=14, config=None))
    assert found == (None, None, None)
    assert torch.equal(dataset[0]["dummy_tensor"], torch.tensor([0], dtype=torch.uint8))


def test_openspiel_is_served_as_it_is_to_a_user(tokenizer):
    games = [f"{ADAPTER}.game_types=tic_tac_toe", f"{ADAPTER}.num_tasks_per_case=40"]
    config = compose_config("data.custom_cls.config.env=Open_Spiel", *games)
    dataset = train_set(config, tokenizer)
    rows = [dataset[i] for i in range(len(dataset))]
    assert len({row["raw_prompt"][-1]["content"] for row in rows}) == len(rows) == 32
    assert {row["data_source"] for row in rows} == {row["extra_info"]["env"] for row in rows} == {"openspiel"}
