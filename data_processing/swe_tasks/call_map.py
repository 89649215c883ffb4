"""Which functions the tests of a file call: a bug is tried with the tests that come by it, and not with all.

    calls = record_calls(bench, tree, layout)
    calls["tests/test_core.py"]["calc/core.py"]      # [4, 12]: the first lines of the functions that are called
    tests_of(calls, "calc/core.py", 4)               # ["tests/test_core.py"]

What runs in another process is not seen. That loses a few candidates and some failing tests, but no task is wrong for
it: the tests of a row are of the files that were run.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import zlib
from collections.abc import Mapping
from pathlib import Path

from swe_tasks.bench import Bench
from swe_tasks.layout import Layout

Calls = Mapping[str, Mapping[str, list[int]] | None]
"""Test file → file → first lines; None for a test file that could not be watched."""

_MARK = "calls of this run: "
_RECORDER = f"""

def _record_calls():
    import atexit, base64, json, sys, threading, zlib

    seen = set()

    def look(frame, event, argument):
        if event == "call":
            seen.add(frame.f_code)

    def tell():
        sys.setprofile(None)
        calls = {{}}
        for code in seen:
            if code.co_filename.startswith("/testbed/"):
                calls.setdefault(code.co_filename[9:], []).append(code.co_firstlineno)
        text = base64.b85encode(zlib.compress(json.dumps(calls).encode())).decode()
        sys.__stdout__.write("\\n{_MARK}" + text + "\\n")
        sys.__stdout__.flush()

    atexit.register(tell)
    threading.setprofile(look)
    sys.setprofile(look)


_record_calls()
"""


def record_calls(bench: Bench, tree: Path, layout: Layout) -> Calls:
    """Runs each test file by itself, once. Raises EnvError for faults of ours."""
    with bench.folder() as folder:
        watched = folder / "tree"
        copy_tree(tree, watched)
        conftest = watched / "conftest.py"
        text = conftest.read_bytes() if conftest.exists() else b""
        conftest.unlink(missing_ok=True)
        conftest.write_bytes(text + _RECORDER.encode())
        return {test: _read(bench.run(watched, [test], layout.pythonpath).output) for test in layout.tests}


def tests_of(calls: Calls, path: str, first_line: int) -> list[str]:
    """The test files that call the function that begins in this line of this file."""
    return [test for test, called in calls.items() if called is None or first_line in called.get(path, ())]


def copy_tree(tree: Path, target: Path) -> None:
    """The same files under another name: whoever changes one must unlink it first."""
    shutil.copytree(tree, target, symlinks=True, copy_function=_link)


def _link(source: str, target: str) -> None:
    os.link(source, target, follow_symlinks=False)


def _read(output: str) -> dict[str, list[int]] | None:
    _, mark, text = output.rpartition(_MARK)
    try:
        calls = json.loads(zlib.decompress(base64.b85decode(text.strip()))) if mark else None
    except (ValueError, zlib.error):
        return None
    return None if calls is None else {path: sorted(lines) for path, lines in sorted(calls.items())}
