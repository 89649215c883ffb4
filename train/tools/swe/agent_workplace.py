"""Where the agent works: a task's repository in a sandbox, as a git repository of one commit.

    with workplace(row, repos, sandbox, python, Limits(wall_s=1800), command_s=60) as environment:
        environment.execute({"command": "git log --oneline"})
        {"output": "5ee6ec5 The repository as it is\\n", "returncode": 0, "exception_info": ""}

The history is left out because it may hold the answer: the commit that mends the bug, or later ones.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from env_adapter import EnvError, SettingsError
from sandbox.bubblewrap import MAX_SLOTS, Bubblewrap
from sandbox.command_box import CommandBox, SandboxLost, command_box
from sandbox.limits import Limits
from swe.mini_agent import SYSTEM, InterruptAgentFlow, exit_message
from swe.patches import patched_paths
from swe.repos import RepoCache
from swe.rows import SweRow

SUBMIT = "COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT"
FIRST_SLOT = 64
"""Agents' sandboxes have the slots from here on: a judge of patches, which needs one as well, never waits for them."""
SYSTEM_FOLDERS = (Path("/usr"), Path("/usr/local"))
"""What every sandbox has."""
_SOMEONE = {
    f"GIT_{who}_{what}": value
    for who in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "veritas"), ("EMAIL", "veritas@localhost"), ("DATE", "2020-01-01T00:00:00Z"))
}
# Nothing that a .gitattributes says may change what is in a file.
_ATTRIBUTES = "* -text -ident -filter -working-tree-encoding\n"


def agents_sandbox(read_only: Sequence[Path]) -> Bubblewrap:
    """As many as the machine has user ids for, 116; how many are open at a time is the business of who opens them."""
    return Bubblewrap(read_only, slots=MAX_SLOTS - FIRST_SLOT, first_slot=FIRST_SLOT)


def check_hidden(row: SweRow, python: Path, folders: Sequence[Path]) -> None:
    """Raises SettingsError where the code that a task is about is installed in `python`, whose `folders` an agent can
    read: the answer would be there to be copied."""
    sites = [site for folder in (*folders, *SYSTEM_FOLDERS) for site in folder.glob("lib/python3*/*-packages")]
    for path in sorted(patched_paths(row.patch)):
        parts = PurePosixPath(path).parts
        # src/toolz/core.py → toolz/core.py; an __init__.py alone would be nobody's.
        names = [PurePosixPath(*parts[first:]) for first in range(len(parts))]
        copies = [
            site / name for site in sites for name in names if name.suffix == ".py" and str(name) != "__init__.py"
        ]
        for copy in filter(Path.is_file, copies):
            raise SettingsError(
                f"{row.instance_id}: an agent could read the accepted code at {copy}: give SWE_PYTHON={python} no copy "
                f"of {row.repo}, or leave the task out"
            )


class SandboxEnvironment:
    """mini-swe-agent's `Environment` over a sandbox. `command_s` is the time of one command."""

    def __init__(self, commands: CommandBox, command_s: float) -> None:
        self.commands, self.command_s = commands, command_s
        self.config: Mapping[str, Any] = {"timeout": command_s}
        self.timeouts = 0

    def execute(self, action: dict[str, Any], cwd: str = "") -> dict[str, Any]:
        """Raises InterruptAgentFlow when the agent has submitted, and when the sandbox is gone by what it did."""
        try:
            done = self.commands.run(action["command"], self.command_s)
        except SandboxLost as lost:
            raise InterruptAgentFlow(exit_message("SandboxLost")) from lost
        lines = done.output.lstrip().splitlines(keepends=True)
        if done.returncode == 0 and done.ended == "exit" and lines and lines[0].strip() == SUBMIT:
            raise InterruptAgentFlow(exit_message("Submitted", "".join(lines[1:])))
        self.timeouts += done.ended == "timeout"
        ended = {
            "exit": "",
            "timeout": f"The command took more than {self.command_s:g} s and was ended.",
            "output": "The command printed too much and was ended.",
        }
        return {
            "output": done.output,
            "returncode": done.returncode,
            "exception_info": ended.get(done.ended, done.ended),
        }

    def get_template_vars(self, **kwargs: Any) -> dict[str, Any]:
        return dict(SYSTEM)

    def serialize(self) -> dict[str, Any]:
        return {}


@contextmanager
def workplace(
    row: SweRow,
    repos: RepoCache,
    sandbox: Bubblewrap,
    python: Path,
    limits: Limits,
    command_s: float,
    variables: Mapping[str, str] | None = None,
) -> Iterator[SandboxEnvironment]:
    """A new one, gone at the end of the block. `limits.wall_s` is the time of the whole session.

    `python` runs the commands' program, its folder is where `python` and `pytest` are looked for first. Raises EnvError
    where the repository or the sandbox cannot be had. The thread that enters must outlive the block.
    """
    with tempfile.TemporaryDirectory(prefix="veritas-agent-") as scratch:
        tree = Path(scratch) / "tree"
        tree.mkdir(mode=0o755)
        tree.parent.chmod(0o755)
        repos.checkout(row.repo, row.base_commit, tree)
        commit_all(tree)
        inside = {
            "PYTHONPATH": ":".join(str(Path("/testbed") / path) for path in row.pythonpath),
            "PATH": f"{python.parent}:/usr/local/bin:/usr/bin:/bin",
            **_SOMEONE,
            # /testbed is made by another user than the one who works in it.
            **{"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "*"},
            **(variables or {}),
        }
        with command_box(sandbox, python, tree, limits, inside) as commands:
            yield SandboxEnvironment(commands, command_s)


def commit_all(tree: Path) -> None:
    """Make a folder a git repository of one commit, the same for the same files. Raises EnvError."""
    _git(tree, "init", "--quiet", "--initial-branch=main", "--template=")
    (tree / ".git/info").mkdir(exist_ok=True)
    (tree / ".git/info/attributes").write_text(_ATTRIBUTES)
    _git(tree, "add", "--all", "--force")
    _git(tree, "commit", "--quiet", "--allow-empty", "--no-verify", "-m", "The repository as it is")


def _git(tree: Path, *arguments: str) -> None:
    environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(tree.parent), "LANG": "C.UTF-8", **_SOMEONE}
    environment |= {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": "/dev/null"}
    try:
        subprocess.run(
            ["git", "-C", str(tree), *arguments], env=environment, check=True, capture_output=True, text=True
        )
    except FileNotFoundError as error:
        raise EnvError("git is not installed: apt-get install git") from error
    except subprocess.CalledProcessError as error:
        raise EnvError(f"git {arguments[0]} in a task's repository: {error.stderr.strip()[:500]}") from error
