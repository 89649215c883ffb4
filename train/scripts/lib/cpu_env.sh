# shellcheck shell=bash
# use_cpu_platform: what verl, Ray and vLLM need in their environment to run without a GPU. Sourced, never run.
# Called for PROFILE=cpu only: on a GPU machine none of this is set.

use_cpu_platform() {
    local tools=$1
    export PYTHONPATH="$tools:$tools/cpu_metadata${PYTHONPATH:+:$PYTHONPATH}"
    export VERL_PLATFORM=cpu VERL_USE_EXTERNAL_MODULES=cpu_platform
    # vLLM: 1 GiB of KV cache holds the short games' prompts; no thread pinning, the trainer shares the cores.
    export VLLM_CPU_KVCACHE_SPACE="${VLLM_CPU_KVCACHE_SPACE:-1}" VLLM_CPU_OMP_THREADS_BIND=nobind
    # Trainer and vLLM take turns on the same cores: idle OpenMP threads must sleep, not spin
    # (measured with active waiting: 3 to 67 s a step instead of 3).
    export OMP_WAIT_POLICY=PASSIVE OMP_NUM_THREADS="${OMP_NUM_THREADS:-$(cpu_threads)}"
    # Logits are hundreds of MB: by default glibc returns them to the kernel after every use and faults them in anew, page
    # by page. Kept, and in huge pages: 13 % less processor time for a forward and backward pass.
    export MALLOC_MMAP_THRESHOLD_=4294967296 MALLOC_TRIM_THRESHOLD_=34359738368
    export GLIBC_TUNABLES="${GLIBC_TUNABLES:-glibc.malloc.hugetlb=1}"
    export RAY_USAGE_STATS_ENABLED=0 VLLM_NO_USAGE_STATS=1 VLLM_DO_NOT_TRACK=1 TOKENIZERS_PARALLELISM=false
}

cpu_threads() {
    local n
    n=$(nproc)
    printf '%s' "$((n > 8 ? 8 : n))"
}
