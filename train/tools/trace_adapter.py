"""What does this program print? The environment `trace`.

The end of a task's two messages, and an answer to it:

    ```python
    total = 0
    for n in [3, 5]:
        total += n
        print("[1] total =", total)
    print("sum", total)
    ```

    ```
    [1] total = 3
    [1] total = 8
    sum 8
    ```                                    scores 1.0; any other text scores 0

Programs come from a file, a folder or a dataset (traces/programs.py); prints of some variables are put into them
(traces/prints.py), so that the output shows the run and cannot be had from memory. The true output is found by running
the program in the sandbox (traces/outputs.py), when tasks are made: scoring compares, and needs no sandbox.
"""

from __future__ import annotations

import functools
import random
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass as plain_dataclass
from pathlib import Path
from typing import Any

from pydantic import NonNegativeInt, PositiveInt
from pydantic.dataclasses import dataclass

from answer_text import after_thinking
from env_adapter import Challenge, EnvError, MaybePath, Score, SettingsError, parse_settings
from sandbox.bubblewrap import Bubblewrap
from sandbox.interpreter import interpreter_folders
from sandbox.probe import check_sandbox
from traces.outputs import true_outputs
from traces.prints import with_prints
from traces.programs import Program, load_programs

INSTRUCTIONS = """You read programs and say what they print.

Work out what the Python program writes to standard output, character by character. It runs to its end without an error.
You may reason first. End with one block that holds the output, all of it and nothing else:

```
first line of the output
second line of the output
```"""
_FENCE = re.compile(r"^```[^\n`]*\n(.*?)^```[ \t]*$", re.S | re.M)


@dataclass(frozen=True)
class TraceSettings:
    """Tasks are those of the programs that run, and print something that is not in them already, in their order."""

    programs: MaybePath = None
    """A file (.jsonl, .json, .parquet, .csv) or a folder of .py files."""
    dataset_name: str = ""
    """Instead: a dataset of the hub, or a directory that `datasets` reads."""
    split: str = "train"
    code_column: str = ""
    """The column with the program, where it has an unusual name."""
    input_column: str = ""
    """The column with what it reads from standard input."""
    max_programs: PositiveInt = 1000
    """Only the first so many are looked at: each is run twice."""
    prints: NonNegativeInt = 2
    """Prints put into a program."""
    variants: PositiveInt = 1
    """Tasks from one program, with prints in other places."""
    seed: int = 0
    max_program_chars: PositiveInt = 4000
    max_output_chars: PositiveInt = 1000
    python: MaybePath = None
    """The Python that runs them; default: the one that runs this."""


@plain_dataclass(frozen=True)
class _Task:
    program: Program
    output: str


class TraceAdapter:
    """The environment `trace` (see `env_adapter.EnvAdapter`). Raises SettingsError for settings it cannot serve."""

    name = "trace"

    def __init__(self, config: Mapping[str, Any] | None = None) -> None:
        self.settings = parse_settings(TraceSettings, config)

    @functools.cached_property
    def _tasks(self) -> list[_Task]:
        """Found at the first use, by running every program."""
        settings = self.settings
        programs = load_programs(
            settings.programs,
            settings.dataset_name,
            settings.split,
            settings.code_column,
            settings.input_column,
            settings.max_programs,
        )
        check_sandbox()
        python = Path(settings.python or sys.executable)
        changed = list(dict.fromkeys(filter(None, map(self._variant, *_numbered(programs, settings.variants)))))
        outputs = true_outputs(changed, Bubblewrap(interpreter_folders(python)), python)
        tasks = [
            _Task(program, output)
            for program, output in zip(changed, outputs, strict=True)
            if output is not None and self._is_fair(program, output)
        ]
        if not tasks:
            raise SettingsError(
                f"none of {len(programs)} programs runs here and prints at most {settings.max_output_chars} characters "
                "that are not in it already, the same every time"
            )
        return tasks

    def _variant(self, program: Program, number: int) -> Program | None:
        if len(program.source) > self.settings.max_program_chars:
            return None
        try:
            source = with_prints(program.source, self.settings.prints, f"{self.settings.seed} {number}")
        except (SyntaxError, ValueError):
            return None  # not a program of this Python
        return Program(source, program.stdin)

    def _is_fair(self, program: Program, output: str) -> bool:
        text = _plain(output)
        return 0 < len(text) <= self.settings.max_output_chars and "```" not in text and text not in _question(program)

    def num_tasks(self) -> int:
        return len(self._tasks)

    def validate(self) -> None:
        """Run every program. Raises SettingsError where none makes a task."""
        self.num_tasks()

    def generate(self, task_id: int) -> Challenge:
        if not 0 <= task_id < self.num_tasks():
            raise IndexError(f"task id {task_id} is outside 0 … {self.num_tasks() - 1}")
        task = self._tasks[task_id]
        messages = [
            {"role": "system", "content": INSTRUCTIONS},
            {"role": "user", "content": _question(task.program)},
        ]
        return Challenge(self.name, task_id, messages, {"task_type": "trace", "output": task.output})

    def evaluate(self, response: str, challenge: Challenge) -> Score:
        """Metrics: `answered` (there is a block), `lines` (share of the output's lines up to the first mistake), and
        `solved`, which is the reward: 1 or 0.
        """
        output = challenge.extra.get("output")
        if not isinstance(output, str) or not _plain(output):
            raise EnvError(f"corrupted challenge {challenge.task_id}: {str(challenge.extra)[:300]}")
        blocks = _FENCE.findall(after_thinking(response) or "")
        answer = _plain(blocks[-1]) if blocks else ""
        wanted, said = _plain(output).split("\n"), answer.split("\n")
        pairs = enumerate(zip(wanted, said, strict=False))
        same = next((number for number, (a, b) in pairs if a != b), min(len(wanted), len(said)))
        solved = float(answer == _plain(output))
        return Score(solved, {"answered": float(bool(blocks)), "lines": same / len(wanted), "solved": solved})

    def reference_answer(self, challenge: Challenge) -> str | None:
        return f"```\n{_plain(challenge.extra['output'])}\n```"

    def random_answer(self, challenge: Challenge, seed: int) -> str | None:
        """What another program prints."""
        others = [task.output for task in self._tasks if task.output != challenge.extra["output"]]
        if not others:
            return None
        return f"```\n{_plain(random.Random(f'{seed}:{challenge.task_id}').choice(others))}\n```"


def _numbered(programs: list[Program], variants: int) -> tuple[list[Program], list[int]]:
    """Every program `variants` times, with the numbers that decide where its prints are."""
    pairs = [(program, index * variants + k) for index, program in enumerate(programs) for k in range(variants)]
    return [program for program, _ in pairs], [number for _, number in pairs]


def _question(program: Program) -> str:
    text = f"```python\n{program.source.rstrip()}\n```\n\n"
    if program.stdin.strip() and ("input" in program.source or "stdin" in program.source):
        text += f"It reads this from standard input:\n\n```\n{program.stdin.rstrip()}\n```\n\n"
    return text + "What does it print?"


def _plain(text: str) -> str:
    """Without the blanks that nobody sees: at the ends of lines and of the text."""
    return "\n".join(line.rstrip() for line in text.replace("\r\n", "\n").split("\n")).strip("\n")
