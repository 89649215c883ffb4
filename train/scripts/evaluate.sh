#!/usr/bin/env bash
# Scores a model on held-out tasks of an environment: mean reward with its 95 % confidence interval.
#
#   bash train/scripts/evaluate.sh --model train/models/SmolLM2-135M-Instruct --env openspiel --set game_types=tic_tac_toe
#
# A model directory is served through vLLM; any OpenAI-compatible URL can be scored as well. The flags are those of
# train/tools/evaluate.py (`… evaluate.sh --flags` lists them). PROFILE=cpu leaves a GPU alone.
if [[ ${BASH_SOURCE[0]} != "$0" ]]; then # sourced
    # shellcheck source=lib/common.sh
    (. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh" && run_sourced "${BASH_SOURCE[0]}" "$@")
    return
fi
set -euo pipefail
# shellcheck source=lib/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
start_script "$@"
[[ ${1:-} != --flags ]] || set -- --help
choose_platform
run_in_group "$VERITAS_PYTHON" "$VERITAS_TOOLS/evaluate.py" "$@"
