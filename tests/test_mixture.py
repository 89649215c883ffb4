"""Several environments in one dataset: shares, passes, splits, resuming, and what verl's validation makes of them."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import DictConfig
from torchdata.stateful_dataloader import StatefulDataLoader
from verl.trainer.ppo.metric_utils import process_validation_metrics
from verl.trainer.ppo.reward import get_custom_reward_fn
from verl.trainer.ppo.utils import create_rl_dataset, create_rl_sampler
from verl.utils.dataset.rl_dataset import collate_fn

import toy_env
from env_adapter import SettingsError
from measured_replay_buffer import MeasuredReplayBuffer, mean_rewards
from mixture import MAX_ROWS, Part, blend, pass_order, read_parts
from verl_stage import byte_tokenizer, compose_config

ADAPTER = "+data.custom_cls.config.adapter_config"
LOGIC = (
    f"{ADAPTER}.lgc-v2.difficulty=easy",
    f"{ADAPTER}.lgc-v2.task_types=[operation,boolean_expressions]",
    f"{ADAPTER}.lgc-v2.num_tasks_per_type=30",
)
sizes_and_weights = st.lists(st.tuples(st.integers(1, 100), st.floats(0.2, 5)), min_size=1, max_size=6)


@pytest.fixture(autouse=True)
def toy(monkeypatch: pytest.MonkeyPatch) -> type[toy_env.ToyAdapter]:
    return toy_env.register(monkeypatch)


@pytest.fixture(scope="module")
def tokenizer():
    return byte_tokenizer()


def mixed(*overrides: str, env: str = "[toy,lgc-v2:3]") -> DictConfig:
    """200 toy tasks and 60 of logic, of which 160 and 48 train."""
    chosen = f"data.custom_cls.config.env={env}"
    return compose_config(chosen, *LOGIC, "data.shuffle=False", "data.max_prompt_length=4000", *overrides)


def dataset_of(config: DictConfig, tokenizer, split: str = "train", max_samples: int = -1):
    files = config.data.train_files if split == "train" else [split]
    return create_rl_dataset(files, config.data, tokenizer, None, is_train=split == "train", max_samples=max_samples)


def loader_of(config: DictConfig, tokenizer, num_workers: int = 0) -> StatefulDataLoader:
    """As verl makes it (PPOTrainer._init_dataloader)."""
    dataset = dataset_of(config, tokenizer)
    return StatefulDataLoader(
        dataset=dataset,
        batch_size=config.data.train_batch_size,
        num_workers=num_workers,
        drop_last=True,
        collate_fn=collate_fn,
        sampler=create_rl_sampler(config.data, dataset),
    )


def tasks_in(batch: dict) -> list[tuple[str, int]]:
    return [(info["env"], info["task_id"]) for info in batch["extra_info"]]


# -- which environments, in which order ---------------------------------------------------------------------------


def test_one_environment_has_its_settings_at_once_and_several_have_them_by_name() -> None:
    assert read_parts("Open_Spiel", {"seed": 1}) == [Part("openspiel", 1.0, {"seed": 1})]
    settings = {"lgc_v2": {"seed": 2}, "reasoning-gym": {"seed": 3}}
    parts = read_parts(["openspiel", "logic-v2:2.5"], settings)
    assert parts == [Part("openspiel", 1.0, {}), Part("lgc-v2", 2.5, {"seed": 2})]


@pytest.mark.parametrize(
    ("env", "settings", "message"),
    [
        (["openspiel", "chess2"], {}, "unknown env 'chess2'"),
        (["openspiel"], {"chess2": {}}, "unknown env 'chess2'"),
        (["lgc-v2", "lgc_v2:2"], {}, "names lgc-v2 twice"),
        (["lgc-v2:0"], {}, "the weight '0' is not a number above 0"),
        (["lgc-v2:-1"], {}, "the weight '-1'"),
        (["lgc-v2:nan"], {}, "the weight 'nan'"),
        (["lgc-v2:"], {}, "the weight ''"),
        (["lgc-v2:many"], {}, "the weight 'many'"),
        (["lgc-v2"], {"seed": 1}, "settings go by environment, as in adapter_config.lgc-v2.seed"),
        ([], {}, "names no environment"),
    ],
)
def test_a_wrong_mixture_is_an_error_that_names_it(env: Any, settings: Any, message: str) -> None:
    with pytest.raises(SettingsError) as error:
        read_parts(env, settings)
    assert message in str(error.value)


@given(sizes_and_weights)
def test_an_epoch_has_every_task_and_the_shares_of_the_weights(parts: list[tuple[int, float]]) -> None:
    sizes, weights = zip(*parts, strict=True)
    rows = blend(sizes, weights)
    counts = Counter(part for part, _ in rows)
    passes = max(size / weight for size, weight in parts)
    for part, (size, weight) in enumerate(parts):
        assert [row for which, row in rows if which == part] == list(range(counts[part])), "each in its own order"
        assert counts[part] >= size
        assert abs(counts[part] - passes * weight) <= 1
    assert any(counts[part] == size for part, (size, _) in enumerate(parts)), "no longer than it must be"


@given(sizes_and_weights)
def test_the_shares_hold_in_every_beginning_of_an_epoch(parts: list[tuple[int, float]]) -> None:
    sizes, weights = zip(*parts, strict=True)
    rows = blend(sizes, weights)
    counts = Counter(part for part, _ in rows)
    seen: Counter[int] = Counter()
    for number, (part, _) in enumerate(rows, start=1):
        seen[part] += 1
        for other in counts:
            assert abs(seen[other] - number * counts[other] / len(rows)) <= 0.5 + len(parts) / 2


def test_equal_sizes_as_weights_give_each_task_once() -> None:
    assert sorted(blend([3, 20, 1], [3, 20, 1])) == [(0, i) for i in range(3)] + [(1, i) for i in range(20)] + [(2, 0)]


def test_an_endless_epoch_is_refused() -> None:
    with pytest.raises(SettingsError, match=f"more than {MAX_ROWS}: ask for fewer tasks"):
        blend([100_000, 10], [1, 1000])


def test_each_pass_has_an_order_of_its_own() -> None:
    ids = list(range(50))
    orders = [pass_order(ids, number) for number in range(3)]
    assert orders[0] == ids and orders == [pass_order(ids, number) for number in range(3)]
    assert orders[0] != orders[1] != orders[2] != orders[0]
    assert all(sorted(order) == ids for order in orders)


# -- the dataset --------------------------------------------------------------------------------------------------


def test_the_shares_hold_in_every_batch(tokenizer):
    for batch in loader_of(mixed(), tokenizer):
        envs = Counter(env for env, _ in tasks_in(batch))
        assert envs == {"toy": 4, "lgc-v2": 12}
        assert set(batch["data_source"]) == {"toy", "lgc-v2"}


def test_no_task_comes_again_before_its_environments_pass_is_complete(tokenizer):
    dataset = dataset_of(mixed(), tokenizer)
    assert len(dataset) == 160 + 3 * 160
    by_env = defaultdict(list)
    for env, task_id in tasks_in({"extra_info": [dataset[i]["extra_info"] for i in range(len(dataset))]}):
        by_env[env].append(task_id)
    assert len(set(by_env["toy"])) == len(by_env["toy"]) == 160
    passes = [by_env["lgc-v2"][start : start + 48] for start in range(0, 480, 48)]
    assert all(len(set(one)) == 48 for one in passes)
    assert len({tuple(one) for one in passes}) == 10


def test_each_environment_has_splits_of_its_own_and_is_validated_once(tokenizer):
    config = mixed()
    parts = {split: dataset_of(config, tokenizer, split) for split in ("train", "validation", "test")}
    assert (len(parts["validation"]), len(parts["test"])) == (26, 26)
    rows = {split: set(part.rows) for split, part in parts.items()}
    assert sum(map(len, rows.values())) == len(set().union(*rows.values())) == 260
    envs = Counter(env for env, _ in tasks_in({"extra_info": [parts["test"][i]["extra_info"] for i in range(26)]}))
    assert envs == {"toy": 20, "lgc-v2": 6}


def test_max_samples_takes_some_of_each(tokenizer):
    for split, shares in (("train", {0: 5, 1: 15}), ("validation", {0: 15, 1: 5})):
        rows = dataset_of(mixed(), tokenizer, split, max_samples=20).rows
        assert Counter(part for part, _ in rows) == shares
        assert rows == dataset_of(mixed(), tokenizer, split).rows[:20]


def test_overlong_prompts_are_dropped_in_their_own_environment(tokenizer, caplog):
    filtered = (f"{ADAPTER}.toy.long_every=5", "data.max_prompt_length=420", "data.filter_overlong_prompts=True")
    dataset = dataset_of(mixed(*filtered, env="[toy,lgc-v2]"), tokenizer)
    toy, logic = dataset.tasks
    assert toy.num_dropped > 0 and dataset.num_dropped == toy.num_dropped + logic.num_dropped
    assert f"toy, train: dropped {toy.num_dropped} of 160" in caplog.text
    with pytest.raises(SettingsError, match="every prompt of the train split of lgc-v2"):
        dataset_of(mixed("data.max_prompt_length=90", "data.filter_overlong_prompts=True"), tokenizer)


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("shuffle", [False, True])
def test_a_resumed_run_goes_on_where_it_was(tokenizer, shuffle, num_workers):
    config = mixed(f"data.shuffle={shuffle}")
    loader = loader_of(config, tokenizer, num_workers)
    batches = itertools.cycle(loader) if not shuffle else (batch for _ in range(3) for batch in loader)
    list(itertools.islice(batches, 37))
    state = loader.state_dict()
    uninterrupted = [tasks_in(batch) for batch in itertools.islice(batches, 3)]
    resumed = loader_of(config, tokenizer, num_workers)
    resumed.load_state_dict(state)
    assert [tasks_in(batch) for batch in itertools.islice(resumed, 3)] == uninterrupted


@pytest.mark.parametrize("change", ["data.custom_cls.config.env=[toy,lgc-v2:2]", f"{ADAPTER}.lgc-v2.seed=4"])
def test_a_run_cannot_be_resumed_with_another_mixture(tokenizer, change):
    state = dataset_of(mixed(), tokenizer).state_dict()
    dataset_of(mixed(), tokenizer).load_state_dict(state)
    with pytest.raises(SettingsError, match="made with other tasks"):
        dataset_of(mixed(change), tokenizer).load_state_dict(state)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (f"{ADAPTER}.lgc-v2.sed=4", "unknown setting 'sed'"),
        (f"{ADAPTER}.lgc-v2.task_types=[chess]", "unknown task type 'chess'"),
        (f"{ADAPTER}.seed=4", "settings go by environment"),
        ("data.custom_cls.config.env=[toy:0]", "the weight '0'"),
        ("data.train_batch_size=641", "640 tasks, fewer than data.train_batch_size=641"),
    ],
)
def test_a_wrong_setting_is_an_error_before_any_task_is_given(tokenizer, override, message):
    with pytest.raises(SettingsError) as error:
        dataset_of(mixed(override), tokenizer)
    assert message in str(error.value)


def test_rows_name_their_agent_loop_only_where_there_are_several(tokenizer):
    assert "agent_name" not in dataset_of(mixed(), tokenizer)[0]
    games = (f"{ADAPTER}.openspiel.game_types=tic_tac_toe", f"{ADAPTER}.openspiel.num_tasks_per_case=20")
    config = mixed(
        *games,
        f"{ADAPTER}.openspiel.mode=game",
        env="[openspiel,toy]",
    )
    dataset = dataset_of(config, tokenizer)
    loops = {(row["data_source"], row["agent_name"]) for row in (dataset[i] for i in range(8))}
    assert loops == {("openspiel", "openspiel_game"), ("toy", "single_turn_agent")}


# -- scores and metrics -------------------------------------------------------------------------------------------


def scored(config: DictConfig, tokenizer) -> tuple[list[str], list[dict[str, float]]]:
    """The reference answer to every second validation task, and nothing to the others."""
    dataset, reward_fn = dataset_of(config, tokenizer, "validation"), get_custom_reward_fn(config)
    adapters = {tasks.env: tasks.adapter for tasks in dataset.tasks}
    sources, scores = [], []
    for i in range(len(dataset)):
        row = dataset[i]
        adapter = adapters[row["data_source"]]
        answer = adapter.reference_answer(adapter.generate(row["extra_info"]["task_id"])) if i % 2 else ""
        sources.append(row["data_source"])
        scores.append(reward_fn(row["data_source"], answer, "", row["extra_info"]))
    return sources, scores


def test_answers_are_scored_by_their_own_environment(tokenizer):
    sources, scores = scored(mixed(), tokenizer)
    assert [score["score"] for score in scores] == [float(i % 2) for i in range(26)]
    assert all(("solved" in score) == (source == "lgc-v2") for source, score in zip(sources, scores, strict=True))


def test_validation_has_a_mean_of_each_environment_and_of_each_type(tokenizer):
    sources, scores = scored(mixed(), tokenizer)
    names = dict.fromkeys(name for score in scores for name in score)
    # What verl does with names that an answer has not (trainer/ppo/v1/trainer_base.py, `_validate`).
    table = {name: [score.get(name) for score in scores] for name in names}
    table["reward"] = [score["score"] for score in scores]
    means = process_validation_metrics(sources, [str(i) for i in range(len(sources))], table)
    assert means.keys() == {"toy", "lgc-v2"}
    assert "solved" not in means["toy"] and "well_formed" not in means["lgc-v2"]
    for source, found in means.items():
        values = [score["score"] for where, score in zip(sources, scores, strict=True) if where == source]
        assert found["reward"]["mean@1"] == pytest.approx(sum(values) / len(values))
    for kind in ("operation", "boolean_expressions"):
        values = [score[f"reward/{kind}"] for score in scores if f"reward/{kind}" in score]
        assert 0 < len(values) < 6
        assert means["lgc-v2"][f"reward/{kind}"]["mean@1"] == pytest.approx(sum(values) / len(values))


def test_the_training_reward_is_a_mean_over_sessions_of_each_environment_and_type():
    infos = [
        {"score": 1.0, "solved": 1.0, "reward/sudoku": 1.0, "env_error": 0.0},
        {"score": 0.0, "solved": 0.0, "reward/operation": 0.0, "env_error": 0.0},
        *[{"score": 0.5, "reward/hex": 0.5, "env_error": 0.0}] * 2,
        {"score": 0.0, "reward/hex": 0.0, "env_error": 0.0},
        {"score": 0.25, "env_error": 0.0},
    ]
    sources = ["lgc-v2", "lgc-v2", "openspiel", "openspiel", "openspiel", "toy"]
    assert mean_rewards(["a_0_0", "a_1_0", "b_0_0", "b_0_1", "b_1_0", "c_0_0"], sources, infos) == {
        "training/reward/lgc-v2": 0.5,
        "training/reward/lgc-v2/operation": 0.0,
        "training/reward/lgc-v2/sudoku": 1.0,
        "training/reward/openspiel": 0.25,
        "training/reward/openspiel/hex": 0.25,
        "training/reward/toy": 0.25,
    }


def test_a_mode_that_the_measured_buffer_is_not_made_for_is_refused():
    with pytest.raises(ValueError, match="trainer_mode=separate_async: MeasuredReplayBuffer is for sync"):
        MeasuredReplayBuffer(trainer_mode="separate_async")
