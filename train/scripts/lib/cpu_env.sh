# shellcheck shell=bash
# use_cpu_platform: what verl, Ray and vLLM need in their environment to run without a GPU. Sourced, never run.
# Called for PROFILE=cpu only: on a GPU machine none of this is set.

use_cpu_platform() {
    local tools=$1
    export PYTHONPATH="$tools:$tools/cpu_metadata${PYTHONPATH:+:$PYTHONPATH}"
    export VERL_PLATFORM=cpu VERL_USE_EXTERNAL_MODULES=cpu_platform
    unset CUDA_VISIBLE_DEVICES # an empty one makes Ray refuse the logical GPU that placement groups ask for
    # vLLM: 1 GiB of KV cache holds the short games' prompts; no thread pinning, the trainer shares the cores.
    export VLLM_CPU_KVCACHE_SPACE="${VLLM_CPU_KVCACHE_SPACE:-1}" VLLM_CPU_OMP_THREADS_BIND=nobind
    # Trainer and vLLM take turns on the same cores: idle OpenMP threads must sleep, not spin
    # (measured with active waiting: 3 to 67 s a step instead of 3).
    export OMP_WAIT_POLICY=PASSIVE OMP_NUM_THREADS="${OMP_NUM_THREADS:-$(cpu_threads)}"
    # vLLM compiles a few small functions even in eager mode, which needs a C++ compiler that a laptop may lack.
    export TORCHDYNAMO_DISABLE=1
    export RAY_USAGE_STATS_ENABLED=0 VLLM_NO_USAGE_STATS=1 VLLM_DO_NOT_TRACK=1 TOKENIZERS_PARALLELISM=false
}

cpu_threads() {
    local n
    n=$(nproc)
    printf '%s' "$((n > 8 ? 8 : n))"
}
