"""swe/repos.py: repositories at any commit, from a directory, a bundle, or fetched once."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from env_adapter import EnvError
from swe.repos import RepoCache

TOOLS = Path(__file__).parents[1] / "train" / "tools"
REPO = "owner/name"


def git(*arguments: str, cwd: Path) -> str:
    who = [part for key in ("AUTHOR", "COMMITTER") for part in (f"GIT_{key}_NAME=a", f"GIT_{key}_EMAIL=a@example.org")]
    environment = {"PATH": os.environ["PATH"], "HOME": str(cwd), "GIT_CONFIG_NOSYSTEM": "1"}
    environment |= dict(pair.split("=") for pair in who)
    return subprocess.run(
        ["git", *arguments], cwd=cwd, env=environment, check=True, capture_output=True, text=True
    ).stdout.strip()


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A work tree with two commits; `first` tags the first. Its server is the directory two above."""
    tree = tmp_path_factory.mktemp("server") / "owner/name"
    (tree / "pkg").mkdir(parents=True)
    git("init", "--quiet", "--initial-branch=main", cwd=tree)
    (tree / "pkg/one.py").write_text("version = '$Format:%H$'\n")
    (tree / "pkg/ünï code.py").write_text("x = 'ü'\n")
    (tree / "data.bin").write_bytes(b"a\0b")
    (tree / "latin.txt").write_bytes(b"\xe9")
    (tree / "link").symlink_to("pkg/one.py")
    (tree / "tests").mkdir()
    (tree / "tests/test_one.py").write_text("def test_one(): pass\n")
    (tree / ".gitattributes").write_text("tests export-ignore\npkg/one.py export-subst\n")
    git("add", ".", cwd=tree)
    git("commit", "--quiet", "-m", "one", cwd=tree)
    git("tag", "first", cwd=tree)
    (tree / "pkg/one.py").write_text("version = 2\n")
    git("commit", "--quiet", "-am", "two", cwd=tree)
    # What GitHub allows: one commit by its hash.
    git("config", "uploadpack.allowReachableSHA1InWant", "true", cwd=tree)
    return tree


def first(origin: Path) -> str:
    return git("rev-parse", "first", cwd=origin)


def url(origin: Path) -> str:
    return origin.parents[1].as_uri()


@pytest.fixture(params=["bare", "clone", "bundle", "fetched"])
def repos(request: pytest.FixtureRequest, origin: Path, tmp_path: Path) -> RepoCache:
    directory = tmp_path / "the repos"
    if request.param == "fetched":
        return RepoCache(directory, base_url=url(origin))
    directory.mkdir()
    if request.param == "bare":
        git("clone", "--quiet", "--bare", str(origin), str(directory / "owner__name.git"), cwd=tmp_path)
    elif request.param == "clone":
        git("clone", "--quiet", str(origin), str(directory / "owner__name"), cwd=tmp_path)
    else:
        git("bundle", "create", "--quiet", str(directory / "owner__name.bundle"), "--all", cwd=origin)
    return RepoCache(directory, fetch=False)


def test_a_checkout_has_every_file_of_the_commit_and_no_history(repos: RepoCache, origin: Path, tmp_path: Path) -> None:
    into = tmp_path / "tree"
    into.mkdir()
    repos.checkout(REPO, first(origin), into)
    found = {str(path.relative_to(into)) for path in into.rglob("*") if not path.is_dir()}
    assert found == {
        "pkg/one.py",
        "pkg/ünï code.py",
        "data.bin",
        "latin.txt",
        "link",
        "tests/test_one.py",
        ".gitattributes",
    }
    assert (into / "pkg/one.py").read_text() == "version = '$Format:%H$'\n", "as committed, not as exported"
    assert (into / "link").is_symlink()


def test_text_and_paths_are_those_of_the_commit(repos: RepoCache, origin: Path) -> None:
    commit = first(origin)
    assert repos.paths(REPO, commit) == [
        ".gitattributes",
        "data.bin",
        "latin.txt",
        "pkg/one.py",
        "pkg/ünï code.py",
        "tests/test_one.py",
    ]
    asked = ["pkg/ünï code.py", "pkg/one.py", "pkg", "gone.py", "data.bin", "latin.txt", "a\nb", "../x", "pkg/one.py"]
    assert repos.read_text(REPO, commit, asked) == {
        "pkg/ünï code.py": "x = 'ü'\n",
        "pkg/one.py": "version = '$Format:%H$'\n",
    }
    assert repos.read_text(REPO, git("rev-parse", "main", cwd=origin), ["pkg/one.py"]) == {
        "pkg/one.py": "version = 2\n"
    }
    assert repos.read_text(REPO, commit, []) == {}


def test_a_repository_is_fetched_once_and_then_needs_no_server(origin: Path, tmp_path: Path) -> None:
    RepoCache(tmp_path, base_url=url(origin)).paths(REPO, first(origin))
    assert RepoCache(tmp_path, base_url="file:///gone").paths(REPO, first(origin))
    assert {path.name for path in tmp_path.iterdir()} == {"owner__name.git", ".owner__name.git.lock"}


def test_a_commit_that_is_newer_than_the_copy_is_fetched(origin: Path, tmp_path: Path) -> None:
    git("clone", "--quiet", "--bare", str(origin), str(tmp_path / "owner__name.git"), cwd=tmp_path)
    git("commit", "--quiet", "--allow-empty", "-m", "three", cwd=origin)
    commit = git("rev-parse", "main", cwd=origin)
    with pytest.raises(EnvError, match=f"has no commit {commit}: run `git -C .* fetch .*`, or allow fetching"):
        RepoCache(tmp_path, fetch=False).paths(REPO, commit)
    assert RepoCache(tmp_path, base_url=url(origin)).paths(REPO, commit)


def test_what_cannot_be_had_is_named_with_what_would_help(origin: Path, tmp_path: Path) -> None:
    with pytest.raises(
        EnvError, match=r"repository owner/name is not in .*: run `git clone --bare https://github\.com"
    ):
        RepoCache(tmp_path, fetch=False).paths(REPO, "a" * 40)
    with pytest.raises(EnvError, match="cannot fetch owner/other"):
        RepoCache(tmp_path, base_url=url(origin)).paths("owner/other", "a" * 40)
    with pytest.raises(EnvError, match=f"cannot fetch commit {'a' * 40} of owner/name"):
        RepoCache(tmp_path, base_url=url(origin)).paths(REPO, "a" * 40)
    (tmp_path / "a file").touch()
    with pytest.raises(EnvError, match="cannot be written"):
        RepoCache(tmp_path / "a file", base_url=url(origin)).paths(REPO, "a" * 40)
    (tmp_path / "owner__broken.bundle").write_text("no bundle")
    with pytest.raises(EnvError, match=r"cannot unpack .*owner__broken\.bundle"):
        RepoCache(tmp_path).paths("owner/broken", "a" * 40)
    assert not list(tmp_path.glob("*.partial-*")) and not list(tmp_path.glob("owner__broken.git"))


def test_a_tree_that_is_not_empty_is_refused(repos: RepoCache, origin: Path, tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/a file").touch()
    with pytest.raises(ValueError, match="not empty"):
        repos.checkout(REPO, first(origin), tmp_path / "tree")


def test_settings_of_whoever_started_us_do_not_count(
    origin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A git hook sets GIT_DIR; a user may have any settings."""
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "elsewhere/index"))
    assert RepoCache(tmp_path / "repos", base_url=url(origin)).paths(REPO, first(origin))


def test_threads_and_processes_that_need_a_repository_at_once_fetch_it_once(origin: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from swe.repos import RepoCache\n"
        f"RepoCache(Path(sys.argv[1]), base_url=sys.argv[2]).paths('{REPO}', sys.argv[3])"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "repos"), url(origin), first(origin)]
    environment = {**os.environ, "PYTHONPATH": str(TOOLS)}
    processes = [subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    with ThreadPoolExecutor(4) as pool:
        cache = RepoCache(tmp_path / "repos", base_url=url(origin))
        answers = list(pool.map(lambda _: cache.paths(REPO, first(origin)), range(8)))
    assert all(answer == answers[0] for answer in answers)
    for process in processes:
        assert process.wait(60) == 0, process.stderr.read() if process.stderr else ""
    assert {path.name for path in (tmp_path / "repos").iterdir()} == {"owner__name.git", ".owner__name.git.lock"}
