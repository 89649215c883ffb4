"""What the model sees of a task: the issue, and files of the repository among which are those to be changed.

    system  You repair software. You are given an issue and files of the repository. …
    user    # Issue in owner/calc
            clamp(5, 0, 3) returns 0.
            # Files
            ## calc/ranges.py …  ## calc/core.py …                     (in no particular order)

The files that the right answer changes are shown together with others of the repository. All are treated alike: their
order is that of a hash, and a file that is too long is shown in pieces, those to be changed among others, so that
neither place nor length tells where the bug is. Nothing else is taken from the right answer: no line of it, no test.

There is no tokenizer here: room is counted in characters. SmolLM2's makes a token of 3.4 of them in the middle of 84
prompts from seven packages, of 2.5 where a prompt is full of numbers.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from pathlib import PurePosixPath

from env_adapter import EnvError
from swe.excerpts import changed_lines, choose, lines_of, pieces, rendered
from swe.patches import is_protected
from swe.repos import RepoCache
from swe.rows import SweRow

CHARACTERS_PER_TOKEN = 3.0

LEAST_ROOM = 1200
"""Characters: with less for each, fewer files are shown."""

_TALE = 12
"""Characters of a line that could tell of the right answer; a shorter one stands in any file."""
_LEAST_WORDS = 600
_LONGEST_FILE = 400_000
_FEWEST_LINES = 5
_TRIED = 4
"""Files looked at for each that is shown beside those to be changed."""

SYSTEM = """\
You repair software. You are given an issue and files of the repository that it is about. Reply with a patch that \
resolves the issue: one unified diff, as git writes it, in one block.

- Paths begin at the root of the repository, after a/ for the old file and b/ for the new one.
- Lines that stay and lines that go are copied exactly, with their indentation. Line numbers after @@ may be off.
- Change no more than the issue needs, and no tests: the repository's tests decide whether your patch is right.

You may reason first. End with the block, which looks like this:

```diff
--- a/shop/cart.py
+++ b/shop/cart.py
@@ -12,4 +12,4 @@
     result = 0
     for item in items:
-        result = item.price
+        result += item.price
     return result
```"""


def messages(
    row: SweRow,
    repos: RepoCache,
    budget_tokens: int = 6000,
    *,
    distractors: int = 3,
    include_hints: bool = False,
    characters_per_token: float = CHARACTERS_PER_TOKEN,
) -> list[dict[str, str]]:
    """The chat of a task: a pure function of its arguments.

    It keeps to `budget_tokens`, estimated, unless the pieces that must be changed alone take more. `distractors`: how
    many files are shown beside those to be changed, where there is room. `include_hints`: with `hints_text`, the
    comments on the issue, which can hold the answer. Raises EnvError when the repository cannot be read.
    """
    room = int(budget_tokens * characters_per_token) - len(SYSTEM)
    words = [f"# Issue in {row.repo.removeprefix('pypi/')}", _shortened(row.problem_statement.strip(), room // 2)]
    hints = str(row.others.get("hints_text") or "").strip()
    if include_hints and hints:
        words += ["# Comments", _shortened(hints, room // 4)]
    words += ["# Files", "Some files of the repository, in no particular order."]
    end = "Reply with the patch, in one block of diff."
    room -= sum(map(len, words)) + len(end)
    files = _files(row, repos, room, distractors)
    return [
        {"role": "system", "content": SYSTEM},
        {"role": "user", "content": "\n\n".join([*words, *files, end])},
    ]


def shown_paths(row: SweRow, repos: RepoCache, distractors: int = 3) -> list[str]:
    """The files that a prompt with enough room shows, in its order. Raises EnvError as `messages` does."""
    texts, _ = _texts(row, repos, distractors)
    return _shuffled(texts, row)


def _files(row: SweRow, repos: RepoCache, room: int, distractors: int) -> list[str]:
    texts, changed = _texts(row, repos, distractors)
    others = [path for path in texts if path not in changed]
    while others and room // len(texts) < LEAST_ROOM and sum(map(len, texts.values())) > room:
        del texts[others.pop()]
    shares = _shares({path: len(text) for path, text in texts.items()}, room)
    return [_file(row, path, texts[path], changed.get(path, set()), shares[path]) for path in _shuffled(texts, row)]


def _file(row: SweRow, path: str, text: str, needed: set[int], share: int) -> str:
    cut = pieces(text, path)
    if len(text) <= share:
        return rendered(path, text, cut, cut)
    # A patch shows lines around its change, which can be those of the next piece.
    around = {line + more for line in needed for more in (-1, 0, 1)}
    order = {piece: _digest(row, path, str(piece.first)) for piece in cut}
    return rendered(path, text, cut, choose(cut, text, around, share, order.__getitem__))


def _texts(row: SweRow, repos: RepoCache, distractors: int) -> tuple[dict[str, str], dict[str, set[int]]]:
    """Path → text of the files to show, those to be changed first; and the lines of these that change."""
    gold = changed_lines(row.patch)
    texts = repos.read_text(row.repo, row.base_commit, gold)
    changed = {path: gold[path] for path in texts}
    added = _added_lines(row.patch, texts.values())
    candidates = _candidates(row, repos.paths(row.repo, row.base_commit), set(gold))
    tried = candidates[: distractors * _TRIED]
    for path, text in (repos.read_text(row.repo, row.base_commit, tried) if tried else {}).items():
        if len(texts) == len(changed) + distractors:
            break
        # A copy of the file without the bug, such as build/lib has one, holds the answer.
        lines = [line.strip() for line in lines_of(text)]
        if len(text) < _LONGEST_FILE and len(lines) >= _FEWEST_LINES and added.isdisjoint(lines):
            texts[path] = text
    if not texts:
        raise EnvError(f"{row.instance_id}: commit {row.base_commit} of {row.repo} has no file that could be shown")
    return texts, changed


def _candidates(row: SweRow, paths: list[str], gold: set[str]) -> list[str]:
    """Files beside those to be changed: of the same kind, no tests, near ones first."""
    kinds = {PurePosixPath(path).suffix for path in gold} | {".py"}
    tests = {name.partition("::")[0] for name in (*row.fail_to_pass, *row.pass_to_pass)} | set(
        changed_lines(row.test_patch)
    )
    fitting = [
        path
        for path in paths
        if PurePosixPath(path).suffix in kinds and path not in gold and path not in tests and not is_protected(path)
    ]
    return sorted(fitting, key=lambda path: (min((_distance(path, to) for to in gold), default=0), _digest(row, path)))


def _distance(path: str, other: str) -> int:
    """Steps from the one file's directory to the other's."""
    here, there = PurePosixPath(path).parent.parts, PurePosixPath(other).parent.parts
    shared = next((n for n, (a, b) in enumerate(zip(here, there, strict=False)) if a != b), min(len(here), len(there)))
    return len(here) + len(there) - 2 * shared


def _added_lines(patch: str, texts: Iterable[str]) -> set[str]:
    """Lines that the right answer brings and that these files do not have yet."""
    there = {line.strip() for text in texts for line in lines_of(text)}
    brought = {line[1:].strip() for line in lines_of(patch) if line.startswith("+") and not line.startswith("+++ ")}
    return {line for line in brought - there if len(line) >= _TALE}


def _shares(lengths: dict[str, int], room: int) -> dict[str, int]:
    """Path → room: an equal share for each; what a short file leaves goes to the longer ones."""
    shares, left = {}, max(room, 0)
    for number, path in enumerate(sorted(lengths, key=lambda path: (lengths[path], path))):
        shares[path] = min(lengths[path], left // (len(lengths) - number))
        left -= shares[path]
    return shares


def _shuffled(paths: Iterable[str], row: SweRow) -> list[str]:
    return sorted(paths, key=lambda path: _digest(row, "order", path))


def _shortened(text: str, room: int) -> str:
    """The beginning and the end of a text that is too long."""
    room = max(room, _LEAST_WORDS)
    if len(text) <= room:
        return text
    head, tail = room * 2 // 3, room // 3  # a traceback tells most at its end
    return f"{text[:head]}\n\n[{len(text) - head - tail} characters are left out]\n\n{text[-tail:]}"


def _digest(row: SweRow, *parts: str) -> bytes:
    return sha256("\0".join((row.instance_id, *parts)).encode()).digest()
