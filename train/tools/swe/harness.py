"""Runs inside the sandbox: pytest over some test files, every outcome reported with a signature.

    python -s harness.py < {"key": "9f…", "files": ["tests/test_core.py"], "pythonpath": ["."], "watched": {…}}

The interpreter is the task's, with pytest and nothing of this project. What is trusted here is imported before the
repository is on sys.path. Reports go through the pipe $REPORT_FD, one JSON object a line, signed with a key that is
read once; what is printed counts for nothing. This does not make them true: code under test lives in the same process.
It makes forging hard; that a forger is found out is the work of wrong tests (decoys.py).

    {"n": 3, "id": "tests/test_core.py::test_hi", "outcome": "passed", "sites": {"4": [1, 0]}}

"sites" counts how often each assertion (`with __site__(4): assert …`) held and failed. A failed assertion does not end
its test, in a right test no more than in a wrong one, so that neither can be told from the other by trying.
"""

import hashlib
import hmac
import json
import os
import sys

PLUGIN_AUTOLOAD = "PYTEST_DISABLE_PLUGIN_AUTOLOAD"
PEEKS = {
    "sys._getframe": "_getframe",
    "sys._current_frames": "_current_frames",
    "sys._current_exceptions": "_current_exceptions",
    "sys.settrace": "settrace",
    "sys.setprofile": "setprofile",
    "sys.monitoring.register_callback": "monitoring",
    "gc.get_objects": "get_objects",
    "gc.get_referrers": "get_referrers",
    "gc.get_referents": "get_referents",
    "ctypes.dlopen": "ctypes",
    "ctypes.dlsym": "ctypes",
    "ctypes.cdata": "ctypes",
    "ctypes.string_at": "ctypes",
}
"""Audit event → the word in a source file that is a reason for it: https://docs.python.org/3/library/audit_events.html"""
FRAME_ATTRIBUTES = ("tb_frame", "gi_frame", "cr_frame", "ag_frame")
FILE_EVENTS = ("open", "os.link", "os.symlink", "os.rename")
LENDERS = ("inspect.py", "traceback.py")
"""Modules of the standard library that look at frames for whoever asks them."""


def main():
    # In a function: names of a module can be read by whoever imports __main__.
    del sys.path[0]  # where this file is
    spec = json.loads(sys.stdin.buffer.readline())
    descriptor = os.dup(int(os.environ.pop("REPORT_FD")))
    os.environ[PLUGIN_AUTOLOAD] = "1"
    import _pytest.assertion.rewrite
    import _pytest.python
    import _pytest.reports
    import _pytest.runner
    import _pytest.unittest  # noqa: F401
    import pytest

    emit = reporter(bytes.fromhex(spec.pop("key")), descriptor)
    emit(id="", outcome="start")
    plugin = Plugin(emit)
    import builtins

    builtins.__site__ = plugin.site
    builtins.__wrong__ = wrong
    sys.path[:0] = [os.path.normpath(os.path.join("/testbed", path)) for path in spec["pythonpath"]]
    sys.addaudithook(auditor(spec["watched"], set(spec["files"]), emit))
    arguments = ["-q", "-p", "no:cacheprovider", "--tb=short", "--continue-on-collection-errors", "-o", "addopts="]
    arguments += ["--rootdir=/testbed", *spec["options"], *spec["files"]]
    code = pytest.main(arguments, plugins=[plugin])
    emit(id="", outcome="end", code=int(code))


def reporter(key, descriptor):
    """A function that writes signed, numbered reports."""
    write, dumps, sign, digest = os.write, json.dumps, hmac.new, hashlib.sha256
    number = [0]

    def emit(**report):
        body = dumps({"n": number[0], **report}).encode()
        number[0] += 1
        write(descriptor, sign(key, body, digest).hexdigest().encode() + b" " + body + b"\n")

    return emit


class Plugin:
    """Tells every outcome, and what the assertions of each test gave."""

    def __init__(self, emit):
        self.emit, self.test, self.sites = emit, None, {}

    def site(self, number):
        return Site(self, number)

    def pytest_runtest_logstart(self, nodeid):
        self.test, self.sites = nodeid, {}

    def pytest_runtest_logreport(self, report):
        if report.when == "call" or report.outcome != "passed":
            outcome = report.outcome
            if hasattr(report, "wasxfail"):
                outcome = "xfailed" if outcome == "skipped" else "xpassed"
            elif report.when != "call" and outcome == "failed":
                outcome = "error"
            self.emit(id=report.nodeid, outcome=outcome, sites=self.sites)

    def pytest_collectreport(self, report):
        if report.failed:
            self.emit(id=report.nodeid, outcome="error", sites={})


class Site:
    """One assertion: counted, and no reason to stop."""

    def __init__(self, plugin, number):
        self.plugin, self.number = plugin, number

    def __enter__(self):
        return None

    def __exit__(self, kind, error, trace):
        if kind is not None and not issubclass(kind, AssertionError):
            return False
        if self.plugin.test is None:
            return False
        counts = self.plugin.sites.setdefault(self.number, [0, 0])
        counts[0 if kind is None else 1] += 1
        return True


def wrong(value, place=0):
    """A value like this one, but another: a number, a letter, an item is changed; what has none is replaced.

    At place -1 it is far from this one, and from what may be right as well.
    """
    if place == -1:
        return far(value)
    if isinstance(value, bool) or value is None:
        return not value
    if isinstance(value, (int, float, complex)):
        return value + 1 + place if value + 1 + place != value else -value
    if isinstance(value, str):
        return value + "q" if place % 2 == 0 else "q" + value[1:] if value[:1] != "q" else "x" + value[1:]
    if isinstance(value, bytes):
        return value + b"q"
    if isinstance(value, (list, tuple)) and type(value) in (list, tuple) and value:
        items = list(value)
        spot = place % len(items)
        items[spot] = wrong(items[spot], place)
        return type(value)(items)
    if type(value) is dict and value:
        items = dict(value)
        spot = list(items)[place % len(items)]
        items[spot] = wrong(items[spot], place)
        return items
    if type(value) in (set, frozenset):
        return type(value)([*value, "q"])
    return [value, "q"]


def far(value):
    """No value that a test means: out of any tolerance, in no list of choices; of its type where `in` asks for that."""
    if isinstance(value, (int, float, complex)) and not isinstance(value, bool):
        return value * -7919.5 - 7919.5
    if isinstance(value, str):
        return value + "\u2060q7919"
    if isinstance(value, bytes):
        return value + b"\x00q7919"
    return ("q7919",)


def auditor(watched, tests, emit):
    """A hook that ends the run when changed code looks at who calls it, or reads the tests.

    `watched`: changed file → the words that its source had before, or has in the accepted solution. Such a hook cannot
    be taken away again: PEP 578.
    """
    library = os.path.dirname(os.__file__)
    files = {os.path.join("/testbed", path): set(words) for path, words in watched.items()}
    tests = {os.path.join("/testbed", path) for path in tests}
    names = {path.rpartition("/")[2] for path in tests}
    frame_of, exit_now, real = sys._getframe, os._exit, os.path.realpath
    busy = []

    def hook(event, arguments):
        if busy:
            return
        if event == "object.__getattr__":
            word = arguments[1] if arguments[1] in FRAME_ATTRIBUTES else None
        elif event in FILE_EVENTS:
            word = "open" if is_test(arguments[0]) else None
        else:
            word = PEEKS.get(event)
        if word is None:
            return
        busy.append(1)
        try:
            culprit = whose(frame_of(1), word == "open")
        finally:
            busy.clear()
        if culprit is not None and (word == "open" or word not in files.get(culprit, ())):
            emit(id="", outcome="tampered", what=event + " in " + culprit)
            exit_now(1)

    def is_test(path):
        if isinstance(path, bytes):
            path = path.decode("utf-8", "replace")
        return isinstance(path, str) and path.rpartition("/")[2] in names and real(path) in tests

    def whose(frame, reads):
        """The changed file, or text, whose code asks; None where it is anybody else."""
        while frame is not None:
            name = frame.f_code.co_filename
            if name in files or (name.startswith("<") and not name.startswith("<frozen")):
                return name
            module = name.rpartition("/")[2]
            in_library = name.startswith((library, "<frozen")) and "site-packages" not in name
            # Who reads a file reads it for its caller; a warning shows a line of whoever is warned.
            if not in_library or module == "warnings.py" or not (reads or module in LENDERS):
                return None
            frame = frame.f_back
        return None

    return hook


if __name__ == "__main__":
    main()
