#!/usr/bin/env bash
# Says why this machine cannot train, before anything is downloaded or loaded: `make doctor`.
#
#   bash train/scripts/doctor.sh             # each check: ok, warn or fail, what was found, and the fix
#   bash train/scripts/doctor.sh --json      # the same as JSON
#   bash train/scripts/doctor.sh --quick     # a second; only what is not ok. Every trainer does this at its start
#   bash train/scripts/doctor.sh --for sft   # or grpo: for that run, with the settings of .env and the environment
#
# It looks at .env, Python, the packages and their compiled parts, verl, driver and CUDA, GPU memory that others hold,
# /dev/shm, RAM, disk, Ray, ports, the model hub, tokens (which are never shown), Weights & Biases and sandboxes.
# Nothing is installed or downloaded. Exit status: 0 where nothing fails, 1 where something does, 2 for a wrong option.
# --seconds N: the longest that a package may take to be imported (60).
if [[ ${BASH_SOURCE[0]} != "$0" ]]; then # sourced
    # shellcheck source=lib/common.sh
    (. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh" && run_sourced "${BASH_SOURCE[0]}" "$@")
    return
fi
set -euo pipefail
# shellcheck source=lib/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
for argument in "$@"; do
    case $argument in -h | --help) show_help && exit 0 ;; esac
done

# Faults that end another script here are findings.
found=()
if said=$( (load_dotenv) 2>&1); then load_dotenv; else found+=("--env-fault=$said"); fi
unset_empty
if said=$( (choose_python) 2>&1); then
    choose_python 2>/dev/null
    found+=("--python-note=$said")
else
    found+=("--python-fault=$said")
    unset VERITAS_PYTHON
fi
# The Python that is looked at may be the broken thing, so any other that runs will do.
for python in ${VERITAS_PYTHON:+"$VERITAS_PYTHON"} python3 python3.12 python3.11; do
    timeout 10 "$python" -S -E -c 'import sys; sys.exit(sys.version_info < (3, 9))' 2>/dev/null || continue
    exec "$python" -S -E "$VERITAS_TOOLS/doctor" "${found[@]}" "$@"
done
die "no Python of at least 3.9 runs here: install one (Debian: apt-get install python3 python3-venv)"
