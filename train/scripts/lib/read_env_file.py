"""Reads a `.env` file for the scripts; prints NUL-ended KEY=VALUE pairs. Needs nothing but a Python 3.

    python3 train/scripts/lib/read_env_file.py .env | tr '\\0' '\\n'

    # a comment, and `export ` in front of a name is allowed
    GAME_TYPES=hex,go                  # a comment after a value needs a space before its #
    WANDB_NOTES="spaces, a # and \\"quotes\\"; \\n is a line break, \\\\ a backslash"
    PASSWORD='as it stands: $HOME, `id` and \\ mean nothing'

One variable a line. Values are text: nothing is expanded or run. The last of two equal names wins.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ASSIGNMENT = re.compile(r"\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=(\s*)(.*)", re.ASCII)
SINGLE_QUOTED = re.compile(r"'([^']*)'(.*)")
DOUBLE_QUOTED = re.compile(r'"((?:\\.|[^"\\])*)"(.*)')
ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "\\": "\\", '"': '"', "$": "$", "`": "`"}


class DotenvError(ValueError):
    """A line that cannot be read. The message names file and line, never the value: it may be a secret."""


def read_dotenv(data: bytes, name: str = ".env") -> dict[str, str]:
    """The variables of a `.env` file, in its order. LF, CRLF and a byte order mark are understood.

    Raises DotenvError for the first line that is not a comment, empty, or an assignment in UTF-8.
    """
    values: dict[str, str] = {}
    for number, raw in enumerate(re.split(rb"\r\n|\n|\r", data), start=1):
        where = f"{name}:{number}"
        try:
            line = raw.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError:
            raise DotenvError(f"{where}: not UTF-8 text: save the file as UTF-8") from None
        if "\0" in line:
            raise DotenvError(f"{where}: holds a NUL byte: this is not a text file")
        if line.strip() and not line.lstrip().startswith("#"):
            key, value = parse_line(line, where)
            values[key] = value
    return values


def parse_line(line: str, where: str) -> tuple[str, str]:
    """('KEY', 'value') of one assignment. Raises DotenvError."""
    match = ASSIGNMENT.fullmatch(line)
    if not match:
        raise DotenvError(f"{where}: not KEY=VALUE, a comment or an empty line")
    key, space, rest = match.groups()
    if rest[:1] not in ("'", '"'):
        return key, unquoted(space, rest)
    quoted = (SINGLE_QUOTED if rest[0] == "'" else DOUBLE_QUOTED).fullmatch(rest)
    if not quoted:
        raise DotenvError(f"{where}: the value of {key} has no closing {rest[0]} on its line")
    value, after = quoted.groups()
    if after.strip() and not re.match(r"\s+#", after):
        raise DotenvError(f"{where}: text after the closing {rest[0]} of {key}")
    return key, value if rest[0] == "'" else re.sub(r"\\(.)", _unescape, value)


def unquoted(space: str, rest: str) -> str:
    """`a b # note` → `a b`; `#1` is a value right after the `=` and a comment after a space, as in a shell."""
    return re.sub(r"(^|\s+)#.*" if space else r"\s+#.*", "", rest).strip()


def _unescape(match: re.Match[str]) -> str:
    return ESCAPES.get(match.group(1), match.group(0))


def main() -> int:
    path = Path(sys.argv[1])
    try:
        values = read_dotenv(path.read_bytes(), str(path))
    except DotenvError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"error: {path}: cannot be read: {error.strerror}", file=sys.stderr)
        return 2
    for key, value in values.items():
        sys.stdout.buffer.write(f"{key}={value}\0".encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
