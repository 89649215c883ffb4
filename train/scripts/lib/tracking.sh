# shellcheck shell=bash
# Where a run's metrics go besides the console and metrics.jsonl. Sourced by common.sh.

# choose_trackers: TRACKERS as verl's trainer.logger in `overrides`, and the module that makes verl's tracking ours.
choose_trackers() {
    local name chosen=${TRACKERS:-wandb}
    local -a trackers
    IFS=, read -r -a trackers <<<"${chosen// /}"
    for name in "${trackers[@]}"; do
        one_of TRACKERS "$name" wandb trackio tensorboard
        has_module "$name" ||
            die "TRACKERS=$chosen: $name is not installed in $VERITAS_PYTHON: \`$VERITAS_PYTHON -m pip install $name\`, or leave it out"
    done
    [[ -z ${TRACKERS:-} ]] || overrides+=("trainer.logger=[$(join_by , console file "${trackers[@]}")]")
    export VERL_USE_EXTERNAL_MODULES=${VERL_USE_EXTERNAL_MODULES:+$VERL_USE_EXTERNAL_MODULES,}run_tracking
    [[ ! -v CUDA_VISIBLE_DEVICES ]] || export VERITAS_GPUS=$CUDA_VISIBLE_DEVICES # Ray hides them from the trainer
    [[ ,${chosen// /}, != *,wandb,* ]] || choose_wandb
}

# Weights & Biases: online only with a key. Without WANDB_MODE it is chosen by whether there is one.
# WANDB_ENTITY, WANDB_TAGS and WANDB_NOTES are read by wandb itself.
choose_wandb() {
    local key=0
    if [[ -n ${WANDB_API_KEY:-} ]] || grep -qs wandb "${NETRC:-$HOME/.netrc}"; then key=1; fi
    if [[ -z ${WANDB_MODE:-} ]]; then
        WANDB_MODE=offline
        if ((key)); then WANDB_MODE=online; else say 'wandb    offline (no WANDB_API_KEY)'; fi
    fi
    one_of WANDB_MODE "$WANDB_MODE" online offline disabled
    [[ $WANDB_MODE != online || $key == 1 ]] ||
        die 'WANDB_MODE=online needs WANDB_API_KEY (wandb.ai/authorize gives one), or use WANDB_MODE=offline'
    export WANDB_MODE
}

# The folders of the trackers, and that a resumed run goes on in the same run of theirs. WANDB_RUN_ID: ledger.sh.
choose_tracker_folders() {
    local artifacts=$VERITAS_ROOT/train/artifacts
    WANDB_DIR=$(output_path "${WANDB_DIR:-$artifacts/wandb}")
    TENSORBOARD_DIR=$(output_path "${TENSORBOARD_DIR:-$artifacts/tensorboard}")/$WANDB_EXP
    TRACKIO_DIR=$(output_path "${TRACKIO_DIR:-$artifacts/trackio}")
    export WANDB_DIR TENSORBOARD_DIR TRACKIO_DIR WANDB_RESUME=${WANDB_RESUME:-allow}
}
