"""A file cut into pieces, and the pieces of it that are shown where there is no room for all.

    pieces("import re\n\ndef f():\n    return 1\n\nclass C:\n    def g(self): …", "x.py")
    → [Piece(1, 2, ""), Piece(3, 5, "f"), Piece(6, 6, "C"), Piece(7, 7, "C.g")]

A piece of Python is a function, a method, the head of a class or what stands between them; a piece of another file ends
at an empty line. How a file is cut does not depend on what is wrong in it.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass

LONGEST = 60
"""Lines of a piece; a longer function is cut at an empty line, or in the middle of its text."""

_MISFITS = 3
"""If every gap were filled, small pieces would stand beside those that are needed, and so tell which these are."""
_NAMES_SHOWN = 100
_AROUND = 120
"""Characters that stand around a piece in the prompt."""
_HUNK = re.compile(r"@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@")


@dataclass(frozen=True)
class Piece:
    first: int
    last: int
    """Lines, from 1, the last one included."""
    name: str
    """The function, method or class, or nothing."""


def pieces(text: str, path: str) -> list[Piece]:
    """All lines of the file, in order."""
    lines = lines_of(text)
    marks = _python_marks(text, lines) if path.endswith((".py", ".pyi")) else None
    marks = marks or {1: ""}
    marks.setdefault(1, "")
    # Empty lines alone are no piece.
    starts = [line for line in sorted(marks) if line == 1 or not _is_blank(lines, line, marks)]
    cut = []
    for first, after in zip(starts, [*starts[1:], len(lines) + 1], strict=True):
        cut += [Piece(begin, end, marks[first]) for begin, end in _shorter(lines, first, after - 1)]
    return cut


def lines_of(text: str) -> list[str]:
    """The lines with their ends, as git and Python count them: a form feed ends none."""
    return re.findall(r"[^\n]*\n|[^\n]+", text)


def _is_blank(lines: list[str], first: int, marks: dict[int, str]) -> bool:
    """Whether the piece that begins at this line has nothing in it."""
    after = min((line for line in marks if line > first), default=len(lines) + 1)
    return not "".join(lines[first - 1 : after - 1]).strip()


def _python_marks(text: str, lines: list[str]) -> dict[int, str] | None:
    """The first line of each piece → its name; None for what is not Python of this version."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of old code: invalid escapes and the like
            tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError):
        return None
    marks: dict[int, str] = {}

    def walk(body: list[ast.stmt], inside: str) -> None:
        for node in body:
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                continue
            name = f"{inside}.{node.name}" if inside else node.name
            first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            while first > 1 and lines[first - 2].lstrip().startswith("#") and first - 1 not in marks:
                first -= 1
            marks[first] = name
            if isinstance(node, ast.ClassDef):
                walk(node.body, name)
            marks[(node.end_lineno or first) + 1] = inside

    walk(tree.body, "")
    return marks


def _shorter(lines: list[str], first: int, last: int) -> Iterable[tuple[int, int]]:
    while last - first + 1 > LONGEST:
        empty = (line for line in range(first + LONGEST - 1, first + LONGEST // 2, -1) if not lines[line - 1].strip())
        end = next(empty, first + LONGEST - 1)
        yield first, end
        first = end + 1
    yield first, last


def changed_lines(patch: str) -> dict[str, set[int]]:
    """Path → the lines of the old file that a unified diff removes, or puts something next to.

    A file that is new has no lines; one that is only renamed is there without any.
    """
    changed: dict[str, set[int]] = {}
    lines = [line.rstrip("\n") for line in lines_of(patch)]
    path, old, here, there = "", 0, 0, 0
    for number, line in enumerate(lines):
        if here <= 0 and there <= 0:
            following = lines[number + 1] if number + 1 < len(lines) else ""
            if line.startswith("--- ") and following.startswith("+++ "):
                path = re.sub(r"^a/", "", line[4:].split("\t")[0].strip())
            elif line.startswith("rename from "):
                changed.setdefault(line.removeprefix("rename from "), set())
            elif (hunk := _HUNK.match(line)) and path != "/dev/null":
                old, here, there = int(hunk[1]), int(hunk[2] or 1), int(hunk[4] or 1)
                old += here == 0  # nothing of the old file: the number is that of the line before
                changed.setdefault(path, set())
        elif line.startswith("+"):
            changed[path] |= {old - 1, old}
            there -= 1
        elif line.startswith("-"):
            changed[path].add(old)
            old, here = old + 1, here - 1
        elif not line.startswith("\\"):
            old, here, there = old + 1, here - 1, there - 1
    return {path: {line for line in numbers if line > 0} for path, numbers in changed.items()}


def choose(cut: list[Piece], text: str, needed: set[int], room: int, order: Callable[[Piece], object]) -> list[Piece]:
    """The pieces that hold the lines `needed`, and others, in this order, as far as `room` characters go.

    Without any line that is needed it is the others alone, and at least one. Pieces that are needed are there even
    where they are more than `room`.
    """
    lines = lines_of(text)
    size = {piece: _AROUND + sum(map(len, lines[piece.first - 1 : piece.last])) for piece in cut}
    others = sorted(cut, key=order)
    chosen = {piece for piece in cut if not needed.isdisjoint(range(piece.first, piece.last + 1))} or set(others[:1])
    left = room - sum(size[piece] for piece in chosen)
    misfits = 0
    for piece in others:
        if piece not in chosen and size[piece] <= left:
            chosen.add(piece)
            left -= size[piece]
        elif piece not in chosen:
            misfits += 1
        if misfits == _MISFITS:
            break
    return sorted(chosen, key=lambda piece: piece.first)


def fenced(text: str, language: str) -> str:
    """The text between fences that it cannot close."""
    longest = max((len(run) for run in re.findall(r"`{3,}", text)), default=2)
    fence = "`" * (longest + 1)
    return f"{fence}{language}\n{text}{'' if text.endswith(chr(10)) else chr(10)}{fence}"


def rendered(path: str, text: str, cut: list[Piece], chosen: list[Piece]) -> str:
    """A file as the model sees it: whole, or the chosen pieces with a word on what lies between them."""
    language = "python" if path.endswith((".py", ".pyi")) else ""
    if len(chosen) == len(cut):
        return f"## {path}\n\n{fenced(text, language)}"
    lines = lines_of(text)
    parts, left_out = [f"## {path} ({len(lines)} lines, some left out)"], []
    run: list[Piece] = []
    for piece in [*cut, None]:
        if piece is not None and piece in chosen:
            if left_out:
                parts.append(_gap(left_out))
                left_out = []
            run.append(piece)
            continue
        if run:
            inside = run[0].name.rpartition(".")[0]
            where = f", in class {inside}" if inside else ""
            code = fenced("".join(lines[run[0].first - 1 : run[-1].last]), language)
            parts.append(f"Lines {run[0].first} to {run[-1].last}{where}:\n{code}")
            run = []
        if piece is not None:
            left_out.append(piece)
    if left_out:
        parts.append(_gap(left_out))
    return "\n\n".join(parts)


def _gap(left_out: list[Piece]) -> str:
    names = ", ".join(dict.fromkeys(piece.name for piece in left_out if piece.name))
    names = names if len(names) <= _NAMES_SHOWN else f"{names[:_NAMES_SHOWN].rpartition(', ')[0]} …"
    first, last = left_out[0].first, left_out[-1].last
    span = f"Line {first} is" if first == last else f"Lines {first} to {last} are"
    return f"({span} left out{': ' + names if names else ''}.)"
