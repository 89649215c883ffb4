"""What a finished game is worth to one player: a score in [0, 1], above 0.5 for a success.

score_of(load_case("leduc_poker"), [5.0, -5.0], 0)          # (5 - -13) / (13 - -13) = 0.69
score_of(load_case("hearts"), [26.0, 10.0, 10.0, 6.0], 1)   # one of three does worse, one as well: 0.5
"""

from __future__ import annotations

from collections.abc import Sequence

from games.cases import Case

# OpenSpiel's bound is ±123 points, which nobody reaches: even its own bot seldom wins more than these.
BOUNDS: dict[str, tuple[float, float]] = {"gin_rummy": (-75.0, 75.0)}


def score_of(case: Case, returns: Sequence[float], player: int) -> float:
    """The share of the way from the game's worst return to its best; with more than two players, the rank.

    The bounds are those that OpenSpiel gives the game, as evaluations of whole games have them, but for `BOUNDS`. The
    rank is the share of the opponents that got less, counting half of those that got as much; a partner is no opponent.
    """
    if len(returns) > 2:
        rivals = [value for other, value in enumerate(returns) if other not in team_of(case, player)]
        beaten = sum((returns[player] > value) + (returns[player] == value) / 2 for value in rivals)
        return beaten / len(rivals)
    low, high = BOUNDS.get(case.short_name, (case.game.min_utility(), case.game.max_utility()))
    return min(max((returns[player] - low) / (high - low), 0.0), 1.0)


def team_of(case: Case, player: int) -> tuple[int, ...]:
    """The players who win and lose together with this one, itself among them."""
    players = case.game.num_players()
    partners = players == 4 and case.short_name in ("euchre", "cribbage")
    return (player, (player + 2) % 4) if partners else (player,)
