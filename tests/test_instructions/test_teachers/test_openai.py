"""Asking over HTTP: what is tried again, what stops, and how fast it goes."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from faulty_server import FAULTS, FaultyServer, answer_to, digest_of

from instructrec.errors import ModelError, UsageError
from instructrec.instructions.teachers._pace import Pace
from instructrec.instructions.teachers.base import Message, Prompt
from instructrec.instructions.teachers.openai import OpenAICompletions, is_local

KEY = "sk-very-secret-0123456789"


async def at_once(seconds: float) -> None:
    await asyncio.sleep(0)


def model(server: FaultyServer, **settings: Any) -> OpenAICompletions:
    settings.setdefault("sleep", at_once)
    settings.setdefault("pace", Pace(sleep=at_once, clock=lambda: 0.0))
    return OpenAICompletions("fake", server.base_url, **settings)


def prompts(count: int) -> list[Prompt]:
    text = 'Write {} as JSON: {{"query": "..."}}'
    return [Prompt((Message("user", text.format(n)),), 64) for n in range(count)]


def answers(completions: OpenAICompletions, asked: list[Prompt]) -> list[str]:
    got = dict(completions.complete(asked))
    assert sorted(got) == list(range(len(asked)))
    assert not any(answer.error for answer in got.values())
    return [got[n].text for n in range(len(asked))]


def expected(asked: list[Prompt]) -> list[str]:
    return [answer_to([{"role": "user", "content": one.messages[0].content}]) for one in asked]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_that_may_pass_costs_no_answer(fault: str):
    asked = prompts(3)
    if "429" in fault:
        settings: dict[str, Any] = {"pace": None}
    else:
        settings = {}
    with FaultyServer(1.0, (fault,), hang=0.3) as server:
        completions = model(server, timeout=0.15 if fault == "hang" else 5, **settings)
        assert answers(completions, asked) == expected(asked)
    assert server.failed[fault] == 9
    assert set(server.answered.values()) == {1}
    assert completions.retried.total() == 9


def test_tokens_are_those_that_the_server_tells():
    with FaultyServer() as server:
        ((_, answer),) = model(server).complete(prompts(1))
    assert answer.prompt_tokens == len(prompts(1)[0].messages[0].content) // 4
    assert answer.completion_tokens == len(answer.text) // 4


def test_a_server_that_is_never_well_stops_the_run_and_keeps_what_it_answered():
    asked = prompts(6)
    got = []
    with FaultyServer(delay=0.01) as server:
        server.fault = lambda digest, attempt: "500" if digest == broken else ""  # type: ignore[method-assign]
        broken = digest_of([{"role": "user", "content": asked[3].messages[0].content}]).hex()
        with pytest.raises(ModelError, match=r"not answered a request after 4 tries: 500"):
            got += model(server, attempts=4, concurrency=2).complete(asked)
    assert {number for number, _ in got} >= {0, 1, 2}
    assert sum(server.answered.values()) == len(got)


def test_a_server_that_is_not_there_is_told_with_its_address():
    with FaultyServer() as server:
        pass
    with pytest.raises(ModelError, match=rf"{server.base_url} has not answered .* connection"):
        list(model(server, attempts=2).complete(prompts(1)))


@pytest.mark.parametrize(
    ("status", "cure"),
    [(401, "OPENAI_API_KEY"), (402, "Pay"), (403, "OPENAI_API_KEY"), (404, "--base-url")],
)
def test_a_wrong_key_or_address_is_told_at_the_first_answer(status: int, cure: str):
    with FaultyServer(refuse=(status, '{"error": {"message": "no, never"}}')) as server:
        with pytest.raises(ModelError, match=rf"{status} .*no, never\. .*{cure}"):
            list(model(server, concurrency=4).complete(prompts(500)))
        assert len(server.asked) <= 4


def test_a_used_up_account_is_not_asked_again():
    body = '{"error": {"message": "You exceeded your current quota", "code": "insufficient_quota"}}'
    with FaultyServer(refuse=(429, body)) as server:
        with pytest.raises(ModelError, match="exceeded your current quota"):
            list(model(server, concurrency=1).complete(prompts(5)))
        assert len(server.asked) == 1


def test_requests_that_are_all_refused_stop_the_run():
    with FaultyServer(refuse=(400, '{"error": {"message": "no such parameter"}}')) as server:
        with pytest.raises(ModelError, match=r"refused the first 5 requests: 400 .*no such param"):
            list(model(server, concurrency=1).complete(prompts(500)))
        assert len(server.asked) <= 12


def test_one_refused_request_is_told_and_the_others_are_answered():
    asked = prompts(4)
    with FaultyServer() as server:
        completions = model(server, concurrency=1)
        assert answers(completions, asked[:1]) == expected(asked[:1])
        server.refuse = (400, '{"error": {"message": "too long"}}')
        ((_, answer),) = completions.complete(asked[1:2])
        server.refuse = None
        assert answers(completions, asked[2:]) == expected(asked[2:])
    assert answer.text == ""
    assert "too long" in answer.error


def test_a_server_without_response_format_is_asked_without_it_ever_after():
    asked = prompts(6)
    with FaultyServer(unknown={"response_format": "what is that?"}) as server:
        completions = model(server, concurrency=1)
        assert answers(completions, asked) == expected(asked)
        assert len(server.asked) == 7
        assert "response_format" in server.bodies[0]
        assert not any("response_format" in body for body in server.bodies[1:])


def test_a_server_that_calls_the_limit_otherwise_is_asked_its_way():
    said = "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."
    asked = prompts(3)
    with FaultyServer(unknown={"max_tokens": said}) as server:
        assert answers(model(server, concurrency=1), asked) == expected(asked)
        assert len(server.asked) == 4
        assert server.bodies[-1]["max_completion_tokens"] == 64
        assert "response_format" in server.bodies[-1]


def test_no_more_requests_are_in_flight_than_allowed():
    with FaultyServer(delay=0.02) as server:
        answers(model(server, concurrency=3), prompts(12))
        assert server.most_at_once == 3


def test_further_parameters_are_sent_and_told():
    with FaultyServer() as server:
        completions = model(server, temperature=0.5, parameters={"top_p": 0.9})
        answers(completions, prompts(1))
        assert completions.parameters == {"top_p": 0.9, "temperature": 0.5}
        assert server.bodies[0]["top_p"] == 0.9
        assert server.bodies[0]["temperature"] == 0.5


def test_giving_up_in_the_middle_ends_what_is_in_flight():
    with FaultyServer(delay=0.05) as server:
        arriving = model(server, concurrency=2).complete(prompts(200))
        next(arriving)
        arriving.close()
        sent = len(server.asked)
        time.sleep(0.15)
        assert len(server.asked) == sent < 10


def test_the_key_is_sent_and_stands_in_no_message(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    body = '{"error": {"message": "Incorrect API key provided: {key}"}}'
    with FaultyServer(refuse=(401, body)) as server:
        with pytest.raises(ModelError) as caught:
            list(model(server).complete(prompts(1)))
        assert server.keys == {f"Bearer {KEY}"}
    assert KEY not in str(caught.value)
    assert "Bearer [key]" in str(caught.value)
    assert caught.value.__cause__ is None


def test_no_key_is_asked_for_on_this_machine_and_one_is_elsewhere(
    monkeypatch: pytest.MonkeyPatch,
):
    for variable in ("OPENAI_API_KEY", "INSTRUCTREC_API_KEY"):
        monkeypatch.delenv(variable, raising=False)
    OpenAICompletions("m", "http://127.0.0.1:1/v1").check()
    with pytest.raises(UsageError, match=r"no key for api.openai.com is set.*OPENAI_API_KEY"):
        OpenAICompletions("m", "https://api.openai.com/v1").check()


def test_what_can_be_no_key_is_refused_without_being_told(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-«secret»")
    with pytest.raises(UsageError) as caught:
        OpenAICompletions("m")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("wrong", ["localhost:8000", "ftp://x/v1", "", "http://", "http://h:x/"])
def test_what_is_no_address_is_refused(wrong: str):
    with pytest.raises(UsageError, match="is no address"):
        is_local(wrong)


def test_a_password_in_an_address_is_refused_without_being_told():
    with pytest.raises(UsageError) as caught:
        is_local("http://me:hunter2@host/v1")
    assert "hunter2" not in str(caught.value)
    assert is_local("http://[::1]:8000/v1")
    assert is_local("http://localhost/v1")
    assert not is_local("http://10.0.0.1/v1")
