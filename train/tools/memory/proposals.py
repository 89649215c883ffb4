"""What to change so that a run fits, in the user's words; each proposal is one that was planned again and fits.

    propose(recipe, shape, machine)
    # ['actor_rollout_ref.actor.ppo_max_token_len_per_gpu=4096', 'ENABLE_LORA=1', 'a model of at most about 2 B …']

`recipe(changes)` gives the settings with these changes, as a run would read them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from memory import GIB
from memory.machine import Machine
from memory.plan import TIGHT, Plan, make_plan
from memory.settings import Settings
from memory.shape import Shape

MOST = 3
SMALLEST = 100_000_000
"""Parameters: nobody would look for a smaller model for this."""
GPUS = (2, 4, 8)


@dataclass(frozen=True)
class Change:
    words: str
    """What the user types: KEY=VALUE or VARIABLE=VALUE."""
    overrides: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()


Recipe = Callable[[Sequence[Change]], Settings]


def override(*pairs: str) -> Change:
    return Change(" ".join(pairs), overrides=pairs)


def variable(words: str, **environment: str) -> Change:
    return Change(words, environment=tuple(environment.items()))


def propose(recipe: Recipe, shape: Shape, machine: Machine) -> list[str]:
    """At most MOST proposals, the least costly first; empty where nothing that we know of helps."""
    settings = recipe(())
    plan = make_plan(shape, settings, machine)
    found: list[str] = []

    def fits(changes: Sequence[Change]) -> bool:
        return not make_plan(shape, recipe(changes), machine).problems

    for values in _steps(shape, settings, plan, machine):
        if values and fits([values[-1]]):  # the most that can be done comes first
            found.append(next(change for change in values if fits([change])).words)
        if len(found) == MOST:
            return found
    if not found:
        found += _bundles(recipe, shape, machine, settings, plan)
    smaller = _smaller(shape, settings, machine)
    return [*found[: MOST - 1], smaller] if smaller else found[:MOST]


def _steps(shape: Shape, settings: Settings, plan: Plan, machine: Machine) -> Iterator[list[Change]]:
    """Kinds of change, each with its values from the least to the most."""
    helped = not make_plan(shape, _without_tokens(settings), machine).problems
    if helped:
        yield _smaller_batches(settings)
    sft = settings.kind == "sft"
    model = "model" if sft else "actor_rollout_ref.model"
    if helped and not settings.checkpointing:
        yield [override(f"{model}.enable_gradient_checkpointing=true")]
    if settings.rollout and not settings.cpu:
        yield _engine_share(settings, plan, machine)
        if settings.rollout.model_len != settings.rollout.row:
            yield [override(f"actor_rollout_ref.rollout.max_model_len={settings.rollout.row}")]
        if not (settings.param_offload and settings.optimizer_offload):
            engine = "actor_rollout_ref.actor.fsdp_config"
            yield [override(f"{engine}.optimizer_offload=true"), _offload()]
    if helped and not (settings.fused or settings.cpu):
        yield [override(f"{model}.use_fused_kernels=true")]
    if not settings.lora_rank:
        yield [_lora(settings)]
    if not (settings.everything_offload or settings.cpu):
        engine = "engine" if sft else "actor_rollout_ref.actor.fsdp_config"
        key = f"{engine}.offload_policy=true"
        yield [Change(f"FSDP_STRATEGY=fsdp2 {key}", (key,), (("FSDP_STRATEGY", "fsdp2"),))]


def _without_tokens(settings: Settings) -> Settings:
    """The settings with no more than one token at a time: what is left are weights, optimizer and rollout."""
    update, infer = settings.update, settings.infer
    return replace(
        settings,
        update=replace(update, tokens=1, least=1),
        infer=replace(infer, tokens=1, least=1) if infer else None,
    )


def _smaller_batches(settings: Settings) -> list[Change]:
    batch = settings.update
    if batch.limit:
        sft = settings.kind == "sft"
        key = "data.max_token_len_per_gpu" if sft else "actor_rollout_ref.actor.ppo_max_token_len_per_gpu"
        return [override(f"{key}={size}") for size in _halves(batch.limit, batch.row)]
    if settings.kind == "sft":
        name = "SFT_MICRO_BATCH_SIZE_PER_GPU"
        return [variable(f"{name}={rows}", **{name: str(rows)}) for rows in _halves(batch.rows, 1)]
    actor, rollout = "actor_rollout_ref.actor.ppo_micro", "actor_rollout_ref.rollout.log_prob_micro"
    end = "_batch_size_per_gpu"
    return [override(f"{actor}{end}={rows}", f"{rollout}{end}={rows}") for rows in _halves(batch.rows, 1)]


def _halves(value: int, least: int) -> list[int]:
    """8192, 2560 → [4096, 2560]; a batch stays divisible by its half."""
    halves = []
    while value > least:
        value = max(least, value // 2)
        halves.append(value)
    return halves


def _engine_share(settings: Settings, plan: Plan, machine: Machine) -> list[Change]:
    """The largest gpu_memory_utilization, in steps of 0.05, that leaves the trainer its memory."""
    engine = plan.engine
    rollout = next((phase for phase in plan.phases if phase.name == "rollout"), None)
    if not (engine and rollout and machine.gpu):
        return []
    free = TIGHT * machine.gpu - (rollout.size - rollout.fixed)
    share = math.floor(min(0.9, free / machine.gpu) * 20) / 20
    if share <= 0 or share * machine.gpu < engine.wanted:
        return []
    return [override(f"actor_rollout_ref.rollout.gpu_memory_utilization={share:.2f}")]


def _offload() -> Change:
    engine = "actor_rollout_ref.actor.fsdp_config"
    return override(f"{engine}.param_offload=true", f"{engine}.optimizer_offload=true")


def _lora(settings: Settings) -> Change:
    if settings.kind == "sft":
        return variable("SFT_LORA_RANK=16", TUNING="lora", SFT_LORA_RANK="16")
    return variable("ENABLE_LORA=1", TUNING="lora")


def _bundles(recipe: Recipe, shape: Shape, machine: Machine, settings: Settings, plan: Plan) -> Iterator[str]:
    """Several changes together, on this machine and then with more GPUs; what is not needed is left out."""
    counts = [settings.gpus, *(count for count in GPUS if count > settings.gpus and not settings.cpu)]
    for count in counts:
        if (
            machine.gpu
            and not settings.cpu
            and settings.width * shape.parameters > machine.gpu * count * settings.nodes
        ):
            continue
        # who has more GPUs has another machine: its RAM is what the proposal names
        there = machine if count == settings.gpus else Machine(machine.gpu, 0.0)
        for more in [[], [_lora(settings)]] if not settings.lora_rank else [[]]:
            changes = [*_more_gpus(settings, count), *more, *_all_cheap(settings)]
            share = _engine_share(settings, make_plan(shape, recipe(changes), there), there)
            kept = _needed(
                [*changes, *share], lambda some, there=there: not make_plan(shape, recipe(some), there).problems
            )
            if kept:
                words = " ".join(change.words for change in kept)
                ram = make_plan(shape, recipe(kept), there).host.size / TIGHT / GIB
                yield words if there is machine else f"{words} on {count} such GPUs with {ram:.0f} GB of RAM"
                return


def _more_gpus(settings: Settings, count: int) -> list[Change]:
    if count == settings.gpus:
        return []
    changes = [variable(f"GPU_COUNT={count}", GPU_COUNT=str(count))]
    if settings.rollout:
        changes.append(override(f"actor_rollout_ref.rollout.tensor_model_parallel_size={count}"))
        changes.append(variable("LAYERED_SUMMON=1", LAYERED_SUMMON="true"))
    return changes


def _all_cheap(settings: Settings) -> list[Change]:
    changes = _smaller_batches(settings)[-1:]
    if settings.rollout and not settings.cpu:
        changes += [override(f"actor_rollout_ref.rollout.max_model_len={settings.rollout.row}"), _offload()]
    if not settings.checkpointing:
        model = "model" if settings.kind == "sft" else "actor_rollout_ref.model"
        changes.append(override(f"{model}.enable_gradient_checkpointing=true"))
    return changes


def _needed(changes: list[Change], fits: Callable[[Sequence[Change]], bool]) -> list[Change]:
    """The changes without those that it fits without; empty where it does not fit with all."""
    if not fits(changes):
        return []
    for change in reversed(changes[:]):
        rest = [other for other in changes if other is not change]
        if fits(rest):
            changes = rest
    return changes


def _smaller(shape: Shape, settings: Settings, machine: Machine) -> str | None:
    for power in range(1, 25):
        small = shape.scaled(0.8**power)
        if small.parameters < SMALLEST:
            return None
        if not make_plan(small, settings, machine).problems:
            return f"a model of at most about {small.parameters / 1e9:.1f} B parameters"
    return None
