#!/usr/bin/env bash
# GRPO on several environments in one run, in the proportions that you choose.
#
#   bash train/scripts/mixture-GRPO-trainer.sh ENV[:WEIGHT] … [HYDRA_OVERRIDE …]
#   bash train/scripts/mixture-GRPO-trainer.sh openspiel lgc-v2:3 trainer.total_training_steps=100
#   DRY_RUN=1 bash train/scripts/mixture-GRPO-trainer.sh openspiel lgc-v2    # the whole config and the command; runs nothing
#
# Environments: openspiel lgc-v2 reasoning-gym trace swe-synth. lgc-v2:3 has three rows to one of an environment with
# weight 1, which is the default. An argument KEY=VALUE overrides the recipe, train/config/mixture.yaml, and comes last;
# an environment's settings stand in +data.custom_cls.config.adapter_config.ENV.
# Settings are environment variables, or lines of .env (see .env.example):
#   AGENT_MODEL_REPO_ID   a hub id, downloaded to train/models, or a local directory
#   MIXTURE               ENV[:WEIGHT], with commas between them, when none are given as arguments
#   GAME_TYPES            openspiel: games, with commas between them
#   TASK_TYPES, TASKS_PER_TYPE, TASK_DIFFICULTY=easy|medium|hard, TASK_LANGUAGE=en|zh   lgc-v2
#   REASONING_GYM_DATASETS   reasoning-gym: names of datasets, with commas between them
#   TRACE_PROGRAMS        trace: a file or a folder of programs
#   SWE_SYNTH_CACHE_DIR   swe-synth: tasks that data_processing/synthesize_swe_tasks.py made
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
[[ ${#chosen[@]} == 0 ]] || MIXTURE=$(join_by , "${chosen[@]}")
check_mixture "${MIXTURE:-}"
export MIXTURE

one_of DRY_RUN "${DRY_RUN:=0}" 0 1
choose_logic_tasks
choose_programs
absolute_path SWE_SYNTH_CACHE_DIR
train_grpo mixture "mixture-$MIXTURE" need_mixture
