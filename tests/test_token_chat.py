"""The rows that a policy is trained on, by a real tokenizer: every sampled token once, after what the policy saw."""

from __future__ import annotations

import functools
import itertools
import random
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from games.chat import Chat
from token_chat import TokenChat

# What Qwen3's template does: thinking is left out of earlier replies, content is stripped.
STRIPPING = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content.split('</think>')[-1] | trim }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# Some templates open the thinking, or an empty one, in the prompt and leave it out of earlier replies.
OPENING = STRIPPING.replace("<|im_start|>assistant\n{% endif %}", "<|im_start|>assistant\n<think>\n{% endif %}")
SYSTEM = {"role": "system", "content": "Play. Answer with a number."}


@pytest.fixture(scope="module")
def tokenizer(tiny: Path) -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(tiny)


@dataclass
class Played:
    """A conversation, and what is known of it beside the rows."""

    chat: TokenChat
    prompts: list[list[int]] = field(default_factory=list)
    replies: list[list[int]] = field(default_factory=list)
    log_probs: list[list[float]] = field(default_factory=list)


def play(tokenizer: PreTrainedTokenizerBase, replies: list[list[int]], template: str = "", **lengths: int) -> Played:
    """Turns that go on until there is no reply or no room left."""
    template_of = {"chat_template": template} if template else {}
    render = functools.partial(
        tokenizer.apply_chat_template, add_generation_prompt=True, tokenize=True, return_dict=False, **template_of
    )
    lengths = {"max_prompt": 4000, "max_response": 4000, "answer_tokens": 64} | lengths
    played = Played(TokenChat(render, **lengths))
    numbers, chat = itertools.count(1), Chat()
    for turn, reply in enumerate(replies):
        chat.ask(SYSTEM, f"Turn {turn}. Legal: {turn}, {turn + 1}")
        ids = played.chat.prompt(chat.messages)
        if ids is None:
            break
        assert ids == render(chat.messages)
        log_probs = [-1.0 / next(numbers) for _ in reply]
        played.chat.sampled(reply, log_probs)
        played.prompts.append(ids)
        played.replies.append(reply)
        played.log_probs.append(log_probs)
        chat.hear(tokenizer.decode(reply, skip_special_tokens=True))
    return played


def check(played: Played) -> None:
    """The law: the rows hold every reply once, in order, each after exactly the prompt that it was sampled from."""
    found = []
    for row in played.chat.sequences:
        assert len(row.response_ids) == len(row.mask) == len(row.log_probs)
        assert row.mask[-1] == 1, "a row ends with what was sampled"
        place = 0
        for is_sampled, group in itertools.groupby(range(len(row.mask)), key=lambda i, row=row: row.mask[i]):
            places = list(group)
            assert places[0] == place
            place = places[-1] + 1
            if is_sampled:
                before = row.prompt_ids + row.response_ids[: places[0]]
                found.append((before, [row.response_ids[i] for i in places], [row.log_probs[i] for i in places]))
            else:
                assert all(row.log_probs[i] == 0 for i in places)
    assert found == list(zip(played.prompts, played.replies, played.log_probs, strict=True))
    assert sum(row.answers for row in played.chat.sequences) == len(played.replies)


def encoded(tokenizer: PreTrainedTokenizerBase, *texts: str, end: str = "<|im_end|>") -> list[list[int]]:
    return [tokenizer.encode(text + end, add_special_tokens=False) for text in texts]


def test_plain_replies_make_one_sequence(tokenizer: PreTrainedTokenizerBase) -> None:
    played = play(tokenizer, encoded(tokenizer, "3", "Answer: 4", "b3", "12"))
    check(played)
    (row,) = played.chat.sequences
    assert row.answers == 4
    assert tokenizer.decode(row.ids).count("<|im_start|>assistant") == 4
    trained = [token for token, mask in zip(row.response_ids, row.mask, strict=True) if mask]
    assert tokenizer.decode(trained) == "3<|im_end|>Answer: 4<|im_end|>b3<|im_end|>12<|im_end|>"


def test_a_reply_that_was_cut_is_closed_by_tokens_that_are_not_trained(tokenizer: PreTrainedTokenizerBase) -> None:
    played = play(tokenizer, encoded(tokenizer, "3", "4", end=""))
    check(played)
    (row,) = played.chat.sequences
    assert sum(row.mask) == 2
    assert tokenizer.decode(row.response_ids).startswith("3<|im_end|>\n<|im_start|>user\n")


def test_thinking_begins_a_new_sequence_whose_prompt_has_none(tokenizer: PreTrainedTokenizerBase) -> None:
    replies = encoded(tokenizer, "<think>Hm, 3?</think>3", "4", "<think>5</think>\n\n5", "6")
    played = play(tokenizer, replies)
    check(played)
    assert [row.answers for row in played.chat.sequences] == [1, 2, 1]
    for row in played.chat.sequences[1:]:
        assert "think" not in tokenizer.decode(row.prompt_ids)
        assert "assistant\n3<|im_end|>" in tokenizer.decode(row.prompt_ids)


@pytest.mark.parametrize("template", [STRIPPING, OPENING])
def test_a_template_that_rewrites_history_is_followed(tokenizer: PreTrainedTokenizerBase, template: str) -> None:
    played = play(tokenizer, encoded(tokenizer, "3", " 4 ", "<think>so</think>5", "6"), template)
    check(played)
    if template == OPENING:
        assert [row.answers for row in played.chat.sequences] == [1, 1, 1, 1]
    else:
        assert [row.answers for row in played.chat.sequences] == [2, 1, 1]


def test_a_text_that_was_sampled_in_other_tokens_is_not_tokenised_again(tokenizer: PreTrainedTokenizerBase) -> None:
    odd = [token for letter in "Answer" for token in tokenizer.encode(letter, add_special_tokens=False)]
    assert tokenizer.encode("Answer", add_special_tokens=False) != odd
    played = play(tokenizer, [odd, *encoded(tokenizer, "4")])
    check(played)
    assert [row.answers for row in played.chat.sequences] == [1, 1]
    assert played.chat.sequences[0].response_ids == odd


def test_a_full_sequence_is_followed_by_another(tokenizer: PreTrainedTokenizerBase) -> None:
    played = play(tokenizer, encoded(tokenizer, *"34567"), max_response=50, answer_tokens=3)
    check(played)
    assert len(played.replies) == 5
    assert all(len(row.response_ids) <= 50 for row in played.chat.sequences)
    assert max(row.answers for row in played.chat.sequences) > 1 < len(played.chat.sequences)


def test_a_chat_that_is_too_long_has_no_room(tokenizer: PreTrainedTokenizerBase) -> None:
    replies = encoded(tokenizer, *"3456789")
    short = play(tokenizer, replies, max_prompt=60, max_response=80, answer_tokens=3)
    check(short)
    assert 1 < len(short.replies) < 7
    shorter = play(tokenizer, replies, max_prompt=60, max_response=400, answer_tokens=3, max_length=90)
    check(shorter)
    assert 1 < len(shorter.replies) < len(play(tokenizer, replies, max_prompt=60, max_response=400).replies)
    assert play(tokenizer, replies, max_prompt=10).replies == []


def test_a_row_without_log_probs_has_none(tokenizer: PreTrainedTokenizerBase) -> None:
    chat = TokenChat(lambda messages: list(range(10 * len(messages))), 100, 100, 5)
    for turn in range(3):
        chat.prompt([SYSTEM] * (1 + turn))
        chat.sampled(list(range(10 * turn + 10, 10 * turn + 13)))
    (row,) = chat.sequences
    assert row.log_probs == [] and row.answers == 3 and sum(row.mask) == 9


def test_what_does_not_fit_together_is_refused() -> None:
    with pytest.raises(ValueError, match="answers of 5 tokens do not fit into responses of 4"):
        TokenChat(len, 100, 4, 5)
    chat = TokenChat(lambda _: [1, 2], 100, 100, 5)
    chat.prompt([])
    with pytest.raises(ValueError, match="1 log-probs for 2 tokens"):
        chat.sampled([3, 4], [-0.5])
    chat.sampled([3], [-0.5])
    chat._render = lambda _: [1, 2, 3, 4]
    chat.prompt([])
    with pytest.raises(ValueError, match="some have none"):
        chat.sampled([5])


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 2**32),
    kinds=st.lists(st.sampled_from(["plain", "cut", "thinking", "noise", "special", "spaces"]), min_size=1, max_size=8),
    template=st.sampled_from(["", STRIPPING, OPENING]),
    max_response=st.integers(20, 400),
    max_prompt=st.integers(40, 600),
)
def test_the_law_holds_for_any_replies(
    tokenizer: PreTrainedTokenizerBase, seed: int, kinds: list[str], template: str, max_response: int, max_prompt: int
) -> None:
    numbers = random.Random(seed)

    def reply(kind: str) -> list[int]:
        number = numbers.randrange(100)
        if kind == "noise":
            return [numbers.randrange(len(tokenizer)) for _ in range(numbers.randrange(1, 12))]
        if kind == "special":
            return [numbers.randrange(17) for _ in range(numbers.randrange(1, 5))]
        text = {"plain": "{}", "cut": "{}", "thinking": "<think>x{}</think>{}", "spaces": "  {}\n\n"}[kind]
        text = text.replace("{}", str(number))
        return tokenizer.encode(text + ("" if kind == "cut" else "<|im_end|>"), add_special_tokens=False)

    lengths = {"max_response": max_response, "max_prompt": max_prompt, "answer_tokens": 16}
    played = play(tokenizer, [reply(kind)[:16] for kind in kinds], template, **lengths)
    check(played)
    for row in played.chat.sequences:
        assert len(row.prompt_ids) <= max_prompt and len(row.response_ids) <= max_response
