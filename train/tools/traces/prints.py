"""Prints put into a program, so that its output shows how it runs.

    total = 0                          total = 0
    for n in numbers:                  for n in numbers:
        total += n              →          total += n
                                           print("[1] total =", total)

Which assignments get one is decided by a seed. Nothing else is changed, also not how the program is written.
"""

from __future__ import annotations

import ast
import random


def with_prints(source: str, count: int, seed: str) -> str:
    """The program with up to `count` more prints. Raises SyntaxError or ValueError where it is no program."""
    lines = source.splitlines()
    places = [node for node in _assignments(ast.parse(source)) if _stands_alone(node, lines)]
    chosen = random.Random(f"prints {seed}").sample(places, min(count, len(places)))
    ordered = sorted(chosen, key=lambda node: node.lineno)
    for number, node in reversed(list(enumerate(ordered, 1))):  # from the end: what stands before keeps its place
        name = _target(node)
        lines.insert(node.end_lineno or node.lineno, f'{" " * node.col_offset}print("[{number}] {name} =", {name})')
    return "\n".join(lines) + "\n"


def _assignments(tree: ast.Module) -> list[ast.Assign | ast.AugAssign]:
    """Those to a plain name, of anything but a function."""
    found = [node for node in ast.walk(tree) if isinstance(node, ast.Assign | ast.AugAssign)]
    return [node for node in found if _target(node) and not isinstance(node.value, ast.Lambda)]


def _target(node: ast.Assign | ast.AugAssign) -> str | None:
    target = node.target if isinstance(node, ast.AugAssign) else node.targets[0] if len(node.targets) == 1 else None
    return target.id if isinstance(target, ast.Name) else None


def _stands_alone(node: ast.stmt, lines: list[str]) -> bool:
    """Neither `if x: y = 1` nor `y = 1; z = 2`, and nothing that is indented by tabs."""
    before = lines[node.lineno - 1].encode()[: node.col_offset]
    after = lines[(node.end_lineno or node.lineno) - 1].encode()[node.end_col_offset :].strip()
    return not before.strip(b" ") and (not after or after.startswith(b"#"))
