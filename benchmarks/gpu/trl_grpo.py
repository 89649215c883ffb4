"""The same GRPO in TRL (GRPOTrainer, vLLM in its process), on our tasks and rewards: what ours is compared with.

    python benchmarks/gpu/trl_grpo.py --model MODEL --tasks 64 --steps 100 --max-tokens 16 --output /tmp/trl

writes OUTPUT/metrics.jsonl in the form of our runs: seconds, tokens and mean reward of every step. LoRA, KL weight,
batch and lengths are those of our recipe; everything else is TRL's default.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict
from pathlib import Path

from datasets import Dataset
from peft import LoraConfig
from transformers import TrainerCallback
from trl import GRPOConfig, GRPOTrainer

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "train/tools"))
from env_adapter import Challenge, get_env_adapter
from task_split import split_task_ids

ANSWERS = 8


class Steps(TrainerCallback):
    """One line for each step."""

    def __init__(self, path: Path) -> None:
        self.file = path.open("w")
        self.started = time.monotonic()
        self.tokens = 0.0

    def on_step_begin(self, args, state, control, **kwargs):
        self.started = time.monotonic()

    def on_step_end(self, args, state, control, **kwargs):
        self.seconds = time.monotonic() - self.started

    def on_log(self, args, state, control, logs=None, **kwargs):
        if logs and "reward" in logs:
            data = {"timing_s/step": self.seconds, "critic/score/mean": logs["reward"]}
            data["perf/throughput"] = (logs["num_tokens"] - self.tokens) / self.seconds
            self.tokens = logs["num_tokens"]
            data |= {f"trl/{key}": value for key, value in logs.items()}
            self.file.write(json.dumps({"step": state.global_step, "data": data}) + "\n")
            self.file.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--tasks", type=int, default=32, help="of a step; each has eight answers")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--max-tokens", type=int, default=1024)
    parser.add_argument("--micro-batch", type=int, default=8, help="answers")
    parser.add_argument("--lr", type=float, default=6e-5)
    parser.add_argument("--attention", default="flash_attention_2")
    parser.add_argument("--memory", type=float, default=0.5, help="share of the GPU for vLLM")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)

    adapter = get_env_adapter("openspiel", {"game_types": "tic_tac_toe", "num_tasks_per_case": 2000})
    challenges = [adapter.generate(task) for task in split_task_ids(adapter.num_tasks(), "train")]
    rows = [{"prompt": item.messages, "challenge": json.dumps(asdict(item))} for item in challenges]

    def reward(completions, challenge, **_):
        texts = [completion[-1]["content"] for completion in completions]
        return [
            adapter.evaluate(text, Challenge(**json.loads(item))).value
            for text, item in zip(texts, challenge, strict=True)
        ]

    settings = GRPOConfig(
        output_dir=str(options.output),
        model_init_kwargs={"dtype": "bfloat16", "attn_implementation": options.attention},
        bf16=True,
        use_vllm=True,
        vllm_mode="colocate",
        vllm_enable_sleep_mode=True,
        vllm_gpu_memory_utilization=options.memory,
        vllm_max_model_length=512 + options.max_tokens,
        num_generations=ANSWERS,
        per_device_train_batch_size=options.micro_batch,
        gradient_accumulation_steps=options.tasks * ANSWERS // options.micro_batch,
        max_completion_length=options.max_tokens,
        max_steps=options.steps,
        learning_rate=options.lr,
        lr_scheduler_type="constant",
        beta=0.001,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        seed=42,
    )
    lora = LoraConfig(
        r=32,
        lora_alpha=32,
        target_modules="all-linear",
        exclude_modules=r"(.*\.)?(lm_head|embed_tokens)",
        task_type="CAUSAL_LM",
    )
    trainer = GRPOTrainer(
        model=options.model,
        reward_funcs=reward,
        args=settings,
        train_dataset=Dataset.from_list(rows),
        peft_config=lora,
        callbacks=[Steps(options.output / "metrics.jsonl")],
    )
    trainer.train()
    trainer.save_model(str(options.output / "adapter"))


if __name__ == "__main__":
    main()
