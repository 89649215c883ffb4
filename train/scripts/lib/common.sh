# shellcheck shell=bash
# What the front-door scripts share. Sourced, never run. Order in a script:
#
#   . lib/common.sh; start_script "$@"          # --help, .env, the Python to use
#   one_of ENABLE_LORA "${ENABLE_LORA:-1}" 0 1  # checks, before anything is downloaded or started
#   run_in_group COMMAND…                       # and nothing stays behind
#
# machine.sh: GPUs, profile, verl, Ray, disk. grpo.sh: LoRA and back ends. sft.sh: what only SFT has. swe.sh: tasks of
# software repair. launch.sh: model, run directory, dry run, the run itself. cluster.sh: GRPO on several machines.
# tracking.sh: W&B and others. ledger.sh: what is kept of a run.

# The environment as it was: a dry run shows what was added.
declare -A BEFORE=()
while IFS= read -r name; do BEFORE[$name]=${!name}; done < <(compgen -e)

VERITAS_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../../.." && pwd)
VERITAS_LIB=$VERITAS_ROOT/train/scripts/lib
VERITAS_TOOLS=$VERITAS_ROOT/train/tools
export VERITAS_ROOT
# shellcheck source=machine.sh
. "$VERITAS_LIB/machine.sh"
# shellcheck source=launch.sh
. "$VERITAS_LIB/launch.sh"
# shellcheck source=tracking.sh
. "$VERITAS_LIB/tracking.sh"
# shellcheck source=ledger.sh
. "$VERITAS_LIB/ledger.sh"
# shellcheck source=grpo.sh
. "$VERITAS_LIB/grpo.sh"
# shellcheck source=cluster.sh
. "$VERITAS_LIB/cluster.sh"
# shellcheck source=sft.sh
. "$VERITAS_LIB/sft.sh"
# shellcheck source=swe.sh
. "$VERITAS_LIB/swe.sh"
# shellcheck source=cpu_env.sh
. "$VERITAS_LIB/cpu_env.sh"

say() { printf '%s\n' "$*" >&2; }

# die MESSAGE: something that the user can mend. 2 is the status of every refusal before the start.
die() {
    printf 'error: %s\n' "$*" >&2
    exit 2
}

# A sourced script runs in a process of its own: an error there cannot close the user's shell, and `set -e` works
# whatever stands around the `.`. Variables that the user set without `export` go along.
run_sourced() {
    local name IFS=$' \t\n'
    for name in $(documented_variables); do
        [[ ! -v $name ]] || export "${name?}"
    done
    exec bash "$@"
}

# .env.example is the list of the variables that scripts read.
documented_variables() { sed -nE 's/^#? ?([A-Z][A-Z0-9_]*)=.*/\1/p' "$VERITAS_ROOT/.env.example"; }

start_script() {
    local argument
    for argument in "$@"; do
        case $argument in
            -h | --help) show_help && exit 0 ;;
        esac
    done
    load_dotenv
    unset_empty
    choose_python
}

# The comment at the top of the script.
show_help() { awk 'NR > 1 && !/^#/ { exit } NR > 1 { sub(/^# ?/, ""); print }' "$0"; }

# A variable that is set, even to nothing, wins over .env; values are text and never evaluated.
load_dotenv() {
    local file=$VERITAS_ROOT/.env reader=python3 pair
    local -a pairs
    [[ -e $file ]] || return 0
    command -v python3 >/dev/null || reader=$VERITAS_ROOT/.venv/bin/python
    mapfile -d '' -t pairs < <("$reader" -S "$VERITAS_LIB/read_env_file.py" "$file")
    wait "$!" || exit 2 # it has named the line
    for pair in "${pairs[@]}"; do
        [[ -v ${pair%%=*} ]] || export "${pair?}"
    done
}

# `NAME=` means the default, as in .env.example; only LORA_EXCLUDE_MODULES means something when empty.
unset_empty() {
    local name
    for name in $(documented_variables); do
        [[ -n ${!name-unset} || $name == LORA_EXCLUDE_MODULES ]] || unset "$name"
    done
}

# Sets and exports VERITAS_PYTHON, an absolute path, and puts its folder first on PATH as an activated venv does.
choose_python() {
    local why found
    if [[ -n ${VERITAS_PYTHON:-} ]]; then
        why=VERITAS_PYTHON
    elif [[ -x $VERITAS_ROOT/.venv/bin/python ]]; then
        VERITAS_PYTHON=$VERITAS_ROOT/.venv/bin/python why="made by make setup"
    elif [[ -n ${VIRTUAL_ENV:-} ]]; then
        VERITAS_PYTHON=$VIRTUAL_ENV/bin/python why='the active virtual environment'
    else
        VERITAS_PYTHON=python3 why='no .venv here: the one on PATH'
    fi
    found=$(type -P "$VERITAS_PYTHON") || die "Python $VERITAS_PYTHON ($why) is not there: run \`make setup\`"
    [[ $found == /* ]] || found=$PWD/$found
    export VERITAS_PYTHON=$found PATH="${found%/*}:$PATH"
    say "python   $VERITAS_PYTHON ($why)"
}

# one_of NAME VALUE ALLOWED…
one_of() {
    local name=$1 value=$2 allowed
    shift 2
    for allowed in "$@"; do
        [[ $value != "$allowed" ]] || return 0
    done
    die "$name=$value is not known: use $(join_by ' or ' "$@")"
}

# whole_number NAME VALUE LEAST
whole_number() {
    if ! [[ $2 =~ ^(0|[1-9][0-9]{0,8})$ ]] || (($2 < $3)); then
        die "$1=$2 is not a whole number of at least $3"
    fi
}

positive_number() {
    [[ $2 =~ ^([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?$ && $2 =~ ^[^eE]*[1-9] ]] || die "$1=$2 is not a positive number"
}

join_by() {
    local separator=$1 text=$2 item
    shift 2
    for item in "$@"; do text+=$separator$item; done
    printf '%s' "$text"
}

# existing_dir NAME PATH: its absolute path. Relative paths are looked for here, then in the repository.
existing_dir() {
    local base path=$2
    [[ $path != \~/* ]] || path=$HOME/${path#\~/}
    for base in "$PWD" "$VERITAS_ROOT"; do
        [[ $path == /* ]] && base=
        if [[ -d ${base:+$base/}$path ]]; then
            (cd "${base:+$base/}$path" && pwd) && return
            die "$1=$2 cannot be entered: check its permissions"
        fi
    done
    [[ ! -e $path ]] || die "$1=$2 is not a directory"
    die "$1=$2 is not there"
}

# Where something will be written: relative paths belong to the repository.
output_path() { [[ $1 == /* ]] && printf '%s' "$1" || printf '%s' "$VERITAS_ROOT/$1"; }

# A value as Hydra reads it back unchanged: spaces, commas and brackets in a path are not syntax. Backslashes count only
# before a quote.
hydra_quote() { printf "'%s'" "$(printf '%s' "$1" | sed -Ez "s/(\\\\*)'/\\1\\1\\\\'/g; s/(\\\\*)\$/\\1\\1/")"; }

is_secret() {
    case $1 in
        *_TOKEN | *_API_KEY | *_ACCESS_KEY* | *SECRET* | *PASSWORD* | *PASSWD* | *CREDENTIALS*) return 0 ;;
    esac
    return 1
}

# Standard input with the value of every secret variable, passwords inside URLs, and what stands behind a key named like
# one, replaced.
mask_secrets() { "$VERITAS_PYTHON" -S "$VERITAS_TOOLS/ledger/masking.py"; }
