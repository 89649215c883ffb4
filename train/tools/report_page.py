"""The HTML of the report: one page that needs nothing from the network. Every text in it is escaped.

`make_page(contents)` returns the page; `report.py` says where the contents come from.
"""

from __future__ import annotations

import html
import unicodedata
from pathlib import Path
from statistics import fmean
from string import Template
from typing import Any

from evaluation_results import REWARD, bounds_of, intervals_of
from intervals import Interval
from report_charts import histogram, line_chart, whiskers
from report_contents import Contents, choose_samples, duration, signed, signed_interval, signed_short

TEMPLATE = Path(__file__).with_name("report_template.html")
LONGEST_TEXT = 4000
SMALL_CHARTS = {
    "response_length/mean": "answer length, tokens",
    "actor/entropy": "entropy of the policy",
    "actor/kl_loss": "distance from the reference (KL loss)",
    "actor/ppo_kl": "change of the policy in a step (KL)",
    "actor/grad_norm": "gradient norm",
}


def make_page(contents: Contents) -> str:
    """The whole page, as text."""
    env = contents.after.summary.get("env", "")
    created = str(contents.after.summary.get("created", ""))[:16].replace("T", " ")
    subtitle = f"{env} · {contents.after.summary.get('model', '')} · {created}"
    sections = [
        _headline(contents),
        _table(contents),
        _curves(contents),
        _distribution(contents),
        _samples(contents),
        _time(contents),
        _settings(contents),
    ]
    return Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
        title=text(contents.title),
        columns=str(len(contents.columns()) + 1),
        subtitle=text(subtitle),
        body="\n".join(section for section in sections if section),
        footer="Intervals hold with 95 % confidence. They are t intervals over tasks; gains are paired by task.",
    )


def text(value: object) -> str:
    """Escaped for HTML; control and direction characters, and what UTF-8 cannot hold, become visible marks."""
    hidden = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c"
    shown = "".join(
        f"⟨U+{ord(char):04X}⟩"
        if char in hidden or (unicodedata.category(char) in ("Cc", "Cs") and char not in "\n\t")
        else char
        for char in str(value).replace("\r\n", "\n")
    )
    return html.escape(shown, quote=True)


def _headline(contents: Contents) -> str:
    before, after = (fmean(task.mean() for task in side) for side in zip(*contents.comparison.pairs, strict=True))
    gain = contents.comparison.gains[REWARD]
    style = {"improved": "improved", "got worse": "worse"}.get(contents.verdict, "unclear")
    facts = {"tasks compared": gain.n, "answers per task": contents.after.summary.get("samples_per_task", "?")}
    if contents.base:
        facts = {"base model": f"{intervals_of(contents.base.tasks)[REWARD].mean:.3f}"} | facts
    facts["training steps"] = len(contents.log.reward()) or len(contents.log.steps)
    if contents.phases:
        facts["time in all"] = duration(sum(contents.phases.values()))
    notes = "".join(f"<li>{text(note)}</li>" for note in contents.notes())
    items = "".join(f"<div><dt>{text(key)}</dt><dd>{text(value)}</dd></div>" for key, value in facts.items())
    split = contents.after.summary.get("split", "held-out")
    return f"""<section class="verdict">
<span class="badge {style}">{contents.verdict}</span>
<div class="score"><span class="from">{before:.3f}</span><span class="arrow">→</span>
<span class="to">{after:.3f}</span>
<span class="gain">{signed_interval(gain)}</span></div>
<p class="soft">Mean reward on the same {gain.n} tasks of the {text(split)} split, before and after training;
then the gain, paired by task, with its 95 % interval.</p>
<dl class="facts">{items}</dl>
{f'<ul class="notes">{notes}</ul>' if notes else ""}</section>"""


def _table(contents: Contents) -> str:
    columns = contents.columns()
    intervals = {style: intervals_of(evaluation.tasks) for style, _, evaluation in columns}
    tasks = [task for _, _, evaluation in columns for task in evaluation.tasks]
    rows = []
    for name, gain in contents.comparison.gains.items():
        cells, marks = [], []
        bounded = bounds_of(name, tasks) is not None
        plain, change = ("{:.3f}".format, signed) if bounded else ("{:.4g}".format, signed_short)
        for style, _, _ in columns:
            each = intervals[style].get(name)
            cells.append(f"<td>{_interval_cell(each, plain)}</td>")
            if each:
                marks.append((style, each.mean, each.low, each.high))
        chart = whiskers(marks) if bounded else ""
        rows.append(
            f'<tr class="{REWARD if name == REWARD else "metric"}"><td class="name">{text(name)}</td>{"".join(cells)}'
            f'<td>{_interval_cell(gain, change)}</td><td class="wide-only">{chart}</td></tr>'
        )
    heads = "".join(f"<th>{text(heading)}</th>" for _, heading, _ in columns)
    legend = "".join(_key(style, name) for style, name, _ in columns)
    return f"""<section><h2>Before and after</h2>
<div class="legend">{legend}</div><div class="scroll"><table class="compare">
<tr><th>mean of</th>{heads}<th>gain</th><th class="wide-only">0 … 1</th></tr>
{"".join(rows)}</table></div></section>"""


def _key(style: str, name: str = "") -> str:
    return f'<span><i style="background:var(--{style})"></i>{text(name or style)}</span>'


def _interval_cell(interval: Interval | None, style: Any) -> str:
    if interval is None:
        return "–"
    if interval.low is None or interval.high is None:
        return style(interval.mean)
    return f"{style(interval.mean)}<small>{style(interval.low)} … {style(interval.high)}</small>"


def _curves(contents: Contents) -> str:
    reward, validation = contents.log.reward(), contents.log.validation()
    if not reward and not validation:
        return '<section><h2>Training reward</h2><p class="soft">No training reward was logged.</p></section>'
    unit = all(0 <= value <= 1 for _, value in [*reward, *validation])
    wide, narrow = (
        line_chart(reward, validation, "mean reward", width, height, unit) for width, height in ((760, 300), (340, 260))
    )
    smoothed = '<span><i class="bar" style="background:var(--after)"></i>smoothed</span>' if len(reward) >= 5 else ""
    held = '<span><i class="diamond" style="background:var(--validation)"></i>validation</span>' if validation else ""
    raw = '<span><i class="dot" style="background:var(--after)"></i>mean reward of a step</span>' if reward else ""
    minis = []
    for key, label in SMALL_CHARTS.items():
        series = contents.log.series(key)
        if len(series) > 1:
            minis.append(f"<div><h3>{text(label)}</h3>{line_chart(series, (), label, 360, 150, tick_count=3)}</div>")
    more = f'<div class="minis">{"".join(minis)}</div>' if minis else ""
    return f"""<section><h2>Training reward</h2><div class="legend">{raw}{smoothed}{held}</div>
<div class="wide">{wide}</div><div class="narrow">{narrow}</div>{more}</section>"""


def _distribution(contents: Contents) -> str:
    before = [one.mean() for one, _ in contents.comparison.pairs]
    after = [other.mean() for _, other in contents.comparison.pairs]
    better = sum(b > a for a, b in zip(before, after, strict=True))
    worse = sum(b < a for a, b in zip(before, after, strict=True))
    wide, narrow = (histogram(before, after, width, height) for width, height in ((760, 230), (340, 210)))
    return f"""<section><h2>Tasks by reward</h2>
<p class="soft">{better} tasks got better, {worse} got worse, {len(before) - better - worse} stayed the same.</p>
<div class="legend">{_key("before")}{_key("after")}</div>
<div class="wide">{wide}</div><div class="narrow">{narrow}</div></section>"""


def _samples(contents: Contents) -> str:
    tasks = []
    for one, other in choose_samples(contents.comparison):
        turns = "".join(
            f'<div class="turn">{text(message.get("role", ""))}</div><pre>{_clipped(message.get("content", ""))}</pre>'
            for message in one.messages
        )
        answers = "".join(
            f'<div class="{name}"><div class="turn">{name}: score {task.rows[0]["score"]:.3f}</div>'
            f"<pre>{_clipped(task.rows[0]['response'])}</pre></div>"
            for name, task in (("before", one), ("after", other))
        )
        tasks.append(
            f'<div class="task"><h3>task {one.task_id}<span class="soft">mean reward {one.mean():.3f} → '
            f'{other.mean():.3f}</span></h3>{turns}<div class="answers">{answers}</div></div>'
        )
    return f"""<section><h2>Sample tasks</h2><p class="soft">Chosen at equal steps from the largest gain to the largest
loss. Of several answers to a task the first is shown.</p>{"".join(tasks)}</section>"""


def _clipped(value: object) -> str:
    whole = str(value)
    if not whole.strip():
        return f'<span class="cut">{"nothing" if not whole else "white space only"}</span>'
    if len(whole) <= LONGEST_TEXT:
        return text(whole)
    return f'{text(whole[:LONGEST_TEXT])}<span class="cut"> … {len(whole) - LONGEST_TEXT} more characters</span>'


def _time(contents: Contents) -> str:
    blocks = []
    for heading, seconds in (("phase", contents.phases), ("inside a training step", contents.log.step_seconds())):
        whole = sum(seconds.values())
        if whole <= 0:
            continue
        rows = "".join(
            f'<tr><td class="name">{text(name)}</td><td class="num">{duration(each)}</td>'
            f'<td class="num">{each / whole:.0%}</td><td class="share">'
            f'<div class="meter"><b style="width:{100 * each / whole:.1f}%"></b></div></td></tr>'
            for name, each in seconds.items()
        )
        blocks.append(
            f'<table><tr><th>{heading}</th><th class="num">{duration(whole)}</th><th></th><th></th></tr>{rows}</table>'
        )
    return f"<section><h2>Where time went</h2>{''.join(blocks)}</section>" if blocks else ""


def _settings(contents: Contents) -> str:
    summary = contents.after.summary
    keys = ("env", "adapter_config", "split", "split_seed", "samples_per_task", "sampling")
    settings = contents.settings | {key.replace("_", " "): summary[key] for key in keys if key in summary}
    settings |= {f"model {heading}": each.summary.get("model", "?") for _, heading, each in contents.columns()}
    versions = summary.get("versions") or {}
    commands = "\n".join(contents.commands)
    command = f"<h2>Do it again</h2><pre>{text(commands)}</pre>" if commands else ""
    state = "" if command else " open"
    return f"""<section>{command}<details{state}><summary>Settings and versions</summary>
<div class="scroll"><table>{_pairs(settings)}{_pairs(versions)}</table></div></details></section>"""


def _pairs(values: dict[str, Any]) -> str:
    return "".join(
        f'<tr><td>{text(key)}</td><td class="name">{text(_flat(value))}</td></tr>' for key, value in values.items()
    )


def _flat(value: Any) -> str:
    return ", ".join(f"{key}={each}" for key, each in value.items()) if isinstance(value, dict) else str(value)
