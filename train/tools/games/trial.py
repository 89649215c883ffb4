"""Play some games of a case and write their prompts, in a process that may die of it: `python -m games.trial 'hex(…)'`.

Exit code 0: fit to be asked about. 1: the reason is on stdout. Below 0: OpenSpiel ended the process.
"""

from __future__ import annotations

import random
import resource
import sys

import pyspiel

from env_adapter import SettingsError
from games.cases import load_untried_case
from games.prompts import MAX_PROMPT_CHARS, build_messages, prompt_chars
from games.states import play, random_game

GAMES = 3
MEMORY_BYTES = 4 << 30


def fault_of(name: str) -> str | None:
    """Why the case cannot be asked about, or None."""
    try:
        case = load_untried_case(name)
        lengths = []
        for number in range(GAMES):
            history, decisions = random_game(case, random.Random(number).random)
            for decision in decisions[:: max(1, len(decisions) // 20)]:
                lengths.append(prompt_chars(build_messages(case, play(case, history[:decision]))))
    except SettingsError as error:
        return str(error)
    except (pyspiel.SpielError, ValueError, IndexError, KeyError, MemoryError) as error:
        return f"cannot be played: {str(error).partition(chr(10))[0] or error!r}: check its parameters"
    if not lengths:
        return "has nothing to decide: check its parameters"
    usual = sorted(lengths)[len(lengths) // 2]
    return None if usual <= MAX_PROMPT_CHARS else f"needs prompts of more than {MAX_PROMPT_CHARS} characters"


def main() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    fault = fault_of(sys.argv[1])
    if fault:
        print(fault)
        raise SystemExit(1)


if __name__ == "__main__":
    main()
