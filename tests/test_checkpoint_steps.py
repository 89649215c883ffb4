"""Which checkpoint is exported: the latest whole one, and never half of one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from checkpoint_steps import find_checkpoint
from model_weights import ExportError


def make_step(experiment: Path, step: int, world_size: int = 1) -> Path:
    local = experiment / f"global_step_{step}" / "actor"
    (local / "huggingface").mkdir(parents=True)
    (local / "huggingface" / "config.json").write_text("{}")
    (local / "fsdp_config.json").write_text(json.dumps({"FSDP_version": 2, "world_size": world_size}))
    for rank in range(world_size):
        torch.save({"w": torch.zeros(2000)}, local / f"model_world_size_{world_size}_rank_{rank}.pt")
    return local


def test_the_latest_complete_step_is_found(tmp_path: Path) -> None:
    for step in (5, 10, 20, 25):
        make_step(tmp_path, step)
    (tmp_path / "latest_checkpointed_iteration.txt").write_text("20\n")
    with (tmp_path / "global_step_20/actor/model_world_size_1_rank_0.pt").open("r+b") as file:
        file.truncate(3000)
    checkpoint, remarks = find_checkpoint(tmp_path)
    assert checkpoint.step == 10
    assert "global_step_25 is newer" in remarks[0]
    assert "truncated (3000 bytes)" in remarks[1]
    assert find_checkpoint(tmp_path, 25)[0].step == 25
    with pytest.raises(ExportError, match="has no global_step_7: there is step 5, 10, 20, 25"):
        find_checkpoint(tmp_path, 7)
    with pytest.raises(ExportError, match="truncated"):
        find_checkpoint(tmp_path, 20)
    with pytest.raises(ExportError, match=r"--role actor is there"):
        find_checkpoint(tmp_path, 10, role="critic")
    (tmp_path / "latest_checkpointed_iteration.txt").write_text("twenty")
    with pytest.raises(ExportError, match="holds 'twenty', not a step"):
        find_checkpoint(tmp_path)


def test_an_incomplete_or_absent_checkpoint_says_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="has no global_step"):
        find_checkpoint(tmp_path)
    with pytest.raises(ExportError, match="is not a directory"):
        find_checkpoint(tmp_path / "nowhere")
    local = make_step(tmp_path / "runs" / "mine", 3, world_size=2)
    checkpoint, remarks = find_checkpoint(tmp_path)
    assert checkpoint.step == 3
    assert "mine is the only experiment in" in remarks[0]
    make_step(tmp_path / "runs" / "yours", 4)
    with pytest.raises(ExportError, match=r"2 experiment\(s\)(.|\n)*mine: step 3\n.*yours: step 4"):
        find_checkpoint(tmp_path)
    with pytest.raises(ExportError, match=r"is a step: pass the experiment's directory, .*mine,"):
        find_checkpoint(local)
    (local / "model_world_size_2_rank_1.pt").unlink()
    with pytest.raises(ExportError, match=r"lacks 1 of the 2 ranks' files: model_world_size_2_rank_1\.pt"):
        find_checkpoint(tmp_path / "runs" / "mine")
