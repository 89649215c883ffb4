"""What every test run needs: Ctrl-C as a terminal gives it, and models that are built once."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

# A shell starts `make test &` with SIGINT ignored, and so would be every script under test.
signal.signal(signal.SIGINT, signal.default_int_handler)


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
