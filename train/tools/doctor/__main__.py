"""The command line of doctor.sh: runs the checks, prints what they found.

    python train/tools/doctor               # every check, as a table; exit status 1 when one fails
    python train/tools/doctor --json        # {"ok": false, "checks": [{"check": …, "status": …, "found": …, "fix": …}]}
    python train/tools/doctor --quick       # in a second: only what is not ok, on stderr; what trainers do at the start

doctor.sh reads .env and chooses the Python to look at before.
"""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # not this folder, whose modules are of the package doctor

from doctor.accounts import check_tokens, check_wandb
from doctor.bounded import all_at_once
from doctor.checkpoints import check_disk
from doctor.compiled import check_imports, check_torch_and_driver
from doctor.context import Context
from doctor.gpu import check_driver, check_memory_in_use, check_profile
from doctor.lines import FAIL, WARN, Line, as_json, as_messages, as_table, masked
from doctor.machine import check_memory, check_open_files, check_shared_memory
from doctor.network import check_hub, check_ports
from doctor.pins import check_packages
from doctor.python import check_env_file, check_python, check_verl
from doctor.ray_leftovers import check_ray
from doctor.sandboxes import check_sandbox

ROOT = Path(__file__).resolve().parents[3]
Check = Callable[[], list[Line]]


def quick_checks(context: Context) -> list[Check]:
    """What a trainer has not checked itself by then."""
    checks: list[Callable[[Context], list[Line]]] = [
        check_shared_memory,
        check_memory,
        check_disk,
        check_open_files,
        check_ports,
        check_hub,
        check_tokens,
    ]
    return [partial(check, context) for check in checks]


def stack_checks(context: Context, note: str, fault: str) -> list[Line]:
    """Python, GPUs and packages. Where one fails, what builds on it is not looked at: it would fail for that."""
    python, driver = check_python(context, note, fault), check_driver(context)
    works = not _fails(driver)
    lines = [*python, *driver]
    if works and not context.quick:
        lines += check_profile(context)
    lines += check_memory_in_use(context)
    if _fails(python):
        return lines
    packages = check_packages(context)
    lines += packages
    if any(line.status == FAIL and not line.found.startswith("missing") for line in packages):
        return lines
    lines += check_torch_and_driver(context)
    if context.quick:  # a trainer has chosen verl, and importing takes seconds
        return lines
    verl, imports = all_at_once(partial(check_verl, context), partial(check_imports, context, works))
    return [*lines, *verl, *imports]


def _fails(lines: list[Line]) -> bool:
    return any(line.status == FAIL for line in lines)


def run_checks(checks: list[Check]) -> list[Line]:
    """Their lines in this order. A check that fails by a fault of its own warns, and hides nothing of the others."""

    def run(check: Check) -> list[Line]:
        try:
            return check()
        except Exception:  # noqa: BLE001 - a fault in here must neither stop a run nor hide what others find
            name = getattr(getattr(check, "func", check), "__name__", "check")
            fault = " / ".join(traceback.format_exc().strip().splitlines()[-3:])
            return [Line(name, WARN, f"{name} could not be made: {fault}", "report it; DOCTOR=0 leaves it out")]

    return [line for lines in all_at_once(*(partial(run, check) for check in checks)) for line in lines]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="doctor.sh", description="Says why this machine cannot train.")
    parser.add_argument("--json", action="store_true", help="everything as JSON")
    parser.add_argument("--quick", action="store_true", help="what takes a second; only what is not ok is shown")
    parser.add_argument("--for", dest="purpose", choices=("grpo", "sft"), default="", help="the run to come")
    parser.add_argument("--seconds", type=float, default=60, help="the longest that an import may take (60)")
    for hidden in ("--env-fault", "--python-note", "--python-fault"):  # doctor.sh: what lib/common.sh has said
        parser.add_argument(hidden, default="", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.seconds <= 0:
        parser.error("--seconds must be more than 0")
    context = Context(ROOT, dict(os.environ), options.quick, options.purpose, options.seconds)
    context.prepare()
    stack = partial(stack_checks, context, options.python_note, options.python_fault)
    if options.quick:
        checks = [stack, *quick_checks(context)]
    else:
        later = (check_shared_memory, check_memory, check_disk, check_open_files, check_ray, check_ports)
        last = (check_hub, check_tokens, check_wandb, check_sandbox)
        checks = [
            partial(check_env_file, context, options.env_fault),
            stack,
            *(partial(check, context) for check in (*later, *last)),
        ]
    lines = masked(run_checks(checks), context.environment)
    if options.json:
        print(as_json(lines))
    elif options.quick:
        sys.stderr.write(as_messages(lines))
    else:
        print(as_table(lines), end="")
    return int(_fails(lines))


if __name__ == "__main__":
    sys.exit(main())
