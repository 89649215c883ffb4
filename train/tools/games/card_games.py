"""The words for games of cards without tricks: Leduc poker, goofspiel, blackjack, gin rummy, cribbage.

You are player 1.
Your card: Q. Public card: Q. Round 2 of 2
In the pot: you 1, opponent 5
Bets: round 1 Call, Call; round 2 Raise
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from games.rules import Rules, each_player, spoken_of

_RANKS = "23456789TJQKA"


def _leduc_ranks(players: int) -> str:
    """One rank more than players: 'JQK' for two, as in the paper."""
    return "JQK" if players == 2 else _RANKS[-players - 1 :]


def _leduc_rules(parameters: Mapping[str, Any]) -> str:
    players = parameters["players"]
    ranks = " < ".join(_leduc_ranks(players))
    return (
        f"Leduc poker: two cards each of {ranks}. All put in 1 and get a private card. After a round of bets a public "
        f"card is turned up for a second round; player {parameters['starting_player']} speaks first in both. Raise "
        "puts in 2 more than the call in round 1, 4 in round 2, at most two raises a round. Call matches the bet, or "
        "checks when there is none; Fold gives up. A private card that pairs the public card wins, else the higher one."
    )


def _leduc_view(state: Any, player: int) -> str:
    """From '[Observer: 1][Private: 2][Round 2][Player: 1][Pot: 6][Money: 95 99][Public: 4][Round1: 1 1][Round2: 2]'."""
    parameters = state.get_game().get_parameters()
    ranks = _leduc_ranks(parameters["players"])
    known = dict(re.findall(r"\[(\w+?):? ([^\]]*)\]", state.information_state_string(player)))
    names = ("Fold", "Call", "Raise")

    def rank(card: str) -> str:
        return ranks[int(card) // (1 if parameters["suit_isomorphism"] else 2)]

    def bets(numbers: str) -> str:
        return ", ".join(names[int(number)] for number in numbers.split()) or "none yet"

    public = rank(known["Public"]) if "Public" in known else "not yet"
    paid = [100 - int(money) for money in known["Money"].split()]
    second = f"; round 2 {bets(known['Round2'])}" if "Public" in known else ""
    return (
        f"Your card: {rank(known['Private'])}. Public card: {public}. Round {known['Round']} of 2\n"
        f"In the pot: {each_player(paid, player)}\nBets: round 1 {bets(known['Round1'])}{second}"
    )


def _goofspiel_rules(parameters: Mapping[str, Any]) -> str:
    cards, turns = parameters["num_cards"], parameters["num_turns"]
    order = {"random": "in random order", "ascending": "from 1 upwards", "descending": f"from {cards} downwards"}
    goal = {
        "win_loss": "Most points win.",
        "point_difference": "What counts is your points less the average.",
        "total_points": "What counts is your points.",
    }[parameters["returns_type"]]
    hidden = " You see who won a round, not the others' bids." if parameters["imp_info"] else ""
    rounds = f", {turns} rounds" if turns > 0 and turns < cards else ""
    return (
        f"Goofspiel: everyone holds bid cards 1 to {cards}. Each round a prize card, 1 to {cards} "
        f"{order[parameters['points_order']]}, is turned up and all bid one card at the same time. The highest bid "
        f"wins the prize's points, equal highest bids win nothing; bid cards are used up{rounds}. {goal}{hidden}"
    )


def _goofspiel_view(state: Any, player: int) -> str:
    lines = [line.partition(":") for line in state.information_state_string(player).split("\n") if ":" in line]
    known = {name.strip(): value.split() for name, _, value in lines}
    prizes, players = known["Point card sequence"], len(known["Points"])
    cards = state.get_game().get_parameters()["game"]["num_cards"]
    left = [str(card) for card in range(1, cards + 1) if str(card) not in prizes]
    hands = {name: " ".join(cards) for name, cards in known.items() if re.fullmatch(r"P\d+ hand", name)}
    told = [f"Prize card: {prizes[-1]}. Prize cards left: {' '.join(left) or 'none'}"]
    for name, hand in hands.items():
        owner = spoken_of(int(name[1:-5]), player, players)
        whose = "Your" if owner == "you" else f"{owner.capitalize()}'s"
        told.append(f"{whose} cards: {hand}")
    if f"P{player} action sequence" in known:
        told.append(f"Prize cards so far: {' '.join(prizes[:-1]) or 'none'}")
        bids = [str(int(bid) + 1) for bid in known[f"P{player} action sequence"]]
        told.append(f"Your bids: {' '.join(bids) or 'none'}")
        won = ["nobody" if int(who) < 0 else spoken_of(int(who), player, players) for who in known["Win sequence"]]
        told.append(f"Won by: {', '.join(won) or 'none'}")
    told.append(f"Points: {each_player(known['Points'], player)}")
    return "\n".join(told)


def _blackjack_view(state: Any, player: int) -> str:
    """Suits and the order do not matter and are left out; the dealer's first card is face down."""
    names = [_blackjack_rank(card) for card in sorted(state.cards(player), key=lambda card: card % 13)]
    total = state.get_best_player_total(player)
    dealer = _blackjack_rank(state.dealers_visible_card())
    return f"Your cards: {' '.join(names)} (total {total}). The dealer shows {dealer}"


def _blackjack_rank(card: int) -> str:
    return ("A", "2", "3", "4", "5", "6", "7", "8", "9", "10", "J", "Q", "K")[card % 13]


def _gin_rules(parameters: Mapping[str, Any]) -> str:
    knock = "the value of the first upcard (ace: 0)" if parameters["oklahoma"] else str(parameters["knock_card"])
    return (
        f"Gin rummy, one hand of {parameters['hand_size']} cards each. Melds are three or four of a rank, or runs of "
        "three or more in a suit (A is low); other cards are deadwood: A 1, T J Q K 10. Each turn draw the upcard or "
        f"from the stock, then discard. With deadwood of at most {knock} you may Knock: discard, lay your melds, Pass; "
        "then the opponent lays off cards on them, passes, and lays melds. You score the difference in deadwood, plus "
        f"{parameters['gin_bonus']} for none at all; an opponent who has less scores it instead, plus "
        f"{parameters['undercut_bonus']}. Nobody scores when two cards are left in the stock and nobody knocks."
    )


_GIN_PHASES = {
    "FirstUpcard": "Take the upcard, or pass it to the opponent",
    "Draw": "Draw a card",
    "Discard": "Discard a card",
    "Wall": "The stock is used up: knock with the upcard, or end the hand",
    "Knock": "You have knocked",
    "Layoff": "The opponent has knocked",
}


def _gin_view(state: Any, player: int) -> str:
    known = json.loads(state.to_observation_struct(player).to_json())
    opponent, phase = 1 - player, known["phase"]
    hand = known["hands"][player]
    doing = _GIN_PHASES[phase]
    if phase == "Knock":
        doing += ": discard a card" if not _can_meld(state) else ": lay melds, or pass when done"
    if phase == "Layoff":
        doing += ": lay melds, or pass when done" if known["finished_layoffs"] else ": lay off cards, or pass"
    told = [f"{doing}.", f"Your hand: {' '.join(hand)} (deadwood {known['deadwood'][player]})"]
    held = state.known_cards()[opponent]
    if held and phase not in ("Layoff", "Knock"):
        names = [state.action_to_string(player, card).rpartition(" ")[2] for card in held]
        told.append(f"Seen in the opponent's hand: {' '.join(names)}")
    for whose, melds in (("Your", known["layed_melds"][player]), ("Opponent's", known["layed_melds"][opponent])):
        if melds:
            told.append(f"{whose} melds: {' '.join(''.join(meld) for meld in melds)}")
    if known["layoffs"]:
        told.append(f"Laid off: {' '.join(known['layoffs'])}")
    told.append(
        f"Upcard: {known['upcard'] or 'none'}. Stock: {known['stock_size']} cards. Knock at {known['knock_card']}"
    )
    told.append(f"Discards: {' '.join(known['discard_pile']) or 'none'}")
    return "\n".join(told)


def _can_meld(state: Any) -> bool:
    return any(action >= 54 for action in state.legal_actions())  # 54 is pass, 56 the first meld


CARD_GAMES: dict[str, Rules] = {
    "leduc_poker": Rules(_leduc_rules, (), _leduc_view),
    "goofspiel": Rules(_goofspiel_rules, (), _goofspiel_view, lambda text: re.sub(r"^\[P\d+\]Bid: ", "bid ", text)),
    "blackjack": Rules(
        "Blackjack: get closer to 21 than the dealer without going over it. J Q K count 10, A 11 or 1. The dealer hits "
        "up to 16 and stands from 17. Equal totals are a draw.",
        (),
        _blackjack_view,
    ),
    "gin_rummy": Rules(_gin_rules, (), _gin_view, mover_prefix=r"Player: \d Action: "),
}
