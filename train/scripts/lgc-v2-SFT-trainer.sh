#!/usr/bin/env bash
# Supervised fine-tuning (SFT): a language model learns the answers that parquet files give to prompts.
#
#   SFT_TRAIN_FILES=a.parquet,b.parquet SFT_VAL_FILES=c.parquet bash train/scripts/lgc-v2-SFT-trainer.sh [HYDRA_OVERRIDE …]
#   DRY_RUN=1 bash train/scripts/lgc-v2-SFT-trainer.sh trainer.total_training_steps=100    # the config and the command
#
# An argument KEY=VALUE overrides the recipe, train/config/sft.yaml, and comes last. Settings are environment variables,
# or lines of .env. This is the list, with the defaults:
#
#   AGENT_MODEL_REPO_ID=rhuanmatias/trained-top-sn120   a hub id, or a local directory; PROFILE=cpu: the embedded model
#   SFT_MODEL_PATH=                     a local directory, in place of AGENT_MODEL_REPO_ID; nothing is downloaded
#   HF_TOKEN=                           for a gated or private model or dataset only; HF_ENDPOINT is another hub
#
#   SFT_TRAIN_FILES=                    parquet files with commas between them; quotes around a path with a comma
#   SFT_VAL_FILES=                      the same; none: no validation
#   SFT_PARQUET_DIR=train/parquet       without SFT_TRAIN_FILES: its train.parquet, and its val.parquet where there is one
#   SFT_HF_DATASET=                     SWE-Synth trajectories, a hub id or a file: converted into SFT_PARQUET_DIR first
#   SFT_VAL_RATIO=0.1                   share of the dataset's instances that validate
#   SFT_PROMPT_KEY=prompt               column of the prompts, where a file has no column of messages
#   SFT_RESPONSE_KEY=response           column of the answers
#   SFT_MAX_LENGTH=2048                 tokens of prompt and answer
#   SFT_TRUNCATION=error                a longer one: error, left or right (cut), drop, split
#
#   SFT_TRAIN_BATCH_SIZE=32             rows a step, over all GPUs
#   SFT_MICRO_BATCH_SIZE_PER_GPU=8      rows at a time on one GPU; 4 on GPUs of 141 GB
#   SFT_TOTAL_EPOCHS=10
#   SFT_LR=2e-6                         learning rate
#   SFT_LORA_RANK=0                     LoRA of this rank; 0: all weights are trained
#   SFT_LORA_ALPHA=32
#   SFT_LORA_TARGET_MODULES=all-linear  modules with LoRA: names with commas between them, or a regular expression
#   LORA_EXCLUDE_MODULES=[lm_head,embed_tokens]   modules without LoRA, in the same ways; empty: none
#
#   SFT_SAVE_DIR=train/artifacts/checkpoints      checkpoints: SFT_SAVE_DIR/WANDB_EXP/global_step_N
#   SFT_SAVE_FREQ=50                    steps from checkpoint to checkpoint; -1: only the last; after_each_epoch
#   SFT_TEST_FREQ=50                    steps from validation to validation; the same
#   SFT_MAX_CKPT_TO_KEEP=               the latest so many; otherwise all
#   RESUME=auto                         from the latest checkpoint of this WANDB_EXP; never; or a directory global_step_N
#
#   PROFILE=                            a file of train/config/profile; found from the machine
#   FSDP_STRATEGY=fsdp2                 fsdp2 or fsdp; PROFILE=cpu runs fsdp2
#   GPU_COUNT=2                         GPUs per node; 1 where there is one or none
#   NNODES=1                            nodes; with more, start the script on each with the same settings, and:
#   NODE_RANK=                          this node: 0 to NNODES - 1
#   MASTER_ADDR=                        name or address of node 0
#   MASTER_PORT=29500                   a free port of it
#   VERITAS_PYTHON=                     the Python to use: .venv/bin/python
#   VERITAS_MIN_FREE_GB=5               a run does not start with less free disk
#   DOCTOR=1                            0: start without the doctor's quick checks (train/scripts/doctor.sh)
#   MEMORY_PLAN=1                       0: a run starts even where the plan of its memory says that it cannot fit
#
#   TRACKERS=wandb                      where metrics go: wandb, trackio, tensorboard, with commas between them
#   WANDB_API_KEY=                      for Weights & Biases
#   WANDB_MODE=                         online (with a key), offline (without) or disabled
#   WANDB_PROJECT=veritas-rl
#   WANDB_ENTITY=                       a team, in place of your own account
#   WANDB_TAGS=                         with commas between them
#   WANDB_NOTES=                        what you want to find out
#   WANDB_DIR=train/artifacts/wandb
#   WANDB_EXP=                          names the run and its directory: sft-<model>-<date>-<time>
#   DRY_RUN=0                           1: print the whole config and the commands, and run nothing
if [[ ${BASH_SOURCE[0]} != "$0" ]]; then # sourced
    # shellcheck source=lib/common.sh
    (. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh" && run_sourced "${BASH_SOURCE[0]}" "$@")
    return
fi
set -euo pipefail
# shellcheck source=lib/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
start_script "$@"

chosen=() user_overrides=() converter=() launcher=()
split_arguments "$@"
((${#chosen[@]} == 0)) || die "argument ${chosen[0]} is not KEY=VALUE: files and settings are variables, see --help"

one_of DRY_RUN "${DRY_RUN:=0}" 0 1
choose_sft_numbers
choose_sft_lora
choose_verl
choose_profile 2
choose_strategy
choose_nodes
choose_trackers
choose_sft_model
name_run "sft-$(basename "$AGENT_MODEL_REPO_ID")" "$(output_path "${SFT_SAVE_DIR:-train/artifacts/checkpoints}")"
choose_resume fsdp_config.json
choose_model
choose_sft_files
overrides+=("${user_overrides[@]}")
command=("${launcher[@]}" -m verl.trainer.sft_trainer --config-path "$VERITAS_ROOT/train/config" --config-name sft
    "${overrides[@]}")

if ((DRY_RUN)); then
    config=$(SFT_FILES_TO_COME=${#converter[@]} check_recipe sft "${overrides[@]}")
    check_run sft "$config"
    mask_secrets <<<"$config"
    ((${#converter[@]} == 0)) || show_command "${converter[@]}" | mask_secrets
    show_command "${command[@]}" | mask_secrets
    plan_memory --table "$config" sft "${overrides[@]}"
    exit
fi
need_free_disk "${CHECKPOINT_DIR%/*}"
ask_doctor sft
[[ $PROFILE == cpu* ]] || need_module flashinfer flashinfer-python
config=$(SFT_FILES_TO_COME=${#converter[@]} check_recipe sft "${overrides[@]}")
need_liger "$config"
check_run sft "$config"
fetch_model
plan_memory "$config" sft "${overrides[@]}"
lock_run
if ((${#converter[@]})); then
    run_in_group "${converter[@]}"
    check_recipe sft "${overrides[@]}" >/dev/null # again: now its files are there
fi
run_recorded sft "$config" "${command[@]}"
