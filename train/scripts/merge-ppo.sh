#!/usr/bin/env bash
# As merge.sh, with a target of its own: the models of the GRPO scripts.
#
#   bash train/scripts/merge-ppo.sh
#   CHECKPOINT_BASE=train/artifacts/RL/checkpoints/my-run GLOBAL_STEP=100 TARGET_DIR=my-model bash train/scripts/merge-ppo.sh
#
#   CHECKPOINT_BASE   an experiment's directory, or the parent of one (default: train/artifacts/RL/checkpoints)
#   GLOBAL_STEP       the step to export (default: the latest)
#   TARGET_DIR        where the model goes (default: train/merged_model_ppo)
# Arguments are passed on to train/tools/export_checkpoint.py.
if [[ ${BASH_SOURCE[0]} != "$0" ]]; then # sourced
    # shellcheck source=lib/common.sh
    (. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh" && run_sourced "${BASH_SOURCE[0]}" "$@")
    return
fi
set -euo pipefail
# shellcheck source=lib/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
start_script "$@"
export_checkpoint train/artifacts/RL/checkpoints train/merged_model_ppo "$@"
