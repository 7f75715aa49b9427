"""The sequential retriever learns order, reads the past alone, knows new items by their text."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from retrieval_worlds import WordEncoder, every_row
from torch.nn import functional as F

from instructrec.data.catalogue import Catalogue
from instructrec.data.sequences import Sequences
from instructrec.data.splits import Targets
from instructrec.errors import DataError, FolderError, UsageError
from instructrec.instructions.schema import Instruction, Preference
from instructrec.protocols import Condition, Filters
from instructrec.retrieval import encoder as encoders
from instructrec.retrieval import sequential as module
from instructrec.retrieval._sequence_batches import Batches, latest
from instructrec.retrieval._sequence_net import SequenceNet, cross_entropy
from instructrec.retrieval._sequence_training import Updater
from instructrec.retrieval._training import Trainer
from instructrec.retrieval.dense import ItemVectors
from instructrec.retrieval.sequential import Sequential
from instructrec.retrieval.settings import SequentialConfig
from instructrec.training import SavePoints, Store

COLOURS = ("red", "green", "blue", "grey")
SMALL = {"dimensions": 16, "batch": 16, "learning_rate": 1e-2, "dropout": 0.0}


def a_catalogue(each: int = 6, without: str = "") -> Catalogue:
    """Things of four colours: ``red0``, ``red1``, …; the colour stands in the title."""
    ids = sorted(f"{colour}{n}" for colour in COLOURS for n in range(each))
    ids = [item for item in ids if item != without]
    titles = [f"{item.rstrip('0123456789')} thing" for item in ids]
    prices = [float(item[-1]) for item in ids]
    return Catalogue(pl.DataFrame({"item_id": ids, "title": titles, "price": prices}))


def colours_in_turn(catalogue: Catalogue, users: int = 60, left_out: str = "") -> Sequences:
    """Everybody takes red, green, blue, grey, red, … from a random start, each any such thing."""
    rng = np.random.default_rng(0)
    rows = []
    for user in range(users):
        start = int(rng.integers(4))
        for place in range(int(rng.integers(3, 9))):
            item = f"{COLOURS[(start + place) % 4]}{rng.integers(6)}"
            if item != left_out:
                rows.append((f"u{user:03}", item))
    return Sequences.of(pl.DataFrame(rows, schema=["user_id", "item_id"], orient="row"), catalogue)


def vectors_of(catalogue: Catalogue, encoder: WordEncoder | None = None) -> ItemVectors:
    return ItemVectors.fit(catalogue, encoder or WordEncoder())


def somebody_with(*items: str) -> Instruction:
    return Instruction(Preference(items, items))


def fitted(catalogue: Catalogue, sequences: Sequences, texts=None, **given) -> Sequential:
    options = {name: given.pop(name) for name in ("validation", "state", "share") if name in given}
    config = SequentialConfig(**{**SMALL, "epochs": 12, **given})
    return Sequential.fit(sequences, catalogue, texts=texts, config=config, **options)


@pytest.fixture(scope="module")
def learned() -> Sequential:
    catalogue = a_catalogue()
    sequences = colours_in_turn(catalogue, left_out="blue3")
    return fitted(catalogue, sequences, vectors_of(catalogue), id_dropout=0.2)


def test_it_learns_what_comes_next(learned: Sequential) -> None:
    asked = [somebody_with("red0", "green1"), somebody_with("green1", "blue0", "grey2")]
    best = learned.retrieve(asked, 5)
    ids = np.array(learned.catalogue.item_ids)[best]
    assert all(item.startswith("blue") for item in ids[0])
    assert all(item.startswith("red") for item in ids[1])


def test_an_item_that_was_never_taken_is_known_by_its_text(learned: Sequential) -> None:
    unseen = learned.catalogue.index["blue3"]
    assert not np.any(learned.ids[unseen])
    scores = learned.score([somebody_with("red0", "green1")], every_row(1, learned.catalogue))[0]
    others = [row for item, row in learned.catalogue.index.items() if item[:4] != "blue"]
    assert scores[unseen] > scores[others].max()
    # As part of a history it points where the others of its colour do.
    after = learned.retrieve([somebody_with("green1", "blue3")], 5)[0]
    assert all(learned.catalogue.item_ids[row].startswith("grey") for row in after)


@given(st.integers(1, 30), st.integers(2, 9), st.booleans(), st.integers(0, 99))
@settings(deadline=None, max_examples=20)
def test_the_loss_and_its_gradients_are_those_of_plain_cross_entropy(
    states: int, items: int, with_bias: bool, seed: int
) -> None:
    torch.manual_seed(seed)
    h = torch.randn(states, 4, dtype=torch.float64, requires_grad=True)
    e = torch.randn(items, 4, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(items, dtype=torch.float64) if with_bias else None
    targets = torch.randint(items, (states,))
    logits = h @ e.T + (0 if bias is None else bias)
    plain = F.cross_entropy(logits, targets, reduction="sum")
    expected = torch.autograd.grad(plain, (h, e))
    ours = cross_entropy(h, e, targets, bias)
    torch.testing.assert_close(ours, plain.detach())
    for mine, theirs in zip(torch.autograd.grad(3 * ours, (h, e)), expected, strict=True):
        torch.testing.assert_close(mine, 3 * theirs)


def test_the_loss_is_the_same_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    h, e, targets = torch.randn(50, 4), torch.randn(20, 4), torch.randint(20, (50,))
    whole = cross_entropy(h, e, targets)
    monkeypatch.setattr("instructrec.retrieval._sequence_net._FLOATS", 140)
    torch.testing.assert_close(cross_entropy(h, e, targets), whole)


def an_updater(**given) -> Updater:
    catalogue = a_catalogue()
    config = SequentialConfig(**{**SMALL, "id_dropout": 0.0, **given})
    batches = Batches(
        colours_in_turn(catalogue), config.max_history, config.batch, seed=config.seed
    )
    torch.manual_seed(0)
    texts = torch.from_numpy(vectors_of(catalogue).vectors)
    return Updater(SequenceNet(config, len(catalogue), texts.shape[1]), batches, texts, config)


def test_every_item_but_the_first_of_a_sequence_is_a_target() -> None:
    updater = an_updater()
    rows = np.array([[3, 5, 1, 7], [2, 2, 9, -1], [4, 8, -1, -1]])
    loss = updater.loss(rows, 0).item()
    items = updater.net.item_vectors(updater.texts)
    nlls = []
    for line in (padded[padded >= 0] for padded in rows):
        for stop in range(1, len(line)):
            # One history at a time, without padding and without what comes later.
            states = updater.net(items[torch.from_numpy(line[:stop])][None])
            logits = items @ states[0, -1]
            nlls.append(-torch.log_softmax(logits, 0)[line[stop]].item())
    assert loss == pytest.approx(np.mean(nlls), rel=1e-5)


@given(st.lists(st.integers(0, 23), min_size=2, max_size=9), st.integers(1, 8))
@settings(deadline=None, max_examples=10)
def test_what_comes_later_changes_nothing(history: list[int], place: int) -> None:
    net = an_updater().net.eval()
    place = min(place, len(history) - 1)
    changed = [*history[:place], *((row + 1) % 24 for row in history[place:])]
    with torch.no_grad():
        items = net.ids
        one, two = net(items[torch.tensor(history)][None]), net(items[torch.tensor(changed)][None])
    torch.testing.assert_close(one[0, :place], two[0, :place])
    assert not torch.allclose(one[0, place], two[0, place])


def test_a_request_scores_the_same_alone_and_among_longer_ones(learned: Sequential) -> None:
    short, long = somebody_with("red0"), somebody_with(*["green1", "blue2", "grey0", "red5"] * 5)
    rows = every_row(3, learned.catalogue)
    together = learned.score([short, long, Instruction()], rows)
    for number, one in enumerate((short, long, Instruction())):
        np.testing.assert_allclose(learned.score([one], rows[:1])[0], together[number], atol=1e-5)
    assert not together[2].any()


def test_a_score_is_the_dot_product_of_state_and_item(learned: Sequential) -> None:
    rows = learned.catalogue.rows(["red0", "green1"])
    vectors = torch.from_numpy(learned.vectors)
    with torch.no_grad():
        state = learned.net(vectors[torch.from_numpy(rows)][None])[0, -1]
    few = np.array([[0, 7, -1]])
    scores = learned.score([somebody_with("red0", "green1")], few)
    expected = [float(state @ vectors[0]), float(state @ vectors[7])]
    np.testing.assert_allclose(scores[0, :2], expected, rtol=1e-4, atol=1e-5)
    assert scores[0, 2] == -math.inf


def test_of_a_long_history_the_latest_items_count(learned: Sequential) -> None:
    recent = ["green1", "blue2", "grey0", "red5"] * 13
    longest = learned.net.config.max_history
    one, two = somebody_with("grey3", *recent), somebody_with(*recent[-longest:])
    np.testing.assert_array_equal(*learned.requests([one, two])[:, None])


def test_items_that_the_catalogue_does_not_have_are_passed_over(learned: Sequential) -> None:
    one, two = somebody_with("red0", "gone", "green1"), somebody_with("red0", "green1")
    np.testing.assert_array_equal(*learned.requests([one, two])[:, None])
    assert learned.retrieve([somebody_with("gone")], 3).tolist() == [[-1, -1, -1]]


def test_filters_are_kept_inside_the_search(learned: Sequential) -> None:
    asked = [somebody_with("red0", "green1")]
    cheap = Filters((Condition("price", "<=", 1),))
    found = learned.retrieve(asked, 10, [cheap])[0]
    prices = learned.catalogue.items["price"].to_numpy()
    assert len(found[found >= 0]) == 8
    assert (prices[found[found >= 0]] <= 1).all()
    scores = learned.score(asked, every_row(1, learned.catalogue))[0]
    allowed = np.flatnonzero(prices <= 1)
    assert found[0] == allowed[scores[allowed].argmax()]


def test_long_sequences_are_cut_so_that_each_item_is_a_target_once() -> None:
    offsets = np.array([0, 1, 12, 14])
    batches = Batches(Sequences(["a", "b", "c"], offsets, np.arange(14)), 4, 2, seed=0)
    pieces = [line[line >= 0].tolist() for b in batches.epoch(0) for line in batches.rows(b)]
    assert sorted(item for piece in pieces for item in piece[1:]) == [*range(2, 12), 13]
    assert all(2 <= len(piece) <= 5 for piece in pieces)
    assert [7, 8, 9, 10, 11] in pieces
    assert batches.targets == 11
    assert len(batches) == len(batches.epoch(3)) == 2


def test_batches_hold_sequences_of_nearly_equal_length_in_another_order_each_epoch() -> None:
    lengths = np.random.default_rng(0).integers(2, 30, 400)
    sequences = Sequences(
        [str(n) for n in range(400)],
        np.concatenate([[0], lengths.cumsum()]),
        np.arange(sum(lengths)),
    )
    batches = Batches(sequences, 50, 8, seed=1)
    rows = [batches.rows(pieces) for pieces in batches.epoch(0)]
    padding = sum((line < 0).sum() for line in rows) / sum(line.size for line in rows)
    assert padding < 0.05
    assert [p.tolist() for p in batches.epoch(0)] == [p.tolist() for p in batches.epoch(0)]
    assert [p.tolist() for p in batches.epoch(0)] != [p.tolist() for p in batches.epoch(1)]


def test_a_sampled_softmax_is_expected_right() -> None:
    updater = an_updater(softmax_items=12)
    whole = an_updater()
    rows = np.array([[3, 5, 1]])
    exact = whole.loss(rows, 0).item()
    sampled = [updater.loss(rows, step).item() for step in range(300)]
    assert np.std(sampled) > 0
    assert np.mean(sampled) == pytest.approx(exact, rel=0.01)


def test_a_catalogue_too_large_for_the_full_softmax_is_learnt_by_samples() -> None:
    catalogue = a_catalogue()
    found = fitted(catalogue, colours_in_turn(catalogue), vectors_of(catalogue), softmax_items=10)
    best = found.retrieve([somebody_with("red0", "green1")], 4)[0]
    assert all(catalogue.item_ids[row].startswith("blue") for row in best)


def folder_bytes(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(tmp_path: Path) -> None:
    catalogue = a_catalogue()
    for name, seed in (("one", 1), ("two", 1), ("three", 2)):
        random = torch.get_rng_state()
        found = fitted(
            catalogue, colours_in_turn(catalogue), vectors_of(catalogue), epochs=2, seed=seed
        )
        assert torch.equal(random, torch.get_rng_state())
        found.save(tmp_path / name)
    one, two, three = (folder_bytes(tmp_path / name) for name in ("one", "two", "three"))
    assert one == two
    assert one["sequential.safetensors"] != three["sequential.safetensors"]


def test_a_training_that_was_killed_goes_on_to_the_same_bytes(tmp_path: Path, monkeypatch) -> None:
    catalogue, validation = a_catalogue(), some_targets(a_catalogue())
    sequences, texts = colours_in_turn(catalogue), vectors_of(a_catalogue())

    def fit(state: Path) -> Sequential:
        return fitted(
            catalogue,
            sequences,
            texts,
            dropout=0.3,
            epochs=4,
            patience=None,
            validation=validation,
            state=state,
        )

    fit(tmp_path / "a").save(tmp_path / "whole")
    update, count = Updater.update, iter(range(1000))

    def dies(self, pieces, step, rate):
        if next(count) == 9:
            raise KeyboardInterrupt
        return update(self, pieces, step, rate)

    monkeypatch.setattr(Updater, "update", dies)
    monkeypatch.setattr(
        module, "Trainer", lambda *a, **k: Trainer(*a, **k, saves=SavePoints(steps=2))
    )
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path / "b")
    resumed = fit(tmp_path / "b")
    resumed.save(tmp_path / "resumed")
    assert next(count) < 2 + len(Batches(sequences, 50, 16, 0)) * 4 + 2
    assert folder_bytes(tmp_path / "whole") == folder_bytes(tmp_path / "resumed")


def some_targets(catalogue: Catalogue) -> Targets:
    histories = [catalogue.rows(ids) for ids in (["red0", "green1"], ["blue0"], ["grey1", "red2"])]
    rows = catalogue.rows(["blue0", "grey1", "green2"])
    return Targets(["u1", "u2", "u3"], rows, np.array([2, 1, 2]), histories, histories)


def test_the_best_weights_are_those_of_the_best_validation() -> None:
    catalogue = a_catalogue()
    found = fitted(
        catalogue,
        colours_in_turn(catalogue),
        validation=some_targets(catalogue),
        epochs=9,
        validations=9,
        patience=None,
    )
    reached = {entry["step"]: entry["NDCG"] for entry in found.about["validations"]}
    assert len(reached) == 9
    assert reached[found.about["best_step"]] == max(reached.values())
    targets = some_targets(catalogue)
    asked = [somebody_with(*(catalogue.item_ids[r] for r in rows)) for rows in targets.histories]
    scores = found.score(asked, every_row(3, catalogue))
    ranks = (scores >= scores[np.arange(3), targets.rows][:, None]).sum(axis=1)
    assert np.mean(1 / np.log2(1 + ranks)) == pytest.approx(max(reached.values()))
    again = fitted(catalogue, colours_in_turn(catalogue), epochs=9, share=found.best_share)
    np.testing.assert_array_equal(again.vectors, found.vectors)


def test_patience_ends_a_training_that_gets_no_better() -> None:
    catalogue = a_catalogue()
    found = fitted(
        catalogue,
        colours_in_turn(catalogue),
        validation=some_targets(catalogue),
        epochs=9,
        validations=9,
        learning_rate=1e-12,
        patience=2,
    )
    assert len(found.about["validations"]) == 3


def test_few_sequences_are_read_more_often() -> None:
    assert an_updater().usual_epochs == 54
    assert an_updater(batch=1).usual_epochs == 6


def test_a_budget_is_turned_into_steps_once(tmp_path: Path, monkeypatch) -> None:
    updater = an_updater(budget=10.0, epochs=1000)
    before = {name: value.clone() for name, value in updater.parameters.items()}
    clock = iter(np.arange(0, 1e6, 0.05))
    monkeypatch.setattr("instructrec.retrieval._training.time.monotonic", lambda: next(clock))
    plan = Trainer(updater, Store(tmp_path), None)._plan()
    assert 50 < plan.steps < 400
    assert all(torch.equal(before[name], value) for name, value in updater.parameters.items())
    assert not updater.optimizer.state
    assert Trainer(updater, Store(tmp_path), None)._plan() == plan
    assert (
        Trainer(an_updater(budget=10.0, epochs=1), Store(tmp_path / "x"), None)._plan().steps == 4
    )


def test_a_changed_catalogue_is_loaded_by_item_id(tmp_path: Path, monkeypatch, learned) -> None:
    reader = WordEncoder()
    monkeypatch.setattr(encoders, "find_encoder", lambda *_: reader)
    learned.save(tmp_path)
    same = Sequential.load(tmp_path, a_catalogue())
    asked = [somebody_with("red0", "green1")]
    rows = every_row(1, learned.catalogue)
    np.testing.assert_array_equal(same.score(asked, rows), learned.score(asked, rows))
    assert not reader.read
    larger = a_catalogue(each=7)
    grown = Sequential.load(tmp_path, larger)
    assert reader.read == [f"{colour} thing" for colour in sorted(COLOURS)]
    assert grown.vectors[larger.index["red0"]].tolist() == (
        learned.vectors[learned.catalogue.index["red0"]].tolist()
    )
    new = grown.score(asked, larger.rows(["blue6", "red6", "grey6"])[None])[0]
    assert new[0] > new[1:].max()
    given = Sequential.load(tmp_path, larger, texts=vectors_of(larger))
    np.testing.assert_array_equal(given.vectors, grown.vectors)
    smaller = Sequential.load(tmp_path, a_catalogue(without="blue1"))
    assert len(smaller.vectors) == 23


def test_a_new_item_is_read_by_the_encoder_that_was_learnt_with(
    tmp_path: Path, monkeypatch, learned
) -> None:
    learned.save(tmp_path)
    readers = {learned.about["encoder"]: WordEncoder()}
    monkeypatch.setattr(encoders, "find_encoder", lambda name=None: readers.get(name))
    larger = a_catalogue(each=7)
    grown = Sequential.load(tmp_path, larger)
    assert learned.about["encoder"] == "words" and readers["words"].read
    other = vectors_of(larger, WordEncoder("two"))
    beside = Sequential.load(tmp_path, larger, texts=other)
    np.testing.assert_array_equal(beside.vectors, grown.vectors)


def test_without_any_text_a_new_item_is_an_average_one(tmp_path: Path) -> None:
    catalogue = a_catalogue()
    fitted(catalogue, colours_in_turn(catalogue), epochs=2).save(tmp_path)
    larger = a_catalogue(each=7)
    found = Sequential.load(tmp_path, larger)
    known = found.vectors[larger.rows(catalogue.item_ids)]
    np.testing.assert_allclose(found.vectors[larger.index["red6"]], known.mean(axis=0), rtol=1e-5)


def test_what_is_missing_or_damaged_is_said(tmp_path: Path, learned: Sequential) -> None:
    with pytest.raises(FolderError, match=r"sequential\.json is missing"):
        Sequential.load(tmp_path, a_catalogue())
    learned.save(tmp_path)
    (tmp_path / "sequential.safetensors").write_bytes(b"no weights")
    with pytest.raises(FolderError, match="damaged"):
        Sequential.load(tmp_path, a_catalogue())


def test_nothing_to_learn_from_is_said() -> None:
    catalogue = a_catalogue()
    single = Sequences(["a"], np.array([0, 1]), np.array([0]))
    with pytest.raises(DataError, match="no training sequence has two items"):
        fitted(catalogue, single)


def test_settings_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(UsageError, match="exclude each other"):
        SequentialConfig(epochs=1, steps=1)
    with pytest.raises(UsageError, match="heads"):
        SequentialConfig(dimensions=15)


def test_the_latest_items_of_histories_are_padded_behind() -> None:
    histories = [np.array([1, 2, 3]), np.array([], dtype=np.int64), np.array([4])]
    assert latest(histories, 2).tolist() == [[2, 3], [-1, -1], [4, -1]]
    assert latest([], 2).shape == (0, 0)
