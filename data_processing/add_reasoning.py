"""Ask a model for worked answers to the tasks of a dataset, and keep those that the environment finds right.

    python data_processing/generate_dataset.py --env lgc-v2 --set task_types=game_of_24 --output games.jsonl
    OPENAI_API_KEY=… python data_processing/add_reasoning.py --input games.jsonl --url https://api.example.com/v1 \\
        --model-name a-model --output worked.jsonl

--input is whatever evaluate_dataset.py reads: rows of any environment that have their task; answers in them are not
looked at. --url is any server of the OpenAI chat API; the key is OPENAI_API_KEY and is never shown or written.
--output is a .jsonl or .parquet file in the layouts of generate_dataset.py, and a row of the first looks like this:

    {"task_id": 7, "env": "lgc-v2", "task_type": "game_of_24", "prompt": […],
     "answer": "10 / 5 is 2, and 10 - 2 is 8.\\nAnswer: (10 - 10 / 5) * 3", "metadata": {"answers": "reasoning", …}}

The model is asked in the language of the prompt; the row has the prompt as it was. A request that a server refuses
for now (429, 5xx, a timeout, a lost connection) is made again, later each time, or when its Retry-After says. A run
that was interrupted, even by kill -9, goes on when the same command is given again: no answer is paid for twice.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "train" / "tools"))

from chat_models import Answer, ApiModel, Sampling
from env_adapter import Challenge, EnvAdapter, EnvError, SettingsError, canonical_env_name
from env_cli import adapter_settings, derived_seed, exit_code
from row_io.row_source import Source, open_source
from task_rows.answered_task import USED_COLUMNS, read_row
from task_rows.kept_rows import KeptRows, kept_rows
from task_rows.row_layouts import DEFAULT_FORMAT, SCHEMAS, Layout, write_rows
from task_rows.row_scores import Question, open_task
from task_rows.worked_answers import FAILED, KEPT, OUTCOMES, Judged, asking, judge

FORMATS = ("plain", "messages")
READ_AS_JSON = ("challenge", "extra_info", "metadata", "adapter_config")
"""Columns whose objects differ from row to row."""
ROWS_PER_WRITE = 1000


@dataclass(frozen=True)
class Task:
    """One row of the input."""

    adapter: EnvAdapter
    challenge: Challenge
    settings: dict[str, Any]
    split: str


def add_reasoning(args: argparse.Namespace) -> None:
    _check_numbers(args)
    ending = args.output.suffix
    if ending not in DEFAULT_FORMAT:
        raise SettingsError(f"--output {args.output}: end it in .parquet or .jsonl, which says what to write")
    tasks = read_tasks(args)
    model = ApiModel(args.url, args.model_name, args.concurrency, args.timeout, args.max_retries)
    sampling = Sampling(args.temperature, args.top_p, args.max_tokens, args.seed)
    model.check([task.challenge.messages for task in tasks], sampling)
    name = args.format or DEFAULT_FORMAT[ending]
    with kept_rows(args.output, _arguments(args, tasks, model, name)) as ledger:
        records = ledger.read()
        if records:
            print(f"going on after {len(records)} answers of an interrupted run", file=sys.stderr)
        print(f"{model.name}: {len(tasks)} tasks, {args.attempts} attempt(s) at each", flush=True)
        failed = 0
        for attempt in range(args.attempts):
            failed = _one_round(attempt, tasks, records, ledger, model, sampling, args)
        worked = {record["row"]: record["answer"] for record in records if record["outcome"] == KEPT}
        counts = _count(records, failed)
        if not worked:
            raise EnvError(f"no answer is worth keeping ({counts}): nothing was written")
        write_rows(_rows(tasks, worked, name), args.output, SCHEMAS[name])
    print(f"wrote {len(worked)} of {len(tasks)} rows to {args.output}; of {len(records) + failed} answers: {counts}")


def read_tasks(args: argparse.Namespace) -> list[Task]:
    """The tasks of the input, opened. Raises SettingsError or EnvError that names the row."""
    source = open_source(args.input, split=args.split, as_json=READ_AS_JSON)
    given = args.set or args.adapter_config is not None
    question = Question(
        response_field="",
        json_columns=source.json_columns,
        env=canonical_env_name(args.env) if args.env else None,
        settings=adapter_settings(args.adapter_config or "{}", args.set) if given else None,
    )
    tasks: list[Task] = []
    for row in _input_rows(source):
        if args.num_samples and len(tasks) == args.num_samples:
            break
        try:
            tasks.append(_task_of(row, question))
        except (SettingsError, EnvError) as error:
            raise type(error)(f"row {len(tasks) + 1}: {error}") from error
    if not tasks:
        raise SettingsError(f"{args.input} has no rows")
    return tasks


def _input_rows(source: Source) -> Iterator[dict[str, Any]]:
    for batch in source.batches([name for name in source.columns if name in USED_COLUMNS]):
        yield from batch.to_pylist()


def _task_of(row: dict[str, Any], question: Question) -> Task:
    for name in question.json_columns & row.keys():
        row[name] = None if row[name] is None else json.loads(row[name])
    answered = read_row(row, question.response_field)
    adapter, challenge = open_task(answered, question)
    if getattr(adapter, "agent_loop", None):
        raise SettingsError(f"env {challenge.env} is played turn by turn with these settings: it has no one answer")
    metadata = row.get("metadata") if isinstance(row.get("metadata"), dict) else {}
    split = metadata.get("split")
    settings = {**(answered.settings or {}), **(question.settings or {})}
    return Task(adapter, challenge, settings, split if isinstance(split, str) else "")


def _one_round(
    attempt: int,
    tasks: Sequence[Task],
    records: list[dict[str, Any]],
    ledger: KeptRows,
    model: ApiModel,
    sampling: Sampling,
    args: argparse.Namespace,
) -> int:
    """Ask for what is not right yet. Adds to records and ledger; returns how many requests failed."""
    done = {record["row"] for record in records if record["outcome"] == KEPT or record["attempt"] == attempt}
    rows = [row for row in range(len(tasks)) if row not in done]
    failed = 0

    def keep(number: int, answer: Answer) -> None:
        nonlocal failed
        row = rows[number]
        found = _judge(answer, tasks[row], args.correct_from)
        if found.outcome == FAILED:  # not recorded: it is asked again
            failed += 1
            return
        record = {"row": row, "attempt": attempt, "outcome": found.outcome}
        record |= {"answer": found.text} if found.outcome == KEPT else {}
        records.append(record)
        ledger.append([record])

    model.answer(
        [asking(tasks[row].challenge.messages) for row in rows],
        [derived_seed(args.seed, row, attempt) for row in rows],
        sampling,
        args.max_errors,
        each=keep,
    )
    return failed


def _judge(answer: Answer, task: Task, correct_from: float) -> Judged:
    try:
        return judge(answer, task.adapter, task.challenge, correct_from)
    except EnvError as error:
        raise EnvError(f"task {task.challenge.task_id} of {task.challenge.env} cannot be scored: {error}") from error


def _rows(tasks: Sequence[Task], worked: dict[int, str], name: str) -> Iterator[list[dict[str, Any]]]:
    kept = sorted(worked)
    for start in range(0, len(kept), ROWS_PER_WRITE):
        yield [
            Layout(name, "reasoning", tasks[row].split, tasks[row].settings).row(tasks[row].challenge, worked[row])
            for row in kept[start : start + ROWS_PER_WRITE]
        ]


def _count(records: Sequence[dict[str, Any]], failed: int) -> str:
    counts = Counter(record["outcome"] for record in records) + Counter({FAILED: failed})
    return ", ".join(f"{counts[outcome]} {text}" for outcome, text in OUTCOMES.items())


def _arguments(args: argparse.Namespace, tasks: Sequence[Task], model: ApiModel, name: str) -> dict[str, Any]:
    """All that an answer depends on: not --concurrency, the server, or how many --attempts there are."""
    digest = sha256()
    for task in tasks:
        digest.update(task.challenge.to_json().encode() + b"\n")
    names = ("temperature", "top_p", "max_tokens", "seed", "correct_from")
    return {
        "tasks": digest.hexdigest(),
        "model": model.name,
        "format": name,
        **{each: getattr(args, each) for each in names},
    }


def _check_numbers(args: argparse.Namespace) -> None:
    rules = {
        "num_samples": (args.num_samples >= 0, "at least 0"),
        "attempts": (args.attempts >= 1, "at least 1"),
        "correct_from": (0 < args.correct_from <= 1, "a reward above 0, at most 1"),
        "temperature": (0 <= args.temperature < float("inf"), "at least 0"),
        "top_p": (0 < args.top_p <= 1, "above 0 and at most 1"),
        "max_tokens": (args.max_tokens >= 1, "at least 1"),
        "max_errors": (0 <= args.max_errors <= 1, "a share between 0 and 1"),
        "max_retries": (args.max_retries >= 0, "at least 0"),
        "timeout": (0 < args.timeout < float("inf"), "a number of seconds above 0"),
        "concurrency": (args.concurrency >= 1, "at least 1"),
    }
    for name, (ok, rule) in rules.items():
        if not ok:
            raise SettingsError(f"--{name.replace('_', '-')} {getattr(args, name)}: must be {rule}")
    if args.temperature == 0 and args.attempts > 1:
        raise SettingsError(f"--attempts {args.attempts} at --temperature 0 gives equal answers: raise the temperature")


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--input", required=True, help="file, directory, glob or dataset of the hub")
    parser.add_argument("--split", default="train", help="of a dataset of the hub (default: %(default)s)")
    parser.add_argument("--url", required=True, help="an OpenAI-compatible server, …/v1; the key is OPENAI_API_KEY")
    parser.add_argument("--model-name", default="", help="the model's name at the server (default: its only one)")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="ends in .parquet or .jsonl")
    parser.add_argument("--format", choices=FORMATS, help="of a row (default: messages in .parquet, plain in .jsonl)")
    parser.add_argument("--env", help="where rows do not name it")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="an adapter setting")
    parser.add_argument("--adapter-config", metavar="JSON", help="adapter settings as one JSON object")
    parser.add_argument("--num-samples", type=int, default=0, help="the first rows, 0 for all (default: 0)")
    parser.add_argument("--attempts", type=int, default=1, help="at most, until one is right (default: %(default)s)")
    parser.add_argument(
        "--correct-from", type=float, default=1.0, metavar="REWARD", help="from here on it is right (default: 1)"
    )
    parser.add_argument("--temperature", type=float, default=0.7, help="(default: %(default)s)")
    parser.add_argument("--top-p", type=float, default=1.0, help="(default: %(default)s)")
    parser.add_argument("--max-tokens", type=int, default=2048, help="tokens of an answer (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the sampling (default: %(default)s)")
    parser.add_argument("--concurrency", type=int, default=16, help="requests at once (default: %(default)s)")
    parser.add_argument("--timeout", type=float, default=600.0, help="seconds for one request (default: %(default)g)")
    parser.add_argument("--max-retries", type=int, default=5, help="of one request (default: %(default)s)")
    parser.add_argument(
        "--max-errors", type=float, default=0.01, metavar="SHARE", help="of requests that may fail (default: 0.01)"
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    args = make_parser().parse_args(argv)
    return exit_code("add_reasoning", lambda: add_reasoning(args), "the output is as it was")


if __name__ == "__main__":
    sys.exit(main())
