"""The HTML of a run's report, of one run or of two over one another. What it says is in contents.py.

page = make_run_page([view])
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from report_parts.numbers import duration, signed, signed_interval, signed_short
from report_parts.page import fill_page, legend_key, text, time_table
from run_report.charts import MOST_POINTS, Curve, as_bars, curves, is_log, stacked
from run_report.contents import View, facts, headline
from run_report.starts import starts_section
from run_report.tables import by_name_section, configs_section, figures_section, samples_section
from training_log import STEP_PARTS

CHARTS: dict[str, tuple[tuple[str, ...], ...]] = {
    "distance from the reference (KL loss)": (("actor/kl_loss",),),
    "change of the policy in a step (KL)": (("actor/ppo_kl",),),
    "KL between trainer and rollout": (("rollout_corr/kl",),),
    "entropy of the policy": (("actor/entropy",),),
    "gradient norm": (("actor/grad_norm", "train/grad_norm"),),
    "share of clipped updates": (("actor/pg_clipfrac",),),
    "answer length, tokens (dashed: longest)": (("response_length/mean",), ("response_length/max",)),
    "share of answers cut at the limit": (("response_length/clip_ratio",),),
    "prompt length, tokens (dashed: longest)": (("prompt_length/mean",), ("prompt_length/max",)),
    "turns of a task (dashed: most)": (("num_turns/mean",), ("num_turns/max",)),
    "tokens a second and device": (("perf/throughput",),),
    "tokens generated a second": (("rollout/throughput",),),
    "tokens of a step": (("perf/total_num_tokens", "train/global_tokens"),),
    "share of the device's arithmetic (MFU)": (("perf/mfu/actor", "train/mfu"),),
    "GPUs busy, %": (("system/gpu_utilization",),),
    "device memory, GB (dashed: reserved)": (
        ("actor/perf/max_memory_allocated_gb", "perf/max_memory_allocated_gb"),
        ("actor/perf/max_memory_reserved_gb", "perf/max_memory_reserved_gb"),
    ),
    "host memory, GB": (("actor/perf/cpu_memory_used_gb", "perf/cpu_memory_used_gb"),),
    "learning rate": (("actor/lr", "train/lr"),),
}
"""Title → the metric, and a second one to be dashed: each by its names in GRPO and SFT, of which the first is taken."""
SHARES = ("share of answers cut at the limit", "share of clipped updates")
PARTS = [*STEP_PARTS.values(), "other", "validate"]
"""In the order of the CSS classes part0 to part11."""
STYLE = Path(__file__).with_name("style.css")


def make_run_page(views: Sequence[View]) -> str:
    """The page of one run, or of two compared."""
    kind = "SFT" if views[0].run.is_sft else "GRPO"
    title = views[0].label if len(views) == 1 else f"{views[0].label} and {views[1].label}"
    sections = [
        _headline(views),
        _main_chart(views),
        by_name_section(views),
        _training(views),
        _time(views),
        samples_section(views),
        figures_section(views),
        configs_section(views),
        *(starts_section(view.run, view.label if len(views) > 1 else "") for view in views),
    ]
    longest = max((len(view.run.log.steps) for view in views), default=0)
    thin = f" Curves of more than {MOST_POINTS} steps are drawn with the lowest and the highest value of each stretch."
    footer = (
        "Lines are moving means of at most 101 steps, each half of them on either side. Intervals hold with 95 % "
        f"confidence and are over tasks.{thin if longest > MOST_POINTS else ''}"
    )
    return fill_page(title, f"Training run · {kind}", sections, footer, style=STYLE.read_text(encoding="utf-8"))


def _headline(views: Sequence[View]) -> str:
    head = headline(views)
    style = {"improved": "improved", "got worse": "worse"}.get(head.verdict, "unclear")
    badge = f'<span class="badge {style}">{text(head.verdict)}</span>' if head.verdict else ""
    score = ""
    if head.first is not None and head.last is not None:
        gain = signed_interval(head.gain) if head.gain else signed(head.last - head.first)
        if len(views) == 1:
            first = f'<span class="from">{head.first:.3f}</span><span class="arrow">→</span>'
            sides = f'{first}<span class="to">{head.last:.3f}</span>'
        else:
            sides = "".join(
                f'<span class="{view.style}">{value:.3f} <small>{text(view.label)}</small></span>'
                for view, value in zip(views, (head.first, head.last), strict=True)
            )
        score = f'<div class="score">{sides}<span class="gain">{gain}</span></div>'
    blocks = []
    for view in views:
        items = "".join(
            f"<div><dt>{text(name)}</dt><dd>{text(value)}</dd></div>" for name, value in facts(view).items()
        )
        named = f"<h3>{text(view.label)}</h3>" if len(views) > 1 else ""
        notes = "".join(f"<li>{text(note)}</li>" for note in view.notes)
        blocks.append(f'{named}<dl class="facts">{items}</dl>' + (f'<ul class="notes">{notes}</ul>' if notes else ""))
    what = f"{head.what}; then the difference, paired by task" if head.gain else head.what
    return f'<section class="verdict">{badge}{score}<p class="soft">{text(what)}.</p>{"".join(blocks)}</section>'


def _main_chart(views: Sequence[View]) -> str:
    several = len(views) > 1
    if views[0].run.is_sft:
        name, what = "Loss", "loss"
        lines = [
            Curve(
                view.label,
                view.style,
                view.run.log.series("train/loss"),
                [(step, value, None, None) for step, value in view.run.log.series("val/loss")],
            )
            for view in views
        ]
    else:
        name, what = "Reward", "mean reward"
        lines = [Curve(view.label, view.style, view.reward, view.validation_marks) for view in views]
    if not any(line.points or line.marks for line in lines):
        return f'<section><h2>{name}</h2><p class="soft">No {what} was logged.</p></section>'
    unit = not views[0].run.is_sft and all(0 <= y <= 1 for line in lines for _, y, *_ in (*line.points, *line.marks))
    wide, narrow = (curves(lines, what, width, height, unit, 5) for width, height in ((1040, 320), (340, 260)))
    keys = [legend_key({"run1": "after", "run2": "validation"}[view.style], view.label) for view in views if several]
    if not several and lines[0].points:
        keys.append('<span><i class="bar" style="background:var(--after)"></i>training, moving mean</span>')
    if any(line.marks for line in lines):
        colour = "soft" if several else "validation"
        bars = ", with 95 % interval" if any(mark[2] is not None for line in lines for mark in line.marks) else ""
        keys.append(f'<span><i class="diamond" style="background:var(--{colour})"></i>validation{bars}</span>')
    scale = "; logarithmic axis" if is_log(lines) else ""
    return f"""<section><h2>{name}</h2><p class="soft">{what.capitalize()} of each step{scale}.</p>
<div class="legend">{"".join(keys)}</div><div class="wide">{wide}</div><div class="narrow">{narrow}</div></section>"""


def _training(views: Sequence[View]) -> str:
    minis = []
    for title, metrics in CHARTS.items():
        lines = [
            Curve(view.label, view.style, series, dashed=place > 0)
            for view in views
            for place, names in enumerate(metrics)
            if len(series := next(filter(None, map(view.run.log.series, names)), [])) > 1
        ]
        picture = curves(lines, title, unit_range=title in SHARES)
        if picture:
            scale = ", logarithmic" if is_log(lines) else ""
            minis.append(f"<div><h3>{text(title)}{scale}</h3>{picture}</div>")
    if not minis:
        return ""
    keys = "".join(legend_key({"run1": "after", "run2": "validation"}[view.style], view.label) for view in views)
    legend = f'<div class="legend">{keys}</div>' if len(views) > 1 else ""
    return f'<section><h2>Training</h2>{legend}<div class="minis">{"".join(minis)}</div></section>'


def _time(views: Sequence[View]) -> str:
    blocks, means = [], {}
    for view in views:
        times = view.step_times
        bars = as_bars(times)
        used = [name for name in PARTS if any(bar.parts.get(name) for bar in bars)]
        wide, narrow = (stacked(bars, PARTS, "seconds of a step", *size) for size in ((1040, 260), (340, 230)))
        if not wide:
            continue
        means[view.label] = {name: sum(each.get(name, 0.0) for each in times.values()) / len(times) for name in used}
        named = f"<h3>{text(view.label)}</h3>" if len(views) > 1 else ""
        each = f" A bar is the mean of about {round(len(times) / len(bars))} steps." if len(bars) < len(times) else ""
        keys = "".join(legend_key(f"part{PARTS.index(name)}", name) for name in used)
        blocks.append(
            f'{named}<p class="soft">Seconds of each step, validation included.{each}</p>'
            f'<div class="legend">{keys}</div><div class="wide">{wide}</div><div class="narrow">{narrow}</div>'
        )
    if not blocks:
        return ""
    table = time_table("mean of a step", *means.values()) if len(means) == 1 else _two_times(means)
    return f"<section><h2>Where time goes</h2>{''.join(blocks)}{table}</section>"


def _two_times(means: dict[str, dict[str, float]]) -> str:
    one, other = means.values()
    rows = {name: (one.get(name, 0.0), other.get(name, 0.0)) for name in PARTS if name in one or name in other}
    rows["in all"] = (sum(one.values()), sum(other.values()))
    lines = "".join(
        f'<tr><td class="name">{name}</td>'
        + "".join(
            f'<td class="num">{cell}</td>' for cell in (duration(a), duration(b), f"{signed_short(round(b - a, 1))} s")
        )
        + "</tr>"
        for name, (a, b) in rows.items()
    )
    heads = "".join(f'<th class="num">{text(head)}</th>' for head in (*means, "difference"))
    return f'<div class="scroll"><table><tr><th>mean of a step</th>{heads}</tr>{lines}</table></div>'


def _more(seconds: float) -> str:
    return f"{'−' if seconds < 0 else '+'}{duration(abs(seconds))}"
