"""JSON files in blocks of whole lines, of about one size: where each is, so that a worker process reads it for itself.

JsonBlock(Path("a.jsonl"), start=0, end=1048712)
JsonBlock(Path("a.json"), 0, 1048600, data=b"{…}\\n{…}", element=1)      of a list: its elements, written as lines
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from row_io.json_rows import line_spans, read_blocks

CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class JsonBlock:
    path: Path
    start: int
    """Where in the file it begins. The first element of a list begins where the block before it ends."""
    end: int
    data: bytes | None = None
    element: int = 0
    """The number of the first element."""

    def read(self) -> bytes:
        """The lines. Raises OSError."""
        if self.data is not None:
            return self.data
        with self.path.open("rb") as file:
            file.seek(self.start)
            return file.read(self.end - self.start)

    def place(self, line: int) -> str:
        """Where to look for the block's first (0) or a later line: `a.jsonl:17`. Reads what is before the block."""
        if self.data is not None:
            return f"{self.path}: element {self.element + line}"
        lines, left = 1, self.start
        with self.path.open("rb") as file:
            while left and (chunk := file.read(min(left, CHUNK_BYTES))):
                lines += chunk.count(b"\n")
                left -= len(chunk)
        return f"{self.path}:{lines + line}"


def json_blocks(path: Path, block_bytes: int) -> Iterator[JsonBlock]:
    """The whole file. Raises SourceError for what is neither lines nor a list of objects."""
    spans = line_spans(path, block_bytes)
    if spans is not None:
        yield from (JsonBlock(path, start, end) for start, end in spans)
        return
    start = 0
    for block in read_blocks(path, block_bytes):
        yield JsonBlock(path, start, block.position, block.data, block.line)
        start = block.position
