"""Software repair in verl's rollout: the policy mends a repository with shell commands, as mini-swe-agent's model.

    actor_rollout_ref.rollout.agent.default_agent_loop=swe_agent
    actor_rollout_ref.rollout.agent.agent_loop_config_path=train/config/agent_loop/swe_agent.yaml

A session is an `AgentDialogue` (`swe/agent_dialogue.py`), the one that an evaluation goes through; how it becomes rows
of tokens is in `dialogue_agent_loop.py`. The reward is that of the submitted patch, on a fresh tree.

Of each worker's sessions, `sessions_at_once` have a sandbox; the others wait. A sandbox takes about as much memory as
the repository and what the commands use, and one of the machine's user ids.
"""

from __future__ import annotations

import asyncio
import functools
from typing import Any

from verl.experimental.agent_loop.agent_loop import AgentLoopOutput

from dialogue_agent_loop import DialogueAgentLoop, DialogueSession
from env_adapter import Dialogue, EnvError
from env_faults import FaultCounter

NAME = "swe_agent"


class SweAgentSession(DialogueSession):
    """One task. Raises EnvError where the row is not one of dataset-manager.py in mode=agent."""

    async def begin(self) -> Dialogue:
        if getattr(self.adapter, "agent_loop", None) != NAME:
            raise EnvError(f"task {self.challenge.task_id} takes one patch: this agent loop needs mode=agent")
        # It reads the repository's cache, a matter of files.
        return await asyncio.get_running_loop().run_in_executor(None, self.adapter.dialogue, self.challenge)


class SweAgentLoop(DialogueAgentLoop):
    """`answer_tokens` is the most that the policy may say in one reply, `sessions_at_once` a number for each worker."""

    faults = FaultCounter("swe_agent_loop.py")
    doing = "mending a repository"
    session_class = SweAgentSession

    def __init__(self, *args: Any, sessions_at_once: int = 16, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.sessions_at_once = sessions_at_once

    async def run(self, sampling_params: dict[str, Any], **row: Any) -> list[AgentLoopOutput]:
        async with _room(asyncio.get_running_loop(), self.sessions_at_once):
            return await super().run(sampling_params, **row)


@functools.lru_cache(maxsize=4)
def _room(loop: asyncio.AbstractEventLoop, sessions: int) -> asyncio.Semaphore:
    """The one of this worker, which has one event loop."""
    return asyncio.Semaphore(sessions)
