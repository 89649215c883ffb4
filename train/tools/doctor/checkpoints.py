"""Free disk against the size of the checkpoints to come.

fail  disk  39 GB free in …/train/artifacts, and one checkpoint of 4.02 B parameters is about 48 GB
            fix: free some space, or LoRA (ENABLE_LORA=1), whose checkpoints have no optimizer of all weights
"""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import BinaryIO

from doctor.context import Context
from doctor.lines import FAIL, OK, WARN, Line

BYTES_FULL, BYTES_LORA = 12, 5
"""Per parameter: weights and Adam's two moments in float32; with LoRA the weights, and little else.

Measured with SmolLM2-135M: 1.6 GB and 0.63 GB a checkpoint.
"""
KEPT = 2
"""Of GRPO (max_actor_ckpt_to_keep); SFT keeps all without SFT_MAX_CKPT_TO_KEEP."""


def check_disk(context: Context) -> list[Line]:
    """The file system of the checkpoints; its least free space where the model is not known yet."""
    folder = Path(context.get("CHECKPOINT_DIR", str(context.root / "train/artifacts")))
    free = shutil.disk_usage(_nearest(folder)).free
    if not context.quick:  # a trainer has asked before
        rule = context.rule("need_free_disk", str(_nearest(folder)))
        if not rule.holds:
            return [Line("disk", FAIL, *rule.refusal)]
    model = model_directory(context)
    parameters = count_parameters(model) if model else 0
    have = f"{free / 1e9:.0f} GB free in {folder}"
    if not parameters:
        return [Line("disk", OK, have)]
    full = trains_all_weights(context)
    one = parameters * (BYTES_FULL if full else BYTES_LORA)
    each = f"one checkpoint of {parameters / 1e9:.2f} B parameters is about {one / 1e9:.1f} GB"
    if free < one:
        advice = ", or LoRA, whose checkpoints have no optimizer of all weights" if full else ""
        return [Line("disk", FAIL, f"{have}, and {each}", f"free some space{advice}")]
    if free < (KEPT + 1) * one:
        keep = "SFT_MAX_CKPT_TO_KEEP" if context.purpose == "sft" else "trainer.max_actor_ckpt_to_keep"
        return [Line("disk", WARN, f"{have}, and {each}", f"free some space, or keep fewer ({keep}=1)")]
    return [Line("disk", OK, f"{have}; {each}")]


def trains_all_weights(context: Context) -> bool:
    if context.get("TUNING"):  # a trainer says it
        return context.get("TUNING") == "full"
    return context.get("ENABLE_LORA", "1") == "0"


def model_directory(context: Context) -> Path | None:
    """Where the model to train is, if it is on this machine and named."""
    for name in ("AGENT_MODEL_PATH", "SFT_MODEL_PATH", "AGENT_MODEL_REPO_ID"):
        value = context.get(name)
        if value:
            places = (Path(value).expanduser(), context.root / value, context.root / "train/models" / value)
            return next((place for place in places if place.is_dir()), None)
    return None


def count_parameters(model: Path) -> int:
    """From the headers of its safetensors files, or by the size of PyTorch's in 16 bits. 0: no weights that are read.

    https://huggingface.co/docs/safetensors: eight bytes, the length of the header, then the header as JSON.
    """
    total = 0
    for file in sorted(model.glob("*.safetensors")):
        with file.open("rb") as stream:
            total += sum(math.prod(tensor["shape"]) for name, tensor in _header(stream).items() if name[:2] != "__")
    return total or sum(file.stat().st_size // 2 for file in model.glob("pytorch_model*.bin"))


def _header(stream: BinaryIO) -> dict[str, dict[str, list[int]]]:
    length = int.from_bytes(stream.read(8), "little")
    try:
        return json.loads(stream.read(min(length, 100_000_000)))
    except ValueError:
        return {}  # a broken file is named where the model is looked for (fetch_model.py)


def _nearest(path: Path) -> Path:
    """The folder itself, or the first one above it that is there."""
    path = path.absolute()
    while not path.exists():
        path = path.parent
    return path
