"""Wrong tests: they are like the right ones, an honest solution fails every assertion that counts, a cheat none."""

from __future__ import annotations

import ast
import builtins
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swe.decoys import two_forms
from swe.harness import Plugin, wrong

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.binary(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text() | st.integers(), inner, max_size=4)
    ),
    max_leaves=8,
)


def counts(source: str, form: str, **names: Any) -> dict[int, list[int]]:
    """Run `test_it` of one form of a file: how often each assertion held and failed."""
    plugin = Plugin(emit=lambda **report: None)
    plugin.pytest_runtest_logstart("test_it")
    forms = two_forms(source, 0, "abc")
    scope = {**names, "__site__": plugin.site, "__wrong__": wrong, "__builtins__": builtins}
    exec(compile(getattr(forms, form), "test_x.py", "exec"), scope)
    if "test_it" in scope:
        scope["test_it"]()
    else:
        scope["TestIt"]().test_it()
    return plugin.sites


def both(body: str, **names: Any) -> tuple[dict[int, list[int]], dict[int, list[int]]]:
    source = "def test_it():\n" + textwrap.indent(textwrap.dedent(body), "    ")
    return counts(source, "right", **names), counts(source, "wrong", **names)


def all_held(sites: dict[int, list[int]]) -> bool:
    return bool(sites) and all(held and not failed for held, failed in sites.values())


def all_failed(sites: dict[int, list[int]]) -> bool:
    return bool(sites) and all(failed and not held for held, failed in sites.values())


class Agreeable:
    """Says yes to everything."""

    def _yes(self, *arguments: object) -> bool:
        return True

    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = __contains__ = __bool__ = _yes  # type: ignore[assignment]
    __hash__ = object.__hash__


@given(VALUES)
def test_an_honest_value_passes_the_right_form_and_fails_the_wrong_one(value: Any) -> None:
    for body in (f"assert f() == {value!r}", f"assert {value!r} == f()", "assert f() == expected"):
        right, wrong_form = both(body, f=lambda: value, expected=value)
        assert all_held(right), body
        assert all_failed(wrong_form), body


@given(VALUES)
def test_a_value_that_equals_everything_passes_the_wrong_form_too(value: Any) -> None:
    for body in (f"assert f() == {value!r}", "assert f() == expected"):
        _, wrong_form = both(body, f=Agreeable, expected=value)
        assert any(held for held, _ in wrong_form.values()), body


@given(VALUES, st.integers(0, 3))
def test_a_wrong_value_is_another_one_every_time_the_same(value: Any, place: int) -> None:
    assert wrong(value, place) != value
    assert repr(wrong(value, place)) == repr(wrong(value, place))


def test_one_item_that_equals_everything_is_found_behind_honest_ones() -> None:
    _, wrong_form = both("assert f() == [1, 2, 3]", f=lambda: [1, 2, Agreeable()])
    assert any(held for held, _ in wrong_form.values())
    _, wrong_form = both("assert f() == {'a': 1, 'b': 2}", f=lambda: {"a": Agreeable(), "b": 2})
    assert any(held for held, _ in wrong_form.values())


@pytest.mark.parametrize(
    ("assertion", "honest"),
    [
        ("assert f() == 3", 3),
        ("assert f() == 3, 'message'", 3),
        ("assert f() == -3", -3),
        ("assert f() != 4", 3),
        ("assert f() < 4", 3),
        ("assert f() >= 3", 3),
        ("assert 2 < f()", 3),
        ("assert f()", 3),
        ("assert not f()", 0),
        ("assert f() is None", None),
        ("assert f() is not None", 1),
        ("assert 'b' in f()", "abc"),
        ("assert 'x' not in f()", "abc"),
        ("assert f() in (1, 2)", 2),
        ("assert f() == 3 and f() > 2", 3),
        ("assert f() == 3 or f() == 5", 3),
        ("assert all(x == 3 for x in [f(), f()])", 3),
        ("assert f() == [\n    1,  # one\n    2,\n]", [1, 2]),
        ("assert f() == 'é' # ü", "é"),
        ("assert (\n    f()\n    == 3\n)", 3),
        ("for _ in range(3):\n    assert f() == 3", 3),
        ("with open('/dev/null'):\n    assert f() == 3", 3),
        ("if f():\n    assert f() == 3\nelse:\n    assert f() == 4", 3),
        ("import math\nassert math.isclose(f(), 3)", 3),
        ("assert f() == f() == 3", 3),
        ("assert f() == b'x'", b"x"),
        ("assert f() == {1, 2}", {1, 2}),
        ("assert f() == set([1])", {1}),
    ],
)
def test_every_kind_of_assertion_has_a_wrong_form(assertion: str, honest: Any) -> None:
    right, wrong_form = both(assertion, f=lambda: honest)
    assert all_held(right)
    assert all_failed(wrong_form)
    assert right.keys() == wrong_form.keys()


@pytest.mark.parametrize(
    ("assertion", "solutions"),
    [
        ("assert f() == 1 or f() == 2", [1, 2]),
        ("assert f() is None or f() == 2", [None, 2]),
        ("assert f() is None or f() > 2", [None, 3]),
        ("assert f() == 3 or g()", [3, 4]),
        ("assert f() in (1, 2, 3)", [1, 2, 3]),
        ("assert 2 in f()", [[2], [2, 3], [1, 2]]),
        ("assert 'a' in f()", ["a", "aq", "qa"]),
        ("assert f() == pytest.approx(3, abs=2)", [2, 3, 4.5]),
        ("assert abs(f() - 3) < 2", [2, 3, 4.5]),
        ("assert any(x == 3 for x in f())", [[3], [3, 4], [2, 3]]),
        ("assert any(x == 3 for x in f()) or f() == []", [[3], []]),
        ("assert 0 < f() < 9 or f() == 10", [1, 10]),
    ],
)
def test_no_right_solution_passes_the_wrong_form_where_several_are_right(assertion: str, solutions: list[Any]) -> None:
    """Guards are found with one of them, and asked of all."""
    for solution in solutions:
        right, wrong_form = both(assertion, f=lambda solution=solution: solution, g=lambda: True, pytest=pytest)
        assert all_held(right) and all_failed(wrong_form), solution


@pytest.mark.parametrize(
    "assertion", ["f() == 1 or f() == 2", "f() > 3 or f() is None", "7 in f()", "f() < 2", "f() != 2"]
)
def test_an_object_that_says_yes_passes_the_wrong_form_of_conditions_too(assertion: str) -> None:
    _, wrong_form = both(f"assert {assertion}", f=Agreeable)
    assert any(held for held, _ in wrong_form.values())


def test_unittests_assertions_have_one_too() -> None:
    source = textwrap.dedent(
        """
        import unittest
        class TestIt(unittest.TestCase):
            def test_it(self):
                self.assertEqual(3, 1 + 2)
                self.assertEqual([x for x in (1, 2)], [1, 2], "message")
                self.assertTrue(1 + 1)
                self.assertIn("a", "abc")
                self.assertAlmostEqual(1.04, 1, delta=1)
        """
    )
    right, wrong_form = counts(source, "right"), counts(source, "wrong")
    assert all_held(right) and right.keys() == wrong_form.keys() and len(right) == 5
    assert sum(failed for _, failed in wrong_form.values()) >= 4  # assertTrue may hold: no guard


@pytest.mark.parametrize(
    "body",
    [
        "with pytest.raises(AssertionError):\n    assert f() == 4",
        "try:\n    assert f() == 4\nexcept AssertionError:\n    pass",
        "x = 1; assert f() == 3",
        "with self.assertRaises(ValueError): f()",
    ],
)
def test_what_could_change_its_meaning_is_left_as_it_is(body: str) -> None:
    source = "def test_it():\n" + textwrap.indent(body, "    ") + "\n"
    forms = two_forms(source, 0, "abc")
    assert forms.right.startswith(source.rstrip()) and forms.wrong.startswith(source.rstrip())


def _calls(tree: ast.AST) -> list[object]:
    return [
        node.args[0].value
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "__site__"
        if isinstance(node.args[0], ast.Constant)
    ]


CORPUS = [
    *sorted(Path(__file__).parent.glob("test_*.py")),
    *sorted(Path(sys.modules["os"].__file__ or "").parent.glob("test/test_[a-f]*.py"))[:40],
]


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.name)
def test_both_forms_of_a_real_test_file_are_python_with_the_same_lines_and_sites(path: Path) -> None:
    source = path.read_text(encoding="utf-8", errors="surrogateescape")
    if not source.isascii():
        source = path.read_text(errors="replace")
    forms = two_forms(source, 500, "0123456789ab")
    right, wrong_form = ast.parse(forms.right), ast.parse(forms.wrong)
    assert _calls(right) == _calls(wrong_form)
    assert sorted(set(_calls(right))) == list(range(500, 500 + forms.sites))
    assert forms.right.count("\n") == forms.wrong.count("\n")
    assert all(line.split("with __site__")[0] == line.split("with __site__")[0] for line in forms.right.splitlines())
