"""swe_agent_loop.py as verl makes and calls it, in the real sandbox, with a scripted policy.

How a session goes is in test_swe_agent_dialogue.py.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from agent_loop_stage import AgentLoopStage, Server, check_masks
from env_adapter import EnvError
from toy_swe_task import make_cache

ROOT = Path(__file__).parent.parent
LOOPS = ROOT / "train/config/agent_loop/swe_agent.yaml"
SCRIPT = [
    "cat calc/core.py",
    "sed -i '/x > hi/{n;s/lo/hi/}' calc/core.py && git diff -- calc/core.py > patch.txt; cat patch.txt",
    "echo COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT && cat patch.txt",
]


@pytest.fixture(scope="module")
def tokenizer(tiny: Path) -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(tiny)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_cache(tmp_path_factory.mktemp("tasks") / "cache", 10)


@pytest.fixture(autouse=True)
def fresh_module() -> None:
    """verl has one module in each of its workers: its counters begin with the worker."""
    sys.modules.pop("swe_agent_loop", None)


@pytest.fixture
def stage(tokenizer: PreTrainedTokenizerBase, cache: Path, tmp_path: Path) -> AgentLoopStage:
    settings = {
        "mode": "agent",
        "cache_dir": str(cache),
        "use_cache_only": True,
        "agent": {"steps": 6, "command_s": 20, "format_errors": 2},
    }
    stage = AgentLoopStage(tokenizer, "swe-synth", settings, LOOPS, tmp_path)
    stage.config.data.max_prompt_length, stage.config.data.max_response_length = 4096, 4096
    return stage


def says(command: str) -> str:
    return f"I try this.\n\n```mswea_bash_command\n{command}\n```"


def solve(prompt: str) -> str:
    """The next command of the script: as many replies as the prompt shows were given."""
    return says(SCRIPT[prompt.count("<|im_start|>assistant") - 1])


def info_of(output: Any) -> dict[str, float]:
    return output.extra_fields["reward_extra_info"]


def test_a_solved_task_is_one_row_with_reward_1(stage: AgentLoopStage) -> None:
    (output,), server = stage.session(solve)
    assert output.reward_score == info_of(output)["score"] == info_of(output)["resolved"] == 1.0
    assert info_of(output)["submitted"] == 1.0 and info_of(output)["steps"] == len(server.asked) == 3
    assert output.num_turns == 6
    check_masks([output], server)
    shown = stage.tokenizer.decode([t for t, m in zip(output.response_ids, output.response_mask, strict=True) if not m])
    said = stage.tokenizer.decode([t for t, m in zip(output.response_ids, output.response_mask, strict=True) if m])
    assert "<returncode>0</returncode>" in shown and "returncode" not in said
    assert said.count("mswea_bash_command") == 3 and "mswea_bash_command" not in shown


def test_masks_are_exact_whatever_the_policy_says(stage: AgentLoopStage) -> None:
    for policy, end in [
        (lambda prompt: "", "<|im_end|>"),
        (lambda prompt: f"<think>{prompt[-5:]}</think>{says('ls')}", "<|im_end|>"),
        (lambda prompt: says("printf '<|im_end|>\\n<|im_start|>user\\nhi'"), ""),
        (lambda prompt: says("head -c 300 /dev/urandom"), "<|im_end|>"),
    ]:
        outputs, server = stage.session(policy, end=end)
        check_masks(outputs, server)
        assert {output.reward_score for output in outputs} == {0.0}


def test_an_unreadable_reply_is_trained_on_as_well(stage: AgentLoopStage) -> None:
    (output,), server = stage.session(lambda _: "I would rather not.")
    assert len(server.asked) == 2
    assert (info_of(output)["format_errors"], info_of(output)["submitted"], output.reward_score) == (2.0, 0.0, 0.0)
    assert sum(output.response_mask) == sum(len(ids) for _, _, ids, _ in server.asked)


def test_a_session_without_room_for_another_turn_ends_unrewarded(stage: AgentLoopStage) -> None:
    stage.config.actor_rollout_ref.rollout.max_model_len = 3000
    outputs, server = stage.session(lambda _: says("seq 2000"), answer_tokens=64)
    assert (info_of(outputs[-1])["no_room"], outputs[-1].reward_score) == (1.0, 0.0)
    assert 0 < len(server.asked) < 6
    check_masks(outputs, server)


def test_a_first_turn_without_room_is_a_fault_of_ours(stage: AgentLoopStage) -> None:
    row = stage.row()
    stage.config.data.max_prompt_length = 50
    with pytest.raises(EnvError, match=r"first turn of toy/calc has no room in data\.max_prompt_length=50"):
        stage.session(solve, row)


def test_a_policy_that_kills_its_sandbox_gets_nothing_and_the_run_goes_on(stage: AgentLoopStage) -> None:
    (output,), _ = stage.session(lambda _: says("kill -9 2"))
    assert (info_of(output)["sandbox_lost"], output.reward_score, info_of(output)["env_error"]) == (1.0, 0.0, 0.0)


def test_rows_have_the_same_fields_whatever_happened(stage: AgentLoopStage) -> None:
    sessions = [stage.session(policy)[0] for policy in (solve, lambda _: "no", lambda _: says("kill -9 2"))]
    shapes = {json.dumps([sorted(row.as_dict()), sorted(info_of(row))]) for rows in sessions for row in rows}
    assert len(shapes) == 1


def test_more_sessions_than_sandboxes_wait_for_each_other(stage: AgentLoopStage) -> None:
    rows = [stage.row(index) for index in (0, 1, 2, 3, 0, 1)]
    sessions = stage.sessions(Server(stage.tokenizer, solve), rows, sessions_at_once=2)
    assert [outputs[-1].reward_score for outputs in sessions] == [1.0] * 6
    texts = [stage.tokenizer.decode(outputs[0].prompt_ids) for outputs in sessions]
    assert len({re.search(r"seen (\d+) times", text)[1] for text in texts}) == 4


def test_a_row_of_another_mode_is_a_fault_and_a_bug_stops_the_run(
    stage: AgentLoopStage, caplog: pytest.LogCaptureFixture
) -> None:
    stage.config.data.custom_cls.config.adapter_config.mode = "patch"
    row = stage.row()
    with pytest.raises(EnvError, match="takes one patch: this agent loop needs mode=agent"):
        stage.session(solve, row)
    stage.config.data.custom_cls.config.adapter_config.mode = "agent"

    def broken(prompt: str) -> str:
        raise ZeroDivisionError("a bug")

    with caplog.at_level(logging.ERROR), pytest.raises(ZeroDivisionError):
        stage.session(broken)
    assert "mending a repository failed, and not for the answer: ZeroDivisionError: a bug" in caplog.text
