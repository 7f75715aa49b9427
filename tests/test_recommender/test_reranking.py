"""Any texts are reranked by a query, by a user's history and by what is known of items."""

from __future__ import annotations

import numpy as np
import pytest

from instructrec.questions import Question
from instructrec.reranking import rerank

TEXTS = ["a book about bread", "Turbo Kart Deluxe", "racing wheel for a console", "garden gloves"]


def test_texts_that_say_what_is_asked_come_first(recommender):
    found = rerank(recommender, Question(wish="racing wheel"), TEXTS)
    assert np.argmax(found.scores) == 2
    assert np.all((found.relevance > 0) & (found.relevance < 1))
    np.testing.assert_allclose(sum(found.evidence.values()), found.scores)


def test_who_asks_matters(recommender):
    found = {
        user: rerank(recommender, Question(user=user, wish="something nice"), TEXTS).scores
        for user in ("ann", "bob")
    }
    assert np.argmax(found["ann"]) == 1  # what others who raced took
    assert found["bob"][1] < found["ann"][1]


def test_a_title_counts_as_its_item_and_a_foreign_text_as_its_words(recommender):
    found = rerank(recommender, Question(user="ann"), TEXTS)
    assert found.evidence["neighbours"][1] == 0.0  # alone among items it stands for the average
    both = rerank(recommender, Question(user="ann"), [*TEXTS, "h1"])
    assert both.evidence["neighbours"][1] > 0 > both.evidence["neighbours"][4]
    assert both.evidence["neighbours"][0] == 0.0


def test_the_order_of_the_documents_does_not_matter(recommender):
    question = Question(user="ann", wish="racing")
    found, turned = (rerank(recommender, question, texts) for texts in (TEXTS, TEXTS[::-1]))
    np.testing.assert_allclose(found.scores, turned.scores[::-1], atol=1e-12)


def test_equal_documents_get_equal_scores_and_one_is_enough(recommender):
    found = rerank(recommender, Question(wish="racing"), ["racing", "racing", "bread"])
    assert found.scores[0] == found.scores[1] > found.scores[2]
    assert rerank(recommender, Question(wish="racing"), ["bread"]).relevance == pytest.approx([0.5])
