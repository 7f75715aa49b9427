"""Whatever is sent, the answer is a problem in one form: no path, no stack, no secret."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import quote

import pytest

from instructrec.serving.store import StoreError

SECRET = "a very long administration key"
ROUTES = (
    ("POST", "/v1/recommendations"),
    ("POST", "/v2/rerank"),
    ("POST", "/v1/rerank"),
    ("POST", "/v1/events"),
    ("POST", "/v1/items"),
    ("GET", "/v1/items/x/similar"),
    ("GET", "/v1/users/x"),
    ("DELETE", "/v1/users/x"),
    ("GET", "/metrics"),
)
FOR_ADMINS = {"/v1/items", "/v1/users/x", "/metrics"}


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def check_problem(answer, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    told = answer.json()
    assert told["status"] == status
    assert told["request_id"] == answer.headers["x-request-id"]
    assert not re.search(r"/src/|site-packages|Traceback|\.py|sqlite:|/tmp", answer.text)
    return told


@pytest.fixture
def guarded(serve):
    return serve(keys=True, admin_key=SECRET)


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_every_route_asks_for_a_key_where_keys_are_required(guarded, method, path):
    events = guarded.app.state.service.store.add_key("shop", "events")
    old = guarded.app.state.service.store.add_key("past", "admin", 1)
    for headers in ({}, bearer("nonsense"), bearer(events + "x"), bearer(old), bearer("é")):
        raw = {name: value.encode() for name, value in headers.items()}
        answer = guarded.request(method, path, headers=raw)
        check_problem(answer, 401)
        assert answer.headers["www-authenticate"] == "Bearer"
    refused = guarded.request(method, path, headers=bearer(events)).status_code == 403
    assert refused is (path in FOR_ADMINS)
    for headers in (bearer(SECRET), {"X-API-Key": SECRET}):
        assert guarded.request(method, path, headers=headers).status_code in (200, 404, 422)


def test_signs_of_life_need_no_key(guarded):
    for path in ("/healthz", "/readyz", "/docs", "/openapi.json"):
        assert guarded.get(path).status_code == 200


def test_without_keys_only_this_machine_is_answered(client):
    for host in ("evil.example", "10.0.0.1:80", "", "localhost.evil.example"):
        check_problem(client.get("/healthz", headers={"Host": host}), 421)
    for host in ("127.0.0.1", "localhost:8000", "[::1]:8000", "[::1]"):
        assert client.get("/healthz", headers={"Host": host}).status_code == 200


def test_what_is_wrong_is_named_and_what_was_sent_is_not_repeated(client):
    body = {"k": 0, "intention": "x" * 3000, "hush": "secret-value"}
    told = check_problem(client.post("/v1/recommendations", json=body), 422)
    assert {one["where"] for one in told["faults"]} == {"body.k", "body.intention", "body.hush"}
    assert "secret-value" not in json.dumps(told)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"k":' + b"9" * 5000 + b"}",
        b'{"user_id":"\\ud800"}',
    ],
)
def test_what_cannot_be_read_is_refused(client, body):
    answer = client.post(
        "/v1/recommendations", content=body, headers={"Content-Type": "application/json"}
    )
    assert answer.status_code in (400, 422)
    check_problem(answer, answer.status_code)


def test_a_body_that_is_too_large_is_refused_told_or_not(serve):
    client = serve(max_body=2000)
    large = json.dumps({"intention": "x" * 3000}).encode()
    check_problem(client.post("/v1/recommendations", content=large), 413)

    def streamed():
        for start in range(0, len(large), 500):
            yield large[start : start + 500]

    kind = {"Content-Type": "application/json"}
    check_problem(client.post("/v1/recommendations", content=streamed(), headers=kind), 413)


@pytest.mark.parametrize(
    "where",
    [
        "no condition",
        "nothing==1",
        "price==cheap",
        "price has x",
        "categories==x",
        "categories<=3",
        "title<=3",
        "title in 1|2",
        "in_stock==maybe",
        "in_stock<=x",
        "price in a|b",
        "added_at==99999999999999999999999",
        "price<=nan",
    ],
)
def test_a_condition_of_any_kind_is_answered_or_refused(client, where):
    answer = client.post("/v1/recommendations", json={"filters": {"where": [where]}})
    assert answer.status_code in (200, 422), answer.text


@pytest.mark.parametrize("name", ["a\0b", "\x1b[31m", ""])
def test_an_id_that_no_database_can_hold_is_refused(client, name):
    event = {"key": "1", "user_id": name, "item_id": "i", "event": "view"}
    check_problem(client.post("/v1/events", json={"events": [event]}), 422)


def test_strange_ids_come_back_as_they_were_sent(client):
    name = "Ünï/a?#'; DROP TABLE events;--"
    event = {"key": name, "user_id": name, "item_id": name, "event": "view"}
    assert client.post("/v1/events", json={"events": [event]}).json()["accepted"] == 1
    place = f"/v1/users/{quote(name, safe='')}"
    told = client.get(place)
    assert told.status_code == 200, (told.text, told.request.url)
    assert told.json()["store"]["events"][0]["item_id"] == name
    assert client.delete(place).json()["erased"]["events"] == 1
    assert client.get(place).status_code == 404


def test_requests_bear_the_name_their_client_gave_or_one_of_ours(client):
    named = client.get("/healthz", headers={"X-Request-Id": "order-17"})
    assert named.headers["x-request-id"] == "order-17"
    for bad in ("a b", "x" * 65, "<script>"):
        given = client.get("/healthz", headers={"X-Request-Id": bad}).headers["x-request-id"]
        assert re.fullmatch("[0-9a-f]{32}", given)


def test_a_failure_here_tells_nothing_of_where(client, monkeypatch):
    service = client.app.state.service

    def fail(*_: Any) -> None:
        raise RuntimeError("at /home/me/secret.py")

    monkeypatch.setattr(service, "known", fail)
    told = check_problem(client.post("/v1/recommendations", json={}), 500)
    assert "detail" not in told


def test_a_store_that_fails_is_503_and_its_address_stays_here(client, monkeypatch):
    service = client.app.state.service

    def fail(*_: Any) -> None:
        raise StoreError("the database postgresql://me@db/shop failed")

    monkeypatch.setattr(service.store, "ping", fail)
    answer = client.get("/readyz")
    check_problem(answer, 503)
    assert "postgresql" not in answer.text
    assert answer.headers["retry-after"]


def test_unknown_routes_and_methods_are_problems_too(client):
    check_problem(client.get("/nothing"), 404)
    check_problem(client.get("/v1/events"), 405)
