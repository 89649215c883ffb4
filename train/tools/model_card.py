"""The README.md of a model on the hub: what export.json, the run's starts.jsonl and two evaluations know of it.

    card = model_card(Path("train/merged_model"), "my-org/my-model", after=Path("train/outputs/eval/mine"))
    card.save("README.md")

Nothing is claimed that is not in those files: no licence, no language. Paths of the machine are cut to what follows
`train/`, since a home directory has a name in it.
"""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from env_adapter import SettingsError
from evaluation_results import Evaluation, compare, intervals_of, read_evaluation
from report_parts.numbers import signed_interval

if TYPE_CHECKING:
    from huggingface_hub import EvalResult, ModelCard

ROOT = Path(__file__).resolve().parents[2]
PATH_IN_TEXT = re.compile(r"(?<![\w.…:/-])/(?:[^\s/'\",:;()\[\]=]+/)*[^\s/'\",:;()\[\]=]+")
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)
OF_THE_MACHINE = re.compile(r"(AGENT_MODEL_REPO_ID|GPU_COUNT|NNODES|NODE_RANK|MASTER_\w+|PROFILE|RESUME|DRY_RUN)$")


def public_path(text: str) -> str:
    """'/home/me/veritas-rl/train/models/mine' → 'train/models/mine'; of another absolute path the last part."""
    parts = Path(text).parts
    if not text.startswith("/") or len(parts) < 2:
        return text
    trains = [index for index, part in enumerate(parts) if part == "train"]
    return "/".join(parts[trains[-1] :]) if trains else parts[-1]


def without_paths(value: Any) -> Any:
    """A JSON value with every absolute path in its texts made public."""
    if isinstance(value, dict):
        return {key: without_paths(each) for key, each in value.items()}
    if isinstance(value, list):
        return [without_paths(each) for each in value]
    if isinstance(value, str):
        is_path = value.startswith("/") and not re.search(r"[:,;] |\n", value)
        return public_path(value) if is_path else PATH_IN_TEXT.sub(lambda match: public_path(match[0]), value)
    return value


def hub_id(model: str) -> str | None:
    """The id of a model that was downloaded: 'org/name' for train/models/org/name, else None."""
    found = re.fullmatch(rf"train/models/({HUB_ID.pattern})/?", public_path(model), re.ASCII)
    return found[1] if found else None


def public_model(model: str) -> str:
    """A model's hub id, or its public path."""
    return hub_id(model) or public_path(model)


def last_start(source: str | None) -> dict[str, Any]:
    """The last line of the run's starts.jsonl, beside the checkpoint that was exported; {} where that is gone.

    Raises SettingsError for a line that is not whole.
    """
    for directory in Path(source).parents[:2] if source else []:
        starts = directory / "starts.jsonl"
        if starts.is_file():
            try:
                return dict(json.loads(starts.read_text(encoding="utf-8").splitlines()[-1]))
            except (ValueError, TypeError, IndexError) as error:
                raise SettingsError(f"{starts}: its last line is not whole ({error}): remove it") from error
    return {}


def read_command(command: str) -> dict[str, str]:
    """Recipe, settings and overrides of the command in starts.jsonl, as the ledger wrote it."""
    words = shlex.split(command.replace("\\\n", " "))
    documented = re.findall(r"^#([A-Z][A-Z0-9_]*)=", (ROOT / ".env.example").read_text(), re.MULTILINE)
    settings = []
    for name, equals, value in (word.partition("=") for word in words):
        ours = name in documented and not re.match(r"WANDB_|VERITAS_|RAY_|HF_", name) and not OF_THE_MACHINE.match(name)
        if equals and value and ours:
            settings.append(f"{name}={without_paths(value)}")
    found = {"settings": " ".join(settings)}
    if "--config-name" in words[:-1]:
        at = words.index("--config-name") + 1
        found["recipe"] = words[at]
        overrides = [word for word in words[at + 1 :] if not re.match(r"(hydra|trainer\.resume_)", word)]
        found["overrides"] = " ".join(without_paths(word) for word in overrides)
    return found


def model_card(directory: Path, repo: str, *, before: Path | None = None, after: Path | None = None) -> ModelCard:
    """The card of an exported model. Raises SettingsError for evaluations that are not whole or do not compare."""
    from huggingface_hub import ModelCard, ModelCardData

    if before and not after:
        raise SettingsError("--evaluation-before needs --evaluation-after: alone it says nothing of this model")
    export = json.loads((directory / "export.json").read_text(encoding="utf-8"))
    start = last_start(export.get("source"))
    evaluated = read_evaluation(after) if after else None
    start_model = read_evaluation(before) if before else None
    parents = [export[key] for key in ("model_a", "model_b") if export.get(key)]
    parents = parents or [model for model in [export.get("base_model") or start.get("model")] if model]
    name = repo.rpartition("/")[2]
    results = _results(evaluated) if evaluated else None
    data = ModelCardData(
        base_model=[known for known in map(hub_id, parents) if known] or None,
        library_name="transformers",
        pipeline_tag="text-generation",
        tags=["veritas-rl", "verl"],
        eval_results=results,
        model_name=name if results else None,
    )
    sections = [
        f"# {_plain(name)}",
        *_description(export, [public_model(parent) for parent in parents]),
        _table("training", training_rows(export, start)),
    ]
    if evaluated:
        sections += ["## Evaluation", *_evaluation(start_model, evaluated)]
    sections += ["## Proof", *_proof(export)]
    return ModelCard(f"---\n{data.to_yaml()}\n---\n\n" + "\n\n".join(sections) + "\n")


def training_rows(export: dict[str, Any], start: dict[str, Any]) -> dict[str, str]:
    """What the card's first table says; what is not known is left out."""
    command = read_command(start["command"]) if start.get("command") else {}
    lora = export.get("lora") or {}
    run = re.sub(r"/global_step_.*", "", export.get("source") or "").rpartition("/")[2]
    rows = {
        "run": run,
        "step": export.get("global_step"),
        "kind": f"LoRA, r={lora['r']}, alpha={lora['alpha']}, merged" if lora else export.get("kind"),
        "recipe": command.get("recipe") and f"train/config/{command['recipe']}.yaml",
        "settings": command.get("settings"),
        "overrides": command.get("overrides"),
        "profile": start.get("profile"),
        "started": start.get("started"),
        "veritas-rl": start.get("commit") and start["commit"] + (" and local changes" if start.get("changed") else ""),
        "versions": ", ".join(f"{package} {version}" for package, version in start.get("versions", {}).items()),
        "parameters": f"{export['parameters']:,}" if export.get("parameters") else None,
    }
    return {key: str(value) for key, value in rows.items() if value not in (None, "")}


def _description(export: dict[str, Any], parents: list[str]) -> list[str]:
    if export.get("kind") == "average" and len(parents) == 2:
        alpha = export["alpha"]
        return [f"The weighted average {1 - alpha:g} × {_code(parents[0])} + {alpha:g} × {_code(parents[1])}."]
    of = f" from {_code(parents[0])}, whose licence applies" if parents else ""
    return [f"Trained with veritas-rl (verl){of}."]


def _results(evaluation: Evaluation) -> list[EvalResult]:
    """The means for the card's metadata, which the hub shows beside the model."""
    from huggingface_hub import EvalResult

    summary = evaluation.summary
    return [
        EvalResult(
            task_type="text-generation",
            dataset_type=summary["env"],
            dataset_name=f"{summary['env']}, {summary['split']} tasks",
            dataset_split=summary["split"],
            dataset_args=without_paths(summary["adapter_config"]),
            metric_type=metric,
            metric_value=interval.mean,
        )
        for metric, interval in intervals_of(evaluation.tasks).items()
    ]


def _evaluation(before: Evaluation | None, after: Evaluation) -> list[str]:
    """The table of means with 95 % intervals over tasks, and what was asked."""
    summary = after.summary
    settings = json.dumps(without_paths(summary["adapter_config"]), ensure_ascii=False)
    sampling = json.dumps(summary["sampling"])
    trained_on = "" if summary["split"] == "train" else ", not trained on"
    lines = [
        f"{len(after.tasks)} tasks of {_code(summary['env'])} ({_plain(summary['split'])} split{trained_on}), "
        f"settings {_code(settings)}, sampling {_code(sampling)}; 95 % intervals over tasks. "
        f"Evaluated as {_code(public_model(summary['model']))}."
    ]
    means = intervals_of(after.tasks)
    if before is None:
        rows = [f"| {_plain(name)} | {interval} |" for name, interval in means.items()]
        return [*lines, "\n".join(["| metric | mean |", "|---|---|", *rows])]
    first, comparison = intervals_of(before.tasks), compare(before, after)
    rows = ["| metric | before | after | gain, paired by task |", "|---|---|---|---|"]
    for name, gain in comparison.gains.items():
        rows.append(f"| {_plain(name)} | {first[name]} | {means[name]} | {signed_interval(gain)} |")
    lines[0] += f" Before is {_code(public_model(before.summary['model']))}."
    return [*lines, "\n".join(rows)]


def _proof(export: dict[str, Any]) -> list[str]:
    """Every check of export.json with its verdict; one that could not be made stands there as such."""
    checks = export["proof"].get("checks") or []
    lines = [
        f"- {_plain(check['name'])}: {_plain(check['verdict'])}. {_plain(without_paths(check['measured']))}"
        for check in checks
    ]
    said = "The model was checked when it was exported, before it was uploaded; `export.json` has the figures."
    return [said, "\n".join(lines)] if lines else [said]


def _table(heading: str, rows: dict[str, str]) -> str:
    body = [f"| {_plain(name)} | {_plain(value)} |" for name, value in rows.items()]
    return "\n".join([f"| {heading} | |", "|---|---|", *body])


def _plain(text: str) -> str:
    """Text that Markdown shows as it is, also in a table."""
    return re.sub(r"([\\`*_{}\[\]<>#|~])", r"\\\1", " ".join(text.split()))


def _code(text: str) -> str:
    return f"`{' '.join(text.split()).replace('`', chr(39))}`"
