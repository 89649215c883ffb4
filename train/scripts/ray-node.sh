#!/usr/bin/env bash
# Ray on one machine of several, for GRPO with NNODES: this repository's Python, and the variables of .env for workers.
#
#   bash train/scripts/ray-node.sh head                    # on the first machine
#   bash train/scripts/ray-node.sh 10.0.0.1:6379           # on each of the others: the first one's address
#   bash train/scripts/ray-node.sh head --node-ip-address=10.0.0.1 --num-gpus=4    # more options of `ray start`
#
# Then, on any of them: RAY_ADDRESS=10.0.0.1:6379 NNODES=2 bash train/scripts/openspiel-ppo-trainer.sh …
# It stays in front; Ctrl-C ends Ray on this machine. RAY_PORT=6379 is the head's port; RAY_WAIT_S=600 waits for a head
# that is still to come.
# Keys (WANDB_API_KEY, HF_TOKEN) reach the workers from here and from nowhere else.
if [[ ${BASH_SOURCE[0]} != "$0" ]]; then # sourced
    # shellcheck source=lib/common.sh
    (. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh" && run_sourced "${BASH_SOURCE[0]}" "$@")
    return
fi
set -euo pipefail
# shellcheck source=lib/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
start_script "$@"

# wait_for_head HOST PORT
wait_for_head() {
    local end=$((SECONDS + ${RAY_WAIT_S:-0}))
    # shellcheck disable=SC2016
    until timeout 2 bash -c ': <"/dev/tcp/$0/$1"' "$1" "$2" 2>/dev/null; do
        ((SECONDS < end)) || die "nothing answers at $1:$2: start the head first, or set RAY_WAIT_S to wait for it"
        sleep 1
    done
}

(($#)) || die 'say head, or the HOST:PORT of the head: see --help'
whole_number RAY_PORT "${RAY_PORT:=6379}" 1
whole_number RAY_WAIT_S "${RAY_WAIT_S:=0}" 0
case $1 in
    head) where=(--head "--port=$RAY_PORT" --include-dashboard=false) ;;
    *:[0-9]*) wait_for_head "${1%:*}" "${1##*:}" && where=("--address=$1") ;;
    *) die "$1 is neither head nor the HOST:PORT of one: see --help" ;;
esac
shift
has_module ray || die "Ray is not installed in $VERITAS_PYTHON: run \`make setup\`"
choose_platform
# Logical, as in train/config/profile/cpu.yaml: verl's actors ask for GPUs, and each for a processor.
[[ ${VERL_PLATFORM:-} != cpu ]] || where+=(--num-cpus=8 --num-gpus=1)
unset RAY_ADDRESS
run_in_group "$VERITAS_PYTHON" -m ray.scripts.scripts start "${where[@]}" --disable-usage-stats --block "$@"
