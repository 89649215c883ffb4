#!/usr/bin/env bash
# GRPO on software repair: a patch is right when the repository's tests pass. The environment swe-synth.
#
#   SWE_SYNTH_CACHE_DIR=tasks bash train/scripts/swe-synth-ppo-trainer.sh [TASK_ID … | FIRST:AFTER] [HYDRA_OVERRIDE …]
#   SWE_SYNTH_CACHE_DIR=tasks bash train/scripts/swe-synth-ppo-trainer.sh 0:500 trainer.total_training_steps=100
#   DRY_RUN=1 bash train/scripts/swe-synth-ppo-trainer.sh    # the whole config and the command; runs nothing
#
# Tasks are made by data_processing/synthesize_swe_tasks.py, or come from a dataset of the hub. Nothing is trained on by
# default: name a directory or a dataset. An argument KEY=VALUE overrides the recipe, train/config/swe_synth.yaml, and
# comes last. Settings are environment variables, or lines of .env (see .env.example):
#   SWE_SYNTH_CACHE_DIR       a directory of task_0.json, task_1.json …; what comes from the hub is kept there too
#   SWE_SYNTH_DATASET_NAME    a dataset such as princeton-nlp/SWE-bench_Lite, with SWE_SYNTH_SPLIT=test
#   SWE_SYNTH_TASK_IDS=3,7    or SWE_SYNTH_TASK_ID_RANGE=0:100, when none are given as arguments; default: the first 100
#   SWE_SYNTH_USE_CACHE_ONLY=0|1   1: neither tasks nor repositories are downloaded
#   SWE_REPO_CACHE            git repositories, SWE_REPO_URL: where a missing one is fetched from
#   SWE_BACKEND=auto|bwrap|docker  where tests run; SWE_MAX_SANDBOXES at a time
#   SWE_PYTHON                bwrap: the Python with what the repositories need, and pytest
#   SWEBENCH_PYTHON           docker: a Python with swebench
#   SWE_PROMPT_TOKENS         how much of the repository is shown
#   SWE_MODE=patch|agent      patch: one answer; agent: turn by turn, as mini-swe-agent (train/config/swe_agent.yaml)
#   SWE_AGENT_STEPS, SWE_ANSWER_TOKENS, SWE_COMMAND_SECONDS   an agent's turns, tokens of one, time of a command
#   AGENT_MODEL_REPO_ID   a hub id, downloaded to train/models, or a local directory
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
one_of DRY_RUN "${DRY_RUN:=0}" 0 1
choose_swe_tasks "${chosen[@]}"
choose_swe_backend
recipe=$(swe_recipe) || exit
if [[ $recipe == swe_agent ]]; then need=need_agent; else need=need_pytest; fi
train_grpo "$recipe" "$(swe_run_name)" "$need"
