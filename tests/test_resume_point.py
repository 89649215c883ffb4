"""resume_point.py: a run goes on from its latest whole checkpoint, and never from a broken one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from resume_point import LATEST, NotWhole, check_whole, find_resume_point

sys.path.insert(0, str(Path(__file__).parent / "scripts"))
from script_runner import ROOT, whole_checkpoint


def a_run(folder: Path, *steps: int, latest: str | None = None, part: str = "actor") -> Path:
    for step in steps:
        whole_checkpoint(folder / f"global_step_{step}", part, ranks=2)
    (folder / LATEST).write_text(str(steps[-1]) if latest is None else latest)
    return folder


def cut(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


@pytest.mark.parametrize("part", ["actor", ""])
def test_the_latest_whole_checkpoint_is_taken_without_a_word(tmp_path: Path, part: str) -> None:
    run = a_run(tmp_path, 10, 20, part=part)
    assert find_resume_point(run) == (run / "global_step_20", [])


@pytest.mark.parametrize(
    "name", ["actor/model_world_size_2_rank_1.pt", "actor/optim_world_size_2_rank_0.pt", "data.pt"]
)
def test_a_cut_file_costs_one_checkpoint_and_is_named(tmp_path: Path, name: str) -> None:
    run = a_run(tmp_path, 10, 20)
    cut(run / "global_step_20" / name)
    found, remarks = find_resume_point(run)
    assert found == run / "global_step_10"
    assert remarks[0].startswith(f"global_step_20 is not whole: {name} is cut")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("actor/fsdp_config.json", "fsdp_config.json is missing"),
        ("actor/optim_world_size_2_rank_1.pt", "optim of rank 1 is missing (2 ranks)"),
        ("data.pt", "no data.pt"),
    ],
)
def test_a_missing_file_is_named(tmp_path: Path, name: str, told: str) -> None:
    run = a_run(tmp_path, 20)
    (run / "global_step_20" / name).unlink()
    with pytest.raises(NotWhole, match="set WANDB_EXP to a new name"):
        find_resume_point(run)
    with pytest.raises(NotWhole) as error:
        check_whole(run / "global_step_20")
    assert told in str(error.value)


def test_a_step_newer_than_the_runs_file_was_never_complete(tmp_path: Path) -> None:
    run = a_run(tmp_path, 10, 20, latest="10")
    assert find_resume_point(run)[0] == run / "global_step_10"


def test_a_kill_in_the_writing_of_the_runs_file_costs_nothing(tmp_path: Path) -> None:
    run = a_run(tmp_path, 10, 20, latest="")
    found, remarks = find_resume_point(run)
    assert found == run / "global_step_20" and "holds no number" in remarks[0]


def test_a_run_that_was_killed_before_its_first_checkpoint_starts_anew(tmp_path: Path) -> None:
    run = a_run(tmp_path, 10)
    (run / LATEST).unlink()
    cut(run / "global_step_10/data.pt")
    assert find_resume_point(run) == (None, [])


def test_other_nodes_may_keep_their_ranks_files(tmp_path: Path) -> None:
    run = a_run(tmp_path, 20)
    (run / "global_step_20/actor/model_world_size_2_rank_1.pt").unlink()
    assert find_resume_point(run, all_ranks=False)[0] == run / "global_step_20"
    cut(run / "global_step_20/actor/model_world_size_2_rank_0.pt")
    with pytest.raises(NotWhole):
        find_resume_point(run, all_ranks=False)


def test_a_checkpoint_of_another_engine_is_left_to_verl(tmp_path: Path) -> None:
    (tmp_path / "actor/dist_ckpt").mkdir(parents=True)
    (tmp_path / "actor/dist_ckpt/metadata.json").write_text("{}")
    check_whole(tmp_path)
    (tmp_path / "actor/dist_ckpt/metadata.json").unlink()
    with pytest.raises(NotWhole, match="no rank's model"):
        check_whole(tmp_path)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0, 1))
def test_a_file_of_torch_that_is_cut_anywhere_is_not_whole(tmp_path: Path, share: float) -> None:
    directory = whole_checkpoint(tmp_path / f"{share}/global_step_1")
    file = directory / "actor/model_world_size_1_rank_0.pt"
    torch.save({"weight": torch.arange(1000.0)}, file)
    check_whole(directory)
    size = file.stat().st_size
    os.truncate(file, min(int(size * share), size - 1))
    with pytest.raises(NotWhole, match="is cut"):
        check_whole(directory)
    subprocess.run(["rm", "-r", directory.parent], check=True)


def test_the_command_prints_the_path_and_refuses_in_one_line(tmp_path: Path) -> None:
    run = a_run(tmp_path, 10, 20)
    command = [sys.executable, "-S", ROOT / "train/tools/resume_point.py"]

    def call(*arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*command, *map(str, arguments)], capture_output=True, text=True)

    assert call(run).stdout == f"{run}/global_step_20\n"
    cut(run / "global_step_20/data.pt")
    fallen_back = call(run)
    assert fallen_back.stdout == f"{run}/global_step_10\n"
    assert "resume   global_step_20 is not whole: data.pt is cut" in fallen_back.stderr
    refused = call("--only", run / "global_step_20")
    assert refused.returncode == 2 and len(refused.stderr.splitlines()) == 1
    assert "is not a whole checkpoint: data.pt is cut" in refused.stderr
