r"""The final answer that a text states, for environments whose answer is one short string.

    "<think>3 or 5?</think>5"                   → "5"
    "The corner is open.\n**Answer:** \boxed{5}"    → "\boxed{5}", which can be spelt "5"
    "5 or 3", "maybe 5, who knows"              → themselves: statements that name nothing
    "It could be 5.\nIt could be 3."            → None

A statement is all that remains after the thinking, or a last line that says it is the answer. Nothing is searched for
inside prose, since a text that mentions every option would then be right by accident. All work is linear in the text.
"""

from __future__ import annotations

import re
from collections import deque

MAX_STATEMENT = 100
"""Characters of the longest statement; a longer text is prose."""

_SPACE = " \t\r\n"
_THINK_TAG = re.compile(r"<(/?)think(?:ing)?>", re.IGNORECASE | re.ASCII)
_ANSWER_LINE = re.compile(
    r"(?:#{1,6} )?(?:\*\*)?(?:the )?(?:final )?answer(?: is:?|\s?:)(?:\*\*)?\s*(\S.*)", re.IGNORECASE | re.ASCII
)
_WRAPPED = re.compile(r"\\boxed\{(.+)\}|<answer>(.+)</answer>|\$(.+)\$", re.IGNORECASE | re.ASCII | re.DOTALL)
_QUOTES = ("**", "*", "`", '"', "'")


def after_thinking(text: str) -> str | None:
    """What follows the thinking, or None when the thinking never ends.

    A closing tag without an opening one also ends thinking: some chat templates open it in the prompt.
    """
    tags = deque(_THINK_TAG.finditer(text), maxlen=1)
    if not tags:
        return text
    return text[tags[0].end() :] if tags[0][1] else None


def final_statement(text: str, max_statement: int = MAX_STATEMENT) -> str | None:
    """The one short text that is stated as the answer, as it stands, or None when there is none.

    `max_statement` is for environments with longer answers, in characters; a whole text of several lines is one only
    in <answer> tags.

    A last line that names an answer counts, whatever was said before it, unless the line before it names a different
    answer: that is a list. Use `spellings` to compare the result with what is accepted.
    """
    rest = (after_thinking(text) or "").strip(_SPACE)
    if not rest:
        return None
    before, last = _split_last(rest, max_statement)
    if last is None:
        return None
    statement = _named_answer(last)
    if statement is None:
        return None if before else last
    previous = _named_answer(_split_last(before, max_statement)[1] or "") if before else None
    if previous is not None and spellings(previous)[-1] != spellings(statement)[-1]:
        return None
    return statement


def spellings(statement: str) -> list[str]:
    r"""The statement, then what is left as decoration comes off: ['**5.**', '5.', '5']. The last is the barest."""
    forms = [statement.strip(_SPACE)]
    while len(forms) < 8:
        bare = _undecorated(forms[-1])
        if bare == forms[-1] or not bare:
            break
        forms.append(bare)
    return forms


def _split_last(text: str, longest: int) -> tuple[str, str | None]:
    """(what comes before, the last line or multi-line <answer> block), the latter None when it is too long."""
    start = text.rfind("<answer>", -longest) if text.endswith("</answer>") else -1
    if start < 0:
        start = text.rfind("\n", max(0, len(text) - 2 * longest)) + 1
    elif text[:start].rstrip(" \t")[-1:] not in ("", "\n"):
        return text[:start], None
    before, last = text[:start].rstrip(_SPACE), text[start:].strip(_SPACE)
    return before, last if len(last) <= longest else None


def _named_answer(line: str) -> str | None:
    r"""What a line such as 'Answer: 5', '\boxed{5}' or '<answer>5</answer>' names, or None for another line."""
    if line.startswith("**") and line.endswith("**") and line.count("**") == 2:
        line = line[2:-2].strip(_SPACE)
    match = _ANSWER_LINE.fullmatch(line)
    if match:
        return match[1]
    return line if _WRAPPED.fullmatch(line) else None


def _undecorated(form: str) -> str:
    wrapped = _WRAPPED.fullmatch(form)
    if wrapped:
        return next(inner for inner in wrapped.groups() if inner is not None).strip(_SPACE)
    for quote in _QUOTES:
        if form.startswith(quote) and form.endswith(quote) and len(form) > 2 * len(quote):
            return form[len(quote) : -len(quote)].strip(_SPACE)
    return form[:-1].rstrip(_SPACE) if form.endswith(".") and not form.endswith("..") else form
