"""Tokens, which are never shown, and whether Weights & Biases takes the run.

ok    tokens  HF_TOKEN set; WANDB_API_KEY not set
warn  tokens  HF_TOKEN has a space or line break in it
              fix: copy it again: one word, without quotes
"""

from __future__ import annotations

import re
from pathlib import Path

from doctor.context import Context
from doctor.lines import FAIL, OK, WARN, Line, is_secret

ASKED = ("HF_TOKEN", "WANDB_API_KEY")


def check_tokens(context: Context) -> list[Line]:
    names = [*ASKED, *(name for name in documented_variables(context.root) if is_secret(name) and name not in ASKED)]
    present = [name for name in names if context.get(name)]
    lines = []
    for name in present:
        value = context.environment[name]
        faults = [
            what
            for what, wrong in (
                ("a space or line break", re.search(r"\s", value)),
                ("a quote", re.search("[\"'`\u2018\u2019\u201c\u201d]", value)),
                ("a character that is not ASCII", not value.isascii()),
            )
            if wrong
        ]
        if faults:
            found = f"{name} has {' and '.join(faults)} in it"
            lines.append(Line("tokens", WARN, found, "copy it again: one word, without quotes"))
    login = Path(context.get("HF_HOME", str(Path.home() / ".cache/huggingface"))) / "token"
    said = [f"{name} {'set' if name in present else 'not set'}" for name in ASKED]
    said += [f"{name} set" for name in present if name not in ASKED]
    if "HF_TOKEN" not in present and login.is_file():
        said[0] = "HF_TOKEN not set, and there is a login of the hub's own"
    return lines or [Line("tokens", OK, "; ".join(said))]


def documented_variables(root: Path) -> list[str]:
    file = root / ".env.example"
    text = file.read_text(encoding="utf-8") if file.is_file() else ""
    return re.findall(r"^#? ?([A-Z][A-Z0-9_]*)=", text, re.MULTILINE)


def check_wandb(context: Context) -> list[Line]:
    """By the rule of the trainers: online with a key, offline without one."""
    rule = context.rule("choose_wandb")
    if not rule.holds:
        fix = "" if " use " in rule.text else "WANDB_MODE=offline"
        return [Line("wandb", FAIL, rule.text, fix)]
    mode = rule.environment.get("WANDB_MODE", "")
    folder = context.root / "train/artifacts/wandb"
    where = "" if mode != "offline" else f": runs stay in {folder}"
    return [Line("wandb", OK, f"{mode}{where}" + ("" if context.get("WANDB_MODE") else " (by whether there is a key)"))]
