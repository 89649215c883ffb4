"""A script of swebench whose output can be told from what other code has printed, and its tests' exit status.

    : '>>>>> Start Test Output'               echo '>>>>> Start 5d456c7f…'
    pytest -rA tests/test_core.py       →     pytest -rA tests/test_core.py
    : '>>>>> End Test Output'                 VERITAS_STATUS=$?
                                              echo '>>>>> End 5d456c7f…'
                                              echo "5d456c7f… exit $VERITAS_STATUS"

The number is another one in each run, and not known to the code that is judged.
"""

from __future__ import annotations

import base64
import re
import shlex
from collections.abc import Mapping

from env_adapter import EnvError

_MARK = r"(?m)^[ \t]*(?::|echo) ['\"]?>>>>> {} Test Output['\"]?[ \t]*$"


def marked_script(script: str, number: str, files: Mapping[str, str], what: str) -> str:
    """swebench's script with a random number in its marks, the tests' exit status, and other test files, if any.

    Raises EnvError for a script without marks.
    """
    marks = [list(re.finditer(_MARK.format(word), script)) for word in ("Start", "End")]
    if [len(found) for found in marks] != [1, 1] or marks[0][0].end() > marks[1][0].start():
        raise EnvError(f"{what}: its eval_script does not mark once where the output of its tests starts and ends")
    start, end = marks[0][0], marks[1][0]
    writes = "".join(
        f"base64 -d > {shlex.quote(path)} <<'EOF'\n{base64.encodebytes(text.encode()).decode()}EOF\n"
        for path, text in files.items()
    )
    return (
        f"{script[: start.start()]}\n{writes}echo '>>>>> Start {number}'\n{script[start.end() : end.start()]}\n"
        f"VERITAS_STATUS=$?\necho '>>>>> End {number}'\necho \"{number} exit $VERITAS_STATUS\"{script[end.end() :]}"
    )


def marked_output(output: str, number: str) -> tuple[str, int | None]:
    """What was printed between the marks, and the tests' exit status: None where the end was not reached."""
    match = re.search(rf"^>>>>> Start {number}\n(.*)^>>>>> End {number}$", output, re.DOTALL | re.MULTILINE)
    status = re.search(rf"^{number} exit (\d+)$", output, re.MULTILINE)
    return (match[1], int(status[1])) if match and status else ("", None)
