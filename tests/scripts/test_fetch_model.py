"""fetch_model.py against a real HTTP server that answers as the hub does."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from script_runner import Checkout, error_lines

MODEL = "an-org/a.model-1"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
FILES = {
    "config.json": b"{}",
    "tokenizer_config.json": b"{}",
    "model.safetensors": (2).to_bytes(8, "little") + b"{}",
    "pytorch_model.bin": b"the same weights again",
    "original/consolidated.00.pth": b"and again",
}


class Hub(ThreadingHTTPServer):
    """One model, open, gated or hidden; it counts what it is asked for and can be slow."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files = dict(FILES)
        self.token: str | None = None
        self.refusal = (401, "RepoNotFound")
        self.asked: list[str] = []
        self.pause: threading.Event | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: Hub

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        if self.server.token and self.headers.get("Authorization") != f"Bearer {self.server.token}":
            status, code = self.server.refusal
            return self.answer(status, b"", {"X-Error-Code": code})
        path = self.path.partition("?")[0]
        if path in (f"/api/models/{MODEL}", f"/api/models/{MODEL}/revision/main"):
            siblings = [{"rfilename": name, "size": len(data)} for name, data in self.server.files.items()]
            body = {"id": MODEL, "modelId": MODEL, "sha": COMMIT, "private": False, "tags": [], "siblings": siblings}
            return self.answer(200, json.dumps(body).encode())
        if path.startswith(f"/api/models/{MODEL}/tree/"):
            tree = [
                {"type": "file", "path": name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
                for name, data in self.server.files.items()
            ]
            return self.answer(200, json.dumps(tree).encode())
        name = path.removeprefix(f"/{MODEL}/resolve/{COMMIT}/")
        if name in self.server.files:
            data = self.server.files[name]
            return self.answer(200, data, {"ETag": f'"{hashlib.sha1(data).hexdigest()}"', "X-Repo-Commit": COMMIT})
        return self.answer(404, b"", {"X-Error-Code": "RepoNotFound"})

    do_HEAD = do_GET

    def answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        if self.server.pause and self.command == "GET" and "safetensors" in self.path:
            self.server.pause.wait(60)
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def hub() -> Iterator[Hub]:
    server = Hub()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def repo(tmp_path: Path, hub: Hub) -> Checkout:
    checkout = Checkout(tmp_path)
    checkout.env["HF_ENDPOINT"] = hub.url
    return checkout


def fetch(repo: Checkout, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "train/tools/fetch_model.py", *arguments]
    return subprocess.run(command, cwd=repo.root, env={**repo.env, **env}, capture_output=True, text=True, timeout=60)


def test_a_model_is_downloaded_once_and_without_copies_of_its_weights(repo: Checkout, hub: Hub) -> None:
    result = fetch(repo, MODEL)
    directory = repo.root / "train/models" / MODEL
    assert (result.returncode, result.stdout.strip()) == (0, str(directory)), result.stderr
    assert {path.name for path in directory.iterdir()} - {".cache"} == {
        "config.json",
        "tokenizer_config.json",
        "model.safetensors",
    }
    asked = len(hub.asked)
    assert fetch(repo, MODEL).returncode == 0
    assert len(hub.asked) == asked


def test_locating_asks_the_hub_for_nothing(repo: Checkout, hub: Hub) -> None:
    result = fetch(repo, MODEL, "--locate")
    assert result.stdout.strip() == str(repo.root / "train/models" / MODEL)
    assert "a run downloads it" in result.stderr
    assert hub.asked == [] and not (repo.root / "train/models").exists()


def test_the_trainer_downloads_after_its_checks_and_needs_no_token_for_an_open_model(repo: Checkout, hub: Hub) -> None:
    repo.stand_in_verl("import os; print('path', os.environ['AGENT_MODEL_PATH'])")
    refused = repo.trainer("no_such_game", AGENT_MODEL_REPO_ID=MODEL)
    assert refused.returncode == 2
    assert hub.asked == ["/api/models?limit=1"]  # the doctor: does the hub answer?
    result = repo.trainer("tic_tac_toe", AGENT_MODEL_REPO_ID=MODEL)
    assert result.returncode == 0, result.stderr
    assert f"path {repo.root}/train/models/{MODEL}" in result.stdout


@pytest.mark.parametrize(
    ("refusal", "reason"), [((401, "RepoNotFound"), "private"), ((403, "GatedRepo"), "gated"), ((503, ""), "503")]
)
def test_a_refusal_says_whether_a_token_would_help(
    repo: Checkout, hub: Hub, refusal: tuple[int, str], reason: str
) -> None:
    hub.token, hub.refusal = "hf_right", refusal
    result = fetch(repo, MODEL)
    (line,) = error_lines(result)
    assert result.returncode == 2
    assert reason in line and MODEL in line
    assert ("HF_TOKEN" in line) == (refusal[0] != 503)
    wrong = fetch(repo, MODEL, HF_TOKEN="hf_wrongwrong")
    assert wrong.returncode == 2 and "hf_wrongwrong" not in wrong.stdout + wrong.stderr
    assert fetch(repo, MODEL, HF_TOKEN="hf_right").returncode == 0


def test_no_network_is_one_line(repo: Checkout) -> None:
    result = fetch(repo, MODEL, HF_ENDPOINT="http://127.0.0.1:9")
    (line,) = error_lines(result)
    assert result.returncode == 2
    assert "http://127.0.0.1:9" in line and "Traceback" not in result.stderr


def test_a_repository_without_weights_is_refused(repo: Checkout, hub: Hub) -> None:
    hub.files = {"config.json": b"{}", "tokenizer_config.json": b"{}"}
    result = fetch(repo, MODEL)
    assert result.returncode == 2 and "model.safetensors" in error_lines(result)[0]
    assert not (repo.root / "train/models" / MODEL).exists()


def test_a_killed_download_is_never_taken_for_a_model(repo: Checkout, hub: Hub) -> None:
    hub.pause = threading.Event()
    command = [sys.executable, "train/tools/fetch_model.py", MODEL]
    process = subprocess.Popen(command, cwd=repo.root, env=repo.env, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not any("safetensors" in path and "resolve" in path for path in hub.asked):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (repo.root / "train/models" / MODEL).exists()
    hub.pause.set()
    assert fetch(repo, MODEL).returncode == 0


def test_a_damaged_local_model_is_named(repo: Checkout) -> None:
    directory = repo.model()
    (directory / "model.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1")
    result = fetch(repo, str(directory))
    assert result.returncode == 2
    assert "model.safetensors" in error_lines(result)[0]
