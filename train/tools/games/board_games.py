"""The words for board games without chance or secrets; the model sees OpenSpiel's own picture of the board.

You are x. Board:
...
.xo
...
"""

from __future__ import annotations

from games.rules import Rules

BOARD_GAMES: dict[str, Rules] = {
    "tic_tac_toe": Rules("Tic-tac-toe: three in a row wins. Moves are (row,column).", ("x", "o"), mover_prefix="[xo]"),
    "connect_four": Rules(
        "Connect Four: a piece falls to the lowest free cell of its column; {x_in_row} in a row, column or diagonal "
        "wins. Columns are numbered from 0 on the left.",
        ("x", "o"),
    ),
    "hex": Rules(
        "Hex: x wins by joining top and bottom, o by joining left and right, with a chain of touching cells. "
        "Each row is shifted half a cell to the right, so a cell touches up to six others. "
        "Moves are column letter and row number, a1 at the top left.",
        ("x", "o"),
    ),
    "breakthrough": Rules(
        "Breakthrough: a piece steps forward, straight or diagonally, to a free cell; captures (*) are diagonal. "
        "Black (b) moves down, White (w) up. Reaching the far row or capturing every piece wins.",
        ("Black (b)", "White (w)"),
    ),
    "clobber": Rules(
        "Clobber: move one of your pieces onto an adjacent enemy piece (up, down, left, right), which is removed. "
        "Who cannot move loses.",
        ("o", "x"),
    ),
    "dots_and_boxes": Rules(
        "Dots and boxes: each turn draws a line between two dots. Who draws the fourth side of a box owns it and moves "
        "again; most boxes win. (h,r,c) is the horizontal line of dot row r over box column c, (v,r,c) the vertical "
        "line of dot column c beside box row r, both from 0 at the top left.",
        ("player 1 (your boxes show 1)", "player 2 (your boxes show 2)"),
        mover_prefix="P[12]",
    ),
    "othello": Rules(
        "Othello: place a disc so that enemy discs are enclosed in a line between it and another of yours; they turn. "
        "Most discs at the end win.",
        ("Black (x)", "White (o)"),
        first_board_line=1,
    ),
    "go": Rules(
        "Go: surround empty points, capture stones without liberties; area scoring, White gets {komi} points of komi.",
        ("Black (X)", "White (O)"),
        mover_prefix="[BW] ",
        first_board_line=2,
    ),
    "chess": Rules(
        "Chess. The position is given as FEN, the moves in standard notation.", ("Black", "White"), exact_case=True
    ),
    "checkers": Rules(
        "Checkers: men move one step diagonally forward, o up and + down; jumping over an enemy piece captures it and "
        "is compulsory. Kings (8 of o, * of +) move both ways. Who cannot move loses.",
        ("o", "+"),
    ),
    "quoridor": Rules(
        "Quoridor: each turn moves your pawn one step or places a wall; the first pawn at the far side wins. "
        "0 goes from the bottom to the top, @ the other way. A move ending in v or h is a wall, else the pawn's cell.",
        ("0", "@"),
    ),
}
