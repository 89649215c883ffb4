"""reward-manager.py as verl uses it: loaded by path, called by verl's reward manager, its faults met by the trainer."""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import ray
import ray.cloudpickle
import torch
import transfer_queue
from tensordict import TensorDict
from transfer_queue import interface
from transfer_queue.client import TransferQueueClient
from transfer_queue.controller import TransferQueueController
from verl import DataProto
from verl.trainer.ppo.metric_utils import process_validation_metrics
from verl.trainer.ppo.reward import get_custom_reward_fn, load_reward_manager
from verl.trainer.ppo.utils import create_rl_dataset
from verl.trainer.ppo.v1.replay_buffer import ReplayBuffer, ReplayBufferAsync

import toy_env
from env_adapter import EnvError, SettingsError
from verl_stage import byte_tokenizer, compose_config

LIMIT = "+reward.custom_reward_function.reward_kwargs.env_error_limit"


@pytest.fixture(autouse=True)
def toy(monkeypatch: pytest.MonkeyPatch) -> type[toy_env.ToyAdapter]:
    return toy_env.register(monkeypatch)


@pytest.fixture(scope="module")
def tokenizer():
    return byte_tokenizer()


@pytest.fixture
def row(tokenizer) -> dict:
    """The training row of 3 + 4."""
    config = compose_config("+data.custom_cls.config.adapter_config.num_tasks=100")
    dataset = create_rl_dataset(config.data.train_files, config.data, tokenizer, None)
    row = dataset[dataset.task_ids.index(34)]
    toy_env.env_adapter._build_shared.cache_clear()  # the reward worker is another process
    toy_env.ToyAdapter.built.clear()
    return row


def score(reward_fn, row: dict, answer: str) -> dict[str, float]:
    """As verl's reward managers call it."""
    ground_truth = row["reward_model"]["ground_truth"]
    arguments = {"data_source": row["data_source"], "ground_truth": ground_truth, "extra_info": row["extra_info"]}
    return reward_fn(solution_str=answer, **arguments)


@pytest.mark.parametrize("name", ["compute_score", "compute_lgc_v2_score"])
def test_an_answer_is_scored_by_the_rows_own_environment(row, toy, name):
    reward_fn = get_custom_reward_fn(compose_config(f"reward.custom_reward_function.name={name}"))
    assert score(reward_fn, row, "7") == {"score": 1.0, "well_formed": 1.0, "env_error": 0.0}
    assert score(reward_fn, row, "8") == {"score": 0.0, "well_formed": 1.0, "env_error": 0.0}
    assert score(reward_fn, row, "") == {"score": 0.0, "well_formed": 0.0, "env_error": 0.0}


def test_the_adapter_has_the_rows_settings_and_is_built_once_for_all_threads(row, toy):
    reward_fn = get_custom_reward_fn(compose_config())
    with ThreadPoolExecutor(16) as pool:
        scores = list(pool.map(lambda i: score(reward_fn, row, str(i % 10))["score"], range(400)))
    assert scores == [float(i % 10 == 7) for i in range(400)]
    assert [settings.num_tasks for settings in toy.built] == [100]


def test_openspiel_pays_its_best_move_and_not_a_word(tokenizer):
    games = ["game_types=tic_tac_toe", "num_tasks_per_case=40"]
    overrides = [f"+data.custom_cls.config.adapter_config.{game}" for game in games]
    config = compose_config("data.custom_cls.config.env=openspiel", *overrides)
    dataset = create_rl_dataset(config.data.train_files, config.data, tokenizer, None)
    reward_fn, adapter = get_custom_reward_fn(config), dataset.tasks[0].adapter
    for i in range(4):
        best = adapter.reference_answer(adapter.generate(dataset.task_ids[i]))
        paid, unpaid = (score(reward_fn, dataset[i], answer) for answer in (best, "I resign"))
        assert paid["score"] > unpaid["score"] == 0
        assert paid.keys() == unpaid.keys()


def as_agent_loop_sends_it(row: dict, answer: str, tokenizer) -> DataProto:
    """verl/experimental/agent_loop/agent_loop.py, `_compute_score`: one output, through Ray's pickle."""
    prompt = torch.tensor([tokenizer.encode("?")])
    response = torch.tensor([[*tokenizer.encode(answer), tokenizer.eos_token_id]])
    input_ids = torch.cat([prompt, response], dim=1)
    tensors = {"prompts": prompt, "responses": response, "attention_mask": torch.ones_like(input_ids)}
    kwargs = {key: value for key, value in row.items() if key != "dummy_tensor"}
    non_tensors = {key: np.array([value]) for key, value in kwargs.items()}
    non_tensors["tool_extra_fields"] = np.array([{"turn_scores": []}], dtype=object)
    non_tensors["__num_turns__"] = np.array([2])
    data = DataProto(batch=TensorDict(tensors, batch_size=1), non_tensor_batch=non_tensors)
    return ray.cloudpickle.loads(ray.cloudpickle.dumps(data))


def test_verls_reward_manager_scores_the_decoded_answer(row, tokenizer):
    async def scores() -> list[float]:
        manager = load_reward_manager(compose_config(), tokenizer)
        batches = [as_agent_loop_sends_it(row, answer, tokenizer) for answer in ["7", "8", " 7 "]]
        results = await asyncio.gather(*map(manager.run_single, batches))
        assert results[0]["reward_extra_info"].keys() == {"score", "well_formed", "env_error"}
        return [result["reward_score"] for result in results]

    assert asyncio.run(scores()) == [1.0, 0.0, 1.0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"challenge": None}, r"extra_info\['challenge'\] is None: the row does not come from dataset-manager.py"),
        ({"env": 3}, r"extra_info\['env'\] is 3"),
        ({"adapter_config": {}}, r"extra_info\['adapter_config'\] is {}"),
        ({"challenge": '{"env": "toy"'}, "not a Challenge"),
        ({"challenge": "[]"}, "not a Challenge"),
        ({"env": "openspiel"}, "names the env 'openspiel', its challenge the env 'toy'"),
    ],
)
def test_a_broken_row_is_a_fault_of_ours_and_not_a_wrong_answer(row, change, message):
    broken = {**row, "extra_info": {**row["extra_info"], **change}}
    with pytest.raises(EnvError, match=message):
        score(get_custom_reward_fn(compose_config()), broken, "7")


def test_a_row_without_extra_info_is_one_too(row):
    with pytest.raises(EnvError, match="row does not come from"):
        score(get_custom_reward_fn(compose_config()), {**row, "extra_info": None}, "7")


def faults_until_the_stop(reward_fn, row: dict, good_between: int) -> int:
    """How many faults it takes, with so many good answers before each of them."""
    for num_faults in range(1, 200):
        for _ in range(good_between):
            score(reward_fn, row, "7")
        with pytest.raises(EnvError) as error:
            score(reward_fn, row, "pull the plug")
        if "env_error_limit" in str(error.value):
            assert "the sandbox is down" in str(error.value)
            return num_faults
        assert str(error.value) == "the sandbox is down"
    return -1


def test_faults_below_the_limit_do_not_stop_the_run(row):
    reward_fn = get_custom_reward_fn(compose_config())
    assert faults_until_the_stop(reward_fn, row, good_between=20) == -1
    assert score(reward_fn, row, "7")["env_error"] == pytest.approx(199 / 4180)


def test_faults_above_the_limit_stop_it_once_there_are_twenty_answers(row):
    assert faults_until_the_stop(get_custom_reward_fn(compose_config()), row, good_between=0) == 20
    assert faults_until_the_stop(get_custom_reward_fn(compose_config()), row, good_between=9) == 2


def test_the_limit_is_a_reward_kwarg(row):
    reward_fn = get_custom_reward_fn(compose_config(f"{LIMIT}=0.2"))
    assert faults_until_the_stop(reward_fn, row, good_between=9) == -1
    assert faults_until_the_stop(reward_fn, row, good_between=1) > 1


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (f"{LIMIT}=5", "env_error_limit=5: a share of the answers is wanted, from 0 to 1"),
        (f"{LIMIT}=some", "env_error_limit='some'"),
        ("+reward.custom_reward_function.reward_kwargs.limit=0.1", r"unknown reward_kwargs \['limit'\]"),
    ],
)
def test_a_wrong_reward_kwarg_is_an_error(row, override, message):
    with pytest.raises(SettingsError, match=message):
        score(get_custom_reward_fn(compose_config(override)), row, "7")


def test_a_metric_that_verl_would_misread_is_refused(row):
    with pytest.raises(TypeError, match="metric named 'acc'"):
        score(get_custom_reward_fn(compose_config()), row, "name a metric acc")


def test_faults_are_logged_with_a_traceback_and_then_counted(row, caplog):
    reward_fn = get_custom_reward_fn(compose_config(f"{LIMIT}=1"))
    with caplog.at_level(logging.ERROR):
        for _ in range(100):
            with pytest.raises(EnvError):
                score(reward_fn, row, "pull the plug")
    assert [bool(record.exc_info) for record in caplog.records] == [True, True, True, False]
    assert "100 of 100 answers could not be scored: the sandbox is down" in caplog.text


class _NoStorage:
    """Stands for the store of the values, which these tests never put: only prompts' and answers' tags are."""

    async def clear_data(self, metadata) -> None:
        return None


@pytest.fixture
def queue(monkeypatch: pytest.MonkeyPatch):
    """A real TransferQueue controller and client in this process; only Ray, which would place them, is left out."""
    controller = TransferQueueController.__ray_metadata__.modified_class()
    client = TransferQueueClient("test", controller.get_zmq_server_info())
    client.storage_manager = _NoStorage()
    monkeypatch.setattr(interface, "_TQ_CLIENT", client)
    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    yield transfer_queue
    client.close()


def replay_buffer(cls=ReplayBuffer, **kwargs):
    sampler = compose_config().trainer.v1.sampler
    return cls(
        trainer_mode="sync" if cls is ReplayBuffer else "separate_async",
        trainer_config={},
        max_off_policy_threshold=sampler.max_off_policy_threshold,
        max_off_policy_strategy=sampler.max_off_policy_strategy,
        sampler_kwargs=sampler.sampler_kwargs,
        poll_interval=0.01,
        **kwargs,
    )


def sample(buffer, batch_size: int = 1):
    return buffer.sample(global_steps=1, partition_id="train", batch_size=batch_size)


def put_prompt(queue, uid: str, status: str, answers: int) -> None:
    queue.kv_put(key=uid, partition_id="train", tag={"is_prompt": True, "global_steps": 1, "status": status})
    for session in range(answers):
        queue.kv_put(key=f"{uid}_{session}_0", partition_id="train", tag={"status": "success", "seq_len": 9})


def test_too_many_faults_stop_verls_trainer_and_it_says_why(row, queue):
    put_prompt(queue, "a", "finished", answers=1)
    faults_until_the_stop(get_custom_reward_fn(compose_config()), row, good_between=0)
    with pytest.raises(ValueError, match=r"20 of the last 20 answers could not be scored.*the sandbox is down"):
        sample(replay_buffer())


@pytest.mark.parametrize("cls", [ReplayBuffer, ReplayBufferAsync])
def test_a_bug_stops_verls_trainer_at_once(row, queue, cls):
    put_prompt(queue, "a", "finished", answers=1)
    with pytest.raises(ZeroDivisionError):
        score(get_custom_reward_fn(compose_config()), row, "hit the bug")
    with pytest.raises(ValueError, match=r"stopped by reward-manager\.py: .*ZeroDivisionError: a bug in the adapter"):
        sample(replay_buffer(cls))


def test_verl_trains_on_the_answers_beside_one_that_could_not_be_scored(row, queue):
    with pytest.raises(EnvError):
        score(get_custom_reward_fn(compose_config()), row, "pull the plug")
    put_prompt(queue, "a", "failure", answers=3)
    put_prompt(queue, "b", "finished", answers=4)
    batch, _ = sample(replay_buffer(), batch_size=2)
    assert sorted(batch.keys) == ["a_0_0", "a_1_0", "a_2_0", "b_0_0", "b_1_0", "b_2_0", "b_3_0"]


def test_verls_validation_leaves_such_an_answer_out_of_the_mean():
    kept = {"reward": [1.0, 1.0, 0.0], "env_error": [0.0, 0.0, 0.25]}
    metrics = process_validation_metrics(["toy"] * 3, ["a"] * 3, kept, expected_acc_counts={("toy", "a"): 4})
    assert metrics["toy"]["reward"]["mean@3"] == pytest.approx(2 / 3)


def test_verl_stops_when_no_answer_of_a_step_could_be_scored(queue):
    put_prompt(queue, "a", "failure", answers=0)
    with pytest.raises(RuntimeError, match="no materializable trajectories"):
        sample(replay_buffer())
