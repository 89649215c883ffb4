"""How answers to reasoning-gym's datasets are checked, so that a reward is 1 for a right answer and 0 for any other.

Most tasks have one right answer, and what a model states is compared with it: word by word, numbers by value.

    "[1, 2.50]" and "[1,2.5]"   → the same
    "1 2 3" and "12 3"          → not the same

The package's own scorers serve where several answers are right, and only where they cannot be fooled; a part of a
reward counts as none. Others are not used: some run the answer as code (`eval`, sympy's `parse_expr`), some pay for any
text (`game_of_life_halting`), for "nan" or for a number that is near.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from logic.game_of_24 import parse_expression
from reasoning_gym_package import DATASETS, HAS_PYCOSAT, create_dataset

_UNSTEADY = "its tasks depend on the hash seed of the process, so that a task is another one elsewhere"
_CODE = "any equivalent formula is right, and its scorer runs the answer as code"
_NO_REFERENCE = "it has no reference answer, so that it cannot be shown that its tasks can be solved"
REFUSED = {
    "acre": "it makes all its tasks before the first one can be asked for",
    "boxnet": _NO_REFERENCE,
    "codeio": "some of its code samples draw random numbers of their own, so that a task is another one each time",
    "composite": "mixtures are made by this environment: name several datasets",
    "intermediate_integration": _CODE,
    "isomorphic_strings": _UNSTEADY,
    "knight_swap": _UNSTEADY,
    "list_functions": _UNSTEADY,
    "polynomial_multiplication": _CODE,
    "propositional_logic": "its scorer takes any consequence, such as a premise said again",
    "ransom_note": _UNSTEADY,
    "rubiks_cube": _NO_REFERENCE,
    "rush_hour": _NO_REFERENCE,
    "simple_integration": _CODE,
    "word_ladder": _UNSTEADY,
}
"""Dataset → why it cannot be an environment."""
if not HAS_PYCOSAT:
    REFUSED["zebra_puzzles"] = "it needs pycosat, which is not installed: pip install pycosat (with a C compiler)"

_ANY = r"[\s\S]+"
SCORED = {
    "advanced_geometry": r"[-+0-9.,()/√°\s\w]+",
    "complex_arithmetic": r"[-+0-9.eij()\s]+",
    "cryptarithm": r"[A-Z]\s*=\s*[0-9](?:\s*,\s*[A-Z]\s*=\s*[0-9])*",
    "graph_color": _ANY,
    "group_anagrams": _ANY,
    "jugs": _ANY,
    "kakurasu": r"[01\s]+",
    "knights_knaves": _ANY,
    "palindrome_generation": r"\w+",
    "palindrome_partitioning": _ANY,
    "power_function": r"[-+]?[0-9.]+(?:[eE][-+]?[0-9]{1,3})?",
    "quantum_lock": r"[A-C](?:[\s,>→-]*[A-C])*",
    "shortest_path": r"[a-z\s]+",
    "sokoban": r"[LRUDlrud\s]+",
    "tower_of_hanoi": r"[\w\s]+",
}
"""Dataset whose own scorer decides → what an answer looks like at all; its 1.0 is a reward, less is none."""

_EXPRESSIONS = {"countdown", "puzzle24"}
_TOKEN = re.compile(r"(?<![\w.])-?(?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+)(?![\w.]*\w)|\w+|\S", re.ASCII)


def usable_datasets() -> list[str]:
    """The names of the datasets that are not refused."""
    return sorted(set(DATASETS) - set(REFUSED))


def kept_entry(name: str, entry: Mapping[str, Any]) -> dict[str, Any]:
    """What scoring needs of a task, as JSON values. Raises TypeError where that cannot be."""
    metadata = entry["metadata"]
    answer = entry["answer"]
    if name == "graph_color":
        answer = json.dumps({str(vertex): color for vertex, color in metadata["possible_answer"].items()})
    kept: dict[str, Any] = {"answer": None if answer is None else str(answer)}
    if name in SCORED:
        kept["metadata"] = metadata
    elif name == "countdown":
        kept["metadata"] = {"numbers": metadata["numbers"], "target": metadata["target"]}
    elif name == "puzzle24":
        kept["metadata"] = {"numbers": metadata["numbers"], "target": 24}
    elif name == "n_queens":
        kept["metadata"] = {"valid_answers": metadata["valid_answers"]}
    return json.loads(json.dumps(kept))


def is_right(name: str, answer: str, entry: Mapping[str, Any]) -> bool:
    """Whether an answer solves a task, given what `kept_entry` kept. Raises KeyError for an entry that it did not."""
    reference = entry["answer"]
    if same_answer(answer, reference):
        return True
    if name in _EXPRESSIONS:
        target = entry["metadata"]["target"]
        read = parse_expression(answer, target)
        numbers = sorted(entry["metadata"]["numbers"])
        return read is not None and read.value == target and sorted(read.numbers) == numbers
    if name == "n_queens":
        return any(same_answer(answer, valid) for valid in entry["metadata"]["valid_answers"])
    if name in SCORED:
        return re.fullmatch(SCORED[name], answer.strip(), re.ASCII) is not None and _scored(name, answer, entry) >= 1.0
    return False


def _scored(name: str, answer: str, entry: Mapping[str, Any]) -> float:
    """By the package. Scorers may change what they are given, so they get a copy."""
    try:
        return float(_scorer(name).score_answer(answer.strip(), json.loads(json.dumps(entry))))
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError):
        return 0.0  # in all of these scorers a text that they cannot read, since the entry is one that they made


@functools.cache
def _scorer(name: str) -> Any:
    return create_dataset(name, seed=0, size=1)


def same_answer(answer: str, reference: str) -> bool:
    """Whether two texts have the same words and signs, whatever the spaces and letter cases, and equal numbers."""
    return answer == reference or _tokens(answer) == _tokens(reference)


def _tokens(text: str) -> list[str | Fraction]:
    return [Fraction(token) if _is_number(token) else token.casefold() for token in _TOKEN.findall(text)]


def _is_number(token: str) -> bool:
    # A digit string that begins with 0 is a word: a code such as 007, or a binary string. So is a very long one.
    return re.fullmatch(r"-?(?:(?:0|[1-9][0-9]{0,99})(?:\.[0-9]{1,99})?|\.[0-9]{1,99})", token, re.ASCII) is not None
