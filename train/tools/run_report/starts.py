"""The starts of a run in its report: when, where, with which versions, and how each ended."""

from __future__ import annotations

from typing import Any

from report_parts.page import clipped, pairs, text
from run_record import Run


def starts_section(run: Run, label: str) -> str:
    """`label` is the run's name where there are several on the page."""
    name = f"Starts of {text(label)}" if label else "Starts"
    if not run.starts:
        return f'<section><h2>{name}</h2><p class="soft">None was recorded (starts.jsonl).</p></section>'
    rows = "".join(_row(index, start, run.ended(start)) for index, start in enumerate(run.starts, 1))
    versions = run.starts[-1].get("versions")
    changed = [
        index
        for index, (before, after) in enumerate(zip(run.starts, run.starts[1:], strict=False), 2)
        if before.get("versions") != after.get("versions")
    ]
    note = f'<p class="soft">Other versions than before at start {", ".join(map(str, changed))}.</p>' if changed else ""
    table = f"<table>{pairs(versions)}</table>" if isinstance(versions, dict) else "<p>not recorded</p>"
    return f"""<section><h2>{name}</h2><div class="scroll"><table>
<tr><th></th><th>started</th><th>profile</th><th>host</th><th>commit</th><th>from</th><th>ended</th></tr>{rows}</table></div>{note}
<details><summary>Versions of the last start</summary>{table}</details>
<details><summary>Command of the last start</summary><pre>{clipped(run.command, 20_000)}</pre></details></section>"""


def _row(index: int, start: dict[str, Any], ended: str | None) -> str:
    commit = str(start.get("commit") or "–")[:10] + (" + changes" if start.get("changed") else "")
    cells = [index, str(start.get("started", "–")).replace("T", " ")[:19], start.get("profile") or "–"]
    step = start.get("resumed_from")
    resumed = "–" if step is None else f"step {step}" if step else "the beginning"
    cells += [start.get("host") or "–", commit, resumed, ended or "not recorded"]
    return "<tr>" + "".join(f"<td>{text(cell)}</td>" for cell in cells) + "</tr>"
