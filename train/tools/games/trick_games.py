"""The words for games of tricks between four players: hearts and euchre.

You are East. Passed: 3C 3D 5D, received: 5H QH QS
Your hand: 8S QH 8H 5H 3H JD 6C
…
This trick: N 2S, E to play
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from games.rules import Rules

_SEATS = ("North", "East", "South", "West")
_SUITS = "SHDC"
_EUCHRE_SUITS = ("clubs", "diamonds", "hearts", "spades")


def _hearts_rules(parameters: Mapping[str, Any]) -> str:
    extra = ""
    if parameters["jd_bonus"]:
        extra += " JD takes off 10."
    if parameters["avoid_all_tricks_bonus"]:
        extra += " No trick at all takes off 5."
    passing = "Three cards are passed on first. " if parameters["pass_cards"] else ""
    lead = "A club leads first" if parameters["can_lead_any_club"] else "2C leads first"
    first = "; no points in the first trick" if parameters["no_pts_on_first_trick"] else ""
    broken = "; hearts may be led once one was played" if parameters["must_break_hearts"] else ""
    if broken and parameters["qs_breaks_hearts"]:
        broken += ", or QS"
    return (
        f"Hearts, four players, 13 cards each. {passing}{lead}; follow suit if you can; the highest card of the suit "
        f"led takes the trick and leads{first}{broken}. Each heart is 1 point, QS 13; few points are good. Who takes "
        f"all 26 has 0, and the others 26 each.{extra}"
    )


def _hearts_view(state: Any, player: int) -> str:
    known = json.loads(state.to_observation_struct(player).to_json())
    direction = known["pass_direction"]
    passed, received = known["passed_cards"][player], known["received_cards"][player]
    hand = f"Your hand: {_sorted(known['hands'][player])}"
    if known["phase"] == "Pass":
        so_far = f"; so far {' '.join(sorted(passed))}" if passed else ""
        return f"Pass three cards {_receiver(direction, player)}, one at a time{so_far}.\n{hand}"
    told = []
    if passed:
        told.append(f"You passed {_sorted(passed)} {_receiver(direction, player)} and received {_sorted(received)}")
    told.append(hand)
    tricks = [trick for trick in known["tricks"] if trick]
    told += _tricks([[(seat, card) for seat, card in trick] for trick in tricks], 4)
    points = ", ".join(f"{seat} {points:g}" for seat, points in zip("NESW", known["points"], strict=True))
    return "\n".join([*told, f"Points: {points}. Hearts {'' if known['hearts_broken'] else 'not '}broken"])


def _receiver(direction: str, player: int) -> str:
    """('Left', 1) → 'to South'."""
    return f"to {_SEATS[(player + ('No Pass', 'Left', 'Across', 'Right').index(direction)) % 4]}"


def _sorted(cards: Iterable[str]) -> str:
    return " ".join(sorted(cards, key=lambda card: (_SUITS.index(card[1]), -"23456789TJQKA".index(card[0]))))


def _tricks(tricks: list[list[tuple[str, str]]], size: int) -> list[str]:
    """The tricks in the order of play: 'Trick 1: E 2C, S TC, W KC, N 9C'; an unfinished one is 'This trick'."""
    done = [trick for trick in tricks if len(trick) == size]
    lines = [f"Trick {number}: {_played(trick)}" for number, trick in enumerate(done, 1)]
    now = tricks[len(done) :]
    return [*lines, f"This trick: {_played(now[0])}" if now else "You lead."]


def _played(trick: list[tuple[str, str]]) -> str:
    return ", ".join(f"{seat} {card}" for seat, card in trick)


def _euchre_rules(parameters: Mapping[str, Any]) -> str:
    stuck = "the dealer must name one" if parameters["stick_the_dealer"] else "all passing ends the deal"
    lone = " A lone defender wins 4 so." if parameters["allow_lone_defender"] else ""
    return (
        "Euchre, North and South against East and West; 24 cards, 9 to A, five each. Trumps: in turn, naming the suit "
        "of the upcard gives it to the dealer, who discards a card; after four passes another suit may be named, and "
        f"{stuck}. J of trumps is the highest card, then the other J of its colour, a trump too. Follow suit if you "
        "can. The side that named trumps wins 1 with 3 or 4 tricks, 2 with 5 (4 if Alone, its partner sitting out); "
        f"with fewer the other side wins 2.{lone}"
    )


def _euchre_view(state: Any, player: int) -> str:
    cards = [card for card, holder in enumerate(state.card_holder()) if holder == player]
    told = [f"Dealer: {_SEATS[state.dealer()]}. Upcard: {_euchre_card(state.upcard())}"]
    trump = state.trump_suit()
    if trump >= 0:
        alone = state.declarer_go_alone()
        how = "" if alone is None else ", alone" if alone else ", with the partner"
        told[0] += f". Trumps: {_EUCHRE_SUITS[trump]}, named by {_SEATS[state.declarer()]}{how}"
    else:
        told[0] += f". Passes so far: {state.num_passes()}"
    if player == state.dealer() and state.discard() >= 0:
        told.append(f"You discarded {_euchre_card(state.discard())}")
    told.append(f"Your hand: {_sorted(map(_euchre_card, cards))}")
    active = state.active_players()
    if state.current_phase().name == "PLAY":
        size = sum(active)
        tricks = []
        for trick in state.tricks():
            if trick.leader() >= 0:
                seats = [(trick.leader() + offset) % 4 for offset in range(4)]
                order = ["NESW"[seat] for seat in seats if active[seat]]
                tricks.append(list(zip(order, map(_euchre_card, trick.cards()), strict=False)))
        told += _tricks(tricks, size)
    elif state.current_phase().name == "DISCARD":
        told.append("Discard a card.")
    return "\n".join(told)


def _euchre_card(card: int) -> str:
    """A card's number → rank and suit, as in hearts: '9D'."""
    return "9TJQKA"[card // 4] + "CDHS"[card % 4]


def _euchre_move(text: str) -> str:
    """OpenSpiel writes the suit first: 'D9' → '9D'; words stay."""
    return text[::-1] if len(text) == 2 else text


TRICK_GAMES: dict[str, Rules] = {
    "hearts": Rules(_hearts_rules, _SEATS, _hearts_view),
    "euchre": Rules(_euchre_rules, _SEATS, _euchre_view, _euchre_move),
}
