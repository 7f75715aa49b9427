"""A real pretrained causal model loads, ranks and answers; runs where it has been pulled."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from instructrec import pretrained
from instructrec.backbones import Backbone, load
from instructrec.data.catalogue import Catalogue
from instructrec.instructions.schema import Instruction, Intention, IntentionKind
from instructrec.ranking.ranker import Ranker
from instructrec.ranking.scoring import ScoringConfig

from .conftest import plain_sum

NAME = "smollm2-135m-instruct"
TITLES = ["Mario Kart 8 Deluxe", "Gardening for Beginners", "The Joy of Cooking"]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not pretrained.is_pulled(NAME), reason=f"needs instructrec models pull {NAME}"
    ),
]


@pytest.fixture(scope="module")
def smollm2() -> Backbone:
    return load(NAME, dtype="float32")


def test_it_is_asked_by_its_chat_template(smollm2: Backbone) -> None:
    (ids,) = smollm2.prompt_ids(["Which city is the capital of France?"])
    text = smollm2.tokenizer.decode(ids)
    assert text.endswith("capital of France?<|im_end|>\n<|im_start|>assistant\n")
    assert smollm2.tokenizer.decode(smollm2.candidate_ids(["Paris"])[0]) == "Paris<|im_end|>"


def test_it_answers(smollm2: Backbone) -> None:
    (answer,) = smollm2.generate(["Which city is the capital of France?"], max_new_tokens=12)
    assert "Paris" in answer


def test_its_likelihoods_are_plain_transformers_own(smollm2: Backbone) -> None:
    (prompt,) = smollm2.prompt_ids(["Something with fast cars for a child."])
    ids = smollm2.candidate_ids(TITLES)
    (found,) = smollm2.token_log_likelihoods([prompt], [ids])
    for candidate, value in zip(ids, found.sums, strict=True):
        assert abs(value - plain_sum(smollm2, prompt, candidate)) < 1e-3


def test_a_wish_speaks_for_the_title_it_is_about(smollm2: Backbone) -> None:
    items = pl.DataFrame({"item_id": ["a", "b", "c"], "title": TITLES})
    ranker = Ranker(smollm2, Catalogue(items), scoring=ScoringConfig.untuned())
    wishes = ["a video game with racing cars", "a book on growing vegetables", "a book of recipes"]
    asked = [Instruction(intention=Intention(wish, IntentionKind.SPECIFIC)) for wish in wishes]
    scores = ranker.score(asked, np.tile(np.arange(3), (3, 1)))
    assert scores.argmax(axis=0).tolist() == [0, 1, 2]
    assert ranker.rank(asked[:1], np.array([[2, 1, 0]]))[0, 0] == 0
