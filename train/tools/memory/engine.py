"""What vLLM holds on one GPU, in bytes, and whether its cache has room.

    engine = plan_engine(shape, settings, gpu=80 * GIB)
    engine.budget, engine.cache, engine.sequences       # 32 GiB, 17 GiB, 47 rows of the longest kind at once

Sources: vllm/v1/worker/gpu_worker.py (determine_available_memory), vllm/v1/worker/utils.py (request_memory),
vllm/v1/core/kv_cache_utils.py; verl/workers/rollout/vllm_rollout/vllm_async_server.py.
"""

from __future__ import annotations

from dataclasses import dataclass

from memory import GIB
from memory.settings import Rollout, Settings
from memory.shape import Shape
from memory.trainer import BF16, lora_parameters

CONTEXT = 0.9 * GIB
"""A CUDA context with its libraries, as nvidia-smi shows for a process that has allocated nothing of its own."""
GRAPHS = 1.0 * GIB
"""CUDA graphs of the default sizes (vLLM prints some 0.5 to 1.5 GiB for models of 1B to 8B)."""


@dataclass(frozen=True)
class Engine:
    budget: float
    """gpu_memory_utilization of the GPU."""
    weights: float
    working: float
    """Context, graphs and the largest forward pass."""
    token: float
    """Bytes of a token in the cache."""
    model_len: int
    """Tokens of one sequence for which vLLM demands room."""
    row: int
    asleep: float
    """What stays on the GPU while it sleeps."""

    @property
    def cache(self) -> float:
        return self.budget - self.weights - self.working

    @property
    def sequences(self) -> int:
        """Longest rows that are computed at once."""
        return max(0, int(self.cache / (self.token * self.row)))

    @property
    def wanted(self) -> float:
        """The least budget: vLLM refuses to start without room for one sequence of max_model_len."""
        return self.weights + self.working + self.token * self.model_len


def plan_engine(shape: Shape, settings: Settings, rollout: Rollout, gpu: float) -> Engine:
    parallel = rollout.parallel
    weights = BF16 * shape.parameters / parallel
    if settings.lora_rank and not rollout.merged:
        weights += BF16 * lora_parameters(shape, settings)
    tokens = max(rollout.batched_tokens, rollout.sequences)
    forward = BF16 * tokens * (4 * shape.hidden + (3 * shape.inner + shape.queries + 2 * shape.keys) / parallel)
    sampling = 2 * 4 * rollout.sequences * shape.vocabulary  # fp32 logits and their log-softmax
    working = CONTEXT + (0 if rollout.eager else GRAPHS) + forward + sampling
    return Engine(
        budget=rollout.share * gpu,
        weights=weights,
        working=working,
        token=cache_of_a_token(shape, parallel),
        # verl asks for max_position_embeddings where the recipe names no length
        model_len=min(rollout.model_len or shape.positions, shape.positions),
        row=rollout.row,
        asleep=CONTEXT + (0 if rollout.eager else GRAPHS) if rollout.sleeps else rollout.share * gpu,
    )


def cache_of_a_token(shape: Shape, parallel: int = 1) -> float:
    """A key and a value of each layer in bf16; key heads are divided among the GPUs of an engine."""
    return 2 * BF16 * shape.layers * shape.keys / parallel
