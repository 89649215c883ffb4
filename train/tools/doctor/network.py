"""The model hub, and the ports of a run on several machines.

warn  hub  https://huggingface.co cannot be reached: Name or service not known
           fix: HF_ENDPOINT names another hub; a local directory as AGENT_MODEL_REPO_ID needs none
"""

from __future__ import annotations

import contextlib
import errno
import socket
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from doctor.bounded import within
from doctor.checkpoints import model_directory
from doctor.context import Context
from doctor.lines import FAIL, OK, WARN, Line

HUB = "https://huggingface.co"
SECONDS = 3
RAY_PORT = 6379
YES = ("1", "ON", "YES", "TRUE")


class NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would take the token to another host; the hub that redirects has answered."""

    def redirect_request(self, *_: Any) -> None:
        return None


def check_hub(context: Context) -> list[Line]:
    """Asked who the token belongs to, or for one model where there is no token. Never worse than a warning."""
    if context.get("HF_HUB_OFFLINE").upper() in YES:
        return [Line("hub", OK, "not asked (HF_HUB_OFFLINE)")]
    if context.quick and (model_directory(context) or not context.get("AGENT_MODEL_REPO_ID")):
        return []
    endpoint, token = context.get("HF_ENDPOINT", HUB).rstrip("/"), context.get("HF_TOKEN").strip()
    if any(map(str.isspace, token)):  # it cannot be sent: check_tokens says so
        token = ""
    path = "/api/whoami-v2" if token else "/api/models?limit=1"
    ended, answer = within(SECONDS, lambda: _answer(endpoint + path, token))
    other = "HF_ENDPOINT names another hub; a local directory as AGENT_MODEL_REPO_ID needs none"
    if not ended:
        return [Line("hub", WARN, f"{endpoint} does not answer within {SECONDS} s", other)]
    if isinstance(answer, str):
        return [Line("hub", WARN, f"{endpoint} cannot be reached: {answer}", other)]
    if answer in (401, 403):
        who = "does not know HF_TOKEN" if token else "wants a token"
        fix = "a token with read access as HF_TOKEN" + (", or none: public models need none" if token else "")
        return [Line("hub", WARN, f"{endpoint} {who} (answers {answer})", fix)]
    if answer >= 500 or answer in (407, 429):
        return [Line("hub", WARN, f"{endpoint} answers {answer}", "try again later, or a proxy or another HF_ENDPOINT")]
    return [Line("hub", OK, f"{endpoint} answers" + (", and knows HF_TOKEN" if token and answer == 200 else ""))]


def _answer(url: str, token: str) -> int | str:
    """The status of the answer, or why there is none."""
    try:
        request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"} if token else {})
        with urllib.request.build_opener(NoRedirect).open(request, timeout=SECONDS) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        return error.code
    except urllib.error.URLError as error:
        reason = error.reason
        return str(reason.strerror or reason) if isinstance(reason, OSError) else str(reason)
    except (OSError, ValueError) as error:
        return str(error)


def check_ports(context: Context) -> list[Line]:
    """Where others find this machine when it is node 0 of several. One machine alone takes ports that are free."""
    nodes, rank = context.get("NNODES", "1"), context.get("NODE_RANK", "0")
    if nodes == "1" or rank != "0":
        return []
    ports = {}
    if context.purpose != "grpo":
        ports[context.get("MASTER_PORT", "29500")] = "MASTER_PORT"
    if context.purpose != "sft" and not context.get("RAY_ADDRESS"):
        ports[str(RAY_PORT)] = "Ray's"
    lines = []
    for port, name in ports.items():
        if not port.isdigit() or not 0 < int(port) < 65536:
            lines.append(Line("ports", FAIL, f"{name}={port} is not a port", "use 1 to 65535"))
        elif not _is_free(int(port)):
            fix = "set MASTER_PORT on every node to a free one" if name == "MASTER_PORT" else "`ray stop`"
            found = f"port {port} ({name}) is taken by {_holder(int(port))}"
            lines.append(Line("ports", FAIL, found, f"{fix}, or end that program"))
    return lines or [Line("ports", OK, f"{', '.join(ports)} free")]


def _is_free(port: int) -> bool:
    with socket.socket() as mine:
        mine.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            mine.bind(("", port))
        except OSError as error:
            return error.errno != errno.EADDRINUSE
    return True


def _holder(port: int) -> str:
    """'pid 4242 (python)', where it can be seen."""
    sockets = set()
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        rows = [row.split() for row in table.read_text().splitlines()[1:]] if table.is_file() else []
        listening = [row for row in rows if row[3] == "0A" and int(row[1].rpartition(":")[2], 16) == port]
        sockets |= {f"socket:[{row[9]}]" for row in listening}
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended, or is another user's
            if any(str(each.readlink()) in sockets for each in (process / "fd").iterdir()):
                return f"pid {process.name} ({(process / 'comm').read_text().strip()})"
    return "a program that is not seen from here"
