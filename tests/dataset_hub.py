"""A real HTTP server that answers as the model hub does for datasets: open, gated, private or failing ones."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Repository:
    """`files` by name. Who does not send `token`, where there is one, is refused with this status and code."""

    files: dict[str, bytes]
    token: str | None = None
    refusal: tuple[int, str] = (401, "RepoNotFound")

    def listing(self, folder: str, recursive: bool) -> list[dict[str, object]]:
        """The entries of a folder as the hub's API has them."""
        prefix = f"{folder}/" if folder else ""
        inside = {name.removeprefix(prefix): data for name, data in self.files.items() if name.startswith(prefix)}
        entries: list[dict[str, object]] = [
            {"type": "file", "path": prefix + name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
            for name, data in inside.items()
            if recursive or "/" not in name
        ]
        folders = {name.partition("/")[0] for name in inside if "/" in name}
        return entries + [{"type": "directory", "path": prefix + name, "oid": "0" * 40} for name in sorted(folders)]


class LocalServer(ThreadingHTTPServer):
    """On a free port of this machine."""

    daemon_threads = True

    def __init__(self, handler: type[BaseHTTPRequestHandler]) -> None:
        super().__init__(("127.0.0.1", 0), handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


@contextmanager
def serving(server: LocalServer) -> Iterator[None]:
    """It answers until the end of the block."""
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()


class Answering(BaseHTTPRequestHandler):
    """Whole answers, and no log."""

    def answer(self, status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        return


class Hub(LocalServer):
    """It remembers which files were downloaded, as repository/name."""

    def __init__(self, repositories: Mapping[str, Repository]) -> None:
        super().__init__(_Handler)
        self.repositories = repositories
        self.downloaded: list[str] = []


class _Handler(Answering):
    server: Hub

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        name = next((name for name in self.server.repositories if f"/{name}/" in f"{path}/"), None)
        if name is None:
            return self.answer(404, b"", {"X-Error-Code": "RepoNotFound"})
        repository = self.server.repositories[name]
        if repository.token and self.headers.get("Authorization") != f"Bearer {repository.token}":
            return self.answer(repository.refusal[0], b"", {"X-Error-Code": repository.refusal[1]})
        if path in (f"/api/datasets/{name}", f"/api/datasets/{name}/revision/{COMMIT}"):
            siblings = [{"rfilename": file} for file in repository.files]
            body = {"id": name, "sha": COMMIT, "private": False, "tags": [], "siblings": siblings}
            return self.answer(200, json.dumps(body).encode())
        if path.startswith(f"/api/datasets/{name}/tree/{COMMIT}"):
            folder = path.removeprefix(f"/api/datasets/{name}/tree/{COMMIT}").strip("/")
            entries = repository.listing(folder, "recursive=true" in query)
            if entries:
                return self.answer(200, json.dumps(entries).encode())
        for revision in (COMMIT, "main"):
            file = path.removeprefix(f"/datasets/{name}/resolve/{revision}/")
            if file in repository.files:
                if self.command == "GET":
                    self.server.downloaded.append(f"{name}/{file}")
                data = repository.files[file]
                tag = f'"{hashlib.sha1(data).hexdigest()}"'
                return self.answer(200, data, {"ETag": tag, "X-Repo-Commit": COMMIT})
        return self.answer(404, b"", {"X-Error-Code": "EntryNotFound"})

    do_HEAD = do_GET


@contextmanager
def dataset_hub(repositories: Mapping[str, Repository]) -> Iterator[Hub]:
    """A hub that has these datasets, until the end of the block."""
    server = Hub(repositories)
    with serving(server):
        yield server
