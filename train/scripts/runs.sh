#!/usr/bin/env bash
# Lists the runs on this disk: kind, state, step, last reward or loss, size, and how long ago the last sign of life was.
#
#   bash train/scripts/runs.sh                # running, finished, stopped, failed (why), killed
#   bash train/scripts/runs.sh --json         # the same for programs
#   bash train/scripts/runs.sh clean          # shows what it would remove, and asks
#   bash train/scripts/runs.sh clean --yes    # does not ask
#
# `clean` takes runs that ended without a checkpoint, checkpoints that were never whole, and of finished runs the
# optimizer states of all checkpoints but the latest; nothing of a run that is running or ended within the hour.
if [[ ${BASH_SOURCE[0]} != "$0" ]]; then # sourced
    # shellcheck source=lib/common.sh
    (. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh" && run_sourced "${BASH_SOURCE[0]}" "$@")
    return
fi
set -euo pipefail
# shellcheck source=lib/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
start_script "$@"
"$VERITAS_PYTHON" "$VERITAS_TOOLS/runs.py" "$@"
