"""Dense match compares vectors: what is said with items, and a history with items."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from retrieval_worlds import SHOP, WordEncoder, a_catalogue, every_row, wishing

from instructrec.errors import FolderError
from instructrec.instructions.schema import Context
from instructrec.protocols import Condition, Filters, Retriever
from instructrec.retrieval.dense import DECAY, RECENT, Dense, ItemVectors, Similar, said_in
from instructrec.retrieval.encoder import SentenceEncoder, find_encoder


@pytest.fixture
def dense() -> Dense:
    catalogue, encoder = a_catalogue(), WordEncoder()
    return Dense(catalogue, ItemVectors.fit(catalogue, encoder), encoder)


@pytest.fixture
def similar(dense: Dense) -> Similar:
    return Similar(dense.catalogue, dense.items)


def test_the_score_is_the_cosine_of_what_is_said_and_the_item(dense):
    scores = dense.score([wishing("rose shears")], every_row(1, dense.catalogue))
    asked = WordEncoder().encode(["rose shears"])[0]
    items = WordEncoder().encode(dense.catalogue.texts)
    assert scores[0] == pytest.approx(items @ asked, abs=1e-6)
    assert dense.retrieve([wishing("rose shears")], 1)[0, 0] == dense.catalogue.index["b2"]


def test_the_intention_is_read_before_the_stated_preference():
    assert said_in(wishing("a kart", likes="gardens")) == "a kart"
    assert said_in(wishing("", likes="gardens")) == "gardens"
    told = replace(wishing("a kart"), context=Context(place="home"))
    assert said_in(told) == "a kart (home)"


def test_who_says_nothing_or_not_in_latin_script_gets_equal_scores_and_no_items(dense):
    requests = [wishing(""), wishing("红色连衣裙"), wishing("", history=["a1"])]
    assert not dense.score(requests, every_row(3, dense.catalogue)).any()
    assert (dense.retrieve(requests, 2) == -1).all()


def test_a_history_points_where_its_latest_items_lie(similar):
    rows = similar.catalogue.rows(["b1", "a1", "a2"])
    sums = sum(DECAY**age * similar.vectors[row] for age, row in enumerate(rows[::-1]))
    expected = similar.vectors @ (sums / np.linalg.norm(sums))
    request = [wishing("a wish is not looked at", history=["b1", "a1", "a2"])]
    scores = similar.score(request, every_row(1, similar.catalogue))
    assert scores[0] == pytest.approx(expected, abs=1e-6)


def test_only_the_latest_items_and_known_ones_count(similar):
    long = ["b1"] * 3 + ["a1", "a2"] * (RECENT // 2)
    known = [wishing("", history=long), wishing("", history=["gone", *long[3:]])]
    scores = similar.score(known, every_row(2, similar.catalogue))
    assert np.allclose(scores[0], scores[1], atol=1e-6)
    nobody = [wishing("a kart"), wishing("", history=["gone"])]
    assert not similar.score(nobody, every_row(2, similar.catalogue)).any()
    assert (similar.retrieve(nobody, 2) == -1).all()


def test_a_few_candidates_of_a_large_catalogue_score_as_among_all():
    shop = dict(SHOP) | {f"z{n:03d}": (f"Thing {n}", ["Racing"], 1.0) for n in range(100)}
    catalogue, encoder = a_catalogue(shop), WordEncoder()
    dense = Dense(catalogue, ItemVectors.fit(catalogue, encoder), encoder)
    requests = [wishing("racing thing"), wishing("rose")]
    everything = dense.score(requests, every_row(2, catalogue))
    few = dense.score(requests, np.array([[3, 90, -1], [0, -1, 4]]))
    assert few[0] == pytest.approx([everything[0, 3], everything[0, 90], -np.inf], abs=1e-6)
    assert few[1] == pytest.approx([everything[1, 0], -np.inf, everything[1, 4]], abs=1e-6)


def test_filters_hold_before_the_list_is_cut(dense, similar):
    cheap = Filters((Condition("price", "<", 20.0),))
    for retriever in (dense, similar):
        request = [wishing("turbo kart", history=["a1"])]
        found = retriever.retrieve(request, 4, [cheap])[0]
        assert sorted(found[found >= 0]) == [3, 4, 5]
        assert isinstance(retriever, Retriever)


def test_more_requests_than_one_chunk_keep_their_order(dense):
    requests = [wishing(["turbo kart", "clay pot", "rose shears"][n % 3]) for n in range(600)]
    found = dense.retrieve(requests, 1)[:, 0]
    assert found.tolist() == [[0, 5, 4][n % 3] for n in range(600)]


def test_what_was_read_before_is_not_read_again(dense):
    before = len(dense.encoder.read)
    for _ in range(2):
        dense.score([wishing("a kart"), wishing("a kart")], every_row(2, dense.catalogue))
    assert dense.encoder.read[before:] == ["a kart"]


def test_vectors_are_saved_and_only_new_or_changed_texts_are_read_again(tmp_path):
    catalogue, encoder = a_catalogue(), WordEncoder()
    items = ItemVectors.fit(catalogue, encoder)
    items.save(tmp_path, catalogue)
    encoder.read.clear()
    assert np.array_equal(ItemVectors.load(tmp_path, catalogue, encoder).vectors, items.vectors)
    assert encoder.read == []
    shop = dict(SHOP) | {"a0": ("New Lamp", ["Light"], 1.0), "b1": ("Long Hose", ["Garden"], 2.0)}
    changed = a_catalogue(shop)
    moved = ItemVectors.load(tmp_path, changed, encoder).vectors
    assert encoder.read == [changed.texts[0], changed.texts[4]]
    assert np.array_equal(moved[1], items.vectors[0])


def test_without_an_encoder_unknown_items_have_no_vector(tmp_path):
    catalogue = a_catalogue()
    items = ItemVectors.fit(catalogue, WordEncoder())
    items.save(tmp_path, catalogue)
    shop = dict(SHOP) | {"a0": ("New Lamp", ["Light"], 1.0)}
    loaded = ItemVectors.load(tmp_path, a_catalogue(shop))
    assert not loaded.vectors[0].any()
    assert np.array_equal(loaded.vectors[1:], items.vectors)


def test_vectors_of_another_encoder_are_made_anew(tmp_path):
    catalogue, other = a_catalogue(), WordEncoder("two")
    ItemVectors.fit(catalogue, WordEncoder("one")).save(tmp_path, catalogue)
    loaded = ItemVectors.load(tmp_path, catalogue, other)
    assert len(other.read) == len(catalogue)
    assert np.array_equal(loaded.vectors, ItemVectors.fit(catalogue, other).vectors)


def test_a_missing_file_is_one_clear_error(tmp_path):
    with pytest.raises(FolderError, match="is missing"):
        ItemVectors.load(tmp_path, a_catalogue())


@pytest.fixture(scope="module")
def minilm() -> SentenceEncoder:
    encoder = find_encoder()
    if encoder is None:
        pytest.skip("needs minilm: instructrec models pull minilm")
    assert isinstance(encoder, SentenceEncoder)
    return encoder


def test_minilm_gives_what_plain_transformers_give(minilm):
    import torch
    from transformers import AutoModel, AutoTokenizer

    texts = ["Turbo Kart", "a gift for my son who likes racing", "", "Clay pot. " * 200]
    tokenizer = AutoTokenizer.from_pretrained(minilm.folder)
    model = AutoModel.from_pretrained(minilm.folder).eval()
    vectors = []
    for text in texts:
        given = tokenizer(text, return_tensors="pt", truncation=True, max_length=256)
        with torch.no_grad():
            mean = model(**given).last_hidden_state.mean(dim=1)
        vectors.append(torch.nn.functional.normalize(mean)[0].numpy())
    assert minilm.encode(texts) == pytest.approx(np.array(vectors), abs=1e-5)


def test_minilm_lets_a_strangers_words_meet_the_catalogue(minilm):
    catalogue = a_catalogue()
    dense = Dense(catalogue, ItemVectors.fit(catalogue, minilm), minilm)
    best = dense.retrieve([wishing("something for a petrol-head kid")], 2)[0]
    assert {catalogue.item_ids[row] for row in best} == {"a1", "a2"}
    assert dense.vectors.dtype == np.float32
    assert np.linalg.norm(dense.vectors, axis=1) == pytest.approx(1, abs=1e-5)
