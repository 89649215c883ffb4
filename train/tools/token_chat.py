"""A chat as the tokens that a policy is trained on: what it sampled, as it sampled it, after what it saw.

    chat = TokenChat(render, max_prompt=1024, max_response=2048, answer_tokens=64)
    ids = chat.prompt(messages)              # what to sample from; None where no room is left
    chat.sampled(token_ids, log_probs)
    chat.sequences                           # rows of a batch: prompt, response, mask, log-probs

At every turn the policy sees what its chat template makes of the messages, as a chat server would show them. Where that
begins with exactly the tokens that are there already, the turn goes on in the same sequence, and what stands between is
masked. Where it does not, or the sequence is full, a new one begins, with the chat as its prompt: thinking is not shown
again, early turns can be left out, the text of a reply can have another tokenisation than the one that was sampled, and
some templates write it in another way. So what was sampled is trained on as it was sampled, once, and after the very
tokens that it was sampled after.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

Message = dict[str, str]


@dataclass
class TokenSequence:
    """A row of a batch."""

    prompt_ids: list[int]
    response_ids: list[int] = field(default_factory=list)
    mask: list[int] = field(default_factory=list)
    """For each of `response_ids`: 1 where the policy sampled it, 0 where it was shown."""
    log_probs: list[float] = field(default_factory=list)
    """For each of `response_ids`, 0 where it was shown; empty where the rollout tells none."""
    answers: int = 0
    """How many replies it holds."""
    routed_experts: Any = None
    """What the rollout tells of the experts that a token went through, up to the last reply."""

    @property
    def ids(self) -> list[int]:
        return self.prompt_ids + self.response_ids


class TokenChat:
    """`render` gives the tokens of messages, with the opening of a reply; lengths are in tokens.

    Raises ValueError where not even one reply of `answer_tokens` fits into a response.
    """

    def __init__(
        self,
        render: Callable[[list[Message]], list[int]],
        max_prompt: int,
        max_response: int,
        answer_tokens: int,
        max_length: int | None = None,
    ) -> None:
        if answer_tokens > max_response:
            raise ValueError(f"answers of {answer_tokens} tokens do not fit into responses of {max_response}")
        self.answer_tokens = answer_tokens
        """The most that may be sampled after `prompt`."""
        self.sequences: list[TokenSequence] = []
        self._render, self._max_prompt, self._max_response = render, max_prompt, max_response
        self._max_length = max_length or max_prompt + max_response

    def prompt(self, messages: list[Message]) -> list[int] | None:
        """The tokens to sample from, or None where the chat has become too long. `sampled` has to follow."""
        ids = self._render(messages)
        if len(ids) + self.answer_tokens > self._max_length:
            return None
        if self.sequences and self._goes_on(self.sequences[-1], ids):
            row = self.sequences[-1]
            shown = ids[len(row.ids) :]
            row.response_ids += shown
            row.mask += [0] * len(shown)
            row.log_probs += [0.0] * len(shown) if row.log_probs else []
            return ids
        if len(ids) > self._max_prompt:
            return None
        self.sequences.append(TokenSequence(ids))
        return list(ids)

    def _goes_on(self, row: TokenSequence, ids: list[int]) -> bool:
        full = len(ids) - len(row.prompt_ids) + self.answer_tokens > self._max_response
        return not full and ids[: len(row.ids)] == row.ids

    def sampled(
        self, token_ids: Sequence[int], log_probs: Sequence[float] | None = None, routed_experts: Any = None
    ) -> None:
        """Add what the policy sampled from the last prompt. Raises ValueError for log-probs of another length."""
        if log_probs and len(log_probs) != len(token_ids):
            raise ValueError(f"{len(log_probs)} log-probs for {len(token_ids)} tokens")
        row = self.sequences[-1]
        if row.answers and bool(log_probs) != bool(row.log_probs):
            raise ValueError("some replies of a sequence have log-probs and some have none")
        row.response_ids += token_ids
        row.mask += [1] * len(token_ids)
        row.log_probs += log_probs or []
        row.answers += 1
        row.routed_experts = routed_experts
