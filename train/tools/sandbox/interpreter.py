"""A Python installation in the sandbox: the folders that it needs there."""

from __future__ import annotations

import json
import os
import subprocess
from functools import cache
from pathlib import Path

from env_adapter import SettingsError

_ASK = """
import json, os, sys
print(json.dumps([sys.prefix, sys.base_prefix, os.path.dirname(os.path.dirname(os.path.realpath(sys.executable)))]))
"""


@cache
def interpreter_folders(python: Path, setting: str = "python", *, module: str = "sys") -> tuple[Path, ...]:
    """The folders besides /usr that this interpreter needs.

    Raises SettingsError, which calls it by the name of its setting, where it is none, or lacks the module.
    """
    try:
        ask = [str(python), "-I", "-c", f"import {module}\n{_ASK}"]
        done = subprocess.run(ask, capture_output=True, text=True, timeout=60)
    except OSError as error:
        raise SettingsError(f"{setting}={python} cannot be run: {error.strerror}") from error
    if done.returncode:
        why = (done.stderr.strip().splitlines() or ["it printed nothing"])[-1]
        raise SettingsError(f"{setting}={python} must have {module} ({why}): {python} -m pip install {module}")
    try:
        folders = [Path(folder) for folder in json.loads(done.stdout)]
    except json.JSONDecodeError as error:
        raise SettingsError(f"{setting}={python} is no Python: it printed {done.stdout[:80]!r}") from error
    return tuple(dict.fromkeys(folder for folder in folders if os.fspath(folder) not in ("/", "/usr")))
