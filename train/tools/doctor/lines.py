"""What a check answers, and how it is shown.

Line("shm", FAIL, "/dev/shm has 0.07 GB free", "docker run --shm-size=16g, or --ipc=host")
"""

from __future__ import annotations

import fnmatch
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass

OK, WARN, FAIL = "ok", "warn", "fail"
SECRETS = ("*_TOKEN", "*_API_KEY", "*_ACCESS_KEY*", "*SECRET*", "*PASSWORD*", "*PASSWD*", "*CREDENTIALS*")
"""Names of variables that are never shown: those of is_secret in lib/common.sh."""
SHORTEST_SECRET = 4


@dataclass(frozen=True)
class Line:
    check: str
    status: str
    found: str
    fix: str = ""


def is_secret(name: str) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in SECRETS)


def secret_mask(environment: Mapping[str, str]) -> Callable[[str], str]:
    """A function that replaces the values of secret variables, and passwords in URLs, by ***."""
    values = {value for name, value in environment.items() if is_secret(name)}
    values |= {value.strip() for value in values}
    hidden = sorted((value for value in values if len(value) >= SHORTEST_SECRET), key=len, reverse=True)

    def mask(text: str) -> str:
        for value in hidden:
            text = text.replace(value, "***")
        return re.sub(r"(://)[^/@\s]+@", r"\1***@", text)

    return mask


def masked(lines: Iterable[Line], environment: Mapping[str, str]) -> list[Line]:
    mask = secret_mask(environment)
    return [Line(line.check, line.status, mask(line.found), mask(line.fix)) for line in lines]


def as_table(lines: list[Line]) -> str:
    """Every line, its fix below it, and a count at the end."""
    width = max((len(line.check) for line in lines), default=0)
    text = ""
    for line in lines:
        text += f"{line.status:<5} {line.check:<{width}}  {line.found}\n"
        if line.fix:
            text += f"{'':<5} {'':<{width}}  fix: {line.fix}\n"
    return text + summary(lines) + "\n"


def summary(lines: list[Line]) -> str:
    """'1 of 14 checks fails, 2 warn'."""
    fails, warns = (sum(line.status == status for line in lines) for status in (FAIL, WARN))
    if not fails and not warns:
        return f"all {len(lines)} checks are ok"
    return f"{fails} of {len(lines)} checks fail, {warns} warn"


def as_messages(lines: list[Line]) -> str:
    """What is not ok, in the form of the scripts: one line each, on stderr."""
    kinds = {FAIL: "error", WARN: "warning"}
    return "".join(
        f"{kinds[line.status]}: {line.found}{': ' + line.fix if line.fix else ''}\n"
        for line in lines
        if line.status in kinds
    )


def as_json(lines: list[Line]) -> str:
    failed = any(line.status == FAIL for line in lines)
    return json.dumps({"ok": not failed, "checks": [asdict(line) for line in lines]}, indent=2)
