"""What an assertion of a test says: its conditions, the value that it expects, and the literals in that.

assert f(3) == [1, 2] and g()      → two conditions; the first expects [1, 2], whose literals are 1 and 2
"""

from __future__ import annotations

import ast

QUIET_CALLS = ("raises", "assertRaises", "assertRaisesRegex", "warns", "assertWarns", "subTest", "fail")


def conjuncts(test: ast.expr) -> list[ast.expr]:
    """`a == 1 and b == 2` are two assertions: one that holds would hide the other."""
    if isinstance(test, ast.BoolOp) and isinstance(test.op, ast.And):
        return [part for value in test.values for part in conjuncts(value)]
    return [test]


def expected_side(test: ast.expr) -> ast.expr | None:
    """The side of an equation that says what is expected: the one with a literal, else the right one."""
    if not isinstance(test, ast.Compare) or len(test.ops) != 1 or not isinstance(test.ops[0], ast.Eq):
        return None
    if literals_in(test.left) and not literals_in(test.comparators[0]):
        return test.left
    return test.comparators[0]


def literals_in(node: ast.expr) -> list[ast.Constant]:
    """The literals that make up a value: of a display, of a sign, of arguments; none where it has anything else."""
    if isinstance(node, ast.Constant):
        return [] if node.value is Ellipsis else [node]
    if isinstance(node, ast.List | ast.Tuple | ast.Set):
        parts: list[ast.expr] = list(node.elts)
    elif isinstance(node, ast.Dict):
        parts = list(node.values)
    elif isinstance(node, ast.UnaryOp):
        parts = [node.operand]
    elif isinstance(node, ast.Call):
        parts = list(node.args)
        if not isinstance(node.func, ast.Name) or node.func.id not in ("set", "frozenset", "tuple", "list"):
            return []
    else:
        return []
    return [leaf for part in parts for leaf in literals_in(part)]


def wrong_literal(leaf: ast.Constant) -> str:
    value = leaf.value
    if isinstance(value, bool) or value is None:
        return repr(not value)
    if isinstance(value, int | float | complex):
        # A large float is its own neighbour; 1e999 is written for infinity.
        return repr(value + 1 if value + 1 != value else -value).replace("inf", "1e999")
    if isinstance(value, bytes):
        return repr(value + b"q")
    assert isinstance(value, str)
    # In the middle: beginnings and ends are what `in` and a strip() overlook.
    half = len(value) // 2
    return repr(value[:half] + "q" + value[half:])


def is_over_items(test: ast.expr) -> bool:
    """all(x > 0 for x in y), any(…)"""
    if not isinstance(test, ast.Call) or not isinstance(test.func, ast.Name) or test.func.id not in ("all", "any"):
        return False
    return len(test.args) == 1 and isinstance(test.args[0], ast.GeneratorExp | ast.ListComp)


def calls_one_of(node: ast.expr, names: tuple[str, ...]) -> bool:
    if not isinstance(node, ast.Call):
        return False
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    return name in names


def is_assertion(call: ast.Call) -> bool:
    """self.assertEqual(…), np.testing.assert_array_equal(…), but not a context manager or a mock's method."""
    function = call.func
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    return name.startswith("assert") and not calls_one_of(call, QUIET_CALLS)
