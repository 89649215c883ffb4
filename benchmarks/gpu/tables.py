"""The tables of docs/benchmarks.md from what runs.py wrote: `python benchmarks/gpu/tables.py benchmarks/results/gpu`.

Times are medians over the steps after the first two, in which kernels are compiled and caches filled; of a run that
has no more (it was stopped), the last.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from statistics import median

PHASES = {
    "generate": "gen",
    "log-probs": "old_log_prob",
    "reference": "ref",
    "update": "update_actor",
    "weights": "update_weights",
}
WARM_UP = 2


def typical(steps: list[dict[str, float]], key: str) -> float | None:
    """The median after the warm-up (the last step where there are no more), or None where it is not logged."""
    values = [step[key] for step in steps if key in step]
    return median(values[WARM_UP:] or values[-1:]) if values else None


def number(value: float | None, digits: int = 1) -> str:
    return "–" if value is None else f"{value:,.{digits}f}"


def row(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"


def header(*cells: str) -> list[str]:
    return [row(*cells), row(*("---" for _ in cells))]


def grpo_table(results: list[dict]) -> list[str]:
    lines = header(
        "run",
        "GPUs",
        "steps",
        "s a step",
        *PHASES,
        "tokens/s a GPU",
        "MFU of the update",
        "peak GiB",
        "s to the end of step 1",
    )
    for result in results:
        steps = result["steps"]
        lines.append(
            row(
                result["name"],
                str(len(result["gpus"])),
                str(len(steps)),
                number(typical(steps, "timing_s/step")),
                *(number(typical(steps, f"timing_s/{key}")) for key in PHASES.values()),
                number(typical(steps, "perf/throughput"), 0),
                number(typical(steps, "perf/mfu/actor"), 2),
                number(result["peak_memory_gib"]),
                number(result["seconds_to_end_of_step_1"], 0),
            )
        )
    return lines


def sft_table(results: list[dict]) -> list[str]:
    lines = header("run", "GPUs", "steps", "MFU", "peak GiB", "loss, first and last", "s to the end of step 1")
    for result in results:
        losses = [step["train/loss"] for step in result["steps"] if "train/loss" in step]
        lines.append(
            row(
                result["name"],
                str(len(result["gpus"])),
                str(len(result["steps"])),
                number(typical(result["steps"], "train/mfu"), 3),
                number(result["peak_memory_gib"]),
                f"{losses[0]:.2f}, {losses[-1]:.2f}" if losses else "–",
                number(result["seconds_to_end_of_step_1"], 0),
            )
        )
    return lines


def learning_table(results: list[dict]) -> list[str]:
    """Mean reward of held-out tasks (verl's validation), and of training answers of the first and last steps."""
    lines = header("run", "held out, before", "after", "training, first 5 steps", "last 5 steps")
    for result in results:
        held_out = [
            value
            for step in result["steps"]
            for key, value in sorted(step.items())
            if key.startswith("val-core/") and "/mean@" in key
        ]
        rewards = [step["critic/score/mean"] for step in result["steps"] if "critic/score/mean" in step]
        ends = (held_out[0], held_out[-1]) if len(held_out) > 1 else (None, None)
        mean = [sum(part) / len(part) if part else None for part in (rewards[:5], rewards[-5:])]
        lines.append(row(result["name"], *(number(value, 3) for value in (*ends, *mean))))
    return lines


def main() -> None:
    results = [json.loads(path.read_text()) for path in sorted(Path(sys.argv[1]).glob("*.json"))]
    good = [result for result in results if result.get("steps") and (result["status"] == 0 or "stopped" in result)]
    tables = {
        "GRPO": grpo_table([result for result in good if result["name"].startswith(("grpo", "trl"))]),
        "SFT": sft_table([result for result in good if result["name"].startswith("sft")]),
        "Learning": learning_table(
            [result for result in good if "135m" in result["name"] and "sft" not in result["name"]]
        ),
    }
    for title, lines in tables.items():
        print(f"{title}\n\n" + "\n".join(lines) + "\n")
    for result in results:
        if "stopped" in result:
            print(f"stopped: {result['name']}, {result['stopped']}")
        elif result["status"] != 0:
            print(f"failed: {result['name']} (status {result['status']})")


if __name__ == "__main__":
    main()
