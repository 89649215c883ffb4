"""What is uploaded is what was proven, byte for byte, with a card that says how it was made."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

import push_to_hub
from evaluation_results import write_evaluation
from model_card import model_card, public_path, training_rows, without_paths
from model_hub import PART, TOKEN, ModelHub, model_hub
from model_weights import ExportError
from push_to_hub import main, push

REPO = "my-org/my-model"
COMMAND = """cd /home/me/veritas-rl && env \\
  AGENT_MODEL_PATH=/home/me/veritas-rl/train/models/a-base/model-1B \\
  GAME_TYPES=hex,go \\
  HF_TOKEN='***' \\
  PROFILE=cpu \\
  WANDB_EXP=my-run \\
  /home/me/.venv/bin/python -m verl.trainer.main_ppo --config-path /home/me/veritas-rl/train/config --config-name \
openspiel hydra.run.dir=\\'/home/me/x\\' trainer.resume_mode=auto trainer.total_training_steps=10
"""
START = {
    "started": "2026-01-31T12:00:00+00:00",
    "model": "/home/me/veritas-rl/train/models/a-base/model-1B",
    "command": COMMAND,
    "commit": "4de52ac",
    "changed": True,
    "versions": {"verl": "0.9.1", "torch": "2.13.0"},
    "profile": "cpu",
    "host": "secret-host",
}
CHECKS = [
    {
        "name": "logits",
        "verdict": "pass",
        "measured": "max |Δ| 0.01 on 4 prompts of /home/me/veritas-rl/train/models/x",
    },
    {"name": "vllm", "verdict": "not made", "measured": "vLLM is not installed"},
]


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModelHub]:
    """An empty hub that the environment names, with a token that may write. Without Xet, the hub's own protocol."""
    with model_hub() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
        yield server


def write_export(directory: Path, **changed: object) -> None:
    export = {
        "source": str(directory.parent / "my-run/global_step_18/actor"),
        "global_step": 18,
        "kind": "LoRA",
        "lora": {"r": 32, "alpha": 64},
        "base_model": START["model"],
        "parameters": 1_609_888,
        "target": "/home/me/veritas-rl/train/merged_model",
        "proof": {"passed": True, "checks": CHECKS},
    }
    (directory / "export.json").write_text(json.dumps({**export, **changed}))


@pytest.fixture
def export(tiny: Path, tmp_path: Path) -> Path:
    """A proven LoRA export beside the run that it came from."""
    directory = shutil.copytree(tiny, tmp_path / "model")
    write_export(directory)
    (directory / "lora_adapter").mkdir()
    adapter = {"peft_type": "LORA", "base_model_name_or_path": START["model"]}
    (directory / "lora_adapter/adapter_config.json").write_text(json.dumps(adapter))
    (directory / "lora_adapter/adapter_model.safetensors").write_bytes(os.urandom(PART // 2))
    (directory / ".cache").mkdir()
    (directory / ".cache/notes").write_text("mine")
    (tmp_path / "my-run").mkdir()
    lines = [json.dumps({**START, "commit": "older"}), json.dumps(START)]
    (tmp_path / "my-run/starts.jsonl").write_text("\n".join(lines) + "\n")
    return directory


def write_answers(directory: Path, scores: list[float], first_task: int = 0) -> Path:
    directory.mkdir()
    rows = [
        {
            "task_id": first_task + i, "sample": 0, "messages": [], "response": "4", "score": score,
            "metrics": {"legal": 1.0}, "finish_reason": "stop", "tokens": 1, "error": None, "group": None,
        }
        for i, score in enumerate(scores)
    ]  # fmt: skip
    summary = {
        "model": f"/home/me/{directory.name}",
        "env": "openspiel",
        "split": "test",
        "adapter_config": {"game_types": "hex"},
        "sampling": {"temperature": 0.0},
    }
    write_evaluation(directory, rows, summary)
    return directory


# --- the upload


def test_every_byte_arrives_in_one_commit_of_a_private_repository(export: Path, hub: ModelHub) -> None:
    assert push(export, REPO) == f"{hub.url}/{REPO}"
    repository = hub.repositories[REPO]
    assert repository.private and len(repository.commits) == 1
    local = {path.relative_to(export).as_posix() for path in export.rglob("*") if path.is_file()} - {".cache/notes"}
    assert set(repository.files) == local | {"README.md"}
    rewritten = {"README.md", "export.json", "lora_adapter/adapter_config.json"}
    for name in local - rewritten:
        assert repository.files[name] == (export / name).read_bytes(), name
    assert (export / "model.safetensors").stat().st_size > PART  # it came in parts, the adapter in one piece
    assert any("/part/2" in asked for asked in hub.asked) and any(asked.endswith("lfs/verify") for asked in hub.asked)
    assert (
        json.loads(repository.files["lora_adapter/adapter_config.json"])["base_model_name_or_path"] == "a-base/model-1B"
    )
    everything = b"".join(content for name, content in repository.files.items() if name in rewritten).decode()
    assert "/home/" not in everything and str(export.parent) not in everything and "secret-host" not in everything
    assert TOKEN not in "".join(hub.asked) and not (export / "README.md").exists()


def test_a_second_push_sends_no_object_again(export: Path, hub: ModelHub) -> None:
    push(export, REPO)
    hub.asked.clear()
    push(export, REPO)
    assert len(hub.repositories[REPO].commits) == 2
    assert not [asked for asked in hub.asked if asked.startswith("PUT")]


def test_a_public_repository_is_only_used_when_asked_for(export: Path, hub: ModelHub) -> None:
    push(export, "my-org/open", public=True)
    assert not hub.repositories["my-org/open"].private
    with pytest.raises(ExportError, match="my-org/open is public: pass --public"):
        push(export, "my-org/open")
    assert len(hub.repositories["my-org/open"].commits) == 1
    assert push(export, "mine").endswith("/the-user/mine")


@pytest.mark.parametrize(
    "damage", ["no export.json", "no proof", "failed", "not verified", "text", "marked", "truncated", "JSON"]
)
def test_what_is_not_proven_or_whole_is_not_uploaded(export: Path, hub: ModelHub, damage: str) -> None:
    reasons = {
        "no export.json": "has no export.json: only what merge.sh",
        "no proof": "exported without a proof",
        "failed": "did not pass its proof",
        "not verified": "did not pass its proof",
        "text": "did not pass its proof",
        "marked": r"DO_NOT_USE\.txt",
        "truncated": r"not whole, missing or broken: model\.safetensors is truncated",
        "JSON": "cannot be read as JSON",
    }
    if damage == "no export.json":
        (export / "export.json").unlink()
    elif damage == "truncated":
        os.truncate(export / "model.safetensors", 9000)
    elif damage == "marked":
        (export / "DO_NOT_USE.txt").touch()
    elif damage == "JSON":
        (export / "export.json").write_text("{")
    else:
        proofs = {"failed": {"passed": False}, "not verified": {"passed": None}, "text": {"passed": "true"}}
        write_export(export, proof=proofs.get(damage))
    with pytest.raises(ExportError, match=reasons[damage]):
        push(export, REPO)
    assert hub.asked == []


def test_a_ledger_that_was_cut_short_is_named(export: Path, hub: ModelHub) -> None:
    (export.parent / "my-run/starts.jsonl").write_text('{"started": "2026')
    with pytest.raises(ExportError, match=r"my-run/starts\.jsonl: its last line is not whole"):
        push(export, REPO)
    assert hub.asked == []


def test_no_token_a_wrong_one_and_faults_of_the_hub_are_one_line(
    export: Path, hub: ModelHub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def refusal() -> str:
        assert main([str(export), REPO]) == 1
        captured = capsys.readouterr()
        assert "hf_" not in captured.out + captured.err and captured.out == ""
        (line,) = [line for line in captured.err.splitlines() if line.startswith("error: ")]
        return line

    monkeypatch.delenv("HF_TOKEN")
    assert "HF_TOKEN is not set" in refusal() and hub.asked == []
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    assert "answered 401" in refusal()
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    for request, status in (("PUT /lfs", 403), ("commit/main", 403), ("repos/create", 400)):
        hub.refused = (request, status)
        assert "my-model" in refusal()
        assert not any(repository.commits for repository in hub.repositories.values())
    hub.refused = None
    assert main([str(export), "a/b/c"]) == 1
    assert "a/b/c" in capsys.readouterr().err
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert "http://127.0.0.1:9" in refusal()


def test_a_hub_without_xet_is_said_to_be_one(export: Path, hub: ModelHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", False)
    with pytest.raises(ExportError, match=r"could not be uploaded .*\(set HF_HUB_DISABLE_XET=1"):
        push(export, REPO)
    assert hub.repositories[REPO].commits == []


def test_an_ended_upload_leaves_the_repository_as_it_was(export: Path, hub: ModelHub) -> None:
    hub.pause = threading.Event()
    env = {**os.environ, "HF_HUB_DISABLE_XET": "1"}
    command = [sys.executable, push_to_hub.__file__, export, REPO]
    process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not any(asked.startswith("PUT") for asked in hub.asked):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert hub.repositories[REPO].commits == []
    hub.pause.set()
    result = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    assert result.stdout == f"  {hub.url}/{REPO} (private)\n" and TOKEN not in result.stderr
    assert hub.repositories[REPO].files["model.safetensors"] == (export / "model.safetensors").read_bytes()


# --- the card


def test_the_card_says_how_the_model_was_made(export: Path, tmp_path: Path) -> None:
    before = write_answers(tmp_path / "before", [0.0, 0.5, 0.0, 0.25])
    after = write_answers(tmp_path / "after", [0.5, 1.0, 0.75, 0.5])
    card = model_card(export, REPO, before=before, after=after)
    text = card.content
    assert card.data.base_model == ["a-base/model-1B"] and card.data.tags == ["veritas-rl", "verl"]
    values = {result.metric_type: result.metric_value for result in card.data.eval_results}
    assert values == {"reward": 0.6875, "legal": 1.0}
    for said in (
        "# my-model",
        "from `a-base/model-1B`, whose licence applies",
        "| run | my-run |",
        "| step | 18 |",
        "| kind | LoRA, r=32, alpha=64, merged |",
        "| recipe | train/config/openspiel.yaml |",
        r"| settings | GAME\_TYPES=hex,go |",
        r"| overrides | trainer.total\_training\_steps=10 |",
        "| veritas-rl | 4de52ac and local changes |",
        "| versions | verl 0.9.1, torch 2.13.0 |",
        "4 tasks of `openspiel` (test split, not trained on)",
        "| reward | 0.188 [",
        "| +0.500 [",
        r"- logits: pass. max \|Δ\| 0.01 on 4 prompts of train/models/x",
        "- vllm: not made. vLLM is not installed",
    ):
        assert said in text, said
    assert "license" not in text.split("---")[1]


def test_evaluations_that_do_not_compare_are_refused(export: Path, hub: ModelHub, tmp_path: Path) -> None:
    before = write_answers(tmp_path / "before", [0.0, 1.0], first_task=50)
    after = write_answers(tmp_path / "after", [0.5, 1.0])
    for arguments, reason in (
        ({"before": before, "after": after}, "share no task"),
        ({"before": before}, "--evaluation-before needs --evaluation-after"),
        ({"after": tmp_path / "nowhere"}, "holds no finished evaluation"),
    ):
        with pytest.raises(ExportError, match=reason):
            push(export, REPO, **arguments)
    assert hub.asked == []
    assert "| reward | 0.750 [" in model_card(export, REPO, after=after).content


def test_somebodys_own_card_is_kept(export: Path, hub: ModelHub, tmp_path: Path) -> None:
    (export / "README.md").write_text("---\ntags: [mine]\n---\nmine")
    push(export, REPO)
    assert hub.repositories[REPO].files["README.md"] == (export / "README.md").read_bytes()
    with pytest.raises(ExportError, match=r"README\.md would hide the evaluations"):
        push(export, REPO, after=write_answers(tmp_path / "after", [1.0, 0.5]))


def test_an_average_and_an_export_without_its_run_have_cards_too(export: Path, capsys: pytest.CaptureFixture) -> None:
    shutil.rmtree(export.parent / "my-run")
    write_export(export, base_model=None)
    assert main([str(export), REPO, "--card"]) == 0
    assert "Trained with veritas-rl (verl).\n" in capsys.readouterr().out
    write_export(
        export, kind="average", model_a="/x/train/models/a-base/one", model_b="/x/two", alpha=0.25, source=None
    )
    card = model_card(export, REPO)
    assert "0.75 × `a-base/one` + 0.25 × `two`" in card.content and card.data.base_model == ["a-base/one"]


@given(st.dictionaries(st.sampled_from(["commit", "profile", "started"]), st.text(min_size=1)), st.text())
def test_no_text_breaks_the_table_or_the_metadata(tiny: Path, start: dict[str, str], detail: str) -> None:
    directory = tiny.parent / "card"
    directory.mkdir(exist_ok=True)
    write_export(directory, proof={"passed": True, "checks": [{**CHECKS[0], "measured": detail}]})
    run = tiny.parent / "my-run"
    run.mkdir(exist_ok=True)
    (run / "starts.jsonl").write_text(json.dumps(start) + "\n")
    content = str(model_card(directory, REPO))
    _, metadata, body = content.split("---\n", 2)
    assert yaml.safe_load(metadata)["library_name"] == "transformers"
    rows = [line for line in body.split("\n") if line.startswith("|")]
    assert all(len(re.findall(r"(?<!\\)\|", row)) == 3 for row in rows), rows
    exported = json.loads((directory / "export.json").read_text())
    assert len(rows) == 2 + len(training_rows(exported, start))


@given(
    st.lists(st.text(st.characters(exclude_characters="/\x00"), min_size=1).filter(lambda p: p not in ".."), min_size=1)
)
def test_a_path_loses_what_stands_before_train(parts: list[str]) -> None:
    path = "/home/me/" + "/".join(parts)
    assert not public_path(path).startswith("/") and public_path(path) in path
    assert public_path(f"/home/me/train/{'/'.join(part for part in parts if part != 'train') or 'x'}").startswith(
        "train/"
    )


def test_paths_in_texts_are_cut_and_other_slashes_stay() -> None:
    value = {
        "a": "/home/me/my models/x",
        "b": ["read '/home/me/train/models/x', 3/4 of it", 1],
        "c": "org/name",
        "d": "/",
    }
    assert without_paths(value) == {"a": "x", "b": ["read 'train/models/x', 3/4 of it", 1], "c": "org/name", "d": "/"}
    assert without_paths("trainer.dir=/home/me/x https://example.org/a/b") == "trainer.dir=x https://example.org/a/b"
