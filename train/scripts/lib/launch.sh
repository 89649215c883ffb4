# shellcheck shell=bash
# One run: its model, its directory, the dry run, and the process that leaves nothing behind. Sourced by common.sh.

# Sets AGENT_MODEL_PATH, where AGENT_MODEL_REPO_ID is or will be; nothing is downloaded yet.
choose_model() {
    [[ $PROFILE != cpu* ]] || : "${AGENT_MODEL_REPO_ID:=train/models/SmolLM2-135M-Instruct}"
    [[ -n ${AGENT_MODEL_REPO_ID:-} ]] ||
        die 'AGENT_MODEL_REPO_ID is not set: name a model of the hub (Qwen/Qwen3-4B) or a local directory'
    one_of MEMORY_PLAN "${MEMORY_PLAN:-1}" 0 1
    local how=--locate
    ((${DRY_RUN:-0})) && how=--plan
    AGENT_MODEL_PATH=$("$VERITAS_PYTHON" "$VERITAS_TOOLS/fetch_model.py" "$AGENT_MODEL_REPO_ID" "$how") || exit
    export AGENT_MODEL_REPO_ID AGENT_MODEL_PATH
    say "model    $AGENT_MODEL_PATH"
}

# Downloads it if it is not there.
fetch_model() { run_in_group "$VERITAS_PYTHON" "$VERITAS_TOOLS/fetch_model.py" "$AGENT_MODEL_REPO_ID" >/dev/null; }

# name_run PREFIX ROOT: sets WANDB_EXP and the directories of this run; appends to `overrides`.
name_run() {
    local started
    started=$(date +%Y%m%d-%H%M%S)
    if [[ -z ${WANDB_EXP:-} ]]; then
        WANDB_EXP=$(sed -E 's/[^A-Za-z0-9._]+/-/g; s/-+$//' <<<"$1" | cut -c 1-80)-$started
    fi
    [[ $WANDB_EXP =~ ^[A-Za-z0-9][A-Za-z0-9._+=-]{0,127}$ ]] ||
        die "WANDB_EXP=$WANDB_EXP names a directory: use letters, digits and . _ + = - (at most 128, a letter or digit first)"
    export WANDB_EXP CHECKPOINT_DIR=$2/$WANDB_EXP VERL_FILE_LOGGER_PATH=$2/$WANDB_EXP/metrics.jsonl
    choose_tracker_folders
    overrides+=("hydra.run.dir=$(hydra_quote "$VERITAS_ROOT/train/outputs/$(date +%Y-%m-%d/%H-%M-%S)")")
    say "run      $CHECKPOINT_DIR"
}

# choose_resume [PART]: appends to `overrides`. RESUME=auto goes on where this WANDB_EXP stopped. PART is what every
# checkpoint holds: actor/ where several models are trained, fsdp_config.json for SFT's one.
choose_resume() {
    local resume=${RESUME:-auto} part=${1:-actor} latest step='' point=''
    local -a ranks=()
    ((${NNODES:-1} == 1)) || ranks=(--some-ranks) # other nodes' files may lie on their own disks
    latest=$CHECKPOINT_DIR/latest_checkpointed_iteration.txt
    [[ ! -r $latest ]] || step=$(<"$latest")
    if [[ -n $step && ! -d $CHECKPOINT_DIR/global_step_$step ]]; then
        die "$latest names step $step and there is no global_step_$step beside it: put it back, write another step into the file, or set WANDB_EXP to a new name"
    fi
    case $resume in
        auto)
            # The latest that is whole: what verl finds by itself unless a disk was full, a copy cut or the power lost.
            point=$("$VERITAS_PYTHON" -S "$VERITAS_TOOLS/resume_point.py" "$CHECKPOINT_DIR" "${ranks[@]}") || exit
            if [[ -z $point && -e $latest ]]; then
                overrides+=(trainer.resume_mode=disable)
            elif [[ ${point##*_} == "$step" ]]; then
                overrides+=(trainer.resume_mode=auto)
            else
                overrides+=(trainer.resume_mode=resume_path "trainer.resume_from_path=$(hydra_quote "$point")")
            fi
            [[ -z $point ]] || say "resume   from step ${point##*_} (RESUME=never or another WANDB_EXP starts anew)"
            ;;
        never)
            [[ -z $step ]] || die "RESUME=never, and $CHECKPOINT_DIR has checkpoints up to step $step: set WANDB_EXP to a new name, or RESUME=auto to go on"
            overrides+=(trainer.resume_mode=disable)
            ;;
        *)
            resume=$(existing_dir RESUME "$resume" 2>/dev/null) || resume=''
            [[ ${resume##*/} =~ ^global_step_[0-9]+$ && -e $resume/$part ]] ||
                die "RESUME=$RESUME is neither auto, never nor a checkpoint (a directory global_step_N that holds $part)"
            "$VERITAS_PYTHON" -S "$VERITAS_TOOLS/resume_point.py" --only "$resume" "${ranks[@]}" >/dev/null || exit
            overrides+=(trainer.resume_mode=resume_path "trainer.resume_from_path=$(hydra_quote "$resume")")
            say "resume   from $resume"
            ;;
    esac
}

# Two runs never write into one directory: the lock lives as long as the script and its supervisor. The nodes of one run
# may share a disk (`run_node`, sft.sh), so each has a lock of its own.
lock_run() {
    mkdir -p "$CHECKPOINT_DIR" "$WANDB_DIR"
    exec {run_lock}>"$CHECKPOINT_DIR/.lock${run_node:+-node-$run_node}"
    flock -w 1 "$run_lock" || # runs.sh looks at it for a moment
        die "another run is writing $CHECKPOINT_DIR: wait for it, or set WANDB_EXP to another name"
}

# check_recipe NAME OVERRIDE…: compose it as verl will, and let the environment check its settings. Prints the config.
check_recipe() {
    "$VERITAS_PYTHON" "$VERITAS_LIB/check_recipe.py" "$VERITAS_ROOT/train/config" "$@" || exit 2
}

# plan_memory [--table] NAME OVERRIDE…: says what a run will want, and refuses what cannot fit (MEMORY_PLAN=0 does not).
plan_memory() {
    local gpu=''
    local -a table=()
    [[ $1 != --table ]] || { table=(--table) && shift; }
    [[ $PROFILE == cpu* ]] || gpu=$(gpu_memories | sort -n | sed -n 1p)
    "$VERITAS_PYTHON" "$VERITAS_TOOLS/memory_plan.py" "${table[@]}" "--gpu-gb=$gpu" -- "$VERITAS_ROOT/train/config" "$@" ||
        [[ ${MEMORY_PLAN:-1} == 0 ]] || exit 2
}

# The environment that this script made or that .env.example names, then the command: text to paste into a shell.
show_command() {
    local name documented
    documented=$(documented_variables)
    printf 'cd %q && env \\\n' "$VERITAS_ROOT"
    while IFS= read -r name; do
        if [[ ${BEFORE[$name]-} == "${!name}" ]] && ! grep -qx "$name" <<<"$documented"; then continue; fi
        if is_secret "$name"; then
            printf '  %s=%s \\\n' "$name" "'***'"
        else
            printf '  %s=%q \\\n' "$name" "${!name}"
        fi
    done < <(compgen -e | grep -vxE '_|SHLVL|PWD|OLDPWD|PATH|DRY_RUN')
    printf ' '
    printf ' %q' "$@"
    printf '\n'
}

# run_in_group COMMAND…: its status. Ctrl-C, SIGTERM and SIGHUP end everything that it started, and nothing else.
run_in_group() {
    local pid status=0
    # setsid: the terminal's Ctrl-C comes through the traps, once. `&`: a trap cannot run while bash waits in front.
    setsid "$VERITAS_PYTHON" -S "$VERITAS_LIB/supervise.py" "$@" <&0 &
    pid=$!
    trap 'kill -INT "$pid" 2>/dev/null' INT
    trap 'kill -TERM "$pid" 2>/dev/null' TERM
    trap 'kill -HUP "$pid" 2>/dev/null' HUP
    while :; do
        status=0
        wait "$pid" || status=$?
        kill -0 "$pid" 2>/dev/null || break
    done
    trap - INT TERM HUP
    return "$status"
}

# watch_in_group COMMAND…: as run_in_group, for the training itself: with a log, and an end when it stands still.
watch_in_group() { run_in_group "$VERITAS_PYTHON" -S "$VERITAS_LIB/watch_run.py" "$CHECKPOINT_DIR" "$@"; }

# export_checkpoint BASE TARGET ARGUMENT…: what the merge scripts do, with their defaults.
export_checkpoint() {
    local base=${CHECKPOINT_BASE:-$1} target=${TARGET_DIR:-$2} step=${GLOBAL_STEP:-latest}
    local -a which=()
    shift 2
    base=$(existing_dir CHECKPOINT_BASE "$base") || exit
    if [[ $step != latest ]]; then
        whole_number GLOBAL_STEP "$step" 1
        which=(--global-step "$step")
    fi
    choose_verl
    choose_platform
    run_in_group "$VERITAS_PYTHON" "$VERITAS_TOOLS/export_checkpoint.py" --checkpoint-base "$base" "${which[@]}" \
        --target-dir "$(output_path "$target")" "$@"
}
