"""Whole games trained through the front door: verl, Ray, FSDP and vLLM on CPU, from the script, and resumed."""

from __future__ import annotations

import json
import os
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from games.records import GameRecords
from test_training_cpu import LIMIT_S, Checkout, Run
from tiny_player import build_player

pytestmark = [pytest.mark.slow, pytest.mark.trains, pytest.mark.timeout(2400)]

TESTS = Path(__file__).parent
OPPONENTS = ["random", "mcts(20)"]
PROMOTED = {"promote_at": 0.2, "promote_games": 8}
ADAPTER = "+data.custom_cls.config.adapter_config"
OVERRIDES = (
    "data.max_response_length=256",
    "actor_rollout_ref.actor.optim.lr=1e-3",
    "trainer.test_freq=2",
    f"{ADAPTER}.num_tasks_per_case=40",
    f"{ADAPTER}.max_turns=4",
    f"{ADAPTER}.history_turns=1",  # from the third turn on, the chat begins anew: games of one row, and of several
    *(f"{ADAPTER}.{name}={value}" for name, value in PROMOTED.items()),
)


@pytest.fixture(scope="module")
def player(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_player(tiny, tmp_path_factory.mktemp("models") / "player")


@pytest.fixture(scope="module")
def trained(player: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """Two steps and their checkpoints; then a third one, which goes on from the second."""
    directory = tmp_path_factory.mktemp("games")
    (directory / "witness").mkdir()
    loops = directory / "loops.yaml"
    loops.write_text(
        "- name: openspiel_game\n  _target_: witnessed_agent_loop.WitnessedAgentLoop\n"
        f"  answer_tokens: 1\n  witness: {directory}/witness\n"
    )
    checkout = Checkout(directory)
    with tempfile.TemporaryDirectory(prefix="ray-") as ray:  # the path of a socket has at most 107 bytes
        checkout.env["RAY_TMPDIR"] = ray
        run = Run(checkout, player, f"games-{os.getpid()}")
        run.environment |= {
            "GAME_MODE": "game",
            "GAME_OPPONENTS": ",".join(OPPONENTS),
            "PYTHONPATH": str(TESTS),
        }
        run.witness = directory / "witness"
        for steps in (2, 3):
            process = run.start(
                *OVERRIDES,
                f"trainer.total_training_steps={steps}",
                f"actor_rollout_ref.rollout.agent.agent_loop_config_path='{loops}'",
            )
            assert process.wait(LIMIT_S) == 0, run.tail()
            run.all_steps = run.steps()
            assert run.processes() == [], "nothing is left behind"
        yield run
        for process in run.processes():
            process.kill()


def sessions(run: Run) -> list[dict[str, Any]]:
    return [json.loads(file.read_text()) for file in run.witness.glob("*.json")]


def games(run: Run) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run.directory / "games.jsonl").read_text().splitlines()]


def test_the_run_goes_on_where_it_stopped_and_so_do_its_games(trained: Run) -> None:
    assert [entry["step"] for entry in trained.all_steps] == [1, 2, 3]
    assert Counter(game["step"] for game in games(trained)) == {1: 8, 2: 8, 3: 8}
    assert {game["task_id"] for game in games(trained)} <= set(range(40))


def test_rewards_are_scores_of_games(trained: Run) -> None:
    rewards = [given["reward"] for session in sessions(trained) for given in session["given"]]
    assert set(rewards) <= {0.0, 0.5, 1.0} and len(set(rewards)) > 1, "some games are won, some are lost"
    for entry in trained.all_steps:
        assert 0 <= entry["data"]["critic/score/min"] <= entry["data"]["critic/score/max"] <= 1
    by_step = Counter(session["step"] for session in sessions(trained) if session["split"] == "train")
    assert by_step == {1: 8, 2: 8, 3: 8}
    assert sorted(game["score"] for game in games(trained)) == sorted(
        session["given"][-1]["reward"] for session in sessions(trained) if session["split"] == "train"
    )
    assert {game["ending"] for game in games(trained)} <= {"finished", "illegal"}


def test_masks_cover_exactly_the_tokens_that_were_sampled(trained: Run) -> None:
    """Each where it was sampled: after the very tokens that the server was asked with, with the server's log-prob."""
    sampled = 0
    for session in sessions(trained):
        heard = iter(session["heard"])
        for row in session["given"]:
            assert len(row["response"]) == len(row["mask"]) == len(row["log_probs"])
            for place, mask in enumerate(row["mask"]):
                if mask:
                    reply = next(heard)
                    assert reply["prompt"] == row["prompt"] + row["response"][:place]
                    assert reply["tokens"] == [row["response"][place]]
                    assert reply["log_probs"] == [row["log_probs"][place]]
                    sampled += 1
                else:
                    assert row["log_probs"][place] == 0
            assert row["mask"][-1] == 1
        assert next(heard, None) is None
    assert {len(session["given"]) for session in sessions(trained)} > {1}, "some games have several rows"
    assert sampled > 100
    assert sampled >= sum(game["tokens"] for game in games(trained)) > 50


def test_the_trainer_finds_the_probabilities_that_the_rollout_sampled_with(trained: Run) -> None:
    for entry in trained.all_steps:
        assert entry["data"]["training/rollout_actor_probs_pearson_corr"] > 0.99
        assert entry["data"]["training/rollout_probs_diff_max"] < 0.05
        assert entry["data"]["actor/grad_norm"] > 0


def test_the_opponents_are_those_that_the_games_before_have_earned(trained: Run) -> None:
    played = {game["step"]: game["opponent"] for game in games(trained)}
    assert played[1] == "random"
    for step, opponent in played.items():
        records = GameRecords(trained.directory / "copy.jsonl", trained.directory / "games.jsonl")
        assert records.opponent(step, "tic_tac_toe", OPPONENTS, **PROMOTED) == opponent
        (trained.directory / "copy.jsonl").unlink()


def test_validation_plays_the_last_opponent_and_reports_the_win_rate(trained: Run) -> None:
    data = trained.all_steps[1]["data"]
    for name in ("won", "forfeited", "unfinished", "turns", "illegal", "env_error"):
        assert f"val-aux/openspiel/{name}/mean@1" in data
    assert data["val-aux/openspiel/opponent_strength/mean@1"] == 20
    assert data["val-aux/openspiel/env_error/mean@1"] == 0
    assert 0 <= data["val-core/openspiel/reward/mean@1"] <= 1
