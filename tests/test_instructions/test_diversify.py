"""Variants of a wish hold for its target, give it away never, and come at the stated rates."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from instructrec.instructions._diversity import Dice, are_english
from instructrec.instructions._typing import mistyped, telegraphic, typed
from instructrec.instructions.annotations import names_title
from instructrec.instructions.diversify import NO_DIVERSITY, DiversityRates, Varied, diversify
from instructrec.instructions.teachers.base import ItemFacts
from instructrec.instructions.wishes import Vocabulary, parse_request

OFF = NO_DIVERSITY
KART = ItemFacts(
    "Turbo Kart (Ages 6-9)",
    ("Video Games", "Racing Games"),
    "Acme",
    "A silly kart racer.",
    (("platform", "Wii"), ("year", "2012")),
    27.0,
)
RALLY = ItemFacts(
    "Rally Kings - Gold Edition",
    ("Video Games", "Racing Games"),
    "Bold & Co",
    attributes=(("platform", "PC"), ("year", "2004")),
    price=60.0,
)
SHOOTER = ItemFacts("Iron Storm", ("Video Games", "Shooters"), "Acme", price=30.0)
HISTORY = (RALLY, SHOOTER)
WISH = "I'm looking for a silly race with friends."


def only(*styles: str) -> DiversityRates:
    return OFF.model_copy(update={style.replace("-", "_"): 1.0 for style in styles})


def variants(
    style: str,
    text: str = WISH,
    target: ItemFacts = KART,
    history: tuple[ItemFacts, ...] = HISTORY,
) -> list[Varied]:
    rates = only(style)
    return [diversify(text, "I1", target, history, seed=seed, rates=rates) for seed in range(200)]


def texts(style: str, **more: object) -> set[str]:
    return {one.text for one in variants(style, **more) if one.how == style}  # type: ignore[arg-type]


def test_a_wish_is_left_alone_where_no_rate_is_set() -> None:
    assert diversify(WISH, "I1", KART, HISTORY, seed=3, rates=OFF) == Varied(WISH, "I1", "plain")


def test_styles_come_at_their_rates_and_the_same_seed_makes_the_same_variant() -> None:
    made = [diversify(WISH, "I1", KART, HISTORY, seed=seed) for seed in range(4000)]
    assert made == [diversify(WISH, "I1", KART, HISTORY, seed=seed) for seed in range(4000)]
    counts = Counter(style for one in made for style in one.how.split("+"))
    for style in ("negated", "compared", "limited", "follow-up", "telegraphic", "typed", "typos"):
        expected = 4000 * DiversityRates().of(style)
        assert 0.7 * expected < counts[style] < 1.3 * expected, style
    assert {one.kind for one in made} == {"I1"}


def test_a_list_of_labels_is_said_as_a_sentence_about_the_narrowest_and_nothing_else_is() -> None:
    labels = "Video Games, Racing Games"
    made = [
        diversify(labels, "I2", KART, HISTORY, seed=seed, rates=only("spoken")).text
        for seed in range(60)
    ]
    assert "I'm looking for racing games." in made and "Do you have racing games?" in made
    assert all("racing games" in text and "Video" not in text for text in made)
    for text, kind in ((labels, "I1"), ("racing games for two", "I2"), ("Racing, fast", "I2")):
        rates = only("spoken")
        assert diversify(text, kind, KART, HISTORY, seed=1, rates=rates) == Varied(text, kind)


def test_of_labels_in_no_order_one_or_two_that_tell_something_are_named() -> None:
    labels = ("CDs & Vinyl", "Jazz", "Soul", "Digital Music")
    album = ItemFacts("Night Drive", labels)
    made = {
        diversify(", ".join(labels), "I2", album, seed=seed, rates=only("spoken")).text
        for seed in range(60)
    }
    assert {"I need jazz.", "I need soul.", "I need jazz and soul."} <= made
    assert not any("digital" in text.lower() or "vinyl" in text.lower() for text in made)


def test_limits_hold_for_the_target_and_are_read_back_as_such() -> None:
    class Shop:
        items = pl.DataFrame(
            {
                "item_id": ["a", "b"],
                "price": [KART.price, RALLY.price],
                "brand": [KART.brand, RALLY.brand],
                "categories": [list(KART.categories), list(RALLY.categories)],
            }
        )

    vocabulary = Vocabulary.of(Shop())
    read = Counter[str]()
    for text in sorted(texts("limited")):
        _, filters = parse_request(text, vocabulary)
        assert filters.mask(Shop.items)[0], text
        assert ("price" in str(filters)) == bool(re.search(r" \d\d\b(?!-)", text)), text
        assert ("brand == Acme" in str(filters)) == ("by Acme" in text), text
        read.update(condition.column for condition in filters.conditions)
    assert read["price"] > 5 and read["brand"] > 5


def test_limits_name_price_age_brand_and_attributes() -> None:
    told = " | ".join(sorted(texts("limited")))
    for part in ("under 30", "no more than 30", "for a 6-year-old", "by Acme", "for Wii"):
        assert part in told
    assert "10-year-old" not in told and "for an 8-year-old" in told


def test_a_wish_with_a_figure_of_its_own_gets_no_second_price() -> None:
    assert not re.search(" 30", " ".join(texts("limited", text="A race for less than 100.")))


def test_only_what_the_history_has_and_the_target_lacks_is_ruled_out() -> None:
    told = texts("negated")
    assert "I'm looking for a silly race with friends, not another shooter." in told
    assert "I'm looking for a silly race with friends, but not for PC." in told
    assert "I'm looking for a silly race with friends, but not by Bold & Co again." in told
    assert not any("racing" in text or "Acme" in text or "Wii" in text for text in told)


@pytest.mark.parametrize(
    "target",
    [
        replace(KART, categories=("Video Games", "Arcade Shooters"), attributes=(), brand=""),
        replace(KART, title="Space Shooter", attributes=(), brand=""),
        replace(KART, description="Half racer, half shooter.", attributes=(), brand=""),
    ],
)
def test_nothing_is_ruled_out_that_the_target_may_be(target: ItemFacts) -> None:
    assert texts("negated", target=target, history=(SHOOTER,)) == set()


def test_what_is_ruled_out_is_never_read_as_a_limit() -> None:
    class Shop:
        items = pl.DataFrame(
            {
                "item_id": ["a", "b", "c"],
                "brand": [item.brand for item in (KART, *HISTORY)],
                "categories": [list(item.categories) for item in (KART, *HISTORY)],
            }
        )

    for text in sorted(texts("negated") | texts("negated", text="Video Games, Racing Games")):
        _, filters = parse_request(text, Shop())
        assert filters.mask(Shop.items)[0], text
        assert ("brand != Bold & Co" in str(filters)) == ("by Bold & Co" in text)


def test_comparisons_name_an_item_like_it_and_a_true_difference() -> None:
    told = texts("compared")
    assert "I'm looking for a silly race with friends, like Rally Kings, but cheaper." in told
    differences = {re.sub(r".*Rally Kings, ", "", text) for text in told}
    assert differences <= {
        f"{word} {difference}."
        for word in ("but", "only")
        for difference in ("cheaper", "by another brand", "for Wii", "newer")
    }
    assert len(differences) >= 6
    assert not any("Iron Storm" in text for text in told)


def test_a_follow_up_holds_the_wish_what_was_shown_and_the_reply() -> None:
    told = texts("follow-up")
    assert all("silly race" in text and "Rally Kings" in text for text in told)
    assert any(text.endswith("Something cheaper, please.") for text in told)
    same = replace(RALLY, brand="Acme", price=None, attributes=())
    book = replace(KART, categories=("Books", "Racing"), attributes=())
    other = replace(same, categories=("Books", "Racing"))
    assert any(
        "omething else from this author" in text
        for text in texts("follow-up", target=book, history=(other,))
    )
    assert not any("\n" in text for text in told)


def test_nothing_is_compared_with_another_edition_of_the_target() -> None:
    edition = replace(RALLY, title="Turbo Kart - Gold Edition")
    assert texts("compared", history=(edition,)) == texts("follow-up", history=(edition,)) == set()


@pytest.mark.parametrize("style", ["negated", "compared", "follow-up"])
def test_without_a_history_there_is_nothing_to_say_of_it(style: str) -> None:
    assert {one.how for one in variants(style, history=())} == {"plain"}


def test_a_variant_that_would_name_the_target_is_left_out() -> None:
    target = replace(KART, title="Acme", attributes=(), price=None, description="")
    assert texts("limited", target=target) == set()


@pytest.mark.parametrize(
    "text",
    [
        "我想要一个赛车游戏。",
        "Ищу гонки для друзей.",
        "Ich will ein Rennspiel für meine Kinder.",
        "Je veux un jeu de course pour mon fils.",
        "Quiero un juego de carreras para mi hijo.",
        "",
        "2019",
    ],
)
def test_wishes_in_another_language_and_empty_ones_stay_as_they_are(text: str) -> None:
    rates = only("limited", "typed", "typos")
    assert diversify(text, "I1", KART, HISTORY, seed=1, rates=rates) == Varied(text, "I1")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("I'm looking for a racing game, for a 6-year-old, under 30.",
         "racing game for 6-year-old under 30"),
        ("I’d love some music, but no more jazz this time.", "music but no more jazz"),
        ("What I have in mind is a gift for my son.", "gift for son"),
        ("Video Games, Racing Games, not by Acme", "video games racing games not by acme"),
        ("I want something like Turbo Kart, only cheaper.", "like turbo kart only cheaper"),
        ("I need it.", ""),
    ],
)  # fmt: skip
def test_a_telegraphic_wish_keeps_what_limits_and_rules_out(text: str, expected: str) -> None:
    assert telegraphic(text) == expected


def test_a_conversation_is_never_cut_to_a_telegram() -> None:
    rates = only("follow-up", "telegraphic")
    made = [diversify(WISH, "I1", KART, HISTORY, seed=seed, rates=rates) for seed in range(50)]
    assert {one.how for one in made} == {"follow-up"}


def test_typed_wishes_are_in_lower_case_without_a_full_stop() -> None:
    assert typed("I want a Wii game. Cheap!") == "i want a wii game. cheap"
    assert typed("Any Wii games?") == "any wii games?"


@given(text=st.text(alphabet="abcdeXYZ 0123,.'", max_size=120), seed=st.integers(0, 2**63 - 1))
@settings(max_examples=200, deadline=None)
def test_slips_are_few_and_spare_numbers_short_words_and_first_letters(
    text: str, seed: int
) -> None:
    made = mistyped(text, Dice(seed))
    assert abs(len(made) - len(text)) <= 3
    assert re.findall(r"\d+", made) == re.findall(r"\d+", text)
    before, after = text.split(), made.split()
    assert [word[0] for word in before] == [word[0] for word in after]
    changed = [old for old, new in zip(before, after, strict=True) if old != new]
    assert len(changed) <= 3 and all(len(word) > 3 for word in changed)


_FACTS = st.builds(
    ItemFacts,
    title=st.text(min_size=1, max_size=20),
    categories=st.lists(st.sampled_from(["Games", "Racing Games", "R&B", "", "Wii"])).map(tuple),
    brand=st.text(max_size=10),
    description=st.text(max_size=30),
    attributes=st.lists(
        st.tuples(st.sampled_from(["platform", "color", "pages", "size", "x"]), st.text(max_size=8))
    ).map(tuple),
    price=st.none() | st.floats(-1, 1e5),
)


@given(
    text=st.text(max_size=60) | st.just(WISH),
    target=_FACTS,
    history=st.lists(_FACTS, max_size=3),
    seed=st.integers(0, 2**63 - 1),
)
@settings(max_examples=300, deadline=None)
def test_any_facts_and_any_wish_can_be_varied_and_no_variant_names_the_target(
    text: str, target: ItemFacts, history: list[ItemFacts], seed: int
) -> None:
    rates = DiversityRates(
        negated=0.25, compared=0.25, limited=0.25, follow_up=0.25, telegraphic=0.5, typos=0.5
    )
    made = diversify(text, "I1", target, history, seed=seed, rates=rates)
    assert made.how == "plain" or made.text != text
    if not names_title(text, target.title):
        assert not names_title(made.text, target.title)


@pytest.mark.parametrize(
    "wrong", [{"negated": 1.5}, {"negated": 0.6, "limited": 0.6}, {"typed": 0.95}, {"poems": 0.1}]
)
def test_rates_that_cannot_be_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"negated|limited|typed|poems"):
        DiversityRates(**wrong)


def test_the_language_of_many_texts_is_told_by_those_that_show_it() -> None:
    labels = ["Soul, Funk", "Jazz"]
    assert are_english([]) and are_english(labels)
    assert are_english([*labels, "I want to hear warm horns.", "Soul für mich."])
    assert not are_english([*labels, "Ich mag warme Bläser und Soul.", "Etwas mit Chor."])
    assert not are_english([*labels, "我想要温暖的铜管乐。"])


@pytest.mark.parametrize(
    ("told", "years"),
    [
        ("For ages 6-8.", {"6", "7", "8"}),
        ("For ages 6 to 18 months.", set()),
        ("Ages 6-12m, soft.", set()),
        ("Not recommended for ages 1-3.", set()),
        ("Not for ages 1-3. Fine for ages 4 and up.", {"4", "5", "6"}),
    ],
)
def test_an_age_is_asked_for_only_where_the_item_is_for_it(told: str, years: set[str]) -> None:
    target = ItemFacts("Wooden Train", ("Toys", "Trains"), description=told)
    said = {found for text in texts("limited", target=target) for found in re.findall(r"\d+", text)}
    assert said == years


@pytest.mark.parametrize(
    ("own", "other", "word"),
    [
        ("300 pages", "200 pages", "longer"),
        ("200", "300", "shorter"),
        ("2 hours", "90 minutes", ""),
        ("1,200 pages", "300 pages", ""),
        ("1:30", "95", ""),
    ],
)
def test_figures_are_compared_in_one_unit_only(own: str, other: str, word: str) -> None:
    target = ItemFacts("The Long Road", ("Books", "Travel"), attributes=(("length", own),))
    earlier = ItemFacts("Hill Walks", ("Books", "Travel"), attributes=(("length", other),))
    said = {
        name
        for name in ("longer", "shorter")
        for text in texts("compared", target=target, history=(earlier,))
        if name in text
    }
    assert said == ({word} if word else set())


@pytest.mark.parametrize(("size", "said"), [("M", ", in size M."), ("20 Rolls", ", 20 Rolls.")])
def test_an_amount_is_no_size_to_be_in(size: str, said: str) -> None:
    told = texts("limited", target=ItemFacts("Journal", ("Crafts",), attributes=(("size", size),)))
    assert any(text.endswith(said) for text in told)
    assert not any("size 20" in text for text in told)
