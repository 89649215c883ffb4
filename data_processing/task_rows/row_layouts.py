"""The layouts of a row that generate_dataset.py writes, and what evaluate_dataset.py finds in them.

    plain     {"task_id": 7, "env": "openspiel", "task_type": "tic_tac_toe", "prompt": [{"role": "user", …}],
               "answer": "4", "metadata": {"answers": "reference", "split": "train", "challenge": "{…}", …}}
    messages  {"messages": [{"role": "user", …}, {"role": "assistant", "content": "4"}], "task_id": 7, …}
    rl        {"prompt": […], "data_source": "openspiel", "reward_model": {"ground_truth": "4", …}, "extra_info": {…}}

`challenge` and `adapter_config` are JSON texts, so that one schema holds for every environment and setting.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from atomic_file import atomic_file
from env_adapter import Challenge

MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
SCHEMAS = {
    "plain": pa.schema(
        [
            ("task_id", pa.int64()),
            ("env", pa.string()),
            ("task_type", pa.string()),
            ("prompt", MESSAGES),
            ("answer", pa.string()),
            (
                "metadata",
                pa.struct(
                    [
                        ("answers", pa.string()),
                        ("split", pa.string()),
                        ("challenge", pa.string()),
                        ("adapter_config", pa.string()),
                    ]
                ),
            ),
        ]
    ),
    "messages": pa.schema(
        [("messages", MESSAGES), ("task_id", pa.int64()), ("env", pa.string()), ("adapter_config", pa.string())]
    ),
    "rl": pa.schema(
        [
            ("prompt", MESSAGES),
            ("data_source", pa.string()),
            ("ability", pa.string()),
            ("reward_model", pa.struct([("style", pa.string()), ("ground_truth", pa.string())])),
            (
                "extra_info",
                pa.struct(
                    [
                        ("index", pa.int64()),
                        ("env", pa.string()),
                        ("task_id", pa.int64()),
                        ("challenge", pa.string()),
                        ("adapter_config", pa.string()),
                    ]
                ),
            ),
        ]
    ),
}
DEFAULT_FORMAT = {".parquet": "messages", ".jsonl": "plain"}
"""By the ending of the output."""
TYPE_KEYS = ("task_type", "game", "type")
"""Where environments keep the kind of a task in `Challenge.extra`."""


@dataclass(frozen=True)
class Layout:
    """All that the rows of one file share."""

    name: str
    """One of SCHEMAS."""
    answers: str
    """What the answers are: reference, random or none."""
    split: str
    settings: Mapping[str, Any]
    """The adapter's."""

    def row(self, challenge: Challenge, answer: str | None) -> dict[str, Any]:
        """A row of the schema; without an answer it is null, no turn at all, or "" in the layout `rl`."""
        recorded = {"challenge": challenge.to_json(), "adapter_config": json.dumps(self.settings, sort_keys=True)}
        if self.name == "messages":
            turns = [] if answer is None else [{"role": "assistant", "content": answer}]
            return {
                "messages": challenge.messages + turns,
                "task_id": challenge.task_id,
                "env": challenge.env,
                "adapter_config": recorded["adapter_config"],
            }
        if self.name == "plain":
            return {
                "task_id": challenge.task_id,
                "env": challenge.env,
                "task_type": task_type(challenge),
                "prompt": challenge.messages,
                "answer": answer,
                "metadata": {"answers": self.answers, "split": self.split, **recorded},
            }
        return {
            "prompt": challenge.messages,
            "data_source": challenge.env,
            "ability": challenge.env,
            "reward_model": {"style": "rule", "ground_truth": answer or ""},
            "extra_info": {"index": challenge.task_id, "env": challenge.env, "task_id": challenge.task_id, **recorded},
        }


def task_type(challenge: Challenge) -> str:
    """The game or kind of a task, or the environment's name where it has but one."""
    found = (challenge.extra.get(key) for key in TYPE_KEYS)
    return next((value for value in found if isinstance(value, str) and value), challenge.env)


def task_id_of(row: Mapping[str, Any]) -> int:
    """The task of a row of any of the layouts. Raises KeyError or TypeError for a row of none."""
    return row["task_id"] if "task_id" in row else row["extra_info"]["task_id"]


def write_rows(batches: Iterable[list[dict[str, Any]]], output: Path, schema: pa.Schema) -> None:
    """A .parquet or a .jsonl file of rows of one layout, which appears whole or not at all."""
    with atomic_file(output) as temporary:
        if output.suffix == ".jsonl":
            with temporary.open("w", encoding="utf-8") as file:
                file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for rows in batches for row in rows)
            return
        with pq.ParquetWriter(temporary, schema) as writer:
            for rows in batches:
                writer.write_table(pa.Table.from_pylist(rows, schema))
