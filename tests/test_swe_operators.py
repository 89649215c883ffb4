"""Small bugs put into code: each is one place, parses, and means something else."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swe_tasks.mutants import list_mutants
from swe_tasks.operators import changes_meaning, find_mutations

ROOT = Path(__file__).resolve().parent.parent
FILES = sorted([*(ROOT / "data_processing").rglob("*.py"), *(ROOT / "train" / "tools").glob("*.py")])

EXAMPLES = [
    ("comparison", "if a < b:\n    c()", "if a <= b:\n    c()"),
    ("comparison", "return (a) not in (b)", "return (a) in (b)"),
    ("comparison", "return a is None", "return a is not None"),
    ("arithmetic", "return a + (b)", "return a - (b)"),
    ("arithmetic", "return 'é' + a, 'é', b * c", "return 'é' + a, 'é', b // c"),
    ("and_or", "return a and b", "return a or b"),
    ("not", "return not a", "return a"),
    ("constant", "return a[0]", "return a[1]"),
    ("constant", "return a(True)", "return a(False)"),
    ("argument_order", "a(b, c + 1)", "a(c + 1, b)"),
    ("keyword_argument", "a(b, c=1)", "a(b)"),
    ("keyword_argument", "a(c=1, d=2)", "a(d=2)"),
    ("slice_bound", "return a[1:]", "return a[:]"),
    ("condition", "if a or b:\n    c()", "if not (a or b):\n    c()"),
    ("branch_order", "if a:\n    b()\nelse:\n    c()", "if a:\n    c()\nelse:\n    b()"),
    ("branch", "if a:\n    b()\nreturn c", "return c"),
    ("branch", "if a:\n    b()\nelif d:\n    c()", "if a:\n    pass\nelif d:\n    c()"),
    ("return_value", "return (a)", "return (None)"),
    ("assignment", "a = 1\nreturn a", "return a"),
    ("assignment", "if a:\n    b += 1\nreturn b", "if a:\n    pass\nreturn b"),
    ("assignment", "a = 1; return a", "pass; return a"),
    ("call", "a()\nreturn b", "return b"),
]


def function(body):
    return "def f(a, b):\n" + textwrap.indent(body, "    ") + "\n"


@pytest.mark.parametrize(("operator", "before", "after"), EXAMPLES)
def test_each_operator_does_what_its_name_says(operator, before, after):
    source = function(before)
    mutants = [mutation.apply(source) for mutation in find_mutations(source) if mutation.operator == operator]
    assert function(after) in mutants


def test_every_operator_has_an_example():
    found = {mutation.operator for path in FILES for mutation in find_mutations(path.read_text(encoding="utf-8"))}
    assert found == {operator for operator, _, _ in EXAMPLES}


@settings(max_examples=150)
@given(st.sampled_from(FILES), st.data())
def test_a_mutant_of_real_code_differs_in_one_place_and_parses_to_something_else(path, data):
    source = path.read_text(encoding="utf-8")
    mutations = find_mutations(source)
    if not mutations:
        return
    mutation = data.draw(st.sampled_from(mutations))
    mutant = mutation.apply(source)
    whole, changed = source.encode(), mutant.encode()
    assert changed[: mutation.start] == whole[: mutation.start]
    assert changed.endswith(whole[mutation.end :])
    assert len(changed) == len(whole) - (mutation.end - mutation.start) + len(mutation.replacement.encode())
    assert changes_meaning(source, mutant) or _swaps_equals(mutation, whole)


def _swaps_equals(mutation, whole):
    return whole[mutation.start : mutation.end].decode() == mutation.replacement


@settings(max_examples=100)
@given(st.text(alphabet="aé𝒳 \n", max_size=6), st.sampled_from(["\n", "\r\n"]))
def test_letters_of_several_bytes_and_line_ends_move_no_place(text, end):
    source = end.join(["def f(a):", f"    b = {text.replace(chr(10), ' ')!r}, a < 1", "    return b", ""])
    (mutation,) = [mutation for mutation in find_mutations(source) if mutation.operator == "comparison"]
    assert mutation.apply(source) == source.replace("a < 1", "a <= 1")


@pytest.mark.parametrize(
    "source",
    [
        "LIMIT = 3 + 4\nif LIMIT < 2:\n    LIMIT = 5\n",
        "def f(a: int = None) -> 'tuple[3]':\n    return\n",
        "def f(a):\n    '''3 < 4'''\n    return\n",
        "def f(a):\n    f'{a + 1:>{3}}'\n",
        "@cache(3)\ndef f(a):\n    return\n",
        "def f(:\n    return 1 + 2\n",
        "def f():\n    return 1 + 2\0\n",
    ],
)
def test_what_is_outside_functions_or_no_behaviour_is_left_alone(source):
    assert find_mutations(source) == []


def test_mutations_know_their_line_and_function():
    source = "class A:\n    def f(self):\n        def g(x):\n            return x + 1\n        return g\n"
    (mutation,) = [mutation for mutation in find_mutations(source) if mutation.operator == "arithmetic"]
    assert (mutation.line, mutation.function) == (4, "A.f.g")


def test_the_order_of_mutants_depends_on_the_seed_alone_and_kinds_take_turns():
    texts = {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in FILES[:8]}
    first = list_mutants(texts, 3)
    assert first == list_mutants(dict(reversed(texts.items())), 3)
    assert first != list_mutants(texts, 4)
    assert sorted(map(repr, first)) == sorted(map(repr, list_mutants(texts, 4)))
    operators = [mutant.mutation.operator for mutant in first]
    number = len(set(operators))
    assert len(set(operators[:number])) == number
