"""What a move is worth, game by game: each estimator gives the expected return of the player who makes it.

decision = decision_of("leduc_poker", "0 4 1 1")             # decision.py: the state, and what its mover knows
search.utility(decision, action=1, simulations=1500)         # perfect information: MCTS on the successor
sampling.utility(decision, action=1, simulations=500)        # hidden information: searches in worlds drawn anew

`games.values` chooses the estimator, brings its result to [0, 1] and caches it.
"""
