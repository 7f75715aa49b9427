"""The public clients of other rerankers work against the server as they are."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import uvicorn

from .conftest import free_port

DOCUMENTS = ["A book about bread", "A lamp for the garden", "A lamp"]


@contextmanager
def listening(app) -> Iterator[str]:
    """The address of a real server in a thread."""
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join()


def test_cohere_results_come_best_first_and_no_more_than_asked_for(client):
    body = {"model": "x", "query": "garden lamp", "documents": DOCUMENTS, "top_n": 2}
    answer = client.post("/v2/rerank", json=body).json()
    assert [one["index"] for one in answer["results"]] == [1, 2]
    scores = [one["relevance_score"] for one in answer["results"]]
    assert 1 > scores[0] > scores[1] > 0
    assert answer["meta"]["degraded"] is False


def test_jina_results_bear_their_documents(client):
    body = {"model": "x", "query": "garden lamp", "documents": [{"text": t} for t in DOCUMENTS]}
    answer = client.post("/v1/rerank", json=body).json()
    assert answer["results"][0]["document"] == {"text": DOCUMENTS[1]}
    assert answer["model"] == "x"
    assert answer["usage"]["total_tokens"] > 0
    short = client.post("/v1/rerank", json={**body, "return_documents": False}).json()
    assert "document" not in short["results"][0]


def test_who_asks_changes_the_order(client, recommender):
    catalogue, sequences = recommender.catalogue, recommender.dataset.sequences
    neighbours = recommender.retrievers["neighbours"]
    rows = sequences[0]
    near = int(neighbours.matrix[rows].sum(axis=0).argmax())
    far = next(row for row in range(len(catalogue)) if not neighbours.matrix[rows][:, [row]].nnz)
    body = {"query": "anything", "documents": [catalogue.titles[far], catalogue.titles[near]]}
    alone = client.post("/v2/rerank", json=body).json()["results"]
    body["user_id"] = sequences.user_ids[0]
    known = client.post("/v2/rerank", json=body).json()["results"]
    score = {one["index"]: one["relevance_score"] for one in known}
    before = {one["index"]: one["relevance_score"] for one in alone}
    assert score[1] - score[0] > before[1] - before[0]


def test_equal_documents_stand_in_the_order_given(client):
    body = {"query": "lamp", "documents": ["a lamp", "a lamp", "bread"]}
    results = client.post("/v2/rerank", json=body).json()["results"]
    assert [one["index"] for one in results] == [0, 1, 2]


@pytest.mark.parametrize("documents", [[], ["x"] * 1001, [""], [" "], ["\u2603" * 20_000]])
def test_documents_of_any_length_are_answered_or_refused(client, documents):
    answer = client.post("/v2/rerank", json={"query": "x", "documents": documents})
    assert answer.status_code == (422 if len(documents) in (0, 1001) else 200), answer.text


def test_the_cohere_client_works_unchanged(client, recommender):
    cohere = pytest.importorskip("cohere", reason="needs the cohere client")
    with listening(client.app) as address:
        asking = cohere.ClientV2(api_key="none", base_url=address)
        found = asking.rerank(model="any", query="garden lamp", documents=DOCUMENTS, top_n=2)
        assert [one.index for one in found.results] == [1, 2]
        user = {"user_id": recommender.dataset.sequences.user_ids[0]}
        options = {"additional_body_parameters": user}
        known = asking.rerank(
            model="any", query="garden lamp", documents=DOCUMENTS, request_options=options
        )
        assert len(known.results) == 3
        assert known.results[0].relevance_score != found.results[0].relevance_score


def test_langchains_reranker_works_unchanged(client):
    cohere = pytest.importorskip("cohere", reason="needs the cohere client")
    theirs = pytest.importorskip("langchain_cohere", reason="needs langchain-cohere")
    documents = pytest.importorskip("langchain_core.documents")
    with listening(client.app) as address:
        asking = cohere.ClientV2(api_key="none", base_url=address)
        reranker = theirs.CohereRerank(client=asking, model="any", top_n=2)
        given = [documents.Document(page_content=text) for text in DOCUMENTS]
        found = reranker.compress_documents(given, "garden lamp")
    assert [one.page_content for one in found] == [DOCUMENTS[1], DOCUMENTS[2]]


@pytest.mark.parametrize("whose", ["cohere", "jina"])
def test_llamaindexs_rerankers_work_unchanged(client, whose):
    schema = pytest.importorskip("llama_index.core.schema", reason="needs llama-index")
    name = {"cohere": "cohere_rerank", "jina": "jinaai_rerank"}[whose]
    theirs = pytest.importorskip(f"llama_index.postprocessor.{name}")
    nodes = [
        schema.NodeWithScore(node=schema.TextNode(text=text, id_=str(place)), score=0.0)
        for place, text in enumerate(DOCUMENTS)
    ]
    with listening(client.app) as address:
        if whose == "cohere":
            reranker = theirs.CohereRerank(api_key="none", base_url=address, top_n=2)
        else:
            reranker = theirs.JinaRerank(api_key="none", base_url=f"{address}/v1", top_n=2)
        found = reranker.postprocess_nodes(nodes, query_str="garden lamp")
    assert [one.node.node_id for one in found] == ["1", "2"]
