#!/usr/bin/env python3
"""A stand-in for the command `docker`, for machines that have no engine: what it is told to run, it does run.

    STAND_IN=/tmp/x docker run --rm --name n … image -s KILL 90 /bin/bash -c 'cd /testbed && pytest'

An image is a directory $STAND_IN/images/NAME, with / and : as %; its files are the container's /testbed, in a copy of
its own. /usr and the folders in $STAND_IN/folders.json are as they are here. Every call is written to
$STAND_IN/calls.jsonl. A container is $STAND_IN/containers/NAME.json as long as it is there. Of what the real one
enforces it only has no network and processes of its own: the other limits are recorded.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

HOME = Path(os.environ["STAND_IN"])
CONTAINERS = HOME / "containers"
FLAGS = {"--rm", "--interactive"}


def main(arguments: list[str]) -> int:
    with (HOME / "calls.jsonl").open("a") as calls:
        calls.write(json.dumps(arguments) + "\n")
    CONTAINERS.mkdir(exist_ok=True)
    match arguments:
        case ["version", "--format", "{{.Server.Version}}"]:
            print("28.2.2")
        case ["image", "inspect", "--format", _, name]:
            return 0 if image(name).is_dir() else fail(f"Error response from daemon: No such image: {name}")
        case ["pull", "--quiet", name]:
            offered = HOME / "registry" / image(name).name
            if not offered.is_dir():
                return fail(f"Error response from daemon: manifest for {name} not found: manifest unknown")
            shutil.copytree(offered, image(name), symlinks=True)
        case ["ps", "--all", "--filter", "label=veritas-swe.until", "--format", _]:
            for path in sorted(CONTAINERS.glob("*.json")):
                print(path.stem, json.loads(path.read_text())["until"])
        case ["rm", "--force", "--volumes", name]:
            return remove(name)
        case ["container", "inspect", "--size", "--format", "{{.SizeRw}}", name]:
            if not (CONTAINERS / name).is_dir():
                return fail(f"Error response from daemon: No such container: {name}")
            print(sum(path.lstat().st_size for path in (CONTAINERS / name).rglob("*") if path.is_file()))
        case ["run", *rest]:
            return run(rest)
        case _:
            return fail(f"the stand-in does not know {arguments}")
    return 0


def run(arguments: list[str]) -> int:
    options: dict[str, list[str]] = {}
    while arguments[0].startswith("--"):
        option = arguments.pop(0)
        options.setdefault(option, []).append("" if option in FLAGS else arguments.pop(0))
    name, (picture, *command) = options["--name"][0], arguments
    if (HOME / "daemon_is_down").exists():
        return fail("docker: Error response from daemon: no space left on device") + 124
    testbed = CONTAINERS / name
    shutil.copytree(image(picture), testbed, symlinks=True)
    folders = json.loads((HOME / "folders.json").read_text())
    binds = [part for folder in folders for part in ("--ro-bind", folder, folder)]
    box = [
        *("bwrap", "--unshare-pid", "--unshare-net", "--die-with-parent", "--new-session", "--clearenv"),
        *("--ro-bind", "/usr", "/usr", "--symlink", "usr/bin", "/bin", "--symlink", "usr/lib", "/lib"),
        *(
            "--symlink",
            "usr/lib64",
            "/lib64",
            "--dev",
            "/dev",
            "--proc",
            "/proc",
            "--tmpfs",
            "/tmp",
            "--tmpfs",
            "/root",
        ),
        *("--tmpfs", "/tmp", "--tmpfs", "/root"),
        *("--setenv", "PATH", f"{Path(sys.executable).parent}:/usr/bin:/bin", "--setenv", "HOME", "/root"),
        *(*binds, "--ro-bind", str(HOME / "miniconda3"), "/opt/miniconda3", "--bind", str(testbed), "/testbed"),
        *("--chdir", options["--workdir"][0], options["--entrypoint"][0], *command),
    ]
    process = subprocess.Popen(box)
    until = options["--label"][0].partition("=")[2]
    (CONTAINERS / f"{name}.json").write_text(json.dumps({"pid": process.pid, "until": until}))
    status = process.wait()
    remove(name)
    return status


def remove(name: str) -> int:
    note = CONTAINERS / f"{name}.json"
    try:
        pid = json.loads(note.read_text())["pid"]
        note.unlink()
    except (FileNotFoundError, ValueError):
        return fail(f"Error response from daemon: No such container: {name}")
    if pid:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    shutil.rmtree(CONTAINERS / name, ignore_errors=True)
    return 0


def image(name: str) -> Path:
    return HOME / "images" / name.replace("/", "%").replace(":", "%")


def fail(text: str) -> int:
    print(text, file=sys.stderr)
    return 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
