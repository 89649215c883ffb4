#!/usr/bin/env bash
# One HTML page of a training run, or of two compared: reward, losses, lengths, time, answers, settings. Works offline.
#
#   bash train/scripts/report.sh my-run                            # by its WANDB_EXP: train/artifacts/…/my-run/report.html
#   bash train/scripts/report.sh my-run other-run --output two.html
#
# RUN is the name of a run of GRPO or SFT, or its directory. A run that still goes on can be looked at as well.
if [[ ${BASH_SOURCE[0]} != "$0" ]]; then # sourced
    # shellcheck source=lib/common.sh
    (. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh" && run_sourced "${BASH_SOURCE[0]}" "$@")
    return
fi
set -euo pipefail
# shellcheck source=lib/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
start_script "$@"
(($#)) || die 'no run is named: give the name (WANDB_EXP) or the directory of one run, or of two to compare; see --help'
choose_platform
run_in_group "$VERITAS_PYTHON" "$VERITAS_TOOLS/run_report" "$@"
