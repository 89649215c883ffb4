"""An answer with the way to it: how it is asked for, in the prompt's language, and whether it is worth keeping.

"10 / 5 is 2, and 10 - 2 is 8.\nAnswer: (10 - 10 / 5) * 3"        kept, where the environment scores it 1
"Answer: (10 - 10 / 5) * 3"                                       bare: right, and nothing is worked out
"<think>\n10 / 5 是 2 …\n</think>\n\nAnswer: (10 - 10 / 5) * 3"    language: the prompt is English
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from answer_text import after_thinking
from chat_models import Answer, Messages
from env_adapter import Challenge, EnvAdapter

KEPT, WRONG, BARE, LANGUAGE, FAILED = "kept", "wrong", "bare", "language", "failed"
OUTCOMES = {
    KEPT: "kept",
    WRONG: "wrong or cut short",
    BARE: "right without reasoning",
    LANGUAGE: "right in another language than the prompt",
    FAILED: "failed requests",
}
LEAST_CHARACTERS = 20
"""Of what stands before the answer: less than that is no reasoning."""
REQUESTS = {
    "en": (
        "First work it out step by step, in English. Then end as the task asks; if it asks for the answer and nothing "
        'else, write it on a last line of its own after "Answer: ".'
    ),
    "zh": (
        "请先用中文一步一步地推理，再按题目的要求结束；如果题目要求只写答案，就在最后单独一行的“Answer: ”之后写出答案。"
    ),
}


@dataclass(frozen=True)
class Judged:
    outcome: str
    """One of OUTCOMES."""
    text: str = ""
    """The worked answer, with thinking that the server gave apart in <think></think>."""
    error: str | None = None


def language_of(text: str) -> str | None:
    """'zh' or 'en', by the letters; None without any. A Chinese character says as much as three letters."""
    han = len(re.findall(r"[\u3400-\u9fff]", text))
    latin = len(re.findall(r"[A-Za-z]", text))
    if not han and not latin:
        return None
    return "zh" if 3 * han > latin else "en"


def language_of_prompt(messages: Messages) -> str:
    """'zh' where one of the messages is Chinese: what is asked about may be all letters."""
    return "zh" if "zh" in [language_of(message["content"]) for message in messages] else "en"


def asking(messages: Messages) -> Messages:
    """The chat with a request for reasoning, where its instructions stand."""
    first = {**messages[0], "content": f"{messages[0]['content']}\n\n{REQUESTS[language_of_prompt(messages)]}"}
    return [first, *messages[1:]]


def judge(answer: Answer, adapter: EnvAdapter, challenge: Challenge, correct_from: float) -> Judged:
    """What an answer is worth. Raises EnvError where the environment cannot tell."""
    if answer.error is not None:
        return Judged(FAILED, error=answer.error)
    thinking = (answer.reasoning or "").strip()
    text = f"<think>\n{thinking}\n</think>\n\n{answer.text}" if thinking else answer.text
    if answer.finish_reason == "length" or adapter.evaluate(text, challenge).value < correct_from:
        return Judged(WRONG)
    way = way_to_answer(text)
    if len(way) < LEAST_CHARACTERS:
        return Judged(BARE)
    if language_of(way) not in (language_of_prompt(challenge.messages), None):
        return Judged(LANGUAGE)
    return Judged(KEPT, text)


def way_to_answer(text: str) -> str:
    """What stands before the answer: the thinking, and all of the rest but its last line or <answer> block."""
    rest = after_thinking(text)
    if rest is None:
        return text
    thinking = re.sub(r"</?think(?:ing)?>", "", text[: len(text) - len(rest)])
    rest = rest.strip()
    start = rest.rfind("<answer>" if rest.endswith("</answer>") else "\n")
    return f"{thinking.strip()}\n{rest[: max(start, 0)]}".strip()
