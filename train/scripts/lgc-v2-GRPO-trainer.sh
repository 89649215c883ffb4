#!/usr/bin/env bash
# The same as lgc-v2-RL-GRPO-trainer.sh: GRPO on logic tasks. See its --help.
if [[ ${BASH_SOURCE[0]} != "$0" ]]; then # sourced
    # shellcheck source=lgc-v2-RL-GRPO-trainer.sh
    . "$(dirname "${BASH_SOURCE[0]}")/lgc-v2-RL-GRPO-trainer.sh"
    return
fi
exec bash "$(dirname "${BASH_SOURCE[0]}")/lgc-v2-RL-GRPO-trainer.sh" "$@"
