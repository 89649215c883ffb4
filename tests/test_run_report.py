"""train/tools/run_report: a page of one run or of two, from whatever a run has left."""

from __future__ import annotations

import json
import random
import re
import shlex
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from report_parts.frame import log_ticks
from report_parts.numbers import axis_number
from run_record import find_run, read_run
from run_report.__main__ import main
from run_report.charts import MOST_BARS, Curve, as_bars, curves, is_log, stacked, thinned
from run_report.config import differences, flat, read_command
from run_report.samples import best_and_worst, change, read_answers, read_validations, same_tasks
from test_report import ATTACKS, Page
from training_log import read_training_log

COMMAND = (
    "cd /a/repo && env \\\n  PROFILE=cpu \\\n  AGENT_MODEL_PATH=/models/m \\\n  CHECKPOINT_DIR=/runs/r \\\n"
    "  WANDB_EXP=r \\\n"
    "  python -m verl.trainer.main_ppo --config-path /a/repo/train/config --config-name openspiel {}\n"
)


def step_of(step: int, reward: float, **more: float | None) -> dict:
    times = {"timing_s/step": 20.0, "timing_s/gen": 5.0, "timing_s/update_actor": 12.0}
    data = {
        "critic/score/mean": reward,
        "actor/entropy": 1 / step,
        "actor/grad_norm": 0.5,
        "actor/kl_loss": 0.01 * step,
    }
    return {"step": step, "data": data | times | {"perf/total_num_tokens": 1000, "perf/throughput": 50.0} | more}


def write_lines(path: Path, records: list[dict]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


def write_run(directory: Path, steps: int = 12, rise: float = 0.03, **start: object) -> Path:
    """A run of GRPO without validations."""
    write_lines(directory / "metrics.jsonl", [step_of(step, 0.2 + rise * step) for step in range(1, steps + 1)])
    first = {
        "start": 1,
        "started": "2026-01-31T12:00:00+00:00",
        "command": COMMAND.format("data.seed=7"),
        "commit": "4de52acd01",
    }
    write_lines(directory / "starts.jsonl", [first | {"versions": {"verl": "0.9.1"}, "profile": "cpu"} | start])
    return directory


def write_validation(run: Path, step: int, score, tasks: int = 20, **more: object) -> None:
    """Twenty tasks with two answers each; score(task, sample) is the score, and the mean is logged."""
    rows = [
        {
            "input": f"user\nBoard {task}\n",
            "output": f"move {task}",
            "gts": f"openspiel/{task}",
            "score": score(task, sample),
        }
        | {"step": step, "uid": f"u{task}_{sample}_0", "legal": 1.0, "reward/hex": score(task, sample)}
        | more
        for task in range(tasks)
        for sample in range(2)
    ]
    write_lines(run / "validation" / f"{step}.jsonl", rows)
    mean = sum(row["score"] for row in rows) / len(rows)
    names = {
        "val-core/openspiel/reward/mean@2": mean,
        "val-aux/openspiel/reward/hex/mean@2": mean,
        "val-aux/openspiel/legal/mean@2": 1,
    }
    with (run / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"step": step, "data": names}) + "\n")


def report(*runs: Path | str, output: Path) -> tuple[int, str, str]:
    """(exit code, page, visible text)."""
    code = main([*map(str, runs), "--output", str(output)])
    raw = output.read_text(encoding="utf-8") if output.exists() else ""
    return code, raw, " ".join("".join(Page(raw).text).split()) if raw else ""


def test_a_run_is_found_by_name_and_its_page_lies_beside_it(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("VERITAS_ROOT", str(tmp_path))
    run = write_run(tmp_path / "train/artifacts/RL/checkpoints/my-run")
    assert main(["my-run"]) == 0
    printed = capsys.readouterr().out
    page = (run / "report.html").read_text()
    assert "0.230 → 0.560" in printed
    assert f"wrote {run / 'report.html'}" in printed
    for words in ("0.230", "0.560", "my-run", "Seconds of each step", "entropy of the policy", "4de52acd01", "0.9.1"):
        assert words in page
    assert "not recorded" in page, "no exit was"


def test_a_validation_whose_answers_were_kept_has_intervals_and_a_verdict(tmp_path, capsys):
    run = write_run(tmp_path / "run")
    write_validation(run, 0, lambda task, sample: task % 2 * 0.5)
    write_validation(run, 12, lambda task, sample: task % 2 * 0.5 + 0.2 + 0.01 * sample)
    code, raw, text = report(run, output=tmp_path / "r.html")
    assert code == 0
    gain = re.search(r"\+0\.205 \[\+0\.\d{3}, \+0\.\d{3}\]", capsys.readouterr().out)
    assert gain and gain[0] in text
    assert "improved" in text
    assert "95 % interval" in text
    assert raw.count("validation reach") == 4, "two validations, on a wide and on a narrow picture"
    assert "openspiel/hex" in text and "20 tasks" in text
    assert "openspiel: legal" in text
    assert "Best and worst answers" in text and "Board 0" in text


@pytest.mark.parametrize(("gain", "verdict"), [(0.2, "improved"), (-0.2, "got worse"), (0.0, "no clear change")])
def test_the_verdict_follows_the_paired_interval(tmp_path, capsys, gain, verdict):
    draw = random.Random(0)
    run = write_run(tmp_path / "run")
    write_validation(run, 0, lambda task, sample: 0.5)
    write_validation(run, 12, lambda task, sample: 0.5 + gain + draw.choice([-0.05, 0.05]))
    assert report(run, output=tmp_path / "r.html")[0] == 0
    assert verdict in capsys.readouterr().out


def test_nothing_comes_from_outside_and_the_pictures_are_well_formed(tmp_path):
    runs = [write_run(tmp_path / name, steps=steps) for name, steps in (("a", 150), ("b", 9))]
    for run in runs:
        write_validation(run, 0, lambda task, sample: 0.5)
        write_validation(run, 9, lambda task, sample: 0.6)
    for chosen in (runs[:1], runs):
        _, raw, _ = report(*chosen, output=tmp_path / "r.html")
        page = Page(raw)
        assert not {"script", "link", "img", "iframe", "object", "embed", "base"} & set(page.tags)
        assert not {"src", "href", "xlink:href", "srcset", "action"} & {name for name, _ in page.attributes}
        assert "url(" not in raw and "@import" not in raw
        pictures = re.findall(r"<svg.*?</svg>", raw, re.DOTALL)
        assert len(pictures) >= 10
        for picture in pictures:
            ElementTree.fromstring(picture)
            assert "nan" not in picture and "inf" not in picture
        assert "prefers-color-scheme: dark" in raw


@pytest.mark.parametrize("attack", ATTACKS)
def test_no_text_leaves_its_place(tmp_path, attack):
    start = dict.fromkeys(("started", "profile", "host", "commit"), attack) | {"versions": {attack: attack}}
    runs = [write_run(tmp_path / name, **start, command=COMMAND.format("data.seed=7") + attack) for name in ("a", "b")]
    for run in runs:
        (run / "config.yaml").write_text(json.dumps({"data": {attack: attack + run.name, "x": [attack, run.name]}}))
        names = [f"training/reward/{attack}", f"val-core/{attack}/reward/mean@1", f"val-aux/{attack}/{attack}/mean@1"]
        write_lines(run / "exits.jsonl", [{"start": 1, "reason": attack, "status": 1}])
        write_validation(
            run, 5, lambda task, sample: 0.5, input=attack, output=attack * 3, gts=attack, **{f"reward/{attack}": 1}
        )
        with (run / "metrics.jsonl").open("a") as file:
            file.write(json.dumps(step_of(6, 0.5, **dict.fromkeys(names, 0.5))) + "\n")
    allowed = {
        "html", "head", "meta", "title", "style", "body", "main", "header", "h1", "h2", "h3", "p", "section", "span",
        "div", "dl", "dt", "dd", "ul", "li", "table", "tr", "th", "td", "small", "svg", "line", "text", "circle",
        "polyline", "polygon", "rect", "i", "b", "pre", "details", "summary", "footer",
    }  # fmt: skip
    for chosen in (runs[:1], runs):
        code, raw, _ = report(*chosen, output=tmp_path / "r.html")
        page = Page(raw)
        assert code == 0
        assert set(page.tags) <= allowed
        assert not [name for name, _ in page.attributes if name.startswith("on")]
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", raw)
        if attack.isprintable():
            assert attack * 3 in "".join(page.text)  # shown, as it is


# -- two runs -----------------------------------------------------------------------------------------------------


def test_two_runs_lie_over_one_another_and_their_settings_differ(tmp_path, capsys):
    one, other = write_run(tmp_path / "one"), write_run(tmp_path / "other", rise=0.05)
    for run, better, seed in ((one, 0.0, 1), (other, 0.25, 2)):
        (run / "config.yaml").write_text(f"data: {{seed: {seed}, train_batch_size: 8}}\n")
        write_validation(run, 12, lambda task, sample, better=better: 0.3 + better + task % 3 * 0.01)
    code, raw, text = report(one, other, output=tmp_path / "r.html")
    assert code == 0
    assert re.search(r"\+0\.250 \[\+0\.\d{3}, \+0\.\d{3}\]", text)
    assert "other is higher" in text
    assert "Answers to the same tasks" in text
    assert re.search(r"data\.seed\s*1\s*2", text)
    assert "data.train_batch_size" not in text.partition("Settings that differ")[2].partition("what differs from")[0]
    assert 'class="run1 curve"' in raw and 'class="run2 curve"' in raw
    assert "0.8" in capsys.readouterr().out, "0.2 + 12 * 0.05, the reward at the end of the second"


def test_tasks_of_the_same_number_and_another_prompt_are_not_paired(tmp_path):
    for name in ("a", "b"):
        write_validation(write_run(tmp_path / name), 3, lambda task, sample: 0.5)
    lines = (tmp_path / "b/validation/3.jsonl").read_text().replace("Board 7", "Board 7, with another opponent")
    (tmp_path / "b/validation/3.jsonl").write_text(lines)
    [a], [b] = (read_validations(tmp_path / name / "validation", []) for name in ("a", "b"))
    one, other = same_tasks(a, b)
    assert len(one.scores()) == len(other.scores()) == 19
    assert change(one, other).n == 19


def test_two_runs_of_one_name_are_told_apart(tmp_path, capsys):
    one, other = write_run(tmp_path / "x/run"), write_run(tmp_path / "y/run")
    assert report(one, other, output=tmp_path / "r.html")[0] == 0
    assert str(one) in capsys.readouterr().out


# -- SFT ----------------------------------------------------------------------------------------------------------


def write_sft(directory: Path) -> Path:
    rows = [
        {
            "step": n,
            "data": {"train/loss": 4 / n, "train/lr": 1e-4, "train/global_tokens": 1500, "train/grad_norm": 90 / n**3},
        }
        for n in range(1, 31)
    ]
    write_lines(
        directory / "metrics.jsonl", [*rows, *({"step": n, "data": {"val/loss": 5 / n}} for n in (10, 20, 30))][:30]
    )
    with (directory / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"step": 30, "data": {"val/loss": 0.4}}) + "\n")
    return directory


def test_a_run_of_sft_shows_its_losses(tmp_path, capsys):
    code, _, text = report(write_sft(tmp_path / "sft"), output=tmp_path / "r.html")
    printed = capsys.readouterr().out
    assert code == 0
    for words in ("Training run · SFT", "learning rate", "tokens of a step", "tokens 45,000", "Loss of each step"):
        assert words in text.replace("tokens45,000", "tokens 45,000")
    assert "tokens a second are not known" in printed
    assert "Reward" not in text


def test_a_policy_loss_does_not_make_grpo_a_run_of_sft(tmp_path):
    write_lines(tmp_path / "metrics.jsonl", [step_of(1, 0.5, **{"train/loss": 0.1})])
    assert not read_run(tmp_path).is_sft


def test_sft_and_grpo_are_not_compared(tmp_path, capsys):
    assert report(write_sft(tmp_path / "a"), write_run(tmp_path / "b"), output=tmp_path / "r.html")[0] == 2
    assert "nothing to compare" in capsys.readouterr().err


# -- what a run has left ------------------------------------------------------------------------------------------


def test_parts_before_a_resume_are_joined_and_what_was_done_again_counts_once(tmp_path):
    write_run(tmp_path)
    write_lines(tmp_path / "metrics-until-20260131-120000.jsonl", [step_of(n, 0.1) for n in range(1, 9)])
    write_lines(tmp_path / "metrics.jsonl", [step_of(n, 0.9) for n in range(6, 11)])
    log = read_run(tmp_path).log
    assert log.reward() == [(n, 0.1) for n in range(1, 6)] + [(n, 0.9) for n in range(6, 11)]
    assert log.went_back == [(8, 6)]


def test_a_validation_of_an_earlier_checkpoint_forgets_nothing(tmp_path):
    late = {"step": 2, "data": {"val-core/openspiel/reward/mean@1": 0.7}}
    write_lines(tmp_path / "m", [*(step_of(n, 0.1) for n in (1, 2, 3)), late])
    log = read_training_log(tmp_path / "m")
    assert [step for step, _ in log.reward()] == [1, 2, 3]
    assert log.validation() == [(2, 0.7)]


def test_steps_that_a_run_has_gone_back_over_are_forgotten(tmp_path):
    write_lines(tmp_path / "m", [step_of(n, 0.1) for n in (1, 2, 3, 4, 5, 6)] + [step_of(n, 0.9) for n in (3, 4)])
    assert read_training_log(tmp_path / "m").reward() == [(1, 0.1), (2, 0.1), (3, 0.9), (4, 0.9)]


def test_how_each_start_ended_is_said(tmp_path):
    run = write_run(tmp_path / "run")
    write_lines(
        run / "starts.jsonl",
        [{"start": 1, "resumed_from": 0}, {"start": 2, "resumed_from": 50}, {"start": 2, "node": 1}],
    )
    write_lines(run / "exits.jsonl", [{"start": 1, "reason": "stopped by Ctrl-C", "status": 130}])
    (run / "total_steps.txt").write_text("200\n")
    _, _, text = report(run, output=tmp_path / "r.html")
    assert "stopped by Ctrl-C" in text and "not recorded" in text
    assert "the beginning" in text and "step 50" in text
    assert "12 of 200" in text
    assert [start["start"] for start in read_run(run).starts] == [1, 2]


def test_answers_of_several_sequences_count_once_and_lost_scores_are_noted(tmp_path):
    rows = [
        {"input": f"turn {n}", "output": f"o{n}", "gts": "openspiel/3", "score": 0.5, "uid": f"a_0_{n}"}
        for n in range(3)
    ]
    rows += [
        {"input": "x", "output": "y", "gts": "openspiel/4", "score": score, "uid": f"b_{n}_0"}
        for n, score in enumerate((None, "z"))
    ]
    write_lines(tmp_path / "7.jsonl", rows)
    notes: list[str] = []
    [answer] = read_answers(tmp_path / "7.jsonl", notes)
    assert (answer.task, answer.text, answer.opening, answer.score) == ("openspiel/3", "o2", "turn 0", 0.5)
    assert "2 of the answers" in notes[0]


def test_best_and_worst_are_of_different_tasks_and_no_answer_is_both(tmp_path):
    write_validation(tmp_path, 1, lambda task, sample: task / 10, tasks=2)
    [validation] = read_validations(tmp_path / "validation", [])
    best, worst = best_and_worst(validation.answers)
    assert [answer.task for answer in best] == ["openspiel/1", "openspiel/0"]
    assert not {id(answer) for answer in best} & {id(answer) for answer in worst}


def test_of_large_validations_the_first_and_the_last_are_read(tmp_path, monkeypatch):
    for step in range(0, 100, 10):
        write_validation(tmp_path, step, lambda task, sample: 0.5)
    monkeypatch.setattr("run_report.samples.MOST_BYTES", 3 * (tmp_path / "validation/0.jsonl").stat().st_size)
    notes: list[str] = []
    steps = [each.step for each in read_validations(tmp_path / "validation", notes)]
    assert (steps[0], steps[-1]) == (0, 90)
    assert 2 <= len(steps) <= 3
    assert f"{len(steps)} of the 10 validations" in notes[0]


# -- settings -----------------------------------------------------------------------------------------------------


def test_the_config_is_compared_with_the_recipe_of_today(tmp_path):
    run = write_run(tmp_path / "run", command=COMMAND.format("data.seed=7 'trainer.project_name=a b'"))
    _, _, text = report(run, output=tmp_path / "r.html")
    part = text.partition("What differs from the recipe")[2].partition("Starts")[0]
    assert re.search(r"data\.seed\s*42\s*7", part)
    assert re.search(r"trainer\.project_name\s*veritas-rl\s*a b", part)
    assert part.count("trainer.") == 1, "what the run cannot do without is no difference"
    assert "composed again" in part


def test_secrets_are_not_shown():
    one, other = {"a": {"api_key": "tell-no-one"}, "url": "https://me:hunter2@host/x"}, {"a": {"api_key": None}}
    rows = differences(flat(one), flat(other))
    assert ("a.api_key", "***", "null") in rows
    assert ("url", "https://***@host/x", "–") in rows


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), min_size=1)))
def test_a_recorded_command_gives_its_overrides_back(overrides):
    command = read_command(COMMAND.format(shlex.join(overrides)))
    # A backslash at the end of a line is how the command is wrapped: nothing to lose in it.
    assert command.overrides == [each.replace("\\\n", " ") for each in overrides]
    assert command.recipe == "openspiel"
    assert command.environment["PROFILE"] == "cpu"


@pytest.mark.parametrize("text", ["", "cd 'half", "make demo", "python x --config-name"])
def test_what_is_no_command_of_a_trainer_is_none(text):
    assert read_command(text) is None


# -- bad input ----------------------------------------------------------------------------------------------------


def test_an_unknown_run_is_answered_with_the_nearest_names(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("VERITAS_ROOT", str(tmp_path))
    assert main(["hex-1"]) == 2
    assert "have none" in capsys.readouterr().err
    for name in ("hex-1", "hex-2", "something-else"):
        write_run(tmp_path / "train/artifacts/RL/checkpoints" / name)
    write_sft(tmp_path / "train/artifacts/checkpoints/hex-1")
    for given_name, words in (
        ("hex-3", "Did you mean hex-2 or hex-1?"),
        ("zzz", "The newest are"),
        ("hex-1", "names two runs"),
        (str(tmp_path / "train"), "is no run"),
    ):
        assert main([given_name]) == 2
        error = capsys.readouterr().err
        assert words in error
        assert len(error.splitlines()) == 1
    assert main(["hex-2", "hex-2"]) == 2
    assert "the same run" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "holds no step"),
        ('{"step": 1, "data": {"critic/score/mean": 0.5}}\n{"step": 2, "da', "1 line of metrics.jsonl"),
        ('{"step": 1, "data": {"critic/score/mean": NaN, "actor/lr": 1}}\n', "critic/score/mean was no finite number"),
        ('{"step": 4, "data": {"actor/grad_norm": null, "critic/score/mean": 0.5}}\n', "in step 4"),
        ('{"step": 1, "data": {"critic/score/mean": 1' + "0" * 400 + "}}\n", "no finite number"),
        ('{"step": 1, "data": {"actor/lr": 1e-6}}\n', "No reward was logged"),
        ('{"step": 1, "data": {"critic/score/mean": 1e308, "actor/grad_norm": -1e308}}\n' * 2, ""),
    ],
)
def test_a_poor_metrics_file_is_told_and_survived(tmp_path, capsys, content, words):
    run = write_run(tmp_path / "run")
    (run / "metrics.jsonl").write_text(content)
    code, _, text = report(run, output=tmp_path / "r.html")
    assert code == 0
    assert words in capsys.readouterr().out
    assert words in text


@pytest.mark.parametrize("missing", ["metrics.jsonl", "starts.jsonl"])
def test_a_missing_file_is_said_to_be_missing(tmp_path, capsys, missing):
    run = write_run(tmp_path / "run")
    (run / missing).unlink()
    assert report(run, output=tmp_path / "r.html")[0] == 0
    assert f"There is no {missing}" in capsys.readouterr().out


@pytest.mark.parametrize("content", ["a: [", "just text", "\x00", ""])
def test_a_broken_config_is_told(tmp_path, content):
    run = write_run(tmp_path / "run")
    (run / "config.yaml").write_text(content)
    code, _, text = report(run, output=tmp_path / "r.html")
    assert code == 0
    assert "Not known: config.yaml" in text


def test_files_of_half_lines_are_survived(tmp_path):
    run = write_run(tmp_path / "run")
    write_validation(run, 12, lambda task, sample: 0.5)
    for path in (run / "starts.jsonl", run / "validation/12.jsonl", run / "exits.jsonl"):
        with path.open("ab") as file:
            file.write(b'{"half\xff\n[1]\n{"start"')
    code, _, text = report(run, output=tmp_path / "r.html")
    assert code == 0
    assert "3 lines of starts.jsonl could not be read" in text
    assert "3 lines of 12.jsonl could not be read" in text


# -- long runs and the pictures -----------------------------------------------------------------------------------


def test_a_run_of_ten_thousand_steps_makes_a_small_page_that_keeps_its_spikes(tmp_path):
    draw = random.Random(0)
    rows = [step_of(n, draw.random(), **{"actor/grad_norm": draw.uniform(0.3, 0.5)}) for n in range(1, 10_001)]
    rows[4321]["data"]["actor/grad_norm"] = 77.0
    write_lines(tmp_path / "run/metrics.jsonl", rows)
    code, raw, text = report(tmp_path / "run", output=tmp_path / "r.html")
    assert code == 0
    assert len(raw.encode()) < 2_000_000
    assert "lowest and the highest value of each stretch" in text
    assert "gradient norm, logarithmic" in text
    assert "77" in text, "the most of the table"


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=400), st.integers(4, 60))
def test_thinning_keeps_the_ends_the_extremes_and_the_order(values, most):
    points = list(enumerate(values))
    kept = thinned(points, most)
    assert len(kept) <= max(most, 2)
    assert kept == sorted(set(kept) & set(points))
    assert (kept[0], kept[-1]) == (points[0], points[-1])
    assert {min(values), max(values)} <= {value for _, value in kept}


@given(st.dictionaries(st.integers(0, 500), st.floats(0.1, 100), min_size=1, max_size=200))
def test_bars_hold_the_time_of_all_steps(seconds):
    bars = as_bars({step: {"generate": value} for step, value in seconds.items()})
    assert len(bars) == min(MOST_BARS, len(seconds))
    steps = sorted(seconds)
    counts = [sum(bar.first <= step <= bar.last for step in steps) for bar in bars]
    assert sum(counts) == len(steps)
    whole = sum(count * bar.parts["generate"] for count, bar in zip(counts, bars, strict=True))
    assert whole == pytest.approx(sum(seconds.values()))


@given(st.floats(1e-7, 1e14) | st.just(0.0), st.booleans())
def test_numbers_beside_an_axis_are_short_and_near(value, negative):
    value = -value if negative else value
    text = axis_number(value)
    assert len(text.removeprefix("-")) <= 7
    scale = {"k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}.get(text[-1], 1)
    assert float(text.rstrip("kMGT")) * scale == pytest.approx(value, rel=0.06)


@given(st.floats(1e-8, 1e6), st.floats(50, 1e10))
def test_a_logarithmic_axis_has_a_few_ticks_inside(low, factor):
    found = log_ticks(low, low * factor)
    assert 2 <= len(found) <= 7
    assert all(low <= tick <= low * factor for tick in found)


def test_an_axis_is_logarithmic_only_where_a_few_values_would_flatten_the_rest():
    level = [(n, 1.0) for n in range(20)]
    assert is_log([Curve("a", "run1", [*level, (20, 90.0)])])
    assert not is_log([Curve("a", "run1", [*level, (20, 40.0)])])
    assert not is_log([Curve("a", "run1", [*level, (20, 90.0), (21, 0.0)])])


@given(st.lists(st.floats(-1e300, 1e300), min_size=1, max_size=80), st.booleans())
def test_any_finite_values_make_a_picture(values, one_step):
    points = [(0 if one_step else n, value) for n, value in enumerate(values)]
    picture = curves([Curve("a", "run1", points, [(1, values[0], None, None)])], "x")
    ElementTree.fromstring(picture)
    assert "nan" not in picture and "inf" not in picture


def test_nothing_to_draw_is_no_picture():
    assert curves([Curve("a", "run1", [])], "x") == ""
    assert stacked([], ["generate"], "x") == ""


def test_find_run_takes_a_relative_directory(tmp_path, monkeypatch):
    run = write_run(tmp_path / "some/where")
    monkeypatch.chdir(tmp_path)
    assert find_run("some/where", Path("/nowhere")) == run
