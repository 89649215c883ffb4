"""One player's side of a whole game, as the messages that its model sees.

    system      Tic-tac-toe: three in a row wins. … Answer with the number of one action and nothing else.
    user        Opponent played (1,1). You are o. Board: …
    assistant   9
    user        9 is not a legal action. Answer with the number of one action and nothing else. Tries left: 2.
    assistant   0
    user        Opponent played (0,2). You are o. Board: …

Thinking is no part of what is shown again, as chat servers and evaluations of whole games do it.
"""

from __future__ import annotations

from answer_text import after_thinking

Message = dict[str, str]


class Chat:
    def __init__(self, history_turns: int | None = None) -> None:
        self.history_turns = history_turns
        """How many earlier turns are shown with a turn; None: all."""
        self._system: Message | None = None
        self._turns: list[list[Message]] = []
        self._forgotten = 0

    def ask(self, system: Message, text: str) -> None:
        """Begin a turn: the rules, which are those of the first turn, and what the player is told and asked."""
        self._system = self._system or system
        self._turns.append([{"role": "user", "content": text}])

    def hear(self, reply: str) -> None:
        self._turns[-1].append({"role": "assistant", "content": said(reply)})

    def object(self, text: str) -> None:
        """Say, within the turn, what was wrong with the reply."""
        self._turns[-1].append({"role": "user", "content": text})

    @property
    def transcript(self) -> list[Message]:
        """All that was said, whatever of it is shown again."""
        return [message for turn in self._turns for message in turn]

    @property
    def messages(self) -> list[Message]:
        """All that the model sees when it is asked next."""
        if self._system is None:
            return []
        return [self._system, *(message for turn in self._turns[self._first :] for message in turn)]

    def forget(self) -> bool:
        """Leave out the older half of the earlier turns from now on; False where there is none to leave out.

        Half of them and not one, since a chat whose beginning has changed has to be read anew.
        """
        earlier = len(self._turns) - 1 - self._first
        if earlier < 1:
            return False
        self._forgotten = self._first + (earlier + 1) // 2
        return True

    @property
    def _first(self) -> int:
        """The first turn that is shown."""
        if self.history_turns is None:
            return self._forgotten
        return max(self._forgotten, len(self._turns) - 1 - self.history_turns)


def said(reply: str) -> str:
    """What is shown again of a reply: the reply itself, or what came after its thinking, "" if that never ended."""
    rest = after_thinking(reply)
    text = reply if rest == reply else (rest or "").strip()
    return text.encode(errors="replace").decode()  # half of a surrogate pair cannot be sent on
