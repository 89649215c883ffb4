#!/usr/bin/env bash
# GRPO on OpenSpiel games: trains a language model to choose good moves.
#
#   bash train/scripts/openspiel-ppo-trainer.sh [GAME …] [HYDRA_OVERRIDE …]
#   bash train/scripts/openspiel-ppo-trainer.sh hex 'go(board_size=5)' trainer.total_training_steps=100
#   DRY_RUN=1 bash train/scripts/openspiel-ppo-trainer.sh hex    # the whole config and the command; runs nothing
#
# Games are OpenSpiel names or load strings; an argument KEY=VALUE overrides the recipe, train/config/openspiel.yaml,
# and comes last. Settings are environment variables, or lines of .env (see .env.example):
#   AGENT_MODEL_REPO_ID   a hub id, downloaded to train/models, or a local directory
#   GAME_TYPES            games, with commas between them, when none are given as arguments
#   GAME_MODE=state|game  state: single decisions; game: whole games, turn by turn (train/config/openspiel_game.yaml)
#   GAME_OPPONENTS        whole games: random, mcts(50), mcts(50,10) or self; several: each when the one before is beaten
#   GAME_ANSWER_TOKENS    whole games: the most that the model may say in one turn
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
[[ ${#chosen[@]} == 0 ]] || GAME_TYPES=$(join_by , "${chosen[@]}")
export GAME_TYPES=${GAME_TYPES:-}

one_of DRY_RUN "${DRY_RUN:=0}" 0 1
recipe=$(game_recipe) || exit
train_grpo "$recipe" "${recipe/_/-}-${GAME_TYPES:-all}" need_open_spiel
