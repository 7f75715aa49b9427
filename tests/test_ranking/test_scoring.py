"""scoring.json comes back as it was written, and a damaged one is one clear line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from instructrec.errors import FolderError
from instructrec.ranking.scoring import SCORING, ScoringConfig


def test_it_comes_back_as_it_was_written(tmp_path: Path) -> None:
    scoring = ScoringConfig(rule="pmi", pmi_weight=0.25, templates={"P1,I0,T3": "A7"})
    scoring.save(tmp_path)
    assert ScoringConfig.load(tmp_path) == scoring


@pytest.mark.parametrize(
    "content", ["{", '{"rule": "median"}', '{"pmi_weight": -1}', '{"speed": 3}']
)
def test_a_damaged_one_is_one_clear_line(tmp_path: Path, content: str) -> None:
    (tmp_path / SCORING).write_text(content)
    with pytest.raises(FolderError, match=SCORING) as caught:
        ScoringConfig.load(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("settings", "spelled"), [({"max_history": 12}, 11), ({}, None)])
def test_an_older_one_takes_the_longest_history_of_its_manifest_if_that_tells_it(
    tmp_path: Path, settings: dict[str, int], spelled: int | None
) -> None:
    (tmp_path / SCORING).write_text('{"rule": "sum"}')
    assert ScoringConfig.load(tmp_path).spelled is None
    (tmp_path / "manifest.json").write_text(json.dumps({"settings": settings}))
    assert ScoringConfig.load(tmp_path).spelled == spelled
    ScoringConfig(spelled=5).save(tmp_path)
    assert ScoringConfig.load(tmp_path).spelled == 5
