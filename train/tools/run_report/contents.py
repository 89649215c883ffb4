"""What the report of a run says, apart from how it looks: the headline, the figures, what to know before trusting them.

view = read_view(find_run("my-run", root), root, style="run1")
headline([view]).verdict        # 'improved', 'got worse', 'no clear change', or '' where nothing tells
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from statistics import fmean

from intervals import Interval
from report_parts.numbers import duration, number
from run_record import Run, read_run
from run_report.config import Flat, recipe_config, run_config
from run_report.samples import Validation, change, newest_rollouts, read_validations, same_tasks
from training_log import STEP_PARTS, Series

VALIDATION_NAME = re.compile(r"val-(?:core/(?P<env>[^/]+)/reward|aux/(?P<typed>[^/]+)/reward/(?P<type>.+))/mean@\d+")
METRIC_NAME = re.compile(r"val-aux/(?P<env>[^/]+)/(?P<metric>[^/]+)/mean@\d+")
TRAINING_NAME = "training/reward/"
NAMED = (TRAINING_NAME, "val-core/", "val-aux/")
OWN_METRICS = {"reward", "score", "num_turns"}
"""Said elsewhere: they are the reward itself, or no metric of an environment."""
LARGEST_ENDS = 50
FIGURES = {
    "critic/score/mean": "training reward",
    "train/loss": "training loss",
    "val/loss": "validation loss",
    "actor/kl_loss": "KL loss",
    "actor/ppo_kl": "KL of a step",
    "actor/entropy": "entropy",
    "response_length/mean": "answer length, tokens",
    "response_length/max": "longest answer, tokens",
    "response_length/clip_ratio": "share of answers cut",
    "perf/throughput": "tokens a second and device",
    "timing_s/step": "seconds a step",
    "perf/mfu/actor": "MFU of the update",
    "train/mfu": "MFU",
    "train/global_tokens": "tokens a step",
    "actor/grad_norm": "gradient norm",
    "train/grad_norm": "gradient norm",
    "actor/lr": "learning rate",
    "train/lr": "learning rate",
    "actor/perf/max_memory_reserved_gb": "device memory, GB",
    "perf/max_memory_reserved_gb": "device memory, GB",
}
SFT_ONLY = ("train/loss", "val/loss")
"""A run of GRPO may log its policy loss under the first name: it says nothing of progress."""


@dataclass(frozen=True)
class View:
    """A run with all that its report needs."""

    run: Run
    label: str
    style: str
    """The CSS class of its colour."""
    validations: list[Validation]
    rollouts: Validation | None
    config: Flat
    config_source: str
    recipe: Flat
    recipe_source: str
    notes: list[str]

    @cached_property
    def reward(self) -> Series:
        return self.run.log.reward()

    @cached_property
    def validation(self) -> Series:
        """The mean validation reward by step."""
        return self.run.log.validation()

    @cached_property
    def validation_marks(self) -> list[tuple[int, float, float | None, float | None]]:
        """(step, mean validation reward, low, high): the interval where the answers were kept."""
        intervals = {each.step: each.reward() for each in self.validations}
        marks = []
        for step, value in self.validation:
            interval = intervals.get(step)
            # Over several environments verl's mean is over them, and the answers' is over tasks: no interval for it.
            fits = interval is not None and abs(interval.mean - value) < 1e-3
            marks.append((step, value, *((interval.low, interval.high) if interval and fits else (None, None))))
        return marks

    @cached_property
    def by_name(self) -> dict[str, tuple[Series, Series]]:
        """Environment or <environment>/<type> → its mean rewards in (training, validation)."""
        found: dict[str, tuple[Series, Series]] = {}
        for key, series in self._series_like(NAMED).items():
            name, place = (
                (key.removeprefix(TRAINING_NAME), 0) if key.startswith(TRAINING_NAME) else (validation_name(key), 1)
            )
            if name:
                found.setdefault(name, ([], []))[place].extend(series)
        return dict(sorted(found.items()))

    @cached_property
    def other_metrics(self) -> dict[str, Series]:
        """'openspiel: legal' → its validations."""
        found = {}
        for key, series in self._series_like("val-aux/").items():
            match = METRIC_NAME.fullmatch(key)
            if match and match["metric"] not in OWN_METRICS:
                found[f"{match['env']}: {match['metric']}"] = series
        return found

    def _series_like(self, starts: str | tuple[str, ...]) -> dict[str, Series]:
        return {key: self.run.log.series(key) for key in self.run.keys if key.startswith(starts)}

    @cached_property
    def step_times(self) -> dict[int, dict[str, float]]:
        """Step → part → seconds: those inside a step, 'other', and the validation after it."""
        result = {}
        for step, data in self.run.log.steps.items():
            whole = data.get("timing_s/step")
            if whole is None:
                continue
            parts = {label: data[f"timing_s/{key}"] for key, label in STEP_PARTS.items() if f"timing_s/{key}" in data}
            rest = whole - sum(parts.values())
            parts |= {"other": rest} if rest > 0 else {}
            result[step] = parts | ({"validate": data["timing_s/testing"]} if "timing_s/testing" in data else {})
        return result


@dataclass(frozen=True)
class Headline:
    what: str
    first: float | None
    last: float | None
    gain: Interval | None
    """Paired by task; None where no answers were kept."""
    verdict: str


def validation_name(key: str) -> str | None:
    """'openspiel' for val-core/openspiel/reward/mean@1, 'openspiel/hex' for val-aux/openspiel/reward/hex/mean@1."""
    match = VALIDATION_NAME.fullmatch(key)
    return None if match is None else match["env"] or f"{match['typed']}/{match['type']}"


def read_view(directory: Path, root: Path, style: str) -> View:
    """Raises SettingsError for a file that cannot be opened."""
    run = read_run(directory)
    config, config_source = run_config(run)
    recipe, recipe_source = recipe_config(run)
    notes = list(run.notes)
    kept = {
        name: root / str(config.get(f"trainer.{name}_data_dir") or directory / name)
        for name in ("validation", "rollout")
    }
    if not kept["validation"].is_dir():  # the run was moved, or the config is not its own
        kept["validation"] = directory / "validation"
    validations = read_validations(kept["validation"], notes)
    rollouts = newest_rollouts(kept["rollout"], notes)
    view = View(run, run.name, style, validations, rollouts, config, config_source, recipe, recipe_source, notes)
    return replace(view, notes=[*notes, *_log_notes(view)])


def ends(series: Series) -> tuple[float, float, int]:
    """(mean of the first values, of the last ones, how many): a tenth of the series at each end, at most 50."""
    count = min(LARGEST_ENDS, max(1, len(series) // 10))
    values = [value for _, value in series]
    return fmean(values[:count]), fmean(values[-count:]), count


def headline(views: Sequence[View]) -> Headline:
    """What came of the run; of two, how the second ends beside the first."""
    return _change_in(views[0]) if len(views) == 1 else _difference(*views)


def _change_in(view: View) -> Headline:
    log = view.run.log
    if view.run.is_sft:
        loss, of = log.series("val/loss"), "Validation loss"
        if len(loss) < 2:
            loss, of = log.series("train/loss"), "Training loss"
        return _of_series(of, loss, single=of.startswith("Val"))
    if len(view.validations) > 1:
        first, last = view.validations[0], view.validations[-1]
        gain = change(first, last)
        before, after = first.reward(), last.reward()
        if gain and before and after:
            what = f"Mean validation reward at step {first.step} and at step {last.step}, over tasks"
            return Headline(what, before.mean, after.mean, gain, verdict_of(gain))
    if len(view.validation) > 1:
        return _of_series("Mean validation reward", view.validation, single=True)
    return _of_series("Mean training reward", log.reward(), single=False)


def _difference(one: View, other: View) -> Headline:
    names = f"{one.label} and {other.label}"
    if one.validations and other.validations:
        left, right = same_tasks(one.validations[-1], other.validations[-1])
        gain = change(left, right)
        if gain:
            before, after = left.reward(), right.reward()
            what = f"Mean validation reward of {names} at steps {left.step} and {right.step}, over the same tasks"
            return Headline(
                what,
                before.mean,
                after.mean,
                gain,
                verdict_of(gain, (f"{other.label} is higher", f"{other.label} is lower")),
            )
    if one.run.is_sft or other.run.is_sft:
        kinds = (("val/loss", "Last validation loss"), ("train/loss", "Training loss at the end"))
        pairs = [(what, [view.run.log.series(key) for view in (one, other)]) for key, what in kinds]
    else:
        pairs = [
            ("Last mean validation reward", [view.validation for view in (one, other)]),
            ("Mean training reward at the end", [view.reward for view in (one, other)]),
        ]
    for what, series in pairs:
        if all(series):
            last = [each[-1][1] if what.startswith("Last") else ends(each)[1] for each in series]
            return Headline(f"{what} of {names}", last[0], last[1], None, "")
    return Headline(f"The logs of {names} share no reward or loss", None, None, None, "")


def _of_series(what: str, series: Series, single: bool) -> Headline:
    if not series:
        return Headline(f"{what}: none was logged", None, None, None, "")
    if single or len(series) < 20:
        (first, low), (last, high) = series[0], series[-1]
        return Headline(f"{what} at step {first} and at step {last}", low, high, None, "")
    low, high, count = ends(series)
    return Headline(f"{what}: mean of the first and of the last {count} steps", low, high, None, "")


def verdict_of(gain: Interval, words: tuple[str, str] = ("improved", "got worse")) -> str:
    """Where the paired interval leaves 0 out."""
    if gain.low is not None and gain.low > 0:
        return words[0]
    if gain.high is not None and gain.high < 0:
        return words[1]
    return "no clear change" if words[0] == "improved" else "no clear difference"


def facts(view: View) -> dict[str, str]:
    """Steps, time, tokens, starts."""
    log = view.run.log
    total = f" of {view.run.total_steps:,}" if view.run.total_steps else ""
    found = {"steps": f"{max(log.steps):,}{total}" if log.steps else "0"}
    seconds = [sum(parts.values()) for parts in view.step_times.values()]
    if seconds:
        found["time in steps"] = duration(sum(seconds))
    tokens = log.series("perf/total_num_tokens") or log.series("train/global_tokens")
    if tokens:
        found["tokens"] = f"{sum(value for _, value in tokens):,.0f}"
    if validations := len(view.validation) or len(log.series("val/loss")):
        found["validations"] = str(validations)
    if view.run.starts:
        found["starts"] = str(len(view.run.starts))
        found["ended"] = view.run.ended(view.run.starts[-1]) or "not recorded"
    return found


def figures(view: View) -> dict[str, tuple[float, float, float, float]]:
    """Label → (at the start, at the end, least, most) of everything in FIGURES that was logged."""
    rows = {}
    if validation := view.validation:
        values = [value for _, value in validation]
        rows["validation reward"] = (values[0], values[-1], min(values), max(values))
    for key, label in FIGURES.items():
        if key in SFT_ONLY and not view.run.is_sft:
            continue
        series = view.reward if key == "critic/score/mean" else view.run.log.series(key)
        if series:
            values = [value for _, value in series]
            first, last, _ = (values[0], values[-1], 1) if key == "val/loss" else ends(series)
            rows.setdefault(label, (first, last, min(values), max(values)))
    return rows


def figure(value: float) -> str:
    """For a table: three significant digits, and no exponent for what is large."""
    return f"{value:,.0f}" if abs(value) >= 1000 else number(value)


def signed_figure(value: float) -> str:
    return f"{'−' if value < 0 else '+'}{figure(abs(value))}"


def _log_notes(view: View) -> list[str]:
    log, found = view.run.log, []
    if log.unread_lines:
        lines = "1 line" if log.unread_lines == 1 else f"{log.unread_lines} lines"
        found.append(f"{lines} of metrics.jsonl could not be read, as after a kill: left out.")
    for key, steps in sorted(log.not_finite.items()):
        times = "step" if len(steps) == 1 else f"{len(steps)} steps, the first is"
        found.append(f"{key} was no finite number in {times} {steps[0]}: left out.")
    for last, again in log.went_back:
        found.append(f"After step {last} the run went on from step {again}: what was done in between is left out.")
    if log.steps and not view.run.is_sft and not view.reward and not view.validation:
        found.append("No reward was logged.")
    if view.run.is_sft and log.steps and not log.series("perf/throughput"):
        found.append("verl's SFT trainer logs no times: tokens a second are not known, tokens a step are.")
    if not view.run.is_sft and not view.validations and view.validation:
        found.append(
            "The answers of the validations were not kept (trainer.validation_data_dir): no intervals, no samples."
        )
    return found
