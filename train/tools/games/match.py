"""One whole game: a model plays one seat as a chat, opponents play the others.

    match = Match(load_case("hex(board_size=5)"), seed="0|17", seat=1, opponent=parse_opponent("mcts(100)"))
    match.advance()                                # deals, and lets the opponents play until the model is to move
    while not match.over:
        match.answer(model(match.messages))        # a legal move, or one try less
        match.advance()
    match.result                                   # Result(score=1.0, ending='finished', turns=8, illegal=1)

It asks nobody itself, so that a trainer, an evaluation and a script can all play it. The seed is all the luck there is:
the k-th roll of the dice, or card that is dealt, is the same in all games of a task, and an opponent answers the same
moves with the same move, in any process.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from hashlib import sha256

from answer_text import after_thinking, final_statement, spellings
from env_adapter import EnvError, Score
from games.answers import Answer, find_action
from games.cases import Case
from games.chat import Chat, Message
from games.opponents import Opponent
from games.prompts import WHAT_TO_ANSWER, build_messages, case_rules, shown_moves
from games.returns import score_of
from games.rules import spoken_of
from games.states import chance_outcome

TRIES, MAX_TURNS = 3, 100
# Some games can end before the model has a choice (a lone hand in euchre, a natural in blackjack): deal again.
MAX_DEALS = 1000


@dataclass(frozen=True)
class Result:
    score: float
    """In [0, 1]: see `games.returns`; 0 for a game that did not come to its end."""
    ending: str
    """'finished'; 'illegal': no legal move within the tries; 'unfinished': too many turns, or no room for one."""
    turns: int
    """The model's moves; forced ones are not counted, nor asked for."""
    illegal: int
    """The model's answers that named no legal move."""

    @property
    def won(self) -> bool:
        return self.score > 0.5

    @property
    def metrics(self) -> dict[str, float]:
        """`won`, `forfeited` and `unfinished` (see `ending`), 0 or 1 each; `turns` and `illegal`, counted."""
        return {
            "won": float(self.won),
            "forfeited": float(self.ending == "illegal"),
            "unfinished": float(self.ending == "unfinished"),
            "turns": float(self.turns),
            "illegal": float(self.illegal),
        }


class Match:
    """Call `advance` until `over`, and `answer` in between. Not safe for use by several threads at once.

    A model that names no legal move in `tries` answers loses: score 0. So does one whose game is not over after
    `max_turns` moves of it: whoever is losing gains nothing by playing for time.
    """

    def __init__(
        self,
        case: Case,
        seed: str,
        seat: int,
        opponent: Opponent,
        tries: int = TRIES,
        max_turns: int = MAX_TURNS,
        history_turns: int | None = None,
    ) -> None:
        if not 0 <= seat < case.game.num_players():
            raise ValueError(f"{case.name} has no seat {seat}")
        self.case, self.seat, self.opponent = case, seat, opponent
        self.to_answer: int | None = None
        """The seat whose model is asked: the model's own, or another one where the opponent is `self`."""
        self.result: Result | None = None
        self._seed, self._tries, self._max_turns, self._history_turns = seed, tries, max_turns, history_turns
        self._deals = 0
        self._deal()

    @property
    def over(self) -> bool:
        return self.result is not None

    @property
    def messages(self) -> list[Message]:
        """The chat of the seat `to_answer`, or of the model's own when nobody is asked."""
        return self._chats[self.seat if self.to_answer is None else self.to_answer].messages

    @property
    def transcript(self) -> list[Message]:
        """All that the model was told and said, but for the rules."""
        return self._chats[self.seat].transcript

    def score(self) -> Score:
        """Raises ValueError while the game goes on."""
        if self.result is None:
            raise ValueError("the game is not over")
        return Score(self.result.score, self.result.metrics)

    def advance(self) -> None:
        """Play on until a model is asked or the game is over. It takes as long as the opponents think.

        Raises EnvError where no deal gives the model a choice.
        """
        while not self.over and self.to_answer is None:
            if self._state.is_terminal():
                self._finish()
            elif self._state.is_chance_node():
                self._state.apply_action(chance_outcome(self._state, self._luck("roll", self._rolls) / 2**64))
                self._rolls += 1
            else:
                self._move()

    def answer(self, reply: str) -> None:
        """The reply of the model that is asked. Any text is valid; another player's clumsiness is no win: `self` then
        plays a random legal move."""
        seat = self.to_answer
        if seat is None:
            raise ValueError("nobody is asked: call advance")
        answer = find_action(reply, self.case, self._state)
        self._chats[seat].hear(reply)
        self._tries_left -= 1
        own = seat == self.seat
        if answer.action is not None:
            self._turns += own
            self._play(seat, answer.action)
            return
        self._illegal += own
        if self._tries_left:
            self._chats[seat].object(_objection(reply, answer, self._tries_left))
        elif own:
            self._end("illegal")
        else:
            self._play_at_random(seat)

    def forget(self) -> bool:
        """For want of room, show the model that is asked half as many earlier turns; False where none is left."""
        return self.to_answer is not None and self._chats[self.to_answer].forget()

    def give_up(self) -> None:
        """Not even one turn has room. The model's own game ends; for another seat, a random legal move is played."""
        if self.to_answer in (None, self.seat):
            self._end("unfinished")
        else:
            self._play_at_random(self.to_answer)

    def close(self) -> None:
        """A game holds nothing."""

    def _play_at_random(self, seat: int) -> None:
        legal = self._state.legal_actions()
        self._play(seat, legal[self._luck("move", self._moves) % len(legal)])

    def _deal(self) -> None:
        self._deals += 1
        self._rolls = self._moves = self._turns = self._illegal = self._tries_left = 0
        self._state = self.case.game.new_initial_state()
        players = range(self.case.game.num_players())
        self._chats = {
            player: Chat(self._history_turns) for player in players if player == self.seat or self.opponent.is_policy
        }
        self._news: dict[int, list[tuple[str, str]]] = {player: [] for player in self._chats}

    def _luck(self, kind: str, number: int) -> int:
        """64 bits for the event of this kind and number."""
        return int.from_bytes(sha256(f"{self._seed}|{self._deals}|{kind}|{number}".encode()).digest()[:8], "big")

    def _move(self) -> None:
        player = self._state.current_player()
        moves = shown_moves(case_rules(self.case), self._state)
        if len(moves) == 1:
            self._play(player, moves[0][0], forced=True)
        elif player not in self._chats:
            self._play(player, self.opponent.move(self.case, self._state, self._luck("move", self._moves)))
        elif player == self.seat and self._turns == self._max_turns:
            self._end("unfinished")
        else:
            system, user = build_messages(self.case, self._state)
            news = _told(self._news[player])
            self._news[player] = []
            self._chats[player].ask(system, f"{news}\n{user['content']}" if news else user["content"])
            self.to_answer, self._tries_left = player, self._tries

    def _play(self, player: int, action: int, forced: bool = False) -> None:
        """Make a move, and tell it: what others did only where everyone sees everything, else the view shows it."""
        text = case_rules(self.case).move_text(self._state.action_to_string(player, action))
        for listener, news in self._news.items():
            if listener == player:
                if forced:
                    news.append(("", text))
            elif not self.case.hidden:
                name = spoken_of(player, listener, self.case.game.num_players())
                news.append((name, _seen_from_the_other_side(self.case, text)))
        self.to_answer = None
        self._state.apply_action(action)
        self._moves += 1

    def _finish(self) -> None:
        if self._turns:
            self._end("finished", score_of(self.case, self._state.returns(), self.seat))
        elif self._deals < MAX_DEALS:
            self._deal()
        else:
            raise EnvError(f"{self.case.name}, seat {self.seat}: no choice in {MAX_DEALS} deals of seed {self._seed!r}")

    def _end(self, ending: str, score: float = 0.0) -> None:
        self.to_answer = None
        self.result = Result(score, ending, self._turns, self._illegal)


def _told(news: list[tuple[str, str]]) -> str:
    """[("opponent", "roll"), ("opponent", "stop"), ("", "pass")] → two sentences."""
    sentences: list[tuple[str, list[str]]] = []
    for who, move in news:
        if sentences and sentences[-1][0] == who:
            sentences[-1][1].append(move)
        else:
            sentences.append((who, [move]))
    return " ".join(
        f"{who.capitalize()} played {', '.join(moves)}." if who else f"Your only move was played: {', '.join(moves)}."
        for who, moves in sentences
    )


def _seen_from_the_other_side(case: Case, text: str) -> str:
    """Backgammon's movers count the points from their own side: '8/3 6/5(2)' → '17/22 19/20(2)'."""
    if case.short_name != "backgammon":
        return text
    return re.sub(r"(?<!\()\b[0-9]+\b", lambda point: str(25 - int(point[0])), text)


def _objection(reply: str, answer: Answer, tries_left: int) -> str:
    """What was wrong with a reply, in one line."""
    if answer.answered:
        fault = f"{spellings(final_statement(reply) or '')[-1]} is not a legal action."
    elif after_thinking(reply) is None:
        fault = "The thinking did not end, so there is no answer."
    else:
        fault = "No legal action was named."
    return f"{fault} {WHAT_TO_ANSWER} Tries left: {tries_left}."
