"""Prints what Ray takes as a job's environment, with the values of the named variables.

    WANDB_EXP=mine python3 train/scripts/lib/job_environment.py WANDB_EXP
    {"runtime_env": {"env_vars": {"WANDB_EXP": "mine"}}}

Under `ray job submit` RAY_JOB_CONFIG_JSON_ENV_VAR holds one already: it is added to.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping

VARIABLE = "RAY_JOB_CONFIG_JSON_ENV_VAR"


def job_config(names: list[str], environment: Mapping[str, str]) -> dict:
    """The job's config as a dictionary. Raises ValueError where the one that is there cannot be read."""
    config = json.loads(environment.get(VARIABLE) or "{}")
    variables = config.setdefault("runtime_env", {}).setdefault("env_vars", {})
    variables.update({name: environment[name] for name in names})
    return config


if __name__ == "__main__":
    try:
        print(json.dumps(job_config(sys.argv[1:], os.environ)))
    except (ValueError, AttributeError) as fault:
        print(f"error: {VARIABLE} is not a job's config in JSON ({fault}): unset it", file=sys.stderr)
        raise SystemExit(2) from None
