"""A real HTTP server that answers as the model hub does for one dataset: open, gated, private or failing."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class DatasetHub(ThreadingHTTPServer):
    """`files` are what the repository holds; it refuses all who do not send `token`, where one is set."""

    daemon_threads = True

    def __init__(self, repository: str, files: dict[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repository = repository
        self.files = {"README.md": b"---\nlicense: mit\n---\n", **files}
        self.token: str | None = None
        self.refusal = (401, "RepoNotFound")
        self.downloaded: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

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


class _Handler(BaseHTTPRequestHandler):
    server: DatasetHub

    def do_GET(self) -> None:
        hub, repository = self.server, self.server.repository
        path, _, query = self.path.partition("?")
        if hub.token and self.headers.get("Authorization") != f"Bearer {hub.token}":
            return self.answer(hub.refusal[0], b"", {"X-Error-Code": hub.refusal[1]})
        if path in (f"/api/datasets/{repository}", f"/api/datasets/{repository}/revision/{COMMIT}"):
            siblings = [{"rfilename": name} for name in hub.files]
            body = {"id": repository, "sha": COMMIT, "private": False, "tags": [], "siblings": siblings}
            return self.answer(200, json.dumps(body).encode())
        if path.startswith(f"/api/datasets/{repository}/tree/{COMMIT}"):
            folder = path.removeprefix(f"/api/datasets/{repository}/tree/{COMMIT}").strip("/")
            entries = hub.listing(folder, "recursive=true" in query)
            if entries:
                return self.answer(200, json.dumps(entries).encode())
        for revision in (COMMIT, "main"):
            name = path.removeprefix(f"/datasets/{repository}/resolve/{revision}/")
            if name in hub.files:
                if self.command == "GET":
                    hub.downloaded.append(name)
                data = hub.files[name]
                tag = f'"{hashlib.sha1(data).hexdigest()}"'
                return self.answer(200, data, {"ETag": tag, "X-Repo-Commit": COMMIT})
        code = "EntryNotFound" if f"/{repository}/" in path else "RepoNotFound"
        return self.answer(404, b"", {"X-Error-Code": code})

    do_HEAD = do_GET

    def answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        return


@contextmanager
def dataset_hub(repository: str, files: dict[str, bytes]) -> Iterator[DatasetHub]:
    server = DatasetHub(repository, files)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
