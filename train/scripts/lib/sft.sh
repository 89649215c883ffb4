# shellcheck shell=bash
# Settings that only SFT has: numbers, LoRA, nodes, model, files. Sourced by common.sh.

choose_sft_numbers() {
    local name value
    for name in SFT_TRAIN_BATCH_SIZE SFT_MICRO_BATCH_SIZE_PER_GPU SFT_MAX_LENGTH SFT_TOTAL_EPOCHS SFT_MAX_CKPT_TO_KEEP; do
        [[ ! -v $name ]] || whole_number "$name" "${!name}" 1
    done
    for name in SFT_SAVE_FREQ SFT_TEST_FREQ; do
        value=${!name:-1}
        [[ $value == -1 || $value == after_each_epoch || $value =~ ^[1-9][0-9]{0,8}$ ]] ||
            die "$name=$value is not known: use a number of steps, after_each_epoch, or -1 for never but at the end"
    done
    [[ ! -v SFT_LR ]] || positive_number SFT_LR "$SFT_LR"
    one_of SFT_TRUNCATION "${SFT_TRUNCATION:-error}" error left right drop split
    [[ ${SFT_VAL_RATIO:-0.1} =~ ^(0|0?\.[0-9]+|0\.)$ ]] ||
        die "SFT_VAL_RATIO=$SFT_VAL_RATIO is not a share of at least 0 and less than 1, such as 0.1"
}

# Sets and exports TUNING (train/config/sft_tuning).
choose_sft_lora() {
    local name
    if [[ ! -v SFT_LORA_RANK ]]; then
        for name in SFT_LORA_ALPHA SFT_LORA_TARGET_MODULES; do
            [[ ! -v $name ]] || die "$name=${!name} would be ignored without SFT_LORA_RANK: set it (16, or 0 to train all weights)"
        done
    fi
    whole_number SFT_LORA_RANK "${SFT_LORA_RANK:-0}" 0
    [[ ! -v SFT_LORA_ALPHA ]] || whole_number SFT_LORA_ALPHA "$SFT_LORA_ALPHA" 1
    export TUNING=full
    ((${SFT_LORA_RANK:-0})) || return 0
    TUNING=lora
    [[ -v SFT_LR ]] || say 'lora     SFT_LR is not set, and 2e-6 is a rate for all weights: adapters usually want more, such as 1e-4'
    if [[ ${SFT_LORA_TARGET_MODULES:-all-linear} != all-linear ]]; then
        SFT_LORA_TARGET_MODULES=$(module_pattern "$SFT_LORA_TARGET_MODULES")
        [[ -n $SFT_LORA_TARGET_MODULES ]] || die 'SFT_LORA_TARGET_MODULES=[] names no module: use all-linear, names, or SFT_LORA_RANK=0'
        export SFT_LORA_TARGET_MODULES
    fi
    choose_excluded_modules
}

# Sets `launcher`: torchrun, as a module so that it is our Python's.
choose_nodes() {
    local name
    launcher=("$VERITAS_PYTHON" -m torch.distributed.run)
    whole_number NNODES "${NNODES:=1}" 1
    export NNODES
    if ((NNODES == 1)); then
        [[ ${NODE_RANK:-0} == 0 ]] || die "NODE_RANK=$NODE_RANK with NNODES=1: set NNODES to the number of nodes, or unset NODE_RANK"
        launcher+=(--standalone --nnodes=1 "--nproc_per_node=$GPU_COUNT") # --standalone: on a free port
        return
    fi
    for name in NODE_RANK MASTER_ADDR WANDB_EXP; do
        [[ -n ${!name:-} ]] || die "$name is not set, and NNODES=$NNODES: every node needs NODE_RANK (0 to $((NNODES - 1))), the MASTER_ADDR of node 0 and the same WANDB_EXP"
    done
    whole_number NODE_RANK "$NODE_RANK" 0
    ((NODE_RANK < NNODES)) || die "NODE_RANK=$NODE_RANK with NNODES=$NNODES: the ranks are 0 to $((NNODES - 1))"
    [[ $MASTER_ADDR =~ ^[A-Za-z0-9.:_-]+$ ]] || die "MASTER_ADDR=$MASTER_ADDR is not a host's name or address"
    whole_number MASTER_PORT "${MASTER_PORT:=29500}" 1
    ((MASTER_PORT < 65536)) || die "MASTER_PORT=$MASTER_PORT is not a port: use 1 to 65535"
    # shellcheck disable=SC2034 # launch.sh reads it
    run_node=$NODE_RANK
    launcher+=("--nnodes=$NNODES" "--node_rank=$NODE_RANK" "--master_addr=$MASTER_ADDR" "--master_port=$MASTER_PORT"
        "--nproc_per_node=$GPU_COUNT")
}

# Sets AGENT_MODEL_REPO_ID; choose_model goes on from it.
choose_sft_model() {
    if [[ -n ${SFT_MODEL_PATH:-} ]]; then
        AGENT_MODEL_REPO_ID=$(existing_dir SFT_MODEL_PATH "$SFT_MODEL_PATH") || exit
    elif [[ $PROFILE == cpu* ]]; then
        : "${AGENT_MODEL_REPO_ID:=train/models/SmolLM2-135M-Instruct}"
    else
        : "${AGENT_MODEL_REPO_ID:=rhuanmatias/trained-top-sn120}"
    fi
}

# Sets `converter` where a dataset has to be converted first, and appends the files to `overrides`: a list cannot come
# through the environment, since OmegaConf.resolve refuses one that oc.decode has made.
choose_sft_files() {
    local folder train='' val=''
    folder=$(output_path "${SFT_PARQUET_DIR:-train/parquet}")
    if [[ -n ${SFT_HF_DATASET:-} ]]; then
        [[ -z ${SFT_TRAIN_FILES:-} ]] || die "SFT_TRAIN_FILES and SFT_HF_DATASET are both set, and only one can be trained on: unset one of them"
        [[ -z ${SFT_VAL_FILES:-} || -z ${SFT_VAL_RATIO:-} ]] || die "SFT_VAL_FILES and SFT_VAL_RATIO are both set: unset one of them"
        convert_swe_synth "$folder"
    elif [[ -n ${SFT_TRAIN_FILES:-} ]]; then
        train=$(file_list SFT_TRAIN_FILES "$SFT_TRAIN_FILES") || exit
    else
        [[ -e $folder/train.parquet ]] || die "SFT_TRAIN_FILES is not set, and $folder/train.parquet is not there: name the parquet files to train on"
        train=[$(hydra_quote "$folder/train.parquet")]
        [[ ! -e $folder/val.parquet ]] || val=[$(hydra_quote "$folder/val.parquet")]
    fi
    if [[ -n ${SFT_VAL_FILES:-} ]]; then
        val=$(file_list SFT_VAL_FILES "$SFT_VAL_FILES") || exit
    fi
    overrides+=("data.train_files=$train" "data.val_files=${val:-null}")
    if [[ -z $val ]]; then
        say 'files    none to validate on (SFT_VAL_FILES): no validation loss'
        overrides+=(trainer.test_freq=-1) # verl fails at the first validation otherwise
    fi
}

# Sets `converter`, and choose_sft_files' `train` and `val` to what it will write.
convert_swe_synth() {
    local folder=$1 ratio=${SFT_VAL_RATIO:-0.1} dataset=$SFT_HF_DATASET length=${SFT_MAX_LENGTH:-2048} base
    [[ -z ${SFT_VAL_FILES:-} ]] || ratio=0
    for base in "$VERITAS_ROOT" "$PWD"; do
        [[ ! -f $base/$SFT_HF_DATASET ]] || dataset=$base/$SFT_HF_DATASET
    done
    [[ ! $dataset =~ \.(parquet|jsonl|json|arrow)$ || -f $dataset ]] || die "SFT_HF_DATASET=$SFT_HF_DATASET is not there"
    # A quarter for the answer, which is a patch; 64 tokens for what the chat template adds.
    ((length >= 128)) || die "SFT_MAX_LENGTH=$length is too short for SFT_HF_DATASET: use at least 128"
    # shellcheck disable=SC2034 # the script runs it
    converter=("$VERITAS_PYTHON" "$VERITAS_ROOT/data_processing/convert_swe_synth_sft.py"
        --dataset "$dataset" --split train --output-dir "$folder" --val-ratio "$ratio" --tokenizer "$AGENT_MODEL_PATH"
        --max-tokens-prompt "$((length - length / 4 - 64))" --max-tokens-response "$((length / 4))")
    train=[$(hydra_quote "$folder/swe_synth_sft_train.parquet")]
    [[ ! $ratio =~ [1-9] ]] || val=[$(hydra_quote "$folder/swe_synth_sft_val.parquet")]
}

# file_list NAME VALUE: the files of a list as Hydra reads it. Each has to be there.
file_list() {
    local file text=''
    local -a files
    mapfile -d '' -t files < <("$VERITAS_PYTHON" "$VERITAS_LIB/sft_files.py" "$1" "$2" "$VERITAS_ROOT")
    wait "$!" || exit 2 # it has said which one
    for file in "${files[@]}"; do text+=,$(hydra_quote "$file"); done
    printf '[%s]' "${text#,}"
}
