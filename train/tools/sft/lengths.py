"""What becomes of a sample of more tokens than `data.max_length`. Counted in tokens, the chat template included.

    error   the run stops before it starts, and says how many there are
    drop    it is left out
    right   it keeps its beginning: the end of the answer is lost, the mark of its end too
    left    it keeps its end
    split   it becomes several samples, each without the others' context

Windows with nothing to train in them are left out. verl's own dataset cuts right, whatever `data.truncation` says.
"""

from __future__ import annotations

from dataclasses import replace

from sft.conversations import DataError, RowFault
from sft.loss_mask import Sample

POLICIES = ("error", "drop", "right", "left", "split")
OVER_LONG = "over-long"


def check_policy(policy: str) -> None:
    if policy not in POLICIES:
        raise DataError(f"data.truncation={policy} (SFT_TRUNCATION) is not known: use {', '.join(POLICIES)}")


def fit(sample: Sample, max_length: int, policy: str) -> list[Sample]:
    """The sample, or what is kept of it: samples of at most `max_length` tokens. Raises RowFault where nothing is."""
    length = len(sample.input_ids)
    if length <= max_length:
        return [sample]
    if policy in ("error", "drop"):
        raise RowFault(OVER_LONG)
    starts = {"right": [0], "left": [length - max_length], "split": range(0, length, max_length)}[policy]
    windows = [_window(sample, start, start + max_length) for start in starts]
    kept = [window for window in windows if window.trained]
    if not kept:
        raise RowFault(f"{OVER_LONG}, and truncation={policy} leaves nothing to train")
    return kept


def _window(sample: Sample, start: int, end: int) -> Sample:
    # The first token has nothing before it that it could be predicted from (see loss_mask.Sample).
    mask = [0, *sample.loss_mask[start + 1 : end]]
    return replace(sample, input_ids=sample.input_ids[start:end], loss_mask=mask)
