"""Takes secrets out of what is printed or kept. As a program: from standard input to standard output.

    HF_TOKEN=hf_abc python train/tools/ledger/masking.py <<<'curl -H hf_abc https://me:pw@host'    # curl -H *** https://***@host

A secret is the value of a variable that is named like one, also as a shell or JSON would quote it; a password in a URL;
and what stands behind a key named like a secret.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from typing import Any

NAME = re.compile(r".*(_TOKEN|_API_KEY)|.*(_ACCESS_KEY|SECRET|PASSWORD|PASSWD|CREDENTIALS).*", re.DOTALL)
SECRET_KEY = r"(?:api_key|(?:access|auth|hf)_token|password|secret)"
AFTER_KEY = re.compile(rf"({SECRET_KEY}(?:=|: ))\S+")
IN_URL = re.compile(r"(://)[^/@\s]+@")
LEAST_LENGTH = 4
"""A shorter value is a word like "yes" more often than a secret."""


def is_secret(name: str) -> bool:
    return NAME.fullmatch(name) is not None


def mask(text: str, environment: Mapping[str, str] | None = None) -> str:
    """`environment`: this process's, when nothing is given."""
    variables = os.environ if environment is None else environment
    values = [value for name, value in variables.items() if is_secret(name) and len(value) >= LEAST_LENGTH]
    for value in sorted(values, key=len, reverse=True):
        # Shells and JSON quote with a backslash before a character.
        text = re.sub("".join(rf"\\?{re.escape(character)}" for character in value), "***", text)
    return AFTER_KEY.sub(r"\1***", IN_URL.sub(r"\1***@", text))


def mask_all(value: Any, environment: Mapping[str, str] | None = None) -> Any:
    """A value as JSON has it with every text in it masked, and whole what stands under a key named like a secret."""
    if isinstance(value, Mapping):
        return {
            key: "***" if each and re.search(f"{SECRET_KEY}$", str(key)) else mask_all(each, environment)
            for key, each in value.items()
        }
    if isinstance(value, list):
        return [mask_all(each, environment) for each in value]
    return mask(value, environment) if isinstance(value, str) else value


if __name__ == "__main__":
    for stream in (sys.stdin, sys.stdout):
        stream.reconfigure(encoding="utf-8", errors="surrogateescape")
    sys.stdout.write(mask(sys.stdin.read()))
