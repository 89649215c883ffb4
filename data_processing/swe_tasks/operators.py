"""Small bugs, of the kind that people make, put into Python code: one place each, the rest of the file as it was.

    for mutation in find_mutations(source):
        mutation.operator, mutation.line, mutation.function     # "comparison", 12, "Stack.push"
        mutation.apply(source)                                  # if len(items) > limit:  →  if len(items) >= limit:

Only code inside functions is changed. F-strings are left alone: Python 3.11 does not say where in them a part stands.
"""

from __future__ import annotations

import ast
import io
import token
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass

_COMPARISONS = {
    ast.Lt: "<=",
    ast.LtE: "<",
    ast.Gt: ">=",
    ast.GtE: ">",
    ast.Eq: "!=",
    ast.NotEq: "==",
    ast.In: "not in",
    ast.NotIn: "in",
    ast.Is: "is not",
    ast.IsNot: "is",
}
_ARITHMETIC = {
    ast.Add: "-",
    ast.Sub: "+",
    ast.Mult: "//",
    ast.Div: "*",
    ast.FloorDiv: "/",
    ast.Mod: "//",
    ast.BitAnd: "|",
    ast.BitOr: "&",
    ast.LShift: ">>",
    ast.RShift: "<<",
}
_LARGEST_NUMBER = 10_000
"""A larger constant is more often a magic number than a bound."""

Span = tuple[int, int]


@dataclass(frozen=True, order=True)
class Mutation:
    start: int
    end: int
    """The bytes of the source, in UTF-8, that are replaced."""
    replacement: str
    operator: str
    line: int
    function: str
    """Qualified name of the innermost function."""
    function_line: int
    """Where that function begins, decorators and all."""

    def apply(self, source: str) -> str:
        data = source.encode()
        return (data[: self.start] + self.replacement.encode() + data[self.end :]).decode()


def find_mutations(source: str) -> list[Mutation]:
    """Every mutation of a file's source, by place; none for a source that this Python cannot parse.

    A few give what means the same (`f(x, x)`) or does not parse: `changes_meaning` tells, which takes too long to ask
    of all.
    """
    try:
        tree = ast.parse(source)
        code = _Code(source)
    except (SyntaxError, ValueError, tokenize.TokenError):
        return []
    found = {}
    for (function, first), node, alone in _nodes_of_functions(tree):
        for operator, (start, end), replacement in _changes(node, code, alone):
            mutation = Mutation(start, end, replacement, operator, node.lineno, function, first)
            found.setdefault((start, end, replacement), mutation)
    return sorted(found.values())


def changes_meaning(source: str, mutant: str) -> bool:
    """Whether a mutant of a source parses, and not to the same."""
    try:
        return ast.dump(ast.parse(mutant)) != ast.dump(ast.parse(source))
    except (SyntaxError, ValueError):
        return False


class _Code:
    """A source as bytes, with the places of nodes and operators in it."""

    def __init__(self, source: str) -> None:
        self.data = source.encode()
        if b"\f" in self.data or b"\r" in self.data.replace(b"\r\n", b""):
            raise ValueError("tokenize and ast do not count the columns of such lines alike")
        self._starts = [0]
        for line in self.data.splitlines(keepends=True):
            self._starts.append(self._starts[-1] + len(line))
        self._tokens = [
            (self._place(found.start, found.line), self._place(found.end, found.line), found.string)
            for found in tokenize.generate_tokens(io.StringIO(source, newline="").readline)
            if found.type in (token.OP, token.NAME) and found.start[0] == found.end[0]
        ]

    def _place(self, position: tuple[int, int], line: str) -> int:
        row, column = position
        return self._starts[row - 1] + len(line[:column].encode())

    def span(self, first: ast.AST, last: ast.AST | None = None) -> Span:
        last = last or first
        return (
            self._starts[first.lineno - 1] + first.col_offset,
            self._starts[last.end_lineno - 1] + last.end_col_offset,
        )

    def text(self, span: Span) -> str:
        return self.data[slice(*span)].decode()

    def operator_between(self, left: ast.AST, right: ast.AST) -> Span:
        """Where the operator stands between two operands: parentheses, which belong to neither, may be there too."""
        gap = (self.span(left)[1], self.span(right)[0])
        places = [(start, end) for start, end, string in self._tokens_in(gap) if string not in "()"]
        return places[0][0], places[-1][1]

    def end_of_word(self, word: str, span: Span) -> int:
        """Where a keyword that opens a node ends."""
        return next(end for _, end, string in self._tokens_in(span) if string == word)

    def statement(self, node: ast.AST, alone: bool) -> tuple[Span, str]:
        """How to take a statement out: its lines, or, where it is alone in its block or its line, `pass` for it."""
        start, end = self.span(node)
        first = self.data.rfind(b"\n", 0, start) + 1
        last = self.data.find(b"\n", end) + 1
        if alone or not last or self.data[first:start].strip() or self.data[end:last].strip():
            return (start, end), "pass"
        return (first, last), ""

    def with_comma(self, node: ast.AST) -> Span:
        """An argument with the comma before it, or, for a first one, the comma after it."""
        start, end = self.span(node)
        before = self.data[:start].rstrip()
        if before.endswith(b","):
            return len(before) - 1, end
        after = self.data[end:]
        if after.startswith(b","):
            return start, len(self.data) - len(after[1:].lstrip(b" "))
        return start, end

    def _tokens_in(self, span: Span) -> Iterator[tuple[int, int, str]]:
        start, end = span
        return (found for found in self._tokens if start <= found[0] and found[1] <= end)


def _nodes_of_functions(tree: ast.Module) -> Iterator[tuple[tuple[str, int], ast.AST, bool]]:
    """Every node of a function's body, with the function's name and first line, and whether it is alone in its block;
    neither what only tells of types, nor f-strings."""

    def walk(node: ast.AST, names: tuple[str, ...], first: int) -> Iterator[tuple[tuple[str, int], ast.AST, bool]]:
        for name, value in ast.iter_fields(node):
            if name in ("annotation", "returns", "decorator_list", "type_params"):
                continue
            children = value if isinstance(value, list) else [value]
            for child in children:
                if not isinstance(child, ast.AST) or isinstance(child, ast.JoinedStr):
                    continue
                if isinstance(child, ast.ClassDef):
                    yield from walk(child, (*names, child.name), first)
                elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                    begin = min(part.lineno for part in (child, *child.decorator_list))
                    yield from walk(child, (*names, child.name), begin)
                else:
                    if first and hasattr(child, "lineno"):
                        yield (".".join(names), first), child, len(children) == 1
                    yield from walk(child, names, first)

    return walk(tree, (), 0)


def _changes(node: ast.AST, code: _Code, alone: bool) -> Iterator[tuple[str, Span, str]]:
    """Operator, place and replacement of what can go wrong at one node."""
    match node:
        case ast.Compare(left=left, ops=[operator], comparators=[right]):
            yield "comparison", code.operator_between(left, right), _COMPARISONS[type(operator)]
        case ast.BinOp(left=left, op=operator, right=right) if type(operator) in _ARITHMETIC and not _is_text(left):
            yield "arithmetic", code.operator_between(left, right), _ARITHMETIC[type(operator)]
        case ast.BoolOp(op=operator, values=[left, right]):
            other = "or" if isinstance(operator, ast.And) else "and"
            yield "and_or", code.operator_between(left, right), other
        case ast.UnaryOp(op=ast.Not()):
            start, end = code.span(node)
            yield "not", (start, end), code.text((code.end_of_word("not", (start, end)), end)).strip()
        case ast.Constant(value=bool(value)):
            yield "constant", code.span(node), str(not value)
        case ast.Constant(value=int(value)) if 0 <= value <= _LARGEST_NUMBER:
            yield "constant", code.span(node), str(value + 1)
            if value > 1:
                yield "constant", code.span(node), str(value - 1)
        case ast.Subscript(slice=ast.Slice(lower=lower, upper=upper)):
            for bound in (lower, upper):
                if bound is not None:
                    yield "slice_bound", code.span(bound), ""
        case ast.Call(args=arguments, keywords=keywords):
            if len(arguments) > 1 and not any(isinstance(argument, ast.Starred) for argument in arguments[:2]):
                first, second = (code.span(argument) for argument in arguments[:2])
                yield "argument_order", (first[0], second[1]), _swapped(code, first, second)
            for keyword in keywords:
                if keyword.arg is not None:
                    yield "keyword_argument", code.with_comma(keyword), ""
        case ast.If():
            yield from _changes_of_branches(node, code, alone)
        case ast.Return(value=ast.AST() as value) if not isinstance(value, ast.Constant):
            yield "return_value", code.span(value), "None"
        case ast.Assign() | ast.AugAssign():
            yield "assignment", *code.statement(node, alone)
        case ast.Expr(value=ast.Call()):
            yield "call", *code.statement(node, alone)


def _changes_of_branches(node: ast.If, code: _Code, alone: bool) -> Iterator[tuple[str, Span, str]]:
    test, body, orelse = node.test, node.body, node.orelse
    if isinstance(test, ast.Name | ast.Call | ast.Attribute):
        yield "condition", code.span(test), f"not {code.text(code.span(test))}"
    elif isinstance(test, ast.BoolOp):
        yield "condition", code.span(test), f"not ({code.text(code.span(test))})"
    if orelse and not _is_elif(code, orelse[0]):
        first, second = code.span(body[0], body[-1]), code.span(orelse[0], orelse[-1])
        yield "branch_order", (first[0], second[1]), _swapped(code, first, second)
    if not orelse and not _is_elif(code, node):
        yield "branch", *code.statement(node, alone)
    else:
        yield "branch", code.span(body[0], body[-1]), "pass"


def _swapped(code: _Code, first: Span, second: Span) -> str:
    return code.text(second) + code.text((first[1], second[0])) + code.text(first)


def _is_text(node: ast.AST) -> bool:
    """`"%s" % value` is no arithmetic."""
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str | bytes))


def _is_elif(code: _Code, node: ast.AST) -> bool:
    return isinstance(node, ast.If) and code.text(code.span(node)).startswith("elif")
