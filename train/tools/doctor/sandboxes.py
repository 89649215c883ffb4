"""Where tests and programs of the environments can run: bubblewrap or Docker.

warn  sandbox  bwrap is not installed; docker: not installed
               fix: apt-get install bubblewrap (needed by swe-synth and trace; other environments run without)
"""

from __future__ import annotations

import shutil

from doctor.bounded import all_at_once, run_bounded
from doctor.context import Context
from doctor.lines import OK, WARN, Line

SECONDS = 25
WHO = "swe-synth and trace need one, other environments do not"


def check_sandbox(context: Context) -> list[Line]:
    bwrap, docker = all_at_once(lambda: _bubblewrap(context), lambda: _docker(context))
    works, said, fix = bwrap
    if works:
        return [Line("sandbox", OK, f"{said}; docker: {docker[1]}")]
    found = f"{said}; docker: {docker[1]} ({WHO})"
    return [Line("sandbox", WARN, found, fix)]


def _bubblewrap(context: Context) -> tuple[bool, str, str]:
    """(whether it works as far as can be tried, what was found, the fix)."""
    path = context.environment.get("PATH")
    for program, package in (("bwrap", "bubblewrap"), ("prlimit", "util-linux"), ("setpriv", "util-linux")):
        if shutil.which(program, path=path) is None:
            return False, f"{program} is not installed", f"apt-get install {package}"
    if context.installed is None or not context.installed.has("pydantic"):
        return True, "bwrap is installed, and was not tried without a whole Python environment", ""
    probe = context.root / "train/tools/sandbox/probe.py"
    done = run_bounded([context.python, str(probe)], SECONDS, context.run_environment)
    if done.status == 0:
        return True, done.output.strip(), ""
    said = done.death().replace("probe: ", "", 1)
    found, stop, advice = said.partition(". ")
    return False, found, advice if stop else f"{context.python} {probe} says more"


def _docker(context: Context) -> tuple[bool, str]:
    program = shutil.which("docker", path=context.environment.get("PATH"))
    if program is None:
        return False, "not installed"
    done = run_bounded([program, "version", "--format", "{{.Server.Version}}"], 5, context.environment)
    if done.status == 0 and done.output.strip():
        return True, done.output.strip()
    return False, "installed, and its engine does not answer"
