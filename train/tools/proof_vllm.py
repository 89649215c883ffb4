"""Whether vLLM loads a model and finds the probabilities that transformers finds. As a script, what runs inside vLLM:

    python train/tools/proof_vllm.py MODEL PROMPTS.json RESULT.json      # log-probabilities of the prompts' own tokens

vLLM runs in a process of its own, so that its memory is given back and a crash in it is a failed check.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

import torch

from export_proof import NotMade
from model_weights import ExportError
from proof_logits import Loader, log_probs

MOST_DIFFERENCE = 0.1
"""Nats, mean over the tokens: vLLM computes in bfloat16, transformers here in float32."""
TIMEOUT_S = 1800


def check_vllm(directory: Path, model: Loader, prompts: list[list[int]]) -> str:
    """Raises NotMade where vLLM is not installed, ExportError where it does not load the model or answers otherwise."""
    if find_spec("vllm") is None:
        raise NotMade("vLLM is not installed here")
    found = torch.tensor([value for values in _ask_vllm(directory, prompts) for value in values])
    wanted = _own_tokens(log_probs(model(None), prompts), prompts)
    difference = float((found - wanted).abs().mean())
    words = f"vLLM gives the tokens' log-probabilities of transformers, to {difference:.2g} on average"
    if not difference <= MOST_DIFFERENCE:
        raise ExportError(f"{words}; bfloat16 explains {MOST_DIFFERENCE} at most")
    return words


def _own_tokens(probabilities: torch.Tensor, prompts: list[list[int]]) -> torch.Tensor:
    """Of (all tokens, vocabulary), the log-probability of each prompt's tokens from the second on."""
    rows = probabilities.split([len(ids) for ids in prompts])
    return torch.cat(
        [row[:-1].gather(1, torch.tensor(ids[1:])[:, None])[:, 0] for row, ids in zip(rows, prompts, strict=True)]
    )


def _ask_vllm(directory: Path, prompts: list[list[int]]) -> list[list[float]]:
    with tempfile.TemporaryDirectory() as scratch:
        asked, answered = Path(scratch) / "prompts.json", Path(scratch) / "log_probs.json"
        asked.write_text(json.dumps(prompts))
        command = [sys.executable, __file__, str(directory), str(asked), str(answered)]
        environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
        try:
            done = subprocess.run(
                command, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise ExportError(f"vLLM needs more than {TIMEOUT_S} s to load it") from error
        if done.returncode or not answered.is_file():
            raise ExportError(f"vLLM does not load it: {_reason(done)} (--no-vllm leaves this check out)")
        return json.loads(answered.read_text())


def _reason(done: subprocess.CompletedProcess[str]) -> str:
    """The last error on its standard error; advice may come after it."""
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    errors = [line for line in lines if re.search(r"\b[A-Za-z.]*(Error|Exception)\b: ", line)]
    return (errors or lines or [f"exit status {done.returncode}"])[-1][:300]


def main() -> None:
    from chat_models import VllmModel

    directory, asked, answered = map(Path, sys.argv[1:])
    answered.write_text(json.dumps(VllmModel(directory).log_probs_of(json.loads(asked.read_text()))))


if __name__ == "__main__":
    main()
