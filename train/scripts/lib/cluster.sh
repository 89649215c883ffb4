# shellcheck shell=bash
# GRPO on a Ray cluster that runs already: RAY_ADDRESS and NNODES. Sourced by common.sh.
#
# verl's driver joins the cluster; its workers are started by the raylet of their node, so what this script exports is
# unknown to them unless Ray is told. Secrets are not told: Ray prints and keeps a job's environment. They have to be in
# the environment of each node's `ray start`, which ray-node.sh sees to.

joins_ray_cluster() { [[ ${RAY_ADDRESS:-local} != local ]]; }

# Appends to `overrides`. Call it where everything that workers need is exported.
choose_cluster() {
    if ! joins_ray_cluster; then
        ((${NNODES:-1} == 1)) ||
            die "NNODES=$NNODES needs a Ray cluster of as many machines: start one with train/scripts/ray-node.sh" \
                "and set RAY_ADDRESS to the HOST:PORT of its head"
        return 0
    fi
    case $RAY_ADDRESS in
        ray://*) die "RAY_ADDRESS=$RAY_ADDRESS is for Ray's client, and a trainer cannot be one: run this on a node of" \
            'the cluster, with HOST:PORT of its head (6379, where ray start --head was given none)' ;;
        auto | *:[0-9]*) ;;
        *) die "RAY_ADDRESS=$RAY_ADDRESS is not HOST:PORT, auto or local" ;;
    esac
    [[ -z ${RAY_WAIT_S:-} ]] || whole_number RAY_WAIT_S "$RAY_WAIT_S" 0
    # Ray refuses both when it joins a cluster, and PROFILE=cpu sets them.
    overrides+=(ray_kwargs.ray_init.num_cpus=null ++ray_kwargs.ray_init.num_gpus=null)
    hand_on_environment
}

# Ray takes a job's environment from this variable too; verl prints what stands in its own config.
hand_on_environment() {
    local name documented
    local -a names=()
    documented=$(documented_variables)
    while IFS= read -r name; do
        case $name in
            PATH | RAY_* | VERITAS_PYTHON | DRY_RUN | PWD | OLDPWD | SHLVL | _) continue ;;
        esac
        ! is_secret "$name" || continue
        case $name in
            NCCL_* | GLOO_* | VLLM_* | TORCH_* | PYTORCH_* | OMP_*) ;;
            *) if [[ ${BEFORE[$name]-} == "${!name}" ]] && ! grep -qx "$name" <<<"$documented"; then continue; fi ;;
        esac
        names+=("$name")
    done < <(compgen -e)
    RAY_JOB_CONFIG_JSON_ENV_VAR=$("$VERITAS_PYTHON" -S "$VERITAS_LIB/job_environment.py" "${names[@]}") || exit 2
    export RAY_JOB_CONFIG_JSON_ENV_VAR RAY_OVERRIDE_JOB_RUNTIME_ENV=1
}

# The nodes of the cluster, looked at before anything is started.
check_cluster() {
    joins_ray_cluster || return 0
    say "cluster  looking at the nodes of $RAY_ADDRESS …"
    "$VERITAS_PYTHON" "$VERITAS_LIB/check_cluster.py" || exit 2
}
