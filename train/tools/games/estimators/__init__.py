"""What a move is worth, game by game: each estimator gives the expected return of the player who makes it.

decision = decision_of("liars_dice", "2 5 3")                   # decision.py: the state, and what its mover knows
liars_dice.utility(decision, action=4, simulations=1000)        # 0.14: how much oftener it wins than loses

`games.values` chooses the estimator, brings its result to [0, 1] and caches it.
"""
