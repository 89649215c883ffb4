"""swe/prompts.py and swe/excerpts.py: what the model sees of a repository, and what it must not."""

from __future__ import annotations

import ast
import difflib
import json
import random
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from env_adapter import EnvError
from swe.excerpts import changed_lines, choose, fenced, lines_of, pieces, rendered
from swe.prompts import CHARACTERS_PER_TOKEN, messages, shown_paths
from swe.repos import RepoCache
from swe.rows import SweRow
from swe_toy import git, shared_toy_tasks

TASKS = 24
LONG_FILE = "".join(
    f'def work_{number}(value):\n    """Step {number}."""\n    return value * {number} + {number % 7}\n\n\n'
    for number in range(1, 200)
)


@pytest.fixture(scope="module")
def repos() -> RepoCache:
    return RepoCache(shared_toy_tasks(TASKS) / "repos", fetch=False)


def toy_row(number: int) -> SweRow:
    file = shared_toy_tasks(TASKS) / f"task_{number}.json"
    return SweRow.from_dict(json.loads(file.read_text()), str(file))


def seen(chat: list[dict[str, str]]) -> str:
    return "\n".join(message["content"] for message in chat)


@pytest.fixture(scope="module")
def long_task(tmp_path_factory: pytest.TempPathFactory) -> tuple[SweRow, RepoCache]:
    """A long file with its bug in work_120, a copy without it, and tests."""
    directory = tmp_path_factory.mktemp("long")
    tree = directory / "long"
    right = "    return value * 120 + 1\n"
    assert LONG_FILE.count(right) == 1
    wrong = LONG_FILE.replace(right, "    return value + 120 * 1\n")
    files = {
        "pkg/work.py": wrong,
        "pkg/near.py": LONG_FILE.replace("work_", "near_").replace(" * ", " - "),
        "pkg/deep/far.py": LONG_FILE.replace("work_", "far_").replace(" * ", " ** "),
        "build/lib/pkg/work.py": LONG_FILE,
        "tests/test_work.py": "from pkg.work import work_120\n\n\ndef test_it():\n    assert work_120(2) == 241\n\n",
        "checks/of_work.py": "SECRET_TEST = 241\n" * 9,
        "conftest.py": "CONFTEST = 1\n" * 9,
        "README.rst": "READ ME\n" * 9,
    }
    for path, text in files.items():
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).write_text(text)
    git("init", "--quiet", "--initial-branch=main", cwd=tree)
    git("add", "--force", ".", cwd=tree)
    git("commit", "--quiet", "-m", "All", cwd=tree)
    git("clone", "--quiet", "--bare", str(tree), str(directory / "repos/long__task.git"), cwd=directory)
    patch = "".join(difflib.unified_diff(lines_of(wrong), lines_of(LONG_FILE), "a/pkg/work.py", "b/pkg/work.py"))
    row = {
        "instance_id": "long__task-1",
        "repo": "long/task",
        "base_commit": git("rev-parse", "HEAD", cwd=tree).strip(),
        "problem_statement": "Two is not worked on as it should be.",
        "patch": patch,
        "test_patch": "",
        "FAIL_TO_PASS": ["checks/of_work.py::test_it"],
        "PASS_TO_PASS": [],
        "hints_text": "HINT: multiply.",
    }
    return SweRow.from_dict(row, "here"), RepoCache(directory / "repos", fetch=False)


# --- the prompt


def test_the_issue_and_the_files_to_change_are_shown_as_they_are_at_that_commit(repos: RepoCache) -> None:
    for number in range(TASKS):
        row = toy_row(number)
        text = seen(messages(row, repos))
        assert row.problem_statement in text
        for path, lines in changed_lines(row.patch).items():
            source = repos.read_text(row.repo, row.base_commit, [path])[path]
            assert f"## {path}\n\n```python\n{source}```" in text and lines


def test_nothing_of_the_answer_is_shown(repos: RepoCache) -> None:
    for number in range(TASKS):
        row = toy_row(number)
        text = seen(messages(row, repos))
        base = "".join(repos.read_text(row.repo, row.base_commit, repos.paths(row.repo, row.base_commit)).values())
        added = [line[1:].strip() for line in row.patch.split("\n") if line.startswith("+") and line[:3] != "+++"]
        assert added and all(line not in text or line in base for line in added)
        for secret in ("test_", "hints", "mutation", "The line is to be", row.base_commit, row.instance_id):
            assert secret not in text


def test_hints_are_shown_to_those_who_ask_for_them(long_task: tuple[SweRow, RepoCache]) -> None:
    row, repos = long_task
    assert "HINT" not in seen(messages(row, repos))
    assert "# Comments\n\nHINT: multiply." in seen(messages(row, repos, include_hints=True))


@pytest.mark.parametrize("budget", [900, 1500, 4000, 60_000])
def test_tests_and_copies_without_the_bug_are_never_shown(long_task: tuple[SweRow, RepoCache], budget: int) -> None:
    row, repos = long_task
    text = seen(messages(row, repos, budget, distractors=9))
    assert "## pkg/work.py" in text and "return value + 120 * 1\n" in text
    for secret in ("build/lib", "return value * 120 + 1", "test_it", "SECRET_TEST", "CONFTEST", "READ ME"):
        assert secret not in text


@pytest.mark.parametrize("budget", [900, 1500, 4000, 8000])
def test_a_prompt_keeps_to_its_budget(long_task: tuple[SweRow, RepoCache], budget: int) -> None:
    row, repos = long_task
    length = len(seen(messages(row, repos, budget)))
    # What lies between pieces is named beside the budget.
    assert length <= budget * CHARACTERS_PER_TOKEN * 1.25
    assert length >= budget * CHARACTERS_PER_TOKEN * 0.6


def test_with_less_room_fewer_files_are_shown(long_task: tuple[SweRow, RepoCache]) -> None:
    row, repos = long_task
    counts = [seen(messages(row, repos, budget)).count("## pkg/") for budget in (900, 1800, 60_000)]
    assert counts == [1, 3, 3]
    assert seen(messages(row, repos, 60_000, distractors=0)).count("## pkg/") == 1


def test_a_long_issue_loses_its_middle(long_task: tuple[SweRow, RepoCache]) -> None:
    row, repos = long_task
    long = replace(row, problem_statement=f"BEGIN {'x' * 50_000} END")
    text = seen(messages(long, repos, 2000))
    assert "BEGIN" in text and " END" in text and "characters are left out]" in text
    assert len(text) < 2000 * CHARACTERS_PER_TOKEN * 1.25


def test_the_place_of_the_bug_is_not_told_by_the_order_of_the_files(repos: RepoCache) -> None:
    places = []
    for number in range(TASKS):
        row = toy_row(number)
        order = shown_paths(row, repos)
        places.append(order.index(next(iter(changed_lines(row.patch)))))
    assert len(set(places)) == 4, places


def test_of_a_long_file_other_pieces_are_shown_too(long_task: tuple[SweRow, RepoCache]) -> None:
    row, repos = long_task
    place = []
    for number in range(30):
        text = seen(messages(replace(row, instance_id=f"long__task-{number}"), repos, 1500))
        shown = [name for name in range(1, 200) if f"def work_{name}(" in text]
        assert 120 in shown and len(shown) >= 5
        place.append(shown.index(120) / (len(shown) - 1))
    assert min(place) < 0.5 < max(place), "neither first nor last nor in the middle"


def test_a_task_without_any_file_is_a_fault_of_ours(long_task: tuple[SweRow, RepoCache]) -> None:
    row, repos = long_task
    with pytest.raises(EnvError, match=r"long__task-1: commit .* has no file that could be shown"):
        messages(replace(row, patch="--- /dev/null\n+++ b/new.py\n@@ -0,0 +1 @@\n+x\n"), repos, distractors=0)


# --- pieces


def test_functions_methods_and_what_lies_between_are_pieces() -> None:
    text = "import re\n\n# of f\n@cache\ndef f():\n    return 1\n\n"
    text += "class C:\n    a = 1\n    def g(self):\n        pass\nX = 1\n"
    assert [(piece.first, piece.last, piece.name) for piece in pieces(text, "x.py")] == [
        (1, 2, ""),
        (3, 7, "f"),
        (8, 9, "C"),
        (10, 11, "C.g"),
        (12, 12, ""),
    ]


@given(st.text(alphabet="a \n\x0c\r#:()", max_size=400) | st.sampled_from([LONG_FILE, LONG_FILE[:-1], ""]))
def test_pieces_are_all_lines_in_order(text: str) -> None:
    for path in ("x.py", "x.txt"):
        cut = pieces(text, path)
        lines = [line for piece in cut for line in range(piece.first, piece.last + 1)]
        assert lines == list(range(1, len(lines_of(text)) + 1))
    assert "".join(lines_of(text)) == text


def test_real_files_are_cut_into_pieces_of_few_lines() -> None:
    for file in (Path(ast.__file__), Path(difflib.__file__), Path(random.__file__)):
        text = file.read_text()
        cut = pieces(text, file.name)
        assert [piece.first for piece in cut][1:] == [piece.last + 1 for piece in cut][:-1]
        assert max(piece.last - piece.first + 1 for piece in cut) <= 70
        whole = rendered(file.name, text, cut, cut)
        assert whole == f"## {file.name}\n\n{fenced(text, 'python')}"


@given(
    needed=st.sets(st.integers(1, 900), min_size=1, max_size=5), room=st.integers(0, 20_000), seed=st.integers(0, 99)
)
def test_what_is_needed_is_chosen_and_the_room_is_kept(needed: set[int], room: int, seed: int) -> None:
    cut = pieces(LONG_FILE, "x.py")
    order = {piece: random.Random(f"{seed} {piece.first}").random() for piece in cut}
    chosen = choose(cut, LONG_FILE, needed, room, order.__getitem__)
    shown = {line for piece in chosen for line in range(piece.first, piece.last + 1)}
    assert needed <= shown
    lines = lines_of(LONG_FILE)
    least = {piece for piece in cut if needed & set(range(piece.first, piece.last + 1))}
    assert sum(len(lines[line - 1]) for line in shown) <= max(room, 0) or set(chosen) == least
    text = rendered("x.py", LONG_FILE, cut, chosen)
    assert all(lines[line - 1] in text for line in needed)


@given(st.text(alphabet="`ab\n"))
def test_a_fence_is_not_closed_by_what_it_holds(text: str) -> None:
    block = fenced(text, "diff").split("\n")
    fence = block[-1]
    assert set(fence) == {"`"} and block[0] == f"{fence}diff"
    assert all(not line.startswith(fence) for line in block[1:-1])


@given(
    old=st.lists(st.sampled_from("abc"), max_size=30),
    new=st.lists(st.sampled_from("abc"), max_size=30),
    context=st.integers(0, 3),
)
def test_the_lines_that_a_patch_changes_are_found(old: list[str], new: list[str], context: int) -> None:
    before, after = [f"{line}\n" for line in old], [f"{line}\n" for line in new]
    patch = "".join(difflib.unified_diff(before, after, "a/x y.py", "b/x y.py", n=context))
    wanted = set()
    for tag, first, last, _, _ in difflib.SequenceMatcher(None, before, after).get_opcodes():
        if tag in ("replace", "delete"):
            wanted |= set(range(first + 1, last + 1))
        if tag == "insert":
            wanted |= {first, first + 1} - {0}
    found = changed_lines(patch)
    assert (set(found) == {"x y.py"}) == (before != after)
    assert wanted <= found.get("x y.py", set())


def test_new_and_renamed_files_have_no_lines_to_show() -> None:
    patch = (
        "diff --git a/old.py b/new.py\nsimilarity index 100%\nrename from old.py\nrename to new.py\n"
        "--- /dev/null\n+++ b/made.py\n@@ -0,0 +1,2 @@\n+--- a\n++++ b\n"
        "--- a/x.py\n+++ b/x.py\n@@ -3 +3 @@\n-old\n\\ No newline at end of file\n+new\n"
    )
    assert changed_lines(patch) == {"old.py": set(), "x.py": {3, 4}}
