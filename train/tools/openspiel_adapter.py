"""OpenSpiel: choose one legal action in a game, and be paid what the position is worth afterwards.

The two messages of one task of tic_tac_toe, and its answers:

    Tic-tac-toe: three in a row wins. Moves are (row,column).
    Answer with the number of one action and nothing else.

    You are o. Board:
    o.o
    xx.
    xox
    Actions:
    1 -> (0,1)
    5 -> (1,2)

    "1" wins at once and scores 1.0, "5" holds the draw and scores 0.5, "7" is illegal and scores 0.
"""

from __future__ import annotations

import functools
import itertools
import json
import random
import warnings
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import field
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, NonNegativeInt, PositiveInt
from pydantic.dataclasses import dataclass

from env_adapter import Challenge, EnvError, Score, SettingsError, StrList, parse_settings
from games.answers import find_action
from games.cases import (
    AVAILABLE_CASES,
    DEFAULT_CASES,
    DEFAULT_CASES_BOARD_SIZES,
    FOCUS_CASES,
    Case,
    load_case,
    resolve_cases,
)
from games.match import Match
from games.prompts import build_messages, case_rules, shown_moves
from games.states import StateTable, play, state_of
from games.values import action_rank, action_value, prepare, simulations_for
from games.whole_games import check_opponents, game_task, is_game, new_match, opening

__all__ = [
    "AVAILABLE_CASES",
    "DEFAULT_CASES",
    "DEFAULT_CASES_BOARD_SIZES",
    "FOCUS_CASES",
    "OpenSpielAdapter",
    "OpenSpielSettings",
]

_REWARD_MODES = ("outcome", "rank", "legal")

# What the search of drop_equal_moves may cost for one move: it has to see that a game is won or lost, not by how much.
_EQUAL_MOVES_MS = 2.0


def _none_of_text(value: Any) -> Any:
    return None if isinstance(value, str) and value.strip().lower() in ("", "none", "null") else value


def _json_of_text(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) else value


@dataclass(frozen=True)
class OpenSpielSettings:
    """Ids run case by case: task `case_index * num_tasks_per_case + k` is state k of that case."""

    cases: StrList = field(default_factory=list)
    """OpenSpiel load strings; empty: `games.cases.DEFAULT_CASES`."""
    game_list: StrList = field(default_factory=list)
    """Instead of `cases`: games, which `game_configs` gives parameters; empty: the games of `game_configs`."""
    game_configs: Annotated[dict[str, list[dict[str, Any]]], BeforeValidator(_json_of_text)] = field(
        default_factory=dict
    )
    """Game → a list of parameter sets, such as {"hex": [{"board_size": 5}, {"board_size": 7}]}: a case for each."""
    game_types: StrList = field(default_factory=list)
    """Which of these to use: `hex` means all its cases, `hex(board_size=5)` itself; empty: all."""
    num_tasks_per_case: PositiveInt = 100
    on_shortage: Literal["refuse", "cap"] = "refuse"
    """A case with fewer distinct states: `refuse` it, or `cap` its tasks at what there is (with a warning)."""
    seed: int = 0
    max_random_steps: Annotated[NonNegativeInt | None, BeforeValidator(_none_of_text)] = None
    """Random moves before the question, at most, not counting chance; None: as deep as games go."""
    drop_equal_moves: bool = False
    """Leave out states in which a short search finds every move worth the same: won or lost whatever is played."""
    reward_mode: Literal["outcome", "rank", "legal"] = "outcome"
    """`outcome`: the value of the state after the move; `rank`: that value between those of the worst legal move, 0,
    and of the best, 1; `legal`: 1 for a legal move."""
    value_budget_ms: Annotated[float, Field(gt=0, le=10_000)] = 25.0
    """What one `outcome` value may cost on one core on average; it sets a fixed number of simulations per game."""
    mode: Literal["state", "game"] = "state"
    """`state`: a task is one decision; `game`: a whole game, turn by turn, which these settings below are for."""
    opponents: StrList = field(default_factory=lambda: ["random"])
    """`random`, `mcts(100)`, `mcts(1000,50)`, `self`. Several: the next one comes when the one before is beaten."""
    promote_at: Annotated[float, Field(gt=0, le=1)] = 0.6
    """The share of games won at which the next opponent comes."""
    promote_games: PositiveInt = 200
    """Over so many of the latest games of a case, at least."""
    tries: PositiveInt = 3
    """Answers to a turn, until one is legal; then the game is lost."""
    max_turns: PositiveInt = 100
    """Moves of the model; a game that is not over then is lost."""
    history_turns: Annotated[NonNegativeInt | None, BeforeValidator(_none_of_text)] = None
    """Earlier turns that are shown with a turn; None: all."""


class OpenSpielAdapter:
    """The environment `openspiel` (see `env_adapter.EnvAdapter`). Raises SettingsError for settings it cannot serve."""

    name = "openspiel"

    def __init__(self, config: Mapping[str, Any] | None = None) -> None:
        self.settings = parse_settings(OpenSpielSettings, config)
        names = resolve_cases(
            self.settings.cases, self.settings.game_types, self.settings.game_list, self.settings.game_configs
        )
        self._cases = [load_case(name) for name in names]
        if self.settings.reward_mode != "legal" and not self.plays_games:
            for case in self._cases:
                prepare(case)
        self._opponents = check_opponents(self.settings.opponents)
        self._tables = [self._new_table(case) for case in self._cases]

    def _new_table(self, case: Case) -> StateTable:
        skip = functools.partial(_all_moves_equal, case) if self.settings.drop_equal_moves else None
        return StateTable(case, self.settings.seed, self.settings.max_random_steps, skip)

    @property
    def plays_games(self) -> bool:
        """Whether a task is a whole game, which `games.whole_games.new_match` begins and `evaluate` cannot score."""
        return self.settings.mode == "game"

    @property
    def agent_loop(self) -> str | None:
        """The agent loop that plays its tasks turn by turn, or None where a task is one question and one answer."""
        return "openspiel_game" if self.plays_games else None

    def num_tasks(self) -> int:
        """How many tasks there are. With on_shortage=cap it finds every state first, and warns of what is missing."""
        if self.settings.on_shortage == "refuse" or self.plays_games:
            return len(self._cases) * self.settings.num_tasks_per_case
        return self._ends[-1]

    @functools.cached_property
    def _ends(self) -> list[int]:
        """With on_shortage=cap: for each case, the first task id after its own."""
        wanted = self.settings.num_tasks_per_case
        counts = {case.name: table.available(wanted) for case, table in zip(self._cases, self._tables, strict=True)}
        short = ", ".join(f"{name} has {count}" for name, count in counts.items() if count < wanted)
        if short:
            warnings.warn(f"fewer distinct states than num_tasks_per_case={wanted}: {short}", stacklevel=3)
        if not any(counts.values()):
            raise SettingsError(f"no state is left in {', '.join(counts)}: change cases, max_random_steps or filters")
        return list(itertools.accumulate(counts.values()))

    def validate(self) -> None:
        """Find every state that the settings promise. Raises SettingsError naming the first case that has too few.

        `generate` finds them as they are asked for; this moves a shortage to the start of a run.
        """
        if self.plays_games:
            return
        if self.settings.on_shortage == "cap":
            self.num_tasks()
            return
        for table in self._tables:
            table.history(self.settings.num_tasks_per_case - 1)

    def generate(self, task_id: int) -> Challenge:
        if not 0 <= task_id < self.num_tasks():
            raise IndexError(f"task id {task_id} is outside 0 … {self.num_tasks() - 1}")
        if self.settings.on_shortage == "refuse" or self.plays_games:
            index, number = divmod(task_id, self.settings.num_tasks_per_case)
        else:
            index = bisect_right(self._ends, task_id)
            number = task_id - (self._ends[index - 1] if index else 0)
        case = self._cases[index]
        if self.plays_games:
            return self._game(task_id, case, number)
        history = self._tables[index].history(number)
        state = play(case, history)
        extra = {
            "game": case.name,
            "history": " ".join(map(str, history)),
            "player": state.current_player(),
            "reward_mode": self.settings.reward_mode,
            "simulations": simulations_for(case, self.settings.value_budget_ms),
        }
        return Challenge(self.name, task_id, build_messages(case, state), extra)

    def _game(self, task_id: int, case: Case, number: int) -> Challenge:
        settings = self.settings
        extra = game_task(
            case, number, settings.seed, self._opponents, settings.tries, settings.max_turns, settings.history_turns
        )
        return Challenge(self.name, task_id, opening(extra), extra)

    def dialogue(self, challenge: Challenge) -> Match:
        """The game of a task against the one opponent there is. Raises SettingsError where there are several."""
        if len(self._opponents) != 1:
            raise SettingsError(f"opponents={','.join(self._opponents)}: outside of training, name one")
        return new_match(challenge.extra, self._opponents[0])

    def evaluate(self, response: str, challenge: Challenge) -> Score:
        """Metrics: `answered` (in the right form), `legal`, and `value`, which is the reward."""
        question = _Question(challenge)
        answer = find_action(response, question.case, question.state)
        value = 0.0 if answer.action is None else question.reward(answer.action)
        legal = float(answer.action is not None)
        return Score(value, {"answered": float(answer.answered), "legal": legal, "value": value})

    def reference_answer(self, challenge: Challenge) -> str | None:
        """The number of the move with the highest outcome value, the lowest number among equals.

        It values every legal move, so it costs that many times `value_budget_ms`. A whole game has none.
        """
        if is_game(challenge.extra):
            return None
        question = _Question(challenge)
        moves = shown_moves(case_rules(question.case), question.state)
        return str(max([action for action, _ in moves], key=question.outcome))

    def regret(self, response: str, challenge: Challenge) -> dict[str, float]:
        """`best`: 1 where no move has a higher outcome value; `regret`: the highest value less that of the answer.

        Both in [0, 1]; an answer that names no legal move has the value 0. It costs as much as `reference_answer`.
        """
        question = _Question(challenge)
        answer = find_action(response, question.case, question.state)
        value = 0.0 if answer.action is None else question.outcome(answer.action)
        highest = max(question.outcome(action) for action, _ in shown_moves(case_rules(question.case), question.state))
        return {"best": float(answer.action is not None and value >= highest), "regret": max(0.0, highest - value)}

    def random_answer(self, challenge: Challenge, seed: int) -> str | None:
        if is_game(challenge.extra):
            return None
        legal = _Question(challenge).state.legal_actions()
        return str(legal[int(random.Random(f"{seed}:{challenge.task_id}").random() * len(legal))])


def _all_moves_equal(case: Case, history: tuple[int, ...]) -> bool:
    """Whether a short search gives every move exactly the same value; it stops at the first two that differ."""
    simulations, text = simulations_for(case, _EQUAL_MOVES_MS), " ".join(map(str, history))
    moves = shown_moves(case_rules(case), play(case, history))
    first = action_value(case.name, text, moves[0][0], simulations)
    return all(action_value(case.name, text, action, simulations) == first for action, _ in moves[1:])


class _Question:
    """The `extra` of a challenge, checked and loaded. Raises EnvError when it is not one that `generate` made."""

    def __init__(self, challenge: Challenge) -> None:
        extra = challenge.extra
        if is_game(extra):
            raise EnvError(
                f"task {challenge.task_id} is a whole game (mode=game), which one answer does not play: use the agent "
                "loop openspiel_game (GAME_MODE=game), or mode=state"
            )
        try:
            self.game, self.history = extra["game"], extra["history"]
            self.mode, self.simulations = extra["reward_mode"], int(extra["simulations"])
            self.state = state_of(self.game, self.history)
            self.case = load_case(self.game)
            player = self.state.current_player()
            if extra["player"] != player or self.mode not in _REWARD_MODES or not 1 <= self.simulations <= 1_000_000:
                raise ValueError(f"player {player} is to move; simulations and reward_mode must be known ones")
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise EnvError(f"corrupted challenge {challenge.task_id}: {error!r} in {str(extra)[:300]}") from error

    def outcome(self, action: int) -> float:
        return action_value(self.game, self.history, action, self.simulations)

    def reward(self, action: int) -> float:
        if self.mode == "rank":
            return action_rank(self.game, self.history, action, self.simulations)
        return 1.0 if self.mode == "legal" else self.outcome(action)
