"""doctor.sh on environments that are broken on purpose: each is named, and nothing else is.

The packages and nvidia-smi are stand-ins; Python, sockets, file systems, bubblewrap and the hub's answers are real.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from doctor_patient import H100, Patient, answering
from script_runner import error_lines

SECRET = "hf_plantedSECRET0123456789"
SYMBOL = "undefined symbol: _ZN3c105ErrorC2ENS_14SourceLocationENSt7__cxx1112basic_stringE"
EXTENSION = "/opt/env/lib/python3.11/site-packages/flash_attn_2_cuda.cpython-311-x86_64-linux-gnu.so"
FREE = f"0, GPU-a, {H100}, 81559, 4, 580.65.06"


@pytest.fixture
def cpu(tmp_path: Path) -> Patient:
    return Patient(tmp_path)


@pytest.fixture
def gpu(tmp_path: Path) -> Patient:
    return Patient(tmp_path, "gpu")


def only(findings: list[dict[str, str]], check: str, status: str = "fail") -> str:
    """What the one finding says, fix and all: it is of this check."""
    assert [(each["check"], each["status"]) for each in findings] == [(check, status)], findings
    assert findings[0]["fix"]
    return f"{findings[0]['found']}: {findings[0]['fix']}"


@pytest.mark.parametrize("kind", ["cpu", "gpu"])
def test_nothing_is_wrong_with_a_whole_environment(tmp_path: Path, kind: str) -> None:
    patient = Patient(tmp_path, kind)
    assert patient.findings() == []
    assert patient.findings("--quick") == []
    status, output, _ = patient.run()
    assert status == 0 and "\nok    python " in output


# --- Python


def test_another_python_is_named_and_its_packages_are_not(cpu: Patient) -> None:
    cpu.stack.pretend_python(3, 10, 14)
    cpu.stack.remove("transformers", "verl")
    said = only(cpu.findings("--quick"), "python")
    assert f"3.10.14 in {cpu.stack.python}" in said and "3.11 or 3.12 is needed: PYTHON=" in said


def test_a_missing_interpreter_is_named(cpu: Patient) -> None:
    said = only(cpu.findings(VERITAS_PYTHON="/no/python"), "python")
    assert said == "Python /no/python (VERITAS_PYTHON) is not there: run `make setup`"


def test_an_interpreter_that_does_not_start_is_named_with_its_own_words(cpu: Patient) -> None:
    words = "python: error while loading shared libraries: libpython3.12.so.1.0: cannot open shared object file"
    python = cpu.program("my python", f"#!/bin/sh\necho '{words}' >&2\nexit 127\n")
    assert words in only(cpu.findings("--quick", VERITAS_PYTHON=str(python)), "python")


def test_a_bare_python_has_none_of_the_packages(cpu: Patient) -> None:
    bare = cpu.tmp / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", bare], check=True)
    said = only(cpu.findings("--quick", VERITAS_PYTHON=str(bare / "bin/python")), "packages")
    assert "has none of the packages of requirements-cpu.txt: make setup" in said


def test_a_broken_dotenv_file_is_named_by_its_line_and_not_its_value(cpu: Patient) -> None:
    (cpu.repo.root / ".env").write_text(f"LORA_RANK=8\nHF_TOKEN='{SECRET}\n")
    said = only(cpu.findings(), "env file")
    assert ".env:2: the value of HF_TOKEN has no closing '" in said and SECRET not in said


# --- packages


def test_another_version_is_named_with_the_command_that_mends_it(cpu: Patient) -> None:
    (installed,) = cpu.stack.packages.glob("transformers-*.dist-info")
    pin = installed.name.removesuffix(".dist-info").partition("-")[2]
    cpu.stack.install("transformers", "4.57.1")
    said = only(cpu.findings("--quick"), "packages", "warn")
    assert f"transformers 4.57.1 (=={pin})" in said
    assert f"'{cpu.stack.python}' -m pip install --no-deps transformers=={pin}" in said


def test_a_missing_package_is_named(gpu: Patient) -> None:
    gpu.stack.remove("peft")
    said = only(gpu.findings(), "packages")
    assert "missing: peft>=" in said and "-m pip install 'peft>=" in said


def test_what_another_kind_of_run_needs_is_not_missed(gpu: Patient) -> None:
    gpu.stack.remove("vllm")
    shutil.rmtree(gpu.stack.packages / "vllm")
    assert "missing: vllm==" in only(gpu.findings("--quick"), "packages")
    assert gpu.findings("--quick", "--for", "sft") == []


def test_sglang_stands_in_place_of_vllm(gpu: Patient) -> None:
    gpu.stack.remove("vllm")
    shutil.rmtree(gpu.stack.packages / "vllm")
    gpu.stack.install("flashinfer-python", "0.1")
    gpu.stack.module("sglang", "")
    said = only(gpu.findings("--quick", "--for", "grpo", ROLLOUT_BACKEND="sglang"), "packages")
    assert "missing: sglang==" in said and "vllm" not in said
    gpu.stack.install("sglang", said.partition("sglang==")[2].partition(":")[0])
    assert gpu.findings("--for", "grpo", ROLLOUT_BACKEND="sglang") == []


def test_a_missing_verl_is_named(cpu: Patient) -> None:
    cpu.stack.remove("verl")
    assert only(cpu.findings(), "verl") == f"verl is not installed in {cpu.stack.python}: run `make setup`"


def test_another_verl_is_named(cpu: Patient) -> None:
    cpu.stack.install("verl", "0.5.0")
    assert "verl 0.5.0 is installed, and this project runs on verl 0.9.1" in only(cpu.findings(), "verl")


def test_a_submodule_at_another_version_is_named_and_not_used(cpu: Patient) -> None:
    version = cpu.repo.root / "train/verl/verl/version/version"
    version.parent.mkdir(parents=True)
    version.write_text("0.5.0\n")
    said = only(cpu.findings(), "verl", "warn")
    assert "the installed wheel (train/verl is at 0.5.0): make verl" in said


# --- compiled parts


def test_a_torch_that_ends_the_process_is_named_and_what_needs_it_is_not(gpu: Patient) -> None:
    gpu.stack.module("torch", "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)")
    assert "importing torch was ended by SIGSEGV" in only(gpu.findings(), "torch")


def test_an_import_that_hangs_is_ended_and_named(gpu: Patient) -> None:
    gpu.stack.module("vllm", "import time\ntime.sleep(600)")
    assert "importing vllm did not end within 2 s" in only(gpu.findings("--seconds", "2"), "vllm")


def test_a_vllm_of_another_torch_is_named(gpu: Patient) -> None:
    gpu.stack.module("vllm", f"raise ImportError('/x/vllm/_C.abi3.so: {SYMBOL}')")
    said = only(gpu.findings(), "vllm")
    assert f"vllm was built against another torch than 2.11.0: {SYMBOL}" in said


def test_a_flash_attention_of_another_torch_is_named(gpu: Patient) -> None:
    gpu.stack.module("flash_attn_2_cuda", f"raise ImportError('{EXTENSION}: {SYMBOL}')")
    said = only(gpu.findings(), "flash-attn")
    assert f"flash_attn_2_cuda was built against another torch than 2.11.0: {SYMBOL}" in said
    assert "-m pip install --no-build-isolation --no-cache-dir --force-reinstall --no-deps flash-attn==2.8.3" in said


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"not a library" * 50, "damaged"), (b"", "damaged"), (None, "No module named 'flash_attn_2_cuda'")],
)
def test_a_damaged_extension_is_named(gpu: Patient, content: bytes | None, reason: str) -> None:
    shutil.rmtree(gpu.stack.packages / "flash_attn_2_cuda")
    if content is not None:
        (gpu.stack.packages / "flash_attn_2_cuda.abi3.so").write_bytes(content)
    assert reason in only(gpu.findings(), "flash-attn")


def test_a_missing_flash_attention_is_only_slow(gpu: Patient) -> None:
    gpu.stack.remove("flash_attn")
    for name in ("flash_attn", "flash_attn_2_cuda"):
        shutil.rmtree(gpu.stack.packages / name)
    said = only(gpu.findings(), "flash-attn", "warn")
    assert "-m pip install --no-build-isolation flash-attn==2.8.3" in said


# --- GPUs


@pytest.mark.parametrize("quick", [[], ["--quick"]])
def test_a_torch_for_a_newer_cuda_than_the_drivers_is_named(gpu: Patient, quick: list[str]) -> None:
    gpu.cards(FREE, driver="550.54.14", cuda="12.4")
    gpu.stack.torch("2.11.0", cuda="13.0", available=False)
    said = only(gpu.findings(*quick), "cuda")
    assert "torch is built for CUDA 13.0, and driver 580.65.06 serves CUDA 12.4" in said


def test_a_torch_without_cuda_is_named(gpu: Patient) -> None:
    gpu.stack.torch("2.11.0+cpu", cuda=None)
    assert "torch 2.11.0+cpu is a build without CUDA" in only(gpu.findings("--quick"), "cuda")


@pytest.mark.parametrize("quick", [[], ["--quick"]])
def test_a_gpu_in_use_is_named_with_the_program_and_a_free_one(gpu: Patient, quick: list[str]) -> None:
    taken, free = f"0, GPU-a, {H100}, 81559, 71204, 580.65.06", f"1, GPU-b, {H100}, 81559, 4, 580.65.06"
    gpu.cards(taken, free, programs=("GPU-a, 4242, /usr/bin/python3, 71000",))
    said = only(gpu.findings(*quick, GPU_COUNT="1"), "gpu")
    assert "GPU 0: 74.7 of 85.5 GB are in use by pid 4242 (/usr/bin/python3, 74.4 GB)" in said
    assert "CUDA_VISIBLE_DEVICES=1" in said
    assert "CUDA_VISIBLE_DEVICES=1 with GPU_COUNT=1," in only(gpu.findings(*quick), "gpu")
    gpu.cards(free, taken)  # the other one is not asked for
    assert gpu.findings(*quick, GPU_COUNT="1") == []
    assert gpu.findings(*quick, "--for", "sft", PROFILE="cpu") == []


def test_a_vllm_for_gpus_is_named_where_the_run_would_use_none(gpu: Patient) -> None:
    said = only(gpu.findings("--quick", "--for", "grpo", PROFILE="cpu"), "packages")
    assert "vllm 0.24.0 is a build for GPUs" in said and "STACK=cpu make setup" in said


def test_a_gpu_in_use_by_another_container_is_named_without_a_program(gpu: Patient) -> None:
    gpu.cards(f"0, GPU-a, {H100}, 81559, 71204, 580.65.06")
    said = only(gpu.findings("--quick"), "gpu")
    assert "programs that are not seen from here" in said and "CUDA_VISIBLE_DEVICES" not in said


def test_a_card_that_does_not_say_its_memory_is_no_fault(gpu: Patient) -> None:
    gpu.cards("0, GPU-a, NVIDIA GH200, [N/A], [N/A], 580.65.06", programs=("GPU-a, 7, python, [N/A]",))
    assert gpu.findings("--quick") == []
    assert gpu.findings("--quick", CUDA_VISIBLE_DEVICES="MIG-4f1c6a2e") == []


def test_a_missing_runtime_is_named_where_the_packages_want_gpus(gpu: Patient) -> None:
    (gpu.repo.bin / "nvidia-smi").unlink()
    said = only(gpu.findings("--quick"), "driver")
    assert "nvidia-smi is not there: no NVIDIA driver or runtime" in said
    assert only(gpu.findings("--quick", "--for", "grpo", PROFILE="cpu"), "driver")
    assert only(gpu.findings("--quick", "--for", "sft", PROFILE="cpu"), "driver", "warn")


def test_a_driver_that_fails_is_named(gpu: Patient) -> None:
    words = "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver."
    gpu.program("nvidia-smi", f'#!/bin/sh\necho "{words}"\nexit 9\n')
    assert f"nvidia-smi fails: {words}: mend the driver" in only(gpu.findings("--quick"), "driver")


def test_the_packages_for_another_machine_are_named(cpu: Patient) -> None:
    cpu.cards(FREE)
    said = only(cpu.findings("--quick"), "packages")
    assert "the packages for machines without a GPU are installed" in said and "STACK=gpu make setup" in said


def test_fewer_gpus_than_asked_for_are_named(gpu: Patient) -> None:
    findings = gpu.findings(GPU_COUNT="2")
    assert [each["check"] for each in findings] == ["profile"]
    assert "GPU_COUNT=2, and this machine has 1 GPU(s)" in findings[0]["found"]


# --- the machine


def bwrap(*arguments: str) -> str:
    return f"bwrap --dev-bind / / {' '.join(arguments)} -- "


@pytest.mark.parametrize(("mib", "status"), [(64, "fail"), (1024, "warn")])
def test_a_small_shared_memory_is_named(cpu: Patient, mib: int, status: str) -> None:
    around = bwrap(f"--size {mib * 2**20} --tmpfs /dev/shm")
    said = only(cpu.findings("--quick", also="shm", around=around), "shm", status)
    assert f"/dev/shm has {mib * 2**20 / 1e9:.2f} GB free" in said and "--shm-size=16g" in said


def test_a_disk_that_holds_no_checkpoint_is_named(cpu: Patient) -> None:
    model = cpu.repo.model()
    header = json.dumps({"w": {"dtype": "BF16", "shape": [1000, 1000, 1000], "data_offsets": [0, 0]}}).encode()
    (model / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    artifacts = cpu.tmp / "artifacts"
    artifacts.mkdir()
    around = bwrap(f"--size {10 * 10**9} --tmpfs '{artifacts}'")
    variables = {"AGENT_MODEL_REPO_ID": str(model), "CHECKPOINT_DIR": str(artifacts / "run")}
    said = only(cpu.findings("--quick", also="disk", around=around, TUNING="full", **variables), "disk")
    assert "10 GB free" in said and "one checkpoint of 1.00 B parameters is about 12.0 GB" in said and "LoRA" in said
    said = only(cpu.findings("--quick", also="disk", around=around, **variables), "disk", "warn")
    assert "about 5.0 GB" in said
    around = bwrap(f"--size {10**9} --tmpfs '{artifacts}'")
    said = only(cpu.findings(also="disk", around=around, **variables), "disk")
    assert "checkpoints want 5: free some space" in said


def test_few_open_files_are_named(cpu: Patient) -> None:
    findings = cpu.findings("--quick", also="open files", around="ulimit -n 1024;")
    assert "ulimit -Hn is 1024" in only(findings, "open files", "warn")


def test_a_missing_bwrap_is_named(cpu: Patient) -> None:
    programs = cpu.tmp / "programs"
    programs.mkdir()
    for folder in ("/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin"):
        for program in Path(folder).iterdir() if Path(folder).is_dir() else []:
            if program.name not in ("bwrap", "docker") and not (programs / program.name).exists():
                (programs / program.name).symlink_to(program)
    said = only(cpu.findings(PATH=str(programs)), "sandbox", "warn")
    assert "bwrap is not installed; docker: not installed" in said and "apt-get install bubblewrap" in said


# --- Ray and ports


def test_a_running_ray_and_a_left_address_are_named(cpu: Patient) -> None:
    folder = Path(cpu.repo.env["RAY_TMPDIR"]) / "ray"
    folder.mkdir(parents=True)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        (folder / "ray_current_cluster").write_text(address)
        said = only(cpu.findings(), "ray")
        assert f"a Ray cluster runs here already, at {address}" in said and "`ray stop`" in said
    said = only(cpu.findings(), "ray", "warn")
    assert f"names a cluster that does not answer: {address}" in said


def test_processes_that_ray_left_are_named(cpu: Patient) -> None:
    folder = Path(cpu.repo.env["RAY_TMPDIR"]) / "ray"
    command = ["raylet", "-c", "read line", f"--session_dir={folder}/session_2026"]
    left = subprocess.Popen(command, executable="/bin/bash", stdin=subprocess.PIPE)
    try:
        assert f"pid {left.pid} (raylet)" in only(cpu.findings(), "ray", "warn")
    finally:
        left.communicate()


def test_a_port_that_is_taken_is_named_with_its_program(cpu: Patient) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        node = {"NNODES": "2", "NODE_RANK": "0", "MASTER_PORT": port}
        said = only(cpu.findings("--quick", "--for", "sft", **node), "ports")
        assert f"port {port} (MASTER_PORT) is taken by pid {os.getpid()} (" in said
        assert cpu.findings("--quick", "--for", "sft", **{**node, "NODE_RANK": "1"}) == []
        assert cpu.findings("--quick", "--for", "sft", **{**node, "NNODES": "1"}) == []
    assert cpu.findings("--quick", "--for", "sft", **node) == []


# --- the hub and accounts


@pytest.mark.parametrize(
    ("status", "token", "reason"),
    [
        (401, None, "wants a token (answers 401)"),
        (401, SECRET, "does not know HF_TOKEN (answers 401)"),
        (500, None, "answers 500"),
        (200, None, None),
        (404, SECRET, None),
    ],
)
def test_what_the_hub_answers_is_named(cpu: Patient, status: int, token: str | None, reason: str | None) -> None:
    with answering(status) as url:
        findings = cpu.findings("--quick", HF_HUB_OFFLINE=None, HF_ENDPOINT=url, HF_TOKEN=token)
    if reason is None:
        assert findings == []
    else:
        assert f"{url} {reason}" in only(findings, "hub", "warn")


def test_a_hub_that_cannot_be_reached_is_a_warning(cpu: Patient) -> None:
    closed = {"HF_HUB_OFFLINE": None, "HF_ENDPOINT": "http://127.0.0.1:9"}
    said = only(cpu.findings("--quick", **closed), "hub", "warn")
    assert "http://127.0.0.1:9 cannot be reached: Connection refused" in said
    assert cpu.findings("--quick", **{**closed, "AGENT_MODEL_REPO_ID": str(cpu.repo.model())}) == []
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        said = only(cpu.findings("--quick", HF_HUB_OFFLINE=None, HF_ENDPOINT=url), "hub", "warn")
    assert f"{url} does not answer within 3 s" in said or f"{url} cannot be reached: timed out" in said


@pytest.mark.parametrize("token", [f"{SECRET} {SECRET}", f'"{SECRET}"', f"{SECRET}\n{SECRET}", f"“{SECRET}"])
def test_a_token_that_cannot_be_one_is_named_and_not_shown(cpu: Patient, token: str) -> None:
    said = only(cpu.findings("--quick", WANDB_API_KEY=token, WANDB_MODE="offline"), "tokens", "warn")
    assert said.startswith("WANDB_API_KEY has a ") and SECRET not in said


def test_a_tracker_without_its_key_is_named(cpu: Patient) -> None:
    findings = cpu.findings(WANDB_MODE="online")
    assert [(each["check"], each["status"]) for each in findings] == [("wandb", "fail")]
    assert "WANDB_MODE=online needs WANDB_API_KEY" in findings[0]["found"]


@pytest.mark.parametrize("arguments", [[], ["--json"], ["--quick"]])
def test_no_secret_is_ever_shown(cpu: Patient, arguments: list[str]) -> None:
    (cpu.repo.root / ".env").write_text(f"WANDB_API_KEY={SECRET}\nSWEBENCH_API_KEY='{SECRET}two words'\n")
    _, output, errors = cpu.run(
        *arguments,
        HF_HUB_OFFLINE=None,
        HF_ENDPOINT=f"http://user:{SECRET}@127.0.0.1:9/{SECRET}",
        HF_TOKEN=SECRET,
        RAY_ADDRESS=f"ray://user:{SECRET}@host:10001",
        AWS_SECRET_ACCESS_KEY=f"{SECRET}aws",
    )
    assert SECRET not in output + errors
    assert "127.0.0.1:9" in output + errors and "SWEBENCH_API_KEY" in output + errors


# --- the command line, and what trainers do with it


def test_help_and_a_wrong_option(cpu: Patient) -> None:
    status, output, _ = cpu.run("--help", VERITAS_PYTHON="/no/python")
    assert status == 0 and "bash train/scripts/doctor.sh --json" in output
    sourced = cpu.repo.bash('. train/scripts/doctor.sh --quick; echo "status $?"', VERITAS_PYTHON="/no/python")
    assert sourced.stdout == "status 1\n" and "/no/python" in sourced.stderr, "the user's shell goes on"
    status, _, errors = cpu.run("--qiuck")
    assert status == 2 and "--qiuck" in errors


def test_a_failing_check_makes_the_status_1_and_stands_in_the_table_with_its_fix(cpu: Patient) -> None:
    status, output, _ = cpu.run(VERITAS_PYTHON="/no/python")
    assert status == 1
    assert "fail  python" in output and "fix: run `make setup`" in output and " checks fail" in output


def huge_model(patient: Patient) -> str:
    """A model whose checkpoint no disk holds."""
    model = patient.repo.model()
    header = json.dumps({"w": {"dtype": "BF16", "shape": [10**9, 10**9], "data_offsets": [0, 0]}}).encode()
    (model / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    return str(model)


def start_grpo(patient: Patient, **env: str | None) -> subprocess.CompletedProcess[str]:
    return patient.repo.trainer("tic_tac_toe", **env)


def start_sft(patient: Patient, **env: str | None) -> subprocess.CompletedProcess[str]:
    patient.repo.parquet("train.parquet")
    return patient.repo.sft(SFT_TRAIN_FILES="train.parquet", **env)


@pytest.mark.slow
@pytest.mark.parametrize("start", [start_grpo, start_sft])
def test_a_trainer_is_refused_by_what_the_doctor_finds_and_started_without_it(
    cpu: Patient, start: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    cpu.repo.stand_in_verl("print('the trainer runs')")
    model = huge_model(cpu)
    refused = start(cpu, AGENT_MODEL_REPO_ID=model)
    assert refused.returncode == 2
    assert any("one checkpoint of 1000000000.00 B parameters" in line for line in error_lines(refused))
    assert "DOCTOR=0 starts it anyway" in refused.stderr and "the trainer runs" not in refused.stdout
    started = start(cpu, AGENT_MODEL_REPO_ID=model, DOCTOR="0")
    assert started.returncode == 0 and "the trainer runs" in started.stdout, started.stderr
