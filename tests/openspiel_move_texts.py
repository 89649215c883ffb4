"""One state of each kind of move text: what names a legal move there, and what names no one move.

Each row: the case, the history, the legal texts with their actions, and the worthless answers with bars between them.
"""

from __future__ import annotations

KINDS: list[tuple[str, str, dict[str, int], str]] = [
    (
        "chess",
        "",
        {"e4": 2426, "Nf3": 3572, "a3": 89},
        "E4 | nf3 | NF3 | e5 | e2e4 | e2-e4 | 1. e4 | 1.e4 e5 | e4 e5 | e4, Nf3 | Nf3 or e4 | Nf3!? | N | O-O | "
        "knight f3",
    ),
    (
        "clobber(rows=5,columns=5)",
        "",
        {"a5b5": 1, "A5B5": 1, "a5a4": 2},
        "a5 b5 | a5-b5 | a5 | a5b5a5a4 | a5b5, a5a4 | a5xb5 | b5a5",
    ),
    (
        "breakthrough(rows=6,columns=6)",
        "",
        {"a5a4": 74, "a5b4": 76, "B5A4": 84},
        "a5a4* | a5 | a4 | a5a4 a5b4 | a5 a4 | a5->a4 | a2a3",
    ),
    (
        "dots_and_boxes(num_rows=3,num_cols=3)",
        "",
        {"(h,0,1)": 1, "(H,0,1)": 1, "P1(h,0,1)": 1, "(v,2,3)": 23},
        "(h,0) | h,0,1 | (h,0,1),(v,2,3) | (h,0,1) (v,2,3) | (h,9,9) | P2(h,0,1) | (x,0,1) | ( h,0,1)",
    ),
    (
        "go(board_size=9)",
        "",
        {"a1": 0, "A1": 0, "PASS": 81, "pass": 81, "B a1": 0, "j9": 80},
        "i1 | a1 b1 | a0 | W a1 | pass a1 | passed | I pass | a1a1 | 1a",
    ),
    (
        "quoridor(board_size=5)",
        "",
        {"b5": 18, "a1v": 1, "a1h": 9, "A1H": 9},
        "a1 | a1v h | a1vh | a1v, a1h | v | wall a1",
    ),
    (
        "liars_dice(numdice=5)",
        "0 0 0 0 0 1 1 1 1 1 12",
        {"3-2": 13, "4-5": 22, "10-6": 59, "Liar": 60, "liar": 60, "LIAR": 60, "13": 13, "60": 60},
        "3-1 | Bid 3-2 | bid: 3-2 | 3 - 2 | 3–2 | -2 | 3-2-1 | 3-2 or Liar | liar liar | Liar! | 2-3 | 11-6 | 3-2 4-5",
    ),
    (
        "pig",
        "",
        {"roll": 0, "Roll": 0, "ROLL.": 0, "stop": 1, "0": 0},
        "roll stop | rolls | r | stop rolling | roll again | roll\nstop",
    ),
    (
        "backgammon",
        "1",
        {"24/22 6/5": 153, "8/7 8/6": 189, "8/6/5": 137, "24/22/21": 569, "153": 153, "1279": 1279},
        "24/22 | 6/5 24/22 | 24/22, 6/5 | 24/22  6/5 | 8/6/5 8/6/5 | 24-22 6-5 | Bar/22 | 24/22* 6/5 | 12 | bar | "
        "off | /",
    ),
    (
        "leduc_poker",
        "0 1 2",
        {"Fold": 0, "call": 1, "RAISE": 2, "2": 2},
        "check | bet | raise 2 | Raise or Call | Fold, Call | call/raise | 3 | all in | r | I call",
    ),
    (
        "goofspiel(num_cards=8)",
        "0",
        {"bid 1": 0, "Bid 8": 7, "7": 7, "0": 0, "[P0]Bid: 3": 2},
        "8 | bid | bid 0 | bid 9 | bid 1 bid 2 | bid 1, 2 | bids 1 | bid 01 | card 3 | [P1]Bid: 3 | bid: 3 | bid  3",
    ),
    (
        "blackjack",
        "12 28 19 45",
        {"Hit": 0, "hit": 0, "STAND": 1, "1": 1},
        "hit me | stay | h | Hit/Stand | 21 | double | hit stand",
    ),
    (
        "gin_rummy",
        "0 1 2 3 4 5 6 7 8 9 20 21 22 23 24 25 26 27 28 29 40 52",
        {"As": 0, "as": 0, "2h": 40, "2H": 40, "Ts": 9, "55": 55, "Knock": 55, "knock": 55},
        "10s | A of spades | As 2h | As, 2h | Ks | As2s3s | s | ♠A | Draw stock | Gin | discard As | ace",
    ),
    (
        "hearts",
        "0 " + " ".join(map(str, range(52))),
        {"2C": 0, "2c": 0},
        "C2 | 2C 3C | 2 | AC | QS | 2♣ | two of clubs | 2C,6C",
    ),
    (
        "euchre",
        "0 " + " ".join(map(str, range(21))) + " 24 24 24 24",
        {"Pass": 24, "pass": 24, "Diamonds": 26, "diamonds": 26, "26": 26},
        "Order up! | pick up | diamond | D | Pass Diamonds | pass/diamonds | 9D | 20 | Clubs",
    ),
    (
        "cribbage",
        "0 1 2 3 4 5 6 7 8 9 10 11",
        {"AC 2C": 53, "ac 2c": 53, "5C 6C": 265, "Choose AC 2C": 53},
        "2C AC | AC | AC, 2C | AC2C | AC 2C 3C | AC 7C | AC and 2C | 0 | 0 1 | Pass",
    ),
    (
        "battleship",
        "100 100 120 120 140 140 160 160 180 180",
        {"(0,0)": 0, "(9,9)": 99, "Pl0: shoot at (3, 4)": 34, "34": 34},
        "(0, 0) | 0-9 | (0,0)-(0,9) | 10-19 | (3,4) (3,5) | 3,4 | (10,0) | 100 | A1 | Pl1: shoot at (3, 4) | (0,0)-",
    ),
    (
        "battleship",
        "",
        {"right from (0,0)": 100, "Down from (5,9)": 259, "259": 259},
        "(0,0) | right | right from (0,9) | down from (9,0) | left from (0,0) | 100-108 | right from (0,0)-(0,8) | 0",
    ),
    (
        "phantom_ttt",
        "4",
        {"(0,0)": 0, "o(1,1)": 4, "4": 4},
        "x(0,0) | (0,0) (1,1) | (3,3) | 0,0 | o",
    ),
]
