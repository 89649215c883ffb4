"""openspiel-ppo-trainer.sh with GAME_MODE=game: whole games instead of single decisions."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from script_runner import Checkout, error_lines

ADAPTER = "data.custom_cls.config.adapter_config"


@pytest.fixture
def repo(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


def dry_run(repo: Checkout, *arguments: str, **variables: str) -> tuple[dict, str]:
    result = repo.trainer("tic_tac_toe", *arguments, DRY_RUN="1", **variables)
    assert result.returncode == 0, result.stderr
    config, _, command = result.stdout.partition("\ncd ")
    return yaml.safe_load(config), command


def test_whole_games_have_a_recipe_and_an_agent_loop_of_their_own(repo: Checkout) -> None:
    config, command = dry_run(repo, GAME_MODE="game", GAME_OPPONENTS="random, mcts(50,2)")
    agent = config["actor_rollout_ref"]["rollout"]["agent"]
    assert agent["default_agent_loop"] == "openspiel_game"
    assert agent["agent_loop_config_path"] == f"{repo.root}/train/config/agent_loop/openspiel_game.yaml"
    assert Path(agent["agent_loop_config_path"]).is_file()
    settings = config["data"]["custom_cls"]["config"]["adapter_config"]
    assert settings == {"mode": "game", "game_types": "tic_tac_toe", "opponents": "random, mcts(50,2)"}
    assert "--config-name openspiel_game" in command
    assert "openspiel-game-tic_tac_toe-2" in config["trainer"]["experiment_name"]


def test_single_decisions_are_the_default(repo: Checkout) -> None:
    for variables in ({}, {"GAME_MODE": ""}, {"GAME_MODE": "state"}):
        config, command = dry_run(repo, **variables)
        assert config["actor_rollout_ref"]["rollout"]["agent"]["default_agent_loop"] == "single_turn_agent"
        assert "--config-name openspiel " in command


def test_a_users_settings_win(repo: Checkout) -> None:
    config, _ = dry_run(repo, f"+{ADAPTER}.opponents=self", f"+{ADAPTER}.max_turns=20", GAME_MODE="game")
    settings = config["data"]["custom_cls"]["config"]["adapter_config"]
    assert (settings["opponents"], settings["max_turns"]) == ("self", 20)


@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        ({"GAME_MODE": "games"}, "GAME_MODE=games is not known: use state or game"),
        ({"GAME_OPPONENTS": "random"}, "would be ignored with single decisions: set GAME_MODE=game"),
        ({"GAME_MODE": "game", "GAME_OPPONENTS": "mcts"}, "opponent 'mcts' is not known"),
        ({"GAME_MODE": "game", "GAME_OPPONENTS": "random,random"}, "each once"),
        ({"GAME_MODE": "game", "GAME_ANSWER_TOKENS": "0"}, "at least 1"),
        ({"GAME_MODE": "game", "GAME_ANSWER_TOKENS": "99999"}, "data.max_response_length"),
    ],
)
def test_what_cannot_be_played_is_refused_before_anything_starts(
    repo: Checkout, variables: dict[str, str], reason: str
) -> None:
    result = repo.trainer("tic_tac_toe", AGENT_MODEL_REPO_ID=str(repo.model()), **variables)
    assert result.returncode == 2
    (line,) = error_lines(result)
    assert reason in line
    assert not (repo.root / "train/outputs").exists()


@pytest.mark.parametrize(
    ("arguments", "mode"),
    [
        (f"+{ADAPTER}.mode=game", "state"),
        (f"+{ADAPTER}.mode=state", "game"),
        ("actor_rollout_ref.rollout.agent.default_agent_loop=single_turn_agent", "game"),
        ("actor_rollout_ref.rollout.agent.agent_loop_config_path=null", "game"),
    ],
)
def test_tasks_and_agent_loop_must_fit(repo: Checkout, arguments: str, mode: str) -> None:
    result = repo.trainer("tic_tac_toe", arguments, GAME_MODE=mode, DRY_RUN="1")
    assert result.returncode == 2
    assert "agent loop" in error_lines(result)[0]
