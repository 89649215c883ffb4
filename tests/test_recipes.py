"""Every recipe, with every profile and tuning, composes on verl's own schema to the values written in tests/golden.

A golden file holds what a recipe changes in verl's defaults. After a change that is meant:

    UPDATE_GOLDEN=1 python -m pytest tests/test_recipes.py
"""

from __future__ import annotations

import os
import re
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra import compose, initialize_config_dir, initialize_config_module
from hydra.errors import ConfigCompositionException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from peft import LoraConfig
from peft.tuners.tuners_utils import check_target_module_exists

ROOT = Path(__file__).parent.parent
CONFIG = ROOT / "train" / "config"
GOLDEN = Path(__file__).parent / "golden"
sys.path.insert(0, str(ROOT / "train/scripts/lib"))
from check_recipe import RecipeError, check_bypass  # noqa: E402

GRPO_PROFILES = sorted(path.stem for path in (CONFIG / "profile").glob("*.yaml"))
SFT_PROFILES = sorted(path.stem for path in (CONFIG / "sft_profile").glob("*.yaml"))
# recipe, the verl config that it extends, environment, overrides
CASES = {
    **{f"lgc_v2-{p}-lora": ("lgc_v2", "ppo_trainer", {"PROFILE": p}, []) for p in GRPO_PROFILES},
    **{f"mixture-{p}-lora": ("mixture", "ppo_trainer", {"PROFILE": p}, []) for p in GRPO_PROFILES},
    **{f"swe_agent-{p}-lora": ("swe_agent", "ppo_trainer", {"PROFILE": p}, []) for p in GRPO_PROFILES},
    **{f"swe_synth-{p}-lora": ("swe_synth", "ppo_trainer", {"PROFILE": p}, []) for p in GRPO_PROFILES},
    **{f"openspiel_game-{p}-lora": ("openspiel_game", "ppo_trainer", {"PROFILE": p}, []) for p in GRPO_PROFILES},
    **{f"openspiel-{p}-lora": ("openspiel", "ppo_trainer", {"PROFILE": p}, []) for p in GRPO_PROFILES},
    **{
        f"openspiel-{p}-full": ("openspiel", "ppo_trainer", {"PROFILE": p, "TUNING": "full"}, []) for p in GRPO_PROFILES
    },
    **{f"sft-{profile}": ("sft", "sft_trainer_engine", {"PROFILE": profile}, []) for profile in (*SFT_PROFILES, "gpu")},
    **{
        f"sft-{profile}-lora": ("sft", "sft_trainer_engine", {"PROFILE": profile, "TUNING": "lora"}, [])
        for profile in (*SFT_PROFILES, "gpu")
    },
    "openspiel-demo": ("openspiel", "ppo_trainer", {"PROFILE": "cpu"}, ["+demo=grpo"]),
    "sft-demo": ("sft", "sft_trainer_engine", {"PROFILE": "cpu"}, ["+demo=sft"]),
}
SCRIPT_VARIABLES = {  # what the scripts export
    "VERITAS_ROOT": "/repo",
    "AGENT_MODEL_PATH": "/repo/train/models/a-model",
    "CHECKPOINT_DIR": "/repo/checkpoints/a-run",
    "WANDB_EXP": "a-run",
    "MIXTURE": "openspiel,lgc-v2:3",
    "SFT_TRAIN_FILES": "/repo/train/parquet/train.parquet",
}


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    named = re.findall(r"oc\.env:([A-Z_]+)", "".join(path.read_text() for path in CONFIG.rglob("*.yaml")))
    for name in named:
        monkeypatch.delenv(name, raising=False)
    for name, value in SCRIPT_VARIABLES.items():
        monkeypatch.setenv(name, value)


def composed(recipe: str, *overrides: str) -> DictConfig:
    with initialize_config_dir(str(CONFIG), version_base=None):
        config = compose(recipe, overrides=["hydra.searchpath=[pkg://verl.trainer.config]", *overrides])
    OmegaConf.resolve(config)
    return config


def changes(config: Any, default: Any) -> Any:
    """The part of `config` that is not in `default`, as a nested mapping."""
    if not isinstance(config, dict) or not isinstance(default, dict):
        return config
    changed = {}
    for key, value in config.items():
        if key not in default:
            changed[key] = value
        elif value != default[key]:
            changed[key] = changes(value, default[key])
    return changed


def plain_verl(name: str) -> dict[str, Any]:
    with initialize_config_module("verl.trainer.config", version_base=None):
        config = compose(name)
    OmegaConf.resolve(config)
    return OmegaConf.to_container(config)


@pytest.mark.parametrize("case", CASES)
def test_a_recipe_composes_to_its_golden_values(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe, base, environment, overrides = CASES[case]
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    changed = changes(OmegaConf.to_container(composed(recipe, *overrides)), plain_verl(base))
    file = GOLDEN / f"{case}.yaml"
    if os.environ.get("UPDATE_GOLDEN"):
        file.write_text(yaml.safe_dump(changed, allow_unicode=True))
    assert yaml.safe_load(file.read_text()) == changed


def test_golden_files_are_those_of_the_cases() -> None:
    assert {path.stem for path in GOLDEN.glob("*.yaml")} == set(CASES)


def test_a_misspelt_key_is_refused() -> None:
    with pytest.raises(ConfigCompositionException, match="n_gpus_per_nod"):
        composed("openspiel", "trainer.n_gpus_per_nod=1")


def test_a_missing_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AGENT_MODEL_PATH")
    with pytest.raises(OmegaConfBaseException, match="AGENT_MODEL_PATH"):
        composed("openspiel")


@pytest.mark.parametrize(
    ("overrides", "fails"),
    [
        ([], True),
        (["actor_rollout_ref.actor.use_kl_loss=false"], False),
        (["actor_rollout_ref.actor.use_kl_loss=false", "algorithm.use_kl_in_reward=true"], True),
        (["actor_rollout_ref.model.lora_rank=0"], False),
        (["algorithm.rollout_correction.bypass_mode=false"], False),
    ],
)
def test_the_rollouts_log_probs_for_lora_beside_a_reference_are_refused(overrides: list[str], fails: bool) -> None:
    """Seen to end in the first update, on a CPU and on a GPU."""
    config = composed("openspiel", "algorithm.rollout_correction.bypass_mode=true", *overrides)
    with pytest.raises(RecipeError, match="use_kl_loss=false") if fails else nullcontext():
        check_bypass(config)


@pytest.mark.parametrize("name", ["lm_head", "model.lm_head", "model.embed_tokens"])
def test_lora_leaves_out_the_head_and_the_embedding(name: str) -> None:
    pattern = composed("openspiel").actor_rollout_ref.model.exclude_modules
    lora = LoraConfig(target_modules=r".*", exclude_modules=pattern)
    assert not check_target_module_exists(lora, name)
    assert check_target_module_exists(lora, "model.layers.0.self_attn.q_proj")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("recipe", "tuning"),
    [
        ("openspiel", "lora"),
        ("openspiel", "full"),
        ("openspiel_game", "lora"),
        ("lgc_v2", "lora"),
        ("mixture", "lora"),
        ("swe_synth", "lora"),
        ("swe_agent", "lora"),
    ],
)
def test_verl_accepts_the_values_of_every_section(
    recipe: str, tuning: str, monkeypatch: pytest.MonkeyPatch, tiny: Path
) -> None:
    """verl converts sections to dataclasses long after start, where a wrong type costs a model load."""
    from verl.utils.config import omega_conf_to_dataclass

    monkeypatch.setenv("TUNING", tuning)
    monkeypatch.setenv("AGENT_MODEL_PATH", str(tiny))
    config = composed(recipe)
    for section in ("model", "actor", "rollout"):  # verl rewrites ref before it converts it
        omega_conf_to_dataclass(config.actor_rollout_ref[section])
    omega_conf_to_dataclass(config.algorithm)


@pytest.mark.slow
@pytest.mark.parametrize("tuning", ["lora", "full"])
def test_verl_accepts_the_values_of_every_section_of_sft(
    tuning: str, monkeypatch: pytest.MonkeyPatch, tiny: Path
) -> None:
    from verl.utils.config import omega_conf_to_dataclass

    monkeypatch.setenv("TUNING", tuning)
    monkeypatch.setenv("AGENT_MODEL_PATH", str(tiny))
    config = composed("sft")
    for section in ("model", "engine", "optim", "checkpoint"):
        omega_conf_to_dataclass(config[section])
