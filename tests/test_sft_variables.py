"""The header of lgc-v2-SFT-trainer.sh is the list of SFT's variables: recipe, .env.example and docs say the same."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "scripts"))
from script_runner import ROOT, SFT_TRAINER, Checkout, config_of

RECIPES = [ROOT / "train/config/sft.yaml", *(ROOT / "train/config").glob("sft_*/*.yaml")]
PROFILES = [path for path in RECIPES if path.parent.name == "sft_profile"]
COMPUTED = {"VERITAS_ROOT", "AGENT_MODEL_PATH", "CHECKPOINT_DIR", "TUNING"}
"""What the script makes of other variables."""
OF_THE_GRPO_SCRIPTS = {"AGENT_MODEL_REPO_ID", "GPU_COUNT"}
"""Those whose default in .env.example is that of the other scripts; a comment there names SFT's."""
CHOSEN_BY_THE_SCRIPT = {"GPU_COUNT", "PROFILE", "SFT_LORA_RANK", "LORA_EXCLUDE_MODULES"}
"""Those that the script exports, or converts, before a recipe reads them."""


def header() -> dict[str, str]:
    """Variable → default, as the script's header says."""
    text = (ROOT / SFT_TRAINER).read_text(encoding="utf-8").split("\nif [[", 1)[0]
    return dict(re.findall(r"^#   ([A-Z][A-Z0-9_]*)=(\S*)", text, re.MULTILINE))


def example() -> dict[str, str]:
    text = (ROOT / ".env.example").read_text(encoding="utf-8")
    return dict(re.findall(r"^#([A-Z][A-Z0-9_]*)=(.*)$", text, re.MULTILINE))


def in_recipes(paths: list[Path] = RECIPES) -> dict[str, set[str]]:
    """Variable → the defaults that recipes give it, without verl's and YAML's words for nothing."""
    found: dict[str, set[str]] = {}
    for path in paths:
        for name, default in re.findall(r"oc\.env:([A-Z_]+)(?:,([^}]*))?}", path.read_text(encoding="utf-8")):
            found.setdefault(name, set()).add("" if default == "null" else default)
    return found


def test_the_header_and_the_recipes_are_read_as_meant() -> None:
    assert header()["SFT_TRAIN_BATCH_SIZE"] == "32" and header()["SFT_TRAIN_FILES"] == ""
    assert in_recipes()["SFT_TRAIN_BATCH_SIZE"] == {"32"} and in_recipes()["SFT_LORA_ALPHA"] == {"32"}
    assert len(header()) > 30


def test_every_variable_of_the_header_is_in_the_example_file_with_the_same_default() -> None:
    assert set(header()) <= set(example())
    for name in set(header()) - OF_THE_GRPO_SCRIPTS:
        assert header()[name] == example()[name], name


def test_every_sft_variable_of_the_example_file_is_in_the_header() -> None:
    assert {name for name in example() if name.startswith("SFT_")} <= set(header())


@pytest.mark.parametrize("name", sorted(OF_THE_GRPO_SCRIPTS))
def test_a_default_that_is_sfts_own_is_named_in_the_example_file_and_the_docs(name: str) -> None:
    comment = re.search(rf"((?:^# .*\n)+)#{name}=", (ROOT / ".env.example").read_text(), re.MULTILINE)
    (row,) = re.findall(rf"^\| `{name}` .*$", (ROOT / "docs/training.md").read_text(), re.MULTILINE)
    default = re.compile(rf"\b{re.escape(header()[name])}\b")
    assert comment and default.search(comment[1]) and default.search(row)


def test_every_variable_of_the_recipes_is_in_the_header_with_the_same_default() -> None:
    assert set(in_recipes()) - COMPUTED <= set(header())
    for name, defaults in in_recipes([path for path in RECIPES if path not in PROFILES]).items():
        if name not in COMPUTED | CHOSEN_BY_THE_SCRIPT:
            assert defaults == {header()[name]}, name


def test_a_default_that_a_profile_has_of_its_own_is_told_with_the_others() -> None:
    pages = [(ROOT / name).read_text(encoding="utf-8") for name in (SFT_TRAINER, ".env.example", "docs/training.md")]
    own = in_recipes(PROFILES)
    assert own["SFT_MICRO_BATCH_SIZE_PER_GPU"] == {"4"}
    for name, defaults in own.items():
        for page in pages:
            near = "".join(
                re.findall(rf"(?:^# .*\n)*^.*\b{name}\b.*\n|^# .*\n(?=(?:#\w+=.*\n)*#{name}=)", page, re.MULTILINE)
            )
            assert all(re.search(rf"\b{default} on GPUs of 141 GB", near) for default in defaults), (name, near)


def test_every_variable_of_the_header_is_read_by_the_script_or_a_recipe() -> None:
    files = [*(ROOT / "train/scripts/lib").iterdir(), *(ROOT / "train/tools").glob("*.py"), *RECIPES]
    code = "\n".join(path.read_text(encoding="utf-8") for path in files if path.is_file())
    code += (ROOT / SFT_TRAINER).read_text(encoding="utf-8").split("\nif [[", 1)[1]
    assert not [name for name in header() if not re.search(rf"\b{name}\b", code)]


@pytest.mark.parametrize("rank", ["0", "8"])
def test_a_default_that_is_set_changes_nothing(tmp_path: Path, rank: str) -> None:
    repo = Checkout(tmp_path)
    files = {"SFT_TRAIN_FILES": str(repo.parquet("a.parquet")), "SFT_VAL_FILES": str(repo.parquet("b.parquet"))}
    own = {**files, "DRY_RUN": "1", "WANDB_EXP": "mine", "PROFILE": "cpu", "SFT_LORA_RANK": rank}
    # Those that mean the GPU's default, and those that say where the files are.
    left_out = {"AGENT_MODEL_REPO_ID", "GPU_COUNT", "FSDP_STRATEGY", "SFT_HF_DATASET"}
    defaults = {name: value for name, value in header().items() if name not in left_out | set(own)}
    unset, with_defaults = config_of(repo.sft(**own)), config_of(repo.sft(**{**defaults, **own}))
    for section in (unset, with_defaults):  # the one says where names start, the other what they may end with
        section["model"]["exclude_modules"] = (section["model"]["exclude_modules"] or "").replace("[.]", r"\.")
    assert unset == with_defaults
