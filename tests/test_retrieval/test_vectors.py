"""Item vectors on disk: mapped where they are large, indexed where they are many."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from retrieval_worlds import WordEncoder

from instructrec.data.catalogue import Catalogue
from instructrec.errors import FolderError
from instructrec.folders import read_json
from instructrec.retrieval import ann, search, vectors
from instructrec.retrieval.search import VectorSearch
from instructrec.retrieval.vectors import ABOUT, INDEX, VECTORS, ItemVectors

needs_faiss = pytest.mark.skipif(
    not ann.is_available(), reason="needs faiss: pip install 'instructrec[ann]'"
)


def a_catalogue(numbers: range) -> Catalogue:
    ids = [f"i{number:04}" for number in numbers]
    titles = [f"thing {number} of kind {number % 7}" for number in numbers]
    return Catalogue(pl.DataFrame({"item_id": ids, "title": titles}))


class Notes:
    def __init__(self) -> None:
        self.notes: list[str] = []

    def track(self, items, title, total=None):
        return items

    def note(self, text: str) -> None:
        self.notes.append(text)


def always(monkeypatch: pytest.MonkeyPatch, *, mapped: bool) -> None:
    """As if there were an index, or none."""
    usual = vectors._open
    monkeypatch.setattr(vectors, "_open", lambda path, **_: usual(path, mapped=mapped))


def test_a_large_file_is_mapped_and_gives_the_same_vectors(tmp_path, monkeypatch):
    catalogue, encoder = a_catalogue(range(40)), WordEncoder()
    items = ItemVectors.fit(catalogue, encoder)
    items.save(tmp_path, catalogue)
    monkeypatch.setattr(vectors, "_MAPPED_FROM", 0)
    always(monkeypatch, mapped=True)
    mapped = ItemVectors.load(tmp_path, catalogue, encoder)
    assert isinstance(mapped.vectors, np.memmap)
    assert np.array_equal(mapped.vectors, items.vectors)
    # Saving over the very file that is mapped loses nothing.
    mapped.save(tmp_path, catalogue)
    assert np.array_equal(ItemVectors.load(tmp_path, catalogue).vectors, items.vectors)
    changed = a_catalogue(range(20, 60))
    assert np.array_equal(
        ItemVectors.load(tmp_path, changed, encoder).vectors,
        ItemVectors.fit(changed, encoder).vectors,
    )


@pytest.mark.parametrize("mapped", [True, False])
def test_a_damaged_file_is_one_clear_error(tmp_path, monkeypatch, mapped):
    catalogue = a_catalogue(range(40))
    ItemVectors.fit(catalogue, WordEncoder()).save(tmp_path, catalogue)
    monkeypatch.setattr(vectors, "_MAPPED_FROM", 0)
    always(monkeypatch, mapped=mapped)
    (tmp_path / VECTORS).write_bytes((tmp_path / VECTORS).read_bytes()[:300])
    with pytest.raises(FolderError, match="is damaged"):
        ItemVectors.load(tmp_path, catalogue)


@needs_faiss
def test_many_items_get_an_index_that_follows_the_catalogue(tmp_path, monkeypatch):
    catalogue, encoder = a_catalogue(range(900)), WordEncoder()
    ItemVectors.fit(catalogue, encoder).save(tmp_path, catalogue, ann_from=100)
    assert read_json(tmp_path / ABOUT)["index"]["lists"] == 60
    monkeypatch.setattr(search, "_EXACT", 0)
    monkeypatch.setattr(ann, "PROBES", 60)
    # 300 items have gone, 100 are new; one has another title by now.
    changed = a_catalogue(range(300, 1000))
    changed = Catalogue(
        changed.items.with_columns(
            title=pl.when(pl.col("item_id") == "i0500").then(pl.lit("other")).otherwise("title")
        )
    )
    loaded = ItemVectors.load(tmp_path, changed, encoder)
    assert loaded.index is not None and len(loaded.index.fresh) == 101
    wanted = encoder.encode(["other", "thing 950", "thing 400 of kind 1"])
    found = VectorSearch(changed, loaded.vectors, loaded.index).top(wanted, 20)
    exact = VectorSearch(changed, loaded.vectors).top(wanted, 20)
    assert found[:, 0].tolist() == changed.rows(["i0500", "i0950", "i0400"]).tolist()
    assert np.mean([len(np.intersect1d(a, b)) for a, b in zip(found, exact, strict=True)]) > 15
    (tmp_path / INDEX).unlink()
    with pytest.raises(FolderError, match="is missing"):
        ItemVectors.load(tmp_path, changed, encoder)


def test_without_faiss_a_note_says_that_every_item_is_compared(tmp_path, monkeypatch):
    monkeypatch.setattr(ann, "is_available", lambda: False)
    catalogue, notes = a_catalogue(range(40)), Notes()
    items = ItemVectors.fit(catalogue, WordEncoder())
    items.save(tmp_path, catalogue, ann_from=10, progress=notes)
    assert any("instructrec[ann]" in note for note in notes.notes)
    assert not (tmp_path / INDEX).exists()
    assert ItemVectors.load(tmp_path, catalogue).index is None
