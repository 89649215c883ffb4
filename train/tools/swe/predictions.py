"""Patches as SWE-bench's tools exchange them, preds.json: what mini-swe-agent writes, and sb-cli submits.

    {"psf__requests-863": {"model_name_or_path": "my-model", "instance_id": "psf__requests-863",
                           "model_patch": "diff --git a/requests/models.py …"}, …}

    python train/tools/swe/predictions.py preds.json
    preds.json: 300 patches of my-model, 12 of them empty

An instance without an answer has an empty patch, which counts as a failure.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path

# Run as a program, this file has its own folder on sys.path, not the one that it is a package of.
sys.path.insert(0, str(Path(__file__).parents[1]))

from env_adapter import SettingsError
from env_cli import exit_code

FILE = "preds.json"


def predictions_text(model: str, patches: Iterable[tuple[str, str]]) -> str:
    """The text of preds.json, of pairs (instance id, patch). Of several for one instance the first one counts."""
    entries: dict[str, dict[str, str]] = {}
    for instance_id, patch in patches:
        entry = {"model_name_or_path": model, "instance_id": instance_id, "model_patch": patch}
        entries.setdefault(instance_id, entry)
    return json.dumps(entries, indent=2) + "\n"


def check_predictions(file: Path) -> str:
    """What is in it, in one line. Raises SettingsError for what sb-cli would refuse, or count as another model's."""
    try:
        entries = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{file} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise SettingsError(f"{file} is not JSON: {error}") from error
    if not isinstance(entries, dict) or not entries:
        raise SettingsError(f"{file} holds no predictions: wanted is an object of instance ids, with one patch each")
    for instance_id, entry in entries.items():
        if not isinstance(entry, dict) or entry.get("instance_id") != instance_id:
            raise SettingsError(f"{file}, {instance_id}: no entry with instance_id={instance_id}")
        for key in ("model_name_or_path", "model_patch"):
            if not isinstance(entry.get(key), str):
                raise SettingsError(f"{file}, {instance_id}: {key}={entry.get(key)!r} is not text")
    models = {entry["model_name_or_path"] for entry in entries.values()}
    if len(models) > 1:
        raise SettingsError(f"{file} has patches of several models: {', '.join(sorted(models))}")
    empty = sum(not entry["model_patch"].strip() for entry in entries.values())
    if empty == len(entries):
        raise SettingsError(f"{file}: all of its {empty} patches are empty, so nothing would be resolved")
    return f"{file}: {len(entries)} patches of {models.pop()}, {empty} of them empty"


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("one argument is wanted: the file preds.json")
    sys.exit(exit_code("predictions", lambda: print(check_predictions(Path(sys.argv[1])))))
