"""A language model behind an OpenAI-compatible API: concurrent, paced, and tried again."""

from __future__ import annotations

import asyncio
import os
import queue
import random
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from instructrec.errors import ModelError, UsageError
from instructrec.instructions.teachers._pace import Pace, back_off
from instructrec.instructions.teachers._replies import (
    Again,
    Refused,
    Reply,
    Stop,
    read_answer,
    read_error,
)
from instructrec.instructions.teachers.base import Answer, Prompt
from instructrec.instructions.teachers.budget import tokens_of

if TYPE_CHECKING:
    from openai import AsyncOpenAI

BASE_URL = "https://api.openai.com/v1"
KEY_VARIABLES = ("INSTRUCTREC_API_KEY", "OPENAI_API_KEY")
ATTEMPTS = 8
"""How often one request is sent before the run stops."""
REFUSALS = 5
"""So many requests refused and none answered: the request itself must be wrong."""
_HIDDEN = "[key]"


class OpenAICompletions:
    """Asks a model over HTTP; every prompt is answered, refused, or the run stops.

    Whatever may pass is tried again: statuses 408, 409, 425, 429 and 5xx, broken connections,
    time-outs, bodies that are empty, cut off or no JSON. A Retry-After is obeyed by all requests.
    A wrong key, address or model stops at once; what is in flight is waited for, so that nothing
    paid for is lost.

    Args:
        model: As the server calls it.
        base_url: Of the server; ``$OPENAI_BASE_URL``, else OpenAI's, when left out.
        concurrency: Requests in flight at once.
        requests_per_minute: Requests sent in a minute, those sent again among them.
        timeout: Seconds that one request may take.
        temperature: Left to the server when none.
        parameters: Further fields of the request's body, such as ``{"top_p": 0.9}``.
        attempts: How often one request is sent before the run stops.
        pace: In place of ``requests_per_minute``, for tests.
        sleep: Waits so many seconds.

    Raises:
        UsageError: The address is none.

    Source: the API reference of OpenAI's chat completions, as far as vLLM, llama.cpp, Ollama and
    OpenRouter share it.
    """

    def __init__(
        self,
        model: str,
        base_url: str | None = None,
        *,
        concurrency: int = 8,
        requests_per_minute: float | None = None,
        timeout: float = 120.0,
        temperature: float | None = None,
        parameters: Mapping[str, Any] | None = None,
        attempts: int = ATTEMPTS,
        pace: Pace | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.name = f"openai:{model}"
        self.model = model
        self.base_url = base_url or os.environ.get("OPENAI_BASE_URL") or BASE_URL
        self.local = is_local(self.base_url)
        warmth = {} if temperature is None else {"temperature": temperature}
        self.parameters: Mapping[str, Any] = {**(parameters or {}), **warmth}
        self.concurrency, self.timeout, self.attempts = concurrency, timeout, attempts
        self.retried: Counter[str] = Counter()
        self._pace, self._sleep = pace or Pace(requests_per_minute), sleep
        self._rng = random.Random()
        self._key = _key()
        self._json = True
        host = urlsplit(self.base_url).hostname or ""
        self._limit = "max_completion_tokens" if host.endswith("openai.com") else "max_tokens"
        self._answered = self._refused = 0

    def complete(self, prompts: Sequence[Prompt]) -> Iterator[tuple[int, Answer]]:
        """Each prompt's number with its answer, as they come in.

        A prompt that the server refuses (status 400, say) gets an answer with ``error``.

        Raises:
            ModelError: The server cannot be used; whatever it answered was handed out before.
            UsageError: See `check`.
        """
        for batch in self.complete_in_batches(prompts):
            yield from batch

    def complete_in_batches(self, prompts: Sequence[Prompt]) -> Iterator[list[tuple[int, Answer]]]:
        """As `complete`, with all that came in since the last time at once."""
        self.check()
        arrivals: queue.SimpleQueue[Any] = queue.SimpleQueue()
        batch = _Batch(self, prompts, arrivals)
        thread = threading.Thread(target=batch.run, daemon=True)
        thread.start()
        try:
            last = False
            while not last:
                came = [arrivals.get()]
                while not arrivals.empty():
                    came.append(arrivals.get())
                end = came.pop() if not isinstance(came[-1], tuple) else ()
                if came:
                    yield came
                if isinstance(end, BaseException):
                    raise end
                last = end is None
        finally:
            batch.cancel()
            thread.join()

    def check(self) -> None:
        """See that a key is there, where one is needed.

        Raises:
            UsageError: None is set, and the server is not on this machine.
        """
        if not self._key and not self.local:
            raise UsageError(
                f"no key for {urlsplit(self.base_url).hostname} is set",
                f"Set the environment variable {' or '.join(KEY_VARIABLES)}",
            )

    def _client(self) -> AsyncOpenAI:
        from openai import AsyncOpenAI, DefaultAsyncHttpxClient

        return AsyncOpenAI(
            api_key=self._key or "none",
            base_url=self.base_url,
            timeout=self.timeout,
            max_retries=0,
            # A proxy of the environment cannot reach a server on this machine.
            http_client=DefaultAsyncHttpxClient(trust_env=not self.local),
        )

    def hide(self, text: str) -> str:
        """A text without the key, whoever put it there."""
        return text.replace(self._key, _HIDDEN) if self._key else text

    def _where(self) -> str:
        parts = urlsplit(self.base_url)
        port = f":{parts.port}" if parts.port else ""
        return self.hide(f"{parts.scheme}://{parts.hostname}{port}{parts.path}")

    async def _send(self, client: AsyncOpenAI, prompt: Prompt, as_json: bool) -> Reply:
        """One request, once."""
        import openai

        body: dict[str, Any] = {**self.parameters, self._limit: prompt.max_tokens}
        if as_json:
            body["response_format"] = {"type": "json_object"}
        messages: Any = [{"role": turn.role, "content": turn.content} for turn in prompt.messages]
        try:
            async with asyncio.timeout(self.timeout):
                raw = await client.chat.completions.with_raw_response.create(
                    model=self.model, messages=messages, extra_body=body
                )
                text = raw.http_response.text
        except (TimeoutError, openai.APITimeoutError):
            return Again(f"no answer within {self.timeout:g} s")
        except openai.APIStatusError as error:
            told = self.hide(_body_of(error.response))
            headers = {name.lower(): value for name, value in error.response.headers.items()}
            return read_error(error.status_code, headers, told, self._answered > 0)
        except openai.APIConnectionError as error:
            cause = error.__cause__ or error
            why = " ".join(self.hide(str(cause)).split()) or type(cause).__name__
            return Again(f"a broken connection ({why})")
        except UnicodeDecodeError:
            return Again("a body that is not text")
        return _counted(read_answer(self.hide(text)), prompt)

    async def ask(
        self, client: AsyncOpenAI, prompt: Prompt, stopped: asyncio.Event
    ) -> Answer | Stop | None:
        """Send one prompt until it is answered or refused; none where another request stopped."""
        as_json = self._json
        attempt = 0
        while True:
            await _first(self._pace.turn(), stopped)
            if stopped.is_set():
                return None
            limit = self._limit
            reply = await self._send(client, prompt, as_json and self._json)
            if isinstance(reply, Refused):
                if self._other_limit(limit, reply.why):
                    continue
                if as_json and self._json:
                    as_json = False  # Perhaps this server knows no response_format.
                    continue
                return self._refuse(reply)
            if isinstance(reply, Answer):
                self._answered += 1
                self._json = self._json and as_json
                return reply
            if isinstance(reply, Stop):
                return Stop(f"{self._where()} answers {reply.what}", reply.cure)
            attempt += 1
            self.retried[reply.why.partition(" (")[0]] += 1
            if attempt >= self.attempts:
                return Stop(
                    f"{self._where()} has not answered a request after {attempt} tries: "
                    f"{reply.why}",
                    "See whether the server is up, then run the same command again to go on",
                )
            await self._wait(reply, attempt - 1, stopped)

    async def _wait(self, reply: Again, attempt: int, stopped: asyncio.Event) -> None:
        pause = back_off(attempt, self._rng)
        if reply.after is not None:
            self._pace.hold(reply.after)
            pause = min(pause, 1.0)  # So that not all come back at the same instant.
        await _first(self._sleep(pause), stopped)

    def _other_limit(self, tried: str, why: str) -> bool:
        """Whether the server wants the limit of tokens under its other name."""
        other = "max_tokens" if tried == "max_completion_tokens" else "max_completion_tokens"
        if tried not in why:
            return False
        changed = self._limit == tried and not self._answered
        if changed:
            self._limit = other
        return changed or self._limit != tried

    def _refuse(self, reply: Refused) -> Answer | Stop:
        self._refused += 1
        if not self._answered and self._refused >= REFUSALS:
            return Stop(
                f"{self._where()} refused the first {self._refused} requests: {reply.why}",
                "Check the model's name and the parameters",
            )
        return Answer("", error=f"refused: {reply.why}")


class _Batch:
    """Prompts on their way, in an event loop of their own thread."""

    def __init__(
        self,
        completions: OpenAICompletions,
        prompts: Sequence[Prompt],
        arrivals: queue.SimpleQueue[Any],
    ) -> None:
        self._completions, self._prompts, self._arrivals = completions, prompts, arrivals
        self._waiting = iter(range(len(prompts)))
        self._loop: asyncio.AbstractEventLoop | None = None
        self._main: asyncio.Task[None] | None = None
        self._lock = threading.Lock()
        self._cancelled = False

    def run(self) -> None:
        """Answer all prompts; ends with None or an exception among the arrivals."""
        try:
            asyncio.run(self._all())
        except asyncio.CancelledError:
            self._arrivals.put(None)
        except BaseException as error:  # The caller's thread raises it.
            self._arrivals.put(error)
        else:
            self._arrivals.put(None)

    def cancel(self) -> None:
        """Give up whatever is still on its way."""
        with self._lock:
            self._cancelled = True
            if self._loop is not None and self._main is not None and not self._loop.is_closed():
                self._loop.call_soon_threadsafe(self._main.cancel)

    async def _all(self) -> None:
        with self._lock:
            if self._cancelled:
                return
            self._loop, self._main = asyncio.get_running_loop(), asyncio.current_task()
        stopped = asyncio.Event()
        client = self._completions._client()
        workers = min(self._completions.concurrency, len(self._prompts))
        async with client:
            ends = await asyncio.gather(*(self._work(client, stopped) for _ in range(workers)))
        with self._lock:
            self._loop = None
        if end := next((end for end in ends if end is not None), None):
            raise ModelError(end.what, end.cure)

    async def _work(self, client: AsyncOpenAI, stopped: asyncio.Event) -> Stop | None:
        for number in self._waiting:
            reply = await self._completions.ask(client, self._prompts[number], stopped)
            if isinstance(reply, Stop):
                stopped.set()
                return reply
            if reply is None:
                return None
            self._arrivals.put((number, reply))
        return None


async def _first(wait: Awaitable[None], stopped: asyncio.Event) -> None:
    """Wait, but not longer than until somebody stops."""
    tasks = {asyncio.ensure_future(wait), asyncio.ensure_future(stopped.wait())}
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()


def is_local(base_url: str) -> bool:
    """Whether a server is on this machine, so that it needs no key and costs nothing.

    Raises:
        UsageError: It is no HTTP address.
    """
    try:
        parts = urlsplit(base_url)
        host = parts.hostname
        _ = parts.port
    except ValueError:
        host = None
    if not host or parts.scheme not in {"http", "https"}:
        raise UsageError(
            f"--base-url {base_url!r} is no address", "Write one as http://127.0.0.1:8000/v1"
        )
    if parts.username or parts.password:
        raise UsageError(
            f"--base-url for {host} has a name or password in it",
            "Leave it out: keys come from OPENAI_API_KEY or INSTRUCTREC_API_KEY",
        )
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _key() -> str:
    """The key of the environment, ``""`` where none is set.

    Raises:
        UsageError: What is set cannot be one.
    """
    for variable in KEY_VARIABLES:
        if key := os.environ.get(variable, "").strip():
            if not (key.isascii() and key.isprintable()):
                raise UsageError(f"{variable} holds letters that no key has", "Set the key alone")
            return key
    return ""


def _counted(reply: Reply, prompt: Prompt) -> Reply:
    """An answer with its tokens estimated where the server does not tell them."""
    if not isinstance(reply, Answer) or reply.prompt_tokens or reply.completion_tokens:
        return reply
    asked = sum(tokens_of(turn.content) for turn in prompt.messages)
    return replace(reply, prompt_tokens=asked, completion_tokens=tokens_of(reply.text))


def _body_of(response: Any) -> str:
    try:
        return str(response.text)
    except Exception:  # An error's body is worth no error of its own.
        return ""
