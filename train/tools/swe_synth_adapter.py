"""Software repair, judged by running the tests: the environment `swe-synth`.

The end of a task's two messages, and an answer to it:

    # Issue in calc
    clamp(5, 0, 3) returns 0, and it should return 3.
    # Files
    ## calc/ranges.py
    def clamp(x, lo, hi):
        if x > hi:
            return lo …

    ```diff
    --- a/calc/ranges.py
    +++ b/calc/ranges.py
    @@ -2,2 +2,2 @@
         if x > hi:
    -        return lo
    +        return hi
    ```                                                    scores 1.0 where all tests pass, in a sandbox; else 0

Tasks are rows in the spelling of SWE-bench (swe/rows.py): a dataset of the hub, or files that
data_processing/synthesize_swe_tasks.py made. The prompt is made by swe/prompts.py, an answer is judged by a backend of
swe/backends.py; to make prompts none is needed.
"""

from __future__ import annotations

import difflib
import functools
import json
import logging
import random
import sys
import threading
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from env_adapter import Challenge, EnvError, Score, SettingsError, parse_settings
from swe import predictions
from swe.backends import Judge, open_backend
from swe.excerpts import fenced, lines_of
from swe.patches import extract_patch
from swe.prompts import messages, shown_paths
from swe.published_rows import is_published
from swe.repos import RepoCache
from swe.row_source import RowSource
from swe.rows import SweRow
from swe.settings import SweSynthSettings
from swe.test_runs import python_folders

if TYPE_CHECKING:
    from swe.agent_dialogue import AgentDialogue

logger = logging.getLogger("swe-synth")

DEFAULT_TASKS = 100
SCORES_KEPT = 4096
DEFAULT_REPO_CACHE = Path(__file__).parents[1] / "artifacts/swe_repos"


class SweSynthAdapter:
    """The environment `swe-synth` (see `env_adapter.EnvAdapter`). Raises SettingsError for settings it cannot serve."""

    name = "swe-synth"

    def __init__(self, config: Mapping[str, Any] | None = None) -> None:
        self.settings = settings = parse_settings(SweSynthSettings, config)
        if settings.task_ids and settings.task_id_range:
            raise SettingsError(f"task_ids and task_id_range={settings.task_id_range}: only one of them can be meant")
        if len(set(settings.task_ids)) < len(settings.task_ids):
            raise SettingsError(f"task_ids={settings.task_ids} names a task twice")
        if settings.task_id_range and settings.task_id_range[0] >= settings.task_id_range[1]:
            first, after = settings.task_id_range
            raise SettingsError(f"task_id_range={first}:{after} is empty: the second number is the first one left out")
        cache_dir = settings.cache_dir.expanduser().absolute() if settings.cache_dir else None
        self.source = RowSource(settings.dataset_name, settings.split, cache_dir, settings.use_cache_only)
        repo_cache = settings.repo_cache or (cache_dir / "repos" if cache_dir else DEFAULT_REPO_CACHE)
        self.repos = RepoCache(repo_cache, not settings.use_cache_only, settings.repo_url)
        self.python = Path(settings.python or sys.executable)
        self._lock = threading.Lock()
        self._scores: dict[bytes, Score] = {}
        self._judge: Judge | None = None

    @functools.cached_property
    def _numbers(self) -> Sequence[int]:
        """The rows, by number: task i is row `_numbers[i]`."""
        if self.settings.task_ids:
            return self.settings.task_ids
        if self.settings.task_id_range:
            return range(*self.settings.task_id_range)
        numbers = self.source.numbers()[:DEFAULT_TASKS]
        if not numbers:
            place = self.settings.cache_dir if self.source.has_own_tasks else self.settings.dataset_name
            raise SettingsError(f"{place} holds no task: data_processing/synthesize_swe_tasks.py makes some")
        return numbers

    @property
    def agent_loop(self) -> str | None:
        """The agent loop that works on its tasks turn by turn, or None where a task is one question and one answer."""
        return "swe_agent" if self.settings.mode == "agent" else None

    @property
    def dialogues_at_once(self) -> int:
        return self.settings.agent.at_once

    def num_tasks(self) -> int:
        return len(self._numbers)

    def validate(self) -> None:
        """Read every row, look for the repositories where none may be fetched, and try the backend.

        Raises SettingsError; where a hub or a sandbox is what is missing, NotHere. Warns of a benchmark's test split.
        """
        seen: dict[str, int] = {}
        folders = python_folders(self.python) if self.agent_loop else ()
        kinds: dict[bool, SweRow] = {}
        for number in self._numbers:
            row = self.source.row(number)
            kinds.setdefault(is_published(row), row)
            if row.instance_id in seen:
                raise SettingsError(f"tasks {seen[row.instance_id]} and {number} are the same: {row.instance_id}")
            seen[row.instance_id] = number
            if self.agent_loop:
                from swe.agent_workplace import check_hidden

                check_hidden(row, self.python, folders)
            if self.settings.use_cache_only:
                self._check_repository(row)
        if self.source.benchmark:
            logger.warning(
                "%s is a published benchmark: a model that is trained on these tasks must not be measured on them",
                self.source.benchmark,
            )
        if self.settings.backend != "none":
            self.judge(kinds.values())

    def _check_repository(self, row: SweRow) -> None:
        try:
            self.repos.with_commit(row.repo, row.base_commit)
        except EnvError as error:
            raise SettingsError(f"{row.instance_id}: {error}") from error

    def judge(self, rows: Iterable[SweRow] = ()) -> Judge:
        """Opened once in a process, by the first who needs it; for `rows`, now. Raises SettingsError where nothing can
        run their tests."""
        settings = self.settings
        if settings.backend == "none":
            raise SettingsError("backend=none makes prompts and judges nothing: set SWE_BACKEND=auto")
        with self._lock:
            if self._judge is None:
                self._judge = open_backend(
                    settings.backend,
                    self.repos,
                    python=self.python,
                    limits=settings.limits,
                    max_sandboxes=settings.max_sandboxes,
                    rows=rows,
                )
        return self._judge

    def generate(self, task_id: int) -> Challenge:
        """Raises EnvError when the repository cannot be had."""
        if not 0 <= task_id < self.num_tasks():
            raise IndexError(f"task id {task_id} is outside 0 … {self.num_tasks() - 1}")
        number = self._numbers[task_id]
        row = self.source.row(number)
        if self.agent_loop:
            # Imported here: mini-swe-agent is needed only by those who use it.
            from swe.mini_agent import opening

            chat = opening(row.problem_statement, self.settings.agent.config)
        else:
            chat = messages(
                row,
                self.repos,
                self.settings.prompt_tokens,
                distractors=self.settings.distractors,
                include_hints=self.settings.include_hints,
                characters_per_token=self.settings.characters_per_token,
            )
        return Challenge(self.name, task_id, chat, {"task_type": row.repo, "task_number": number, "row": row.to_dict()})

    def evaluate(self, response: str, challenge: Challenge) -> Score:
        """Metrics: `resolved`, which is the reward, 1 or 0; `answered` (there is a patch), `applied`, the shares
        `fail_to_pass` and `pass_to_pass`, and `tampered` (it tried to pass by a trick).
        """
        return self._score_of(_row_of(challenge), extract_patch(response))

    def dialogue(self, challenge: Challenge) -> AgentDialogue:
        """A session of mini-swe-agent on a task (mode=agent). Metrics: those of `evaluate`, and the session's own."""
        from swe.agent_dialogue import begin_task

        settings = self.settings
        return begin_task(_row_of(challenge), self.repos, self.python, settings.limits, self._score_of, settings.agent)

    def exports(self, model: str, answers: Iterable[tuple[Challenge, str]]) -> dict[str, str]:
        """Files for other tools, name → text: the patches as SWE-bench's own take them. What an agent has submitted is
        a patch as it is."""
        patch_of = (lambda text: text) if self.agent_loop else extract_patch
        patches = ((_row_of(challenge).instance_id, patch_of(answer)) for challenge, answer in answers)
        return {predictions.FILE: predictions.predictions_text(model, patches)}

    def _score_of(self, row: SweRow, patch: str) -> Score:
        if not patch or not _is_text(patch):
            return _score(answered=bool(patch))
        # The answers to one prompt are often the same patch.
        key = sha256(json.dumps([row.to_dict(), patch], sort_keys=True).encode()).digest()
        score = self._scores.get(key)
        if score is None:
            score = self._judged(row, patch)
            with self._lock:
                if len(self._scores) >= SCORES_KEPT:
                    del self._scores[next(iter(self._scores))]
                self._scores[key] = score
        return score

    def _judged(self, row: SweRow, patch: str) -> Score:
        try:
            verdict = self.judge().evaluate(row, patch)
        except SettingsError as error:
            raise EnvError(str(error)) from error
        return _score(
            answered=True,
            applied=verdict.applied,
            fail_to_pass=verdict.fail_to_pass,
            pass_to_pass=verdict.pass_to_pass,
            resolved=verdict.resolved,
            tampered=verdict.tampered,
        )

    def reference_answer(self, challenge: Challenge) -> str | None:
        return fenced(_row_of(challenge).patch, "diff")

    def random_answer(self, challenge: Challenge, seed: int) -> str | None:
        """A patch that puts a comment at the end of a file; None where no file ends as a text does."""
        row = _row_of(challenge)
        texts = self.repos.read_text(row.repo, row.base_commit, shown_paths(row, self.repos, self.settings.distractors))
        fitting = [path for path, text in texts.items() if text.endswith("\n") and path.endswith(".py")]
        if not fitting:
            return None
        chance = random.Random(f"{seed}:{challenge.task_id}")
        path = chance.choice(fitting)
        old = lines_of(texts[path])
        new = [*old, "# Nothing is changed here.\n"]
        return fenced("".join(difflib.unified_diff(old, new, f"a/{path}", f"b/{path}")), "diff")


def _score(**parts: float) -> Score:
    names = ("answered", "applied", "fail_to_pass", "pass_to_pass", "resolved", "tampered")
    metrics = {name: float(parts.get(name, 0)) for name in names}
    return Score(metrics["resolved"], metrics)


def _row_of(challenge: Challenge) -> SweRow:
    """Raises EnvError when the challenge is not one that `generate` made."""
    try:
        return SweRow.from_dict(challenge.extra["row"], f"task {challenge.task_id}")
    except (KeyError, SettingsError) as error:
        raise EnvError(f"corrupted challenge {challenge.task_id}: {error!r} in {str(challenge.extra)[:300]}") from error


def _is_text(patch: str) -> bool:
    try:
        patch.encode()
    except UnicodeEncodeError:  # half a character
        return False
    return "\0" not in patch
