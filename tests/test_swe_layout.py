"""Which files of a package are its code, its tests, and what tests import from."""

from __future__ import annotations

import io
import subprocess
import tarfile

import pytest

from env_adapter import SettingsError
from swe.repos import RepoCache
from swe_tasks.layout import find_layout, is_test
from swe_tasks.source_repo import describe_source, import_source

FLAT = ["calc/__init__.py", "calc/core.py", "calc/tests/test_core.py", "docs/conf.py", "setup.py", "tools/run.py"]
SRC = ["src/calc/__init__.py", "src/calc/core.py", "tests/__init__.py", "tests/test_core.py", "tests/helper.py"]


@pytest.mark.parametrize(
    ("paths", "sources", "tests", "pythonpath"),
    [
        (FLAT, FLAT[:2], [FLAT[2]], ["."]),
        (SRC, SRC[:2], ["tests/test_core.py"], ["src", "."]),
        (["calc.py", "test_calc.py", "setup.py"], ["calc.py"], ["test_calc.py"], ["."]),
        (["calc.py", "test.py"], ["calc.py"], ["test.py"], ["."]),
        (["lib/calc.py", "tests/calc_test.py"], ["lib/calc.py"], ["tests/calc_test.py"], ["lib", "."]),
    ],
)
def test_usual_layouts_are_found(paths, sources, tests, pythonpath):
    layout = find_layout(paths)
    assert (list(layout.sources), list(layout.tests), list(layout.pythonpath)) == (sources, tests, pythonpath)


def test_what_the_user_names_wins():
    paths = [*FLAT, "spec/check.py"]
    layout = find_layout(paths, ["tools"], ["spec/*.py", "calc/tests"], ["calc"])
    assert layout.sources == ("tools/run.py",)
    assert layout.tests == ("calc/tests/test_core.py", "spec/check.py")
    assert layout.pythonpath == ("calc",)


@pytest.mark.parametrize(
    ("paths", "options", "said"),
    [
        (["calc/__init__.py"], {}, "no tests found.*--tests.*calc/"),
        (["tests/test_core.py", "setup.py"], {}, "no package found.*--source-dirs"),
        (FLAT, {"tests": ["spec"]}, "--tests spec: .*no such Python files; there are calc/"),
        (FLAT, {"source_dirs": ["core"]}, "--source-dirs core: "),
        (FLAT, {"pythonpath": ["src"]}, "--pythonpath src: "),
    ],
)
def test_what_is_missing_is_named_with_its_option(paths, options, said):
    with pytest.raises(SettingsError, match=said):
        find_layout(paths, **options)


def test_files_that_help_tests_are_tests():
    assert is_test("tests/helper.py") and is_test("conftest.py") and is_test("calc/core_test.py")
    assert not is_test("calc/contest.py") and not is_test("calc/latest.py")


def sdist(path, files, top="calc-1.0"):
    with tarfile.open(path, "w:gz") as archive:
        for name, text in files.items():
            member = tarfile.TarInfo(f"{top}/{name}" if top else name)
            member.size, member.mtime = len(text.encode()), 1_700_000_000
            archive.addfile(member, io.BytesIO(text.encode()))
    return path


def test_an_sdist_becomes_the_same_commit_anywhere(tmp_path):
    files = {"PKG-INFO": "Name: Calc.Tools\nVersion: 1.0\n", "calc.py": "x = 1\n", ".gitignore": "calc.py\n"}
    source = describe_source(sdist(tmp_path / "calc-1.0.tar.gz", files))
    assert (source.repo, source.version, source.created_at) == ("pypi/Calc.Tools", "1.0", "2023-11-14T22:13:20Z")
    commits = {import_source(source, tmp_path / name).commit for name in "ab"}
    assert len(commits) == 1
    repos = RepoCache(tmp_path / "a", fetch=False)
    assert repos.read_text(source.repo, commits.pop(), files) == files  # what .gitignore names too


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: None, "does not exist"),
        (lambda path: path.mkdir(), "is not a git repository"),
        (lambda path: path.write_text("hello"), "is no sdist"),
        (lambda path: sdist(path, {"a.py": "", "b.py": ""}, top=""), "is no sdist"),
    ],
)
def test_what_is_no_source_is_refused(tmp_path, make, said):
    make(tmp_path / "source")
    with pytest.raises(SettingsError, match=said):
        describe_source(tmp_path / "source")


def test_an_sdist_of_several_directories_is_refused(tmp_path):
    with pytest.raises(SettingsError, match="holds 2 things at its top"):
        describe_source(sdist(tmp_path / "x.tar.gz", {"a/b.py": "", "c/d.py": ""}, top=""))


def test_an_sdist_that_unpacks_elsewhere_is_refused(tmp_path):
    source = describe_source(sdist(tmp_path / "x.tar.gz", {"../../evil.py": "x"}))
    with pytest.raises(SettingsError, match="unpacks out of its directory"):
        import_source(source, tmp_path / "repos")
    assert not (tmp_path / "repos" / "pypi__calc.git").exists()


def test_a_git_repository_is_named_after_its_remote(tmp_path):
    repository = tmp_path / "thing"
    subprocess.run(["git", "init", "-q", repository], check=True)
    commit = ["-c", "user.name=A", "-c", "user.email=a@b.example", "commit", "-q", "--allow-empty", "-m", "x"]
    subprocess.run(["git", "-C", repository, *commit], check=True)
    assert describe_source(repository).repo == "local/thing"
    subprocess.run(["git", "-C", repository, "remote", "add", "origin", "git@github.com:psf/requests.git"], check=True)
    source = describe_source(repository)
    assert source.repo == "psf/requests"
    assert import_source(source, tmp_path / "repos").commit == source.commit
    assert describe_source(repository, repo="me/mine").repo == "me/mine"
    for wrong in ("mine", "a/b/c", "../x"):
        with pytest.raises(SettingsError, match="--repo"):
            describe_source(repository, repo=wrong)
    with pytest.raises(SettingsError, match="--revision v9"):
        describe_source(repository, revision="v9")
    (repository / "inner").mkdir()
    with pytest.raises(SettingsError, match="is the directory inner/ of a git repository"):
        describe_source(repository / "inner")
