"""Which tasks train, which validate, which test: three finite lists without a common id, the same in every process.

>>> len(split_task_ids(1000, "train")), len(split_task_ids(1000, "validation")), len(split_task_ids(1000, "test"))
(800, 100, 100)
"""

from __future__ import annotations

from hashlib import sha256

from env_adapter import SettingsError

SPLITS = ("train", "validation", "test")


def split_task_ids(
    num_tasks: int, split: str, validation_fraction: float = 0.1, test_fraction: float = 0.1, seed: int = 0
) -> list[int]:
    """The task ids of one split, in a random order that depends on nothing but the arguments.

    The order is that of a hash of (seed, id), so it is the same on every machine and in every version of Python.
    Raises SettingsError for an unknown split, for fractions that leave no training task, and for an empty split.
    """
    if split not in SPLITS:
        raise SettingsError(f"unknown split {split!r}: known are {', '.join(SPLITS)}")
    if validation_fraction < 0 or test_fraction < 0 or validation_fraction + test_fraction >= 1:
        raise SettingsError(
            f"validation_fraction={validation_fraction} and test_fraction={test_fraction}: "
            "each must be at least 0, and together they must leave something to train on"
        )
    order = sorted(range(num_tasks), key=lambda task_id: sha256(f"{seed}:{task_id}".encode()).digest())
    n_validation = round(num_tasks * validation_fraction)
    n_test = round(num_tasks * test_fraction)
    ids = {
        "validation": order[:n_validation],
        "test": order[n_validation : n_validation + n_test],
        "train": order[n_validation + n_test :],
    }[split]
    if not ids:
        raise SettingsError(
            f"the {split} split of {num_tasks} tasks is empty: use more tasks (num_tasks_per_case) or a larger fraction"
        )
    return ids
