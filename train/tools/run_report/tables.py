"""The tables and the answers in a run's report: by environment, figures, settings, best and worst answers."""

from __future__ import annotations

from collections.abc import Sequence

from intervals import Interval
from report_parts.numbers import signed_interval
from report_parts.page import clipped, text
from run_report.charts import Curve, curves
from run_report.config import differences
from run_report.contents import View, ends, figure, figures, signed_figure
from run_report.samples import SHOWN, Answer, best_and_worst, change, same_tasks

MOST_NAMES = 24
"""Environments and types with a picture of their own; the table has all."""
MOST_DIFFERENCES = 200
SAMPLE_TEXT = 2500


def by_name_section(views: Sequence[View]) -> str:
    """Each environment and each type of its tasks: pictures, and a table with intervals."""
    names = sorted({name for view in views for name in view.by_name})
    if not names:
        return ""
    minis = []
    for name in names[:MOST_NAMES] if len(names) > 1 else []:
        lines = [
            Curve(
                view.label,
                view.style,
                view.by_name[name][0],
                [(step, value, None, None) for step, value in view.by_name[name][1]],
            )
            for view in views
            if name in view.by_name
        ]
        minis.append(f"<div><h3>{text(name)}</h3>{curves(lines, f'reward of {name}', unit_range=True)}</div>")
    rows = []
    for name in names:
        for view in views:
            training, series = view.by_name.get(name, ([], []))
            cells = [text(name), text(view.label)] if len(views) > 1 else [text(name)]
            values = [each.reward(name) for each in (view.validations[:1] + view.validations[-1:])]
            logged = [series[0][1], series[-1][1]] if series else [None, None]
            cells += [
                _reward_cell(interval, value) for interval, value in zip(values or [None, None], logged, strict=True)
            ]
            gain = change(view.validations[0], view.validations[-1], name) if len(view.validations) > 1 else None
            cells += [signed_interval(gain) if gain else "–", f"{ends(training)[1]:.3f}" if training else "–"]
            rows.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    heads = ["environment, type", *(["run"] if len(views) > 1 else []), "first validation", "last validation"]
    table = _table([*heads, "gain, paired by task", "training, at the end"], rows)
    left_out = f" {len(names) - MOST_NAMES} of them have no picture." if len(names) > MOST_NAMES else ""
    return f"""<section><h2>By environment and type of task</h2><p class="soft">Mean reward.{left_out}</p>
<div class="minis">{"".join(minis)}</div>{table}{_other_metrics(views)}</section>"""


def _reward_cell(interval: Interval | None, logged: float | None) -> str:
    if interval is not None and interval.low is not None and interval.high is not None:
        return f"{interval.mean:.3f}<small>{interval.low:.3f} … {interval.high:.3f}, {interval.n} tasks</small>"
    return "–" if logged is None else f"{logged:.3f}"


def _other_metrics(views: Sequence[View]) -> str:
    found = [view.other_metrics for view in views]
    rows = []
    for name in sorted({name for each in found for name in each}):
        cells = "".join(
            f'<td class="num">{figure(each[name][0][1])}</td><td class="num">{figure(each[name][-1][1])}</td>'
            if name in each
            else "<td>–</td><td>–</td>"
            for each in found
        )
        rows.append(f'<tr><td class="name">{text(name)}</td>{cells}</tr>')
    heads = "".join(
        f'<th class="num">{text(f"{view.label}: " if len(views) > 1 else "")}first</th><th class="num">last</th>'
        for view in views
    )
    if not rows:
        return ""
    return f"""<details><summary>Other metrics of the validations</summary><div class="scroll"><table>
<tr><th>metric</th>{heads}</tr>{"".join(rows)}</table></div></details>"""


def samples_section(views: Sequence[View]) -> str:
    """The best and the worst answers of a run; of two, their answers to the same tasks."""
    if len(views) > 1:
        return _paired_samples(*views)
    view = views[0]
    kept = view.validations[-1] if view.validations else view.rollouts
    if kept is None:
        return ""
    what = f"the validation at step {kept.step}" if view.validations else f"the rollouts of step {kept.step}"
    best, worst = best_and_worst(kept.answers)
    blocks = [
        f"<h3>{heading}</h3>" + "".join(_sample(answer) for answer in answers)
        for heading, answers in (("Best", best), ("Worst", worst))
        if answers
    ]
    return f"""<section><h2>Best and worst answers</h2><p class="soft">Of the {len(kept.answers)} answers of {what}, at
most {SHOWN} of each, of different tasks; among equal scores the first.</p>{"".join(blocks)}</section>"""


def _sample(answer: Answer) -> str:
    group = f" · {text(answer.group)}" if answer.group else ""
    return f"""<div class="task"><h3>{text(answer.task)}{group}<span class="soft">score {answer.score:.3f}</span></h3>
<pre>{clipped(answer.prompt, SAMPLE_TEXT)}</pre>
<div class="turn">answer</div><pre>{clipped(answer.text, SAMPLE_TEXT)}</pre></div>"""


def _paired_samples(one: View, other: View) -> str:
    """Tasks of both, from the largest gain to the largest loss."""
    if not one.validations or not other.validations:
        return ""
    sides = same_tasks(one.validations[-1], other.validations[-1])
    first, last = ({answer.task: answer for answer in reversed(side.answers)} for side in sides)
    order = sorted(first, key=lambda task: (first[task].score - last[task].score, task))
    count = min(2 * SHOWN, len(order))
    blocks = []
    for task in (order[round(index * (len(order) - 1) / max(1, count - 1))] for index in range(count)):
        answers = "".join(
            f'<div><div class="turn">{text(view.label)}: score {side[task].score:.3f}</div>'
            f"<pre>{clipped(side[task].text, SAMPLE_TEXT)}</pre></div>"
            for view, side in ((one, first), (other, last))
        )
        blocks.append(
            f'<div class="task"><h3>{text(task)}</h3><pre>{clipped(first[task].opening, SAMPLE_TEXT)}</pre>'
            f'<div class="answers">{answers}</div></div>'
        )
    if not blocks:
        return ""
    return f"""<section><h2>Answers to the same tasks</h2><p class="soft">Of the last validations, chosen at equal steps
from the largest gain to the largest loss. Of several answers to a task the first is shown.</p>
{"".join(blocks)}</section>"""


def figures_section(views: Sequence[View]) -> str:
    tables = [figures(view) for view in views]
    names = list(dict.fromkeys(name for table in tables for name in table))
    if not names:
        return ""
    rows = []
    for name in names:
        if len(views) == 1:
            values = [figure(value) for value in tables[0][name]]
        else:
            last = [table[name][1] if name in table else None for table in tables]
            values = ["–" if value is None else figure(value) for value in last]
            values.append("–" if None in last else signed_figure(last[1] - last[0]))
        rows.append(
            f'<tr><td class="name">{name}</td>' + "".join(f'<td class="num">{each}</td>' for each in values) + "</tr>"
        )
    heads = ["at the start", "at the end", "least", "most"]
    if len(views) > 1:
        heads = [*(view.label for view in views), "difference"]
    what = "the end" if len(views) > 1 else "start and end"
    return f"""<section><h2>Figures</h2><p class="soft">At {what}: the mean of a tenth of the steps, at most 50; of
validations the single value.</p>{_table(["", *heads], rows, numbers=True)}</section>"""


def configs_section(views: Sequence[View]) -> str:
    """What differs from the recipe; of two runs, between them."""
    blocks = []
    if len(views) > 1:
        rows = differences(views[0].config, views[1].config)
        labels = [view.label for view in views]
        blocks.append(f"<h2>Settings that differ</h2>{_differences(rows, labels, _why_no_config(views))}")
    for view in views:
        rows = differences(view.recipe, view.config) if view.recipe and view.config else []
        why = "" if view.recipe and view.config else f"{view.config_source}; {view.recipe_source}"
        name = f"{view.label}: what differs from its recipe" if len(views) > 1 else "What differs from the recipe"
        source = f"The recipe is {view.recipe_source} with no overrides; the config of the run: {view.config_source}."
        source = "" if why else f'<p class="soft">{text(source)}</p>'
        table = _differences(rows, ["the recipe", "this run"], why)
        if len(views) > 1:
            blocks.append(f"<details><summary>{text(name)}</summary>{source}{table}</details>")
        else:
            blocks.append(f"<h2>{text(name)}</h2>{source}{table}")
    return f"<section>{''.join(blocks)}</section>"


def _why_no_config(views: Sequence[View]) -> str:
    return "; ".join(f"{view.label}: {view.config_source}" for view in views if not view.config)


def _differences(rows: Sequence[tuple[str, str, str]], heads: Sequence[str], why: str) -> str:
    if why:
        return f'<p class="soft">Not known: {text(why)}.</p>'
    if not rows:
        return '<p class="soft">Nothing.</p>'
    lines = [
        f'<tr><td class="key">{text(key)}</td>'
        + "".join(f'<td class="change">{clipped(each, 300)}</td>' for each in values)
        + "</tr>"
        for key, *values in rows[:MOST_DIFFERENCES]
    ]
    more = f'<p class="soft">{len(rows) - MOST_DIFFERENCES} more.</p>' if len(rows) > MOST_DIFFERENCES else ""
    return _table(["key", *heads], lines) + more


def _table(heads: Sequence[str], rows: Sequence[str], numbers: bool = False) -> str:
    style = ' class="num"' if numbers else ""
    cells = f"<th>{text(heads[0])}</th>" + "".join(f"<th{style}>{text(head)}</th>" for head in heads[1:])
    return f'<div class="scroll"><table><tr>{cells}</tr>{"".join(rows)}</table></div>'
