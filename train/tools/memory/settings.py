"""What a composed recipe says about memory, of GRPO and of SFT alike.

settings = read_settings(config)        # the DictConfig of check_recipe.compose_recipe, resolved
settings.kind, settings.update.tokens, settings.rollout.share       # ('grpo', 8192, 0.4)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from omegaconf import DictConfig, OmegaConf

SHORT = 8
"""Rows may be this much shorter than the recipe allows: a run is refused only if it would not fit even then."""
PADDING = 1.25
"""Padded rows of mixed lengths to the tokens in them, where verl limits the tokens and pads them afterwards."""


@dataclass(frozen=True)
class Batch:
    """One forward pass on one GPU."""

    tokens: int
    """The most tokens in it, padding included."""
    row: int
    """The most tokens of one row."""
    least: int
    """Tokens in it where rows are SHORT times shorter than they may be."""
    limit: int | None
    """Tokens that verl fills it with (use_dynamic_bsz); None: it has so many rows."""
    rows: int
    """The most rows in it."""


@dataclass(frozen=True)
class Rollout:
    """The inference engine, on the same GPUs."""

    share: float
    """gpu_memory_utilization: the engine's part of a GPU."""
    parallel: int
    """GPUs of one engine: tensor × pipeline parallel size."""
    row: int
    """The longest prompt and answer."""
    model_len: int | None
    """max_model_len; None: as long as the model is made for."""
    batched_tokens: int
    sequences: int
    eager: bool
    sleeps: bool
    """Whether it gives its memory back while the trainer works (free_cache_engine)."""
    bucket: int
    """Bytes of the buffer through which weights go."""
    merged: bool
    """LoRA: whether merged weights are sent, and not the adapter."""
    layered: bool
    """LoRA: whether the adapter is gathered layer by layer."""


@dataclass(frozen=True)
class Settings:
    kind: str
    """grpo or sft."""
    cpu: bool
    gpus: int
    """Of a node."""
    nodes: int
    strategy: str
    fsdp_size: int
    width: int
    """Bytes of a weight as the optimizer sees it: 4 (fp32, the default) or 2."""
    lora_rank: int
    lora_targets: Any
    lora_excluded: Any
    checkpointing: bool
    packed: bool
    """Rows without padding (use_remove_padding)."""
    attention: str
    fused: bool
    """Log-probs without logits (use_fused_kernels)."""
    fast_loss: bool
    """flash-attn's cross-entropy, which works in place."""
    compiled: bool
    scaled: bool
    """A temperature other than 1: one more copy of the logits."""
    entropy: bool
    """Whether the update computes the entropy."""
    update: Batch
    infer: Batch | None
    """Old log-probs, with entropy; None: not computed (bypass_mode)."""
    reference: bool
    """A second model for the KL term; with LoRA the adapter is switched off instead."""
    param_offload: bool
    optimizer_offload: bool
    everything_offload: bool
    """fsdp2's offload_policy: weights, gradients and optimizer live in host RAM."""
    rollout: Rollout | None
    processes: int
    """Large Python processes on a node beside the ranks."""
    workers: int
    """Small ones, of which many are alike: agent loops, rewards, storage."""
    cache_gib: float
    """CPU: VLLM_CPU_KVCACHE_SPACE."""

    @property
    def world(self) -> int:
        return self.gpus * self.nodes

    @property
    def shards(self) -> int:
        """Over how many GPUs FSDP spreads the model (verl/workers/engine/fsdp/utils.py, create_device_mesh)."""
        return self.fsdp_size if 0 < self.fsdp_size < self.world else self.world


def read_settings(config: DictConfig, environment: Mapping[str, str] | None = None) -> Settings:
    environment = environment or {}
    return _grpo(config, environment) if "actor_rollout_ref" in config else _sft(config)


def _common(config: DictConfig, model: DictConfig, engine: DictConfig) -> dict[str, Any]:
    cpu = config.trainer.device == "cpu"
    override = model.get("override_config") or {}
    return {
        "cpu": cpu,
        "gpus": config.trainer.n_gpus_per_node,
        "nodes": config.trainer.nnodes,
        "strategy": engine.strategy,
        "fsdp_size": engine.fsdp_size,
        "width": 2 if str(engine.model_dtype) in ("bf16", "bfloat16", "fp16", "float16") else 4,
        "lora_rank": model.lora_rank,
        "lora_targets": _plain(model.target_modules),
        "lora_excluded": _plain(model.exclude_modules),
        "checkpointing": bool(model.enable_gradient_checkpointing),
        "packed": bool(model.use_remove_padding),
        # verl/workers/config/model.py: flash_attention_2 unless the recipe says another
        "attention": override.get("attn_implementation", "flash_attention_2"),
        # verl/utils/torch_functional.py takes flash-attn's cross-entropy where it is installed
        "fast_loss": not cpu and find_spec("flash_attn") is not None,
        "param_offload": bool(engine.param_offload),
        "optimizer_offload": bool(engine.optimizer_offload),
        "everything_offload": bool(engine.offload_policy) and engine.strategy == "fsdp2",
    }


def _plain(value: Any) -> Any:
    return OmegaConf.to_container(value) if OmegaConf.is_config(value) else value


def _grpo(config: DictConfig, environment: Mapping[str, str]) -> Settings:
    part = config.actor_rollout_ref
    actor, rollout, model = part.actor, part.rollout, part.model
    common = _common(config, model, actor.fsdp_config)
    common["strategy"] = actor.strategy  # verl writes it into fsdp_config (verl/workers/config/actor.py)
    common["everything_offload"] = bool(actor.fsdp_config.offload_policy) and actor.strategy == "fsdp2"
    row = config.data.max_prompt_length + config.data.max_response_length
    world = common["gpus"] * common["nodes"]
    rows = max(1, actor.ppo_mini_batch_size * rollout.n // world)
    all_rows = max(1, config.data.train_batch_size * rollout.n // world)
    lora = model.lora_rank > 0 or model.lora_adapter_path is not None
    parallel = rollout.tensor_model_parallel_size * rollout.pipeline_model_parallel_size
    engines = max(1, common["gpus"] // parallel)
    return Settings(
        kind="grpo",
        **common,
        fused=bool(model.use_fused_kernels),
        compiled=bool(actor.fsdp_config.use_torch_compile),
        scaled=rollout.temperature != 1.0,
        entropy=bool(actor.calculate_entropy) or actor.entropy_coeff != 0,
        update=_batch(
            actor.use_dynamic_bsz,
            actor.ppo_max_token_len_per_gpu,
            actor.ppo_micro_batch_size_per_gpu or rows,
            row,
            rows,
            common["packed"],
        ),
        infer=None
        if OmegaConf.select(config, "algorithm.rollout_correction.bypass_mode")
        else _batch(
            rollout.log_prob_use_dynamic_bsz,
            rollout.log_prob_max_token_len_per_gpu,
            rollout.log_prob_micro_batch_size_per_gpu or all_rows,
            row,
            all_rows,
            common["packed"],
        ),
        # verl/trainer/ppo/utils.py, need_reference_policy, and ref_in_actor of trainer/ppo/v1/trainer_base.py
        reference=bool(actor.use_kl_loss or config.algorithm.use_kl_in_reward) and not lora,
        rollout=Rollout(
            share=rollout.gpu_memory_utilization,
            parallel=parallel,
            row=row,
            model_len=rollout.max_model_len,
            batched_tokens=rollout.max_num_batched_tokens,
            sequences=rollout.max_num_seqs,
            eager=bool(rollout.enforce_eager),
            sleeps=bool(rollout.free_cache_engine),
            bucket=rollout.checkpoint_engine.update_weights_bucket_megabytes * 2**20,
            merged=bool(model.lora.merge),
            layered=bool(rollout.layered_summon),
        ),
        processes=3 + engines * (1 + parallel),  # script, Ray, task runner; for each engine a server and its workers
        workers=rollout.agent.num_workers
        + config.reward.num_workers
        + (OmegaConf.select(config, "transfer_queue.backend.SimpleStorage.num_data_storage_units") or 1),
        cache_gib=float(environment.get("VLLM_CPU_KVCACHE_SPACE") or 1),
    )


def _sft(config: DictConfig) -> Settings:
    data, engine = config.data, config.engine
    common = _common(config, config.model, engine)
    rows = max(1, data.train_batch_size // (common["gpus"] * common["nodes"]))
    return Settings(
        kind="sft",
        **common,
        fused=bool(config.model.use_fused_kernels),
        compiled=bool(engine.use_torch_compile),
        scaled=False,
        entropy=False,
        update=_batch(
            data.use_dynamic_bsz,
            data.max_token_len_per_gpu,
            data.micro_batch_size_per_gpu,
            data.max_length,
            rows,
            common["packed"],
        ),
        infer=None,
        reference=False,
        rollout=None,
        processes=1,
        workers=0,
        cache_gib=0.0,
    )


def _batch(dynamic: bool, limit: int, micro: int, row: int, rows: int, packed: bool) -> Batch:
    """verl/utils/seqlen_balancing.py, rearrange_micro_batches: about `limit` tokens, or `micro` rows, and no more than
    the `rows` that there are."""
    if dynamic:
        tokens = round(min(max(limit, row), rows * row) * (1 if packed else PADDING))
    else:
        tokens = min(micro, rows) * row
        rows = min(micro, rows)
    least = min(tokens, max(1, rows * row // SHORT))
    return Batch(tokens=tokens, row=row, least=least, limit=limit if dynamic else None, rows=rows)
