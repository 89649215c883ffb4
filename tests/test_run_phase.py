"""run_phase.py: the phases of a run in a file, from verl's own methods."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import sys
import time
import types
from pathlib import Path

import pytest

import run_phase


@pytest.mark.parametrize("name", sorted(run_phase.GRPO | run_phase.SFT))
def test_verl_has_the_method_that_is_a_phase(name: str) -> None:
    module, _, path = name.partition(":")
    owner, _, method = path.partition(".")
    spec = importlib.util.find_spec("verl")
    assert spec and spec.submodule_search_locations
    file = Path(spec.submodule_search_locations[0], *module.split(".")[1:])
    file = file / "__init__.py" if file.is_dir() else file.with_suffix(".py")
    classes = [
        node for node in ast.parse(file.read_text()).body if isinstance(node, ast.ClassDef) and node.name == owner
    ]
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    assert [one for node in classes for one in node.body if isinstance(one, functions) and one.name == method]


@pytest.fixture
def trainer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> type:
    """A trainer with a phase in a phase, and one that fails."""

    class Trainer:
        global_steps = 7

        def validate(self) -> list[dict]:
            return [told(), *self.generate()]

        def generate(self) -> list[dict]:
            return [told()]

        def save(self) -> None:
            raise OSError(28, "No space left on device")

    module = types.ModuleType("toy_trainer")
    module.Trainer = Trainer
    monkeypatch.setitem(sys.modules, "toy_trainer", module)
    monkeypatch.setenv("VERITAS_PHASE_FILE", str(tmp_path / "phase.json"))
    monkeypatch.setattr(run_phase, "_step", None)
    return Trainer


def told() -> dict:
    return json.loads(Path(os.environ["VERITAS_PHASE_FILE"]).read_text())


METHODS = {f"toy_trainer:Trainer.{name}": name for name in ("validate", "generate", "save")}


def test_a_phase_is_told_while_it_lasts_and_the_outermost_counts(trainer: type) -> None:
    run_phase.tell_phases(METHODS)
    assert told() == {"phase": "start", "step": None}
    assert trainer().generate() == [{"phase": "generate", "step": 7}]
    assert told() == {"phase": "after generate", "step": 7}
    assert trainer().validate() == [{"phase": "validate", "step": 7}] * 2


def test_the_step_is_an_argument_where_the_object_has_none_and_the_last_known_otherwise(trainer: type) -> None:
    trainer.log = lambda self, data, step=None: told()
    trainer.global_steps = None
    run_phase.tell_phases(METHODS | {"toy_trainer:Trainer.log": "log metrics"})
    assert trainer().log({}, step=9) == {"phase": "log metrics", "step": 9}
    assert trainer().generate() == [{"phase": "generate", "step": 9}]


def test_an_exception_goes_through_and_leaves_its_phase_to_be_read(trainer: type) -> None:
    run_phase.tell_phases(METHODS)
    with pytest.raises(OSError, match="No space"):
        trainer().save()
    assert told()["phase"] == "save"
    assert trainer().generate()[0]["phase"] == "generate"


def test_methods_are_wrapped_once(trainer: type) -> None:
    run_phase.tell_phases(METHODS)
    first = trainer.generate
    run_phase.tell_phases(METHODS)  # verl makes two datasets
    assert trainer.generate is first


def test_a_method_that_verl_no_longer_has_is_named(trainer: type) -> None:
    with pytest.raises(run_phase.UpstreamChanged, match=r"toy_trainer:Trainer\.update"):
        run_phase.tell_phases({"toy_trainer:Trainer.update": "update"})


def test_nothing_is_wrapped_outside_of_a_watched_run_and_on_other_ranks(
    trainer: type, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    before = trainer.generate
    monkeypatch.setenv("LOCAL_RANK", "1")
    run_phase.tell_phases(METHODS)
    monkeypatch.delenv("LOCAL_RANK")
    monkeypatch.delenv("VERITAS_PHASE_FILE")
    run_phase.tell_phases(METHODS)
    run_phase.sign_of_life()
    assert trainer.generate is before and list(tmp_path.iterdir()) == []


def test_a_sign_of_life_changes_the_files_time_and_not_what_it_says(trainer: type) -> None:
    run_phase.tell_phases(METHODS)
    file = Path(os.environ["VERITAS_PHASE_FILE"])
    os.utime(file, (1.0, 1.0))
    run_phase._last_sign = 0.0
    run_phase.sign_of_life()
    assert time.time() - file.stat().st_mtime < 60
    assert told() == {"phase": "start", "step": None}
