"""The plan: the parts of every phase of a step on one GPU, the host's RAM, and what does not fit.

plan = make_plan(shape, settings, machine)
plan.peak.name, plan.peak.size / GIB                # 'update', 31.2
[problem.words for problem in plan.problems if problem.certain]     # [] or why it cannot work
"""

from __future__ import annotations

from dataclasses import dataclass, field

from memory import GIB
from memory.engine import CONTEXT, Engine, plan_engine
from memory.machine import Machine
from memory.settings import Rollout, Settings
from memory.shape import Shape
from memory.trainer import BF16, FP32, infer_peak, lora_parameters, states, update_peak

ERROR = 0.20
"""Share by which a measured peak may differ from the plan: benchmarks/memory_plan.py, held by a test."""
TIGHT = 0.9
"""A plan above this share of the memory is worth a word."""
PROCESS = 0.85 * GIB
"""A Python process with torch, vLLM, Ray and their like, resident."""
WORKER = 0.5 * GIB
"""One of many alike, which share what they have mapped."""
RANK = 1.5 * GIB
"""The same of a rank of the trainer, with CUDA's libraries."""
NCCL = 0.5 * GIB
RAY = 0.5 * GIB
"""Ray's object store as these batches fill it."""


@dataclass(frozen=True)
class Phase:
    name: str
    parts: dict[str, float]
    fixed: float = 0.0
    """The part that is bounded by a setting, and not estimated: the engine's budget."""

    @property
    def size(self) -> float:
        return sum(self.parts.values())

    @property
    def low(self) -> float:
        """The least that it can be, within the plan's error."""
        return self.fixed + (self.size - self.fixed) * (1 - ERROR)


@dataclass(frozen=True)
class Problem:
    words: str
    certain: bool
    """False: it may fit, within the plan's error, or where rows are shorter than they may be."""


@dataclass(frozen=True)
class Plan:
    phases: list[Phase]
    """On one GPU; empty without a GPU."""
    host: Phase
    """On one node."""
    engine: Engine | None
    allocated: float
    """What torch's allocator of the trainer holds at most: verl's perf/max_memory_allocated_gb."""
    problems: list[Problem] = field(default_factory=list)

    @property
    def peak(self) -> Phase:
        return max(self.phases or [self.host], key=lambda phase: phase.size)

    @property
    def refused(self) -> bool:
        return any(problem.certain for problem in self.problems)


def make_plan(shape: Shape, settings: Settings, machine: Machine) -> Plan:
    plan = _parts(shape, settings, machine, least=False)
    least = _parts(shape, settings, machine, least=True)
    problems = []
    for phase, short in zip(plan.phases, least.phases, strict=True):
        problems += _compare(phase, short, machine.gpu, f"of a GPU in the phase {phase.name}")
    problems = sorted(problems, key=lambda problem: not problem.certain)[:1]  # one phase says enough
    problems += _compare(plan.host, least.host, machine.ram, "of RAM")
    if plan.engine and machine.gpu and not settings.cpu:
        problems += _engine_problems(plan.engine)
    return Plan(plan.phases, plan.host, plan.engine, plan.allocated, problems)


def _compare(phase: Phase, short: Phase, there: float, where: str) -> list[Problem]:
    if not there or phase.size <= TIGHT * there:
        return []
    certain = short.low > there
    words = f"about {(short if certain else phase).size / GIB:.0f} of {there / GIB:.0f} GB {where}"
    if not certain and short.size <= TIGHT * there:
        words += ", where rows are as long as they may be"
    return [Problem(words, certain)]


def _engine_problems(engine: Engine) -> list[Problem]:
    if engine.wanted <= engine.budget:
        return []
    words = (
        f"the rollout engine has {engine.budget / GIB:.0f} GB of a GPU and wants about {engine.wanted / GIB:.0f}: "
        f"weights {engine.weights / GIB:.1f}, work {engine.working / GIB:.1f}, and a cache of "
        f"{engine.token * engine.model_len / GIB:.1f} for one sequence of {engine.model_len} tokens"
    )
    return [Problem(words, certain=engine.weights + engine.token * engine.model_len > engine.budget)]


def _parts(shape: Shape, settings: Settings, machine: Machine, *, least: bool) -> Plan:
    held = states(shape, settings)
    engine = plan_engine(shape, settings, settings.rollout, machine.gpu) if settings.rollout else None
    update = update_peak(shape, settings, settings.update.least if least else settings.update.tokens)
    infer = {}
    if settings.infer:
        infer = infer_peak(shape, settings, settings.infer.least if least else settings.infer.tokens)
    everything = {"weights": held.weights, "gradients": held.gradients, "optimizer": held.optimizer}
    if settings.cpu:
        return Plan([], _without_gpu(shape, settings, everything, update, infer, engine), engine, 0.0)

    on_gpu = {} if settings.everything_offload else everything
    idle = {
        "weights": 0.0 if settings.param_offload else on_gpu.get("weights", 0.0),
        "optimizer": 0.0 if settings.optimizer_offload else on_gpu.get("optimizer", 0.0),
    }
    own = {"contexts": CONTEXT + (NCCL if settings.world > 1 else 0.0)}
    asleep = {"sleeping rollout engine": engine.asleep} if engine else {}
    phases = [Phase("update", {**on_gpu, **update, **asleep, **own})]
    allocated = sum({**on_gpu, **update}.values())
    if infer:
        present = {**idle, "weights": on_gpu.get("weights", 0.0)}
        phases.append(Phase("log-probs", {**present, **infer, **asleep, **own}))
        allocated = max(allocated, sum({**present, **infer}.values()))
    if engine and settings.rollout:
        phases.append(Phase("rollout", {**idle, "rollout engine": engine.budget, **own}, fixed=engine.budget))
        sync = _sync(shape, settings, settings.rollout, engine, {**idle, "weights": on_gpu.get("weights", 0.0)})
        phases.append(Phase("weight sync", {**sync, **own}))
    return Plan(phases, _beside_gpus(shape, settings, everything), engine, allocated)


def _sync(
    shape: Shape, settings: Settings, rollout: Rollout, engine: Engine, present: dict[str, float]
) -> dict[str, float]:
    """verl/workers/engine_workers.py, update_weights: the engine's weights are back and its cache is not."""
    awake = engine.weights + engine.working if rollout.sleeps else engine.budget
    parts = {**present, "rollout engine": awake, "transfer": rollout.bucket + FP32 * shape.head}
    unsharded = settings.lora_rank and settings.strategy == "fsdp" and settings.shards > 1
    if unsharded and not rollout.layered:
        # verl/utils/fsdp_utils.py, collect_lora_params: summon_full_params of base and adapter
        parts["whole model gathered"] = settings.width * (shape.parameters + lora_parameters(shape, settings))
    return parts


def _beside_gpus(shape: Shape, settings: Settings, everything: dict[str, float]) -> Phase:
    """RAM of one node. Tied embeddings: every rank loads the whole model, else the first of each shard group
    (verl/utils/fsdp_utils.py, get_init_weight_context_manager)."""
    ranks, rollout = settings.gpus, settings.rollout
    loaders = ranks if shape.tied else max(1, ranks // settings.shards)
    parts = {
        "processes": settings.processes * PROCESS + settings.workers * WORKER + ranks * RANK,
        "object store": RAY if rollout else 0.0,
        # FSDP keeps a reference model in RAM: CPUOffload is forced
        "reference model": settings.width * shape.parameters / settings.shards * ranks if settings.reference else 0.0,
    }
    loading = settings.width * shape.parameters * loaders
    kept = 0.0
    if settings.everything_offload:
        kept += sum(everything.values()) * ranks
    else:
        kept += ranks * everything["weights"] * settings.param_offload
        kept += ranks * everything["optimizer"] * settings.optimizer_offload
    if rollout and rollout.sleeps and settings.lora_rank and not rollout.merged:
        # vLLM sleeps at level 1 with an adapter: its weights wait in RAM (vllm_async_server.py, _resolve_sleep_level)
        kept += BF16 * shape.parameters * ranks / rollout.parallel
    parts["loading the model" if loading > kept else "offloaded"] = max(loading, kept)
    return Phase("RAM", parts)


def _without_gpu(
    shape: Shape,
    settings: Settings,
    everything: dict[str, float],
    update: dict[str, float],
    infer: dict[str, float],
    engine: Engine | None,
) -> Phase:
    """Everything is in RAM at once: the rollout engine never sleeps there."""
    work = max(update, infer, key=lambda parts: sum(parts.values()))
    processes = (settings.processes + settings.gpus) * PROCESS + settings.workers * WORKER
    parts = {**everything, **work, "processes": processes}
    if engine:
        parts |= {"rollout engine": engine.weights, "cache": settings.cache_gib * GIB, "object store": RAY}
    if settings.reference:
        parts["reference model"] = settings.width * shape.parameters
    return Phase("update" if work is update else "log-probs", parts)
