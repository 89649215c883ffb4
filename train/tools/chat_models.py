"""Where answers come from: a model directory through vLLM, or any server that speaks the OpenAI chat API.

    model = ApiModel("http://127.0.0.1:8000/v1", "my-model")
    model.check(conversations, Sampling())                     # fails early, before anything is loaded or paid for
    answers = model.answer(conversations, seeds, Sampling())   # one Answer per conversation, in the same order

A conversation that goes on is asked again, with what was said; `fits` tells when it has become too long.

Both apply the model's own chat template, as the rollout of the training does.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit, urlunsplit

from env_adapter import EnvError, SettingsError
from env_cli import progress_bar

Messages = list[dict[str, str]]

CPU_BATCH_TOKENS = 16384
"""Bounds the working memory of a step on a CPU."""
CPU_BLOCK_TOKENS = 32
"""vLLM shares a prompt's computation between its answers in whole blocks; on a CPU a block is 128 tokens otherwise."""


@dataclass(frozen=True)
class Sampling:
    temperature: float = 0.0
    top_p: float = 1.0
    max_tokens: int = 256
    seed: int = 0


@dataclass(frozen=True)
class Answer:
    text: str
    finish_reason: str | None = None
    """'length' where the answer was cut at max_tokens."""
    tokens: int | None = None
    error: str | None = None
    """Why there is no answer: a fault of the server, which is not a wrong answer."""
    reasoning: str | None = None
    """Where the server gives the thinking apart from the answer."""


class ChatModel(Protocol):
    name: str

    def check(self, conversations: Sequence[Messages], sampling: Sampling, grows: bool = False) -> None:
        """Raises SettingsError for what can be known to fail without loading the model.

        `grows`: the conversations go on after the first answer.
        """

    def fits(self, conversation: Messages, sampling: Sampling) -> bool:
        """Whether there is room for the conversation and an answer, as far as this is known here."""

    def answer(
        self,
        conversations: Sequence[Messages],
        seeds: Sequence[int],
        sampling: Sampling,
        max_errors: float = 0.0,
        quiet: bool = False,
    ) -> list[Answer]:
        """One answer per conversation. Raises EnvError when more than the share `max_errors` have none."""


@dataclass
class VllmModel:
    """A Hugging Face model directory, run by vLLM's offline engine in this process."""

    directory: Path
    gpu_memory_utilization: float = 0.8
    tensor_parallel_size: int = 1
    max_context: int = 0
    """The most tokens that a conversation may grow to; 0: the model's context."""
    name: str = field(init=False)
    _longest: int = field(init=False, default=0)
    _tokenizer: Any = field(init=False, default=None)
    _engine: Any = field(init=False, default=None)

    def __post_init__(self) -> None:
        self.name = str(self.directory)

    def check(self, conversations: Sequence[Messages], sampling: Sampling, grows: bool = False) -> None:
        if not self.directory.is_dir():
            raise SettingsError(f"--model {self.directory}: no such directory (a hub model must be downloaded first)")
        if not (self.directory / "config.json").is_file():
            raise SettingsError(f"--model {self.directory}: no config.json in it, so it is not a Hugging Face model")
        from transformers import AutoConfig, AutoTokenizer  # seconds to import: not before the cheap checks

        try:
            config = AutoConfig.from_pretrained(self.directory)
            tokenizer = AutoTokenizer.from_pretrained(self.directory)
        except (OSError, ValueError, KeyError) as error:
            raise SettingsError(f"--model {self.directory}: cannot be read: {_one_line(error)}") from error
        if not tokenizer.chat_template:
            raise SettingsError(f"--model {self.directory}: its tokenizer has no chat template")
        self._tokenizer = tokenizer
        longest_prompt = max(self._length(messages) for messages in conversations)
        self._longest = longest_prompt + sampling.max_tokens
        context = getattr(config.get_text_config(), "max_position_embeddings", None)
        if context is not None and self._longest > context:
            raise SettingsError(
                f"the longest prompt has {longest_prompt} tokens; with --max-tokens {sampling.max_tokens} that exceeds "
                f"the model's context of {context}: lower --max-tokens"
            )
        if not grows:
            return
        most = self.max_context or context or 0
        if not self._longest <= most <= (context or most):
            raise SettingsError(
                f"--max-context {most}: the first turn and an answer have up to {self._longest} tokens, the model's "
                f"context {context}"
            )
        self._longest = most

    def fits(self, conversation: Messages, sampling: Sampling) -> bool:
        return self._length(conversation) + sampling.max_tokens <= self._longest

    def _length(self, conversation: Messages) -> int:
        text = self._tokenizer.apply_chat_template(conversation, tokenize=False, add_generation_prompt=True)
        return len(self._tokenizer(text, add_special_tokens=False)["input_ids"])

    def answer(
        self,
        conversations: Sequence[Messages],
        seeds: Sequence[int],
        sampling: Sampling,
        max_errors: float = 0.0,
        quiet: bool = False,
    ) -> list[Answer]:
        self._engine = self._engine or self._start(sampling.seed)
        from vllm import SamplingParams

        params = [
            SamplingParams(
                temperature=sampling.temperature, top_p=sampling.top_p, max_tokens=sampling.max_tokens, seed=seed
            )
            for seed in seeds
        ]
        outputs = self._engine.chat(list(conversations), params, use_tqdm=not quiet)
        best = [output.outputs[0] for output in outputs]
        return [Answer(each.text, each.finish_reason, len(each.token_ids)) for each in best]

    def log_probs_of(self, prompts: list[list[int]]) -> list[list[float]]:
        """Of prompts as token ids, the log-probability of each token from the second on."""
        from vllm import SamplingParams

        self._longest = max(map(len, prompts)) + 1
        params = SamplingParams(temperature=0, max_tokens=1, prompt_logprobs=0)
        outputs = self._start(0).generate([{"prompt_token_ids": ids} for ids in prompts], params, use_tqdm=False)
        return [
            [entry[token].logprob for token, entry in zip(ids[1:], output.prompt_logprobs[1:], strict=True)]
            for ids, output in zip(prompts, outputs, strict=True)
        ]

    def _start(self, seed: int) -> Any:
        """vLLM's engine, for conversations of up to `_longest` tokens."""
        os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
        if self.tensor_parallel_size == 1:
            # The engine in this process: nothing is left behind after Ctrl-C or kill.
            os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
        import torch
        from vllm import LLM

        machine: dict[str, object] = {"gpu_memory_utilization": self.gpu_memory_utilization}
        if not torch.cuda.is_available():
            # A CPU gains nothing from compilation. A batch takes all running prompts whole: where vLLM cuts one in two
            # (chunked prefill) it rewinds the request's random generator, which a CPU generator cannot do
            # (vllm/v1/worker/gpu_model_runner.py: "CPU Generator does not use offset").
            running = min(64, max(1, CPU_BATCH_TOKENS // self._longest))
            machine = {
                "enforce_eager": True,
                "block_size": CPU_BLOCK_TOKENS,
                "max_num_seqs": running,
                "max_num_batched_tokens": max(2048, running * self._longest),
            }
        return LLM(
            model=str(self.directory),
            dtype="bfloat16",
            seed=seed,
            max_model_len=self._longest,
            tensor_parallel_size=self.tensor_parallel_size,
            **machine,
        )


@dataclass
class ApiModel:
    """A server that speaks the OpenAI chat API. The key is OPENAI_API_KEY; retries with back-off are the client's."""

    url: str
    name: str = ""
    """Empty: the only model that the server lists."""
    concurrency: int = 16
    timeout: float = 600.0
    """Seconds for one request."""
    max_retries: int = 5

    def check(self, conversations: Sequence[Messages], sampling: Sampling, grows: bool = False) -> None:
        import openai

        try:
            with openai.OpenAI(base_url=self.url, api_key=_api_key(), max_retries=1, timeout=30) as client:
                listed = [model.id for model in client.models.list().data or []]
        except (openai.AuthenticationError, openai.PermissionDeniedError) as error:
            raise SettingsError(f"{public_url(self.url)} refuses the key: set OPENAI_API_KEY") from error
        except openai.APIStatusError:
            listed = []  # not every server has a list of models
        except (openai.APIError, ValueError, AttributeError) as error:
            # openai's own connection errors, and a page that is no JSON list of models
            raise SettingsError(
                f"--url {public_url(self.url)}: no OpenAI-compatible server answers there "
                f"({_one_line(error.__cause__ or error)}); it usually ends in /v1"
            ) from error
        if not self.name:
            if len(listed) != 1:
                known = ", ".join(listed[:10]) or "none"
                raise SettingsError(f"--model-name is needed: {public_url(self.url)} lists {known}")
            self.name = listed[0]

    def fits(self, conversation: Messages, sampling: Sampling) -> bool:
        return True  # the server knows

    def answer(
        self,
        conversations: Sequence[Messages],
        seeds: Sequence[int],
        sampling: Sampling,
        max_errors: float = 0.0,
        quiet: bool = False,
        each: Callable[[int, Answer], None] | None = None,
    ) -> list[Answer]:
        """`each` is given every answer when it comes, with the number of its conversation."""
        return asyncio.run(self._answer_all(conversations, seeds, sampling, max_errors, quiet, each))

    async def _answer_all(
        self,
        conversations: Sequence[Messages],
        seeds: Sequence[int],
        sampling: Sampling,
        max_errors: float,
        quiet: bool,
        each: Callable[[int, Answer], None] | None,
    ) -> list[Answer]:
        import openai

        progress = progress_bar(len(conversations), "answers", quiet)
        slots = asyncio.Semaphore(self.concurrency)
        errors = 0

        async def ask(client: openai.AsyncOpenAI, number: int, messages: Messages, seed: int) -> Answer:
            nonlocal errors
            async with slots:
                try:
                    reply = await client.chat.completions.create(
                        model=self.name,
                        messages=messages,
                        temperature=sampling.temperature,
                        top_p=sampling.top_p,
                        max_tokens=sampling.max_tokens,
                        seed=seed,
                    )
                    answer = _read_reply(reply)
                except (openai.AuthenticationError, openai.PermissionDeniedError, openai.NotFoundError) as error:
                    # The same for every request: no use to go on.
                    raise SettingsError(f"{public_url(self.url)}, model {self.name!r}: {_one_line(error)}") from error
                except (openai.APIError, json.JSONDecodeError) as error:
                    answer = Answer("", error=_one_line(error))
            progress.update()
            if each is not None:
                each(number, answer)
            errors += answer.error is not None
            if errors > max_errors * len(conversations):
                raise EnvError(
                    f"{errors} of {len(conversations)} requests to {public_url(self.url)} failed, more than "
                    f"--max-errors {max_errors:g} allows; the last: {answer.error}"
                )
            return answer

        async with openai.AsyncOpenAI(
            base_url=self.url, api_key=_api_key(), max_retries=self.max_retries, timeout=self.timeout
        ) as client:
            asked = enumerate(zip(conversations, seeds, strict=True))
            tasks = [asyncio.ensure_future(ask(client, number, *one)) for number, one in asked]
            try:
                return await asyncio.gather(*tasks)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                progress.close()


def public_url(url: str) -> str:
    """The URL without user, password and query: what may be shown and kept."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def _read_reply(reply) -> Answer:
    """Servers differ, and the client does not check what they send: take what is there, say what is missing."""
    choices = getattr(reply, "choices", None)
    message = getattr(choices[0], "message", None) if isinstance(choices, list) and choices else None
    if message is None:
        return Answer("", error=f"the reply holds no message: {_one_line(reply)}")
    content = getattr(message, "content", None)
    if content is not None and not isinstance(content, str):
        return Answer("", error=f"the content is not text: {_one_line(content)}")
    tokens = getattr(getattr(reply, "usage", None), "completion_tokens", None)
    thinking = getattr(message, "reasoning_content", None) or getattr(message, "reasoning", None)
    return Answer(
        content or "",
        getattr(choices[0], "finish_reason", None),
        tokens,
        reasoning=thinking if isinstance(thinking, str) else None,
    )


def _api_key() -> str:
    return os.environ.get("OPENAI_API_KEY") or "EMPTY"


def _one_line(error: object) -> str:
    """Without the key, which a server may repeat."""
    key = os.environ.get("OPENAI_API_KEY")
    text = str(error).replace(key, "***") if key else str(error)
    return " ".join(text.split())[:300]
