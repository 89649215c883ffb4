"""A package's source as a bare repository beside its tasks: of an sdist one commit, of a git repository its history.

    source = describe_source(Path("toolz-1.2.0.tar.gz"))         # repo "pypi/toolz", version "1.2.0", a digest
    repo = import_source(source, Path("tasks/repos"))            # tasks/repos/pypi__toolz.git, its branch main

The same sdist gives the same commit, by the same author on the same day, on any machine.
"""

from __future__ import annotations

import email.parser
import hashlib
import os
import re
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from env_adapter import SettingsError
from swe_tasks.git_commands import commit_of, git, line
from whole_dir import whole_dir

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_SDIST = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar")


@dataclass(frozen=True)
class Source:
    path: Path
    repo: str
    """owner/name"""
    version: str
    created_at: str
    """ISO 8601: of the commit, or of the newest file of an sdist."""
    commit: str
    """Of a git repository; "" for an sdist."""
    digest: str
    """SHA-256 of an sdist, or the commit: what the tasks depend on."""


@dataclass(frozen=True)
class SourceRepo:
    repo: str
    git_dir: Path
    commit: str
    """The source as it was given."""


def describe_source(path: Path, repo: str | None = None, revision: str = "HEAD") -> Source:
    """What a source is, without writing anything. `repo` is the owner/name to give it instead of the one found.

    Raises SettingsError for what is neither an sdist nor a git repository, and OSError.
    """
    if repo is not None and not (repo.count("/") == 1 and all(_NAME.fullmatch(part) for part in repo.split("/"))):
        raise SettingsError(f"--repo {repo!r}: write owner/name, of letters, digits and . _ -")
    if not path.exists():
        raise SettingsError(
            f"--source {path} does not exist: give a git repository, or an sdist (.tar.gz) of a package"
        )
    if path.is_dir():
        return _describe_repository(path, repo, revision)
    if not path.name.endswith(_SDIST) or not tarfile.is_tarfile(path):
        raise SettingsError(f"--source {path} is no sdist: give a .tar.gz, as `pip download --no-binary` gets it")
    return _describe_sdist(path, repo)


def import_source(source: Source, repos: Path) -> SourceRepo:
    """The repository with the source in it, made unless it is there. Raises SettingsError and EnvError."""
    git_dir = repos / f"{source.repo.replace('/', '__')}.git"
    if not git_dir.exists():
        with whole_dir(git_dir) as staging:
            git(["init", "--quiet", "--bare", "--initial-branch=main", "--template="], staging)
            if source.commit:
                _fetch(source, staging)
            else:
                _unpack(source, staging)
            git(["repack", "-adq"], staging)
            git(["pack-refs", "--all"], staging)
    for lock in git_dir.rglob("*.lock"):
        lock.unlink()  # of a run that was killed: the caller holds the lock on the whole output
    return SourceRepo(source.repo, git_dir, line(["rev-parse", "refs/heads/main"], git_dir))


def _describe_sdist(path: Path, repo: str | None) -> Source:
    with tarfile.open(path) as archive:
        newest = max((member.mtime for member in archive), default=0)
        top = _top_of(archive, path)
        try:
            info = archive.extractfile(f"{top}/PKG-INFO")
        except KeyError:
            info = None
        fields = email.parser.BytesHeaderParser().parse(info) if info else {}
    name, _, version = top.rpartition("-")
    name, version = fields.get("Name", name or top), fields.get("Version", version)
    created_at = datetime.fromtimestamp(int(newest), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Source(path, repo or f"pypi/{_safe(name)}", version, created_at, "", digest)


def _describe_repository(path: Path, repo: str | None, revision: str) -> Source:
    if _ask(path, "rev-parse", "--git-dir") is None:
        raise SettingsError(
            f"--source {path} is not a git repository: give one, or an sdist; `git init && git add . && git commit` "
            "makes one of a plain directory"
        )
    if inside := _ask(path, "rev-parse", "--show-prefix"):
        raise SettingsError(
            f"--source {path} is the directory {inside} of a git repository: give the repository itself"
        )
    commit = _ask(path, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
    if not commit:
        raise SettingsError(f"--revision {revision}: {path} has no such commit")
    created_at = _ask(path, "show", "-s", "--format=%cI", commit) or ""
    if repo is None:
        origin = _ask(path, "remote", "get-url", "origin") or ""
        found = re.search(r"github\.com[:/]([\w.-]+)/([\w.-]+?)(?:\.git)?/?$", origin)
        repo = "/".join(found.groups()) if found else f"local/{_safe(path.resolve().name.removesuffix('.git'))}"
    return Source(path, repo, "", created_at, commit, commit)


def _ask(path: Path, *arguments: str) -> str | None:
    """What git says of the user's repository, with the user's settings; None when it fails."""
    command = ["git", "-C", str(path), *arguments]
    done = subprocess.run(command, env=_user_environment(), capture_output=True, text=True, errors="replace")
    return None if done.returncode else done.stdout.strip()


def _user_environment() -> dict[str, str]:
    """With the user's settings, but not with the repository that a hook of git starts us in."""
    return {key: value for key, value in os.environ.items() if not key.startswith("GIT_")} | {"LC_ALL": "C"}


def _fetch(source: Source, git_dir: Path) -> None:
    refspec = f"{source.commit}:refs/heads/main"
    done = subprocess.run(
        ["git", "--git-dir", str(git_dir), "fetch", "--quiet", "--no-tags", str(source.path.resolve()), refspec],
        env=_user_environment(),
        capture_output=True,
        text=True,
        errors="replace",
    )
    if done.returncode:
        raise SettingsError(f"--source {source.path} cannot be read: {' '.join(done.stderr.split())[-400:]}")


def _unpack(source: Source, git_dir: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="veritas-sdist-") as scratch:
        try:
            with tarfile.open(source.path) as archive:
                top = _top_of(archive, source.path)
                _extract(archive, Path(scratch))
        except tarfile.TarError as error:
            raise SettingsError(
                f"--source {source.path} is broken, or unpacks out of its directory: {error}"
            ) from error
        places = {"GIT_WORK_TREE": f"{scratch}/{top}", "GIT_INDEX_FILE": f"{scratch}/.index"}
        git(["-C", f"{scratch}/{top}", "add", "--all", "--force", "."], git_dir, places)
        tree = line(["write-tree"], git_dir, places)
    commit = commit_of(git_dir, tree, f"{source.repo} {source.version}\n")
    git(["update-ref", "refs/heads/main", commit], git_dir)


def _extract(archive: tarfile.TarFile, folder: Path) -> None:
    """The files, and no links or devices: tarfile's own filter of them is not in every Python 3.11."""
    for member in archive:
        target = Path(os.path.normpath(folder / member.name))
        if not target.is_relative_to(folder):
            raise tarfile.TarError(f"{member.name} lies outside")
        if member.isfile() and (content := archive.extractfile(member)):
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content.read())
            target.chmod(0o755 if member.mode & 0o100 else 0o644)


def _top_of(archive: tarfile.TarFile, path: Path) -> str:
    """The one directory of an sdist. Raises SettingsError where there are several."""
    tops = {member.name.removeprefix("./").split("/")[0] for member in archive} - {"", "."}
    if len(tops) != 1:
        raise SettingsError(f"--source {path} holds {len(tops)} things at its top: an sdist holds one, NAME-VERSION")
    return tops.pop()


def _safe(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]", "_", name).lstrip(".-") or "package"
