"""What every test run needs: Ctrl-C as a terminal gives it, and models that are built once."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock
from hypothesis import settings

# A shell starts `make test &` with SIGINT ignored, nohup with SIGHUP, and so would be every script under test.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

# How long an example takes says more of the machine than of the code.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")

LONGEST = [
    "game_training_cpu", "mixture_training_cpu", "sft_training_cpu", "training_cpu", "swe_agent_training_cpu",
    "export", "synthesize_swe_tasks", "swe_docker", "trainer_script", "doc_commands", "logic_checkers",
    "swe_bench_batch", "evaluate", "recipes", "sft_script", "cpu_platform", "embedded_model", "sft_runs",
]  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first: as the last one it would keep one worker busy for minutes and leave the others idle."""
    place = {f"test_{name}.py": number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path.name, len(LONGEST)))


@pytest.fixture(autouse=True)
def same_environment() -> Iterator[None]:
    """What a test, or a script that it calls in this process, puts into the environment ends with it."""
    before = dict(os.environ)
    yield
    for name in set(os.environ) - set(before):
        del os.environ[name]
    os.environ.update(before)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A 1.6M-parameter random Llama with SmolLM2's tokenizer."""
    return _built("tiny", "tiny", tmp_path_factory)


@pytest.fixture(scope="session")
def smollm2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SmolLM2-135M-Instruct."""
    return _built("smollm2", "SmolLM2-135M-Instruct", tmp_path_factory)


def _built(kind: str, name: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Once for all workers of pytest-xdist, which have a directory each in a common one."""
    from embedded_model import build_model

    directory = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        directory = directory.parent
    output = directory / "models" / name
    output.parent.mkdir(exist_ok=True)
    with FileLock(f"{output}.lock"):
        assert output.exists() or build_model(kind, output)
    return output
