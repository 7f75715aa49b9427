"""A run's retrievers are fitted into one folder and loaded from it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from retrieval_worlds import SHOP, WordEncoder, a_catalogue, every_row, some_sequences, wishing

from instructrec.errors import FolderError, UsageError
from instructrec.folders import new_folder
from instructrec.retrieval import KIND, NAMES, encoder, fit_retrievers, load_retrievers
from instructrec.retrieval._kinds import CannotFitError, Material
from instructrec.retrieval._top import top_rows
from instructrec.retrieval.settings import SequentialConfig

SMALL = SequentialConfig(dimensions=8, steps=3)


class Notes:
    def __init__(self) -> None:
        self.notes: list[str] = []

    def track(self, items, title, total=None):
        return items

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture
def with_encoder(monkeypatch: pytest.MonkeyPatch) -> WordEncoder:
    found = WordEncoder()
    monkeypatch.setattr(encoder, "find_encoder", lambda *_: found)
    return found


@pytest.fixture
def without_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoder, "find_encoder", lambda *_: None)


def fitted(folder: Path, progress=None, reuse=None, shop=SHOP, kinds=None) -> Path:
    catalogue = a_catalogue(shop)
    with new_folder(folder, KIND, command="test") as draft:
        material = Material(
            catalogue,
            some_sequences(catalogue),
            draft.path,
            sequential=SMALL,
            progress=progress or Notes(),
            reuse=reuse,
        )
        fit_retrievers(material, kinds)
    return folder


def test_every_retriever_has_a_sub_folder_and_is_loaded_by_name(with_encoder, tmp_path):
    folder = fitted(tmp_path / "retrievers")
    assert sorted(path.name for path in folder.iterdir() if path.is_dir()) == [
        "dense",
        "lexical",
        "neighbours",
        "popularity",
        "sequential",
    ]
    found = load_retrievers(folder, a_catalogue())
    # The tower learns from instructions, which there are none of.
    assert tuple(found) == NAMES[:-1]
    assert all(retriever.name == name for name, retriever in found.items())


def test_what_is_retrieved_is_what_scores_best(with_encoder, tmp_path):
    catalogue = a_catalogue()
    request = [wishing("a kart for the garden", history=["a1", "b2"])]
    for retriever in load_retrievers(fitted(tmp_path / "r"), catalogue).values():
        scores = retriever.score(request, every_row(1, catalogue))
        best = top_rows(scores, 7, catalogue)[0]
        found = retriever.retrieve(request, 7)[0]
        assert found[found >= 0].tolist() == best[: (found >= 0).sum()].tolist()


def test_the_same_fit_writes_the_same_bytes(with_encoder, tmp_path):
    one, two = fitted(tmp_path / "one"), fitted(tmp_path / "two")
    for path in one.rglob("*"):
        if path.is_file():
            assert path.read_bytes() == (two / path.relative_to(one)).read_bytes()


def test_item_vectors_of_another_folder_are_taken_over(with_encoder, tmp_path):
    first = fitted(tmp_path / "retrievers")
    with_encoder.read.clear()
    second = fitted(tmp_path / "retrievers-serving", reuse=first)
    assert with_encoder.read == []
    name = "dense/vectors.safetensors"
    assert (first / name).read_bytes() == (second / name).read_bytes()


def test_without_minilm_there_is_a_note_and_no_dense_match(without_encoder, tmp_path):
    notes = Notes()
    folder = fitted(tmp_path / "retrievers", notes)
    assert any("models pull minilm" in note for note in notes.notes)
    found = load_retrievers(folder, a_catalogue())
    assert tuple(found) == ("popularity", "neighbours", "lexical", "shared", "sequential")
    assert not {"dense", "similar"} & set(found)


def test_where_minilm_has_gone_likeness_stays_and_dense_match_goes(
    with_encoder, tmp_path, monkeypatch
):
    folder = fitted(tmp_path / "retrievers")
    monkeypatch.setattr(encoder, "find_encoder", lambda *_: None)
    notes = Notes()
    found = load_retrievers(folder, a_catalogue(), progress=notes)
    assert "dense" not in found
    assert np.any(found["similar"].score([wishing("", history=["a1"])], np.array([[1, 2]])))
    assert any("models pull minilm" in note for note in notes.notes)


def test_titles_in_another_script_are_matched_by_lexical_alone(with_encoder, tmp_path):
    shop = {"a1": ("红色连衣裙", ["服装"], 1.0), "a2": ("茶壶", ["家居"], 1.0)}
    shop |= {item: (f"茶{n}", ["家居"], 1.0) for n, item in enumerate(["a3", "b1", "b2", "b3"])}
    notes = Notes()
    folder = fitted(tmp_path / "retrievers", notes, shop=shop)
    assert any("Latin" in note for note in notes.notes)
    found = load_retrievers(folder, a_catalogue(shop))
    assert "dense" not in found
    assert found["lexical"].retrieve([wishing("连衣裙")], 1).tolist() == [[0]]


def test_a_folder_of_another_kind_is_refused(tmp_path):
    with new_folder(tmp_path / "corpus", "corpus", command="test") as draft:
        (draft.path / "x").write_text("x")
    with pytest.raises(FolderError, match="not a retrievers"):
        load_retrievers(tmp_path / "corpus", a_catalogue())


def test_only_the_kinds_that_were_asked_for_are_fitted(with_encoder, tmp_path):
    folder = fitted(tmp_path / "r", kinds=("sequential", "popularity"))
    assert tuple(load_retrievers(folder, a_catalogue())) == ("popularity", "sequential")


def test_a_kind_that_was_asked_for_and_cannot_be_made_is_an_error(without_encoder, tmp_path):
    with pytest.raises(CannotFitError, match="models pull minilm"):
        fitted(tmp_path / "r", kinds=("dense",))
    with pytest.raises(UsageError, match="'densest' is no kind of retriever"):
        fitted(tmp_path / "r", kinds=("densest",))
    assert not (tmp_path / "r").exists()


def test_without_minilm_the_sequential_model_learns_from_ids_alone(without_encoder, tmp_path):
    notes = Notes()
    found = load_retrievers(fitted(tmp_path / "r", notes), a_catalogue())
    assert any("item ids alone" in note for note in notes.notes)
    assert np.any(found["sequential"].score([wishing("", history=["a1"])], np.array([[1, 2]])))
