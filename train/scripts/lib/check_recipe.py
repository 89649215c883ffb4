"""Composes a recipe as verl will, checks what would be ignored or fail later, and prints the whole config.

    python train/scripts/lib/check_recipe.py train/config openspiel trainer.total_training_steps=10

A second or two, where `python -m verl.trainer.main_ppo --cfg job` takes ten: verl's configs are read from its folder,
without importing verl. One line on stderr and exit status 2 for anything that the user can mend.
"""

from __future__ import annotations

import difflib
import os
import re
import sys
from importlib.util import find_spec
from pathlib import Path

from check_sft import SftConfigError, check_sft
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

ONE_ANSWER = "single_turn_agent"  # verl's own agent loop


class RecipeError(ValueError):
    """Something in the recipe, a variable or an override that the user can mend."""


def verl_config_dir() -> Path:
    spec = find_spec("verl")
    if spec is None or not spec.submodule_search_locations:
        raise RecipeError("verl is not installed: run `make setup`")
    return Path(spec.submodule_search_locations[0]) / "trainer" / "config"


def compose_recipe(config_dir: Path, name: str, overrides: list[str], resolve: bool = True) -> DictConfig:
    """The config, with its interpolations resolved or left. Raises RecipeError with Hydra's reason in one line."""
    for override in overrides:
        if re.match(r"[+~]*custom_reward_function\b", override):
            raise RecipeError(f"{override}: verl ignores this key; use reward.{override.lstrip('+~')}")
    folder = str(verl_config_dir()).replace("'", "\\'")
    search = f"hydra.searchpath=['file://{folder}']"
    try:
        with initialize_config_dir(str(config_dir.absolute()), version_base=None):
            config = compose(name, overrides=[search, *overrides])
        if resolve:
            OmegaConf.resolve(config)
    except (HydraException, OmegaConfBaseException) as error:
        raise RecipeError(in_one_line(error) + did_you_mean(config_dir, name, search, error)) from error
    return config


def did_you_mean(config_dir: Path, name: str, search: str, error: BaseException) -> str:
    """' Did you mean …?' for a key that the recipe lacks; verl would ignore one that is added, as Hydra proposes."""
    unknown = re.search(r"Could not override '([^']+)'", str(error))
    if not unknown:
        return ""
    with initialize_config_dir(str(config_dir.absolute()), version_base=None):
        known = flat_keys(compose(name, overrides=[search]))
    close = difflib.get_close_matches(unknown.group(1), known, n=3)
    return f" Did you mean {' or '.join(close)}?" if close else ""


def flat_keys(config: DictConfig, prefix: str = "") -> list[str]:
    keys = []
    for key, value in config.items_ex(resolve=False):
        keys.append(f"{prefix}{key}")
        if isinstance(value, DictConfig) and not OmegaConf.is_interpolation(config, key):
            keys += flat_keys(value, f"{prefix}{key}.")
    return keys


def in_one_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines()]
    override = getattr(error, "override", None)  # a syntax error: Hydra's message does not say in which one
    lines = [f"{override}:" if override else "", *lines]
    kept = [line for line in lines if line and not line.startswith(("object_type=", "full_key:", "reference_type="))]
    return " ".join(line if line.endswith((".", ":", "?")) else f"{line}." for line in kept)


def check_lora(config: DictConfig) -> None:
    """Raises RecipeError for what PEFT cannot read, and for an adapter that verl would ignore (it does so silently)."""
    model = config.actor_rollout_ref.model if "actor_rollout_ref" in config else config.model
    for key in ("target_modules", "exclude_modules"):
        try:
            re.compile(model[key] if model.lora_rank and isinstance(model[key], str) else "")
        except re.error as error:
            raise RecipeError(f"{key}={model[key]} is neither names nor a regular expression: {error}") from error
    if not model.lora_adapter_path:
        return
    if not model.lora_rank:
        raise RecipeError(
            f"LORA_ADAPTER_PATH={model.lora_adapter_path} would be ignored with ENABLE_LORA=0 (lora_rank=0): "
            "set ENABLE_LORA=1, or unset LORA_ADAPTER_PATH"
        )
    if not (Path(model.lora_adapter_path) / "adapter_config.json").is_file():
        raise RecipeError(
            f"LORA_ADAPTER_PATH={model.lora_adapter_path} has no adapter_config.json: give a PEFT adapter's directory"
        )


def check_bypass(config: DictConfig) -> None:
    """Raises RecipeError for what ends in the first update, "attempting to assign a gradient with dtype BFloat16".

    FSDP 2 notes the dtype of gradients in its first pass. With bypass_mode that is the reference's, and in it PEFT
    freezes the adapters (torch/distributed/fsdp/_fully_shard/_fsdp_param_group.py, _init_mp_dtypes).
    """
    model, actor = config.actor_rollout_ref.model, config.actor_rollout_ref.actor
    bypass = OmegaConf.select(config, "algorithm.rollout_correction.bypass_mode")
    reference = actor.use_kl_loss or config.algorithm.use_kl_in_reward
    if bypass and reference and model.lora_rank and actor.strategy == "fsdp2":
        raise RecipeError(
            "algorithm.rollout_correction.bypass_mode=true fails with LoRA beside a reference in fsdp2: "
            "set actor_rollout_ref.actor.use_kl_loss=false, or leave bypass_mode out"
        )


def check_env(config: DictConfig) -> None:
    """Let the environments of the recipe judge their own settings. Raises RecipeError."""
    settings = OmegaConf.to_container(config.data.custom_cls).get("config") or {}
    if "env" not in settings:
        return
    dry_run = os.environ.get("DRY_RUN") == "1"
    if dry_run:
        os.environ["HF_HUB_OFFLINE"] = "1"  # read when the hub's library is imported: a dry run downloads nothing
    if not config.trainer.get("use_v1", True):
        raise RecipeError(
            "trainer.use_v1=false: verl's older trainer wants the same metrics of every answer, and ours differ by "
            "type of task. Leave it out"
        )
    check_sampler(config)
    from env_adapter import NotHere, SettingsError, get_env_adapter
    from mixture import read_parts

    loops = {}
    try:
        for part in read_parts(settings["env"], settings.get("adapter_config") or {}):
            try:
                adapter = get_env_adapter(part.env, part.settings)
                adapter.validate()
                tasks = adapter.num_tasks()
            except NotHere as error:
                if not dry_run:
                    raise
                print(f"note: the tasks were not checked: {error}", file=sys.stderr)
                continue
            except ModuleNotFoundError as error:
                if error.name != "pyspiel":
                    raise
                note = "open_spiel is not installed, so the games were not checked; a run installs it"
                print(f"note: {note}", file=sys.stderr)
                continue
            if tasks < 1:
                raise RecipeError(f"env {part.env} has no tasks with {part.settings}")
            loops[part.env] = getattr(adapter, "agent_loop", None)
    except SettingsError as error:
        raise RecipeError(str(error)) from error
    for env, loop in loops.items():
        check_agent_loop(config, env, loop, by_row=not isinstance(settings["env"], str) and any(loops.values()))


def check_sampler(config: DictConfig) -> None:
    """Raises RecipeError for what verl would ignore, or fail with later, beside a sampler of our own."""
    sampler = OmegaConf.select(config, "trainer.v1.sampler.custom_sampler.path")
    if not sampler:
        return
    off = "set trainer.v1.sampler.custom_sampler.path=null, which leaves out training/reward/<env>"
    if OmegaConf.select(config, "algorithm.filter_groups.enable"):
        raise RecipeError(f"algorithm.filter_groups would be ignored beside {Path(sampler).name}: {off}")
    mode = OmegaConf.select(config, "trainer.v1.trainer_mode")
    if mode != "sync":
        raise RecipeError(f"trainer.v1.trainer_mode={mode} does not take {Path(sampler).name}: {off}")


def check_agent_loop(config: DictConfig, env: str, wanted: str | None, by_row: bool = False) -> None:
    """Raises RecipeError where tasks and agent loop do not fit, or a reply does not fit into a response.

    `by_row`: each row of the dataset names its loop, as in a mixture of both kinds.
    """
    agent = config.actor_rollout_ref.rollout.agent
    if not by_row and agent.default_agent_loop != (wanted or ONE_ANSWER):
        raise RecipeError(
            f"the tasks of env {env} need the agent loop {wanted or ONE_ANSWER}, and default_agent_loop is "
            f"{agent.default_agent_loop}: games take GAME_MODE=game or state, software repair SWE_MODE=agent or patch"
        )
    if not wanted:
        return
    try:
        loops = {loop.name: loop for loop in OmegaConf.load(agent.agent_loop_config_path)}
        answer_tokens = loops[wanted].get("answer_tokens", 0)
    except (OSError, KeyError, TypeError, AttributeError, OmegaConfBaseException) as error:
        raise RecipeError(
            f"agent_loop_config_path={agent.agent_loop_config_path} is no list with an agent loop {wanted}: {error!r}"
        ) from error
    if answer_tokens > config.data.max_response_length:
        raise RecipeError(
            f"answer_tokens={answer_tokens} of {wanted} (GAME_ANSWER_TOKENS, SWE_ANSWER_TOKENS) is more than "
            f"data.max_response_length={config.data.max_response_length}, which holds the turns of a task: raise one "
            "or lower the other"
        )


def main() -> int:
    config_dir, name, *overrides = sys.argv[1:]
    try:
        config = compose_recipe(Path(config_dir), name, overrides)
        check_lora(config)
        if "actor_rollout_ref" in config:
            check_bypass(config)
            check_env(config)
        else:
            check_sft(config)
    except (RecipeError, SftConfigError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(OmegaConf.to_yaml(config), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
