"""scoring.json comes back as it was written, and a damaged one is one clear line."""

from __future__ import annotations

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


def test_one_without_the_longest_history_knows_none(tmp_path: Path) -> None:
    (tmp_path / SCORING).write_text('{"rule": "sum"}')
    assert ScoringConfig.load(tmp_path).spelled is None
    ScoringConfig(spelled=5).save(tmp_path)
    assert ScoringConfig.load(tmp_path).spelled == 5
