# shellcheck shell=bash
# Settings that every GRPO script takes: arguments, LoRA, back ends; SFT takes the first two. Sourced by common.sh.

# What a script's own settings override in the recipe, and what the user does.
overrides=() user_overrides=()

# split_arguments ARGUMENT…: fills `chosen` (games, task types) and `user_overrides`.
split_arguments() {
    local argument
    for argument in "$@"; do
        case $argument in
            +data.custom_cls.config.*) user_overrides+=("+$argument") ;; # ++: also where the recipe declares the key
            [+~]*) user_overrides+=("$argument") ;;
            -*) die "unknown option $argument: settings are variables and KEY=VALUE, see --help" ;;
            '') die 'an argument is empty: see --help for what can stand there' ;;
            *)
                # go(board_size=5) is a game: no override has a bracket before its first =.
                if [[ $argument =~ ^[A-Za-z_][A-Za-z0-9_./@:-]*= ]]; then
                    user_overrides+=("$argument")
                else
                    chosen+=("$argument")
                fi
                ;;
        esac
    done
}

# The recipe of the openspiel script: single decisions or whole games.
game_recipe() {
    one_of GAME_MODE "${GAME_MODE:-state}" state game
    [[ -z ${GAME_ANSWER_TOKENS:-} ]] || whole_number GAME_ANSWER_TOKENS "$GAME_ANSWER_TOKENS" 1
    if [[ ${GAME_MODE:-state} == game ]]; then
        printf openspiel_game
    else
        [[ -z ${GAME_OPPONENTS:-} ]] ||
            die "GAME_OPPONENTS=$GAME_OPPONENTS would be ignored with single decisions: set GAME_MODE=game, or unset it"
        printf openspiel
    fi
}

# The variables of the logic tasks.
choose_logic_tasks() {
    one_of TASK_DIFFICULTY "${TASK_DIFFICULTY:-medium}" easy medium hard
    one_of TASK_LANGUAGE "${TASK_LANGUAGE:-en}" en zh
    [[ -z ${TASKS_PER_TYPE:-} ]] || whole_number TASKS_PER_TYPE "$TASKS_PER_TYPE" 1
}

# check_mixture ENV[:WEIGHT],…: the form alone; the recipe's check knows the environments.
check_mixture() {
    local item
    local -a items
    [[ -n $1 ]] || die 'no environment is chosen: name two or more, as in openspiel lgc-v2:3 (or set MIXTURE)'
    IFS=, read -r -a items <<<"$1"
    for item in "${items[@]}"; do
        [[ $item =~ ^[A-Za-z][A-Za-z0-9_-]*(:[0-9.]+)?$ ]] ||
            die "MIXTURE=$1: $item is not ENV or ENV:WEIGHT, as in openspiel or lgc-v2:3"
    done
}

# TRACE_PROGRAMS as an absolute path: a file or a folder, here or in the repository.
choose_programs() {
    local base
    [[ -n ${TRACE_PROGRAMS:-} ]] || return 0
    for base in "$PWD" "$VERITAS_ROOT"; do
        [[ $TRACE_PROGRAMS == /* ]] && base=
        if [[ -e ${base:+$base/}$TRACE_PROGRAMS ]]; then
            export TRACE_PROGRAMS=${base:+$base/}$TRACE_PROGRAMS
            return
        fi
    done
    die "TRACE_PROGRAMS=$TRACE_PROGRAMS is not there: give a file or a folder of programs"
}

# What the environments of MIXTURE need and is missing.
need_mixture() {
    [[ ${MIXTURE,,} != *spiel* ]] || need_open_spiel
    [[ ! ${MIXTURE,,} =~ (lgc|logic|reasoning) ]] || need_reasoning_gym
}

choose_lora() {
    one_of ENABLE_LORA "${ENABLE_LORA:-1}" 0 1
    one_of LAYERED_SUMMON "${LAYERED_SUMMON:-0}" 0 1
    case ${LAYERED_SUMMON:-} in
        0) export LAYERED_SUMMON=false ;;
        1) export LAYERED_SUMMON=true ;;
    esac
    [[ -z ${LEARNING_RATE:-} ]] || positive_number LEARNING_RATE "$LEARNING_RATE"
    if [[ ${ENABLE_LORA:-1} == 0 ]]; then
        [[ -z ${LORA_ADAPTER_PATH:-} ]] ||
            die "LORA_ADAPTER_PATH=$LORA_ADAPTER_PATH with ENABLE_LORA=0 would be ignored: set ENABLE_LORA=1, or unset LORA_ADAPTER_PATH"
        export TUNING=full # train/config/tuning
        return
    fi
    [[ -z ${LORA_RANK:-} ]] || whole_number LORA_RANK "$LORA_RANK" 1
    [[ -z ${LORA_ALPHA:-} ]] || whole_number LORA_ALPHA "$LORA_ALPHA" 1
    if [[ -n ${LORA_ADAPTER_PATH:-} ]]; then
        LORA_ADAPTER_PATH=$(existing_dir LORA_ADAPTER_PATH "$LORA_ADAPTER_PATH") || exit
        [[ -f $LORA_ADAPTER_PATH/adapter_config.json ]] ||
            die "LORA_ADAPTER_PATH=$LORA_ADAPTER_PATH has no adapter_config.json: give the directory of a PEFT adapter"
        overrides+=("actor_rollout_ref.model.lora_adapter_path=$(hydra_quote "$LORA_ADAPTER_PATH")")
    fi
    choose_excluded_modules
}

choose_excluded_modules() {
    [[ -v LORA_EXCLUDE_MODULES ]] || return 0
    LORA_EXCLUDE_MODULES=$(module_pattern "$LORA_EXCLUDE_MODULES")
    export LORA_EXCLUDE_MODULES
}

# module_pattern VALUE: [a,b] or a,b: names, as PEFT matches a list, by the end of a module's name; nothing: none;
# anything else: a regular expression over whole names, which is all that verl takes.
module_pattern() {
    local names=${1#[}
    names=$(tr -d " \"'" <<<"${names%]}" | tr -s ,)
    names=${names#,}
    names=${names%,}
    if [[ $names =~ ^[A-Za-z0-9_.,-]+$ ]]; then
        names=${names//./\\.}
        printf '(.*\\.)?(%s)' "${names//,/|}"
    elif [[ -n $names ]]; then
        printf '%s' "$1"
    fi
}

choose_strategy() {
    one_of FSDP_STRATEGY "${FSDP_STRATEGY:-fsdp2}" fsdp fsdp2
    if [[ $PROFILE == cpu* ]]; then
        [[ ${FSDP_STRATEGY:-fsdp2} == fsdp2 ]] || die "FSDP_STRATEGY=$FSDP_STRATEGY needs a GPU: PROFILE=$PROFILE runs fsdp2"
    fi
}

choose_backends() {
    choose_strategy
    one_of ROLLOUT_BACKEND "${ROLLOUT_BACKEND:-vllm}" vllm sglang
    whole_number NNODES "${NNODES:-1}" 1
    if [[ $PROFILE == cpu* ]]; then
        [[ ${ROLLOUT_BACKEND:-vllm} == vllm ]] || die "ROLLOUT_BACKEND=$ROLLOUT_BACKEND needs a GPU: PROFILE=$PROFILE runs vllm"
    fi
    ((DRY_RUN)) || has_module "${ROLLOUT_BACKEND:-vllm}" ||
        die "ROLLOUT_BACKEND=${ROLLOUT_BACKEND:-vllm} is not installed in $VERITAS_PYTHON: run \`make setup\` (vllm), or install it (sglang)"
}

# train_grpo RECIPE NAME [NEED]: from the machine's profile to the end of the run. NEED installs what the environment
# needs and is missing. Reads `overrides`, `user_overrides` and DRY_RUN.
train_grpo() {
    local recipe=$1 name=$2 need=${3:-true}
    local config
    local -a command
    choose_lora
    choose_verl
    choose_profile
    choose_backends
    choose_trackers
    name_run "$name" "$VERITAS_ROOT/train/artifacts/RL/checkpoints"
    choose_resume
    choose_model
    choose_cluster
    overrides+=("${user_overrides[@]}")
    command=("$VERITAS_PYTHON" -m verl.trainer.main_ppo --config-path "$VERITAS_ROOT/train/config"
        --config-name "$recipe" "${overrides[@]}")
    if ((DRY_RUN)); then
        config=$(check_recipe "$recipe" "${overrides[@]}")
        check_run "$recipe" "$config"
        mask_secrets <<<"$config"
        show_command "${command[@]}" | mask_secrets
        plan_memory --table "$config" "$recipe" "${overrides[@]}"
        return
    fi
    refuse_to_join_ray
    need_free_disk "$VERITAS_ROOT/train/artifacts"
    ask_doctor grpo
    "$need"
    config=$(check_recipe "$recipe" "${overrides[@]}")
    need_liger "$config"
    check_run "$recipe" "$config"
    fetch_model
    check_cluster
    plan_memory "$config" "$recipe" "${overrides[@]}"
    lock_run
    run_recorded "$recipe" "$config" "${command[@]}"
}
