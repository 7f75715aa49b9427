"""Long histories: a prompt spells the latest titles; older chunks are read once and remembered."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from instructrec.backbones import Backbone
from instructrec.errors import InstructRecWarning, ModelError
from instructrec.instructions.schema import Instruction, Preference
from instructrec.ranking.likelihood import Likelihood
from instructrec.ranking.long_history import ChunkMemories, chunks, held_bytes, spell
from instructrec.ranking.ranker import Ranker
from instructrec.ranking.scoring import ScoringConfig

from .world import TITLES, catalogue

IDS = catalogue().item_ids
ROWS = np.array([[0, 5, 9, 2]])
IN_CHUNKS = ScoringConfig(spelled=4, long_history="chunks", null_prompt="Recommend an item.")


def having(*rows: int) -> Instruction:
    """Somebody with these items, oldest first."""
    return Instruction(Preference(tuple(TITLES[r] for r in rows), tuple(IDS[r] for r in rows)))


LONG = having(*range(10, 21))


@given(st.integers(0, 60), st.integers(1, 9))
def test_every_title_is_spelled_out_or_in_a_chunk_and_full_chunks_never_change(length, size):
    one = having(*(row % len(TITLES) for row in range(length)))
    spelled = spell(one, size).preference.history
    parts = [part.preference.history for part in chunks(one, size)]
    assert spelled == one.preference.history[-size:]
    assert all(len(part) == size for part in parts)
    told = [title for part in parts for title in part]
    assert one.preference.history[: len(told)] == tuple(told)
    assert len(told) + len(spelled) >= length
    grown = having(*(row % len(TITLES) for row in range(length + 1)))
    assert [part.preference.history for part in chunks(grown, size)][: len(parts)] == parts


def test_a_prompt_tells_no_more_titles_than_in_training(lm: Backbone) -> None:
    ranker = Ranker(lm, catalogue(), scoring=ScoringConfig(spelled=4))
    assert ranker.render(LONG) == ranker.render(spell(LONG, 4))
    assert len(ranker.render(LONG).title_spans) == 4
    np.testing.assert_array_equal(ranker.score([LONG], ROWS), ranker.score([spell(LONG, 4)], ROWS))


def test_chunks_add_the_mean_gain_over_no_history(lm: Backbone) -> None:
    ranker = Ranker(lm, catalogue(), scoring=IN_CHUNKS)
    engine = Likelihood(lm)
    titles = [TITLES[row] for row in ROWS[0]]
    prompts = [ranker.render(part) for part in chunks(LONG, 4)]
    assert len(prompts) == 2
    apart = np.mean(engine.score_texts(prompts, [titles] * 2), axis=0)
    (without,) = engine.score_texts(["Recommend an item."], [titles])
    (recent,) = engine.score_texts([ranker.render(spell(LONG, 4))], [titles])
    expected = recent + IN_CHUNKS.chunk_weight * (apart - without)
    np.testing.assert_allclose(ranker.score([LONG], ROWS)[0], expected, atol=1e-3)


def test_a_short_history_scores_as_it_does_without_chunks(lm: Backbone) -> None:
    short = having(1, 2, 3)
    plain = Ranker(lm, catalogue(), scoring=ScoringConfig(spelled=4))
    apart = Ranker(lm, catalogue(), scoring=IN_CHUNKS)
    np.testing.assert_array_equal(plain.score([short], ROWS), apart.score([short], ROWS))


def test_what_is_remembered_gives_the_very_scores_of_reading_anew(lm: Backbone) -> None:
    warm = Ranker(lm, catalogue(), scoring=IN_CHUNKS)
    first = warm.score([LONG], ROWS)
    assert (warm.older.memories.hits, warm.older.memories.misses) == (0, 2)
    again = warm.score([LONG], ROWS)
    assert (warm.older.memories.hits, warm.older.memories.misses) == (2, 2)
    unkept = Ranker(lm, catalogue(), scoring=IN_CHUNKS.model_copy(update={"chunk_memory": 0.0}))
    for found in (again, unkept.score([LONG], ROWS), unkept.score([LONG], ROWS)):
        np.testing.assert_array_equal(first, found)
    assert len(unkept.older.memories) == 0


def test_others_histories_never_leak_into_somebodys_scores(lm: Backbone) -> None:
    other = having(*range(20, 31))
    alike = replace(LONG, user_id="somebody else")
    together = Ranker(lm, catalogue(), scoring=IN_CHUNKS)
    for one in (LONG, other, alike, LONG):
        alone = Ranker(lm, catalogue(), scoring=IN_CHUNKS).score([one], ROWS)
        np.testing.assert_array_equal(together.score([one], ROWS), alone)


def test_the_longest_unused_goes_first_and_the_bound_holds(lm: Backbone) -> None:
    prompts = [[5 + number] * 40 for number in range(4)]
    size = held_bytes(lm.read([prompts[0]]))
    kept = ChunkMemories(lm, 2.5 * size / 2**20)
    for number in (0, 1, 0, 2):
        kept.get(prompts[number])
        assert kept.bytes <= 2.5 * size
    assert len(kept) == 2
    misses = kept.misses
    kept.get(prompts[0])
    assert kept.misses == misses
    kept.get(prompts[1])
    assert kept.misses == misses + 1
    kept.forget()
    assert (len(kept), kept.bytes) == (0, 0)


def test_without_a_longest_history_all_titles_are_told(lm: Backbone) -> None:
    ranker = Ranker(lm, catalogue())
    assert len(ranker.render(LONG).title_spans) == len(LONG.preference.history)


class Tight:
    """A backbone that has no room while prompts are remembered, or ever."""

    def __init__(self, inner: Backbone, room: Callable[[], bool]) -> None:
        self.inner, self.room = inner, room
        self.limits, self.device = inner.limits, torch.device("cpu")

    def read(self, prompts):
        if not self.room():
            raise MemoryError
        return self.inner.read(prompts)


def test_where_memory_runs_out_what_is_remembered_goes_before_a_chunk_is_read(lm) -> None:
    tight = Tight(lm, lambda: len(kept) == 0)
    kept = ChunkMemories(tight, 64)
    kept.get([5] * 10)
    with pytest.warns(InstructRecWarning, match="memory ran out"):
        found = kept.get([6] * 10)
    with torch.inference_mode():
        assert torch.equal(found.last, lm.read([[6] * 10]).last)
    assert len(kept) == 1
    assert tight.limits.halvings == 1


@pytest.mark.filterwarnings("ignore:memory ran out")
def test_a_chunk_that_never_fits_is_one_clear_error(lm: Backbone) -> None:
    with pytest.raises(ModelError, match="not enough memory on cpu for a prompt of 10 tokens"):
        ChunkMemories(Tight(lm, lambda: False), 64).get([5] * 10)


@pytest.mark.parametrize(
    "wrong", [{"rule": "mean"}, {"list_candidates": True}, {"spelled": 0}, {"spelled": None}]
)
def test_settings_that_do_not_go_together_are_refused(wrong) -> None:
    with pytest.raises(ValidationError):
        ScoringConfig(long_history="chunks", **{"spelled": 4, **wrong})
