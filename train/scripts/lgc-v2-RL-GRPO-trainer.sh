#!/usr/bin/env bash
# GRPO on logic tasks made on the fly: the environment lgc-v2.
#
#   bash train/scripts/lgc-v2-RL-GRPO-trainer.sh [TASK_TYPE …] [HYDRA_OVERRIDE …]
#   bash train/scripts/lgc-v2-RL-GRPO-trainer.sh game_of_24 sudoku trainer.total_training_steps=100
#   DRY_RUN=1 bash train/scripts/lgc-v2-RL-GRPO-trainer.sh sudoku    # the whole config and the command; runs nothing
#
# Task types: boolean_expressions cryptarithm dyck_language dyck_language2 dyck_language_reasoning_errors game_of_24
# operation sudoku; none: all. An argument KEY=VALUE overrides the recipe, train/config/lgc_v2.yaml, and comes last.
# Settings are environment variables, or lines of .env (see .env.example):
#   AGENT_MODEL_REPO_ID   a hub id, downloaded to train/models, or a local directory
#   TASK_TYPES            task types, with commas between them, when none are given as arguments
#   TASKS_PER_TYPE        how many tasks of each
#   TASK_DIFFICULTY=easy|medium|hard   TASK_LANGUAGE=en|zh
#   ENABLE_LORA=0|1       1: LoRA; 0: all weights. LORA_RANK, LORA_ALPHA, LORA_EXCLUDE_MODULES, LORA_ADAPTER_PATH
#   LEARNING_RATE         in place of the recipe's
#   LAYERED_SUMMON=0|1    gather LoRA weights layer by layer: less GPU memory
#   FSDP_STRATEGY=fsdp2|fsdp   ROLLOUT_BACKEND=vllm|sglang   GPU_COUNT   NNODES
#   PROFILE               a file of train/config/profile; found from the machine when not set
#   WANDB_PROJECT, WANDB_EXP, WANDB_MODE=online|offline|disabled; WANDB_ENTITY, WANDB_TAGS, WANDB_NOTES, WANDB_DIR
#   TRACKERS              where metrics go: wandb, trackio, tensorboard, with commas between them
#   RESUME=auto|never|DIRECTORY   auto goes on from the latest checkpoint of the same WANDB_EXP
#
# Checkpoints: train/artifacts/RL/checkpoints/<WANDB_EXP>; W&B: train/artifacts/wandb; Hydra: train/outputs.
if [[ ${BASH_SOURCE[0]} != "$0" ]]; then # sourced
    # shellcheck source=lib/common.sh
    (. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh" && run_sourced "${BASH_SOURCE[0]}" "$@")
    return
fi
set -euo pipefail
# shellcheck source=lib/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
start_script "$@"

chosen=()
split_arguments "$@"
[[ ${#chosen[@]} == 0 ]] || TASK_TYPES=$(join_by , "${chosen[@]}")
export TASK_TYPES=${TASK_TYPES:-}

one_of DRY_RUN "${DRY_RUN:=0}" 0 1
choose_logic_tasks
train_grpo lgc_v2 "lgc-v2-${TASK_TYPES:-all}" need_reasoning_gym
