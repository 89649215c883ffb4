"""Why a run failed, from its output: the exception below all wrappers, where it was raised, and what to do.

    explain(lines, status=1)
    Failure(cause="ValueError: …", places=["train/tools/reward-manager.py:60 in compute_score"], fix="…")

verl's workers are other processes. Ray passes an exception on as the text of tracebacks inside each other, and of a
worker that dies by a signal there is only the remark of whoever waited for it. So the last exception of the trainer's
own traceback is the cause, unless it says no more than that somebody died: then the first that a worker printed is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

PREFIX = re.compile(
    r"^(?:\[(?:rank)?\d+\]:\s?|\(\w[\w.:<> -]*? ?pid=\d+[^)]*\)\s?|\((?:EngineCore|Worker|APIServer)[^)]*\)\s?|"
    r"(?:ERROR|WARNING|INFO) \d\d-\d\d \d\d:\d\d:\d\d \[[^\]]*\]\s?)+"
)
"""What torchrun, Ray and vLLM put in front of a worker's line."""
EXCEPTION = re.compile(
    r"^((?:[A-Za-z_]\w*\.)*[A-Z]\w*(?:Error|Exception|Interrupt|Exit|Failure|Timeout|Changed|NotWhole))"
    r"(?:\(\w+\))?(?:: ?(.*))?$"
)
PLACE = re.compile(r'^\s*File "(.+?)", line (\d+), in (\S+)')
WRAPPERS = (
    *("RayTaskError", "RayActorError", "ActorDiedError", "ActorUnavailableError", "WorkerCrashedError"),
    *("OwnerDiedError", "LocalRayletDiedError", "EngineDeadError", "ChildFailedError", "SignalException"),
    *("SystemExit", "KeyboardInterrupt", "CancelledError", "BrokenPipeError", "ConnectionResetError"),
)
"""They say that another process failed, or that this one was told to end."""
CRASH = re.compile(
    r"(?:Watchdog caught collective operation timeout|terminate called after throwing|Fatal Python error|"
    r"Signal \d+ \(SIG\w+\) received by PID).*"
)
"""Of a process that leaves no traceback: its last words, or those of torchrun."""
RAY_KILLED = re.compile(r"[1-9]\d* Workers \(tasks / actors\) killed due to memory pressure")
SHOWN_CHARACTERS = 400

MEMORY = (
    "lower actor_rollout_ref.rollout.gpu_memory_utilization (memory of vLLM), "
    "actor_rollout_ref.actor.ppo_max_token_len_per_gpu or the micro batch size (memory of a pass; SFT: "
    "SFT_MICRO_BATCH_SIZE_PER_GPU, SFT_MAX_LENGTH); ENABLE_LORA=1 (SFT: SFT_LORA_RANK=16) trains fewer weights, and "
    "actor_rollout_ref.actor.fsdp_config.param_offload=true and optimizer_offload=true (SFT: engine.) use RAM for them"
)
HOST_MEMORY = (
    "the machine's memory was full, not the GPU's: fewer workers (actor_rollout_ref.rollout.agent.num_workers, "
    "reward.num_workers), no param_offload and optimizer_offload, a smaller model or batch, ENABLE_LORA=1, or a "
    "machine with more"
)
KILLED = f"it was killed without a word, by somebody or for memory (`dmesg | tail` tells); if so, {HOST_MEMORY}"
NO_SCORES = r"no materializable trajectories"
"""verl's word for a step whose every answer failed: what each failed of stands in the log before."""
FIXES: tuple[tuple[str, str], ...] = (
    (r"CUDA out of memory|torch\.OutOfMemoryError|CUDA error: out of memory|HIP out of memory", MEMORY),
    (
        r"No available memory for the cache blocks|Free memory on device .* less than desired GPU memory|"
        r"larger than the (available KV cache memory|maximum number of tokens that can be stored in KV cache)",
        "vLLM has too little for its KV cache: raise actor_rollout_ref.rollout.gpu_memory_utilization, or lower "
        "actor_rollout_ref.rollout.max_model_len; end other programs on this GPU (nvidia-smi shows them)",
    ),
    (
        r"OutOfMemoryError|killed due to memory pressure|running low on memory|MemoryError|can't allocate memory",
        HOST_MEMORY,
    ),
    (
        r"No space left on device|Disk quota exceeded|PytorchStreamWriter failed writing|unexpected pos \d+ vs \d+",
        "free some disk and start again: the run goes on from its last whole checkpoint; SFT_MAX_CKPT_TO_KEEP or "
        "trainer.max_actor_ckpt_to_keep keeps fewer",
    ),
    (
        r"Watchdog caught collective operation timeout|NCCL.*(timed? ?out|unhandled)|DistBackendError|"
        r"Timed out waiting .* for (recv|send) operation|Connection closed by peer",
        "a worker waited for the others in vain: the first error in the log is the cause when another worker failed; "
        "between machines, NCCL_SOCKET_IFNAME names the network and NCCL_DEBUG=INFO tells what it tries",
    ),
    (r"could not be scored, more than env_error_limit", "mend the environment as the last fault says"),
    (r"failed, and not for the answer", "a bug of the environment's scoring: its traceback is in the log"),
    (NO_SCORES, "not one answer of a step has a score: the log's first exceptions tell why"),
    (
        r"[Aa]ddress already in use|EADDRINUSE",
        "another program has the port: end it, or MASTER_PORT=29501 (SFT on several nodes); a left-over Ray ends by "
        "`ray stop`",
    ),
    (r"CUDA error: device-side assert|illegal memory access", "CUDA_LAUNCH_BLOCKING=1 names the place of the fault"),
    (
        r"No such file or directory: .*global_step_|archive is corrupted|PytorchStreamReader failed",
        "a checkpoint is not whole: RESUME=…/global_step_N names another one",
    ),
)


@dataclass(frozen=True)
class Failure:
    cause: str
    """One line."""
    places: list[str]
    """FILE:LINE in FUNCTION: the innermost of ours, and the innermost of all."""
    fix: str


@dataclass
class _Raised:
    kind: str
    message: str
    places: list[tuple[str, str, str]]
    source: str
    """What stood before the line: who printed it."""

    @property
    def name(self) -> str:
        return self.kind.rpartition(".")[2]

    @property
    def own(self) -> bool:
        """Printed by the trainer itself, not by a worker."""
        return not self.source or self.source.startswith("[rank")

    def __str__(self) -> str:
        return f"{self.kind}: {self.message}"


def explain(lines: list[str], status: int, lost: Iterable[str] = (), oom_kills: int = 0) -> Failure:
    """`status`: the command's, negative for a signal. `lost`: workers that died, "ray::WorkerDict (pid 812)".
    `oom_kills`: how many processes the kernel ended for memory meanwhile.
    """
    raised = _exceptions(lines)
    real = [one for one in raised if one.name not in WRAPPERS]
    own = [one for one in raised if one.own]
    died = next((f"{what} died" for what in lost), "")
    if own and own[-1] in real:
        if not re.search(NO_SCORES, own[-1].message):
            return _as_failure(own[-1])
        if died:
            return Failure(f"{died}, and no answer of the step has a score", [], KILLED)
        return _as_failure(next((one for one in real if not one.own), own[-1]))
    known = [one for one in real if _fix(str(one))]
    pids = {match[1] for what in lost if (match := re.search(r"\(pid (\d+)\)", what))}
    last_words = [one for one in real if any(f"pid={pid}" in one.source for pid in pids)]
    if oom_kills or any(RAY_KILLED.search(line) for line in lines):
        return Failure(f"out of memory: {died or 'the kernel or Ray killed a process'}", [], HOST_MEMORY)
    if status == -9:
        return Failure("the trainer was killed by signal 9", [], KILLED)
    if known or last_words:
        return _as_failure((known or last_words)[0])
    if crash := next((match[0] for line in lines if (match := CRASH.search(line))), ""):
        return Failure(_short(crash), [], _fix(crash) or (KILLED if "SIGKILL" in crash else ""))
    if died:
        return Failure(died, [], KILLED)
    if real or raised:
        return _as_failure((real or raised[-1:])[0])
    if status < 0:
        return Failure(f"the trainer was ended by signal {-status}", [], "")
    last = next((line for line in reversed(lines) if line.strip()), "")
    return Failure(_short(f"no exception, and its last line was: {last}"), [], _fix(last))


def _as_failure(raised: _Raised) -> Failure:
    cause = f"{raised.name}: {raised.message}".removesuffix(": ")
    cause = cause.removeprefix("ValueError: Unknown status: ")  # how env_faults.py has verl stop a run
    return Failure(_short(cause), _shown(raised.places), _fix(str(raised)))


def _exceptions(lines: list[str]) -> list[_Raised]:
    """Those that end a traceback, in the order of the output."""
    found: list[_Raised] = []
    open_places: dict[str, list[tuple[str, str, str]]] = {}
    for number, line in enumerate(lines):
        prefix = PREFIX.match(line)
        source = prefix[0].strip() if prefix else ""
        text = line[prefix.end() :] if prefix else line
        if place := PLACE.match(text):
            open_places.setdefault(source, []).append((place[1], place[2], place[3]))
            continue
        match = EXCEPTION.match(text)
        if match and open_places.get(source):
            message = match[2] or ""
            if not message or message.endswith(":"):  # the message is on the next lines
                message = (message + " " + _next_text(lines, number)).strip()
            if message.startswith("ray::"):  # the traceback of a worker follows
                message = ""
            found.append(_Raised(match[1], message, open_places.pop(source), source))
    return found


def _next_text(lines: list[str], number: int) -> str:
    for line in lines[number + 1 : number + 4]:
        text = PREFIX.sub("", line).strip()
        if text:
            return text
    return ""


def _fix(text: str) -> str:
    return next((fix for pattern, fix in FIXES if re.search(pattern, text)), "")


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 1] + "…"


def _shown(places: list[tuple[str, str, str]]) -> list[str]:
    root = str(Path(__file__).resolve().parents[3]) + "/"
    own_folders = tuple(root + folder for folder in ("train/tools/", "train/scripts/", "data_processing/"))
    around = ("/run_phase.py", "/measured_replay_buffer.py")  # they stand around verl's methods
    places = [place for place in places[:-1] if not place[0].endswith(around)] + places[-1:]
    ours = [place for place in places if place[0].startswith(own_folders)]
    chosen = [*ours[-1:], *(place for place in places[-1:] if place not in ours[-1:])]
    return [f"{file.removeprefix(root)}:{line} in {name}" for file, line, name in chosen]


def oom_kills() -> int:
    """Processes of this machine, or of this container, that the kernel has killed for memory so far."""
    total = 0
    for path in (Path("/sys/fs/cgroup/memory.events"), Path("/proc/vmstat")):
        try:
            counts = re.findall(r"^oom_kill (\d+)$", path.read_text(), re.MULTILINE)
        except OSError:
            continue
        if counts:
            total = max(total, int(counts[0]))
    return total
