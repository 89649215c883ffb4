"""What docs/swe.md says of `swe-synth` is so."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

from env_adapter import get_env_adapter
from swe.rows import SweRow
from swe.settings import SweSynthSettings
from swe_toy import shared_toy_tasks

DOCS = Path(__file__).parent.parent / "docs"
SECTION = (DOCS / "swe.md").read_text()


def indented(text: str) -> str:
    return "\n".join(f"    {line}".rstrip() for line in text.splitlines())


def test_the_task_and_the_answer_shown_are_those_of_a_small_package() -> None:
    adapter = get_env_adapter("swe-synth", {"cache_dir": str(shared_toy_tasks(2)), "distractors": 1})
    challenge = adapter.generate(0)
    chat = "\n".join(f"{message['role']}\n{indented(message['content'])}" for message in challenge.messages)
    assert f"````\n{chat}\n````" in SECTION
    assert f"````\n{adapter.reference_answer(challenge)}\n````" in SECTION


def test_every_setting_is_described_with_its_default() -> None:
    table = SECTION.partition("| repair setting |")[2].partition("\n\n")[0]
    rows = [line.strip("| ").split(" | ") for line in table.splitlines()[2:]]
    fields = dataclasses.fields(SweSynthSettings)
    assert [row[0].strip("`") for row in rows] == [field.name for field in fields]
    defaults = SweSynthSettings()
    for name, shown, *_ in rows:
        value: Any = getattr(defaults, name.strip("`"))
        if value is None or value == []:
            assert shown == "none", name
        elif not dataclasses.is_dataclass(value):
            assert shown == str(value).replace("True", "true").replace("False", "false"), name


def test_the_fields_that_a_row_must_have_are_those_named() -> None:
    named = re.findall(r"`(\w+)`", SECTION.partition("row must have")[2].partition(";")[0])
    needed = {field.name for field in dataclasses.fields(SweRow) if field.default is dataclasses.MISSING}
    assert {name.lower() for name in named} == needed - {"others"}


def test_the_metrics_are_those_named() -> None:
    adapter = get_env_adapter("swe-synth", {"cache_dir": str(shared_toy_tasks(2))})
    sentence = SECTION.partition("The metrics of an answer:")[2].partition(". ")[0]
    metrics = adapter.evaluate("no patch", adapter.generate(0)).metrics
    assert set(re.findall(r"`(\w+)`", sentence)) == set(metrics)
