"""The files that SFT_TRAIN_FILES or SFT_VAL_FILES lists, as absolute paths with a NUL after each.

    python train/scripts/lib/sft_files.py SFT_TRAIN_FILES "moves.parquet, 'a, b.parquet'" /home/me/veritas-rl
    /home/me/veritas-rl/train/parquet/moves.parquet␀/home/me/a, b.parquet␀

Commas stand between paths; a path that holds a comma, or begins or ends with a space, has quotes around it. Relative
paths are looked for in the current folder, then in the repository. One line on stderr and exit status 2 for a list
that cannot be read and a file that is not there.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

ITEM = re.compile(r"""\s*(?:"([^"]*)"|'([^']*)'|([^,"'\s][^,]*?)?)\s*(?:,|$)""", re.DOTALL)


class FileListError(ValueError):
    """The list cannot be read, or a file of it cannot be trained on."""


def split_list(text: str) -> list[str]:
    """The paths of a list, in its order. Raises FileListError."""
    paths, position = [], 0
    text = text.rstrip() or text
    while position < len(text):
        match = ITEM.match(text, position)
        if not match:
            raise FileListError(f"cannot be read at {text[position:].strip()!r}: a quote that opens has to close")
        path = next((group for group in match.groups() if group is not None), "")
        if not path:
            raise FileListError(f"{text!r} has an empty path: one comma stands between two paths")
        paths.append(path)
        position = match.end()
    return paths


def find_file(path: str, folders: list[Path]) -> Path:
    """The absolute path of a parquet file, looked for in `folders` in turn. Raises FileListError."""
    if not path.endswith(".parquet"):
        hint = "; a path that holds a comma needs quotes around it" if not Path(path).suffix else ""
        raise FileListError(f"{path} is not a .parquet file: data_processing/convert_to_parquet.py makes one{hint}")
    places = [Path(os.path.abspath(folder / Path(path).expanduser())) for folder in folders]  # noqa: PTH100, links stay
    found = next((place for place in places if place.exists()), None)
    if found is None:
        raise FileListError(f"{path} is not there (looked for {' and '.join(dict.fromkeys(map(str, places)))})")
    if not found.is_file():
        raise FileListError(f"{found} is not a file")
    if not os.access(found, os.R_OK):
        raise FileListError(f"{found} cannot be read: check its permissions")
    return found


def main() -> int:
    name, text, repository = sys.argv[1:]
    try:
        files = [find_file(path, [Path.cwd(), Path(repository)]) for path in split_list(text)]
    except FileListError as error:
        print(f"error: {name}: {error}", file=sys.stderr)
        return 2
    sys.stdout.write("".join(f"{file}\0" for file in files))
    return 0


if __name__ == "__main__":
    sys.exit(main())
