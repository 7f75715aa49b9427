"""What of a history and a wish speaks for an item."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from instructrec.instructions.schema import Instruction, Intention, IntentionKind, Preference
from instructrec.reasons import MOST, Reasons


def asked(*history: str, wish: str = "") -> Instruction:
    intention = Intention(wish, IntentionKind.VAGUE) if wish else Intention()
    return Instruction(Preference(history=tuple(history), history_ids=tuple(history)), intention)


def test_what_is_taken_together_speaks_strongest(recommender):
    catalogue = recommender.catalogue
    reasons = Reasons(catalogue, recommender.retrievers)
    rows = catalogue.rows(["g2", "h1"])
    kart, hose = reasons.because(asked("g1", "g4"), rows)
    assert [title for title, _ in kart.history] == ["g1"]
    assert all(0 < strength <= 1 for _, strength in kart.history)
    assert hose.history == ()


def test_what_reads_alike_speaks_where_nobody_took_both(recommender):
    catalogue = recommender.catalogue
    vectors = np.zeros((len(catalogue), 2), dtype=np.float32)
    vectors[catalogue.rows(["h1", "g1"])] = [1.0, 0.0]
    reasons = Reasons(catalogue, {"dense": SimpleNamespace(vectors=vectors)})
    (because,) = reasons.because(asked("g1", "g4"), catalogue.rows(["h1"]))
    assert because.history == (("g1", 1.0),)


def test_at_most_three_titles_are_named_the_strongest_first(recommender):
    catalogue = recommender.catalogue
    vectors = np.ones((len(catalogue), 1), dtype=np.float32)
    vectors *= np.linspace(0.5, 1.0, len(catalogue), dtype=np.float32)[:, None]
    reasons = Reasons(catalogue, {"dense": SimpleNamespace(vectors=vectors)})
    history = ("g1", "g2", "g3", "g4", "h1")
    (because,) = reasons.because(asked(*history), catalogue.rows(["h4"]))
    assert [title for title, _ in because.history] == list(history[::-1][:MOST])


def test_words_of_the_wish_are_found_whatever_their_ending(recommender):
    reasons = Reasons(recommender.catalogue, {})
    rows = recommender.catalogue.rows(["h4", "h3"])
    can, pot = reasons.because(asked(wish="water for the gardens, my can leaks"), rows)
    assert can.words == ("water", "gardens")
    assert pot.words == ("gardens",)
    assert can.history == ()


class Colours:
    """Reads a text as how much racing and how much water is in it."""

    def encode(self, texts):
        racing = [float("petrol" in text) for text in texts]
        water = [float("rain" in text) for text in texts]
        return np.array([racing, water], dtype=np.float32).T


def test_a_word_that_means_what_the_item_is_speaks_for_it_without_being_shared(recommender):
    catalogue = recommender.catalogue
    vectors = np.zeros((len(catalogue), 2), dtype=np.float32)
    kart, can = catalogue.rows(["g1", "h4"])
    vectors[kart], vectors[can] = [1.0, 0.0], [0.0, 1.0]
    reasons = Reasons(catalogue, {"dense": SimpleNamespace(vectors=vectors, encoder=Colours())})
    wish = asked(wish="something for a petrol head on rainy days")
    first, second = reasons.because(wish, np.array([kart, can]))
    assert first.words == ("petrol",)
    assert second.words == ("rainy",)


def test_wishes_read_together_give_the_same_reasons_and_are_read_once(recommender):
    catalogue = recommender.catalogue
    vectors = np.eye(len(catalogue), 2, dtype=np.float32)
    read: list[str] = []

    class Counting(Colours):
        def encode(self, texts):
            read.extend(texts)
            return super().encode(texts)

    reasons = Reasons(catalogue, {"dense": SimpleNamespace(vectors=vectors, encoder=Counting())})
    wishes = [asked(wish="petrol in the rain"), asked(wish="petrol"), asked()]
    rows = np.array([0, 1])
    alone = [reasons.because(one, rows) for one in wishes]
    read.clear()
    reasons.read(wishes)
    once = len(read)
    assert once == len(set(read))
    reasons.read(wishes)
    assert [reasons.because(one, rows) for one in wishes] == alone
    assert len(read) == once
