"""The HTML of the report: one page that needs nothing from the network. Every text in it is escaped.

`make_page(contents)` returns the page; `report.py` says where the contents come from.
"""

from __future__ import annotations

from statistics import fmean
from typing import Any

from evaluation_report.charts import histogram, line_chart, whiskers
from evaluation_report.contents import Contents, choose_samples
from evaluation_results import REWARD, bounds_of, intervals_of
from intervals import Interval
from report_parts.numbers import duration, signed, signed_interval, signed_short
from report_parts.page import clipped, fill_page, legend_key, pairs, text, time_table

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
    return fill_page(
        contents.title,
        subtitle,
        sections,
        footer="Intervals hold with 95 % confidence. They are t intervals over tasks; gains are paired by task.",
        columns=len(contents.columns()) + 1,
    )


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
    legend = "".join(legend_key(style, name) for style, name, _ in columns)
    return f"""<section><h2>Before and after</h2>
<div class="legend">{legend}</div><div class="scroll"><table class="compare">
<tr><th>mean of</th>{heads}<th>gain</th><th class="wide-only">0 … 1</th></tr>
{"".join(rows)}</table></div></section>"""


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
<div class="legend">{legend_key("before")}{legend_key("after")}</div>
<div class="wide">{wide}</div><div class="narrow">{narrow}</div></section>"""


def _samples(contents: Contents) -> str:
    tasks = []
    for one, other in choose_samples(contents.comparison):
        turns = "".join(
            f'<div class="turn">{text(message.get("role", ""))}</div><pre>{clipped(message.get("content", ""))}</pre>'
            for message in one.messages
        )
        answers = "".join(
            f'<div class="{name}"><div class="turn">{name}: score {task.rows[0]["score"]:.3f}</div>'
            f"<pre>{clipped(task.rows[0]['response'])}</pre></div>"
            for name, task in (("before", one), ("after", other))
        )
        tasks.append(
            f'<div class="task"><h3>task {one.task_id}<span class="soft">mean reward {one.mean():.3f} → '
            f'{other.mean():.3f}</span></h3>{turns}<div class="answers">{answers}</div></div>'
        )
    return f"""<section><h2>Sample tasks</h2><p class="soft">Chosen at equal steps from the largest gain to the largest
loss. Of several answers to a task the first is shown.</p>{"".join(tasks)}</section>"""


def _time(contents: Contents) -> str:
    timed = (("phase", contents.phases), ("inside a training step", contents.log.step_seconds()))
    blocks = [table for heading, seconds in timed if (table := time_table(heading, seconds))]
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
<div class="scroll"><table>{pairs(settings)}{pairs(versions)}</table></div></details></section>"""
