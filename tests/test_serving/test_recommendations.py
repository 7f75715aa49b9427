"""Recommendations over HTTP: the same answers as in Python, for what people did a moment ago."""

from __future__ import annotations

import pytest


def ask(client, **body):
    answer = client.post("/v1/recommendations", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def ids(answer) -> list[str]:
    return [item["item_id"] for item in answer["items"]]


def send(client, *events):
    answer = client.post("/v1/events", json={"events": list(events)})
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.fixture
def user(recommender) -> str:
    return recommender.dataset.sequences.user_ids[0]


def test_a_user_gets_over_http_what_they_get_in_python(client, recommender, user):
    answer = ask(client, user_id=user, k=5)
    alone = recommender.recommend(user=user, k=5).to_dict()
    assert answer["items"] == alone["items"]
    assert answer["instruction"] == alone["instruction"]
    assert answer["degraded"] is False
    assert len(answer["model_version"]) == 12
    assert set(answer["timings"]) == {"wait", "understand", "retrieve", "rank"}


def test_everything_that_can_be_said_counts(client, recommender):
    title = recommender.catalogue.titles[3]
    answer = ask(
        client,
        history=[title],
        preference="things that last",
        intention="a gift",
        context={"occasion": "birthday"},
        filters={"price_min": 1, "price_max": 50, "where": ["price<=40"]},
        k=3,
    )
    assert answer["scenario"] == "P1+P2,I2,T3"
    assert answer["filters"] == ["price >= 1.0", "price <= 50.0", "price <= 40"]
    assert all(item["facts"]["price"] <= 40 for item in answer["items"])
    assert title in answer["instruction"]


def test_the_other_task_forms_answer_too(client, recommender, user):
    first, second = recommender.catalogue.titles[:2]
    judged = ask(client, user_id=user, task="T0", candidates=[first])
    assert judged["answer"] in ("yes", "no")
    compared = ask(client, user_id=user, task="T1", candidates=[first, second])
    assert sum(item["probability"] for item in compared["items"]) == pytest.approx(1.0)
    assert ask(client, user_id=user, task="T2")["answer"] in recommender.catalogue.titles


def test_an_event_counts_for_the_very_next_request(client, recommender):
    first = ids(ask(client, user_id="new-here", k=1))[0]
    send(client, {"key": "1", "user_id": "new-here", "item_id": first, "event": "purchase"})
    answer = ask(client, user_id="new-here", k=5)
    assert answer["scenario"] == "P1,I0,T3"
    assert first not in ids(answer)
    title = recommender.catalogue.titles[recommender.catalogue.index[first]]
    assert title in answer["instruction"]


def test_what_is_disliked_is_not_recommended(client, user):
    first = ids(ask(client, user_id=user, k=1))[0]
    send(client, {"key": "1", "user_id": user, "item_id": first, "event": "dislike"})
    assert first not in ids(ask(client, user_id=user, k=100))


def test_an_excluded_item_and_one_out_of_stock_are_not_answered(client, user):
    first, second = ids(ask(client, user_id=user, k=2))
    stock = {"items": [{"item_id": second, "in_stock": False}]}
    assert client.post("/v1/items", json=stock).json()["changed"] == 1
    left = ask(client, user_id=user, k=100, filters={"exclude": [first], "in_stock": True})
    assert not {first, second} & set(ids(left))


def test_a_new_item_is_recommended_at_once_and_after_a_restart(serve):
    client = serve()
    comet = {"item_id": "N1", "title": "Zorblax Comet Racer", "price": 9.5, "in_stock": True}
    before = client.get("/readyz").json()["items"]
    answer = client.post("/v1/items", json={"items": [comet]})
    assert answer.json() == {"changed": 1, "items": before + 1}
    wanted = {"intention": "zorblax comet racer", "k": 3}
    assert "N1" in ids(ask(client, **wanted))
    again = serve()
    assert ids(ask(again, **wanted)) == ids(ask(client, **wanted))


def test_a_change_that_cannot_be_changes_nothing(client):
    before = client.get("/readyz").json()["items"]
    good, bad = {"item_id": "N1", "title": "Fine"}, {"item_id": "N2"}
    answer = client.post("/v1/items", json={"items": [good, bad]})
    assert answer.status_code == 422
    assert "no title" in answer.json()["detail"]
    assert client.get("/readyz").json()["items"] == before
    unknown = {"item_id": "N1", "title": "Fine", "shoe_size": 4}
    assert client.post("/v1/items", json={"items": [unknown]}).status_code == 422


def test_events_sent_twice_are_told_as_repeated(client):
    event = {"key": "o-1", "user_id": "u", "item_id": "i", "event": "view"}
    assert send(client, event) == {"accepted": 1, "repeated": 0, "refused": []}
    other = {**event, "key": "o-2"}
    assert send(client, event, other) == {"accepted": 1, "repeated": 1, "refused": []}


def test_a_user_is_exported_erased_and_stays_away(client, user):
    event = {"key": "1", "user_id": user, "item_id": "i", "event": "view"}
    send(client, event)
    told = client.get(f"/v1/users/{user}").json()
    assert told["store"]["events"][0]["item_id"] == "i"
    assert told["dataset"]
    erased = client.delete(f"/v1/users/{user}").json()["erased"]
    assert erased == {"events": 1, "sessions": 0, "users": 1}
    assert client.get(f"/v1/users/{user}").status_code == 404
    assert send(client, {**event, "key": "2"})["refused"] == ["2"]
    answer = ask(client, user_id=user, k=3)
    assert answer["notes"] == ["this user was erased: answered as a stranger"]
    assert answer["items"] == ask(client, k=3)["items"]
    assert answer["instruction"] == ""


def test_similar_items_are_told_without_the_item_itself(client, recommender):
    item = recommender.catalogue.item_ids[5]
    answer = client.get(f"/v1/items/{item}/similar", params={"k": 4}).json()
    assert len(answer["items"]) == 4
    assert item not in ids(answer)
    scores = [one["score"] for one in answer["items"]]
    assert scores == sorted(scores, reverse=True)
    assert client.get("/v1/items/nothing/similar").status_code == 404


def test_health_is_told_and_requests_are_counted(client):
    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.get("/readyz").json()["status"] == "ready"
    ask(client, intention="a gift")
    text = client.get("/metrics").text
    assert 'instructrec_requests_total{route="/v1/recommendations",status="200"} 1.0' in text
    assert "instructrec_batch_size_count 1.0" in text


def test_the_description_has_an_example_for_every_body(client):
    told = client.get("/openapi.json").json()
    bodies = ("RecommendationsIn", "CohereIn", "JinaIn", "EventsIn", "ItemsIn")
    for name in bodies:
        assert told["components"]["schemas"][name]["examples"]
    assert client.get("/docs").status_code == 200


def test_the_examples_of_the_description_work(client):
    schemas = client.get("/openapi.json").json()["components"]["schemas"]
    for path, name in (
        ("/v1/recommendations", "RecommendationsIn"),
        ("/v2/rerank", "CohereIn"),
        ("/v1/rerank", "JinaIn"),
        ("/v1/events", "EventsIn"),
        ("/v1/items", "ItemsIn"),
    ):
        answer = client.post(path, json=schemas[name]["examples"][0])
        assert answer.status_code == 200, answer.text
