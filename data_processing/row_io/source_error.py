"""The error of everything that reads or writes data here."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "train" / "tools"))

from env_adapter import SettingsError


class SourceError(SettingsError):
    """Something that the user can mend: one line that names the file, id or column, and the fix. A ValueError."""


def first_line(error: BaseException) -> str:
    """An error's text, short enough to stand inside another one."""
    text = " ".join((str(error) or type(error).__name__).split())
    return text if len(text) <= 200 else text[:199] + "…"
