"""Every logic task solved again, from its prompt alone and by brute force, to check `train/tools/logic` against.

Nothing of that package is used here.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator
from fractions import Fraction

CLOSERS = {"(": ")", "[": "]", "{": "}", "<": ">"}


def reduced(brackets: str) -> str:
    """What is left when neighbours that match go, again and again."""
    before = None
    while brackets != before:
        before = brackets
        for pair in ("()", "[]", "{}", "<>"):
            brackets = brackets.replace(pair, "")
    return brackets


def boolean_is_right(prompt: str, answer: str) -> bool:
    return answer.lower() == str(eval(prompt.partition(": ")[2])).lower()


def dyck_is_right(prompt: str, answer: str) -> bool:
    bare = answer.replace(" ", "")
    return set(bare) <= set(")]}>") and bare != "" and reduced(prompt.replace(" ", "") + bare) == ""


def first_wrong_step(prompt: str) -> int:
    first, *lines = prompt.splitlines()
    sequence = first.partition(": ")[2].replace(" ", "")
    for number, line in enumerate(lines, 1):
        step, bracket, shown = re.fullmatch(r'Step (\d+): read "(.)", open: (.*)', line).groups()
        assert int(step) == number and bracket == sequence[number - 1]
        if shown.replace("none", "").replace(" ", "") != reduced(sequence[:number]):
            return number
    assert len(lines) == len(sequence)
    return 0


def reasoning_is_right(prompt: str, answer: str) -> bool:
    return re.sub(r"(?i)^step ", "", answer) in {f"{first_wrong_step(prompt):0{width}d}" for width in (1, 2, 3)}


def cryptarithm_is_right(prompt: str, answer: str) -> bool:
    pairs = re.findall(r"([A-Z])\s*=\s*(\d)", answer)
    digits = dict(pairs)
    total, _, hints = prompt.partition("\n")
    words = re.findall("[A-Z]+", total)
    return (
        re.sub(r"[A-Z]\s*=\s*\d|[,; ]", "", answer) == ""
        and len(pairs) == len(digits) == len(set(digits.values()))
        and set(digits) == set("".join(words))
        and all(digits[word[0]] != "0" for word in words)
        and all(digits[letter] == digit for letter, digit in re.findall(r"([A-Z])=(\d)", hints))
        and eval(re.sub(r"[A-Z]", lambda letter: digits[letter[0]], total.replace("=", "==")))
    )


def all_mappings(prompt: str) -> Iterator[str]:
    """Every way to give the letters that are not known one of the digits that are left."""
    total, _, hints = prompt.partition("\n")
    known = dict(re.findall(r"([A-Z])=(\d)", hints))
    unknown = sorted(set(re.findall("[A-Z]", total)) - set(known))
    for digits in itertools.permutations(sorted(set("0123456789") - set(known.values())), len(unknown)):
        mapping = {**known, **dict(zip(unknown, digits, strict=True))}
        yield ", ".join(f"{letter}={digit}" for letter, digit in mapping.items())


def value_of(expression: str) -> Fraction | None:
    """By Python itself, in fractions; only for texts of digits, + - * / and parentheses."""
    assert re.fullmatch(r"[0-9+\-*/() ]+", expression)
    try:
        return eval(re.sub(r"\d+", r"Fraction(\g<0>)", expression))
    except ZeroDivisionError:
        return None


def game_of_24_is_right(prompt: str, answer: str) -> bool:
    expression = re.sub(r"\s*=\s*24\s*$", "", answer)
    if not re.fullmatch(r"[0-9+\-*/() ]+", expression) or re.search(r"\*\s*\*|/\s*/", expression):
        return False
    numbers = sorted(re.findall(r"\d+", prompt))
    if sorted(re.findall(r"\d+", expression)) != numbers:
        return False
    try:
        return value_of(expression) == 24
    except (SyntaxError, TypeError):
        return False


def all_expressions(numbers: list[int]) -> Iterator[str]:
    """Every order, choice of operators and way to put parentheses."""
    if len(numbers) == 1:
        yield str(numbers[0])
        return
    for order in set(itertools.permutations(numbers)):
        for split in range(1, len(order)):
            for left in ordered_expressions(order[:split]):
                for right in ordered_expressions(order[split:]):
                    for sign in "+-*/":
                        yield f"({left} {sign} {right})"


def ordered_expressions(numbers: tuple[int, ...]) -> Iterator[str]:
    if len(numbers) == 1:
        yield str(numbers[0])
        return
    for split in range(1, len(numbers)):
        for left in ordered_expressions(numbers[:split]):
            for right in ordered_expressions(numbers[split:]):
                yield from (f"({left} {sign} {right})" for sign in "+-*/")


def operation_value(prompt: str) -> int:
    """The operators become Python, and the innermost parentheses are worked out first."""
    *definitions, last = prompt.splitlines()
    rules: dict[str, Callable[[int, int], int]] = {}
    for line in definitions:
        symbol, text = re.fullmatch(r"a (.) b = (.*)", line).groups()
        text = re.sub(r"\|(.*)\|", r"abs(\1)", text)
        text = re.sub(r"the larger of a and b, plus (\d)", r"max(a, b) + \1", text)
        text = re.sub(r"the smaller of a and b, plus (\d)", r"min(a, b) + \1", text)
        text = text.replace("a is even", "a % 2 == 0").replace(", otherwise", " else")
        rules[symbol] = eval(f"lambda a, b: {text}")
    expression = last.partition(": ")[2]
    step = re.compile(r"\( (-?\d+) (\S) (-?\d+) \)")
    while step.search(expression):
        expression = step.sub(lambda m: str(rules[m[2]](int(m[1]), int(m[3]))), expression)
    left, symbol, right = expression.split()
    return rules[symbol](int(left), int(right))


def operation_is_right(prompt: str, answer: str) -> bool:
    return bool(re.fullmatch(r"[-+−]?\d+", answer)) and int(answer.replace("−", "-")) == operation_value(prompt)


def small_grids() -> list[tuple[int, ...]]:
    """The 288 sudoku grids of 4 by 4, each as 16 digits."""
    found = []
    for rows in itertools.product(itertools.permutations(range(1, 5)), repeat=4):
        columns_differ = all(len(set(column)) == 4 for column in zip(*rows, strict=True))
        if columns_differ and all(
            len({rows[r][c], rows[r][c + 1], rows[r + 1][c], rows[r + 1][c + 1]}) == 4 for r in (0, 2) for c in (0, 2)
        ):
            found.append(tuple(sum(rows, ())))
    return found


def sudoku_is_right(prompt: str, answer: str) -> bool:
    clues = prompt.split()
    size = 4 if len(clues) == 16 else 9
    box = {4: 2, 9: 3}[size]
    digits = re.findall(r"\d", answer)
    if re.sub(r"[\d\s,|/]", "", answer) or len(digits) != len(clues):
        return False
    groups: dict[tuple[str, int], set[str]] = {}
    for place, (digit, clue) in enumerate(zip(digits, clues, strict=True)):
        row, column = divmod(place, size)
        if clue not in ("_", digit):
            return False
        for key in (("row", row), ("column", column), ("box", row // box * size + column // box)):
            groups.setdefault(key, set()).add(digit)
    return all(group == {str(digit) for digit in range(1, size + 1)} for group in groups.values())


IS_RIGHT: dict[str, Callable[[str, str], bool]] = {
    "boolean_expressions": boolean_is_right,
    "cryptarithm": cryptarithm_is_right,
    "dyck_language": dyck_is_right,
    "dyck_language2": dyck_is_right,
    "dyck_language_reasoning_errors": reasoning_is_right,
    "game_of_24": game_of_24_is_right,
    "operation": operation_is_right,
    "sudoku": sudoku_is_right,
}
"""Task type → whether an answer to this prompt (the user message, in English) is right."""
