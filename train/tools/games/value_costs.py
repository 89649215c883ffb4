"""How many simulations a value may take: a time for each value, over what one simulation costs.

    simulations_for(load_case("othello"), budget_ms=25)   → 131
    simulations_for(load_case("pig"), budget_ms=25)       → 1: solved, it costs no simulations

Costs are constants, so that the number of simulations, and with it every reward, is the same on a fast machine and on a
slow one. They were taken on two busy cores, from states of random games (`benchmarks/openspiel_rewards.py --costs`);
where an estimator is done early, a value costs less than its budget.
"""

from __future__ import annotations

from games.cases import Case, load_case

MIN_SIMULATIONS, MAX_SIMULATIONS = 16, 4000
# Solved, or looked at once: nothing is simulated.
WITHOUT_SIMULATIONS = frozenset({"backgammon", "blackjack", "leduc_poker", "pig"})

# Microseconds of one simulation: of a search, a playout, a position that alpha-beta looks at, a world, a fleet.
SIMULATION_US = {
    "tic_tac_toe": 2.5,
    "connect_four": 10,
    "hex(board_size=5)": 7,
    "hex(board_size=7)": 11,
    "hex(board_size=9)": 20,
    "breakthrough(rows=6,columns=6)": 13,
    "breakthrough(rows=8,columns=8)": 32,
    "clobber(rows=5,columns=5)": 7,
    "clobber(rows=6,columns=6)": 9,
    "clobber(rows=7,columns=7)": 16,
    "othello": 130,
    "go(board_size=9)": 100,
    "go(board_size=13)": 350,
    "dots_and_boxes(num_rows=3,num_cols=3)": 150,
    "dots_and_boxes(num_rows=4,num_cols=4)": 150,
    "dots_and_boxes(num_rows=5,num_cols=5)": 150,
    "chess": 12.5,
    "checkers": 12.5,
    "hex(board_size=11)": 40,
    "gin_rummy": 500,
    "gin_rummy(hand_size=7,knock_card=10)": 450,
    "goofspiel": 25,
    "goofspiel(num_cards=8)": 25,
    "goofspiel(num_cards=10)": 25,
    "goofspiel(num_cards=12)": 25,
    "goofspiel(num_cards=14)": 25,
    "goofspiel(num_cards=16)": 25,
    "liars_dice": 10,
    "liars_dice(numdice=5)": 25,
    "battleship": 125,
    "phantom_ttt": 25,
    "latent_ttt": 10,
    "hearts": 25,
    "cribbage": 80,
    "euchre": 12,
    "quoridor(board_size=5)": 10,
    "quoridor(board_size=7)": 20,
}


def simulations_for(case: Case, budget_ms: float) -> int:
    """The budget over the cost of one simulation, within the limits."""
    if case.short_name in WITHOUT_SIMULATIONS:
        return 1
    return int(min(max(budget_ms * 1000 / simulation_us(case), MIN_SIMULATIONS), MAX_SIMULATIONS))


def simulation_us(case: Case) -> float:
    """The measured cost; of another size of a measured game by length × actions; else 1 µs a ply, at least 40."""
    if case.name in SIMULATION_US:
        return SIMULATION_US[case.name]
    for name, cost in SIMULATION_US.items():
        if name.partition("(")[0] == case.short_name:
            return max(10.0, cost * _size(case) / _size(load_case(name)))
    return max(40.0, float(case.game.max_game_length()))


def _size(case: Case) -> int:
    return case.game.max_game_length() * case.game.num_distinct_actions()
