"""game_agent_loop.py as verl makes and calls it, with a scripted policy in place of the rollout's servers.

That the rollout's own servers and the trainer take its outputs is in test_game_training_cpu.py.
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
from verl.experimental.agent_loop.agent_loop import AgentLoopOutput

from agent_loop_stage import AgentLoopStage, Server, check_masks
from env_adapter import EnvError

ROOT = Path(__file__).parent.parent
LOOPS = ROOT / "train/config/agent_loop/openspiel_game.yaml"


@pytest.fixture(scope="module")
def tokenizer(tiny: Path) -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(tiny)


@pytest.fixture(autouse=True)
def fresh_module() -> None:
    """verl has one module in each of its workers: its counters and records begin with the worker."""
    sys.modules.pop("game_agent_loop", None)


def legal(prompt: str) -> list[str]:
    """The numbers of the last list of actions."""
    return re.findall(r"^(\d+) -> ", prompt.rpartition("Actions:\n")[2], re.MULTILINE)


def first_legal(prompt: str) -> str:
    return legal(prompt)[0]


class Stage(AgentLoopStage):
    """Games, by default of tic-tac-toe."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, directory: Path, **settings: Any) -> None:
        settings = {"mode": "game", "game_types": "tic_tac_toe"} | settings
        super().__init__(tokenizer, "openspiel", settings, LOOPS, directory)
        self.config.data.max_prompt_length, self.config.data.max_response_length = 600, 900

    def games(self) -> list[dict[str, Any]]:
        file = Path(self.config.trainer.default_local_dir) / "games.jsonl"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


@pytest.fixture
def tic_tac_toe(tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> Stage:
    return Stage(tokenizer, tmp_path)


def trained(outputs: list[AgentLoopOutput]) -> list[int]:
    return [t for o in outputs for t, mask in zip(o.response_ids, o.response_mask, strict=True) if mask]


def test_a_game_is_one_row_with_the_score_as_its_reward(tic_tac_toe: Stage) -> None:
    outputs, server = tic_tac_toe.session(first_legal)
    (output,) = outputs
    (game,) = tic_tac_toe.games()
    assert output.reward_score == game["score"] == output.extra_fields["reward_extra_info"]["score"]
    assert output.reward_score in (0.0, 0.5, 1.0)
    assert output.num_turns == 2 * game["turns"] == 2 * len(server.asked)
    assert output.extra_fields["min_global_steps"] == 1
    assert output.extra_fields["max_global_steps"] == len(server.asked)
    assert output.metrics.num_preempted == len(server.asked)
    assert game["tokens"] == sum(output.response_mask)
    assert (game["step"], game["opponent"], game["ending"], game["illegal"]) == (1, "random", "finished", 0)


def test_masks_and_log_probs_are_those_of_the_sampled_tokens(tic_tac_toe: Stage) -> None:
    for policy, end in [
        (first_legal, "<|im_end|>"),
        (first_legal, ""),
        (lambda prompt: f"<think>why {legal(prompt)}</think>{first_legal(prompt)}", "<|im_end|>"),
        (lambda prompt: f"I say\n**Answer: {first_legal(prompt)}**", ""),
    ]:
        outputs, server = tic_tac_toe.session(policy, end=end)
        check_masks(outputs, server)


def test_a_thinking_policy_gives_a_row_for_each_turn_all_with_the_same_reward(tic_tac_toe: Stage) -> None:
    outputs, server = tic_tac_toe.session(lambda prompt: f"<think>…</think>{first_legal(prompt)}")
    assert len(outputs) == len(server.asked) >= 3
    assert len({output.reward_score for output in outputs}) == 1
    assert all(output.as_dict()["rm_scores"][-1] == output.reward_score for output in outputs)
    assert len({json.dumps(output.extra_fields) for output in outputs}) == 1
    outputs[0].extra_fields["touched"] = True
    assert "touched" not in outputs[1].extra_fields


def test_rows_have_the_same_fields_whatever_happened(tic_tac_toe: Stage) -> None:
    """verl stacks them."""
    sessions = [
        tic_tac_toe.session(first_legal)[0],
        tic_tac_toe.session(lambda _: "no")[0],
        tic_tac_toe.session(lambda prompt: f"<think></think>{first_legal(prompt)}")[0],
    ]
    shapes = {
        json.dumps([sorted(row.as_dict()), sorted(row.extra_fields["reward_extra_info"])])
        for rows in sessions
        for row in rows
    }
    assert len(shapes) == 1


def test_a_policy_that_never_answers_loses_after_its_tries(tic_tac_toe: Stage) -> None:
    (output,), server = tic_tac_toe.session(lambda _: "what?")
    info = output.extra_fields["reward_extra_info"]
    assert (output.reward_score, info["won"], info["forfeited"], info["illegal"]) == (0.0, 0.0, 1.0, 3.0)
    assert len(server.asked) == 3


def test_a_reply_has_no_more_than_its_tokens(tic_tac_toe: Stage) -> None:
    outputs, server = tic_tac_toe.session(lambda _: "word " * 50, answer_tokens=5)
    assert {len(ids) for _, _, ids, _ in server.asked} == {5}
    assert sum(sum(output.response_mask) for output in outputs) == 15


def test_a_chat_that_is_too_long_loses_its_earlier_turns(tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    stage = Stage(tokenizer, tmp_path, game_types="connect_four")
    stage.config.actor_rollout_ref.rollout.max_model_len = 700
    outputs, server = stage.session(first_legal)
    assert stage.games()[0]["ending"] == "finished"
    assert len(outputs) > 1
    assert all(len(output.prompt_ids) + len(output.response_ids) <= 700 for output in outputs)
    assert all(len(output.prompt_ids) <= 600 and len(output.response_ids) <= 900 for output in outputs)
    assert trained(outputs) == [token for _, _, ids, _ in server.asked for token in ids]
    assert all("Connect Four:" in tokenizer.decode(output.prompt_ids) for output in outputs), "the rules stay"


def test_without_room_for_one_turn_the_game_is_lost(tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    stage = Stage(tokenizer, tmp_path)
    stage.config.actor_rollout_ref.rollout.max_model_len = 500
    outputs, server = stage.session(lambda _: "word " * 200, answer_tokens=120)
    info = outputs[-1].extra_fields["reward_extra_info"]
    assert (info["score"], info["unfinished"], len(server.asked)) == (0.0, 1.0, 2)
    assert stage.games()[0]["ending"] == "unfinished"


def test_a_first_turn_without_room_is_a_fault_of_ours(tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    stage = Stage(tokenizer, tmp_path)
    row = stage.row()
    stage.config.data.max_prompt_length = 50
    with pytest.raises(EnvError, match=r"first turn of tic_tac_toe has no room in data\.max_prompt_length=50"):
        stage.session(first_legal, row)


def test_only_the_seats_own_tokens_are_trained_when_the_policy_plays_itself(
    tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    stage = Stage(tokenizer, tmp_path, opponents="self")
    (output,), server = stage.session(lambda prompt: f"Answer: {legal(prompt)[-1]}")
    assert len({request for request, *_ in server.asked}) == 2, "each seat is a conversation of its own"
    own, other = ("You are x", "You are o")[:: 1 - 2 * stage.games()[0]["seat"]]
    own = [ids for _, prompt, ids, _ in server.asked if own in tokenizer.decode(prompt)]
    assert trained([output]) == [token for ids in own for token in ids]
    assert other not in tokenizer.decode(output.prompt_ids + output.response_ids)
    assert 3 <= len(own) < len(server.asked)
    assert stage.games()[0]["opponent"] == "self"


def test_a_clumsy_other_seat_is_no_win(tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    stage = Stage(tokenizer, tmp_path, opponents="self")
    row = stage.row()
    own = "You are " + "xo"[json.loads(row["extra_info"]["challenge"])["extra"]["seat"]]
    (output,), _ = stage.session(lambda prompt: first_legal(prompt) if own in prompt else "pass", row)
    info = output.extra_fields["reward_extra_info"]
    assert info["forfeited"] == info["unfinished"] == info["illegal"] == 0
    assert info["turns"] >= 3
    assert info["opponent_strength"] == -1


def test_the_opponent_grows_with_the_games_won(tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    stage = Stage(tokenizer, tmp_path, opponents="random,mcts(4),mcts(500)", promote_games=2, promote_at=0.5)
    from games.cases import load_case
    from games.opponents import parse_opponent

    case = load_case("tic_tac_toe")

    def perfect(prompt: str) -> str:
        """Plays by search on the board that it is shown."""
        board = re.findall(r"^[xo.]{3}$", prompt, re.MULTILINE)[-3:]
        cells = "".join(board)
        crosses = [place for place, mark in enumerate(cells) if mark == "x"]
        noughts = [place for place, mark in enumerate(cells) if mark == "o"]
        history = [place for pair in zip(crosses, noughts, strict=False) for place in pair] + crosses[len(noughts) :]
        state = case.game.new_initial_state()
        for place in history:
            state.apply_action(place)
        return str(parse_opponent("mcts(3000)").move(case, state, 1))

    for step in (1, 2, 3):
        for index in (0, 1, 2):
            stage.session(perfect, stage.row(index, step))
    played = {step: {game["opponent"] for game in stage.games() if game["step"] == step} for step in (1, 2, 3)}
    won = {step: [game["won"] for game in stage.games() if game["step"] == step] for step in (1, 2, 3)}
    assert played[1] == {"random"} and sum(won[1]) >= 2
    assert played[2] == {"mcts(4)"}
    assert played[3] == ({"mcts(500)"} if sum(won[2]) >= 2 else {"mcts(4)"})


def test_validation_plays_the_last_opponent_and_leaves_no_record(
    tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    stage = Stage(tokenizer, tmp_path, opponents="random,mcts(30)")
    outputs, _ = stage.session(first_legal, stage.row(split="validation"))
    assert outputs[-1].extra_fields["reward_extra_info"]["opponent_strength"] == 30
    assert stage.games() == []
    stage.session(first_legal)
    assert stage.games()[0]["opponent"] == "random"


def test_the_games_of_a_task_differ_by_the_policy_alone(tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    stage = Stage(tokenizer, tmp_path, game_types="leduc_poker", opponents="mcts(20)")
    for index in range(3):
        one, two = (stage.session(first_legal, stage.row(index))[0] for _ in range(2))
        assert [output.response_ids for output in one] == [output.response_ids for output in two]
        other = stage.session(lambda prompt: legal(prompt)[-1], stage.row(index))[0]
        assert other[0].prompt_ids == one[0].prompt_ids


# --- faults


def test_a_wrong_row_is_a_fault_and_too_many_stop_the_run(tic_tac_toe: Stage, caplog: pytest.LogCaptureFixture) -> None:
    single = Stage(tic_tac_toe.tokenizer, Path("/nowhere"), mode="state")
    row = single.row()
    with caplog.at_level(logging.ERROR):
        for _ in range(19):
            with pytest.raises(EnvError, match="is a single decision: this agent loop needs mode=game"):
                tic_tac_toe.session(first_legal, row)
        assert "stopping the run" not in caplog.text
        with pytest.raises(EnvError, match="20 of the last 20 answers could not be scored"):
            tic_tac_toe.session(first_legal, row)
    assert "stopping the run" in caplog.text
    assert tic_tac_toe.games() == []


def test_a_rollout_without_a_token_is_a_fault(tic_tac_toe: Stage) -> None:
    with pytest.raises(EnvError, match="the rollout gave no token"):
        tic_tac_toe.session(lambda _: "no token")


def test_a_bug_stops_the_run_at_once(tic_tac_toe: Stage, caplog: pytest.LogCaptureFixture) -> None:
    def broken(prompt: str) -> str:
        raise ZeroDivisionError("a bug")

    with caplog.at_level(logging.ERROR), pytest.raises(ZeroDivisionError):
        tic_tac_toe.session(broken)
    assert "playing a game failed, and not for the answer: ZeroDivisionError: a bug" in caplog.text


def test_faults_of_the_run_are_counted_in_the_metrics(tic_tac_toe: Stage) -> None:
    with pytest.raises(EnvError):
        tic_tac_toe.session(lambda _: "no token")
    (output,), _ = tic_tac_toe.session(first_legal)
    assert output.extra_fields["reward_extra_info"]["env_error"] == 0.5


def test_many_sessions_at_once_keep_their_games_apart(tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    stage = Stage(tokenizer, tmp_path, game_types="hex(board_size=5)", opponents="mcts(20)")
    rows = [stage.row(index) for index in range(8)]
    alone = [stage.session(first_legal, row)[0][-1].response_ids for row in rows]
    together = stage.sessions(Server(tokenizer, first_legal), rows)
    assert [outputs[-1].response_ids for outputs in together] == alone
