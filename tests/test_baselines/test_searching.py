"""The search tries what it says, on whom it says, and a folder of rivals is made only once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from instructrec.errors import FolderError, UsageError
from instructrec.evaluation.baselines import Material, fit_baselines
from instructrec.evaluation.baselines import trained as module
from instructrec.evaluation.baselines.gru4rec import GRU4Rec
from instructrec.evaluation.baselines.search import drawn, sampled, search
from instructrec.evaluation.baselines.settings import Budget, GRU4RecConfig
from instructrec.evaluation.baselines.trained import load_rivals, make_rival, make_rivals
from instructrec.folders import read_json, read_manifest, verify

SMALL = GRU4RecConfig(dimensions=64, hidden=64, batch=16, learning_rate=1e-3, usual_epochs=2)
BUDGET = Budget(training_seconds=60, trials=3, trial_users=40, trial_seconds=30)


def test_the_first_trial_is_the_defaults_and_the_others_differ_from_each_other() -> None:
    config = GRU4RecConfig()
    tried = drawn(config, 6, seed=0)
    assert tried[0] == {} and len(tried) == 6
    made = [config.model_copy(update=one) for one in tried]
    assert len({one.model_dump_json() for one in made}) == 6
    assert all(one[name] in config.space[name] for one in tried[1:] for name in one)
    assert drawn(config, 6, seed=0) == tried != drawn(config, 6, seed=1)


def test_a_sample_has_the_same_users_each_time_and_their_rows_alone(material: Material) -> None:
    sample = sampled(replace(material, held_out=frozenset(["u001", "u002"])), 40)
    assert len(sample.train) == len(sample.validation) == 40
    assert {"u001", "u002"}.isdisjoint(sample.train.user_ids)
    again = sampled(replace(material, held_out=frozenset(["u001", "u002"])), 40)
    assert again.train.user_ids == sample.train.user_ids
    whole = material.train
    for number, user in enumerate(sample.train.user_ids):
        assert sample.train[number].tolist() == whole[whole.index[user]].tolist()


def test_the_search_keeps_what_validates_best_and_records_every_trial(
    material: Material, tmp_path: Path
) -> None:
    best, tried = search(GRU4Rec, material, SMALL, BUDGET, tmp_path)
    assert len(tried) == 3
    reached = [one["NDCG"] for one in tried]
    settings = tried[reached.index(max(reached))]["settings"]
    assert best == SMALL.model_copy(update=settings)


def test_a_search_that_was_stopped_goes_on_with_the_trial_it_was_at(
    material: Material, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fits = []
    fit = GRU4Rec.fit.__func__  # type: ignore[attr-defined]

    def counted(cls: Any, *given: Any, **more: Any) -> Any:
        fits.append(given[1])
        if len(fits) == 2:
            raise KeyboardInterrupt
        return fit(cls, *given, **more)

    monkeypatch.setattr(GRU4Rec, "fit", classmethod(counted))
    with pytest.raises(KeyboardInterrupt):
        search(GRU4Rec, material, SMALL, BUDGET, tmp_path)
    _, tried = search(GRU4Rec, material, SMALL, BUDGET, tmp_path)
    assert len(tried) == 3 and len(fits) == 4
    assert fits[1] == fits[2]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(GRU4Rec, "config_type", _Quick)


class _Quick(GRU4RecConfig):
    usual_epochs: int = 1
    dimensions: int = 16
    hidden: int = 16


@pytest.mark.usefixtures("quick")
def test_a_rival_is_made_once_and_read_after_that(material: Material, tmp_path: Path) -> None:
    target = tmp_path / "gru4rec"
    made = make_rival("gru4rec", material, target, budget=BUDGET)
    verify(target)
    manifest = read_manifest(target, "rival")
    assert manifest["settings"]["rival"] == "gru4rec" and not (target / "state").exists()
    assert len(made.about["trials"]) == 3
    assert len(read_json(target / "log" / "seconds.json")["trials"]) == 3
    before = (target / "manifest.json").stat().st_mtime_ns
    again = make_rival("gru4rec", material, target, budget=BUDGET)
    assert (target / "manifest.json").stat().st_mtime_ns == before
    assert again.about == made.about
    with pytest.raises(FolderError, match="exists already"):
        make_rival("gru4rec", replace(material, seed=5), target, budget=BUDGET)


@pytest.mark.usefixtures("quick")
def test_refitted_it_learns_from_validation_rows_and_chooses_nothing(
    material: Material, tmp_path: Path
) -> None:
    first = make_rival("gru4rec", material, tmp_path / "a" / "gru4rec", budget=BUDGET)
    notes = make_rivals(material, tmp_path / "b", ["gru4rec"], budget=BUDGET, reuse=tmp_path / "a")
    assert notes == []
    refit = replace(material, refit=True, rivals=tmp_path / "b")
    found, _ = load_rivals(refit)
    assert [one.name for one in found] == ["gru4rec"]
    assert found[0].about["validations"] == []
    assert found[0].config.hidden == first.config.hidden
    # Rows that were not for training make no rival of a report that says they were not learnt.
    found, notes = load_rivals(replace(material, rivals=tmp_path / "b"))
    assert not found and any("other rows" in note for note in notes)


@pytest.mark.usefixtures("quick")
def test_a_report_takes_the_trained_rivals_of_its_run(material: Material, tmp_path: Path) -> None:
    make_rival("gru4rec", material, tmp_path / "gru4rec", budget=BUDGET)
    fitted, notes = fit_baselines(replace(material, rivals=tmp_path))
    assert "gru4rec" in [one.name for one in fitted]
    assert any(note.startswith("The row sasrec is left out") for note in notes)
    fitted, _ = fit_baselines(material)
    assert "gru4rec" not in [one.name for one in fitted]


def test_an_unknown_rival_and_a_refit_without_a_fit_are_refused(
    material: Material, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="no rival 'caser'"):
        make_rival("caser", material, tmp_path / "x")
    with pytest.raises(UsageError, match="validation rows"):
        make_rival("gru4rec", replace(material, refit=True), tmp_path / "x")
    assert set(module.TRAINED) == {"sasrec", "gru4rec", "bert4rec", "two-tower", "dssm", "tem"}
