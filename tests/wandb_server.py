"""A Weights & Biases server for tests: as much of its HTTP interface as `wandb sync` needs for a run and its history.

with WandbServer() as server:
    subprocess.run(["wandb", "sync", …], env={"WANDB_BASE_URL": server.url, …})
server.runs["abcd1234"].history            # [{"_step": 1, "train/reward": 0.25, …}, …]
"""

from __future__ import annotations

import gzip
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Uploaded:
    name: str
    project: str = ""
    entity: str = ""
    tags: list[str] = field(default_factory=list)
    notes: str = ""
    display_name: str = ""
    lines: dict[str, list[str]] = field(default_factory=dict)

    @property
    def history(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines.get("wandb-history.jsonl", [])]


class WandbServer:
    def __init__(self) -> None:
        self.runs: dict[str, Uploaded] = {}
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                answer = json.dumps(server.answer(self.path, body)).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            do_PUT = do_GET = do_POST

            def log_message(self, *_: Any) -> None: ...

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_port}"

    def __enter__(self) -> WandbServer:
        threading.Thread(target=self._http.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()

    def answer(self, path: str, body: bytes) -> dict[str, Any]:
        if stream := re.fullmatch(r"/files/[^/]+/[^/]+/([^/]+)/file_stream", path):
            self._add_lines(self.runs[stream[1]], json.loads(body).get("files") or {})
            return {}
        if path != "/graphql":
            return {}
        request = json.loads(body)
        asked, given = request.get("operationName"), request.get("variables") or {}
        if asked == "UpsertBucket":
            return {"data": {"upsertBucket": {"bucket": self._upsert(given), "inserted": True}}}
        if asked == "RunResumeStatus":
            return {"data": {"model": self._resume(given)}}
        if asked == "CreateRunFiles":
            files = [{"name": name, "uploadUrl": f"{self.url}/upload/{name}"} for name in given["files"]]
            return {"data": {"createRunFiles": {"runID": "UnVu", "uploadHeaders": [], "files": files}}}
        return {"data": {}}

    def _add_lines(self, run: Uploaded, files: dict[str, Any]) -> None:
        for name, part in files.items():
            lines = run.lines.setdefault(name, [])
            lines[part["offset"] :] = part["content"]

    def _upsert(self, given: dict[str, Any]) -> dict[str, Any]:
        run = self.runs.setdefault(given["name"], Uploaded(given["name"]))
        run.project, run.entity = given.get("project") or run.project, given.get("entity") or run.entity
        run.tags, run.notes = given.get("tags") or run.tags, given.get("notes") or run.notes
        run.display_name = given.get("displayName") or run.display_name
        return self._bucket(run) | {"project": {"id": "UA==", "name": run.project, "entity": self._entity(run)}}

    def _bucket(self, run: Uploaded) -> dict[str, Any]:
        return {"id": "UnVu", "name": run.name, "displayName": run.display_name, "sweepName": None, "config": "{}"} | {
            "historyLineCount": len(run.lines.get("wandb-history.jsonl", []))
        }

    def _resume(self, given: dict[str, Any]) -> dict[str, Any]:
        run = self.runs.get(given["name"])
        if run is None:
            return {"id": "UA==", "name": given["project"], "entity": {"id": "RQ=="}, "bucket": None}
        bucket = self._bucket(run) | {"summaryMetrics": "{}", "logLineCount": 0, "wandbConfig": '{"t": 1}'}
        for kind in ("history", "events"):
            lines = run.lines.get(f"wandb-{kind}.jsonl", [])
            bucket |= {f"{kind}LineCount": len(lines), f"{kind}Tail": json.dumps(lines[-1:])}
        bucket |= {"tags": run.tags, "notes": run.notes}
        return {"id": "UA==", "name": run.project, "entity": self._entity(run), "bucket": bucket}

    def _entity(self, run: Uploaded) -> dict[str, str]:
        return {"id": "RQ==", "name": run.entity}
