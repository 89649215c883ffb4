"""The repositories that tasks are about, kept in one directory and read at any commit.

    tasks/repos/psf__requests.git         bare, as `git clone --bare` makes it and as a missing one is fetched
    tasks/repos/pallets__flask            a clone
    tasks/repos/pypi__toolz.bundle        made by `git bundle create … --all`; becomes pypi__toolz.git on first use

    repos = RepoCache(Path("tasks/repos"))
    repos.checkout("psf/requests", "a0df2cbb…", into=Path("/tmp/tree"))    # the files of that commit, and no history
    repos.read_text("psf/requests", "a0df2cbb…", ["setup.py"])             # {"setup.py": "#!/usr/bin/env python…"}

Several processes may use one directory: who needs a repository first fetches it, the others wait for it.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from env_adapter import EnvError
from whole_dir import TargetError, whole_dir

GITHUB = "https://github.com"

# A repository's own settings may name programs to run: not these.
_TAMED = (
    "-c",
    "core.hooksPath=/dev/null",
    "-c",
    "core.fsmonitor=false",
    "-c",
    "gc.auto=0",
    "-c",
    "advice.detachedHead=0",
)
_STALLED = ("-c", "http.lowSpeedLimit=1000", "-c", "http.lowSpeedTime=60")
_FILE_MODES = (b"100644", b"100755")


class RepoCache:
    """Repositories by `owner/name`. Every method raises EnvError where one cannot be had, and says what would help."""

    def __init__(self, directory: Path, fetch: bool = True, base_url: str = GITHUB) -> None:
        """`fetch`: a repository or a commit that is missing is fetched once from `base_url`/owner/name."""
        self.directory = Path(directory).expanduser().absolute()
        self.fetch = fetch
        self.base_url = base_url.rstrip("/")
        self._known: dict[tuple[str, str], Path] = {}

    def checkout(self, repo: str, commit: str, into: Path) -> None:
        """Write the files of one commit, and nothing of the history, into an existing empty directory.

        They are as `git checkout` writes them: what .gitattributes says of exporting does not count, since the tests
        may be among what a package leaves out.
        """
        if any(into.iterdir()):
            raise ValueError(f"{into} is not empty")
        git_dir = self.with_commit(repo, commit)
        with tempfile.TemporaryDirectory(prefix="veritas-index-") as scratch:
            place = {"GIT_INDEX_FILE": f"{scratch}/index", "GIT_WORK_TREE": str(into.absolute())}
            _git(["read-tree", commit], git_dir, place)
            _git(["checkout-index", "--all", "--force", "--quiet"], git_dir, place, cwd=into)

    def paths(self, repo: str, commit: str) -> list[str]:
        """The files of a commit, sorted; symbolic links and submodules are none."""
        listing = _git(["ls-tree", "-r", "-z", "--full-tree", commit], self.with_commit(repo, commit))
        entries = (entry.partition(b"\t") for entry in listing.split(b"\0") if entry)
        names = (name for head, _, name in entries if head.split(b" ", 1)[0] in _FILE_MODES)
        return sorted(os.fsdecode(name) for name in names)

    def read_text(self, repo: str, commit: str, paths: Iterable[str]) -> dict[str, str]:
        """The text of these files of a commit; one that is not there, or is not UTF-8 text, is left out."""
        # git would read ./x as a path of the directory that it was started in.
        wanted = [path for path in dict.fromkeys(paths) if "\n" not in path and not {".", ".."} & set(path.split("/"))]
        git_dir = self.with_commit(repo, commit)
        objects = b"".join(os.fsencode(f"{commit}:{path}\n") for path in wanted)
        answer = _git(["cat-file", "--batch"], git_dir, stdin=objects)
        texts = {}
        for path in wanted:
            head, _, answer = answer.partition(b"\n")
            fields = head.rsplit(b" ", 2)
            if len(fields) != 3 or not fields[2].isdigit():  # "… missing"
                continue
            data, answer = answer[: int(fields[2])], answer[int(fields[2]) + 1 :]
            if fields[1] == b"blob" and b"\0" not in data:
                try:
                    texts[path] = data.decode()
                except UnicodeDecodeError:
                    continue
        return texts

    def with_commit(self, repo: str, commit: str) -> Path:
        """The git directory of a repository that has the commit, fetched where it must be."""
        if git_dir := self._known.get((repo, commit)):
            return git_dir
        git_dir = self._find(repo) or self._get(repo)
        if not _has_commit(git_dir, commit):
            self._get_commit(repo, commit, git_dir)
        self._known[repo, commit] = git_dir
        return git_dir

    def _find(self, repo: str) -> Path | None:
        place = self.directory / repo.replace("/", "__")
        for git_dir in (Path(f"{place}.git"), place / ".git", place):
            if (git_dir / "HEAD").is_file() and (git_dir / "objects").is_dir():
                return git_dir
        return None

    def _get(self, repo: str) -> Path:
        target = self.directory / f"{repo.replace('/', '__')}.git"
        bundle = target.with_suffix(".bundle")
        if not bundle.is_file() and not self.fetch:
            raise EnvError(
                f"repository {repo} is not in {self.directory}: run `git clone --bare {self._url(repo)} {target}`, "
                f"put {target.stem} or {bundle.name} there, or allow fetching"
            )
        with self._locked(target):
            if found := self._find(repo):
                return found  # another process was faster
            source, said = (str(bundle), f"unpack {bundle}") if bundle.is_file() else (self._url(repo), f"fetch {repo}")
            try:
                with whole_dir(target) as staging:
                    _git_of_user(["clone", "--quiet", "--bare", source, str(staging)], said)
            except (OSError, TargetError) as error:
                raise EnvError(f"cannot {said} into {self.directory}: {error}") from error
        return target

    def _get_commit(self, repo: str, commit: str, git_dir: Path) -> None:
        missing = f"repository {repo} in {git_dir} has no commit {commit}"
        if not self.fetch:
            raise EnvError(f"{missing}: run `git -C {git_dir} fetch {self._url(repo)} {commit}`, or allow fetching")
        with self._locked(self.directory / f"{repo.replace('/', '__')}.git"):
            if _has_commit(git_dir, commit):
                return
            fetch = ["--git-dir", str(git_dir), "fetch", "--quiet", "--no-tags", self._url(repo), commit]
            _git_of_user(fetch, f"fetch commit {commit} of {repo}: {missing}")
        if not _has_commit(git_dir, commit):
            raise EnvError(f"{missing}, and {self._url(repo)} did not send it: is base_commit right?")

    def _url(self, repo: str) -> str:
        return f"{self.base_url}/{repo}"

    @contextmanager
    def _locked(self, target: Path) -> Iterator[None]:
        """Only one process at a time makes this repository; the others wait."""
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            lock = (self.directory / f".{target.name}.lock").open("wb")
        except OSError as error:
            raise EnvError(f"{target} is missing and {self.directory} cannot be written: {error}") from error
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _has_commit(git_dir: Path, commit: str) -> bool:
    done = subprocess.run(
        ["git", *_TAMED, "cat-file", "-e", f"{commit}^{{commit}}"], env=_own_environment(git_dir), capture_output=True
    )
    return done.returncode == 0


def _git(
    arguments: list[str],
    git_dir: Path,
    place: dict[str, str] | None = None,
    cwd: Path | None = None,
    stdin: bytes = b"",
) -> bytes:
    """What git prints, with nobody's settings but the repository's. Raises EnvError when it fails."""
    done = subprocess.run(
        ["git", *_TAMED, *arguments],
        env={**_own_environment(git_dir), **(place or {})},
        cwd=cwd,
        input=stdin,
        capture_output=True,
    )
    if done.returncode:
        raise EnvError(f"git {' '.join(arguments)} failed in {git_dir}: {_said(done.stderr)}")
    return done.stdout


def _own_environment(git_dir: Path) -> dict[str, str]:
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "LC_ALL": "C",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_DIR": str(git_dir),
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_NO_LAZY_FETCH": "1",
    }


def _git_of_user(arguments: list[str], what: str) -> None:
    """With the user's proxies and credentials, but never a question. Raises EnvError."""
    named_places = {"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY"}  # where a hook starts us
    environment = {key: value for key, value in os.environ.items() if key not in named_places}
    environment |= {"LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0"}
    done = subprocess.run(
        ["git", *_TAMED, *_STALLED, *arguments], env=environment, stdin=subprocess.DEVNULL, capture_output=True
    )
    if done.returncode:
        raise EnvError(f"cannot {what}: {_said(done.stderr)}")


def _said(stderr: bytes) -> str:
    return " ".join(stderr.decode(errors="replace").split())[-400:]
