"""An agent on software repair trained through the front door: verl, Ray, FSDP, vLLM and the sandbox on CPU.

The model is a random one: what it says is no command, so each session ends after three replies that cannot be read, and
has reward 0. That a right session has reward 1 is in test_swe_agent_loop.py; here it is that the whole way is gone.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from toy_swe_task import make_cache
from training_run import LIMIT_S, SMALL, Run, checkout_with_ray

pytestmark = [pytest.mark.slow, pytest.mark.trains, pytest.mark.timeout(2400)]

TESTS = Path(__file__).parent
SESSIONS = 4


class AgentRun(Run):
    command = ("swe-synth-ppo-trainer.sh", *SMALL)


@pytest.fixture(scope="module")
def run(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentRun]:
    """One step, with a validation after it."""
    directory = tmp_path_factory.mktemp("agent")
    witness = directory / "witness"
    witness.mkdir()
    loops = directory / "loops.yaml"
    loops.write_text(
        "- name: swe_agent\n  _target_: witnessed_agent_loop.WitnessedSweAgentLoop\n"
        f"  answer_tokens: 16\n  sessions_at_once: 4\n  witness: {witness}\n"
    )
    with checkout_with_ray(directory) as checkout:
        run = AgentRun(checkout, tiny, "agent")
        run.environment |= {
            "SWE_MODE": "agent",
            "SWE_SYNTH_CACHE_DIR": str(make_cache(directory / "tasks", 20)),
            "SWE_SYNTH_USE_CACHE_ONLY": "1",
            "PYTHONPATH": str(TESTS),
        }
        run.witness = witness
        process = run.start(
            "trainer.total_training_steps=1",
            "trainer.test_freq=1",
            "data.train_batch_size=2",  # of long rows
            "data.max_response_length=512",
            "actor_rollout_ref.actor.entropy_coeff=0",  # of 49,152 tokens, at each of thousands of places
            f"actor_rollout_ref.rollout.agent.agent_loop_config_path='{loops}'",
        )
        assert process.wait(LIMIT_S) == 0, run.tail()
        yield run
        run.end()


def sessions(run: AgentRun) -> list[dict[str, Any]]:
    return [json.loads(file.read_text()) for file in run.witness.glob("*.json")]


def test_the_script_trains_and_validates_an_agent(run: AgentRun) -> None:
    (entry,) = run.steps()
    assert run.processes() == []
    data = entry["data"]
    assert data["val-core/swe-synth/reward/mean@1"] == 0
    for name in ("resolved", "submitted", "steps", "format_errors", "sandbox_lost", "env_error"):
        assert f"val-aux/swe-synth/{name}/mean@1" in data
    assert data["val-aux/swe-synth/steps/mean@1"] == data["val-aux/swe-synth/format_errors/mean@1"] == 3
    assert data["val-aux/swe-synth/env_error/mean@1"] == data["val-aux/swe-synth/sandbox_lost/mean@1"] == 0
    assert data["training/rollout_actor_probs_pearson_corr"] > 0.9
    assert Counter(session["split"] for session in sessions(run))["train"] == SESSIONS


def test_masks_cover_exactly_the_tokens_that_were_sampled(run: AgentRun) -> None:
    """Each where it was sampled: after the very tokens that the server was asked with, with the server's log-prob."""
    for session in sessions(run):
        heard = iter(session["heard"])
        for row in session["given"]:
            assert len(row["response"]) == len(row["mask"]) == len(row["log_probs"])
            place = 0
            while place < len(row["mask"]):
                if not row["mask"][place]:
                    assert row["log_probs"][place] == 0
                    place += 1
                    continue
                reply = next(heard)
                after = place + len(reply["tokens"])
                assert reply["prompt"] == row["prompt"] + row["response"][:place]
                assert reply["tokens"] == row["response"][place:after]
                assert reply["log_probs"] == row["log_probs"][place:after]
                assert row["mask"][place:after] == [1] * len(reply["tokens"])
                place = after
        assert next(heard, None) is None
        assert [row["reward"] for row in session["given"]] == [0.0] * len(session["given"])
