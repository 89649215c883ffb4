"""The games of a training run, one line each, and the opponent that they have earned: `games.jsonl`.

    {"step": 12, "task_id": 7, "game": "hex(board_size=5)", "seat": 1, "opponent": "mcts(20)", "score": 1.0,
     "won": true, "ending": "finished", "turns": 9, "illegal": 0, "tokens": 31, "sequences": 1}

The opponent of a case is the first in the list that is not beaten yet: that the policy has not won `promote_at` of the
latest `promote_games` games against, whole steps counted. That is a function of the lines, so it is the same after a
resume, which drops the lines of steps that are trained again. The file is the whole state.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

from atomic_file import atomic_file

FILE = "games.jsonl"


class GameRecords:
    """One for a run, in a process of its own or an actor: it is asked by several workers, one after the other.

    `earlier` is the file of the run whose checkpoint this one goes on from, used where `file` is not there yet.
    """

    def __init__(self, file: Path, earlier: Path | None = None) -> None:
        self._file, self._earlier = Path(file), earlier and Path(earlier)
        self._log: TextIO | None = None
        self._results: dict[tuple[str, str], dict[int, list[int]]] = defaultdict(lambda: defaultdict(lambda: [0, 0]))
        self._chosen: dict[tuple[int, str], str] = {}

    def opponent(self, step: int, game: str, opponents: Sequence[str], promote_at: float, promote_games: int) -> str:
        """Who is played in this step: one opponent for all games of a case, decided by the steps before."""
        self._open(step)
        key = (step, game)
        if key not in self._chosen:
            unbeaten = (name for name in opponents if not self._beaten(step, game, name, promote_at, promote_games))
            self._chosen[key] = next(unbeaten, opponents[-1])
        return self._chosen[key]

    def add(self, record: dict[str, Any]) -> None:
        """Raises OSError where the file cannot be written."""
        log = self._open(record["step"])
        log.write(json.dumps(record) + "\n")
        log.flush()
        self._count(record)

    def _beaten(self, step: int, game: str, opponent: str, promote_at: float, promote_games: int) -> bool:
        games = won = 0
        results = self._results.get((game, opponent), {})
        for earlier in sorted((number for number in results if number < step), reverse=True):
            games, won = games + results[earlier][0], won + results[earlier][1]
            if games >= promote_games:
                return won >= promote_at * games
        return False

    def _count(self, record: dict[str, Any]) -> None:
        result = self._results[record["game"], record["opponent"]][record["step"]]
        result[0] += 1
        result[1] += bool(record["won"])

    def _open(self, step: int) -> TextIO:
        """The file, with the steps before this one, the first that is asked for."""
        if self._log is None:
            source = self._file if self._file.exists() or self._earlier is None else self._earlier
            kept = [record for record in _read(source) if record["step"] < step]
            for record in kept:
                self._count(record)
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with atomic_file(self._file) as temporary:
                temporary.write_text("".join(json.dumps(record) + "\n" for record in kept), encoding="ascii")
            self._log = self._file.open("a", encoding="ascii")
        return self._log


def _read(file: Path) -> Iterator[dict[str, Any]]:
    """The whole records of a file; a line that a kill has cut is left out."""
    if not file.exists():
        return
    for line in file.read_text(encoding="utf-8").splitlines():
        try:
            record = json.loads(line)
            whole = all(name in record for name in ("game", "opponent", "won")) and isinstance(record["step"], int)
        except (ValueError, KeyError, TypeError):
            continue
        if whole:
            yield record
