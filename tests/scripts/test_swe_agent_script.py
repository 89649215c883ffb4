"""swe-synth-ppo-trainer.sh with SWE_MODE=agent: its recipe, its agent loop, and what does not fit."""

from __future__ import annotations

from pathlib import Path

import pytest
from script_runner import Checkout, config_of, error_lines

from toy_swe_task import make_cache

SCRIPT = "train/scripts/swe-synth-ppo-trainer.sh"


@pytest.fixture
def repo(tmp_path: Path) -> Checkout:
    repo = Checkout(tmp_path)
    repo.env |= {
        "DRY_RUN": "1",
        "AGENT_MODEL_REPO_ID": "an-org/a-model",
        "SWE_SYNTH_CACHE_DIR": str(make_cache(tmp_path / "tasks", 10)),
        "SWE_SYNTH_USE_CACHE_ONLY": "1",
    }
    return repo


def test_an_agent_has_a_recipe_and_an_agent_loop_of_its_own(repo: Checkout) -> None:
    config = config_of(repo.script(SCRIPT, SWE_MODE="agent", SWE_AGENT_STEPS="7", SWE_COMMAND_SECONDS="9"))
    agent = config["actor_rollout_ref"]["rollout"]["agent"]
    assert agent["default_agent_loop"] == "swe_agent"
    assert Path(agent["agent_loop_config_path"]).is_file()
    settings = config["data"]["custom_cls"]["config"]["adapter_config"]
    assert settings["mode"] == "agent" and settings["agent"] == {"steps": 7, "command_s": 9}


def test_one_patch_is_the_default(repo: Checkout) -> None:
    config = config_of(repo.script(SCRIPT))
    assert config["actor_rollout_ref"]["rollout"]["agent"]["default_agent_loop"] == "single_turn_agent"


@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        ({"SWE_MODE": "chat"}, "SWE_MODE=chat is not known: use patch or agent"),
        ({"SWE_AGENT_STEPS": "3"}, "SWE_AGENT_STEPS=3 would be ignored"),
        ({"SWE_MODE": "agent", "SWE_AGENT_STEPS": "0"}, "at least 1"),
        ({"SWE_MODE": "agent", "SWE_ANSWER_TOKENS": "99999"}, "data.max_response_length"),
    ],
)
def test_what_does_not_fit_is_refused(repo: Checkout, variables: dict[str, str], reason: str) -> None:
    result = repo.script(SCRIPT, **variables)
    assert result.returncode == 2
    assert reason in error_lines(result)[0]


def test_tasks_and_agent_loop_must_fit(repo: Checkout) -> None:
    result = repo.script(SCRIPT, "data.custom_cls.config.adapter_config.mode=patch", SWE_MODE="agent")
    assert result.returncode == 2
    assert "agent loop" in error_lines(result)[0] and "SWE_MODE" in error_lines(result)[0]
