""".env.example is the whole list of the variables that scripts, recipes and tools read, and each of them is read.

docs/training.md has the same list (test_docs.py), and the header of the SFT script its own (test_sft_variables.py).
"""

from __future__ import annotations

import functools
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def names(text: str) -> set[str]:
    return set(text.split())


MADE_BY_US = names(
    """AGENT_MODEL_PATH BEFORE CHECKPOINT_DIR MINI_PACKAGES REPORT_FD SB_PACKAGES SFT_FILES_TO_COME TUNING VERITAS_GPUS
    VERITAS_LIB VERITAS_PHASE_FILE VERITAS_ROOT VERITAS_TOOLS VERL_FILE_LOGGER_PATH VERL_PLATFORM WANDB_RESUME
    WANDB_RUN_ID"""
)
"""One of our programs sets it for another: not the user's."""
BEFORE_DOTENV = {"PYTHON", "STACK", "TORCH_INDEX"}
"""Of setup.sh, which makes the environment and reads no .env: its --help has them."""
OF_OTHERS = names(
    """ARROW_DEFAULT_MEMORY_POOL BASH_SOURCE CUDA_HOME CUDA_VISIBLE_DEVICES HF_HOME HF_HUB_OFFLINE HOME
    LOCAL_RANK LOCAL_WORLD_SIZE MSWEA_GLOBAL_CONFIG_DIR MSWEA_SILENT_STARTUP NETRC OMP_NUM_THREADS PATH PWD PYTHONPATH
    RAY_TMPDIR SECONDS SLURM_GPUS_ON_NODE SLURM_JOB_ID SLURM_JOB_NODELIST SLURM_JOB_NUM_NODES SLURM_NODEID
    SLURM_SUBMIT_DIR VERL_ENGINE_DEVICE VERL_USE_EXTERNAL_MODULES VIRTUAL_ENV VLLM_CPU_KVCACHE_SPACE
    VLLM_ENABLE_V1_MULTIPROCESSING VLLM_LOGGING_LEVEL"""
)
"""Of the shell, the system and the libraries below us, who document them."""
READ_ELSEWHERE = {
    "WANDB_ENTITY": "wandb itself",
    "WANDB_TAGS": "wandb itself",
    "WANDB_NOTES": "wandb itself",
    "MODEL_A": "merge-two-models.sh, as MODEL_${letter^^}",
    "MODEL_B": "merge-two-models.sh, as MODEL_${letter^^}",
}


def listed() -> list[str]:
    return re.findall(r"^#([A-Z][A-Z0-9_]*)=", (ROOT / ".env.example").read_text(encoding="utf-8"), re.MULTILINE)


@functools.cache
def read_by() -> dict[str, str]:
    """Variable → one file that reads it."""
    tracked = subprocess.run(
        ["git", "ls-files", "-z", "train", "data_processing"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    found: dict[str, str] = {}
    for name in tracked.stdout.split("\0"):
        for variable in variables_in(ROOT / name):
            found.setdefault(variable, name)
    return found


def variables_in(file: Path) -> set[str]:
    name = r"([A-Z][A-Z0-9_]+)"
    if file.suffix in (".sh", ".sbatch"):
        code = re.sub(r"(^|\s)#\s.*$", "", file.read_text(encoding="utf-8"), flags=re.MULTILINE)
        loops = re.findall(rf"\bfor \w+ in ({name}(?: {name})*);", code)
        inside = {word for loop in loops for word in loop[0].split()}
        return inside | _either(rf"\$\{{?[!#]?{name}|-v {name}", code)
    if file.suffix == ".yaml":
        return set(re.findall(rf"oc\.env:{name}", file.read_text(encoding="utf-8")))
    if file.suffix == ".py":
        taken = rf'\benviron(?:ment)?(?:\.(?:get|pop|setdefault)\(|\[)\s*"{name}"'
        asked = rf'\bgetenv\("{name}"|"{name}" (?:not )?in os\.environ'
        return _either(f"{taken}|{asked}", file.read_text(encoding="utf-8"))
    return set()


def _either(pattern: str, text: str) -> set[str]:
    return {next(filter(None, match.groups())) for match in re.finditer(pattern, text)}


def test_every_variable_that_is_read_is_listed() -> None:
    explained = MADE_BY_US | BEFORE_DOTENV | OF_OTHERS
    unknown = {name: file for name, file in read_by().items() if name not in explained and name not in listed()}
    assert not unknown, "put these into .env.example and docs/training.md, or say above whose they are"


def test_every_variable_that_is_listed_is_read() -> None:
    assert not set(listed()) - set(read_by()) - set(READ_ELSEWHERE)


def test_no_variable_is_listed_twice_or_explained_in_vain() -> None:
    assert len(listed()) == len(set(listed()))
    assert not (MADE_BY_US | BEFORE_DOTENV | OF_OTHERS) & set(listed())
    assert not (MADE_BY_US | BEFORE_DOTENV | OF_OTHERS) - set(read_by()), "nothing reads these any more"
    assert set(READ_ELSEWHERE) <= set(listed()) and not set(READ_ELSEWHERE) & set(read_by())


def test_the_variables_of_setup_are_in_its_help() -> None:
    header = (ROOT / "train/scripts/setup.sh").read_text(encoding="utf-8").partition("\nset -euo")[0]
    assert {name for name in BEFORE_DOTENV if f"#   {name}=" in header} == BEFORE_DOTENV


def test_the_defaults_of_the_recipes_are_those_listed() -> None:
    defaults = dict(re.findall(r"^#([A-Z][A-Z0-9_]*)=(.+)$", (ROOT / ".env.example").read_text(), re.MULTILINE))
    converted = {"LAYERED_SUMMON", "LORA_EXCLUDE_MODULES", "SFT_LORA_RANK"}  # by the scripts, which know the default
    machines = ("profile", "_profile")  # .env.example says in words what is other without a GPU
    for path in (ROOT / "train/config").rglob("*.yaml"):
        if path.parent.name.endswith(machines):
            continue
        for name, default in re.findall(r"oc\.env:([A-Z_]+),([^}]*)}", path.read_text(encoding="utf-8")):
            if name in defaults and name not in converted:
                assert default.strip('"') == defaults[name], f"{name} in {path.name}"
