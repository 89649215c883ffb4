"""Two environments in one run through the front door, until one of them breaks: verl, Ray, FSDP and vLLM on CPU."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean

import pytest

from run_report.samples import read_validations
from tiny_player import build_player
from training_run import LIMIT_S, SMALL, Run, checkout_with_ray

pytestmark = [pytest.mark.slow, pytest.mark.trains, pytest.mark.timeout(2400)]

ADAPTER = "+data.custom_cls.config.adapter_config"


class MixtureRun(Run):
    command = ("mixture-GRPO-trainer.sh", "openspiel", "lgc-v2:3", *SMALL, "trainer.test_freq=2")


@pytest.fixture(scope="module")
def run(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """Two steps, and a validation after the second. Whole games beside single answers: each row has its agent loop.

    Then the environment of the answers breaks, and the run ends.
    """
    directory = tmp_path_factory.mktemp("mixture")
    with checkout_with_ray(directory) as checkout:
        run = MixtureRun(checkout, build_player(tiny, directory / "player"), "mixture")
        run.rollouts, breaks = directory / "rollouts", directory / "breaks"
        run.environment |= {
            "GAME_TYPES": "tic_tac_toe",
            "GAME_ANSWER_TOKENS": "1",
            "TASK_TYPES": "operation,boolean_expressions",
            "TASKS_PER_TYPE": "20",
            "TASK_DIFFICULTY": "easy",
            "BREAKS": str(breaks),
        }
        process = run.start(
            "trainer.total_training_steps=500",
            f"trainer.rollout_data_dir='{run.rollouts}'",
            f"reward.custom_reward_function.path='{Path(__file__).with_name('faulty_reward.py')}'",
            f"{ADAPTER}.openspiel.num_tasks_per_case=40",
            f"{ADAPTER}.openspiel.mode=game",
            f"{ADAPTER}.openspiel.max_turns=4",
            "data.max_response_length=400",
            "actor_rollout_ref.rollout.max_model_len=1200",
            "data.filter_overlong_prompts=true",
        )
        run.wait_for(lambda: len(run.steps()) >= 2, process)
        breaks.touch()
        run.status = process.wait(LIMIT_S)
        yield run
        run.end()


def rollouts(run: Run, step: int) -> list[dict]:
    """What was trained on: a row each answer, and of a game one or several."""
    return [json.loads(line) for line in (run.rollouts / f"{step}.jsonl").read_text().splitlines()]


def test_both_environments_are_validated_and_every_type_of_theirs(run: Run) -> None:
    assert [entry["step"] for entry in run.steps()][:2] == [1, 2]
    last = run.steps()[1]["data"]
    for env in ("openspiel", "lgc-v2"):
        assert 0 <= last[f"val-core/{env}/reward/mean@1"] <= 1
        assert last[f"val-aux/{env}/env_error/mean@1"] == 0
    for name in ("openspiel/won", "openspiel/reward/tic_tac_toe", "lgc-v2/solved", "lgc-v2/reward/operation"):
        assert 0 <= last[f"val-aux/{name}/mean@1"] <= 1
    assert "val-aux/lgc-v2/reward/boolean_expressions/mean@1" in last
    assert not [name for name in last if "lgc-v2/won" in name or "openspiel/solved" in name], "each has its own"
    assert last["training/rollout_actor_probs_pearson_corr"] > 0.9


def test_the_training_reward_of_each_environment_and_type_is_logged(run: Run) -> None:
    games = [json.loads(line) for line in (run.directory / "games.jsonl").read_text().splitlines()]
    for step, entry in enumerate(run.steps()[:2], start=1):
        answers = [row["score"] for row in rollouts(run, step) if row["gts"].startswith("lgc-v2/")]
        assert entry["data"]["training/reward/lgc-v2"] == pytest.approx(fmean(answers))
        scores = [game["score"] for game in games if game["step"] == step]
        assert entry["data"]["training/reward/openspiel"] == pytest.approx(fmean(scores)), "a game counts once"
        assert entry["data"]["training/reward/openspiel/tic_tac_toe"] == entry["data"]["training/reward/openspiel"]


def test_the_answers_of_the_validation_are_kept_for_the_report(run: Run) -> None:
    notes: list[str] = []
    validation, *_ = read_validations(run.directory / "validation", notes)
    assert (validation.step, notes) == (2, [])
    for env in ("openspiel", "lgc-v2"):
        assert validation.reward(env).mean == pytest.approx(run.steps()[1]["data"][f"val-core/{env}/reward/mean@1"])
    assert "tic_tac_toe" in {answer.group for answer in validation.answers}


def test_every_batch_has_the_shares_of_the_mixture(run: Run) -> None:
    for step in (1, 2):
        envs = Counter(task.partition("/")[0] for task in {row["gts"] for row in rollouts(run, step)})
        assert envs == {"openspiel": 1, "lgc-v2": 3}, "of 4 prompts"
        assert sum(row["gts"].startswith("lgc-v2/") for row in rollouts(run, step)) == 6, "two answers each"
    games = [json.loads(line) for line in (run.directory / "games.jsonl").read_text().splitlines()]
    counted = Counter(game["step"] for game in games if game["step"] <= 2)
    assert counted == {1: 2, 2: 2}, "two games of the one prompt"


def test_whole_games_train_beside_single_answers(run: Run) -> None:
    last = run.steps()[1]["data"]
    assert last["val-aux/openspiel/opponent_strength/mean@1"] == 0, "a game's metric, against a random opponent"
    assert last["val-aux/num_turns/max"] > 2 == last["val-aux/num_turns/min"]


def test_an_environment_that_breaks_stops_the_run_and_says_why(run: Run) -> None:
    assert run.status not in (0, 124, 130)
    last = run.tail()[run.tail().rindex("\nerror: ") :].strip().splitlines()
    assert last[0].endswith("the last fault was: the sandbox is down") and len(last) <= 5
    assert last[1].startswith("phase  generate (step ") and "mend the environment" in " ".join(last)
    assert run.processes() == []
