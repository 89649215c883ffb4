# shellcheck shell=bash
# Settings of the scripts on software repair: which tasks, and where tests run. Sourced by common.sh.

# choose_swe_tasks [TASK_ID … | FIRST:AFTER]: arguments win over the variables.
choose_swe_tasks() {
    local task_id
    if [[ $# == 1 && $1 == *:* ]]; then
        export SWE_SYNTH_TASK_ID_RANGE=$1
        unset SWE_SYNTH_TASK_IDS
    elif (($#)); then
        for task_id in "$@"; do whole_number 'a task id' "$task_id" 0; done
        SWE_SYNTH_TASK_IDS=$(join_by , "$@")
        export SWE_SYNTH_TASK_IDS
        unset SWE_SYNTH_TASK_ID_RANGE
    fi
    one_of SWE_SYNTH_USE_CACHE_ONLY "${SWE_SYNTH_USE_CACHE_ONLY:-0}" 0 1
    [[ -z ${SWE_PROMPT_TOKENS:-} ]] || whole_number SWE_PROMPT_TOKENS "$SWE_PROMPT_TOKENS" 1
    absolute_path SWE_SYNTH_CACHE_DIR
    absolute_path SWE_REPO_CACHE
    if [[ -z ${SWE_SYNTH_CACHE_DIR:-}${SWE_SYNTH_DATASET_NAME:-} && ${user_overrides[*]-} != *adapter_config.* ]]; then
        ((DRY_RUN)) || die 'no tasks are named: make some with data_processing/synthesize_swe_tasks.py and set' \
            'SWE_SYNTH_CACHE_DIR to their directory, or set SWE_SYNTH_DATASET_NAME=princeton-nlp/SWE-bench_Lite to train on a benchmark'
        say 'tasks    none are named: the config below has the default dataset, which a run would not train on'
    fi
}

# absolute_path NAME: of a directory that is here, or in the repository, or is still to be made there.
absolute_path() {
    local name=$1 path=${!1:-}
    [[ -n $path ]] || return 0
    [[ $path != \~/* ]] || path=$HOME/${path#\~/}
    if [[ -d $path ]]; then
        path=$(cd "$path" && pwd) || die "$name=$path cannot be entered: check its permissions"
    else
        path=$(output_path "$path")
        [[ ! -e $path || -d $path ]] || die "$name=$path is not a directory"
    fi
    printf -v "$name" %s "$path"
    export "${name?}"
}

choose_swe_backend() {
    local python
    one_of SWE_BACKEND "${SWE_BACKEND:-auto}" auto bwrap docker
    [[ -z ${SWE_MAX_SANDBOXES:-} ]] || whole_number SWE_MAX_SANDBOXES "$SWE_MAX_SANDBOXES" 1
    [[ -n ${SWE_PYTHON:-} ]] || return 0
    python=$(type -P "$SWE_PYTHON") || die "SWE_PYTHON=$SWE_PYTHON is not there: give the Python that has what the repositories need"
    [[ $python == /* ]] || python=$PWD/$python
    export SWE_PYTHON=$python
}

# The recipe: one patch for each task, or an agent that works on it turn by turn.
swe_recipe() {
    local name
    one_of SWE_MODE "${SWE_MODE:-patch}" patch agent
    for name in SWE_AGENT_STEPS SWE_ANSWER_TOKENS SWE_COMMAND_SECONDS; do
        [[ -n ${!name:-} ]] || continue
        [[ ${SWE_MODE:-patch} == agent ]] || die "$name=${!name} would be ignored with one patch for each task: set SWE_MODE=agent, or unset it"
        whole_number "$name" "${!name}" 1
    done
    if [[ ${SWE_MODE:-patch} == agent ]]; then printf swe_agent; else printf swe_synth; fi
}

# Names the run: the directory of the tasks, or the dataset.
swe_run_name() {
    local name=${SWE_SYNTH_CACHE_DIR:-${SWE_SYNTH_DATASET_NAME:-tasks}}
    printf 'swe-synth-%s' "${name##*/}"
}
