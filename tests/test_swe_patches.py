"""A reply as a patch: found in it, refused, applied."""

from __future__ import annotations

import difflib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swe.patches import PatchError, apply_patch, check_patch, extract_patch, is_protected, patched_paths

OLD = "def clamp(x, lo, hi):\n    if x > hi:\n        return lo\n    return x\n"
NEW = OLD.replace("return lo", "return hi")
LINES = st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029")))


def diff(old: str, new: str, path: str = "calc/core.py") -> str:
    pieces = difflib.unified_diff(old.splitlines(True), new.splitlines(True), f"a/{path}", f"b/{path}")
    return "".join(pieces)


GOLD = diff(OLD, NEW)


def applied(patch: str, tmp_path: Path, old: str = OLD) -> str:
    file = tmp_path / "calc/core.py"
    file.parent.mkdir(exist_ok=True)
    file.write_text(old)
    apply_patch(tmp_path, patch)
    return file.read_text()


@pytest.mark.parametrize(
    "reply",
    [
        GOLD,
        f"```diff\n{GOLD}```",
        f"```\n{GOLD}```\n",
        f"~~~patch\n{GOLD}~~~",
        f"<think>\n```diff\n--- a/x\n+++ b/x\n```\n</think>\nThe fix:\n\n```diff\n{GOLD}```\nThat is all.",
        f"First try:\n```diff\n{diff(OLD, OLD.upper())}```\nBetter:\n```diff\n{GOLD}```",
        f"Look:\n```python\nprint(1)\n```\n```diff\n{GOLD}```",
        GOLD.replace("\n", "\r\n"),
        f"Here is the diff.\n\n{GOLD}",
        f"```diff\n{GOLD.rstrip()}\n```",
        f"````diff\n{GOLD}````",
    ],
)
def test_the_last_diff_of_a_reply_is_its_patch(reply: str, tmp_path: Path) -> None:
    assert applied(extract_patch(reply), tmp_path) == NEW


@pytest.mark.parametrize("reply", ["", "no", "```python\nx = 1\n```", f"<think>{GOLD}", "---", "----\n+++", "- a\n+ b"])
def test_a_reply_without_a_diff_has_no_patch(reply: str) -> None:
    assert extract_patch(reply) == ""


def test_line_numbers_and_counts_may_be_off(tmp_path: Path) -> None:
    assert applied(GOLD.replace("@@ -1,4 +1,4 @@", "@@ -7,9 +7,2 @@"), tmp_path) == NEW


@given(LINES, LINES)
def test_a_diff_of_any_two_texts_applies(old: list[str], new: list[str]) -> None:
    import tempfile

    before, after = ("".join(line + "\n" for line in lines) for lines in (old, new))
    patch = diff(before, after)
    if not patch or not before or not after:
        return
    with tempfile.TemporaryDirectory() as folder:
        assert applied(patch, Path(folder), before) == after


@given(st.text())
def test_any_reply_can_be_read(reply: str) -> None:
    patch = extract_patch(reply)
    try:
        check_patch(patch, GOLD)
    except PatchError:
        pass
    else:
        assert patch


@pytest.mark.parametrize(
    ("patch", "paths"),
    [
        (GOLD, {"calc/core.py"}),
        ("diff --git a/x.py b/y.py\nrename from x.py\nrename to y.py\n", {"x.py", "y.py"}),
        ("--- /dev/null\n+++ b/new file.py\n@@ -0,0 +1 @@\n+x\n", {"new file.py"}),
        ("--- a/x.py\t2020-01-01\n+++ b/x.py\t2020-01-02\n", {"x.py"}),
        ('--- "a/caf\\303\\251.py"\n+++ /dev/null\n', {"cafÃ©.py"}),  # printable, though not what git means
    ],
)
def test_every_path_of_a_patch_is_seen(patch: str, paths: set[str]) -> None:
    assert patched_paths(patch) == paths


@pytest.mark.parametrize(
    "path",
    [
        "tests/test_core.py",
        "src/pkg/tests/data.json",
        "test_x.py",
        "a/x_test.py",
        "conftest.py",
        "a/b/CONFTEST.py",
        "pyproject.toml",
        "setup.cfg",
        "tox.ini",
        "pytest.ini",
        "a/sitecustomize.py",
        "x.pth",
        "a/x.so",
        ".git/hooks/pre-commit",
        "a/.gitattributes",
        ".gitmodules",
        "x.egg-info/entry_points.txt",
    ],
)
def test_what_decides_how_tests_run_is_protected(path: str) -> None:
    assert is_protected(path)
    patch = f"--- /dev/null\n+++ b/{path}\n@@ -0,0 +1 @@\n+x\n"
    with pytest.raises(PatchError):
        check_patch(patch, GOLD)
    assert check_patch(patch, patch) == {path}  # the accepted patch touches it too


@pytest.mark.parametrize(
    "path", ["calc/core.py", "README.md", "attest/x.py", "contest.py", "latest.py", "docs/setup.md"]
)
def test_ordinary_files_are_not(path: str) -> None:
    assert not is_protected(path)


@pytest.mark.parametrize(
    "patch",
    [
        "",
        "--- a/../x\n+++ b/../x\n",
        "--- a/x\n+++ /etc/passwd\n",
        "--- a/~/x\n+++ b/~/x\n",
        "diff --git a/l b/l\nnew file mode 120000\n--- /dev/null\n+++ b/l\n",
        "diff --git a/l b/l\nindex 0000000..1111111 120000\n--- a/l\n+++ b/l\n",
        "diff --git a/s b/s\nnew file mode 160000\n",
        "diff --git a/x b/x\nGIT binary patch\nliteral 1\n",
        "Binary files a/x and b/x differ\n--- a/x\n+++ b/x\n",
        "--- a/x\x01\n+++ b/x\x01\n",
        "--- a/pytest/x.py\n+++ b/pytest/x.py\n",
        "--- a/_pytest.py\n+++ b/_pytest.py\n",
        "--- a/x\n+++ b/x\n" + "+" * 1_000_001,
    ],
)
def test_a_patch_that_no_honest_change_needs_is_refused(patch: str) -> None:
    with pytest.raises(PatchError):
        check_patch(patch, GOLD)


def test_a_patch_is_applied_inside_of_its_folder_only(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    (tmp_path / "outside.py").write_text(OLD)
    (tree / "link").symlink_to(tmp_path)
    for path in ("../outside.py", "link/outside.py"):
        with pytest.raises(PatchError, match="does not apply"):
            apply_patch(tree, diff(OLD, NEW, path))
    assert (tmp_path / "outside.py").read_text() == OLD


def test_a_repository_around_the_folder_does_not_count(tmp_path: Path) -> None:
    import subprocess

    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    tree = tmp_path / "tree"
    tree.mkdir()
    assert applied(GOLD, tree) == NEW
