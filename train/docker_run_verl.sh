#!/usr/bin/env bash
# Starts the GPU container: the repository at /workspace/veritas-rl, all GPUs, the variables of .env.
#
#   bash train/docker_run_verl.sh                    # a shell in it
#   bash train/docker_run_verl.sh --build            # builds the image first: half an hour or more, once
#   bash train/docker_run_verl.sh bash train/scripts/openspiel-ppo-trainer.sh hex    # a command, and it ends with it
#   DRY_RUN=1 bash train/docker_run_verl.sh          # prints the commands and runs nothing
#
#   --build         build the image from train/Dockerfile
#   --user          not as root but as you: what a run writes belongs to you
#   --sandbox       let bubblewrap make sandboxes in the container, for software repair and traces: less is kept from
#                   the container (no seccomp and AppArmor profiles, and CAP_SYS_ADMIN for root)
#   --mount DIR     a directory that shall be in the container too, under its own path; several times
#   --attach        another shell in the container that runs
#   --              what follows is the command
#
# Variables:
#   IMAGE=vllm      vllm, sglang (both of train/Dockerfile), or any image that has what requirements.txt names
#   CONTAINER       its name: veritas-rl
#   SHM_SIZE=64g    /dev/shm of the container. With --ipc=host, which NCCL and Ray want, docker takes the host's instead
#
# Every variable of .env, and each of .env.example that you have set, is handed on by its name: values are on no command
# line. Paths of .env are looked for in the container: give relative ones, or --mount their directory. Models of the hub
# are kept in HF_HOME (~/.cache/huggingface) of this machine.
# With NNODES above 1 or RAY_ADDRESS the container is in the host's network, with its InfiniBand devices.
if [[ ${BASH_SOURCE[0]} != "$0" ]]; then # sourced
    # shellcheck source=scripts/lib/common.sh
    (. "$(dirname "${BASH_SOURCE[0]}")/scripts/lib/common.sh" && run_sourced "${BASH_SOURCE[0]}" "$@")
    return
fi
set -euo pipefail
# shellcheck source=scripts/lib/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/scripts/lib/common.sh"

workdir=/workspace/veritas-rl
build=0 attach=0 as_user=0 sandbox=0
mounts=() options=() command=()

parse_arguments() {
    while (($#)); do
        case $1 in
            -h | --help) show_help && exit 0 ;;
            --build) build=1 ;;
            --attach) attach=1 ;;
            --user) as_user=1 ;;
            --sandbox) sandbox=1 ;;
            --mount)
                (($# > 1)) || die '--mount wants a directory'
                mounts+=("$(existing_dir --mount "$2")") || exit
                shift
                ;;
            --) shift && command=("$@") && return ;;
            -*) die "unknown option $1: see --help" ;;
            *) command=("$@") && return ;;
        esac
        shift
    done
}

choose_image() {
    case ${IMAGE:=vllm} in
        vllm | sglang) rollout=$IMAGE image=veritas-rl:$IMAGE ;;
        *)
            rollout='' image=$IMAGE
            ((!build)) || die "--build makes the images vllm and sglang, and IMAGE=$IMAGE is another one: leave --build out"
            ;;
    esac
    if [[ $rollout == sglang ]]; then export ROLLOUT_BACKEND=${ROLLOUT_BACKEND:-sglang}; fi
    [[ ${CONTAINER:=veritas-rl} =~ ^[A-Za-z0-9][A-Za-z0-9_.-]*$ ]] ||
        die "CONTAINER=$CONTAINER is not a name for a container: use letters, digits and _ . -"
    [[ ${SHM_SIZE:=64g} =~ ^[1-9][0-9]*[bkmgBKMG]?$ ]] || die "SHM_SIZE=$SHM_SIZE is not a size such as 64g"
}

# bind SOURCE TARGET: docker reads a line of CSV.
bind() { options+=(--mount "type=bind,\"source=${1//\"/\"\"}\",\"target=${2//\"/\"\"}\""); }

# Variables of .env, and those of .env.example that are set; not this machine's own paths.
pass_variables() {
    local name
    while IFS= read -r name; do
        case $name in
            VERITAS_PYTHON | PATH | HOME | HF_HOME | IMAGE | CONTAINER | SHM_SIZE | DRY_RUN) continue ;;
        esac
        [[ ! -v $name ]] || options+=(--env "$name")
    done < <({ documented_variables && dotenv_names && echo CUDA_VISIBLE_DEVICES; } | sort -u)
}

dotenv_names() {
    [[ ! -e $VERITAS_ROOT/.env ]] ||
        python3 -S "$VERITAS_LIB/read_env_file.py" "$VERITAS_ROOT/.env" | cut -z -d = -f 1 | tr '\0' '\n'
}

choose_options() {
    local directory cache=${HF_HOME:-$HOME/.cache/huggingface}
    options=(--rm --init --interactive --name "$CONTAINER" --gpus all --ipc=host --shm-size "$SHM_SIZE"
        --ulimit memlock=-1 --ulimit stack=67108864 --workdir "$workdir")
    if [[ -t 0 && -t 1 ]]; then options+=(--tty); fi
    bind "$VERITAS_ROOT" "$workdir"
    ((${DRY_RUN:-0})) || mkdir -p "$cache" || die "HF_HOME=$cache cannot be made"
    bind "$cache" /cache/huggingface
    options+=(--env HF_HOME=/cache/huggingface)
    for directory in ${mounts[@]+"${mounts[@]}"}; do bind "$directory" "$directory"; done
    if ((as_user)); then
        options+=(--user "$(id -u):$(id -g)")
        [[ -n $rollout ]] || options+=(--env HOME=/tmp --env USER=trainer)
    fi
    if ((sandbox)); then
        options+=(--security-opt seccomp=unconfined --security-opt apparmor=unconfined
            --security-opt systempaths=unconfined)
        ((as_user)) || options+=(--cap-add SYS_ADMIN)
    fi
    if ((${NNODES:-1} > 1)) || [[ -n ${RAY_ADDRESS:-} ]]; then
        options+=(--network host)
        [[ ! -d /dev/infiniband ]] || options+=(--device /dev/infiniband --cap-add IPC_LOCK)
    fi
    pass_variables
}

# Everything that can be known without starting anything.
check_docker() {
    local answer state
    command -v docker >/dev/null || die 'docker is not installed: install Docker Engine and the NVIDIA Container Toolkit'
    answer=$(docker version --format '{{.Server.Version}}' 2>&1) ||
        die "docker's daemon does not answer (${answer##*$'\n'}): start it (sudo systemctl start docker)," \
            "or let yourself use it (sudo usermod -aG docker $(id -un), then log in again)"
    state=$(docker container inspect --format '{{.State.Status}}' "$CONTAINER" 2>/dev/null) || state=none
    if ((attach)); then
        [[ $state == running ]] || die "no container $CONTAINER runs here: start it without --attach, or set CONTAINER"
        return
    fi
    [[ $state != running ]] ||
        die "a container $CONTAINER runs already: --attach opens a shell in it, docker stop $CONTAINER ends it," \
            'and CONTAINER=another-name starts one beside it'
    [[ $state == none ]] || die "a container $CONTAINER is there and is $state: remove it with docker rm $CONTAINER"
    need_nvidia_runtime
    if ((!build)) && [[ -n $rollout ]]; then
        docker image inspect --format '{{.Id}}' "$image" >/dev/null 2>&1 ||
            die "the image $image is not built yet: add --build (half an hour or more, once)"
    fi
}

need_nvidia_runtime() {
    local known
    known=$(docker info --format '{{json .Runtimes}} {{json .CDISpecDirs}}' 2>&1) || die "docker info fails: ${known##*$'\n'}"
    [[ $known == *nvidia* ]] || command -v nvidia-container-runtime-hook >/dev/null ||
        die 'docker knows no NVIDIA runtime: install the NVIDIA Container Toolkit, then' \
            'sudo nvidia-ctk runtime configure --runtime=docker && sudo systemctl restart docker'
    nvidia-smi -L >/dev/null 2>&1 ||
        say 'warning  nvidia-smi finds no GPU on this machine: docker may refuse --gpus all'
}

# run_or_print COMMAND…
run_or_print() {
    if ((${DRY_RUN:-0})); then
        printf '%q ' "$@" && printf '\n'
    else
        "$@"
    fi
}

main() {
    parse_arguments "$@"
    load_dotenv
    unset_empty
    one_of DRY_RUN "${DRY_RUN:=0}" 0 1
    [[ -z ${NNODES:-} ]] || whole_number NNODES "$NNODES" 1
    choose_image
    ((DRY_RUN)) || check_docker
    ((${#command[@]})) || command=(bash)
    if ((attach)); then
        local terminal=(--interactive)
        if [[ -t 0 && -t 1 ]]; then terminal+=(--tty); fi
        run_or_print exec docker exec "${terminal[@]}" --workdir "$workdir" "$CONTAINER" "${command[@]}"
        return
    fi
    if ((build)); then
        run_or_print docker build --file "$VERITAS_ROOT/train/Dockerfile" --build-arg "ROLLOUT=$rollout" \
            --tag "$image" "$VERITAS_ROOT" || die "the image $image could not be built: docker has said why above"
    fi
    choose_options
    # An image may have an entry point of its own, and the command is not an argument for it.
    run_or_print exec docker run "${options[@]}" --entrypoint "${command[0]}" "$image" "${command[@]:1}"
}

main "$@"
