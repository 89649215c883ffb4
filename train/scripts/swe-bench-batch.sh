#!/usr/bin/env bash
# Measures a model on SWE-bench: mini-swe-agent writes its patches, SWE-bench's own service (sb-cli) judges them.
#
#   SWE_BENCH_MODEL=hosted_vllm/my-model SWE_BENCH_API_BASE=http://127.0.0.1:8000/v1 \
#       bash train/scripts/swe-bench-batch.sh predict [OPTION of mini-extra swebench …]
#   SWEBENCH_API_KEY=… bash train/scripts/swe-bench-batch.sh submit [OPTION of sb-cli submit …]
#   DRY_RUN=1 bash train/scripts/swe-bench-batch.sh predict      # the command; runs and installs nothing
#
# `predict` needs Docker and the hub; an interrupted one goes on where it stopped. `submit` sends preds.json, also one
# that evaluate.sh --env swe-synth wrote. Each tool has an environment of its own, installed at its first use into
# train/artifacts/swe-bench, because sb-cli's packages exclude ours. Settings are variables, or lines of .env:
#   SWE_BENCH_MODEL         as LiteLLM names models: hosted_vllm/NAME, openai/NAME, anthropic/NAME …
#   SWE_BENCH_API_BASE      its server, where it is your own; with a key of yours in OPENAI_API_KEY
#   SWE_BENCH_COMMANDS      tools: the model calls a tool (default); text: it writes commands, as in our training
#   SWE_BENCH_SUBSET=lite|verified   SWE_BENCH_SPLIT=dev|test (default: test)
#   SWE_BENCH_SLICE         some of the instances, such as 0:5
#   SWE_BENCH_WORKERS       instances at a time (default: 1)
#   SWE_BENCH_OUTPUT        directory of trajectories and preds.json (default: train/outputs/swe-bench/SUBSET-SPLIT-MODEL)
#   SWE_BENCH_PREDICTIONS   what `submit` sends (default: preds.json in SWE_BENCH_OUTPUT)
#   SWE_BENCH_RUN_ID        names the submission (default: the name of its directory)
#   SWEBENCH_API_KEY        sb-cli gen-api-key YOUR_EMAIL gives one
#   MINI_EXTRA, SB_CLI      these programs, in place of the ones that would be installed
if [[ ${BASH_SOURCE[0]} != "$0" ]]; then # sourced
    # shellcheck source=lib/common.sh
    (. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh" && run_sourced "${BASH_SOURCE[0]}" "$@")
    return
fi
set -euo pipefail
# shellcheck source=lib/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"

# Measured together: LiteLLM 1.106.2 fails every completion with tools where mcp is missing.
MINI_PACKAGES=(mini-swe-agent==2.4.6 litellm==1.106.2 mcp==2.3.0)
SB_PACKAGES=(sb-cli==0.1.5)

# tool NAME GIVEN PROGRAM PACKAGE…: sets `program`, installed where it is not there yet.
tool() {
    local name=$1 given=$2 file=$3 folder=$VERITAS_ROOT/train/artifacts/swe-bench/$3
    shift 3
    if [[ -n $given ]]; then
        program=$(type -P "$given") || die "$name=$given is not a program: give its path, or unset $name to have it installed"
        return
    fi
    program=$folder/bin/$file
    if [[ $DRY_RUN == 1 || (-x $program && $(cat "$folder/installed" 2>/dev/null) == "$*") ]]; then return; fi
    say "install  $* into $folder"
    rm -rf "$folder"
    { "$VERITAS_PYTHON" -m venv "$folder" && "$folder/bin/python" -m pip install -q "$@"; } >&2 ||
        die "$* cannot be installed, see above: mend that, or give a $file that you have as $name"
    printf '%s' "$*" >"$folder/installed"
}

predict() {
    local config=swebench.yaml
    [[ -n ${SWE_BENCH_MODEL:-} ]] || die 'SWE_BENCH_MODEL is not set: name a model as LiteLLM does, such as hosted_vllm/my-model or openai/gpt-5'
    whole_number SWE_BENCH_WORKERS "${SWE_BENCH_WORKERS:=1}" 1
    one_of SWE_BENCH_COMMANDS "${SWE_BENCH_COMMANDS:=tools}" tools text
    [[ -z ${SWE_BENCH_SLICE:-} || $SWE_BENCH_SLICE =~ ^[0-9]*:[0-9]*$ ]] || die "SWE_BENCH_SLICE=$SWE_BENCH_SLICE is not a slice such as 0:5"
    [[ $DRY_RUN == 1 || " $* " == *' --environment-class '* ]] || type -P docker >/dev/null ||
        die 'docker is not there, and SWE-bench has an image for each instance: install it, or pass --environment-class singularity'
    tool MINI_EXTRA "${MINI_EXTRA:-}" mini-extra "${MINI_PACKAGES[@]}"
    [[ $SWE_BENCH_COMMANDS == tools ]] || config=swebench_backticks.yaml
    command=("$program" swebench --subset "$SWE_BENCH_SUBSET" --split "$SWE_BENCH_SPLIT" --model "$SWE_BENCH_MODEL"
        --workers "$SWE_BENCH_WORKERS" --output "$SWE_BENCH_OUTPUT" --config "$config")
    [[ $SWE_BENCH_COMMANDS == tools ]] || command+=(--model-class litellm_textbased)
    [[ -z ${SWE_BENCH_SLICE:-} ]] || command+=(--slice "$SWE_BENCH_SLICE")
    if [[ -n ${SWE_BENCH_API_BASE:-} ]]; then
        command+=(--config "model.model_kwargs.api_base=$SWE_BENCH_API_BASE")
        export OPENAI_API_KEY=${OPENAI_API_KEY:-EMPTY}
    fi
    command+=("$@")
    # Prices are looked up on the net otherwise, and a model without one is refused.
    export LITELLM_LOCAL_MODEL_COST_MAP=True MSWEA_COST_TRACKING=ignore_errors MSWEA_SILENT_STARTUP=1
}

submit() {
    local predictions=${SWE_BENCH_PREDICTIONS:-$SWE_BENCH_OUTPUT/preds.json}
    [[ -n ${SWE_BENCH_PREDICTIONS:-}${SWE_BENCH_MODEL:-} ]] ||
        die 'SWE_BENCH_PREDICTIONS is not set: name a preds.json, or set SWE_BENCH_MODEL as it was for predict'
    predictions=$(output_path "$predictions")
    if [[ $DRY_RUN == 0 ]]; then
        [[ -n ${SWEBENCH_API_KEY:-} ]] || die 'SWEBENCH_API_KEY is not set: sb-cli gen-api-key YOUR_EMAIL gives one'
        "$VERITAS_PYTHON" "$VERITAS_TOOLS/swe/predictions.py" "$predictions" >&2 || exit 2
    fi
    : "${SWE_BENCH_RUN_ID:=$(basename "$(dirname "$predictions")")}"
    tool SB_CLI "${SB_CLI:-}" sb-cli "${SB_PACKAGES[@]}"
    command=("$program" submit "swe-bench_$SWE_BENCH_SUBSET" "$SWE_BENCH_SPLIT" --predictions_path "$predictions"
        --run_id "$SWE_BENCH_RUN_ID" --output_dir "$(dirname "$predictions")/sb-cli-reports" "$@")
}

start_script "$@"
action=${1:-}
[[ $action == predict || $action == submit ]] || die "${action:-nothing} is not known: the first argument is predict or submit (--help)"
shift
one_of DRY_RUN "${DRY_RUN:=0}" 0 1
one_of SWE_BENCH_SUBSET "${SWE_BENCH_SUBSET:=lite}" lite verified
one_of SWE_BENCH_SPLIT "${SWE_BENCH_SPLIT:=test}" dev test
[[ $SWE_BENCH_SUBSET$SWE_BENCH_SPLIT != verifieddev ]] || die 'SWE_BENCH_SPLIT=dev: SWE-bench Verified has a split test only'
SWE_BENCH_OUTPUT=$(output_path "${SWE_BENCH_OUTPUT:-train/outputs/swe-bench/$SWE_BENCH_SUBSET-$SWE_BENCH_SPLIT-$(sed -E 's/[^A-Za-z0-9._]+/-/g' <<<"${SWE_BENCH_MODEL:-model}")}")

program='' command=()
"$action" "$@"
if [[ $DRY_RUN == 1 ]]; then
    show_command "${command[@]}" | mask_secrets
    exit
fi
run_in_group "${command[@]}"
if [[ $action == predict ]]; then
    "$VERITAS_PYTHON" "$VERITAS_TOOLS/swe/predictions.py" "$SWE_BENCH_OUTPUT/preds.json" >&2
fi
