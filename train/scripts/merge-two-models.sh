#!/usr/bin/env bash
# Averages the weights of two models of one architecture: (1 - ALPHA) × MODEL_A + ALPHA × MODEL_B.
#
#   MODEL_A=train/models/sft MODEL_B=train/merged_model ALPHA=0.5 bash train/scripts/merge-two-models.sh
#
#   MODEL_A      a model's directory: config, tokenizer, chat template and dtype are taken from it
#   MODEL_B      the other model's directory
#   ALPHA        the weight of MODEL_B, 0 to 1 (default: 0.5)
#   TARGET_DIR   where the average goes (default: train/merged_model_average)
# Arguments are passed on to train/tools/merge_two_models.py.
if [[ ${BASH_SOURCE[0]} != "$0" ]]; then # sourced
    # shellcheck source=lib/common.sh
    (. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh" && run_sourced "${BASH_SOURCE[0]}" "$@")
    return
fi
set -euo pipefail
# shellcheck source=lib/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
start_script "$@"
models=()
for letter in a b; do
    variable=MODEL_${letter^^}
    [[ -n ${!variable:-} ]] || die "$variable is not set: it names the directory of a model"
    directory=$(existing_dir "$variable" "${!variable}") || exit
    models+=("--model-$letter" "$directory")
done
run_in_group "$VERITAS_PYTHON" "$VERITAS_TOOLS/merge_two_models.py" "${models[@]}" --alpha "${ALPHA:-0.5}" \
    --target-dir "$(output_path "${TARGET_DIR:-train/merged_model_average}")" "$@"
