"""Score the answers of a dataset with the environment's own evaluator: of experts, of a model, of generate_dataset.py.

    python data_processing/evaluate_dataset.py --input tic_tac_toe.jsonl --output scores.json
    python data_processing/evaluate_dataset.py --input answers.jsonl --env openspiel --set game_types=tic_tac_toe \\
        --response-field my_model --verbose

--input is a .jsonl, .json, .parquet or .arrow file, a directory or glob of them, or a dataset of the hub. A row has an
answer (the first column there is of response, answer, completion, output, assistant, label; else the last assistant
turn of messages; else reward_model.ground_truth) and its task: the whole challenge, as generate_dataset.py writes it
for --format plain and rl, or a task_id, from which the task is made again with the settings that the row records or
--set gives. A task made again whose prompt is not the row's is refused.

A table per type of task goes to stdout and, with --output, as JSON to a file. Exit code 1: some rows have no score,
because the environment had a fault (never counted as a wrong answer) or the row has no answer. Exit code 2 and one
line on stderr: something is to be mended by the user.
"""

from __future__ import annotations

import argparse
import functools
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "train" / "tools"))

from atomic_file import atomic_file, check_writable
from env_adapter import SettingsError, canonical_env_name
from env_cli import adapter_settings, exit_code, progress_bar
from row_io.ordered_pool import ordered_pool
from row_io.row_source import Source, open_source
from task_rows.answered_task import RESPONSE_FIELDS, USED_COLUMNS, find_response_field
from task_rows.row_scores import Question, RowScore, score_rows
from task_rows.score_tally import Tally, table

ROWS_PER_JOB = 64
SHOWN_FAULTS = 5
READ_AS_JSON = ("challenge", "extra_info", "metadata", "adapter_config")
"""Columns whose objects differ from row to row."""


def evaluate(args: argparse.Namespace) -> dict[str, Any]:
    """Scores everything, writes the report, prints its table and returns it."""
    if not 0 < args.correct_from <= 1:
        raise SettingsError(f"--correct-from {args.correct_from:g}: must be a reward above 0, at most 1")
    if args.output:
        if args.output.is_dir():
            raise SettingsError(f"--output {args.output} is a directory: name the JSON file")
        check_writable(args.output.parent)
    with ordered_pool(args.concurrency) as results_of:
        source = open_source(args.input, split=args.split, as_json=READ_AS_JSON)
        question = _question(args, source)
        tally, counts, faults = Tally(args.correct_from), {"rows": 0, "without_answer": 0, "faults": 0}, []
        bar = nullcontext() if args.verbose else progress_bar(source.num_rows, "rows")
        with bar as progress:
            work = functools.partial(score_rows, question)
            for scores in results_of(work, _jobs(source, question.response_field)):
                for score in scores:
                    counts["rows"] += 1
                    if score.fault is not None:
                        counts["faults"] += 1
                        faults += [_fault_of(score)] if len(faults) < SHOWN_FAULTS else []
                    elif score.value is None:
                        counts["without_answer"] += 1
                    else:
                        tally.add(score.kind, score.task, score.value, score.metrics or {})
                    if args.verbose:
                        print(_line(score))
                if progress is not None:
                    progress.update(len(scores))
    if not counts["rows"]:
        raise SettingsError(f"{args.input} has no rows")
    report = {
        "input": args.input,
        "env": question.env,
        "settings": question.settings,
        "response_field": question.response_field,
        "correct_from": args.correct_from,
        **counts,
        "first_faults": faults,
        **tally.report(),
    }
    if args.output:
        with atomic_file(args.output) as temporary:
            temporary.write_text(json.dumps(report, indent=2) + "\n", encoding="ascii")
    print(_summary(report))
    return report


def _question(args: argparse.Namespace, source: Source) -> Question:
    given = args.set or args.adapter_config is not None
    return Question(
        response_field=find_response_field(source.columns, args.response_field),
        json_columns=source.json_columns,
        env=canonical_env_name(args.env) if args.env else None,
        settings=adapter_settings(args.adapter_config or "{}", args.set) if given else None,
    )


def _jobs(source: Source, field: str) -> Iterator[tuple[int, list[dict[str, Any]]]]:
    columns = [name for name in source.columns if name in USED_COLUMNS or name == field.partition(".")[0]]
    number = 1
    for batch in source.batches(columns):
        for start in range(0, batch.num_rows, ROWS_PER_JOB):
            rows = batch.slice(start, ROWS_PER_JOB).to_pylist()
            yield number, rows
            number += len(rows)


def _fault_of(score: RowScore) -> dict[str, Any]:
    return {"row": score.row, "task_id": score.task_id, "fault": score.fault}


def _line(score: RowScore) -> str:
    answer = "no answer" if score.response is None else json.dumps(score.response[-80:])
    if score.fault is not None:
        found = f"fault: {score.fault}"
    elif score.value is None:
        return f"row {score.row}  task {score.task_id}  no answer"
    else:
        metrics = "".join(f"  {name} {value:g}" for name, value in (score.metrics or {}).items())
        found = f"{score.kind}  reward {score.value:.3f}{metrics}"
    return f"row {score.row}  task {score.task_id}  {found}  {answer}"


def _summary(report: dict[str, Any]) -> str:
    lines = [
        table(report),
        f"{report['rows']} rows: {report['overall']['answers']} scored by their {report['response_field']}, "
        f"{report['without_answer']} without one, {report['faults']} lost to faults of the environment",
    ]
    for fault in report["first_faults"]:
        lines.append(f"  row {fault['row']}, task {fault['task_id']}: {fault['fault']}")
    return "\n".join(lines)


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--input", required=True, help="file, directory, glob or dataset of the hub")
    parser.add_argument("--split", default="train", help="of a dataset of the hub (default: %(default)s)")
    parser.add_argument("--env", help="the environment, where rows do not name it")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="an adapter setting; repeatable"
    )
    parser.add_argument("--adapter-config", metavar="JSON", help="adapter settings as one JSON object")
    parser.add_argument(
        "--response-field", help=f"the column with the answers (default: {', '.join(RESPONSE_FIELDS)} or messages)"
    )
    parser.add_argument(
        "--correct-from", type=float, default=1.0, metavar="REWARD", help="what counts as correct (default: 1.0)"
    )
    parser.add_argument("--concurrency", type=int, default=1, help="worker processes (default: %(default)s)")
    parser.add_argument("--output", type=Path, metavar="FILE", help="the report as JSON")
    parser.add_argument("--verbose", action="store_true", help="a line for every row")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    args = make_parser().parse_args(argv)
    reports: list[dict[str, Any]] = []
    code = exit_code("evaluate_dataset", lambda: reports.append(evaluate(args)))
    if reports and (reports[0]["faults"] or reports[0]["without_answer"]):
        return 1
    return code


if __name__ == "__main__":
    sys.exit(main())
