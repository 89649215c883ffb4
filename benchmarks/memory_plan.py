"""How far the plan of a run's memory is from what runs really took.

    .venv/bin/python benchmarks/memory_plan.py
    run                                                 measure     planned  measured   ratio
    GRPO, all weights, SmolLM2-135M, 8,192 tokens       allocated      14.1      13.6    1.03
    …
    largest error 11 %; the plan says ±20 %

Rows are read from benchmarks/results/memory_plan.json and each is planned again, so that a change of the formulae is
judged by all measurements so far. To add one, append to its "rows":

    name        what ran, in words
    model       a key of "models", which hold config.json of each model: the plan needs no weights
    recipe      the recipe: openspiel, lgc_v2, swe_synth, mixture, sft …
    profile     PROFILE, as in 1x80gb
    variables   what else is in the environment: {"TUNING": "lora"}, {"GPU_COUNT": "2", "SFT_LORA_RANK": "16"} …
    overrides   Hydra overrides, in order; also what a bare verl run set and the recipe does not
    measure     allocated: torch's peak in the trainer (verl's perf/max_memory_allocated_gb); gpu: the peak of a whole
                GPU (nvidia-smi's memory.used); ram: the peak of the machine's RAM in use
    measured    GiB; or null where the run ran out of memory
    tokens      optional: tokens of the largest micro-batch, where it was not as full as the recipe allows
    row         optional, with it: tokens of the longest row
    flash_attn  optional: whether flash-attn was installed (default: false)
    source      where the figure comes from, and what about it is not known

TUNING is lora or full; LAYERED_SUMMON is true or false, as the scripts export it.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "train" / "scripts" / "lib"))
sys.path.insert(0, str(Path(__file__).parent.parent / "train" / "tools"))

from memory import GIB
from memory.machine import Machine, gpu_memory
from memory.plan import ERROR, Plan, make_plan
from memory.settings import read_settings
from memory.shape import Shape, read_shape
from memory_plan import Composed

ROOT = Path(__file__).resolve().parent.parent
RESULTS = Path(__file__).with_name("results") / "memory_plan.json"
STAND_INS = {  # what a script exports and the plan does not depend on
    "VERITAS_ROOT": str(ROOT),
    "AGENT_MODEL_PATH": "/model",
    "CHECKPOINT_DIR": "/checkpoints",
    "WANDB_EXP": "run",
    "SFT_TRAIN_FILES": "/train.parquet",
    "MIXTURE": "openspiel,lgc-v2:3",
}


def shapes(models: dict[str, dict]) -> dict[str, Shape]:
    """Each model's shape, from its config alone."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, config in models.items():
            directory = Path(folder) / name
            directory.mkdir()
            (directory / "config.json").write_text(json.dumps(config))
            found[name] = read_shape(directory)
    return found


def planned(row: dict, shape: Shape) -> Plan:
    """The plan of a row's run."""
    before = dict(os.environ)
    try:
        os.environ.update(STAND_INS | {"PROFILE": row["profile"]} | row["variables"])
        config = Composed(ROOT / "train" / "config", row["recipe"], row["overrides"]).config()
    finally:
        os.environ.clear()
        os.environ.update(before)
    settings = replace(read_settings(config), fast_loss=row.get("flash_attn", False))
    if "tokens" in row:
        full = {"tokens": row["tokens"], "row": row.get("row", settings.update.row)}
        infer = replace(settings.infer, **full) if settings.infer else None
        settings = replace(settings, update=replace(settings.update, **full), infer=infer)
    return make_plan(shape, settings, Machine(gpu_memory("", row["profile"]), 0.0))


def predicted(row: dict, plan: Plan) -> float:
    """What the plan says of the row's measure, in bytes."""
    return {"allocated": plan.allocated, "gpu": plan.peak.size, "ram": plan.host.size}[row["measure"]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=Path, default=RESULTS)
    options = parser.parse_args()
    results = json.loads(options.rows.read_text())
    known = shapes(results["models"])
    errors = []
    print(f"{'run':<58} {'measure':<9} {'planned':>8} {'measured':>9} {'ratio':>7}")
    for row in results["rows"]:
        plan = planned(row, known[row["model"]])
        size = predicted(row, plan) / GIB
        if row["measured"] is None:
            memory = gpu_memory("", row["profile"]) / GIB
            said = "more" if plan.peak.size / GIB > memory else "less: wrong"
            print(f"{row['name']:<58} {row['measure']:<9} {size:8.1f} {f'> {memory:.0f}':>9} {said:>7}")
            continue
        ratio = size / row["measured"]
        errors.append(abs(ratio - 1))
        print(f"{row['name']:<58} {row['measure']:<9} {size:8.1f} {row['measured']:9.1f} {ratio:7.2f}")
    print(f"largest error {max(errors):.0%}; the plan says ±{ERROR:.0%}".replace("%", " %"))


if __name__ == "__main__":
    main()
