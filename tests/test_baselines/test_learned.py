"""Rivals that learn find the pattern, read no more than they may, and come back as they were."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from colour_world import COLOURS
from hypothesis import given, settings
from hypothesis import strategies as st

from instructrec.data.catalogue import Catalogue
from instructrec.errors import FolderError, UsageError
from instructrec.evaluation.baselines import Material, UnavailableError
from instructrec.evaluation.baselines.bert4rec import BERT4Rec
from instructrec.evaluation.baselines.dssm import DSSM, no_negatives
from instructrec.evaluation.baselines.gru4rec import GRU4Rec
from instructrec.evaluation.baselines.learned import Effort, Learned
from instructrec.evaluation.baselines.sasrec import SASRec
from instructrec.evaluation.baselines.tem import TEM
from instructrec.evaluation.baselines.trained import TRAINED
from instructrec.evaluation.baselines.two_tower import TwoTower
from instructrec.instructions.annotations import Annotations
from instructrec.instructions.schema import Instruction, Intention, IntentionKind, Preference
from instructrec.training import SavePoints

HISTORY = [SASRec, GRU4Rec, BERT4Rec, TwoTower]
WORDS = [DSSM, TEM]
SMALL: dict[str, Any] = {
    "dimensions": 16,
    "batch": 16,
    "dropout": 0.0,
    "learning_rate": 1e-2,
    "usual_epochs": 16,
    "validations": 2,
}
OWN: dict[str, dict[str, Any]] = {
    "gru4rec": {"hidden": 16},
    "bert4rec": {"usual_epochs": 80, "dimensions": 32, "learning_rate": 3e-3},
    # What was taken last must stand out, for a tower knows no order but age.
    "two-tower": {"hidden": 32, "decay": 0.3, "usual_epochs": 40},
    "dssm": {"hidden": 16, "buckets": 512, "usual_epochs": 6},
    "tem": {"buckets": 512, "usual_epochs": 8, "softmax_items": 20},
}


def config_of(kind: type[Learned], **more: Any) -> Any:
    return kind.config_type(**{**SMALL, **OWN.get(kind.name, {}), **more})


def having(*items: str, wish: str = "") -> Instruction:
    intention = Intention(wish, IntentionKind.SPECIFIC) if wish else Intention()
    return Instruction(Preference(items, items), intention)


def colours(found: Learned, instruction: Instruction, k: int = 5) -> set[str]:
    rows = found.retrieve([instruction], k)[0]
    return {found.catalogue.item_ids[row][:-1] for row in rows.tolist()}


@pytest.fixture(scope="module")
def learned(material: Material) -> dict[str, Learned]:
    return {name: kind.fit(material, config_of(kind)) for name, kind in TRAINED.items()}


@pytest.mark.parametrize("kind", HISTORY)
def test_a_rival_that_reads_histories_learns_what_comes_next(
    kind: type[Learned], learned: dict[str, Learned]
) -> None:
    found = learned[kind.name]
    assert colours(found, having("red0", "green1"), 3) == {"blue"}
    assert colours(found, having("green1", "blue0", "grey2"), 3) == {"red"}


@pytest.mark.parametrize("kind", WORDS)
def test_a_rival_that_reads_words_finds_what_is_asked_for(
    kind: type[Learned], learned: dict[str, Learned]
) -> None:
    for colour in COLOURS:
        wish = f"something {colour}"
        assert colours(learned[kind.name], having("red0", "green1", wish=wish)) == {colour}


def test_tem_goes_by_the_history_where_nothing_is_said(material: Material) -> None:
    found = TEM.fit(material, config_of(TEM, unsaid_share=0.9, usual_epochs=12))
    assert colours(found, having("red0", "green1"), 3) == {"blue"}


def test_dssm_knows_an_item_by_its_text_alone(material: Material) -> None:
    """An item that nobody has taken is found by the words it shares with what is asked."""
    row = material.catalogue.index["blue3"]
    train = material.train
    kept = replace(
        train, rows=np.where(train.rows == row, material.catalogue.index["blue2"], train.rows)
    )
    without = replace(material)
    without.__dict__["train"] = kept
    found = DSSM.fit(without, config_of(DSSM))
    best = found.retrieve([having(wish="something blue")], 6)[0]
    assert row in best


@pytest.mark.parametrize("kind", TRAINED.values())
def test_padding_scores_minus_infinity_and_a_request_without_anything_scores_zero(
    kind: type[Learned], learned: dict[str, Learned]
) -> None:
    few = np.array([[0, 7, -1], [1, -1, 2]])
    scores = learned[kind.name].score([having("red0", wish="something red"), Instruction()], few)
    assert scores.dtype == np.float32
    assert scores[0, 2] == scores[1, 1] == -math.inf
    assert np.isfinite(scores[0, :2]).all()
    assert not scores[1, [0, 2]].any()
    assert learned[kind.name].retrieve([Instruction()], 2).tolist() == [[-1, -1]]


@pytest.mark.parametrize("kind", TRAINED.values())
def test_a_request_scores_the_same_alone_and_among_longer_ones(
    kind: type[Learned], learned: dict[str, Learned]
) -> None:
    found = learned[kind.name]
    asked = [
        having("red0", wish="something blue"),
        having(*["green1", "blue2", "grey0", "red5"] * 5, wish="grey"),
        having("gone", "blue1"),
    ]
    rows = np.tile(np.arange(24), (3, 1))
    together = found.score(asked, rows)
    for number, one in enumerate(asked):
        np.testing.assert_allclose(found.score([one], rows[:1])[0], together[number], atol=1e-4)
    back = found.score(asked, rows[:, ::-1].copy())
    np.testing.assert_array_equal(back[:, ::-1], together)


@pytest.mark.parametrize("kind", TRAINED.values())
def test_a_score_is_the_dot_product_of_what_is_wanted_and_the_item(
    kind: type[Learned], learned: dict[str, Learned]
) -> None:
    found = learned[kind.name]
    asked = [having("red0", "green1", wish="something blue")]
    every = found.score(asked, np.arange(24)[None])[0]
    np.testing.assert_allclose(every, found.vectors @ found.wanted(asked)[0], rtol=1e-4, atol=1e-5)
    assert found.retrieve(asked, 1)[0, 0] == every.argmax()


@pytest.mark.parametrize("kind", TRAINED.values())
def test_saved_and_loaded_a_rival_scores_the_same(
    kind: type[Learned], learned: dict[str, Learned], tmp_path: Path
) -> None:
    found = learned[kind.name]
    found.save(tmp_path)
    again = kind.load(tmp_path, found.catalogue)
    asked, rows = [having("red0", "green1", wish="something blue")], np.arange(24)[None]
    np.testing.assert_array_equal(again.score(asked, rows), found.score(asked, rows))
    assert again.about == found.about and again.config == found.config
    fewer = Catalogue(found.catalogue.items.filter(found.catalogue.items["item_id"] != "blue0"))
    kept = np.array([row for row in range(24) if found.catalogue.item_ids[row] != "blue0"])
    scores = kind.load(tmp_path, fewer).score(asked, np.arange(23)[None])
    np.testing.assert_array_equal(scores[0], found.score(asked, kept[None])[0])


def test_a_damaged_folder_is_one_clear_error(learned: dict[str, Learned], tmp_path: Path) -> None:
    learned["gru4rec"].save(tmp_path)
    (tmp_path / "rival.safetensors").write_bytes(b"no weights")
    with pytest.raises(FolderError, match="damaged"):
        GRU4Rec.load(tmp_path, learned["gru4rec"].catalogue)


def folder_bytes(found: Learned, folder: Path) -> dict[str, bytes]:
    found.save(folder)
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.mark.parametrize("kind", TRAINED.values())
def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(
    kind: type[Learned], material: Material, tmp_path: Path
) -> None:
    made = {
        name: folder_bytes(
            kind.fit(material, config_of(kind, dropout=0.2, seed=seed, epochs=1)), tmp_path / name
        )
        for name, seed in (("one", 1), ("two", 1), ("three", 2))
    }
    assert made["one"] == made["two"] != made["three"]


class KilledError(Exception):
    pass


class KillAt:
    """A progress that dies at a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def track(self, items: Any, title: str, total: int | None = None) -> Any:
        for item in items:
            if item == self.step:
                raise KilledError
            yield item

    def note(self, text: str) -> None:
        pass


@pytest.mark.parametrize("kind", TRAINED.values())
def test_a_training_that_was_killed_goes_on_to_the_same_weights(
    kind: type[Learned], material: Material, tmp_path: Path
) -> None:
    config = config_of(kind, dropout=0.2, epochs=2)
    whole = folder_bytes(kind.fit(material, config), tmp_path / "whole")
    state, saves = tmp_path / "state", SavePoints(steps=2)
    with pytest.raises(KilledError):
        kind.fit(material, config, Effort(state, saves=saves, progress=KillAt(5)))
    again = kind.fit(material, config, Effort(state, saves=saves))
    assert folder_bytes(again, tmp_path / "again") == whole


@pytest.mark.parametrize("kind", TRAINED.values())
def test_nothing_of_a_test_row_or_of_a_held_out_user_reaches_a_training(
    kind: type[Learned], material: Material, dataset: Any, tmp_path: Path
) -> None:
    """The fit is the same bytes when test rows, and the validation rows of others, differ."""
    held = frozenset(material.validation.user_ids[::2])
    plain = replace(material, held_out=held)
    split = dataset.split(material.protocol)
    events = split.events
    other = dataset.catalogue.item_ids[0]
    is_late = (events["split"] == "test") | (
        (events["split"] == "validation") & events["user_id"].is_in(sorted(held))
    )
    changed_split = replace(
        split,
        events=events.with_columns(
            item_id=events["item_id"].zip_with(
                ~is_late, events["item_id"].clear().extend_constant(other, len(events))
            )
        ),
    )
    changed = replace(plain, dataset=Changed(dataset, changed_split))
    config = config_of(kind, epochs=1)
    one = folder_bytes(kind.fit(plain, config), tmp_path / "one")
    two = folder_bytes(kind.fit(changed, config), tmp_path / "two")
    assert one == two


class Changed:
    """A dataset with another split."""

    def __init__(self, dataset: Any, split: Any) -> None:
        self._dataset, self._split = dataset, split

    def __getattr__(self, name: str) -> Any:
        return getattr(self._dataset, name)

    def split(self, protocol: Any) -> Any:
        return self._split


@given(st.lists(st.integers(0, 23), min_size=2, max_size=9), st.integers(1, 8))
@settings(deadline=None, max_examples=10)
@pytest.mark.parametrize("kind", [SASRec, GRU4Rec, TwoTower])
def test_a_causal_net_looks_at_nothing_that_comes_later(
    kind: type[Learned], learned: dict[str, Learned], history: list[int], place: int
) -> None:
    net: Any = learned[kind.name].net
    place = min(place, len(history) - 1)
    changed = [*history[:place], *((row + 1) % 24 for row in history[place:])]
    with torch.no_grad():
        one = net.states(net.ids[torch.tensor(history)][None])
        two = net.states(net.ids[torch.tensor(changed)][None])
    torch.testing.assert_close(one[0, :place], two[0, :place])
    assert not torch.allclose(one[0, place], two[0, place])


@pytest.mark.parametrize("kind", [SASRec, GRU4Rec, TwoTower])
def test_the_loss_of_a_causal_net_is_plain_cross_entropy_of_one_history_at_a_time(
    kind: type[Learned], learned: dict[str, Learned]
) -> None:
    net: Any = learned[kind.name].net
    rows = np.array([[3, 5, 1, 7], [2, 2, 9, -1]])
    told = net.loss(rows, 0).item()
    nlls = []
    for line in (padded[padded >= 0] for padded in rows):
        for stop in range(1, len(line)):
            history = torch.from_numpy(line[:stop])[None]
            state = net.wanted(net.ids[history], torch.ones_like(history, dtype=torch.bool), ())
            nlls.append(-torch.log_softmax(state[0] @ net.ids.T, 0)[line[stop]].item())
    assert told == pytest.approx(np.mean(nlls), rel=1e-4)


def test_bert4rec_never_sees_an_item_that_it_is_to_tell(learned: dict[str, Learned]) -> None:
    net: Any = learned["bert4rec"].net
    rows = np.array([[3, 5, 1, 7], [2, 2, 9, -1]])
    masked = net.masks(rows, np.random.default_rng(0))
    assert masked.any(axis=1).all() and not masked[rows < 0].any()
    other = np.where(masked, (rows + 1) % 24, rows)
    there = torch.from_numpy(rows >= 0)
    hidden = torch.from_numpy(masked)
    with torch.no_grad():
        one = net.states(net.ids[torch.from_numpy(rows).clamp_min(0)], there, hidden)
        two = net.states(net.ids[torch.from_numpy(other).clamp_min(0)], there, hidden)
    torch.testing.assert_close(one, two)


def test_of_some_sequences_the_last_item_alone_is_masked(learned: dict[str, Learned]) -> None:
    net: Any = learned["bert4rec"].net
    rows = np.tile(np.arange(10), (4000, 1))
    masked = net.masks(rows, np.random.default_rng(0))
    last_alone = masked[:, -1] & (masked.sum(axis=1) == 1)
    assert last_alone.mean() == pytest.approx(0.2, abs=0.04)
    assert masked[~last_alone].mean() == pytest.approx(0.3, abs=0.02)


def test_what_the_same_words_were_said_of_is_no_negative() -> None:
    said, target = np.array([7, 7, 9]), np.array([0, 1, 2])
    titles = np.array([4, 5, 6, 4])
    expected = [
        [False, True, False, True],
        [True, False, False, True],
        [False, False, False, False],
    ]
    assert no_negatives(said, target, titles).tolist() == expected


@pytest.mark.parametrize("kind", WORDS)
def test_without_texts_a_rival_that_reads_words_is_left_out(
    kind: type[Learned], material: Material
) -> None:
    with pytest.raises(UnavailableError, match=f"The row {kind.name} is left out"):
        kind.fit(replace(material, texts=Annotations({}, {}, {})), config_of(kind))


def test_heads_must_share_the_dimensions() -> None:
    with pytest.raises(UsageError, match="cannot be shared"):
        SASRec.config_type(dimensions=15)
