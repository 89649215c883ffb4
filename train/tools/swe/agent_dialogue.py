"""Mending a repository turn by turn, as a dialogue (env_adapter.Dialogue): mini-swe-agent asks, a model answers.

    dialogue = begin_task(row, repos, python, Limits(), judge, AgentSettings(steps=30))
    dialogue.advance()                             # begins; from then on, runs the command of the last reply
    while not dialogue.over:
        dialogue.answer(model(dialogue.messages))  # "…```mswea_bash_command\\nls\\n```"
        dialogue.advance()
    dialogue.submission, dialogue.score()          # "diff --git …", Score(value=1.0, …)

`judge` scores what was submitted, on a fresh tree: whatever the agent did to its own has no part in the reward. A
session that ends without a submission has submitted "", which scores 0: too many steps or unreadable replies, no time
or no room left, or a sandbox that its commands have broken. No history is forgotten: the chat is all that it knows.
"""

from __future__ import annotations

import functools
import queue
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

from env_adapter import Score
from sandbox.limits import Limits
from swe.agent_settings import AgentSettings
from swe.agent_workplace import SandboxEnvironment, agents_sandbox, check_hidden, workplace
from swe.mini_agent import (
    InterruptAgentFlow,
    Message,
    PolicyModel,
    chat,
    exit_message,
    load_config,
    new_agent,
    opening,
)
from swe.repos import RepoCache
from swe.rows import SweRow
from swe.test_runs import python_folders

METRICS = ("submitted", "steps", "format_errors", "timeouts", "no_room", "sandbox_lost")


def begin_task(
    row: SweRow,
    repos: RepoCache,
    python: Path,
    limits: Limits,
    judge: Callable[[SweRow, str], Score],
    settings: AgentSettings,
) -> AgentDialogue:
    """The dialogue of a task. `limits` are those of the sandbox, but for its time, which is `settings.session_s`.

    Raises SettingsError for a Python or a configuration that cannot be used, and where the answer would lie open.
    """
    check_hidden(row, python, _folders(python))
    sandbox = agents_sandbox(_folders(python))
    whole = replace(limits, wall_s=settings.session_s)
    place = functools.partial(workplace, row, repos, sandbox, python, whole, settings.command_s)
    return AgentDialogue(row.problem_statement, place, functools.partial(judge, row), settings)


_folders = functools.cache(python_folders)


class AgentDialogue:
    """Call `advance` until `over`, and `answer` in between; `close` in the end. Not safe for several threads at once.

    Nothing is started before the first `advance`. Work is done only within `advance`: the agent's own thread waits for
    the rest of the time.
    """

    def __init__(
        self,
        task: str,
        workplace: Callable[[], AbstractContextManager[SandboxEnvironment]],
        judge: Callable[[str], Score],
        settings: AgentSettings = AgentSettings(),  # noqa: B008, it is frozen
    ) -> None:
        self.over = False
        self.exit_status = ""
        """mini-swe-agent's: Submitted, LimitsExceeded, RepeatedFormatError; NoRoom, SandboxLost or Closed."""
        self.submission = ""
        """The patch, when all is over."""
        self._task, self._workplace, self._judge, self._settings = task, workplace, judge, settings
        self._config = load_config(settings.config)
        self._messages = opening(task, settings.config)
        self._reply: str | InterruptAgentFlow | None = None
        self._replies: queue.SimpleQueue[str | InterruptAgentFlow] = queue.SimpleQueue()
        self._news: queue.SimpleQueue[list[Message] | BaseException | None] = queue.SimpleQueue()
        self._model = PolicyModel(self._ask, self._config)
        self._environment: SandboxEnvironment | None = None
        self._thread: threading.Thread | None = None
        self._asked = self._closed = False
        self._timeouts = 0
        self._score: Score | None = None

    @property
    def messages(self) -> list[Message]:
        return self._messages

    @property
    def transcript(self) -> list[Message]:
        return self._messages[1:]

    def advance(self) -> None:
        if self.over or (self._asked and self._reply is None):
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="mini-swe-agent", daemon=True)
            self._thread.start()
        else:
            assert self._reply is not None
            self._replies.put(self._reply)
        self._asked, self._reply = False, None
        news = self._news.get()
        if isinstance(news, BaseException):
            raise news
        if news is not None:
            self._messages, self._asked = news, True
            return
        score = self._judge(self.submission)
        self._score = Score(score.value, {**score.metrics, **self._metrics()})
        self.over = True

    def answer(self, reply: str) -> None:
        if not self._asked:
            raise ValueError("nobody is asked: call advance")
        self._reply = reply

    def forget(self) -> bool:
        return False

    def give_up(self) -> None:
        self._reply = InterruptAgentFlow(exit_message("NoRoom"))

    def score(self) -> Score:
        if self._score is None:
            raise ValueError("the session is not over")
        return self._score

    def close(self) -> None:
        """End the agent's thread and its sandbox, also from another thread than the one that is in `advance`."""
        self._closed = True
        if self._thread is None or not self._thread.is_alive():
            return
        if self._environment is not None:
            self._environment.commands.end()
        self._replies.put(InterruptAgentFlow(exit_message("Closed")))
        self._thread.join()

    def _metrics(self) -> dict[str, float]:
        model, status = self._model, self.exit_status
        values = (
            status == "Submitted",
            model.replies,
            model.format_errors,
            self._timeouts,
            status == "NoRoom",
            status == "SandboxLost",
        )
        return dict(zip(METRICS, map(float, values), strict=True))

    # --- in the agent's thread

    def _work(self) -> None:
        """The whole session. The sandbox is started and ended here, since it lives no longer than its thread."""
        try:
            with self._workplace() as environment:
                self._environment = environment
                settings = self._settings
                agent = new_agent(self._model, environment, self._config, settings.steps, settings.format_errors)
                ended: dict[str, Any] = agent.run(self._task)
                self._timeouts = environment.timeouts
            self._messages = chat(agent.messages)
            self.exit_status, self.submission = ended["exit_status"], ended["submission"]
            self._news.put(None)
        except BaseException as error:  # noqa: BLE001, `advance` raises it again in the thread that asked
            self._news.put(error)

    def _ask(self, messages: list[Message]) -> str:
        if self._closed:
            raise InterruptAgentFlow(exit_message("Closed"))
        self._news.put(messages)
        reply = self._replies.get()
        if isinstance(reply, InterruptAgentFlow):
            raise reply
        return reply
