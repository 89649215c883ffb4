"""mixture-GRPO-trainer.sh: GRPO on several environments, with weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from script_runner import Checkout, error_lines

from swe_toy import shared_toy_tasks
from trace_programs import good_programs, write_programs

pytestmark = pytest.mark.slow

SCRIPT = "train/scripts/mixture-GRPO-trainer.sh"
SMALL = {"GAME_TYPES": "tic_tac_toe", "TASK_TYPES": "operation"}
GAMES = "+data.custom_cls.config.adapter_config.openspiel.mode=game"


@pytest.fixture
def repo(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


def dry_run(repo: Checkout, *arguments: str, **variables: str) -> tuple[dict, str]:
    result = repo.script(SCRIPT, *arguments, DRY_RUN="1", AGENT_MODEL_REPO_ID="an-org/a-model", **variables)
    assert result.returncode == 0, result.stderr
    config, _, command = result.stdout.partition("\ncd ")
    return yaml.safe_load(config), command


def test_environments_weights_and_their_settings_reach_the_dataset(repo: Checkout) -> None:
    override = "+data.custom_cls.config.adapter_config.lgc-v2.seed=5"
    config, command = dry_run(repo, "openspiel", "lgc-v2:2.5", override, TASK_DIFFICULTY="easy", **SMALL)
    chosen = config["data"]["custom_cls"]["config"]
    assert chosen["env"] == ["openspiel", "lgc-v2:2.5"]
    assert chosen["adapter_config"]["openspiel"] == {"game_types": "tic_tac_toe"}
    assert chosen["adapter_config"]["lgc-v2"] == {
        "task_types": "operation",
        "num_tasks_per_type": 500,
        "difficulty": "easy",
        "language": "en",
        "seed": 5,
    }
    assert config["data"]["shuffle"] is False
    assert "--config-name mixture" in command and "MIXTURE=openspiel,lgc-v2:2.5" in command.replace("\\", "")
    assert config["trainer"]["experiment_name"].startswith("mixture-openspiel-lgc-v2-2.5-2")


def test_the_variable_does_as_the_arguments_do(repo: Checkout) -> None:
    names = {"REASONING_GYM_DATASETS": "chain_sum", "MIXTURE": "reasoning-gym:2,lgc_v2"}
    config, _ = dry_run(repo, **names, **SMALL)
    assert config["data"]["custom_cls"]["config"]["env"] == ["reasoning-gym:2", "lgc_v2"]
    assert config["data"]["custom_cls"]["config"]["adapter_config"]["reasoning-gym"] == {"datasets": "chain_sum"}


def test_whole_games_stand_beside_single_answers(repo: Checkout) -> None:
    config, _ = dry_run(repo, "openspiel", "lgc-v2", GAMES, GAME_ANSWER_TOKENS="16", **SMALL)
    agent = config["actor_rollout_ref"]["rollout"]["agent"]
    assert agent["default_agent_loop"] == "single_turn_agent", "the rows of games name theirs"
    assert agent["agent_loop_config_path"].endswith("openspiel_game.yaml")


def test_programs_and_tasks_made_here_can_be_mixed(repo: Checkout, tmp_path: Path) -> None:
    write_programs(tmp_path / "programs.jsonl", good_programs(12))
    names = {"TRACE_PROGRAMS": str(tmp_path / "programs.jsonl"), "SWE_SYNTH_CACHE_DIR": str(shared_toy_tasks(8))}
    config, _ = dry_run(repo, "trace", "swe-synth:2", **names)
    settings = config["data"]["custom_cls"]["config"]["adapter_config"]
    assert settings["trace"] == {"programs": names["TRACE_PROGRAMS"]}
    assert settings["swe-synth"] == {"cache_dir": names["SWE_SYNTH_CACHE_DIR"], "use_cache_only": True}


@pytest.mark.parametrize(
    ("arguments", "variables", "reason"),
    [
        ([], {}, "no environment is chosen"),
        (["openspiel", "chess"], {}, "unknown env 'chess'"),
        (["openspiel:x"], {}, "openspiel:x is not ENV or ENV:WEIGHT"),
        (["openspiel:0"], {}, "the weight '0' is not a number above 0"),
        (["lgc-v2", "lgc_v2"], {}, "names lgc-v2 twice"),
        (["reasoning-gym", "lgc-v2"], {}, "datasets is empty"),
        (["trace"], {}, "trace has no programs"),
        (["trace"], {"TRACE_PROGRAMS": "nowhere.jsonl"}, "TRACE_PROGRAMS=nowhere.jsonl is not there"),
        (["swe-synth", "lgc-v2"], {}, "use_cache_only=true needs cache_dir"),
        (["lgc-v2"], {"TASK_DIFFICULTY": "insane"}, "TASK_DIFFICULTY=insane is not known"),
        (["openspiel", "lgc-v2", "trainer.use_v1=false"], {}, "trainer.use_v1=false"),
        (["lgc-v2", "algorithm.filter_groups.enable=true"], {}, "algorithm.filter_groups would be ignored"),
        (["lgc-v2", "trainer.v1.trainer_mode=separate_async"], {}, "trainer.v1.trainer_mode=separate_async"),
        (["openspiel", "lgc-v2", GAMES], {"GAME_ANSWER_TOKENS": "999"}, "answer_tokens=999 of openspiel_game"),
    ],
)
def test_what_cannot_be_mixed_is_refused_before_anything_starts(
    repo: Checkout, arguments: list[str], variables: dict[str, str], reason: str
) -> None:
    result = repo.script(SCRIPT, *arguments, AGENT_MODEL_REPO_ID=str(repo.model()), **{**SMALL, **variables})
    assert result.returncode == 2
    (line,) = error_lines(result)
    assert reason in line
    assert not (repo.root / "train/outputs").exists()
