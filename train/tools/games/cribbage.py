"""The words for cribbage, whose view needs the history: OpenSpiel's text forgets the cards of earlier counts.

You are player 1. Dealer: you. Scores: you 2, opponent 8
Your hand: 2S 5C 5S JS. Starter: QS. You gave the crib: 6D 9D
Count: 10, played: TS
Earlier in this deal: none
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from games.rules import Rules, each_player, spoken_of

_PASS = 2756
_DECK = 52
_DEALT = {2: (6, 0), 3: (5, 1), 4: (5, 0)}  # players → cards for each of them, cards for the crib


@dataclass
class _Deal:
    """What happened since the cards were last dealt, as far as everyone saw it, and what each put into the crib."""

    cards_dealt: int = 0
    given: dict[int, str] = field(default_factory=dict)
    starter_cut: bool = False
    played: list[tuple[int, str]] = field(default_factory=list)


def _last_deal(state: Any, players: int) -> _Deal:
    each, to_crib = _DEALT[players]
    deal = _Deal()
    for event in state.full_history():
        if event.player < 0:
            if deal.starter_cut:
                deal = _Deal()
            if deal.cards_dealt < each * players + to_crib:
                deal.cards_dealt += 1
            else:
                deal.starter_cut = True
        elif not deal.starter_cut:
            deal.given[event.player] = _cards(event.action)
        elif event.action != _PASS:
            deal.played.append((event.player, _cards(event.action)))
    return deal


def _cards(action: int) -> str:
    """A card's action, or that of two cards for the crib: '5C', '6D 9D'."""
    cards = [action] if action < _DECK else divmod(action - _DECK, _DECK)
    return " ".join("A23456789TJQK"[card % 13] + "CDHS"[card // 13] for card in cards)


def _rules(parameters: Mapping[str, Any]) -> str:
    players = parameters["players"]
    each, to_crib = _DEALT[players]
    gives = "two cards" if players == 2 else "one card"
    extra = ", which gets one more from the deck" if to_crib else ""
    partners = " Players 0 and 2 play against 1 and 3." if players == 4 else ""
    return (
        f"Cribbage to 121, {players} players, {each} cards each.{partners} Each gives {gives} to the crib{extra}; it "
        "is the dealer's. A starter is cut (a J: the dealer scores 2). In turn the players play cards to a count of at "
        "most 31, then from 0 again; who cannot must Pass. 15 and 31 score 2, the last card 1, a pair 2, three alike "
        "6, four 12, a run of three or more its length. Then each hand with the starter, and the crib, scores: each 15 "
        "2, pairs, runs, four or five of a suit, J of the starter's suit 1. A is 1, T J Q K are 10."
    )


def _view(state: Any, player: int) -> str:
    lines = state.observation_string(player).split("\n")
    known = {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}
    scores = known["Scores"].split()
    dealer = spoken_of(int(known["Dealer"]), player, len(scores))
    told = [f"Dealer: {dealer}. Scores: {each_player(scores, player)}"]
    if known["Phase"] == "Card":
        return "\n".join([*told, f"Your hand: {known['Hand']}. Choose what to give to the crib."])
    deal = _last_deal(state, len(scores))
    now = known["Played cards"].split()
    before = deal.played[: len(deal.played) - len(now)]
    earlier = ", ".join(f"{spoken_of(who, player, len(scores))} {card}" for who, card in before)
    told.append(f"Your hand: {known['Hand']}. Starter: {known['Starter']}. You gave the crib: {deal.given[player]}")
    told.append(f"Count: {known['Running total']}, played: {' '.join(now) or 'none'}")
    return "\n".join([*told, f"Earlier in this deal: {earlier or 'none'}"])


CRIBBAGE: dict[str, Rules] = {"cribbage": Rules(_rules, (), _view, lambda text: text.removeprefix("Choose "))}
