"""What every test run needs: Ctrl-C as a terminal gives it, and models that are built once."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# A shell starts `make test &` with SIGINT ignored, nohup with SIGHUP, and so would be every script under test.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

# How long an example takes says more of the machine than of the code.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first: as the last one it would keep one worker busy for minutes and leave the others idle."""
    items.sort(key=lambda item: item.path.name not in ("test_export.py", "test_training_cpu.py"))


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
    return _built("tiny", tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def smollm2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SmolLM2-135M-Instruct."""
    return _built("smollm2", tmp_path_factory.mktemp("models") / "SmolLM2-135M-Instruct")


def _built(kind: str, output: Path) -> Path:
    from embedded_model import build_model

    assert build_model(kind, output)
    return output
