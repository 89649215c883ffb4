"""README.md and docs/*.md, and what a test needs to read them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("README.md"), *(ROOT / "docs").glob("*.md")])
FENCE = re.compile(r"^( *)(?:<!-- ([^\n]*) -->\n *)?```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
EXAMPLE = re.compile(r"^````.*?^````$", re.MULTILINE | re.DOTALL)
"""A prompt or an answer, with fences of its own: nothing in it is ours."""


class Fence(NamedTuple):
    mark: str
    """The comment on the line before it, or ''."""
    language: str
    body: str

    def commands(self) -> list[str]:
        """Its lines, with those that go on joined, and without comments."""
        lines = re.sub(r"(^|\s+)#\s.*$", "", self.body.replace("\\\n", " "), flags=re.MULTILINE).splitlines()
        return [line.strip() for line in lines if line.strip()]


def prose_of(page: Path) -> str:
    return EXAMPLE.sub("", page.read_text(encoding="utf-8"))


def fences_of(page: Path) -> list[Fence]:
    return [Fence(mark, language, body) for _, mark, language, body in FENCE.findall(prose_of(page))]


def code_in(page: Path) -> str:
    """All that the page sets as code, one piece a line."""
    pieces = re.findall(r"`([^`\n]+)`", FENCE.sub("", prose_of(page)))
    return "\n".join([*(fence.body for fence in fences_of(page)), *pieces])
