"""Which action an answer means: a legal action's number or its move text, stated once and as final, or nothing.

"12"                      → 12              "not 12"                → None
"<think>…</think>12."     → 12              "12, 13"                → None
"…so b3.\nAnswer: b3"     → 11              "<think>12"             → None
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from answer_text import final_statement, spellings
from games.cases import Case
from games.prompts import case_rules, legal_moves


@dataclass(frozen=True)
class Answer:
    action: int | None
    """The legal action that was stated."""
    answered: bool
    """An answer of the right form was stated, be it legal or not."""


def find_action(response: str, case: Case, state: Any) -> Answer:
    """What the response states as its answer in this state. Any text is a valid argument."""
    statement = final_statement(response)
    if statement is None:
        return Answer(None, False)
    actions = _actions_by_name(case, state)
    forms = spellings(statement)
    for form in forms:
        if form in actions:
            action = actions[form]
            return Answer(action, action is not None)
    if not case_rules(case).exact_case:
        any_case = _in_any_case(actions)
        for form in forms:
            if form.isascii() and form.lower() in any_case:
                action = any_case[form.lower()]
                return Answer(action, action is not None)
    return Answer(None, re.fullmatch(r"[0-9]+", forms[-1], re.ASCII) is not None)


def _actions_by_name(case: Case, state: Any) -> dict[str, int | None]:
    """Every way to name a legal action; a name that fits two of them names none, unless they do the same."""
    rules = case_rules(case)
    actions: dict[str, int | None] = {}
    texts: set[str] = set()
    for action, full_text in legal_moves(state):
        text = rules.move_text(full_text)
        names = {str(action), full_text}
        if not (rules.one_move_per_text and text in texts):
            names.add(text)
            texts.add(text)
        for name in names:
            actions[name] = None if name in actions else action
    return actions


def _in_any_case(actions: dict[str, int | None]) -> dict[str, int | None]:
    names: dict[str, int | None] = {}
    for name, action in actions.items():
        names[name.lower()] = None if names.get(name.lower(), action) != action else action
    return names
