"""What is trained, token by token, for chat templates of several kinds."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

import chat_templates
from sft.conversations import Conversation, DataError, RowFault
from sft.lengths import POLICIES, fit
from sft.loss_mask import ChatTokenizer, Sample

END = "<|im_end|>"


@pytest.fixture(scope="module")
def tokenizer(tiny: Path) -> Any:
    return AutoTokenizer.from_pretrained(tiny)


_OTHERS: dict[str | None, Any] = {}


def with_template(tokenizer: Any, template: str | None) -> Any:
    if template not in _OTHERS:
        _OTHERS[template] = copy.deepcopy(tokenizer)
        _OTHERS[template].chat_template = template
    return _OTHERS[template]


def chat(*contents: str, trained: tuple[int, ...] | None = None, **more: Any) -> Conversation:
    """Turns of user and assistant by turns, beginning with the user; every assistant turn is trained by default."""
    messages = [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(contents)]
    marks = tuple(i % 2 == 1 for i in range(len(contents))) if trained is None else tuple(map(bool, trained))
    return Conversation(messages, marks, **more)


def pieces(tokenizer: Any, sample: Sample) -> list[tuple[int, str]]:
    """The sample as runs of equal mask: (mask, text)."""
    runs: list[tuple[int, list[int]]] = []
    for token, mark in zip(sample.input_ids, sample.loss_mask, strict=True):
        if not runs or runs[-1][0] != mark:
            runs.append((mark, []))
        runs[-1][1].append(token)
    return [(mark, tokenizer.decode(ids)) for mark, ids in runs]


def test_chatml_trains_the_answers_and_their_end_mark_token_by_token(tokenizer: Any) -> None:
    (sample,) = ChatTokenizer(with_template(tokenizer, chat_templates.CHATML)).samples(
        chat("2+2?", "4", "And 3+3?", "6")
    )
    tokens = tokenizer.convert_ids_to_tokens(sample.input_ids)
    expected = [
        *[(token, 0) for token in ("<|im_start|>", "user", "Ċ", "2", "+", "2", "?", END, "Ċ")],
        *[("<|im_start|>", 0), ("ass", 0), ("istant", 0), ("Ċ", 0), ("4", 1), (END, 1), ("Ċ", 0)],
        *[(token, 0) for token in ("<|im_start|>", "user", "Ċ", "And", "Ġ", "3", "+", "3", "?", END, "Ċ")],
        *[("<|im_start|>", 0), ("ass", 0), ("istant", 0), ("Ċ", 0), ("6", 1), (END, 1)],
    ]
    assert list(zip(tokens, sample.loss_mask, strict=True)) == expected
    assert not sample.end_added
    assert not sample.unlike_prompt


def test_smollm2s_own_template_gives_the_tokens_that_the_model_sees(tokenizer: Any) -> None:
    conversation = chat("What is a cow?", "An animal.")
    (sample,) = ChatTokenizer(tokenizer).samples(conversation)
    prompt = tokenizer.apply_chat_template(
        conversation.messages[:1], add_generation_prompt=True, tokenize=True, return_dict=False
    )
    answer = tokenizer.encode("An animal.", add_special_tokens=False)
    assert sample.input_ids == [*prompt, *answer, tokenizer.eos_token_id]
    assert sample.loss_mask == [0] * len(prompt) + [1] * (len(answer) + 1)


def test_a_template_without_end_marks_gets_the_tokenizers_end_token_once_token_by_token(tokenizer: Any) -> None:
    other = with_template(tokenizer, chat_templates.PLAIN_TURNS)
    (sample,) = ChatTokenizer(other).samples(chat("Hi", "Yes", "Why", "No"))
    tokens = tokenizer.convert_ids_to_tokens(sample.input_ids)
    expected = [
        *[(token, 0) for token in ("Question", ":", "ĠHi", "Ċ", "Answer", ":")],
        *[("ĠYes", 1), ("Ċ", 1)],
        *[(token, 0) for token in ("Question", ":", "ĠWhy", "Ċ", "Answer", ":")],
        *[("ĠNo", 1), ("Ċ", 1), (END, 1)],
    ]
    assert list(zip(tokens, sample.loss_mask, strict=True)) == expected
    assert sample.end_added


def test_only_marked_turns_are_trained(tokenizer: Any) -> None:
    (sample,) = ChatTokenizer(tokenizer).samples(chat("a", "one", "b", "two", "c", trained=(0, 0, 0, 1, 0)))
    assert [text for mark, text in pieces(tokenizer, sample) if mark] == [f"two{END}"]
    assert tokenizer.decode(sample.input_ids).endswith(f"two{END}")  # nothing after it has an influence


def test_a_template_that_forgets_thinking_gives_a_sample_for_each_turn_as_it_is_asked(tokenizer: Any) -> None:
    first, second = "<think>\nhm\n</think>\n\nfour", "<think>\nho\n</think>\n\nsix"
    other = with_template(tokenizer, chat_templates.FORGETS_THINKING)
    samples = ChatTokenizer(other).samples(chat("2+2?", first, "3+3?", second))
    assert [[text for mark, text in pieces(tokenizer, sample) if mark] for sample in samples] == [
        [first + END],
        [second + END],
    ]
    assert "hm" not in tokenizer.decode(samples[1].input_ids)
    for sample, history in zip(samples, (1, 3), strict=True):
        prompt = other.apply_chat_template(
            chat("2+2?", first, "3+3?", second).messages[:history],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=False,
        )
        assert sample.input_ids[: len(prompt)] == prompt
        assert sample.loss_mask == [0] * len(prompt) + [1] * (len(sample.input_ids) - len(prompt))


def test_a_generation_prompt_that_opens_thinking_is_noticed(tokenizer: Any) -> None:
    other = with_template(tokenizer, chat_templates.OPENS_THINKING)
    (unlike,) = ChatTokenizer(other).samples(chat("2+2?", "four"))
    assert [text for mark, text in pieces(tokenizer, unlike) if mark] == [f"four{END}"]
    assert unlike.unlike_prompt
    (like,) = ChatTokenizer(other).samples(chat("2+2?", "<think>\nhm</think>four"))
    assert [text for mark, text in pieces(tokenizer, like) if mark] == [f"hm</think>four{END}"]
    assert not like.unlike_prompt


def test_an_answer_never_shares_a_token_with_its_prompt(tokenizer: Any) -> None:
    answer = "\n\nAfter two line breaks"
    whole = tokenizer.encode("assistant\n" + answer, add_special_tokens=False)
    assert whole[1:2] != tokenizer.encode("\n", add_special_tokens=False)  # else this test would show nothing
    conversation = chat("q", answer)
    (sample,) = ChatTokenizer(tokenizer).samples(conversation)
    prompt = tokenizer.apply_chat_template(
        conversation.messages[:1], add_generation_prompt=True, tokenize=True, return_dict=False
    )
    assert sample.input_ids[: len(prompt)] == prompt
    assert [text for mark, text in pieces(tokenizer, sample) if mark] == [answer + END]


def test_tools_and_their_calls_are_in_the_text(tokenizer: Any) -> None:
    other = with_template(tokenizer, chat_templates.WITH_TOOLS)
    conversation = Conversation(
        [{"role": "user", "content": "ls"}, {"role": "assistant", "content": "", "tool_calls": [{"name": "run"}]}],
        (False, True),
        tools=[{"name": "run", "parameters": {}}],
    )
    (sample,) = ChatTokenizer(other).samples(conversation)
    assert '{"name": "run", "parameters": {}}' in tokenizer.decode(sample.input_ids)
    assert [text for mark, text in pieces(tokenizer, sample) if mark] == [f'<call>{{"name": "run"}}</call>{END}']


def test_a_conversation_that_the_template_refuses_is_a_fault_of_the_row(tokenizer: Any) -> None:
    other = with_template(tokenizer, chat_templates.PLAIN_TURNS)
    with pytest.raises(RowFault, match="roles must alternate"):
        ChatTokenizer(other).samples(Conversation([{"role": "assistant", "content": "I"}], (True,)))


def test_without_a_template_prompt_and_answer_are_plain_text(tokenizer: Any) -> None:
    base = ChatTokenizer(with_template(tokenizer, None))
    (sample,) = base.samples(chat("Once upon", " a time"))
    assert pieces(tokenizer, sample) == [(0, "Once upon"), (1, f" a time{END}")]
    with pytest.raises(DataError, match="no chat template"):
        base.samples(chat("a", "b", "c", "d"))


# SmolLM2 has no token for every byte: characters that it can spell.
LETTERS = st.characters(max_codepoint=0x24F, exclude_categories=["Cc"], include_characters="\n\t")
TEXT = st.text(LETTERS, min_size=1, max_size=30).filter(lambda text: text.strip())


@given(st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=4), st.sampled_from(["CHATML", "PLAIN_TURNS"]))
def test_exactly_the_answers_are_trained_whatever_they_say(
    tokenizer: Any, turns: list[tuple[str, str]], template: str
) -> None:
    other = with_template(tokenizer, getattr(chat_templates, template))
    (sample,) = ChatTokenizer(other).samples(chat(*[text for turn in turns for text in turn]))
    expected = [f"{answer}{END}" if template == "CHATML" else f" {answer}\n" for _, answer in turns]
    if template == "PLAIN_TURNS":
        expected[-1] += END
    assert [text for mark, text in pieces(tokenizer, sample) if mark] == expected
    assert len(sample.input_ids) == len(sample.loss_mask)
    assert sample.loss_mask[0] == 0


MASKED = st.lists(st.integers(0, 1), min_size=1, max_size=40).map(lambda mask: [0, *mask[1:]]).filter(any)


@given(MASKED, st.integers(1, 12), st.sampled_from(POLICIES))
def test_no_policy_gives_more_tokens_than_allowed_or_a_sample_with_nothing_to_train(
    mask: list[int], max_length: int, policy: str
) -> None:
    sample = Sample(list(range(len(mask))), mask)
    if len(mask) <= max_length:
        assert fit(sample, max_length, policy) == [sample]
        return
    try:
        kept = fit(sample, max_length, policy)
    except RowFault as fault:
        assert "over-long" in str(fault)
        kept = []
    for window in kept:
        assert 0 < window.trained <= len(window.input_ids) <= max_length
        assert window.loss_mask[0] == 0
        start = window.input_ids[0]
        assert window.input_ids == list(range(start, start + len(window.input_ids)))
        assert window.loss_mask[1:] == mask[start + 1 : start + len(window.input_ids)]
    firsts = [window.input_ids[0] for window in kept]
    match policy:
        case "error" | "drop":
            assert kept == []
        case "right":
            assert firsts in ([], [0])
        case "left":
            assert firsts in ([], [len(mask) - max_length])
        case "split":
            assert all(first % max_length == 0 for first in firsts)
            lost = sum(mask) - sum(window.trained for window in kept)
            assert lost == sum(mask[start] for start in range(max_length, len(mask), max_length))
