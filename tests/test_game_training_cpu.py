"""Whole games trained through the front door, killed and resumed: verl, Ray, FSDP and vLLM on CPU, from the script."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForCausalLM

from games.records import GameRecords
from tiny_player import build_player
from training_run import LIMIT_S, SECRET, Run, checkout_with_ray

pytestmark = [pytest.mark.slow, pytest.mark.trains, pytest.mark.timeout(2400)]

TESTS = Path(__file__).parent
OPPONENTS = ["random", "mcts(20)"]
PROMOTED = {"promote_at": 0.2, "promote_games": 8}
ADAPTER = "+data.custom_cls.config.adapter_config"
OVERRIDES = (
    "trainer.total_training_steps=3",
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
    """LoRA: three steps, with the driver killed by SIGKILL after the second checkpoint, and the same command again."""
    directory = tmp_path_factory.mktemp("games")
    with checkout_with_ray(directory) as checkout:
        run = Run(checkout, player, "games")
        run.witness = directory / "witness"
        run.witness.mkdir()
        loops = directory / "loops.yaml"
        loops.write_text(
            "- name: openspiel_game\n  _target_: witnessed_agent_loop.WitnessedAgentLoop\n"
            f"  answer_tokens: 1\n  witness: {run.witness}\n"
        )
        run.environment |= {"GAME_MODE": "game", "GAME_OPPONENTS": ",".join(OPPONENTS), "PYTHONPATH": str(TESTS)}
        command = (*OVERRIDES, f"actor_rollout_ref.rollout.agent.agent_loop_config_path='{loops}'")
        latest = run.directory / "latest_checkpointed_iteration.txt"
        process = run.start(*command)
        run.wait_for(lambda: latest.exists() and int(latest.read_text() or 0) >= 2, process)
        run.command_lines = [" ".join(process.cmdline()) for process in run.processes()]
        run.trainer().kill()
        assert process.wait(60) != 0
        assert run.processes() == []
        run.killed_reason = (run.directory / "exit_reason.txt").read_text()
        run.killed_screen = run.tail()
        run.killed_after = int(latest.read_text())
        run.first_log = run.log.read_text(errors="replace")
        process = run.start(*command)
        assert process.wait(LIMIT_S) == 0, run.tail()
        yield run
        run.end()


def sessions(run: Run) -> list[dict[str, Any]]:
    return [json.loads(file.read_text()) for file in run.witness.glob("*.json")]


def games(run: Run) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run.directory / "games.jsonl").read_text().splitlines()]


def test_a_killed_run_resumes_at_its_last_checkpoint_and_ends_at_the_last_step(trained: Run) -> None:
    assert trained.killed_after == 2
    steps = [entry["step"] for entry in trained.steps()]
    # Each once and in order; verl logs a step after its checkpoint, and may have been killed in between.
    assert steps == sorted(set(steps)) and set(range(1, 4)) - set(steps) <= {trained.killed_after}
    assert (trained.directory / "latest_checkpointed_iteration.txt").read_text() == "3"
    assert f"from step {trained.killed_after}" in trained.log.read_text()
    starts = [json.loads(line) for line in (trained.directory / "starts.jsonl").read_text().splitlines()]
    assert [start["resumed_from"] for start in starts] == [0, trained.killed_after]
    exits = [json.loads(line) for line in (trained.directory / "exits.jsonl").read_text().splitlines()]
    assert [(end["status"], end["reason"], end["step"]) for end in exits[1:]] == [(0, "finished", 3)]
    assert exits[0]["status"] != 0
    assert trained.processes() == []


def test_the_checkpoints_of_both_starts_are_counted_together(trained: Run) -> None:
    assert [path.name for path in trained.directory.glob("global_step_*")] == ["global_step_3"]


def test_a_killed_run_goes_on_in_the_same_run_at_weights_and_biases(trained: Run) -> None:
    ids = {json.loads(line)["wandb_run_id"] for line in (trained.directory / "starts.jsonl").read_text().splitlines()}
    assert len(ids) == 1
    folders = list((trained.checkout.root / "train/artifacts/wandb/wandb").glob(f"offline-run-*-{ids.pop()}"))
    assert len(folders) == 2


def test_the_metrics_have_their_documented_names(trained: Run) -> None:
    names = {"train/reward", "train/loss", "train/kl_loss", "train/learning_rate", "train/grad_norm"}
    names |= {"rollout/throughput", "rollout/response_length", "train/step_seconds"}
    for entry in trained.steps():
        assert names <= set(entry["data"])
        assert "system/gpu_utilization" not in entry["data"]


def test_the_list_of_runs_has_it(trained: Run) -> None:
    listed = trained.checkout.script("train/scripts/runs.sh", "--json")
    (run,) = (run for run in json.loads(listed.stdout) if run["name"] == trained.name)
    assert (run["state"], run["step"], run["total"], run["kind"]) == ("finished", 3, 3, "GRPO")
    assert run["value"] == trained.steps()[-1]["data"]["critic/score/mean"]


def test_a_secret_is_nowhere(trained: Run) -> None:
    assert len(trained.command_lines) > 4
    texts = [trained.first_log, trained.log.read_text(errors="replace"), *trained.command_lines]
    folders = [trained.checkout.root / "train/artifacts", trained.checkout.root / "train/outputs"]
    folders.append(Path(trained.checkout.env["RAY_TMPDIR"]))
    written = [path for folder in folders for path in folder.rglob("*") if path.is_file() and path.suffix != ".pt"]
    assert len(written) > 20
    assert not [text[:200] for text in texts if SECRET in text]
    assert not [path for path in written if SECRET.encode() in path.read_bytes()]


def test_a_killed_trainer_is_said_last_and_both_starts_are_in_the_log(trained: Run) -> None:
    assert trained.killed_reason.startswith("the trainer was killed by signal 9")
    last = trained.killed_screen[trained.killed_screen.rindex("\nerror: ") :].strip().splitlines()
    assert last[0] == "error: the trainer was killed by signal 9"
    after = last[last.index(f"log    {trained.directory}/run.log") + 1 :]
    assert all(line.startswith("ledger   removed the checkpoint(s) of step 1") for line in after)
    log = (trained.directory / "run.log").read_text()
    assert log.count("=== ") == 2 and "Training Progress" in log
    assert (trained.directory / "exit_reason.txt").read_text() == "finished\n"
    phase = json.loads((trained.directory / "phase.json").read_text())
    assert phase == {"phase": "after log metrics", "step": 3}


def test_the_rollout_has_the_trainers_weights(trained: Run) -> None:
    for entry in trained.steps():
        # bfloat16 noise on a random model's nearly equal probabilities; other weights have no correlation.
        assert entry["data"]["training/rollout_actor_probs_pearson_corr"] > 0.9
        assert 0 <= entry["data"]["critic/score/mean"] <= 1
        assert entry["data"]["actor/kl_coef"] == pytest.approx(0.001)


def test_outputs_lie_where_the_docs_say(trained: Run) -> None:
    train = trained.checkout.root / "train"
    assert list((train / "artifacts/wandb").rglob("offline-run-*"))
    assert list((train / "outputs").glob("????-??-??/??-??-??/.hydra/config.yaml"))
    assert (trained.directory / "global_step_3/actor/lora_train_meta.json").exists()


def test_the_checkpoint_becomes_a_plain_model_that_vllm_scores(trained: Run, player: Path, tmp_path: Path) -> None:
    target = tmp_path / "merged model"
    merged = trained.checkout.bash(
        "bash train/scripts/merge-ppo.sh",
        CHECKPOINT_BASE=str(trained.directory),
        TARGET_DIR=str(target),
    )
    assert merged.returncode == 0, merged.stderr[-3000:]
    model = AutoModelForCausalLM.from_pretrained(target)
    base = AutoModelForCausalLM.from_pretrained(player)
    assert model.num_parameters() == base.num_parameters()
    assert any(not a.equal(b) for a, b in zip(model.parameters(), base.parameters(), strict=True))
    adapter = json.loads((target / "lora_adapter/adapter_config.json").read_text())
    assert adapter["base_model_name_or_path"] == str(player)

    scored = trained.checkout.bash(
        f"bash train/scripts/evaluate.sh --model '{target}' --env openspiel --set game_types=tic_tac_toe "
        f"--max-tokens 4 --output '{tmp_path}/scores'"
    )
    assert scored.returncode == 0, scored.stderr[-3000:]
    assert json.loads((tmp_path / "scores/summary.json").read_text())["tasks"] == 10


def test_the_games_go_on_where_the_run_does(trained: Run) -> None:
    """Those of the step in which it was killed are played again, and count once."""
    assert Counter(game["step"] for game in games(trained)) == {1: 8, 2: 8, 3: 8}
    assert {game["task_id"] for game in games(trained)} <= set(range(40))


def test_rewards_are_scores_of_games(trained: Run) -> None:
    rewards = [given["reward"] for session in sessions(trained) for given in session["given"]]
    assert set(rewards) <= {0.0, 0.5, 1.0} and len(set(rewards)) > 1, "some games are won, some are lost"
    for entry in trained.steps():
        assert 0 <= entry["data"]["critic/score/min"] <= entry["data"]["critic/score/max"] <= 1
    again = trained.killed_after + 1  # some of its games may have been played twice
    played = [session for session in sessions(trained) if session["split"] == "train"]
    assert 8 <= sum(session["step"] == again for session in played) <= 16
    once = [session for session in played if session["step"] != again]
    assert Counter(session["step"] for session in once) == {step: 8 for step in (1, 2, 3) if step != again}
    scores = [session["given"][-1]["reward"] for session in once]
    assert sorted(game["score"] for game in games(trained) if game["step"] != again) == sorted(scores)
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
    for entry in trained.steps():
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
    data = trained.steps()[-1]["data"]
    for name in ("won", "forfeited", "unfinished", "turns", "illegal", "env_error"):
        assert f"val-aux/openspiel/{name}/mean@1" in data
    assert data["val-aux/openspiel/opponent_strength/mean@1"] == 20
    assert data["val-aux/openspiel/env_error/mean@1"] == 0
    assert 0 <= data["val-core/openspiel/reward/mean@1"] <= 1
