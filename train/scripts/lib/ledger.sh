# shellcheck shell=bash
# The ledger of a run: what it is, its starts and its exits. train/tools/ledger/__init__.py says what lies where.
# Sourced by common.sh.

ledger() { "$VERITAS_PYTHON" "$VERITAS_TOOLS/run_ledger.py" "$1" --run "$CHECKPOINT_DIR" "${@:2}"; }

# check_run RECIPE CONFIG: refuses a name that belongs to another run; sets WANDB_RUN_ID. Nothing is written.
check_run() {
    WANDB_RUN_ID=$(ledger check --recipe "$1" --config <(printf '%s' "$2")) || exit 2
    export WANDB_RUN_ID
    ! joins_ray_cluster || hand_on_environment # again: with the id
}

# run_recorded RECIPE CONFIG COMMAND…: the run, from the line in starts.jsonl to the one in exits.jsonl. Its status.
run_recorded() {
    local recipe=$1 config=$2 status=0
    shift 2
    ledger begin --recipe "$recipe" --node "${run_node:-0}" --config <(printf '%s' "$config") \
        --command <(show_command "$@") || exit
    cd "$VERITAS_ROOT" || exit
    watch_in_group "$@" || status=$?
    ((${run_node:-0})) || (trap '' INT TERM HUP && ledger end --status "$status") ||
        say "error: $CHECKPOINT_DIR/exits.jsonl does not say how this run ended"
    return "$status"
}
