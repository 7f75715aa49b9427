"""The settings of a run: what a budget buys, and what makes a stage anew."""

from __future__ import annotations

from pathlib import Path

import pytest

from instructrec import stages
from instructrec.errors import UsageError
from instructrec.stages import RunConfig, made_up, stages_of


@pytest.fixture(autouse=True)
def _no_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stages, "encoder_is_here", lambda: False)


def by_name(config: RunConfig) -> dict[str, stages.Stage]:
    return {stage.name: stage for stage in stages_of(config, made_up(100, 80, 0))}


def test_the_stages_come_in_an_order_in_which_each_finds_what_it_reads():
    seen: list[str] = []
    for stage in stages_of(RunConfig(), made_up(100, 80, 0)):
        assert set(stage.after) <= set(seen)
        seen.append(stage.name)
    assert seen == [
        "dataset",
        "corpus",
        "model",
        "retrievers",
        "fusion.json",
        "report",
        "retrievers-serving",
    ]


def test_a_budget_is_shared_by_tuning_and_the_report():
    config = RunConfig(budget=1800)
    assert config.tune_settings()["budget"] == pytest.approx(900)
    assert config.requests() == 2571
    assert config.sequential_settings().budget == pytest.approx(180)
    assert RunConfig(budget=10).requests() == 200


def test_a_tower_takes_its_share_of_the_budget_from_tuning():
    config = RunConfig(budget=1800, tower=True)
    assert config.tower_settings().budget == pytest.approx(180)
    assert config.tune_settings()["budget"] == pytest.approx(720)


def test_a_tower_makes_the_retrievers_anew_and_after_the_corpus():
    one, other = by_name(RunConfig()), by_name(RunConfig(tower=True))
    changed = [name for name in one if one[name].settings != other[name].settings]
    assert changed == ["retrievers", "retrievers-serving"]
    assert one["retrievers"].after == ("dataset",)
    assert other["retrievers"].after == ("dataset", "corpus")
    assert other["retrievers-serving"].after == ("dataset", "retrievers")


def test_what_is_no_text_encoder_is_told_before_anything_is_made():
    with pytest.raises(UsageError, match="is a language model, not a text encoder"):
        by_name(RunConfig(encoder="flan-t5-small"))


def test_steps_go_before_a_budget_and_a_number_of_requests_before_its_share():
    config = RunConfig(budget=1800, steps=5, test_users=70)
    assert "budget" not in config.tune_settings()
    assert config.tune_settings()["steps"] == 5
    assert config.requests() == 70


def test_without_a_budget_all_test_requests_are_measured():
    assert RunConfig().requests() is None


def test_another_backbone_makes_only_the_model_anew():
    one, other = by_name(RunConfig()), by_name(RunConfig(backbone="tiny-t5"))
    changed = [name for name in one if one[name].settings != other[name].settings]
    assert changed == ["model"]


def test_another_protocol_makes_corpus_and_retrievers_anew():
    one, other = by_name(RunConfig()), by_name(RunConfig(protocol="items"))
    changed = [name for name in one if one[name].settings != other[name].settings]
    assert changed == ["corpus", "retrievers", "retrievers-serving"]


def test_an_encoder_that_is_pulled_later_makes_the_retrievers_anew(monkeypatch):
    one = by_name(RunConfig())
    monkeypatch.setattr(stages, "encoder_is_here", lambda: True)
    other = by_name(RunConfig())
    changed = [name for name in one if one[name].settings != other[name].settings]
    assert changed == ["retrievers", "retrievers-serving"]


def test_a_file_of_texts_decides_the_corpus_by_its_content(tmp_path: Path):
    texts = tmp_path / "texts.csv"
    texts.write_text("user_id,text\nu,Likes tea.\n")
    config = RunConfig(teacher=f"answers:{texts}")
    before = by_name(config)["corpus"].settings
    assert before == by_name(config)["corpus"].settings
    texts.write_text("user_id,text\nu,Likes coffee.\n")
    assert by_name(config)["corpus"].settings != before
