"""Whether this machine can make a sandbox that holds: tried, not guessed.

python train/tools/sandbox/probe.py      # prints what was found; exit status 2 where programs cannot be run safely
"""

from __future__ import annotations

import functools
import os
import platform
import shutil
import sys
import tempfile
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

from env_adapter import EnvError, SettingsError
from sandbox.bubblewrap import Bubblewrap
from sandbox.limits import Limits

PROGRAMS = {"bwrap": "bubblewrap", "prlimit": "util-linux", "setpriv": "util-linux"}
LOOK_AROUND = """
printf 'user %s\\n' "$(id -u)"
printf 'processes %s\\n' "$(ls /proc | grep -c '^[0-9]')"
printf 'networks %s\\n' "$(tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' ' | sort | tr '\\n' ' ')"
[ ! -e "$1" ] || echo 'host file'
( : > /usr/veritas-probe ) 2>/dev/null && echo 'host writable'
grep -q '^Seccomp:[[:space:]]*2' /proc/self/status || echo 'no filter'
echo done
"""
MANY_PROCESSES = 12


@functools.cache
def check_sandbox() -> str:
    """A line that says what the sandbox is like here. Raises SettingsError, with the fix, where there is none."""
    if platform.system() != "Linux":
        raise SettingsError(f"{platform.system()} has no bubblewrap: run this in Linux, or in a Linux container")
    for program, package in PROGRAMS.items():
        if shutil.which(program) is None:
            raise SettingsError(f"{program} is not installed: apt-get install {package}")
    with tempfile.NamedTemporaryFile(prefix="veritas-probe-") as host_file:
        try:
            done = Bubblewrap().run(["/bin/sh", "-c", LOOK_AROUND, "sh", host_file.name], limits=Limits(wall_s=20))
        except (EnvError, OSError) as error:
            raise SettingsError(f"{error}. {_advice()}") from error
    lines = done.output.decode(errors="replace").split("\n")
    if done.returncode or "done" not in lines:
        raise SettingsError(f"a sandbox ended with {done.returncode}: {' '.join(lines).strip()[:300]}. {_advice()}")
    found = dict(line.split(" ", 1) for line in lines if " " in line)
    leaks = [line for line in lines if line in ("host file", "host writable", "no filter")]
    if found["user"] == "0":
        leaks.append("its user is root")
    if int(found["processes"]) > MANY_PROCESSES:
        leaks.append(f"it sees {found['processes']} processes")
    if found["networks"].split() != ["lo"]:
        leaks.append(f"it sees the networks {found['networks']}")
    if leaks:
        raise SettingsError(f"bubblewrap makes sandboxes here that do not hold: {', '.join(leaks)}. {_advice()}")
    who = "a user id of its own for each sandbox" if os.geteuid() == 0 else "a user namespace"
    return f"bubblewrap works here ({who}, seccomp filter, no network)"


def _advice() -> str:
    if os.geteuid() == 0:
        return (
            "In a container, start it with what bubblewrap needs (docker run --cap-add SYS_ADMIN --security-opt "
            "seccomp=unconfined --security-opt apparmor=unconfined --security-opt systempaths=unconfined), "
            "or run outside of one"
        )
    return (
        "Unprivileged user namespaces must be allowed: sysctl kernel.unprivileged_userns_clone=1 (Debian) and "
        "kernel.apparmor_restrict_unprivileged_userns=0 (Ubuntu 24.04); in a container also --security-opt "
        "seccomp=unconfined --security-opt systempaths=unconfined"
    )


if __name__ == "__main__":
    try:
        print(check_sandbox())
    except SettingsError as error:
        print(f"probe: {error}", file=sys.stderr)
        raise SystemExit(2) from None
