"""Judging by a model that a server has: vLLM, or any that speaks OpenAI's protocol."""

from __future__ import annotations

import base64
import functools
import io
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import soundfile

from ..errors import BackendError
from ..utils.files import cache_folder
from ..utils.threads import call_in_threads
from .answers import AnswerCache, key_of
from .extras import import_extra
from .protocols import Answer, Clip, Question

#: At what rate clips are sent: what the models hear at.
_SAMPLING_RATE = 16000
#: So many likeliest tokens are asked for.
_TOP_LOGPROBS = 20
#: Clips in a row for which a server fails, until it is the server that is held to be at fault.
_MAX_FAILURES = 8
#: How long it may take to tell its models.
_PROBE_SECONDS = 10.0
#: As many tokens as an answer may have.
_MAX_TOKENS = 16


@dataclass(frozen=True)
class OpenAIJudge:
    """Asks a server, several clips at once.

    A clip is sent as an ``input_audio`` part (WAV, 16 kHz), the choices as vLLM's ``structured_outputs``, and the
    likeliest tokens are asked for, of which probabilities are made; a server that refuses one of both is asked without.
    What fails for a moment (no connection, 429, 5xx) is tried again, each clip by itself, ever later. What fails still
    is that clip's problem, as long as the server tells its models; when eight in a row do, it is the server's. Answers
    are kept on disk, and not asked for twice.

    Args:
        name: of the model, as the server calls it.
        base_url: of the server. The key for it, if it wants one, is that of ``OPENAI_API_KEY``.
        concurrency: clips that are asked about at the same time.
        timeout: seconds that an answer may take.
        max_retries: how often a clip is tried again.
        structured: whether to send the choices: servers that are not vLLM may not know it.
        cache: the file of kept answers; "" for none, None for one in the cache of the Hugging Face libraries.

    Raises:
        BackendError: the server cannot be reached, refuses the key or does not know the model, when called; or the
            openai package is not installed.
        ValueError: a number is out of range, or `base_url` no URL.

    Example:
        >>> OpenAIJudge("Qwen/Qwen3-Omni-30B-A3B-Instruct").version
        'http://localhost:8000/v1'
    """

    name: str
    base_url: str = "http://localhost:8000/v1"
    concurrency: int = 8
    timeout: float = 120.0
    max_retries: int = 5
    structured: bool = True
    cache: str | None = None

    def __post_init__(self) -> None:
        if not str(self.base_url).startswith(("http://", "https://")):
            raise ValueError(f"base_url must begin with http:// or https://, not {self.base_url!r}")
        if self.concurrency < 1 or self.max_retries < 0 or self.timeout <= 0:
            raise ValueError(
                "concurrency must be at least 1, max_retries 0, and timeout more than 0: "
                f"{self.concurrency}, {self.max_retries}, {self.timeout}"
            )

    @property
    def model(self) -> str:
        """Its name."""
        return self.name

    @property
    def version(self) -> str:
        """Where it is served: a server tells no version."""
        return self.base_url

    def ask(self, clips: Sequence[Clip], questions: Sequence[Question]) -> list[Answer]:
        """The server's answers."""
        pairs = list(zip(clips, questions, strict=True))
        answers: dict[int, Answer] = {}

        def work(number: int) -> tuple[int, Answer]:
            return number, _ask(self, pairs[number])

        # in threads that nobody waits for when Ctrl-C comes: a server may take minutes
        call_in_threads(work, range(len(pairs)), self.concurrency, lambda result: answers.update([result]))
        return [answers[number] for number in range(len(pairs))]


def _ask(config: OpenAIJudge, pair: tuple[Clip, Question]) -> Answer:
    clip, question = pair
    cache = _cache(config)
    settings = {"model": config.name, "server": config.base_url, "structured": config.structured}
    key = key_of(clip, question, settings)
    known = cache.find(key) if cache else None
    if known is not None:
        return known
    answer = _request(config, clip, question)
    if cache and answer.choice is not None:
        cache.keep(key, answer)
    return answer


def _request(config: OpenAIJudge, clip: Clip, question: Question) -> Answer:
    openai = import_extra("openai", "openai")
    messages = [{"role": "user", "content": [_audio_part(clip), {"type": "text", "text": question.text}]}]
    choices = {"structured_outputs": {"choice": list(question.choices)}} if config.structured else {}
    options: dict[str, Any] = {"logprobs": True, "top_logprobs": _TOP_LOGPROBS, "extra_body": choices}
    server = _server(config)
    while True:
        try:
            reply = server.client.chat.completions.create(
                model=config.name, messages=messages, temperature=0, max_tokens=_MAX_TOKENS, **options
            )
            server.failures = 0
            return _parse(reply, question)
        except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
            refused = next((name for name in _refusable(options) if name in str(error)), None)
            if refused is None:
                return Answer(problem=f"no answer: the server refuses it: {_message(error)}")
            options = _without(options, refused)
        except (openai.AuthenticationError, openai.PermissionDeniedError, openai.NotFoundError) as error:
            raise BackendError(f"{config.base_url}, model {config.name!r}: {_message(error)}") from None
        except openai.APIConnectionError as error:
            cause = error.__cause__ or error
            tried = f"({type(cause).__name__}: {cause}), {config.max_retries + 1} times tried"
            if isinstance(error, openai.APITimeoutError) and server.fails_for_one():
                return Answer(problem=f"no answer: the server does not answer {tried}")
            raise BackendError(f"{config.base_url} does not answer {tried}: is the server running?") from None
        except openai.APIStatusError as error:
            tried = f"{config.max_retries + 1} times tried: {_message(error)}"
            if error.status_code >= 500 and server.fails_for_one():
                return Answer(problem=f"no answer: the server fails, {tried}")
            if error.status_code >= 500 or error.status_code == 429:
                raise BackendError(f"{config.base_url} fails, {tried}") from None
            return Answer(problem=f"no answer: the server refuses it: {_message(error)}")
        except (openai.APIError, ValueError) as error:  # of what is no JSON, the client lets the parser's through
            return Answer(problem=f"no answer: what the server sends is no reply: {_message(error)}")


def _refusable(options: Mapping[str, Any]) -> list[str]:
    """What a server may not know."""
    return [
        *(["structured_outputs"] if options["extra_body"] else []),
        *(["logprobs"] if "logprobs" in options else []),
    ]


def _without(options: dict[str, Any], refused: str) -> dict[str, Any]:
    if refused == "structured_outputs":
        return {**options, "extra_body": {}}
    return {name: value for name, value in options.items() if "logprobs" not in name}


def _parse(reply: Any, question: Question) -> Answer:
    try:
        choice = reply.choices[0]
        text = choice.message.content
    except (AttributeError, IndexError, TypeError):
        return Answer(problem="no answer: the server's reply has no choices")
    said = str(text or "").strip().strip("'\"`.").strip()
    matching = [each for each in question.choices if each.casefold() == said.casefold()]
    if not matching:
        return Answer(problem=f"no answer: {said!r:.60} is none of the choices")
    return Answer(matching[0], _probabilities(choice, matching[0], question.choices))


def _probabilities(choice: Any, picked: str, choices: Sequence[str]) -> dict[str, float]:
    """Of the likeliest first tokens, what each choice has that they begin.

    Nothing if one begins several, or if the first token was not the beginning of what was picked, but a quote, say.
    """
    content = getattr(getattr(choice, "logprobs", None), "content", None)
    if not content or picked not in _begun_by(content[0].token, choices):
        return {}
    mass = dict.fromkeys(choices, 0.0)
    for likely in content[0].top_logprobs or []:
        begun = _begun_by(likely.token, choices)
        if len(begun) > 1:
            return {}
        for each in begun:
            mass[each] += math.exp(min(0.0, likely.logprob))
    total = sum(mass.values())
    return {each: value / total for each, value in mass.items()} if total > 0 else {}


def _begun_by(token: str | None, choices: Sequence[str]) -> list[str]:
    start = (token or "").strip().casefold()
    return [each for each in choices if start and each.casefold().startswith(start)]


def _audio_part(clip: Clip) -> dict[str, Any]:
    file = io.BytesIO()
    soundfile.write(file, clip.resampled(_SAMPLING_RATE), _SAMPLING_RATE, format="WAV", subtype="PCM_16")
    data = base64.b64encode(file.getvalue()).decode()
    return {"type": "input_audio", "input_audio": {"data": data, "format": "wav"}}


def _message(error: Any) -> str:
    return str(error).strip()[:300]


@functools.lru_cache(maxsize=4)
def _server(config: OpenAIJudge) -> _Server:
    """The server, with its connections, once a process."""
    return _Server(config)


class _Server:
    """A client, which waits longer before each new try, and how many clips in a row could not be answered about."""

    def __init__(self, config: OpenAIJudge) -> None:
        openai = import_extra("openai", "openai")
        key = os.environ.get("OPENAI_API_KEY") or "none"
        self.client = openai.OpenAI(
            base_url=config.base_url, api_key=key, timeout=config.timeout, max_retries=config.max_retries
        )
        self.failures = 0

    def fails_for_one(self) -> bool:
        """Whether it seems to be one clip's fault that the server has failed: it lives, and has answered lately."""
        self.failures += 1
        return self.failures < _MAX_FAILURES and self._lives()

    def _lives(self) -> bool:
        openai = import_extra("openai", "openai")
        try:
            self.client.with_options(max_retries=0, timeout=_PROBE_SECONDS).models.list()
        except openai.APIStatusError as error:
            return bool(error.status_code < 500)
        except openai.OpenAIError:
            return False
        return True


def _cache(config: OpenAIJudge) -> AnswerCache | None:
    if config.cache == "":
        return None
    return AnswerCache(Path(config.cache).expanduser() if config.cache else cache_folder("answers") / "answers.sqlite")
