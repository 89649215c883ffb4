"""The Python that the scripts have chosen, and which verl it runs.

fail  python  3.10.13 in /usr/bin/python3 (no .venv here: the one on PATH)
              fix: Python 3.11 or 3.12: PYTHON=/path/to/python3.12 make setup
"""

from __future__ import annotations

from doctor.context import Context
from doctor.lines import FAIL, OK, WARN, Line

VERSIONS = ("3.11", "3.12")


def check_env_file(context: Context, fault: str) -> list[Line]:
    """`fault` is what load_dotenv of lib/common.sh said of `.env`: it names the line and never a value."""
    file = context.root / ".env"
    if fault:
        return [Line("env file", FAIL, fault.replace("error: ", "", 1), "mend that line; nothing of .env is used now")]
    if not file.exists():
        return [Line("env file", OK, "no .env")]
    return [Line("env file", OK, str(file))]


def check_python(context: Context, note: str, fault: str) -> list[Line]:
    """`note` and `fault` are what choose_python of lib/common.sh said: why this Python, or why none."""
    if fault:
        found, _, fix = fault.replace("error: ", "", 1).rpartition(": ")
        return [Line("python", FAIL, found, fix)]
    name = note.replace("python", "", 1).strip() or context.python
    installed = context.installed
    if installed is None:
        death = context.python_answer.death()
        return [Line("python", FAIL, f"{name} does not run: {death}", "make setup, or another VERITAS_PYTHON")]
    if not installed.version.startswith(tuple(f"{version}." for version in VERSIONS)):
        fix = f"PYTHON=/path/to/python{VERSIONS[-1]} make setup, or another VERITAS_PYTHON"
        return [Line("python", FAIL, f"{installed.version} in {name}, and {' or '.join(VERSIONS)} is needed", fix)]
    return [Line("python", OK, f"{installed.version} in {name}")]


def check_verl(context: Context) -> list[Line]:
    """Which verl a run would use: train/verl at the pinned version, else the wheel."""
    rule = context.rule("choose_verl")
    if not rule.holds:
        return [Line("verl", FAIL, *rule.refusal)]
    said = rule.text.replace("verl", "", 1).strip()
    if "train/verl is at" in said:
        return [Line("verl", WARN, said, "make verl (the submodule is not used as long as it is at another version)")]
    return [Line("verl", OK, said)]
