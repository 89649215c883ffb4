"""report.sh: found from any folder, by name or directory, sourced or not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from script_runner import Checkout, error_lines

SCRIPT = "train/scripts/report.sh"


@pytest.fixture
def repo(tmp_path: Path) -> Checkout:
    repo = Checkout(tmp_path)
    for name, reward in (("hex-1", 0.25), ("hex-2", 0.75)):
        run = repo.root / "train/artifacts/RL/checkpoints" / name
        run.mkdir(parents=True)
        steps = ({"step": step, "data": {"critic/score/mean": reward}} for step in (1, 2))
        (run / "metrics.jsonl").write_text("".join(json.dumps(step) + "\n" for step in steps))
    return repo


def test_a_run_by_name_two_by_name_and_one_by_directory(repo: Checkout) -> None:
    one = repo.script(SCRIPT, "hex-1")
    assert one.returncode == 0, one.stderr
    assert "0.250 → 0.250" in one.stdout
    assert "hex-1" in (repo.root / "train/artifacts/RL/checkpoints/hex-1/report.html").read_text()
    two = repo.script(SCRIPT, "hex-1", str(repo.root / "train/artifacts/RL/checkpoints/hex-2"), "--output", "two.html")
    assert two.returncode == 0, two.stderr
    assert "0.250 → 0.750" in two.stdout
    assert "hex-2" in (repo.home / "two.html").read_text()


def test_it_can_be_sourced_and_an_unknown_run_is_refused_with_names(repo: Checkout) -> None:
    result = repo.bash(f'cd /; . "$OLDPWD/{SCRIPT}" hex-3; echo "status $?"')
    assert result.stdout == "status 2\n"
    assert "Did you mean hex-2 or hex-1?" in result.stderr


def test_no_run_is_an_error_before_anything_else(repo: Checkout) -> None:
    result = repo.script(SCRIPT)
    assert result.returncode == 2
    assert len(error_lines(result)) == 1
    assert "no run is named" in result.stderr
