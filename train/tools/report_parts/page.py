"""What every page of a report is made of: escaped text, small tables, the frame around them.

    fill_page(title="GRPO on hex", subtitle="openspiel", sections=[f"<section>{text(answer)}</section>"])

Every text that comes from outside goes through `text` or `clipped`: nothing in it can leave its place.
"""

from __future__ import annotations

import html
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template
from typing import Any

from report_parts.numbers import duration

TEMPLATE = Path(__file__).with_name("template.html")
LONGEST_TEXT = 4000
HIDDEN = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c"
"""Characters that turn the direction of what follows."""


def fill_page(
    title: str, subtitle: str, sections: Sequence[str], footer: str, columns: int = 2, style: str = ""
) -> str:
    """The whole page. `sections` is HTML, empty ones are left out; `columns` of the table "compare" on a phone."""
    return Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
        title=text(title),
        columns=str(columns),
        style=style,
        subtitle=text(subtitle),
        body="\n".join(section for section in sections if section),
        footer=footer,
    )


def text(value: object) -> str:
    """Escaped for HTML; control and direction characters, and what UTF-8 cannot hold, become visible marks."""
    shown = "".join(
        f"⟨U+{ord(char):04X}⟩"
        if char in HIDDEN or (unicodedata.category(char) in ("Cc", "Cs") and char not in "\n\t")
        else char
        for char in str(value).replace("\r\n", "\n")
    )
    return html.escape(shown, quote=True)


def clipped(value: object, longest: int = LONGEST_TEXT) -> str:
    """The escaped beginning of a text, with how much is left out; an empty one is named."""
    whole = str(value)
    if not whole.strip():
        return f'<span class="cut">{"nothing" if not whole else "white space only"}</span>'
    if len(whole) <= longest:
        return text(whole)
    return f'{text(whole[:longest])}<span class="cut"> … {len(whole) - longest} more characters</span>'


def legend_key(style: str, name: str = "") -> str:
    """One entry of a legend: a square of the colour `--style`."""
    return f'<span><i style="background:var(--{style})"></i>{text(name or style)}</span>'


def pairs(values: Mapping[str, Any]) -> str:
    """Table rows of a name and its value."""
    return "".join(
        f'<tr><td>{text(name)}</td><td class="name">{text(_flat(value))}</td></tr>' for name, value in values.items()
    )


def time_table(heading: str, seconds: Mapping[str, float]) -> str:
    """A table of parts with their time and share, or '' where nothing took any."""
    whole = sum(seconds.values())
    if whole <= 0:
        return ""
    rows = "".join(
        f'<tr><td class="name">{text(name)}</td><td class="num">{duration(each)}</td>'
        f'<td class="num">{each / whole:.0%}</td><td class="share">'
        f'<div class="meter"><b style="width:{100 * each / whole:.1f}%"></b></div></td></tr>'
        for name, each in seconds.items()
    )
    return f'<table><tr><th>{heading}</th><th class="num">{duration(whole)}</th><th></th><th></th></tr>{rows}</table>'


def _flat(value: Any) -> str:
    return ", ".join(f"{name}={each}" for name, each in value.items()) if isinstance(value, dict) else str(value)
