"""What the pages say of whole games is so."""

from __future__ import annotations

import re
from pathlib import Path

from env_adapter import get_env_adapter
from games.opponents import parse_opponent

DOCS = Path(__file__).parent.parent / "docs"


def section() -> str:
    return (DOCS / "environments.md").read_text().partition("\n## Whole games\n")[2].partition("\n## ")[0]


def test_the_game_that_is_shown_is_played_so() -> None:
    adapter = get_env_adapter("openspiel", {"mode": "game", "game_types": "tic_tac_toe", "opponents": "mcts(100)"})
    match = adapter.dialogue(adapter.generate(1))
    match.advance()
    for reply in ("4", "<think>The middle is taken.</think>0"):
        assert f"`{reply}`" in section()
        match.answer(reply)
        match.advance()
    shown = "\n".join(
        f"{message['role']}\n" + "\n".join(f"    {line}" for line in message["content"].splitlines())
        for message in match.messages
    )
    assert f"```\n{shown}\n```" in section()


def test_the_defaults_are_those_of_the_adapter() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| (\S+) \|", section(), re.MULTILINE))
    settings = get_env_adapter("openspiel", {"game_types": "tic_tac_toe"}).settings
    assert len(rows) == 7
    for name, default in rows.items():
        value = getattr(settings, name)
        assert default == ("none" if value is None else ",".join(value) if isinstance(value, list) else str(value)), (
            name
        )


def test_the_opponents_and_metrics_are_those_there_are() -> None:
    named = re.findall(r"^\| `([^`]+)`(?:, `([^`]+)`)? \| ", section().partition("### Opponents")[2], re.MULTILINE)
    for text in (name for names in named for name in names if name):
        parse_opponent(text.replace("n", "20").replace("r)", "3)") if "(" in text else text)
    adapter = get_env_adapter("openspiel", {"mode": "game", "game_types": "tic_tac_toe"})
    match = adapter.dialogue(adapter.generate(0))
    match.advance()
    match.give_up()
    assert all(f"`{name}`" in section() for name in match.score().metrics)
