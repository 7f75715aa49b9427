"""The two-tower learns which item words are said of, and is kept only where that helps."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from encoder_worlds import write_encoder

from instructrec.data.catalogue import Catalogue
from instructrec.data.dataset import Tables, write_tables
from instructrec.data.sequences import Sequences
from instructrec.data.splits import Targets
from instructrec.errors import DataError, FolderError
from instructrec.folders import new_folder, read_json
from instructrec.instructions.corpus import CORPUS_SCHEMA, Corpus, shard
from instructrec.instructions.schema import Instruction, Intention, IntentionKind
from instructrec.protocols import Condition, Filters
from instructrec.retrieval import KIND, fit_retrievers, load_retrievers
from instructrec.retrieval._kinds import Material
from instructrec.retrieval._tower_pairs import PairBatches, Pairs, gather_pairs
from instructrec.retrieval._tower_training import Updater
from instructrec.retrieval.dense import Dense
from instructrec.retrieval.encoder import SentenceEncoder, find_encoder
from instructrec.retrieval.settings import TowerConfig
from instructrec.retrieval.tower import ABOUT, copy_tower, fit_tower, load_tower
from instructrec.retrieval.vectors import ItemVectors
from instructrec.stages import RunConfig, made_up, stages_of
from instructrec.training import SavePoints

THINGS = ("kart", "farm", "hose", "rose", "shears", "pot", "games", "racing")
ASKED = ("my son", "who likes", "something", "quiet", "turbo", "clay", "garden", "farming")
"""What is said of each thing: nothing that its own text says."""
KINDS = ("a", "the", "to", "with")


def a_catalogue() -> Catalogue:
    rows = [
        {"item_id": f"i{t}{k}", "title": f"{kind} {thing}", "price": float(t)}
        for t, thing in enumerate(THINGS)
        for k, kind in enumerate(KINDS)
    ]
    return Catalogue(pl.DataFrame(rows).sort("item_id"))


def write_split(corpus: Path, name: str, frame: pl.DataFrame) -> None:
    path = shard(corpus, name, 0)
    path.parent.mkdir()
    frame.write_parquet(path)


def a_row(item: str, **values: Any) -> dict[str, Any]:
    empty = dict.fromkeys(CORPUS_SCHEMA, "")
    empty |= {"row": 0, "seed": 0, "history": [], "history_ids": [], "candidates": []}
    empty |= {"candidate_ids": [], "query_id": None, "user_id": "u1", "item_id": item}
    return empty | {"strategy": "direct", "asks": "item", "task": "T3"} | values


def a_corpus(folder: Path, *, truthful: bool = True, dataset: Path | None = None) -> Corpus:
    """Words of a thing are said of its items; in validation too, or of anything."""
    rng = np.random.default_rng(0)
    train, validation = [], []
    for t, asked in enumerate(ASKED):
        for k in range(len(KINDS)):
            for more in ("for", "to", "with", "a"):
                train.append(a_row(f"i{t}{k}", intention=f"{asked} {more}"))
            other = t if truthful else int(rng.integers(len(THINGS)))
            validation += [
                a_row(f"i{other}{k}", intention=f"{asked} {more} the", user_id=f"u{t}")
                for more in ("for", "with")
            ]
    inputs = {} if dataset is None else {"dataset": dataset}
    with new_folder(folder, "corpus", command="test", inputs=inputs) as draft:
        for name, rows in (("train", train), ("validation", validation)):
            frame = pl.DataFrame(rows, schema=CORPUS_SCHEMA)
            write_split(draft.path, name, frame)
        draft.facts["protocol"] = "leave-one-out"
    return Corpus(folder)


CONFIG = TowerConfig(
    steps=60,
    batch=16,
    learning_rate=1e-2,
    temperature=0.1,
    validations=2,
    validation_pairs=40,
)


class Notes:
    def __init__(self) -> None:
        self.notes: list[str] = []

    def track(self, items, title, total=None):
        return items

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> SentenceEncoder:
    folder = write_encoder(tmp_path_factory.mktemp("encoder") / "e", scale=2.0)
    return SentenceEncoder(folder, "tiny")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return a_corpus(tmp_path_factory.mktemp("corpus") / "corpus")


def fit(encoder: SentenceEncoder, corpus: Corpus, folder: Path, **more: Any) -> bool:
    catalogue = a_catalogue()
    config = more.pop("config", CONFIG)
    untuned = ItemVectors.fit(catalogue, encoder)
    state = folder.with_name(f"{folder.name}.state")
    return fit_tower(catalogue, corpus, untuned, encoder, folder, state, config=config, **more)


@pytest.fixture(scope="module")
def folder(encoder, corpus, tmp_path_factory) -> Path:
    found = tmp_path_factory.mktemp("towers") / "tower"
    assert fit(encoder, corpus, found)
    return found


def asking(text: str) -> Instruction:
    return Instruction(intention=Intention(text, IntentionKind.VAGUE))


def test_what_was_said_of_items_finds_them_after_tuning(encoder, folder):
    catalogue = a_catalogue()
    tower = load_tower(folder, catalogue)
    assert tower is not None
    retriever = tower.retriever(catalogue)
    assert retriever.name == "tower"
    untuned = Dense(catalogue, ItemVectors.fit(catalogue, encoder), encoder)
    requests = [asking(f"{asked} for") for asked in ASKED]
    things = np.arange(len(THINGS))[:, None]
    before, after = (
        (one.retrieve(requests, 4) // len(KINDS) == things).mean() for one in (untuned, retriever)
    )
    assert after > before + 0.3
    about = read_json(folder / ABOUT)
    assert about["kept"] and about["difference"]["low"] > 0
    assert about["NDCG"]["tuned"] > about["NDCG"]["untuned"]


def test_filters_hold_inside(folder):
    catalogue = a_catalogue()
    retriever = load_tower(folder, catalogue).retriever(catalogue)
    cheap = Filters((Condition("price", "<", 2.0),), frozenset({"i00"}))
    found = retriever.retrieve([asking("my son")], 9, [cheap])[0]
    assert (found >= 0).sum() == 7 and catalogue.index["i00"] not in found
    assert found[:7].max() < 8


def test_only_the_last_layers_change_and_the_encoder_it_began_with_stays(encoder, folder):
    before = {name: w.clone() for name, w in encoder.model.transformer.state_dict().items()}
    fresh = SentenceEncoder(encoder.folder).model.transformer.state_dict()
    assert all(torch.equal(before[name], fresh[name]) for name in before)
    after = SentenceEncoder(folder / "encoder").model.transformer.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert {name.split(".layer.")[1][0] for name in changed} == {"1", "2"}


def test_the_tuned_encoder_is_an_ordinary_folder_of_its_kind(folder):
    catalogue = a_catalogue()
    found = find_encoder(folder / "encoder")
    tower = load_tower(folder, catalogue)
    assert found is not None and tower is not None
    assert found.encode(["my son"]) == pytest.approx(tower.encoder.encode(["my son"]), abs=1e-6)


def test_new_and_changed_items_are_read_by_the_tuned_encoder(folder):
    old = a_catalogue()
    frame = old.items.with_columns(
        title=pl.when(pl.col("item_id") == "i00").then(pl.lit("the pot")).otherwise("title")
    )
    new = pl.DataFrame({"item_id": ["a0"], "title": ["with rose"], "price": [1.0]})
    catalogue = Catalogue(pl.concat([frame, new]).sort("item_id"))
    tower = load_tower(folder, catalogue)
    assert tower is not None
    expected = tower.encoder.encode(catalogue.texts)
    assert tower.items.vectors == pytest.approx(expected, abs=1e-5)


def test_where_tuning_does_not_help_the_untuned_encoder_stays(encoder, tmp_path):
    notes = Notes()
    lying = a_corpus(tmp_path / "corpus", truthful=False)
    assert not fit(encoder, lying, tmp_path / "tower", progress=notes)
    assert [path.name for path in (tmp_path / "tower").iterdir()] == [ABOUT]
    assert load_tower(tmp_path / "tower", a_catalogue()) is None
    assert any("untuned" in note for note in notes.notes)


def folder_bytes(folder: Path) -> dict[str, bytes]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_a_killed_training_goes_on_and_gives_the_same_bytes(encoder, corpus, folder, tmp_path):
    update, count = Updater.update, iter(range(1000))

    def dies(self, examples, step, rate):
        if next(count) == 37:
            raise KeyboardInterrupt
        return update(self, examples, step, rate)

    saves = SavePoints(steps=10)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Updater, "update", dies)
        with pytest.raises(KeyboardInterrupt):
            fit(encoder, corpus, tmp_path / "tower", saves=saves)
        assert fit(encoder, corpus, tmp_path / "tower", saves=saves)
    assert next(count) < 38 + 60 - 29
    assert folder_bytes(tmp_path / "tower") == folder_bytes(folder)


def test_a_tower_is_taken_over_without_learning_again(folder, tmp_path):
    assert copy_tower(folder, tmp_path / "tower", a_catalogue())
    assert folder_bytes(tmp_path / "tower") == folder_bytes(folder)
    with pytest.raises(FolderError, match=r"tower\.json is missing"):
        load_tower(tmp_path, a_catalogue())


def test_too_few_pairs_are_refused(encoder, corpus, tmp_path):
    everybody = [f"u{number}" for number in range(len(ASKED))]
    with pytest.raises(DataError, match="0 validation pairs"):
        fit(encoder, corpus, tmp_path / "tower", held_out=everybody)


def pairs_of(tmp_path: Path, rows: list[dict[str, Any]], **more: Any) -> list[tuple[str, str]]:
    catalogue = a_catalogue()
    with new_folder(tmp_path / "c", "corpus", command="test", replace=True) as draft:
        frame = pl.DataFrame(rows, schema=CORPUS_SCHEMA)
        write_split(draft.path, "train", frame)
    settings = {"most": 99, "latin_only": True, **more}
    found = gather_pairs(Corpus(tmp_path / "c"), "train", catalogue, **settings)
    said = [found.texts[number] for number in found.said]
    return sorted(zip(said, (catalogue.item_ids[row] for row in found.rows), strict=True))


def test_pairs_are_the_wish_else_the_preference_and_the_target_once(tmp_path):
    rows = [
        a_row("i00", intention="a kart", preference="likes farms"),
        a_row("i00", intention="a kart", preference="likes pots", task="T2"),
        a_row("i11", preference="likes pots"),
        a_row("i12", intention="quiet", context_place="home"),
        a_row("i13", intention="turned", strategy="turned-around"),
        a_row("i13", intention="yes?", asks="yes-no", task="T0"),
        a_row("gone", intention="a kart"),
        a_row("i14"),
        a_row("i20", intention="茶壶"),
        a_row("i21", intention="of a held-out user", user_id="u2"),
        a_row("i22", intention="nobody's", user_id=None),
    ]
    kept = [("a kart", "i00"), ("likes pots", "i11"), ("nobody's", "i22"), ("quiet (home)", "i12")]
    assert pairs_of(tmp_path, rows, without=["u2"]) == kept
    assert ("茶壶", "i20") in pairs_of(tmp_path, rows, latin_only=False)
    assert len(pairs_of(tmp_path, rows, most=2)) == 2


def test_an_epoch_has_every_pair_once_but_for_what_is_left_over():
    batches = PairBatches(23, 5, seed=0)
    first, second = batches.epoch(0), batches.epoch(1)
    assert len(batches) == len(first) == 4
    assert len(np.unique(np.concatenate(first))) == 20
    assert not np.array_equal(first[0], second[0])
    assert len(PairBatches(3, 5, seed=0)) == 1


def test_the_loss_is_that_of_a_loop_over_pairs_and_their_negatives(encoder):
    catalogue = Catalogue(
        pl.DataFrame(
            {
                "item_id": ["a", "b", "c", "d", "e"],
                "title": ["kart", "kart", "farm", "rose", "hose"],
                "brand": ["turbo", "quiet", "clay", "my", "son"],
            }
        )
    )
    pairs = Pairs(
        ["something", "who likes", "for"],
        np.array([0, 0, 1, 2, 2, 1]),
        np.array([0, 2, 1, 3, 4, 3]),
    )
    updater = Updater(encoder, pairs, catalogue, CONFIG)
    examples = np.array([0, 1, 2, 3, 4])
    asked, items = encoder.encode(pairs.texts), encoder.encode(catalogue.texts)
    share = np.bincount(pairs.rows, minlength=5) / len(pairs)
    logits = asked @ items.T / CONFIG.temperature - np.log(share)
    losses = []
    for example in examples:
        said, target = pairs.said[example], pairs.rows[example]
        meant = pairs.rows[[e for e in examples if pairs.said[e] == said]]
        titles = {catalogue.titles[row] for row in meant}
        others = [r for r in range(5) if r != target and catalogue.titles[r] not in titles]
        line = logits[said, [target, *others]]
        losses.append(np.log(np.exp(line).sum()) - line[0])
    assert updater.loss(examples).item() == pytest.approx(np.mean(losses), abs=1e-4)


def some_sequences(catalogue: Catalogue) -> Sequences:
    rows = [(user, item) for user in ("u1", "u2") for item in catalogue.item_ids[:3]]
    return Sequences.of(pl.DataFrame(rows, schema=["user_id", "item_id"], orient="row"), catalogue)


def retrievers(folder: Path, encoder: Path, corpus: Corpus | None, reuse: Path | None = None):
    catalogue = a_catalogue()
    targets = None
    if reuse is None:
        rows = catalogue.rows(["i00"])
        targets = Targets(["u1"], rows, np.array([3]), [catalogue.rows(["i01"])], [rows])
    notes = Notes()
    with new_folder(folder, KIND, command="test") as draft:
        material = Material(
            catalogue,
            some_sequences(catalogue),
            draft.path,
            targets,
            progress=notes,
            reuse=reuse,
            corpus=None if corpus is None else corpus.folder,
            encoder=str(encoder),
            tower=CONFIG,
        )
        fit_retrievers(material, ["dense", "tower"])
    return notes.notes


def test_a_folder_of_retrievers_has_a_tower_beside_the_encoder_that_was_chosen(
    encoder, corpus, folder, tmp_path
):
    chosen = tmp_path / "chosen"
    shutil.copytree(encoder.folder, chosen)
    retrievers(tmp_path / "retrievers", chosen, corpus)
    retrievers(tmp_path / "serving", chosen, None, tmp_path / "retrievers")
    catalogue = a_catalogue()
    requests = [asking("my son for")]
    expected = load_tower(folder, catalogue).retriever(catalogue).retrieve(requests, 5)
    for name in ("retrievers", "serving"):
        found = load_retrievers(tmp_path / name, catalogue)
        assert {"dense", "similar", "tower"} <= set(found)
        assert np.array_equal(found["tower"].retrieve(requests, 5), expected)
        plain = Dense(catalogue, ItemVectors.fit(catalogue, encoder), encoder)
        assert np.array_equal(found["dense"].retrieve(requests, 5), plain.retrieve(requests, 5))
    chosen.rename(tmp_path / "gone")
    notes = Notes()
    left = load_retrievers(tmp_path / "retrievers", catalogue, progress=notes)
    assert "dense" not in left and {"similar", "tower"} <= set(left)
    assert any("there is no text encoder" in note for note in notes.notes)


def test_a_run_with_a_tower_tunes_it_on_its_corpus_and_takes_it_over_for_use(encoder, tmp_path):
    catalogue = a_catalogue()
    events = pl.DataFrame(
        [
            (f"u{user}", item, place)
            for user in range(8)
            for place, item in enumerate(catalogue.item_ids[user : user + 4])
        ],
        schema=["user_id", "item_id", "timestamp"],
        orient="row",
    )
    with new_folder(tmp_path / "dataset", "dataset", command="test") as draft:
        write_tables(draft, Tables(catalogue.items.lazy(), events.lazy(), clock="order"))
    a_corpus(tmp_path / "corpus", dataset=tmp_path / "dataset")
    config = RunConfig(
        encoder=str(encoder.folder),
        tower=True,
        tower_tuning=CONFIG.model_dump(exclude={"seed"}),
        sequential={"dimensions": 8, "steps": 2},
    )
    stages = {stage.name: stage for stage in stages_of(config, made_up(8, 32, 0))}
    for name in ("retrievers", "retrievers-serving"):
        stages[name].make(tmp_path / name)
        assert read_json(tmp_path / name / "tower" / ABOUT)["kept"]
    one, other = (tmp_path / name for name in ("retrievers", "retrievers-serving"))
    assert folder_bytes(one / "tower") == folder_bytes(other / "tower")
    # Fusion and recommender take whatever these give, by name.
    found = load_retrievers(other, catalogue)
    assert {"tower", "dense", "sequential", "popularity"} <= set(found)
