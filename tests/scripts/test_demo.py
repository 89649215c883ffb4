"""demo.sh: what it refuses. `make demo` itself is looked at by people; its recipes are tests/golden/*-demo.yaml."""

from __future__ import annotations

from pathlib import Path

import pytest
from script_runner import Checkout


@pytest.mark.parametrize(
    ("arguments", "environment", "message"),
    [
        ("trian", {}, "the phase=trian is not known: use model or warm or before or train or merge or after or report"),
        ("", {"DEMO_SEED": "-1"}, "DEMO_SEED=-1 is not a whole number of at least 0"),
    ],
)
def test_a_wrong_word_is_refused_before_anything_is_made(
    tmp_path: Path, arguments: str, environment: dict[str, str], message: str
) -> None:
    repo = Checkout(tmp_path)
    done = repo.bash(f"bash train/scripts/demo.sh {arguments}", **environment)
    assert done.returncode == 2
    assert message in done.stderr
    assert not (repo.root / "train/artifacts").exists()


def test_help_names_the_phases(tmp_path: Path) -> None:
    done = Checkout(tmp_path).bash("bash train/scripts/demo.sh --help")
    assert done.returncode == 0
    assert "GRPO with LoRA: openspiel-ppo-trainer.sh" in done.stdout
