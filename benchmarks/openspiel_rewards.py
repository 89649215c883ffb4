"""How rightly the `outcome` reward ranks moves in each game, how much of it is noise, and what it costs.

    python benchmarks/openspiel_rewards.py [--states 8] [--moves 5] [--cases hex gin_rummy] [--json FILE]
                                           [--stockfish /usr/games/stockfish]

Each line is one case: states of random games, some legal moves of each, and all pairs of these moves. `right` is the
share of pairs that the reward ranks as the reference does; pairs whose difference in the reference is within its noise
or below 0.02 are left out. References: `solved` by another method, an `engine`, or `16x`, the same estimator with 16
times the simulations in two halves of other random numbers, which tells noise but not what both have in common. `noise`
is the standard deviation of one move's value over random numbers; `equal` the share of states in which no pair differs.
Times are processor time, without the caches.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import random
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "train" / "tools"))

import openspiel_references as references

from games.cases import AVAILABLE_CASES, load_case, resolve_cases
from games.estimators.decision import decision_of
from games.states import StateTable, play
from games.values import estimate, simulations_for

HALVES, TIMES = 2, 8
MIN_GAP, NOISES = 0.02, 3.0
BUDGET_MS = 25.0


def measure(name: str, states: int, moves: int, stockfish: str | None) -> dict[str, str | float | None]:
    """One row of the table."""
    case = load_case(name)
    simulations = simulations_for(case, BUDGET_MS)
    kind, reference = references.reference(case, stockfish) or ("16x", None)
    table = StateTable(case, seed=3)
    right = pairs = equal = 0
    variances, spent = [], []
    for index in range(states):
        text = " ".join(map(str, table.history(index)))
        legal = play(case, table.history(index)).legal_actions()
        if len(legal) > moves:
            legal = sorted(random.Random(text).sample(legal, moves))
        known = {move: reference(decision_of(name, text), move) for move in legal} if reference else {legal[0]: None}
        truth, uncertainty = (known, 0.0) if None not in known.values() else _larger(name, text, legal, simulations)
        values = [_timed(name, text, legal, simulations, salt, spent) for salt in ("", "again")]
        variances += [(values[0][move] - values[1][move]) ** 2 / 2 for move in legal]
        differing = [
            (one, other)
            for one, other in itertools.combinations(legal, 2)
            if abs(truth[one] - truth[other]) > max(MIN_GAP, NOISES * uncertainty)
        ]
        equal += not differing
        for value, (one, other) in itertools.product(values, differing):
            pairs += 1
            agreement = (value[one] - value[other]) * (truth[one] - truth[other])
            right += 1.0 if agreement > 0 else 0.5 if agreement == 0 else 0.0
    spent.sort()
    return {
        "case": name,
        "reference": kind,
        "simulations": simulations,
        "pairs": pairs // 2,
        "right": right / pairs if pairs else None,
        "noise": math.sqrt(statistics.fmean(variances)),
        "equal": equal / states,
        "ms_mean": statistics.fmean(spent),
        "ms_p99": spent[min(len(spent) - 1, math.ceil(0.99 * len(spent)) - 1)],
        "ms_worst": spent[-1],
    }


def _larger(name: str, text: str, legal: list[int], simulations: int) -> tuple[dict[int, float], float]:
    """(values with 16 times the simulations, standard error of a difference between two of them)."""
    halves = []
    for half in range(HALVES):
        decision = decision_of(name, text, f"reference {half}")
        halves.append({move: estimate(decision, move, TIMES * simulations) for move in legal})
    apart = [halves[0][move] - halves[1][move] for move in legal]
    common = statistics.fmean(apart)  # worlds are shared by the moves: what they have in common does not count
    error = math.sqrt(sum((one - common) ** 2 for one in apart) / max(1, len(apart) - 1) / 2)
    return {move: statistics.fmean(half[move] for half in halves) for move in legal}, error


def _timed(name: str, text: str, legal: list[int], simulations: int, salt: str, spent: list[float]) -> dict[int, float]:
    decision = decision_of(name, text, salt)
    values = {}
    for move in legal:
        start = time.process_time()
        values[move] = estimate(decision, move, simulations)
        spent.append(1000 * (time.process_time() - start))
    return values


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--states", type=int, default=8, help="states of each case")
    parser.add_argument("--moves", type=int, default=5, help="moves of each state, at most")
    parser.add_argument("--cases", nargs="+", default=AVAILABLE_CASES, help="short names or load strings")
    parser.add_argument("--stockfish", help="path of a Stockfish program, the reference for chess")
    parser.add_argument("--json", type=Path, help="also write the rows to this file")
    args = parser.parse_args()
    rows = []
    print(f"{'case':<40} {'reference':<9} {'sims':>5} {'pairs':>5} {'right':>5} {'noise':>5} {'equal':>5}", end="")
    print(f" {'ms':>6} {'p99':>6} {'worst':>6}")
    for name in resolve_cases(game_types=args.cases):
        row = measure(name, args.states, args.moves, args.stockfish)
        rows.append(row)
        right = "-" if row["right"] is None else f"{row['right']:.2f}"
        print(
            f"{name:<40} {row['reference']:<9} {row['simulations']:>5} {row['pairs']:>5} {right:>5} "
            f"{row['noise']:>5.3f} {row['equal']:>5.2f} {row['ms_mean']:>6.1f} {row['ms_p99']:>6.1f} "
            f"{row['ms_worst']:>6.1f}",
            flush=True,
        )
    print(f"{'mean over cases':<40} {'':<33} {statistics.fmean(row['ms_mean'] for row in rows):>6.1f}")
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
