"""A real HTTP server that takes uploads as the model hub does: repositories, git-LFS objects, one commit of them all.

Objects arrive in one PUT, or in parts where they are larger than `PART`; what a commit names must have arrived with the
sha256 that it says.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import yaml

from dataset_hub import Answering, LocalServer, serving

TOKEN = "hf_the_token_of_the_tests"
PART = 2_000_000


@dataclass
class UploadedRepository:
    private: bool
    commits: list[dict[str, bytes]] = field(default_factory=list)
    """What each commit added: path → content."""

    @property
    def files(self) -> dict[str, bytes]:
        return {path: content for commit in self.commits for path, content in commit.items()}


class ModelHub(LocalServer):
    """It remembers what it was asked for, refuses what `refused` matches, and can be slow to take an object."""

    def __init__(self) -> None:
        super().__init__(_Handler)
        self.repositories: dict[str, UploadedRepository] = {}
        self.objects: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.refused: tuple[str, int] | None = None
        self.pause: threading.Event | None = None


class _Handler(Answering):
    server: ModelHub

    def do_GET(self) -> None:
        self.dispatch()

    def do_POST(self) -> None:
        self.dispatch()

    def do_PUT(self) -> None:
        self.dispatch()

    def dispatch(self) -> None:
        path, hub = self.path.partition("?")[0], self.server
        hub.asked.append(f"{self.command} {path}")
        body = self.body()
        if hub.refused and re.search(hub.refused[0], hub.asked[-1]):
            return self.answer(hub.refused[1])
        if path.startswith("/lfs/"):  # signed addresses: no token
            return self.take_object(path, body)
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self.answer(401)
        if path == "/api/repos/create":
            return self.create(json.loads(body))
        if path == "/api/validate-yaml":
            return self.validate(json.loads(body)["content"])
        match = re.fullmatch(r"/api/models/([^/]+/[^/]+?)(?:/(preupload|commit)/main)?", path)
        match = match or re.fullmatch(r"/([^/]+/[^/]+?)\.git/info/lfs/objects/(batch)", path)
        repository = hub.repositories.get(match[1]) if match else None
        if not match or repository is None:
            return self.answer(404, b"", {"X-Error-Code": "RepoNotFound"})
        if match[2] is None:
            info = {"id": match[1], "sha": "0" * 40, "private": repository.private, "tags": [], "siblings": []}
            return self.json(info)
        if match[2] == "preupload":
            return self.json({"files": [self.upload_mode(file) for file in json.loads(body)["files"]]})
        if match[2] == "batch":
            return self.json({"objects": [self.actions(each) for each in json.loads(body)["objects"]]})
        return self.commit(match[1], [json.loads(line) for line in body.splitlines()])

    def body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        chunks = []
        while size := int(self.rfile.readline(), 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    def json(self, content: dict[str, Any]) -> None:
        self.answer(200, json.dumps(content).encode())

    def create(self, wanted: dict[str, Any]) -> None:
        name = f"{wanted['organization'] or 'the-user'}/{wanted['name']}"
        if name in self.server.repositories:
            return self.answer(409, json.dumps({"url": f"{self.server.url}/{name}"}).encode())
        self.server.repositories[name] = UploadedRepository(wanted["visibility"] == "private")
        self.json({"url": f"{self.server.url}/{name}"})

    def validate(self, card: str) -> None:
        try:
            yaml.safe_load(card.split("---\n")[1])
        except (yaml.YAMLError, IndexError) as error:
            return self.answer(400, json.dumps({"errors": [{"message": str(error)}]}).encode())
        self.json({"errors": [], "warnings": []})

    def upload_mode(self, file: dict[str, Any]) -> dict[str, Any]:
        large = file["path"].endswith(".safetensors") or file["size"] > 10_000_000
        return {"path": file["path"], "uploadMode": "lfs" if large else "regular", "shouldIgnore": False}

    def actions(self, wanted: dict[str, Any]) -> dict[str, Any]:
        """Where an object goes; nowhere when it is there."""
        oid, size, url = wanted["oid"], wanted["size"], f"{self.server.url}/lfs/{wanted['oid']}"
        if oid in self.server.objects:
            return wanted
        upload: dict[str, Any] = {"href": url}
        if size > PART:
            parts = {str(number): f"{url}/part/{number}" for number in range(1, -(-size // PART) + 1)}
            upload = {"href": f"{url}/complete", "header": {"chunk_size": str(PART), **parts}}
        return {**wanted, "actions": {"upload": upload, "verify": {"href": f"{self.server.url}/lfs/verify"}}}

    def take_object(self, path: str, body: bytes) -> None:
        objects = self.server.objects
        if self.server.pause:
            self.server.pause.wait(60)
        if path == "/lfs/verify":
            wanted = json.loads(body)
            return self.answer(200 if len(objects.get(wanted["oid"], b"")) == wanted["size"] else 404)
        oid, _, part = path.removeprefix("/lfs/").partition("/")
        if part == "complete":
            parts = json.loads(body)["parts"]
            body = b"".join(objects.pop(f"{oid}/part/{each['partNumber']}") for each in parts)
        elif part:
            objects[f"{oid}/{part}"] = body
            return self.answer(200, b"", {"ETag": f'"{part}"'})
        if hashlib.sha256(body).hexdigest() != oid:
            return self.answer(400)
        objects[oid] = body
        self.answer(200)

    def commit(self, name: str, lines: list[dict[str, Any]]) -> None:
        added = {}
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                added[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                if value["oid"] not in self.server.objects:
                    return self.answer(400)
                added[value["path"]] = self.server.objects[value["oid"]]
        self.server.repositories[name].commits.append(added)
        self.json({"commitUrl": f"{self.server.url}/{name}/commit/{'1' * 40}", "commitOid": "1" * 40})


@contextmanager
def model_hub() -> Iterator[ModelHub]:
    """An empty hub, until the end of the block."""
    server = ModelHub()
    with serving(server):
        yield server
