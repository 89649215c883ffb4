"""evaluate.py on software repair, one patch or an agent, and the preds.json that it writes for SWE-bench's tools."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import evaluate
from env_adapter import SettingsError
from swe.predictions import check_predictions, predictions_text
from swe_synth_adapter import SweSynthAdapter
from test_evaluate import chat_server, read
from test_swe_agent_loop import SCRIPT, says
from toy_swe_task import PATCH, make_cache

Request = dict[str, Any]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_cache(tmp_path_factory.mktemp("tasks") / "cache", 10)


def evaluated(url: str, cache: Path, output: Path, *arguments: str) -> dict[str, Any]:
    """The predictions."""
    settings = ("--set", f"cache_dir={cache}", "--set", "use_cache_only=1", *arguments)
    assert (
        evaluate.main(
            [
                "--url",
                url,
                "--model-name",
                "m",
                "--env",
                "swe-synth",
                "--split",
                "train",
                *settings,
                "--num-tasks",
                "3",
                "--output",
                str(output),
            ]
        )
        == 0
    )
    return json.loads((output / "preds.json").read_text())


def test_patches_are_scored_and_exported(cache: Path, tmp_path: Path) -> None:
    answers = iter([f"```diff\n{PATCH}```", "I cannot.", f"<think>hm</think>\n```diff\n{PATCH}```"])
    with chat_server(lambda _: next(answers)) as (url, _):
        predictions = evaluated(url, cache, tmp_path, "--concurrency", "1")
    rows = read(tmp_path)[1]
    assert [row["score"] for row in rows] == [1.0, 0.0, 1.0]
    adapter = SweSynthAdapter({"cache_dir": str(cache), "use_cache_only": True})
    names = [adapter.generate(row["task_id"]).extra["row"]["instance_id"] for row in rows]
    patches = dict(zip(names, [PATCH, "", PATCH], strict=True))
    model = read(tmp_path)[0]["model"]
    assert predictions == {
        name: {"model_name_or_path": model, "instance_id": name, "model_patch": patch}
        for name, patch in patches.items()
    }
    assert check_predictions(tmp_path / "preds.json").endswith(f"3 patches of {model}, 1 of them empty")


def test_an_agent_works_in_the_sandbox_and_its_submission_is_exported(cache: Path, tmp_path: Path) -> None:
    def model(request: Request) -> str:
        turn = sum(message["role"] == "assistant" for message in request["messages"])
        return says(SCRIPT[turn])

    arguments = ("--set", "mode=agent", "--set", 'agent={"steps": 5, "at_once": 2}')
    with chat_server(model) as (url, requests):
        predictions = evaluated(url, cache, tmp_path, *arguments)
    summary, rows = read(tmp_path)
    assert summary["reward"]["mean"] == 1.0 and len(rows) == 3 and len(requests) == 9
    assert summary["metrics"]["steps"]["mean"] == 3 and summary["metrics"]["submitted"]["mean"] == 1
    assert rows[0]["response"].startswith("user: ") and "def clamp" in rows[0]["response"]
    assert len(predictions) == 3
    assert {entry["model_patch"] for entry in predictions.values()} == {row["submission"] for row in rows}
    assert rows[0]["submission"].startswith("diff --git a/calc/core.py")


def test_other_environments_export_nothing(tmp_path: Path) -> None:
    with chat_server(lambda _: "0") as (url, _):
        assert (
            evaluate.main(
                [
                    "--url",
                    url,
                    "--env",
                    "openspiel",
                    "--set",
                    "game_types=tic_tac_toe",
                    "--num-tasks",
                    "2",
                    "--set",
                    "num_tasks_per_case=20",
                    "--output",
                    str(tmp_path),
                ]
            )
            == 0
        )
    assert sorted(file.name for file in tmp_path.iterdir()) == ["answers.jsonl", "summary.json"]


NAMES = st.text(min_size=1)


@given(NAMES, st.dictionaries(NAMES, st.text(), min_size=1))
def test_predictions_keep_every_patch(model: str, patches: dict[str, str]) -> None:
    entries = json.loads(predictions_text(model, patches.items()))
    assert {name: entry["model_patch"] for name, entry in entries.items()} == patches
    assert {entry["model_name_or_path"] for entry in entries.values()} == {model}
    assert all(entry["instance_id"] == name for name, entry in entries.items())


def test_of_two_patches_for_one_instance_the_first_counts() -> None:
    assert json.loads(predictions_text("m", [("a", "1"), ("a", "2")]))["a"]["model_patch"] == "1"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is not JSON"),
        ("[]", "holds no predictions"),
        ("{}", "holds no predictions"),
        ('{"a": {"instance_id": "b"}}', "no entry with instance_id=a"),
        ('{"a": {"instance_id": "a", "model_name_or_path": "m"}}', "model_patch=None is not text"),
        (predictions_text("m", [("a", "")]), "all of its 1 patches are empty"),
        (
            predictions_text("m", [("a", "x")])[:-3] + "," + predictions_text("n", [("b", "x")])[1:],
            "patches of several models: m, n",
        ),
    ],
)
def test_predictions_that_would_be_refused_are_named(tmp_path: Path, text: str, reason: str) -> None:
    file = tmp_path / "preds.json"
    file.write_text(text)
    with pytest.raises(SettingsError, match=reason):
        check_predictions(file)
