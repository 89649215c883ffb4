"""What is measured on GPUs: each entry is one command of a user, with the settings that it is measured with.

Models: SmolLM2-135M-Instruct, for learning, and the shape of Qwen3-4B with random weights, for speed.
The task of the learning runs is tic-tac-toe, one move at a time: 2,000 positions, 1,600 of them to train on.
"""

from __future__ import annotations

from dataclasses import dataclass, field

SMALL, LARGE, WARM = "{work}/smollm2", "{work}/qwen3-4b", "{work}/warm"
TASKS = ["--env", "openspiel", "--set", "game_types=tic_tac_toe", "--set", "num_tasks_per_case=2000"]
GRPO = ["bash", "train/scripts/openspiel-ppo-trainer.sh", "tic_tac_toe"]
SFT = ["bash", "train/scripts/lgc-v2-SFT-trainer.sh"]
RL_METRICS = "{root}/train/artifacts/RL/checkpoints/{name}/metrics.jsonl"
LORA, FULL = ({"ENABLE_LORA": lora, "FSDP_STRATEGY": "fsdp2"} for lora in "10")
SFT_METRICS = "{root}/train/artifacts/checkpoints/{name}/metrics.jsonl"


@dataclass(frozen=True)
class Measurement:
    command: list[str]
    overrides: list[str] | None = None
    """Of the recipe; None: not a training run."""
    variables: dict[str, str] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    makes: str = ""
    """A file that says to other queues that this is done."""
    metrics: str = ""
    """Where its steps are logged."""
    limit_s: float = 600


# 64 tasks a step with 8 answers each, of one move in tic-tac-toe.
SHORT = [
    "data.train_batch_size=64",
    "data.max_prompt_length=256",
    "data.max_response_length=16",
    "data.filter_overlong_prompts=false",
    "+data.custom_cls.config.adapter_config.num_tasks_per_case=2000",
    "actor_rollout_ref.rollout.max_model_len=288",
    "actor_rollout_ref.rollout.gpu_memory_utilization=0.25",
]


def learning(tuning: dict[str, str], *more: str, steps: int = 100) -> Measurement:
    """Validated on 200 held-out tasks, 4 answers each, before and after."""
    return Measurement(
        GRPO,
        [
            *SHORT,
            "actor_rollout_ref.rollout.val_kwargs.n=4",
            f"trainer.total_training_steps={steps}",
            "trainer.total_epochs=100",
            f"trainer.save_freq={steps}",
            f"trainer.test_freq={steps}",
            "trainer.validation_data_dir={work}/validation-" + tuning["ENABLE_LORA"],
            *more,
        ],
        {"AGENT_MODEL_REPO_ID": WARM, **tuning},
        needs=("{work}/warm.done",),
        makes="{work}/learned-" + tuning["ENABLE_LORA"],
        metrics=RL_METRICS,
    )


def overhead(*more: str, needs: tuple[str, ...] = ()) -> Measurement:
    """20 steps without validation."""
    steps = ["trainer.total_training_steps=20", "trainer.total_epochs=100"]
    quiet = ["trainer.save_freq=-1", "trainer.test_freq=-1", "trainer.val_before_train=false"]
    return Measurement(
        GRPO,
        [*SHORT, *steps, *quiet, *more],
        {"AGENT_MODEL_REPO_ID": SMALL, **LORA},
        needs=needs,
        metrics=RL_METRICS,
        limit_s=300,
    )


def merge(lora: str, name: str) -> Measurement:
    return Measurement(
        ["bash", "train/scripts/merge-ppo.sh", "--no-vllm"],
        variables={
            "CHECKPOINT_BASE": "train/artifacts/RL/checkpoints/" + name,
            "TARGET_DIR": "{work}/merged-" + lora,
        },
        needs=("{work}/learned-" + lora,),
        makes="{work}/merged-" + lora + ".done",
        limit_s=150,
    )


def evaluate(model: str, need: str, output: str) -> Measurement:
    sampling = ["--split", "test", "--samples", "4", "--temperature", "1.0", "--max-tokens", "8"]
    return Measurement(
        ["bash", "train/scripts/evaluate.sh", "--model", model, *TASKS, *sampling, "--output", output],
        needs=(need,),
        limit_s=240,
    )


def sft_large(rank: int, *more: str, gpus: int = 1, fsdp: str = "fsdp2") -> Measurement:
    """6 steps of 32 texts of 2,048 tokens on each GPU."""
    overrides = ["trainer.total_training_steps=6", "trainer.save_freq=-1", "trainer.test_freq=-1"]
    overrides += ["checkpoint.save_contents=[extra]", *more]  # verl saves at the end whatever save_freq says
    return Measurement(
        SFT,
        overrides,
        {
            "AGENT_MODEL_REPO_ID": LARGE,
            "SFT_TRAIN_FILES": "{work}/long.parquet",
            "SFT_TRAIN_BATCH_SIZE": str(32 * gpus),
            "SFT_MICRO_BATCH_SIZE_PER_GPU": "4",
            "SFT_TRUNCATION": "right",
            "SFT_LR": "1e-5",
            "SFT_LORA_RANK": str(rank),
            "FSDP_STRATEGY": fsdp,
        },
        needs=("{work}/qwen3-4b.done", "{work}/long.parquet"),
        metrics=SFT_METRICS,
        limit_s=240,
    )


def grpo_large(tuning: dict[str, str], *more: str, gpus: int = 1, steps: int = 4) -> Measurement:
    """32 tasks a GPU, 8 answers each of 1,024 tokens."""
    return Measurement(
        GRPO,
        [
            f"data.train_batch_size={32 * gpus}",
            "data.max_prompt_length=512",
            "data.max_response_length=1024",
            "data.filter_overlong_prompts=false",
            "+data.custom_cls.config.adapter_config.num_tasks_per_case=2000",
            "actor_rollout_ref.rollout.max_model_len=1536",
            "actor_rollout_ref.rollout.gpu_memory_utilization=0.5",
            f"trainer.total_training_steps={steps}",
            "trainer.total_epochs=100",
            "trainer.save_freq=-1",
            "trainer.test_freq=-1",
            "trainer.val_before_train=false",
            *more,
        ],
        {"AGENT_MODEL_REPO_ID": LARGE, **tuning},
        needs=("{work}/qwen3-4b.done",),
        metrics=RL_METRICS,
        limit_s=540,
    )


def trl(model: str, need: str, name: str, *arguments: str, limit_s: float = 540) -> Measurement:
    return Measurement(
        ["{python}", "benchmarks/gpu/trl_grpo.py", "--model", model, "--output", "{work}/" + name, *arguments],
        needs=(need,),
        metrics="{work}/" + name + "/metrics.jsonl",
        limit_s=limit_s,
    )


# Whole weights go to the rollout engine, not adapters: verl copies the base to the CPU and back for that.
MERGED_SYNC = "actor_rollout_ref.model.lora.merge=true"
# Activations are kept for the backward pass, not worked out again.
KEPT = (
    "actor_rollout_ref.model.enable_gradient_checkpointing=false",
    "actor_rollout_ref.actor.ppo_max_token_len_per_gpu=12288",
)
SFT_KEPT = ("model.enable_gradient_checkpointing=false",)
SFT_CHECKPOINTED = ("model.enable_gradient_checkpointing=true",)
SFT_LIGER = ("model.use_liger=true",)
SFT_PLAIN = ("model.use_liger=false",)
LIGER = "actor_rollout_ref.model.use_liger=true"
# Log-probs from the hidden states, without the logits in memory.
SFT_FUSED = ("model.use_fused_kernels=true", "model.fused_kernel_options.impl_backend=triton")
FUSED = (
    "actor_rollout_ref.model.use_fused_kernels=true",
    "actor_rollout_ref.model.fused_kernel_options.impl_backend=triton",
)
# The rollout's own log-probs stand for the old policy's, and there is no reference: two passes over the answers fewer.
# With a reference, LoRA and FSDP 2 fail in the first update (results/gpu-4xh200/grpo-4b-lora-kept-fused-bypass.json).
ONE_PASS = ("algorithm.rollout_correction.bypass_mode=true", "actor_rollout_ref.actor.use_kl_loss=false")

MEASUREMENTS: dict[str, Measurement] = {
    "warm-data": Measurement(
        [
            *("{python}", "data_processing/generate_dataset.py", *TASKS, "--split", "train", "--num-samples", "1600"),
            *("--seed", "1", "--answers", "random", "--output", "{work}/warm.parquet"),
        ],
        limit_s=120,
    ),
    "long-data": Measurement(["{python}", "benchmarks/gpu/long_texts.py", "{work}/long.parquet"], limit_s=60),
    "random-4b": Measurement(
        ["{python}", "benchmarks/gpu/random_model.py", "qwen3-4b", "--tokenizer", SMALL, "--output", LARGE],
        makes="{work}/qwen3-4b.done",
        limit_s=180,
    ),
    "sft-135m-full": Measurement(
        SFT,
        ["trainer.test_freq=-1", "trainer.save_freq=-1"],
        {
            "AGENT_MODEL_REPO_ID": SMALL,
            "SFT_TRAIN_FILES": "{work}/warm.parquet",
            "SFT_TRAIN_BATCH_SIZE": "64",
            "SFT_MICRO_BATCH_SIZE_PER_GPU": "64",
            "SFT_TOTAL_EPOCHS": "1",
            "SFT_MAX_LENGTH": "256",
            "SFT_LR": "5e-5",
        },
        needs=("{work}/warm.parquet",),
        makes="{work}/sft-135m-full",
        metrics=SFT_METRICS,
        limit_s=240,
    ),
    "sft-135m-lora": Measurement(
        SFT,
        ["trainer.test_freq=-1", "trainer.save_freq=-1"],
        {
            "AGENT_MODEL_REPO_ID": SMALL,
            "SFT_TRAIN_FILES": "{work}/warm.parquet",
            "SFT_TRAIN_BATCH_SIZE": "64",
            "SFT_MICRO_BATCH_SIZE_PER_GPU": "64",
            "SFT_TOTAL_EPOCHS": "1",
            "SFT_MAX_LENGTH": "256",
            "SFT_LORA_RANK": "16",
            "SFT_LR": "3e-4",
        },
        needs=("{work}/warm.parquet",),
        metrics=SFT_METRICS,
        limit_s=240,
    ),
    "merge-sft": Measurement(
        ["bash", "train/scripts/merge.sh", "--no-vllm"],
        variables={"CHECKPOINT_BASE": "train/artifacts/checkpoints/sft-135m-full", "TARGET_DIR": WARM},
        needs=("{work}/sft-135m-full",),
        makes="{work}/warm.done",
        limit_s=150,
    ),
    "grpo-135m-lora": learning({**LORA, "LEARNING_RATE": "3e-4"}),
    "grpo-135m-lora-short": learning({**LORA, "LEARNING_RATE": "3e-4"}, steps=24),
    "grpo-135m-full": learning({**FULL, "LEARNING_RATE": "1e-5"}),
    "merge-135m-lora": merge("1", "grpo-135m-lora"),
    "merge-135m-lora-short": merge("1", "grpo-135m-lora-short"),
    "merge-135m-full": merge("0", "grpo-135m-full"),
    "evaluate-before": evaluate(WARM, "{work}/warm.done", "{work}/before"),
    "evaluate-lora": evaluate("{work}/merged-1", "{work}/merged-1.done", "{work}/after-lora"),
    "evaluate-full": evaluate("{work}/merged-0", "{work}/merged-0.done", "{work}/after-full"),
    "sft-4b-full": sft_large(0, *SFT_CHECKPOINTED, *SFT_PLAIN),
    "sft-4b-full-fused": sft_large(0, *SFT_CHECKPOINTED, *SFT_PLAIN, *SFT_FUSED),
    "sft-4b-full-kept": sft_large(0, *SFT_KEPT, *SFT_PLAIN),
    "sft-4b-full-kept-fused": sft_large(0, *SFT_KEPT, *SFT_PLAIN, *SFT_FUSED),
    "sft-4b-full-kept-liger": sft_large(0, *SFT_KEPT, *SFT_LIGER),
    "sft-4b-full-liger": sft_large(0, *SFT_CHECKPOINTED, *SFT_LIGER),
    "sft-4b-lora": sft_large(16, *SFT_CHECKPOINTED),
    "sft-4b-lora-fsdp1": sft_large(16, *SFT_CHECKPOINTED, fsdp="fsdp"),
    "sft-4b-full-fsdp1": sft_large(0, *SFT_CHECKPOINTED, *SFT_PLAIN, fsdp="fsdp"),
    "sft-4b-lora-kept": sft_large(16, *SFT_KEPT),
    "sft-4b-full-2gpu": sft_large(0, *SFT_KEPT, *SFT_LIGER, gpus=2),
    "sft-4b-full-4gpu": sft_large(0, *SFT_KEPT, *SFT_LIGER, gpus=4),
    "grpo-4b-lora": grpo_large(LORA),
    "grpo-4b-lora-liger": grpo_large(LORA, LIGER),
    "grpo-4b-lora-kept-liger": grpo_large(LORA, *KEPT, LIGER),
    "grpo-4b-lora-kept-fused-one-pass": grpo_large(LORA, *KEPT, *FUSED, *ONE_PASS),
    "grpo-4b-lora-kept-fused": grpo_large(LORA, *KEPT, *FUSED),
    "grpo-4b-lora-merged-kept-fused": grpo_large(LORA, MERGED_SYNC, *KEPT, *FUSED),
    "grpo-4b-lora-fsdp1": grpo_large({"ENABLE_LORA": "1", "FSDP_STRATEGY": "fsdp"}),
    "grpo-4b-full": grpo_large(FULL, steps=3),
    "grpo-4b-full-kept-liger": grpo_large(FULL, *KEPT, LIGER, steps=3),
    "grpo-4b-lora-2gpu": grpo_large(LORA, gpus=2),
    "grpo-4b-lora-4gpu": grpo_large(LORA, gpus=4),
    "grpo-4b-lora-kept-fused-2gpu": grpo_large(LORA, *KEPT, *FUSED, gpus=2),
    "grpo-4b-lora-kept-fused-4gpu": grpo_large(LORA, *KEPT, *FUSED, gpus=4),
    "plain-data": Measurement(["{python}", "benchmarks/gpu/plain_verl.py", "{work}/plain.parquet"], limit_s=60),
    "grpo-135m-ours": overhead(),
    "grpo-135m-plain": overhead(
        "data.custom_cls.path=null",
        "data.custom_cls.name=null",
        "data.train_files=[{work}/plain.parquet]",
        "data.val_files=[{work}/plain.parquet]",
        "reward.custom_reward_function.path={root}/benchmarks/gpu/plain_verl.py",
        needs=("{work}/plain.parquet",),
    ),
    "trl-4b-lora": trl(
        LARGE, "{work}/qwen3-4b.done", "trl-4b", "--steps", "3", "--tasks", "32", "--max-tokens", "1024"
    ),
    "trl-135m-lora": trl(
        WARM,
        "{work}/warm.done",
        "trl-135m",
        "--steps",
        "60",
        "--tasks",
        "64",
        "--max-tokens",
        "16",
        "--lr",
        "3e-4",
        *("--memory", "0.25", "--micro-batch", "64"),
    ),
}
