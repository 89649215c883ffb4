"""What a run is: recipe, model, tasks and what is trained. A name belongs to one run, and goes on as what it was.

>>> before = {"recipe": "openspiel", "model": "Qwen/Qwen3-4B", "tuning": "LoRA of rank 16"}
>>> differences(before, before | {"tuning": "all weights"})
['tuning: LoRA of rank 16 → all weights']

Batch sizes, learning rate, steps and machine may change from start to start. The rows of SFT are not in it: files may
move, and train/tools/sft-dataset.py refuses a checkpoint that was made with other rows.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def kind_of(config: Mapping[str, Any]) -> str:
    return "GRPO" if "actor_rollout_ref" in config else "SFT"


def fingerprint(config: Mapping[str, Any], recipe: str, model: str, root: Path) -> dict[str, Any]:
    """JSON of what a run is, from its resolved config. Paths in the repository are relative: it may be moved."""
    settings = config["actor_rollout_ref"]["model"] if "actor_rollout_ref" in config else config["model"]
    rank = settings.get("lora_rank") or 0
    found = {
        "kind": kind_of(config),
        "recipe": recipe,
        "model": model.removeprefix(f"{root}/"),
        "tuning": f"LoRA of rank {rank}, alpha {settings.get('lora_alpha')}" if rank else "all weights",
    }
    if found["kind"] == "GRPO":
        tasks = config["data"]["custom_cls"].get("config") or {}
        found["tasks"] = {key: tasks[key] for key in ("env", "adapter_config") if tasks.get(key) is not None}
    return json.loads(json.dumps(found))


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """'key: before → now' for each key with another value, nested keys with dots."""
    old, new = _flat(before), _flat(now)
    return [
        f"{key}: {_shown(old.get(key))} → {_shown(new.get(key))}"
        for key in dict.fromkeys([*old, *new])
        if old.get(key) != new.get(key)
    ]


def _flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, each in value.items():
        found |= _flat(each, f"{prefix}{key}.") if isinstance(each, Mapping) else {f"{prefix}{key}": each}
    return found


def _shown(value: Any) -> str:
    if value is None or value == "":
        return "nothing"
    return value if isinstance(value, str) else json.dumps(value)
