"""Make `train/tools/games/estimators/backgammon.npz`: fit the small network to what GNU Backgammon expects.

    pip install gnubg-nn==1.1.0a11 torch
    python benchmarks/fit_backgammon.py [--positions 120000]

Positions come from games, seven in ten between random players, the rest mostly between GNU Backgammon and itself; each
is the position that some legal move leaves, with the other player to roll. It prints the error on 10,000 positions
kept back.
"""

from __future__ import annotations

import argparse
import random
import sys
from pathlib import Path
from typing import Any

import gnubg_nn
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "train" / "tools"))

from games.cases import load_case
from games.estimators.backgammon import _NETWORK, checkers, features

HIDDEN, EPOCHS, BATCH, HELD_OUT = 24, 25, 512, 10_000


def gnu_win(state: Any, player: int) -> float:
    """The probability that the player wins, by GNU Backgammon's network without looking ahead."""
    if state.is_terminal():
        return float(state.returns()[player] > 0)
    if not state.is_chance_node() and state.current_player() == player:  # the second half of a double
        return max(gnu_win(state.child(action), player) for action in state.legal_actions())
    own, other = checkers(state, player)
    if not any(own) or not any(other):
        return float(not any(own))
    return 1 - gnubg_nn.probabilities([own, other], 0)[0]  # the second of the two is to roll


def positions(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(inputs, probabilities of winning)."""
    numbers, game = random.Random(seed), load_case("backgammon").game
    inputs: list[list[float]] = []
    wins: list[float] = []
    while len(inputs) < count:
        skill, state = 0.8 * (numbers.random() < 0.3), game.new_initial_state()
        while not state.is_terminal() and len(inputs) < count:
            legal = state.legal_actions()
            if not state.is_chance_node():
                player = state.current_player()
                left = state.child(numbers.choice(legal))
                if numbers.random() < 0.25 and left.is_chance_node():
                    inputs.append(features(*checkers(left, player)))
                    wins.append(gnu_win(left, player))
                if numbers.random() < skill:
                    values = {action: gnu_win(state.child(action), player) for action in legal}
                    legal = [max(legal, key=values.__getitem__)]
            state.apply_action(numbers.choice(legal))
    return np.array(inputs, np.float32), np.array(wins, np.float32)


def main() -> None:
    import torch

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--positions", type=int, default=120_000)
    args = parser.parse_args()
    inputs, wins = map(torch.tensor, positions(args.positions + HELD_OUT, seed=2))
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(inputs.shape[1], HIDDEN), torch.nn.ReLU(), torch.nn.Linear(HIDDEN, 1))
    optimizer = torch.optim.Adam(model.parameters())
    batches = args.positions // BATCH
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=EPOCHS * batches)
    for _ in range(EPOCHS):
        order = torch.randperm(args.positions)
        for batch in order[: batches * BATCH].view(batches, BATCH):
            loss = torch.nn.functional.binary_cross_entropy_with_logits(model(inputs[batch])[:, 0], wins[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    with torch.no_grad():
        error = (torch.sigmoid(model(inputs[-HELD_OUT:])[:, 0]) - wins[-HELD_OUT:]).square().mean().sqrt()
    print(f"root mean square error {error:.3f} on {HELD_OUT} positions")
    first, first_bias, second, second_bias = (part.detach().numpy().astype(np.float16) for part in model.parameters())
    np.savez_compressed(_NETWORK, first=first, first_bias=first_bias, second=second[0], second_bias=second_bias[0])


if __name__ == "__main__":
    main()
