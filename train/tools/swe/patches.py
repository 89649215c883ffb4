"""A model's reply as a patch: found, refused where it touches what it must not, and applied.

<think>…</think> The upper bound is returned as the lower one.
```diff
--- a/calc/core.py
+++ b/calc/core.py
@@ -8,3 +8,3 @@
     if x > hi:
-        return lo
+        return hi
     return x
```

extract_patch(reply) → "--- a/calc/core.py\n+++ b/…"      the last diff of the reply, without its thinking
"""

from __future__ import annotations

import fnmatch
import re
import subprocess
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from answer_text import after_thinking

MAX_PATCH = 1_000_000
"""Characters. The largest gold patch of SWE-bench has 0.3 million."""

PROTECTED = (
    # Tests, and what says how tests are run.
    *("test/*", "tests/*", "testing/*", "*/test/*", "*/tests/*", "*/testing/*"),
    *("test_*.py", "*/test_*.py", "*_test.py", "*/*_test.py", "conftest.py", "*/conftest.py"),
    *("pytest.ini", ".pytest.ini", "*/pytest.ini", "tox.ini", "setup.cfg", "pyproject.toml", "noxfile.py"),
    # What Python runs or loads unasked.
    *("sitecustomize.py", "*/sitecustomize.py", "usercustomize.py", "*/usercustomize.py"),
    *("*.pth", "*.so", "*.pyc", "*.pyd", "*.egg-link", "*.dist-info/*", "*.egg-info/*"),
    # What git reads.
    *(".git", ".git/*", "*/.git", "*/.git/*", ".gitattributes", "*/.gitattributes", ".gitmodules"),
)
"""Paths that a patch may only touch where the gold patch touches them too."""

_FENCE = re.compile(r"^[ \t]*(`{3,}|~{3,})[^\n`]*\n(.*?)^[ \t]*\1[ \t]*$", re.S | re.M)
_BEGIN = re.compile(r"^(?:diff --git |--- (?!-))", re.M)
_MODE = re.compile(r"^(?:new file mode|new mode|old mode|deleted file mode|index \S+\.\.\S+) (\d{6})$", re.M)
_BINARY = re.compile(r"^(?:GIT binary patch|Binary files )", re.M)
_NEEDED_BY_PYTEST = ("pytest", "_pytest", "pluggy", "iniconfig", "py")


class PatchError(Exception):
    """What is wrong with a patch, in a few words: the answer's fault."""


def extract_patch(reply: str) -> str:
    """The last diff of a reply, or "" where it has none."""
    text = (after_thinking(reply) or "").replace("\r\n", "\n")
    blocks = [match[2] for match in _FENCE.finditer(text) if _BEGIN.search(match[2])]
    if blocks:
        text = blocks[-1]
    begin = _BEGIN.search(text)
    if begin is None:
        return ""
    patch = text[begin.start() :]
    return patch if patch.endswith("\n") else patch + "\n"


def patched_paths(patch: str) -> set[str]:
    """Every path that a patch names. Raises PatchError for one that no honest patch to a text file has."""
    if len(patch) > MAX_PATCH:
        raise PatchError(f"a patch of {len(patch)} characters")
    try:
        patch.encode()
    except UnicodeEncodeError as error:
        raise PatchError("half a character (a lone surrogate)") from error
    if _BINARY.search(patch):
        raise PatchError("a binary patch")
    for mode in _MODE.findall(patch):
        if mode not in ("100644", "100755"):
            raise PatchError(f"file mode {mode}: a link or a submodule")
    paths = set(_named(patch))
    for path in paths:
        if path.startswith(("/", "~")) or ".." in PurePosixPath(path).parts or not path.isprintable():
            raise PatchError(f"the path {path!r}")
    return paths


def _named(patch: str) -> Iterable[str]:
    for line in patch.splitlines():
        if line.startswith(("--- ", "+++ ")):
            path = _unquoted(line[4:].split("\t")[0].strip())
            if path != "/dev/null":
                yield re.sub(r"^[ab]/", "", path)
        elif match := re.match(r"(?:rename|copy) (?:from|to) (.+)", line):
            yield _unquoted(match[1])
        elif match := re.match(r"diff --git (\"?)a/(.+?)\1 \1b/(.+?)\1$", line):
            yield from (_unquoted(match[2]), _unquoted(match[3]))


def _unquoted(path: str) -> str:
    """git quotes a path of unusual letters as C does: such a path is not printable, and so refused."""
    if len(path) > 1 and path[0] == path[-1] == '"':
        try:
            return path[1:-1].encode("latin-1", "backslashreplace").decode("unicode_escape")
        except UnicodeDecodeError as error:
            raise PatchError(f"the path {path}") from error
    return path


def is_protected(path: str) -> bool:
    return any(fnmatch.fnmatchcase(path.lower(), pattern) for pattern in PROTECTED)


def check_patch(patch: str, gold: str) -> set[str]:
    """The paths of a patch. Raises PatchError where it may not touch one of them."""
    paths = patched_paths(patch)
    if not paths:
        raise PatchError("no file is named")
    allowed = patched_paths(gold)
    for path in sorted(paths - allowed):
        if is_protected(path):
            raise PatchError(f"the protected file {path}")
        if set(PurePosixPath(path).with_suffix("").parts) & set(_NEEDED_BY_PYTEST):
            raise PatchError(f"a file in the place of pytest's own: {path}")
    return paths


def apply_patch(tree: Path, patch: str) -> None:
    """Apply a patch to a folder, as `git apply` does; line numbers may be off. Raises PatchError where it does not fit.

    A folder is written to only below itself: `patched_paths` has refused the paths that would not be.
    """
    for more in ([], ["--recount"], ["--recount", "--unidiff-zero"]):
        command = ["git", "-c", "core.symlinks=false", "apply", "--whitespace=nowarn", *more, "-"]
        done = subprocess.run(command, cwd=tree, env=git_environment(tree), input=patch.encode(), capture_output=True)
        if done.returncode == 0:
            return
    raise PatchError(f"it does not apply: {done.stderr.decode(errors='replace').strip()[:300]}")


def git_environment(tree: Path) -> dict[str, str]:
    """Neither the user's settings of git nor a repository around the folder count."""
    return {
        "PATH": "/usr/bin:/bin:/usr/local/bin",
        "HOME": "/nonexistent",
        "LC_ALL": "C.UTF-8",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CEILING_DIRECTORIES": str(tree.resolve().parent),
    }
