"""Lets verl's SFT trainer end after a fault.

verl 0.9.1 closes its trackers when the object that holds them is deleted. After an exception that is when Python itself
ends: W&B's own exit hook has closed the run by then, and closing it once more waits for ever (seen with wandb 0.31.0:
a full disk in a checkpoint, and the trainer stood still behind its traceback). The GRPO trainer closes them in time.
"""

from __future__ import annotations

import inspect
import sys

from sft.resume import UpstreamChanged


def end_after_a_fault() -> None:
    """Answers verl/utils/tracking.py, in this process. Raises UpstreamChanged."""
    from verl.utils.tracking import Tracking

    if getattr(Tracking.__del__, "knows_the_end", False):
        return
    if list(inspect.signature(Tracking.finish).parameters) != ["self", "exit_code"]:
        raise UpstreamChanged(f"Tracking.finish{inspect.signature(Tracking.finish)}")

    def close(self: Tracking) -> None:
        if not sys.is_finalizing():
            self.finish()

    close.knows_the_end = True
    Tracking.__del__ = close
