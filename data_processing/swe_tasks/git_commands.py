"""git's plumbing on a bare repository, deaf to the user's settings: the same files get the same hashes anywhere.

tree = git(["rev-parse", "main^{tree}"], git_dir)
commit = commit_of(git_dir, tree, "the text", parent=None)       # always this author, always this date
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from env_adapter import EnvError

_AUTHOR = {
    f"GIT_{role}_{part}": value
    for role in ("AUTHOR", "COMMITTER")
    for part, value in {
        "NAME": "veritas-rl",
        "EMAIL": "veritas-rl@example.invalid",
        "DATE": "2000-01-01T00:00:00+0000",
    }.items()
}
_TAMED = (
    "-c",
    "core.hooksPath=/dev/null",
    "-c",
    "core.autocrlf=false",
    "-c",
    "gc.auto=0",
    "-c",
    "core.quotePath=false",
)


def git(arguments: Sequence[str], git_dir: Path, places: Mapping[str, str] | None = None, stdin: bytes = b"") -> bytes:
    """What git prints. `places` are more of its variables, such as GIT_INDEX_FILE. Raises EnvError when it fails."""
    done = subprocess.run(
        ["git", *_TAMED, *arguments],
        env={
            "PATH": os.environ.get("PATH", os.defpath),
            "LC_ALL": "C",
            "TZ": "UTC",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_DIR": str(git_dir.absolute()),
            **_AUTHOR,
            **(places or {}),
        },
        input=stdin,
        capture_output=True,
    )
    if done.returncode:
        said = " ".join(done.stderr.decode(errors="replace").split())[-400:]
        raise EnvError(f"git {' '.join(arguments)} failed in {git_dir}: {said}")
    return done.stdout


def line(arguments: Sequence[str], git_dir: Path, places: Mapping[str, str] | None = None, stdin: bytes = b"") -> str:
    """What git prints, as one line without its end."""
    return git(arguments, git_dir, places, stdin).decode(errors="replace").strip()


def commit_of(git_dir: Path, tree: str, message: str) -> str:
    """The hash of a commit of a tree, without a parent."""
    return line(["commit-tree", tree], git_dir, stdin=message.encode())


def diff_between(git_dir: Path, before: str, after: str, paths: Sequence[str] = ()) -> str:
    """The patch from one commit or tree to another, of these paths only, as `git diff` prints it.

    Raises EnvError for one that is not UTF-8.
    """
    options = ["-p", "-r", "--no-renames", "--no-color", "--no-ext-diff", "--no-textconv", "--full-index"]
    patch = git(["diff-tree", *options, before, after, "--", *paths], git_dir, {"GIT_LITERAL_PATHSPECS": "1"})
    try:
        return patch.decode()
    except UnicodeDecodeError as error:
        raise EnvError(f"the patch of {', '.join(paths)} at {after} is not UTF-8: {error}") from error


def with_file(git_dir: Path, commit: str, path: str, text: str, scratch: Path) -> str:
    """The hash of a commit's tree in which one file has another text. `scratch` is an empty directory."""
    places = {"GIT_INDEX_FILE": str(scratch / "index")}
    blob = line(["hash-object", "-w", "--stdin"], git_dir, stdin=text.encode())
    mode = line(["ls-tree", commit, "--", path], git_dir, {"GIT_LITERAL_PATHSPECS": "1"}).split()[0]
    git(["read-tree", commit], git_dir, places)
    git(["update-index", "--cacheinfo", f"{mode},{blob},{path}"], git_dir, places)
    return line(["write-tree"], git_dir, places)
