"""train/tools/report.py: right numbers, honest verdicts, and a page that nothing in the data can break."""

import json
import random
import re
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser

import pytest

import report
from evaluate import summarise
from evaluation_results import write_evaluation
from report_parts.frame import smooth, ticks
from training_log import read_training_log

ATTACKS = [
    "</pre></section><script>attack()</script>",
    '"><img src=x onerror=attack()>',
    "' onmouseover='attack()",
    "<attack>&lt;&amp;</attack>",
    "]]><!--",
    "${title} $body %s {0}",
    "\x00\x1b[2J\x7f\x9b\ud800\u202egnp.exe\u2066",
    "```<svg onload=attack()>",
    "&#60;attack&#62;",
    "javascript:attack()",
]


def write(directory, score, tasks=30, samples=2, reply="4", **changes):
    """An evaluation in which answer `sample` to `task` has the score score(task, sample)."""
    rows = [
        {
            "task_id": task,
            "sample": sample,
            "messages": [{"role": "user", "content": f"What is {task} + 1?"}],
            "response": reply,
            "score": score(task, sample),
            "metrics": {"legal": 1.0, "length": 12.5},
            "finish_reason": "stop",
            "tokens": 1,
            "error": None,
        }
        for task in range(tasks)
        for sample in range(samples)
    ]
    summary = {"env": "toy", "model": "m", "split": "test", "samples_per_task": samples, "sampling": {"seed": 0}}
    write_evaluation(directory, rows, summary | summarise(rows) | changes)


def write_metrics(path, steps=12, **extra):
    lines = [
        json.dumps({"step": step, "data": {"critic/score/mean": 0.4 + 0.02 * step, "timing_s/step": 20.0} | extra})
        for step in range(1, steps + 1)
    ]
    path.write_text("\n".join(lines) + "\n")


@pytest.fixture
def inputs(tmp_path):
    draw = random.Random(0)
    write(tmp_path / "before", lambda task, sample: task % 2 * 0.5)
    write(tmp_path / "after", lambda task, sample: min(1.0, task % 2 * 0.5 + draw.choice([0.2, 0.3, 0.4])))
    write_metrics(tmp_path / "metrics.jsonl")
    return tmp_path


def run(inputs, *arguments, title="A run"):
    return report.main(
        [
            "--title", title, "--before", str(inputs / "before"), "--after", str(inputs / "after"),
            "--metrics", str(inputs / "metrics.jsonl"), "--output", str(inputs / "report.html"), *arguments,
        ]
    )  # fmt: skip


class Page(HTMLParser):
    """All start tags, attributes and the visible text; fails on tags that do not close in order."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.text, self.open = [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def page_of(inputs):
    raw = (inputs / "report.html").read_text(encoding="utf-8")
    return raw, Page(raw)


def test_the_page_and_the_terminal_tell_the_same_numbers(inputs, capsys):
    assert run(inputs) == 0
    printed = capsys.readouterr().out
    _, page = page_of(inputs)
    text = " ".join("".join(page.text).split())
    gain = re.search(r"reward .* (\+0\.\d{3} \[\+0\.\d{3}, \+0\.\d{3}\])", printed)[1]
    assert gain in text
    assert "improved" in text
    assert "reward: improved on 30 tasks" in printed
    before = json.loads((inputs / "before" / "summary.json").read_text())["reward"]["mean"]
    assert f"{before:.3f}" in text
    assert f"{before:.3f}" in printed


@pytest.mark.parametrize(
    ("gain", "verdict"), [(0.2, "improved"), (0.0, "no clear change"), (-0.2, "got worse"), (None, "no clear change")]
)
def test_the_verdict_follows_the_paired_interval(tmp_path, capsys, gain, verdict):
    draw = random.Random(3)
    change = draw.choice if gain is None else lambda _: gain  # None: noise around 0
    write(tmp_path / "before", lambda task, sample: 0.5)
    write(tmp_path / "after", lambda task, sample: 0.5 + change([-0.3, -0.1, 0.1, 0.3]) + draw.uniform(-0.01, 0.01))
    write_metrics(tmp_path / "metrics.jsonl")
    assert run(tmp_path) == 0
    assert f"reward: {verdict} on" in capsys.readouterr().out
    assert verdict in "".join(page_of(tmp_path)[1].text)


def test_nothing_comes_from_outside_and_the_pictures_are_well_formed(inputs):
    write_metrics(inputs / "metrics.jsonl", **{"val-core/toy/reward/mean@1": 0.6, "actor/entropy": 0.3})
    assert run(inputs, "--command", "make demo") == 0
    raw, page = page_of(inputs)
    assert not {"script", "link", "img", "iframe", "object", "embed", "base"} & set(page.tags)
    assert not {"src", "href", "xlink:href", "srcset", "action"} & {name for name, _ in page.attributes}
    assert "url(" not in raw
    assert "@import" not in raw
    pictures = re.findall(r"<svg.*?</svg>", raw, re.DOTALL)
    assert len(pictures) >= 6
    for picture in pictures:
        ElementTree.fromstring(picture)
    assert "validation" in "".join(page.text)
    assert "prefers-color-scheme: dark" in raw


@pytest.mark.parametrize("attack", ATTACKS)
def test_no_text_leaves_its_place(tmp_path, attack):
    for name in ("before", "after", "base"):
        rows = [
            {
                "task_id": task,
                "sample": 0,
                "messages": [{"role": attack, "content": attack}],
                "response": attack * 3,
                "score": 0.5,
                "metrics": {attack: 0.5},
                "finish_reason": attack,
                "tokens": 1,
                "error": None,
            }
            for task in range(3)
        ]
        summary = {"env": attack, "model": attack, "split": attack, "created": attack, "samples_per_task": attack}
        summary |= {"sampling": {attack: attack}, "adapter_config": {attack: [attack]}, "versions": {attack: attack}}
        write_evaluation(tmp_path / name, rows, summary | summarise(rows))
    data = {"critic/score/mean": 0.5, f"val-core/{attack}/reward/mean@1": 0.5, f"timing_s/{attack}": 1.0}
    (tmp_path / "metrics.jsonl").write_text(json.dumps({"step": 1, "data": data}))
    (tmp_path / "timings.json").write_text(json.dumps({attack: 5}))
    clean = attack.encode("utf-8", "replace").decode()
    code = run(
        tmp_path, "--base", str(tmp_path / "base"), "--timings", str(tmp_path / "timings.json"),
        "--setting", f"{clean.replace('=', '')}={clean}", "--command", clean, title=clean,
    )  # fmt: skip
    assert code == 0
    raw, page = page_of(tmp_path)
    allowed = {
        "html", "head", "meta", "title", "style", "body", "main", "header", "h1", "h2", "h3", "p", "section", "span",
        "div", "dl", "dt", "dd", "ul", "li", "table", "tr", "th", "td", "small", "svg", "line", "text", "circle",
        "polyline", "polygon", "rect", "i", "b", "pre", "details", "summary", "footer",
    }  # fmt: skip
    assert set(page.tags) <= allowed
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", raw)
    if attack.isprintable():
        assert attack * 3 in "".join(page.text)  # shown, as it is


def test_a_huge_answer_is_cut_and_an_empty_one_is_named(tmp_path):
    write(tmp_path / "before", lambda task, sample: 0.0, reply="")
    write(tmp_path / "after", lambda task, sample: 0.0, reply="<" * 1_000_000)
    write_metrics(tmp_path / "metrics.jsonl")
    assert run(tmp_path) == 0
    raw, page = page_of(tmp_path)
    assert len(raw) < 300_000
    text = "".join(page.text)
    assert "996000 more characters" in text
    assert "nothing" in text


# -- the metrics file ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "no training step"),
        ('{"step": 1, "data": {"actor/lr": 0.1}}\n', "no training reward"),
        ('{"step": 1, "data": {"critic/score/mean": null}}\n', "no training reward"),
        ('{"step": 1, "data": {"critic/score/mean": NaN}}\n', "no training reward"),
        ('{"step": 1, "data": {"critic/score/mean": 0.5}}\n{"step": 2, "da', "1 line of the metrics file"),
        ('nonsense\n[]\n{"step": 1}\n{"step": "x", "data": {}}\n\xff', "5 lines of the metrics file"),
        ('{"step": 1, "data": {"critic/rewards/mean": 0.25}}\n', "0.250 at step 1"),
    ],
)
def test_a_poor_metrics_file_is_told_and_survived(inputs, capsys, content, words):
    (inputs / "metrics.jsonl").write_bytes(content.encode("latin-1"))
    assert run(inputs) == 0
    assert words in capsys.readouterr().out
    if "metrics" in words or "no " in words:
        assert words in "".join(page_of(inputs)[1].text)


def test_after_a_resume_the_later_values_hold(tmp_path):
    path = tmp_path / "metrics.jsonl"
    write_metrics(path, steps=3)
    with path.open("a") as file:
        file.write(json.dumps({"step": 3, "data": {"critic/score/mean": 0.9}}) + "\n")
    assert read_training_log(path).reward() == [(1, pytest.approx(0.42)), (2, pytest.approx(0.44)), (3, 0.9)]


def test_parts_of_a_step_add_up_to_it(tmp_path):
    write_metrics(tmp_path / "m", **{"timing_s/gen": 4.0, "timing_s/update_actor": 12.0, "timing_s/agent_loop/x": 9.0})
    parts = read_training_log(tmp_path / "m").step_seconds()
    assert sum(parts.values()) == pytest.approx(20)
    assert parts["other"] == pytest.approx(4)


def test_validation_is_the_mean_over_data_sources_of_the_reward(tmp_path):
    data = {"val-core/a/reward/mean@4": 0.2, "val-core/b/reward/mean@4": 0.4, "val-aux/a/reward/best@4/mean": 0.9}
    (tmp_path / "m").write_text(json.dumps({"step": 0, "data": data}))
    assert read_training_log(tmp_path / "m").validation() == [(0, pytest.approx(0.3))]


# -- bad input ----------------------------------------------------------------------------------------------------


def expect_refusal(inputs, capsys, words, *arguments):
    assert run(inputs, *arguments) == 2
    error = capsys.readouterr().err.splitlines()
    assert len(error) == 1
    assert words in error[0]
    assert not (inputs / "report.html").exists()


def test_evaluations_of_other_tasks_are_refused(inputs, capsys):
    answers = inputs / "after" / "answers.jsonl"
    answers.write_text(answers.read_text().replace("What is 7 + 1?", "What is 8 + 1?"))
    expect_refusal(inputs, capsys, "task 7 has another prompt")


def test_a_base_of_other_tasks_is_refused(inputs, capsys):
    write(inputs / "base", lambda task, sample: 0.0, env="chess")
    expect_refusal(inputs, capsys, "two environments", "--base", str(inputs / "base"))


def test_missing_and_broken_inputs_are_named(inputs, capsys):
    expect_refusal(inputs, capsys, "none", "--before", str(inputs / "none"))
    expect_refusal(inputs, capsys, "none.jsonl", "--metrics", str(inputs / "none.jsonl"))
    expect_refusal(inputs, capsys, "none.json", "--timings", str(inputs / "none.json"))
    for content in ("[1]", "{", '{"a": "x"}', '{"a": -1}', '{"a": NaN}'):
        (inputs / "timings.json").write_text(content)
        expect_refusal(inputs, capsys, "timings.json", "--timings", str(inputs / "timings.json"))
    expect_refusal(inputs, capsys, "NAME=VALUE", "--setting", "lonely")


def test_differences_that_spoil_the_comparison_are_noted(inputs, capsys):
    write(inputs / "after", lambda task, sample: 0.7, tasks=25, split="train", errors=3, sampling={"seed": 1})
    assert run(inputs) == 0
    printed = capsys.readouterr().out
    for words in ("5 tasks with answers of one model only", "training tasks", "3 answers lost", "differ in sampling"):
        assert words in printed
        assert words in "".join(page_of(inputs)[1].text)


def test_one_task_has_no_interval_and_no_verdict(tmp_path, capsys):
    write(tmp_path / "before", lambda task, sample: 0.0, tasks=1)
    write(tmp_path / "after", lambda task, sample: 1.0, tasks=1)
    write_metrics(tmp_path / "metrics.jsonl", steps=1)
    assert run(tmp_path) == 0
    assert "no clear change on 1 task" in capsys.readouterr().out


# -- the pictures -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0.497, 0.503), (0, 40), (-3, 1e6), (1e-9, 2e-9), (5, 5)])
def test_ticks_are_few_and_inside(low, high):
    found = ticks(low, high)
    assert 1 <= len(found) <= 7
    assert all(low - 1e-12 <= tick <= high + 1e-9 for tick in found)
    assert found == sorted(set(found))


def test_smoothing_keeps_a_constant_and_never_leaves_the_range():
    assert [y for _, y in smooth([(x, 0.5) for x in range(20)])] == [0.5] * 20
    draw = random.Random(1)
    points = [(x, draw.random()) for x in range(50)]
    assert len(smooth(points)) == 50
    assert all(0 <= y <= 1 for _, y in smooth(points))


# -- the real thing -----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_what_verls_file_logger_writes_is_read(tmp_path, monkeypatch):
    import numpy
    from verl.utils.tracking import Tracking

    monkeypatch.setenv("VERL_FILE_LOGGER_PATH", str(tmp_path / "metrics.jsonl"))
    tracking = Tracking("project", "run", default_backend=["file"])
    tracking.log({"critic/score/mean": numpy.float32(0.25), "critic/values/mean": float("nan")}, step=1)
    tracking.log({"critic/score/mean": 0.5, "val-core/toy/reward/mean@1": numpy.float64(0.75)}, step=2)
    log = read_training_log(tmp_path / "metrics.jsonl")
    assert log.reward() == [(1, 0.25), (2, 0.5)]
    assert log.validation() == [(2, 0.75)]
    assert log.unread_lines == 0
