"""Every shell command of README.md and docs/*.md is run, or says why it is not and is rehearsed.

Commands stand in ```bash fences and in no others. What becomes of them here, in a copy of the repository:

- `<!-- run -->` on the line before a fence: all of it is run.
- A command that starts with DRY_RUN=1, or ends with --help or --flags, is run wherever it stands.
- `<!-- not run: REASON -->`, with a reason of REASONS: all of the fence is rehearsed. The shell reads it, the scripts
  are the real ones with DRY_RUN=1, our Python programs parse their arguments, and other people's are stand-ins. A page
  whose every command is like that says it once, with the comment on its first line.

A command in none of these ways fails a test, and so does one in a fence that is not ```bash.
"""

from __future__ import annotations

import argparse
import json
import re
import runpy
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from doc_pages import FENCE, PAGES, ROOT, Fence, fences_of, prose_of

sys.path.insert(0, str(Path(__file__).parent / "scripts"))
from script_runner import Checkout

from env_adapter import SettingsError, get_env_adapter
from env_cli import adapter_settings

REASONS = (
    "needs a GPU",
    "needs a run",  # or the model that one has left
    "needs a server",
    "needs an account",
    "needs files of yours",
    "needs the network",
    "needs several machines",
    "needs Docker",
    "takes minutes",
)
OTHERS = ("kubectl", "pip", "sbatch", "tensorboard", "trackio", "wandb", "python3")
"""Other people's programs, on PATH and in .venv/bin: as stand-ins they do nothing."""
COMMAND = re.compile(
    r"^\s*(\$ )?([A-Z][A-Z0-9_]*=(\S+|'[^']*'|\"[^\"]*\") +)*"
    rf"(bash|make|docker|git|export|python|\S*/bin/\w+|{'|'.join(OTHERS)}) [\w./-]"
)
"""A line that a reader would paste into a shell."""
SERVANTS = {"fetch_model", "memory_plan", "resume_point", "run_ledger"}
"""Programs of train/tools that scripts call by themselves: they run."""

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def is_run(command: str) -> bool:
    return command.startswith("DRY_RUN=1 ") or command.endswith((" --help", " --flags"))


def mark_of(page: Path, fence: Fence) -> str:
    """Its own, or that of the page."""
    first = page.read_text(encoding="utf-8").partition("\n")[0]
    whole = re.fullmatch(r"<!-- (not run: .*) -->", first)
    return fence.mark or (whole[1] if whole else "")


def fences(mark: str) -> Iterator[object]:
    """The ```bash fences with a mark that begins so."""
    for page in PAGES:
        for fence in fences_of(page):
            if fence.language == "bash" and mark_of(page, fence).startswith(mark):
                yield pytest.param(page, fence, id=f"{page.stem}: {fence.commands()[0][:60]}")


@each_page
def test_every_command_is_run_or_says_why_not(page: Path) -> None:
    for fence in fences_of(page):
        mark = mark_of(page, fence)
        if fence.language == "bash":
            assert mark in ("", "run", *(f"not run: {reason}" for reason in REASONS)), mark
            assert mark or all(map(is_run, fence.commands())), f"mark this, see the top of this test: {fence.body}"
        else:
            assert not fence.mark, f"only ```bash can be marked: {fence.body}"
            assert not [line for line in fence.body.splitlines() if COMMAND.match(line)], fence.body
    between = FENCE.sub("", prose_of(page))
    assert not [line for line in between.splitlines() if line.startswith("    ") and COMMAND.match(line)]


@pytest.mark.parametrize(
    "text",
    [
        "```bash\nbash train/scripts/runs.sh\n```\n",
        "```bash\nDRY_RUN=1 bash train/scripts/merge.sh\nmake model\n```\n",
        "1. So:\n\n   ```bash\n   make model\n   ```\n",
        "```\nWANDB_EXP=a bash train/scripts/merge.sh\n```\n",
        "```sh\nmake model\n```\n",
        "Like this:\n\n    make model\n",
        "<!-- not run: it is long -->\n```bash\nmake model\n```\n",
        "<!-- run -->\n```\nmake model\n```\n",
    ],
)
def test_a_new_command_does_not_slip_in(tmp_path: Path, text: str) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"# A page\n\n{text}")
    with pytest.raises(AssertionError):
        test_every_command_is_run_or_says_why_not(page)


def test_a_command_is_known_when_it_is_seen() -> None:
    lines = ("make demo", "  bash train/x.sh", "A=1 B='two words' .venv/bin/python x.py", "$ pip install trackio")
    assert all(map(COMMAND.match, lines))
    assert not any(map(COMMAND.match, ("python   …/bin/python", "bash", "run       kind  state")))


# --- what is run


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    checkout = Checkout(tmp_path_factory.mktemp("docs"))
    for name in ("data_processing", "benchmarks"):
        shutil.copytree(ROOT / name, checkout.root / name, ignore=shutil.ignore_patterns("__pycache__", "out"))
    shutil.copy(ROOT / "Makefile", checkout.root)
    checkout.own_python()
    return checkout


def runs() -> Iterator[object]:
    for page in PAGES:
        for fence in fences_of(page):
            if fence.language == "bash" and mark_of(page, fence) == "run":
                yield pytest.param(fence.body, id=f"{page.stem}: {fence.commands()[0][:60]}")
            elif fence.language == "bash" and not fence.mark:
                for command in filter(is_run, fence.commands()):
                    yield pytest.param(command, id=f"{page.stem}: {command[:60]}")


@pytest.mark.parametrize("command", runs())
def test_a_command_that_can_be_run_exits_with_0(checkout: Checkout, command: str) -> None:
    result = checkout.bash(f"set -euo pipefail\n{command}")
    assert result.returncode == 0, result.stderr
    assert result.stdout


# --- what is rehearsed


class Rehearsal:
    """A checkout whose programs say that they were called, and do nothing that takes long."""

    def __init__(self, checkout: Checkout, tmp: Path) -> None:
        self.checkout, self.called = checkout, tmp / "called.jsonl"
        bin = tmp / "rehearsed programs"
        bin.mkdir()
        note = "import json, sys; print(json.dumps(sys.argv[2:]), file=open(sys.argv[1], 'a'))"
        self.python = self.program(
            bin / "python",
            f"""
            given=("$@")
            while [[ ${{1:-}} == -[SE] ]]; do shift; done
            case ${{1:-}} in
                -m) case $2 in pip | venv | ray.scripts.scripts) exit 0 ;; esac ;;
                *train/tools/doctor | *train/tools/run_report | *.py)
                    [[ ! ${{1##*/}} =~ ^({"|".join(SERVANTS)})\\.py$ && $1 != */scripts/lib/* && $1 != */ledger/* ]] &&
                        exec "{sys.executable}" -c "{note}" "{self.called}" "$@" ;;
            esac
            exec "{sys.executable}" "${{given[@]}}"
            """,
        )
        for folder in (bin, checkout.root / ".venv/bin"):
            for name in OTHERS:
                self.program(folder / name, "exit 0")
        self.program(bin / "make", 'exec /usr/bin/make -n "$@"')
        # The one thing that ray-node.sh asks another machine.
        self.program(
            bin / "timeout", """[[ "$*" == *'</dev/tcp/'* || "$*" == *'"/dev/tcp/'* ]] || exec /usr/bin/timeout "$@" """
        )
        home = checkout.home / "swebench/bin"
        home.mkdir(parents=True)
        for python in (checkout.root / ".venv/bin/python", home / "python"):
            python.unlink(missing_ok=True)
            python.symlink_to(self.python)
        (bin / "python3").unlink()
        (bin / "python3").symlink_to(self.python)
        checkout.env |= {"PATH": f"{bin}:{checkout.env['PATH']}", "VERITAS_PYTHON": str(self.python), "DRY_RUN": "1"}
        self.model = checkout.model()

    @staticmethod
    def program(path: Path, body: str) -> Path:
        path.write_text(f"#!/bin/bash\n{body}\n")
        path.chmod(0o755)
        return path

    def needs(self, text: str) -> None:
        """What earlier commands would have left: directories of runs and models, and parquet files."""
        for name in re.findall(r"(?:CHECKPOINT_BASE|SFT_PARQUET_DIR|SWE_SYNTH_CACHE_DIR)=([\w./-]+)", text):
            (self.checkout.root / name).mkdir(parents=True, exist_ok=True)
        for name in {"train/models/SmolLM2-135M-Instruct", *re.findall(r"\btrain/models/[\w.-]+", text)}:
            shutil.copytree(self.model, self.checkout.root / name, dirs_exist_ok=True)
        files = [f"{name}/train.parquet" for name in re.findall(r"SFT_PARQUET_DIR=([\w./-]+)", text)]
        files += [file for names in re.findall(r"SFT_(?:TRAIN|VAL)_FILES=(\S+)", text) for file in names.split(",")]
        files += ["train/parquet/train.parquet"]
        for file in files:
            path = self.checkout.root / file
            path.parent.mkdir(parents=True, exist_ok=True)
            pyarrow.parquet.write_table(pyarrow.table({"prompt": ["2+2?"] * 256, "response": ["4"] * 256}), path)

    def play(self, fence: Fence, **env: str) -> list[list[str]]:
        """The arguments of each of our programs that the fence calls."""
        self.needs(fence.body)
        self.called.write_text("")
        merged = {**self.checkout.env, **env}
        code = f"set -euo pipefail\n{fence.body}"
        done = subprocess.run(
            ["bash", "-c", code], cwd=self.checkout.root, env=merged, capture_output=True, text=True, timeout=900
        )
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in self.called.read_text().splitlines()]


@pytest.fixture(scope="module")
def rehearsal(tmp_path_factory: pytest.TempPathFactory) -> Rehearsal:
    tmp = tmp_path_factory.mktemp("rehearsal")
    checkout = Checkout(tmp)
    for name in ("data_processing", "benchmarks"):
        shutil.copytree(ROOT / name, checkout.root / name, ignore=shutil.ignore_patterns("__pycache__", "out"))
    shutil.copy(ROOT / "Makefile", checkout.root)
    checkout.own_python()
    return Rehearsal(checkout, tmp)


class Parsed(BaseException):
    """The arguments were understood: nothing more is done."""


def parse_only(program: str, arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Start a program of ours, and end it when it has parsed its arguments. Adapter settings have to be known ones."""
    (name,) = re.findall(r"(?:train/tools|data_processing|benchmarks)/.+", program)[-1:]
    file = ROOT / name
    main = file / "__main__.py" if file.is_dir() else file
    assert main.is_file(), f"{name} is not there"
    if "parse_args" not in main.read_text(encoding="utf-8"):
        return
    parse = argparse.ArgumentParser.parse_args

    def parse_and_end(self: argparse.ArgumentParser, *given: object) -> None:
        raise Parsed(parse(self, *given))  # type: ignore[arg-type]

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse_and_end)
    monkeypatch.setattr(sys, "argv", [str(file), *arguments])
    monkeypatch.syspath_prepend(str(file.parent))
    try:
        runpy.run_path(str(main), run_name="__main__")
    except Parsed as parsed:
        options = parsed.args[0]
        if getattr(options, "env", None) and hasattr(options, "set"):
            try:
                get_env_adapter(options.env, adapter_settings(options.adapter_config, options.set))
            except SettingsError as error:  # one that is missing here is no fault of the page
                assert "unknown" not in str(error), error
    except SystemExit as end:
        assert end.code == 0, f"{name} does not take {' '.join(arguments)}"
    monkeypatch.undo()


@pytest.mark.slow
@pytest.mark.parametrize(("page", "fence"), fences("not run: "))
def test_a_command_that_is_not_run_is_written_rightly(
    rehearsal: Rehearsal, page: Path, fence: Fence, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu = mark_of(page, fence) in ("not run: needs a GPU", "not run: needs several machines")
    called = rehearsal.play(fence, **({"PROFILE": "1x80gb"} if gpu else {}))
    for program, *arguments in called:
        parse_only(program, arguments, monkeypatch)


@pytest.mark.slow
def test_the_rehearsal_finds_what_is_misspelt(rehearsal: Rehearsal, monkeypatch: pytest.MonkeyPatch) -> None:
    def play(command: str) -> None:
        for program, *arguments in rehearsal.play(Fence("", "bash", command)):
            parse_only(program, arguments, monkeypatch)

    generate = ".venv/bin/python data_processing/generate_dataset.py --env openspiel --output a.jsonl"
    play(f"{generate} --set game_types=hex")
    for wrong in (
        f"{generate} --number 3",
        f"{generate} --set game_kinds=hex",
        "bash train/scripts/merge-ppo.sh --no-vlm",
        "bash train/scripts/openspiel-ppo-trainer.sh hexx",
        "make demos",
        ".venv/bin/python benchmarks/nothing.py",
    ):
        with pytest.raises((AssertionError, SystemExit)):
            play(wrong)
        monkeypatch.undo()
