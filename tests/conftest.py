"""Models that several tests need, built once a run."""

from __future__ import annotations

from pathlib import Path

import pytest


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
