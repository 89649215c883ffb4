"""What our dataset and rewards cost: the same prompts as plain rows for verl's own dataset, and a reward that is free.

    python benchmarks/gpu/plain_verl.py OUTPUT.parquet

A row has what verl's examples have. `compute_score` counts nothing: the run with it is one whose dataset and rewards
take no time, and everything else of it is equal.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq


def compute_score(data_source: str, solution_str: str, ground_truth: str, extra_info: Any = None, **_: Any) -> float:
    """Half of the answers earn something, so that advantages differ from 0."""
    return float(len(solution_str) % 2)


def main() -> None:
    sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "train/tools"))
    from env_adapter import get_env_adapter
    from task_split import split_task_ids

    adapter = get_env_adapter("openspiel", {"game_types": "tic_tac_toe", "num_tasks_per_case": 2000})
    rows = [
        {
            "prompt": adapter.generate(task).messages,
            "data_source": "plain",
            "ability": "game",
            "reward_model": {"style": "rule", "ground_truth": ""},
            "extra_info": {"index": task},
        }
        for task in split_task_ids(adapter.num_tasks(), "train")
    ]
    pq.write_table(pa.Table.from_pylist(rows), Path(sys.argv[1]))


if __name__ == "__main__":
    main()
