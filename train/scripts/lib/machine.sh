# shellcheck shell=bash
# What this machine is and has: GPUs and profile, verl, open_spiel, Ray, disk. Sourced by common.sh.

pinned() { sed -nE "s/^$1==([^ ;]+).*/\1/p" "$VERITAS_ROOT/requirements.txt"; }

has_module() { "$VERITAS_PYTHON" -c 'import importlib.util as u, sys; sys.exit(u.find_spec(sys.argv[1]) is None)' "$1"; }

# One line a GPU that we may use: its memory in GiB, rounded up, as the cards are named (81559 MiB: 80, 143771: 141).
gpu_memories() {
    local answer
    local -a only=()
    command -v nvidia-smi >/dev/null || return 0
    if [[ -v CUDA_VISIBLE_DEVICES ]]; then
        [[ -n $CUDA_VISIBLE_DEVICES && $CUDA_VISIBLE_DEVICES != -* ]] || return 0
        only=(-i "$CUDA_VISIBLE_DEVICES")
    fi
    answer=$(nvidia-smi "${only[@]}" --query-gpu=memory.total --format=csv,noheader,nounits 2>&1) ||
        die "nvidia-smi fails: ${answer%%$'\n'*}. Mend the driver, or set PROFILE=cpu to train without a GPU"
    awk '{ print int(($1 + 1023) / 1024) }' <<<"$answer" # "[N/A]", where memory is shared with the host, counts as 0
}

known_profiles() {
    local file
    for file in "$VERITAS_ROOT"/train/config/profile/*.yaml; do basename "$file" .yaml; done
}

# choose_profile [MOST]: sets PROFILE and GPU_COUNT, by default all GPUs but no more than MOST, and the environment for
# them. A profile is a file of train/config/profile; those of GPU machines are named COUNTxMEMORYgb.
choose_profile() {
    local memories='' found=0 memory=0 made_for=0 lacking='' why='set by you' default=1 most=${1:-999999999}
    local -a profiles
    mapfile -t profiles < <(known_profiles)
    if [[ -n ${PROFILE:-} ]]; then one_of PROFILE "$PROFILE" "${profiles[@]}"; fi
    if [[ ${PROFILE:-} != cpu* ]]; then
        memories=$(gpu_memories)
        [[ -z $memories ]] || found=$(wc -l <<<"$memories") memory=$(sort -n <<<"$memories" | head -n 1)
    fi
    if [[ -z ${PROFILE:-} ]]; then
        if ((found == 0)); then
            PROFILE=cpu why='no NVIDIA GPU here'
        else
            why="$found GPU(s) of $memory GB here"
            PROFILE=$(nearest_profile "${GPU_COUNT:-$((found < most ? found : most))}" "$memory" "${profiles[@]}") ||
                die "no profile fits $why: set PROFILE to one of ${profiles[*]}, or add train/config/profile/${found}x${memory}gb.yaml"
        fi
    fi
    [[ ! $PROFILE =~ ^([0-9]+)x ]] || made_for=$((BASH_REMATCH[1] < most ? BASH_REMATCH[1] : most))
    if ((found == 0 && made_for > 0)); then
        lacking="wants GPUs and nvidia-smi finds none here: unset PROFILE, or set PROFILE=cpu"
    elif ((made_for > found)) && [[ -z ${GPU_COUNT:-} ]]; then
        lacking="is for $made_for GPUs and nvidia-smi finds $found here: unset PROFILE, or set GPU_COUNT=$found to use its other values"
    fi
    if [[ -n $lacking ]]; then
        ((${DRY_RUN:-0})) || joins_ray_cluster || die "PROFILE=$PROFILE $lacking"
        default=$made_for found=0 # it is about another machine
    elif ((found > 0)); then
        default=$found
    fi
    export PROFILE GPU_COUNT=${GPU_COUNT:-$((default < most ? default : most))}
    whole_number GPU_COUNT "$GPU_COUNT" 1
    if [[ $PROFILE == cpu* ]]; then
        ((GPU_COUNT == 1)) || die "GPU_COUNT=$GPU_COUNT: PROFILE=$PROFILE has one logical device: unset GPU_COUNT"
    else
        ((found == 0 || GPU_COUNT <= found)) || die "GPU_COUNT=$GPU_COUNT, and this machine has $found GPU(s)"
    fi
    choose_platform
    say "profile  $PROFILE ($why)"
}

# The environment of a CPU run where PROFILE says so, or says nothing and there is no GPU; else only the path to our
# modules. Enough for scripts that read no recipe.
choose_platform() {
    local gpus=''
    [[ -n ${PROFILE:-} ]] || gpus=$(gpu_memories)
    if [[ ${PROFILE:-} == cpu* || -z ${PROFILE:-}$gpus ]]; then
        use_cpu_platform "$VERITAS_TOOLS"
    else
        export PYTHONPATH=$VERITAS_TOOLS${PYTHONPATH:+:$PYTHONPATH}
    fi
}

# nearest_profile COUNT MEMORY PROFILE…: the largest one that asks for no more than there is.
nearest_profile() {
    local count=$1 memory=$2 profile best='' most=0
    shift 2
    for profile in "$@"; do
        [[ $profile =~ ^([0-9]+)x([0-9]+)gb$ ]] || continue
        ((BASH_REMATCH[1] <= count && BASH_REMATCH[2] <= memory)) || continue
        ((BASH_REMATCH[1] * BASH_REMATCH[2] > most)) || continue
        best=$profile most=$((BASH_REMATCH[1] * BASH_REMATCH[2]))
    done
    [[ -n $best ]] && printf '%s' "$best"
}

# The submodule train/verl when it is checked out at the pinned version, else the installed wheel.
choose_verl() {
    local source=$VERITAS_ROOT/train/verl checked_out='' installed pin why='is not checked out'
    pin=$(pinned verl)
    [[ ! -r $source/verl/version/version ]] || checked_out=$(<"$source/verl/version/version")
    if [[ $checked_out == "$pin" ]]; then
        export PYTHONPATH=$source${PYTHONPATH:+:$PYTHONPATH}
        say "verl     $pin from train/verl, at the pinned version"
    else
        installed=$("$VERITAS_PYTHON" -c 'import importlib.metadata as m; print(m.version("verl"))' 2>/dev/null) ||
            die "verl is not installed in $VERITAS_PYTHON: run \`make setup\`"
        [[ $installed == "$pin" ]] || die "verl $installed is installed, and this project runs on verl $pin: run \`make setup\`"
        [[ -z $checked_out ]] || why="is at $checked_out"
        say "verl     $pin, the installed wheel (train/verl $why)"
    fi
    has_module hydra || die "verl's dependencies are not installed in $VERITAS_PYTHON: run \`make setup\`"
}

need_open_spiel() { need_module pyspiel "open_spiel==$(pinned open_spiel)"; }

# need_liger CONFIG: what verl imports where the recipe says use_liger.
need_liger() {
    ! grep -qE '^ *use_liger: true$' <<<"$1" || need_module liger_kernel "liger-kernel==$(pinned liger-kernel)"
}

need_reasoning_gym() { need_module reasoning_gym "reasoning-gym==$(pinned reasoning-gym)"; }

# Tests run with pytest of SWE_PYTHON; without one it is that of this environment.
need_pytest() {
    [[ ${SWE_BACKEND:-auto} == docker || -n ${SWE_PYTHON:-} ]] || need_module pytest pytest
}

need_agent() {
    need_pytest
    need_module minisweagent "mini-swe-agent==$(pinned mini-swe-agent)"
}

# need_module MODULE REQUIREMENT: installs it where it is missing, and says so.
need_module() {
    has_module "$1" && return
    say "installing $2 into $VERITAS_PYTHON …"
    "$VERITAS_PYTHON" -m pip install --disable-pip-version-check --no-input -q "$2" >&2 ||
        die "pip could not install $2: run \`make setup\`, or $VERITAS_PYTHON -m pip install $2"
}

# `ray start` leaves its address in a file, and any later run on the machine joins that cluster without a word.
refuse_to_join_ray() {
    local file=${RAY_TMPDIR:-/tmp}/ray/ray_current_cluster address
    if [[ -n ${RAY_ADDRESS:-} ]]; then
        say "ray      RAY_ADDRESS=$RAY_ADDRESS (set by you)"
        return
    fi
    [[ -s $file ]] || return 0
    address=$(<"$file")
    # shellcheck disable=SC2016
    timeout 2 bash -c ': <"/dev/tcp/$0/$1"' "${address%:*}" "${address##*:}" 2>/dev/null || return 0
    die "a Ray cluster runs here already, at $address, and this run would join it:" \
        "end it with \`ray stop\`, or set RAY_ADDRESS=local to start another one beside it, or RAY_ADDRESS=$address to use it"
}

# ask_doctor grpo|sft: in a second, what would end that run later. DOCTOR=0 leaves it out.
ask_doctor() {
    one_of DOCTOR "${DOCTOR:=1}" 0 1
    ((DOCTOR)) || return 0
    "$VERITAS_PYTHON" -S -E "$VERITAS_TOOLS/doctor" --quick --for "$1" >&2 && return
    say 'doctor   this run would fail: train/scripts/doctor.sh says more, and DOCTOR=0 starts it anyway'
    exit 2
}

# need_free_disk DIRECTORY: a full disk in the middle of a checkpoint costs the run.
need_free_disk() {
    local least=${VERITAS_MIN_FREE_GB:-5} free
    whole_number VERITAS_MIN_FREE_GB "$least" 0
    mkdir -p "$1" 2>/dev/null && [[ -w $1 ]] || die "$1 cannot be written: check its permissions and the disk"
    free=$(df --output=avail -B 1000000000 "$1" | tail -n 1)
    ((free >= least)) ||
        die "$free GB are free in $1, and checkpoints want $least: free some space (VERITAS_MIN_FREE_GB sets the limit)"
}
