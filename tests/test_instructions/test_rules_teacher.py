"""The rules teacher: readable, in the right person, true to its sources, and no leak."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from instructrec.instructions.teachers._mining import mine, plain
from instructrec.instructions.teachers._needs import wish_said
from instructrec.instructions.teachers._sayings import should
from instructrec.instructions.teachers._wording import (
    Secret,
    label_phrase,
    listed,
    plural_of,
    with_article,
)
from instructrec.instructions.teachers.base import Ask, ItemFacts
from instructrec.instructions.teachers.named import teacher_named
from instructrec.instructions.teachers.rules import LONGEST_TEXT, RulesTeacher

TEACHER = RulesTeacher()
WISHES = ("what_i_want", "what_it_is_like")
VIEWS = ("overall", "long_term", "short_term")
ALBUM = ItemFacts("Night Drive", ("CDs & Vinyl", "Pop", "Soul", "Digital Music"))
REVIEW = (
    "I love this album! Warm vocals, catchy hooks and a driving bass line. It is mellow and "
    "soulful, real seventies soul. The lyrics are clever, though the cover is ugly."
)


def say(review: str, facts: ItemFacts = ALBUM, view: str = "what_i_want", seed: int = 0) -> str:
    return TEACHER.intention(review, facts, view, np.random.default_rng(seed))


def words_of(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def gives_away(text: str, title: str) -> bool:
    """An oracle of its own: three words of the title in a row, or all of a shorter one."""
    padded, wanted = f" {' '.join(words_of(text))} ", words_of(title)
    size = min(3, len(wanted))
    runs = [wanted[at : at + size] for at in range(len(wanted) - size + 1)] if size else []
    return any(f" {' '.join(run)} " in padded for run in runs)


def test_a_wish_is_in_the_first_person_and_says_what_the_review_says() -> None:
    for seed in range(20):
        text = say(REVIEW, seed=seed)
        assert re.search(r"\b(?:I|I'm|I'd|me)\b", text), text
        assert "warm vocals" in text or "driving bass line" in text
        assert "seventies soul" in text
        assert text.endswith(".") and text[0].isupper()


def test_the_second_wish_says_something_else() -> None:
    first = {say(REVIEW, seed=seed) for seed in range(8)}
    second = {say(REVIEW, view="what_it_is_like", seed=seed) for seed in range(8)}
    assert not first & second
    assert any("clever lyrics" in text or "catchy hooks" in text for text in second)


def test_what_is_denied_is_not_wished_for_and_faults_are_wished_away() -> None:
    assert "smooth" not in say("The vocals are not smooth and it was never funky.")
    assert mine("It has no catchy hooks.").features == ()
    assert say("Warm vocals but cheesy lyrics.").endswith("without cheesy lyrics.")
    assert "nothing too loud" in say("Warm vocals. It is too loud.")


@pytest.mark.parametrize(
    ("review", "part"),
    [
        ("Got this for my 5 year old grandson and he loves it.", "my five-year-old grandson"),
        ("It is sturdy and perfect for road trips.", "for road trips"),
        ("I use it to teach beginners.", "to teach beginners"),
        ("I was looking for a sturdy crate.", "a sturdy crate"),
        ("It is easy to clean.", "easy to clean"),
        ("A sturdy lamp. Great for my office.", "for my office"),
    ],
)
def test_uses_people_and_needs_are_found(review: str, part: str) -> None:
    thing = ItemFacts("Acme 300", ("Tools & Home Improvement",))
    assert any(part in say(review, thing, seed=seed) for seed in range(6))


PLANTER = ItemFacts(
    "Oakley Hanging Planter, Green",
    ("Patio, Lawn & Garden", "Gardening", "Pots", "Planters"),
    description="A planter with lush colors and a sturdy chain.",
)


@pytest.mark.parametrize(
    ("review", "clause"),
    [
        ("I needed a way to keep my ferns alive, that is all.", "a way to keep my ferns alive"),
        ("We were looking for something that lasted for years.", "something that lasts"),
        ("Nice. I've been searching for a quiet pump since May.", "a quiet pump"),
        ("Got these to hide the ugly fence and they do.", "something to hide the ugly fence"),
        ("Bought this for my 5 year old son who digs.", "for my five-year-old son who digs"),
        ("I wanted something my dad and I can share.", "something my dad and I can share"),
        ("It was a birthday present for our neighbour.", "a birthday gift for our neighbour"),
        ("Fine for anyone who needs deep shade would be my guess.", "deep shade"),
        ("If you want a bit of your youth back, this is it.", "a bit of my youth back"),
        ("Perfect for someone who loves cactuses.", "something for someone who loves cactuses"),
        ("I wanted to grow herbs on the sill.", "to grow herbs on the sill"),
    ],
)
def test_a_wish_that_the_review_states_is_told_as_said_before(review: str, clause: str) -> None:
    for seed in range(9):
        text = say(review, PLANTER, seed=seed)
        assert text.endswith(f"{clause}."), text
        assert re.search(r"\b(?:I|I'm|I'd|me)\b", text)
        assert "planter" not in text.lower()
        assert say(review, PLANTER, "what_it_is_like", seed) != text


@pytest.mark.parametrize(
    "review",
    [
        "Exactly what I needed for the porch.",
        "I wanted to like this.",
        "I didn't need it.",
        "I got it.",
        "I was looking for this one.",
        "If I wanted a toy I would say so.",
        "It was all I needed to return.",
    ],
)
def test_what_is_no_wish_is_not_taken_for_one(review: str) -> None:
    assert wish_said(review, PLANTER.title) is None


@pytest.mark.parametrize("review", ["Great!", "Broken.", "This planter arrived on time."])
def test_a_review_that_says_little_tells_the_department_alone(review: str) -> None:
    for view in WISHES:
        for seed in range(9):
            text = say(review, PLANTER, view, seed)
            assert "something for the garden" in text
            assert not re.search(r"planter|pots|gardening|hanging|lush|chain", text.lower()), text
    unknown = ItemFacts("Oakley Planter", ("Yard Art", "Planters"))
    assert say(review, unknown).endswith("something in yard art.")
    assert say(review, ItemFacts("Oakley Planter", ("Planters",))) == ""


def test_what_a_liked_thing_does_is_wished_for() -> None:
    review = "It keeps the soil damp, even in July. It clogs when dirty."
    assert say(review, PLANTER).endswith("something for the garden that keeps the soil damp.")
    assert say(review, PLANTER, "what_it_is_like") == "It should keep the soil damp."
    assert "damp" not in say(review, replace(PLANTER, rating=1.0))


def test_music_without_a_word_about_it_is_a_broad_genre() -> None:
    assert "some pop" in say("Great!")
    assert "soul" not in say("Great!", replace(ALBUM, categories=("Music", "Pop", "Soul")))
    assert say("", ItemFacts("x", ("Music", "Quiet", "Soul"))).endswith("some music.")
    assert not mine("Great!").features
    assert say("Great!", ItemFacts("Night Drive")) == ""
    assert say("", ItemFacts("")) == ""


def test_entities_and_tags_are_turned_back() -> None:
    assert plain("R&amp;B &quot;x&quot;<br />good") == 'R&B "x"\ngood'


def test_a_long_review_is_read_by_its_beginning() -> None:
    text = say(f"Warm vocals. {'It came on a Monday. ' * 200}Catchy hooks.")
    assert "warm vocals" in text and "hooks" not in text
    brief = RulesTeacher(longest_review=30)
    assert "hooks" not in brief.intention(
        "It came on a Monday, warm, with catchy hooks.",
        ALBUM,
        "what_i_want",
        np.random.default_rng(0),
    )


def test_specific_is_the_labels_broad_to_narrow_and_limits_only_on_request() -> None:
    item = ItemFacts("Zed", ("Beauty", "Skin Care", "Toners"), brand="Acme", price=12.5)
    assert TEACHER.specific(item) == "Beauty, Skin Care, Toners"
    more = RulesTeacher(limits=True).specific(item)
    assert more == "Beauty, Skin Care, Toners, Acme, under 15 dollars"
    assert TEACHER.specific(ItemFacts("Soul", ("Music", "Soul", "Funk"))) == "Music, Funk"
    assert TEACHER.specific(ItemFacts("x")) == ""


SHIRT = ItemFacts(
    "Zed", ("Clothing", "Shirts"), attributes=(("colour", "Blue"), ("size", "M")), price=27.0
)


def test_limits_are_attributes_and_a_price_after_the_labels() -> None:
    teacher = RulesTeacher(limits=True)
    assert teacher.specific(SHIRT) == "Clothing, Shirts, Blue, M, under 30 dollars"
    drawn = {teacher.specific(SHIRT, np.random.default_rng(seed)) for seed in range(20)}
    assert all(text.startswith("Clothing, Shirts") for text in drawn) and len(drawn) > 4
    assert TEACHER.specific(SHIRT) == "Clothing, Shirts"
    assert teacher.name == "rules:limits" and teacher_named("rules:limits").name == teacher.name


def test_attributes_stand_for_categories_that_are_missing() -> None:
    game = ItemFacts("Turbo", attributes=(("platform", "Wii"), ("kind", "unknown")))
    assert TEACHER.specific(game) == "Wii"


HISTORY = (
    ItemFacts("One Lamp", ("Home & Kitchen", "Desk Lamps"), rating=5.0),
    ItemFacts("Two Lamp", ("Home & Kitchen", "Desk Lamps"), rating=4.0),
    ItemFacts("Three Rug", ("Home & Kitchen", "Rugs"), rating=1.0),
    ItemFacts("Four Mug", ("Home & Kitchen", "Mugs"), rating=5.0),
)


def like(history: tuple[ItemFacts, ...], view: str, seed: int = 0) -> str:
    return TEACHER.preference(history, view, np.random.default_rng(seed))


def test_a_preference_is_in_the_third_person_and_weighs_by_rating() -> None:
    for seed in range(20):
        text = like(HISTORY, "overall", seed)
        assert re.match(r"(?:They|This customer|The customer|This person) ", text)
        assert text.index("desk lamps") < text.index("mugs")
        assert re.search(r"cares? less for rugs", text)


def test_the_short_view_tells_of_the_last_items_and_the_long_of_all() -> None:
    history = (*HISTORY, *[ItemFacts(f"No {n}", ("Home & Kitchen", "Kettles")) for n in range(3)])
    assert "kettles" in like(history, "short_term")
    assert "lamps" not in like(history, "short_term").split(" after ")[0]
    assert "desk lamps" in like(history, "long_term")


def test_brands_and_names_that_come_again_are_told() -> None:
    games = tuple(ItemFacts(f"Zelda {n}", ("Video Games", "Wii"), brand="Acme") for n in "ABC")
    assert "Acme" in like(games, "overall")
    nameless = tuple(replace(game, brand="") for game in games)
    assert "Zelda" in like(nameless, "overall")


def test_platforms_keep_their_names_and_a_label_that_says_nothing_is_not_said() -> None:
    shelf = [("Xbox One", "game"), ("GameCube", "other"), ("unknown", "console")]
    history = tuple(ItemFacts(f"Title {n}", labels) for n, labels in enumerate(shelf))
    texts = " ".join(like(history, "overall", seed) for seed in range(20))
    assert "consoles and games for GameCube and Xbox One" in texts
    assert not {"other", "unknown"} & set(words_of(texts))
    sewing = like((ItemFacts("Overlock 3", ("Sewing", "Machines")),), "overall")
    assert "machines" in sewing and "games" not in sewing


def test_a_history_that_tells_nothing_gives_no_text() -> None:
    assert all(like((), view) == "" for view in VIEWS)
    assert all(like((ItemFacts("Aa"), ItemFacts("Bb")), view) == "" for view in VIEWS)


def test_the_same_seed_gives_the_same_texts_in_whatever_order() -> None:
    asks = [
        Ask("intention", view, item=ALBUM, review=REVIEW, seed=seed)
        for view in WISHES
        for seed in range(5)
    ]
    asks += [Ask("preference", view, history=HISTORY, seed=3) for view in VIEWS]
    asks += [Ask("intention", "specific", item=ALBUM)]
    written = TEACHER.write(asks)
    assert {one.by for one in written} == {"rules"}
    assert written == RulesTeacher().write(asks)
    assert written[::-1] == TEACHER.write(asks[::-1])
    texts = [one.text for one in written]
    assert texts[:10] == TEACHER.intentions(asks[:10])
    assert texts[10:13] == TEACHER.preferences(asks[10:13])
    assert len(set(texts)) > 6


SOUP = [
    *("soul", "warm", "vocals", "catchy", "hooks", "funk", "night", "drive", "sturdy", "lamp"),
    *("my", "son", "for", "camping", "this", "album", "is", "and", "the", "with", "too", "loud"),
    *("perfect", "i", "use", "it", "to", "not", "a", ".", ",", "80s", "looking"),
]


@given(
    review=st.lists(st.sampled_from(SOUP), max_size=40).map(" ".join),
    title=st.lists(st.sampled_from(SOUP), min_size=1, max_size=4).map(" ".join),
    labels=st.lists(st.sampled_from(["Soul", "Music", "Desk Lamps", "Pop & Rock"]), max_size=3),
    seed=st.integers(0, 99),
)
@settings(max_examples=200, deadline=None)
def test_no_text_gives_the_title_away(
    review: str, title: str, labels: list[str], seed: int
) -> None:
    facts = ItemFacts(title, tuple(labels), review=review)
    texts = [say(review, facts, view, seed) for view in WISHES] + [TEACHER.specific(facts)]
    texts += [like((facts, facts), view, seed) for view in VIEWS]
    for text in texts:
        assert not gives_away(text, title)
        assert len(text.split()) <= LONGEST_TEXT
        assert "  " not in text and " ," not in text and ".." not in text


@given(text=st.text(max_size=80), title=st.text(max_size=30))
@settings(max_examples=150, deadline=None)
def test_a_secret_is_told_exactly_when_the_oracle_says_so(text: str, title: str) -> None:
    for told in (text, f"{text} {title} {text}"):
        assert Secret(title).told_by(told) == gives_away(told, title)
    assert Secret(title, "zz").told_by("a zz b")


def test_any_text_can_be_read() -> None:
    for text in ("", ".", "so", "too", "perfect for", "looking for a", "my", "a warm, and", "&#1;"):
        mine(plain(text))


@given(text=st.text(max_size=200))
@settings(max_examples=100, deadline=None)
def test_reading_never_fails(text: str) -> None:
    say(text)


def test_small_english_is_right() -> None:
    assert [with_article(word) for word in ("album", "unique hook", "hour", "USB cable")] == [
        "an album",
        "a unique hook",
        "an hour",
        "a USB cable",
    ]
    assert listed(["a", "b", "c"]) == "a, b and c"
    assert [plural_of(word) for word in ("lamp", "battery", "brush", "socks", "knife")] == [
        "lamps",
        "batteries",
        "brushes",
        "socks",
        "knives",
    ]
    assert label_phrase("Album-Oriented Rock (AOR)") == "album-oriented rock"
    assert label_phrase("R&B") == "R&B"


def real_asks(folder: Path) -> tuple[list[Ask], list[Ask]]:
    """Intentions of every user's last review and preferences of all before it."""
    items = {
        row["item_id"]: ItemFacts(
            row["title"],
            tuple(row["categories"] or ()),
            row["brand"] or "",
            row["description"] or "",
            price=row["price"],
        )
        for row in pl.read_parquet(folder / "items.parquet").iter_rows(named=True)
    }
    users = (
        pl.read_parquet(folder / "interactions.parquet")
        .sort("user_id", "timestamp", "item_id")
        .group_by("user_id", maintain_order=True)
        .agg(pl.all())
        .filter(pl.col("item_id").list.len() >= 3)
    )
    wishes, likes = [], []
    for number, row in enumerate(users.iter_rows(named=True)):
        last = items[row["item_id"][-1]]
        history = tuple(
            replace(items[item_id], rating=rating)
            for item_id, rating in zip(row["item_id"][:-1], row["rating"][:-1], strict=True)
        )
        wishes += [
            Ask("intention", view, item=last, review=row["review"][-1], seed=number)
            for view in WISHES
        ]
        likes += [Ask("preference", view, history=history, seed=number) for view in VIEWS]
    return wishes, likes


@pytest.mark.shared
def test_real_reviews_give_wishes_of_the_papers_kind_and_no_leak(shared_data: Path) -> None:
    wishes, likes = real_asks(shared_data / "digital-music")
    assert len(wishes) == 2 * 765
    texts = TEACHER.intentions(wishes)
    for ask, text in zip(wishes, texts, strict=True):
        assert ask.item is not None
        assert not gives_away(text, ask.item.title), (text, ask.item.title)
    for view in (0, 1):
        told = [text for text in texts[view::2] if text]
        assert len(told) >= 0.9 * 765
        assert 7 <= np.mean([len(text.split()) for text in told]) <= 25
        assert len(set(told)) > 0.6 * len(told)
    preferences = TEACHER.preferences(likes)
    for ask, text in zip(likes, preferences, strict=True):
        assert not any(gives_away(text, item.title) for item in ask.history), text
    told = [text for text in preferences if text]
    assert len(told) >= 0.9 * len(likes)
    assert 8 <= np.mean([len(text.split()) for text in told]) <= 25
    assert max(len(text.split()) for text in told) <= LONGEST_TEXT


def test_a_lamp_is_no_album_and_an_album_no_lamp() -> None:
    lamp = ItemFacts("Acme Bright Folding Desk Lamp, Black", ("Home & Kitchen",))
    assert "album" not in say("This album of mine was dark before. Sturdy base.", lamp)
    assert "lamp" not in say("I read under this lamp while the mellow soul plays.")


def album(review: str, view: str = "what_i_want", **facts: object) -> set[str]:
    """What is wished for an album with this review, in several wordings."""
    item = replace(ALBUM, **facts)  # type: ignore[arg-type]
    return {say(review, item, view, seed) for seed in range(12)}


@pytest.mark.parametrize(
    ("review", "part"),
    [
        ("It came out in 1971 and I wore out the tape.", "early-seventies"),
        ("Pure late 80's magic, every minute of it.", "late-eighties"),
        ("The guitar riffs are everywhere and I like that.", "guitar riffs"),
        ("There is a melodious chorus on most of these.", "a melodious chorus"),
        ("Plenty of banjo, and then strings.", "banjo and strings"),
        ("I play this whenever we have a party at home.", "for a party"),
        ("Everybody will dance to it.", "to dance to"),
        ("It takes me back to the yard where we played.", "takes me back to my younger days"),
        ("Every track is a winner.", "good throughout"),
        ("She is a songstress of her own kind.", "a strong woman's voice"),
    ],
)
def test_years_nouns_and_common_sayings_of_a_review_are_understood(review: str, part: str) -> None:
    assert any(part in text for text in album(review)), album(review)


def test_a_saying_that_is_denied_is_not_wished_for() -> None:
    assert not any("dance" in text for text in album("Nobody wants to. I never dance to it."))
    assert not any("goosebumps" in text for text in album("It gave me no goosebumps at all."))


def test_a_complaint_is_turned_into_what_is_wished_for_instead() -> None:
    bored = "So boring that I left the room."
    assert any("doesn't get boring" in text for text in album(bored, rating=1.0))
    assert not any("boring" in text for text in album(bored, rating=5.0))
    lamp = ItemFacts("Acme 300", ("Home & Kitchen",), rating=1.0)
    texts = {say("It broke the second day.", lamp, seed=seed) for seed in range(9)}
    assert all("doesn't break after a few weeks" in text for text in texts)


def test_the_second_wish_says_sayings_in_its_own_way() -> None:
    texts = album("It still sounds great and never gets old.", "what_it_is_like")
    assert any("should still sound fresh" in text for text in texts) or any(
        "should never get old" in text for text in texts
    )
    assert [should(that) for that in ("is quiet", "doesn't leak", "I can use", "really works")] == [
        "be quiet",
        "not leak",
        "be something I can use",
        "really work",
    ]


def test_an_album_is_named_by_the_shelf_on_which_it_stands_in_most_places() -> None:
    shelves = ("CDs & Vinyl", "Blues", "Pop", "R&B", "Funk", "Soul", "Rock", "Digital Music")
    assert any("some R&B" in text for text in album("Great!", categories=shelves))
    assert not any("blues" in text for text in album("Great!", categories=shelves))


def test_music_has_no_parts_that_one_holds_in_ones_hands() -> None:
    texts = album("A tough cookie with sturdy straps and a funky beat.")
    assert not any(re.search("cookie|straps", text) for text in texts)
    assert any("funky beat" in text for text in texts)


def test_something_for_the_cats_is_not_for_the_pet_as_well() -> None:
    toy = ItemFacts("Yowl", ("Pet Supplies",))
    texts = {say("I got them for my cats.", toy, seed=seed) for seed in range(9)}
    assert all("for my cats" in text and "my pet" not in text for text in texts)


def shelf(*games: tuple[str, str, str]) -> tuple[ItemFacts, ...]:
    return tuple(
        ItemFacts(title, attributes=(("platform", platform), ("kind", kind)))
        for title, platform, kind in games
    )


def test_a_taste_for_games_is_told_by_kind_and_what_they_are_played_on() -> None:
    history = shelf(
        ("Turbo Kart Racing", "Wii", "game"),
        ("City Racer 2", "Wii", "game"),
        ("Zed Wireless Headset", "Wii", "accessory"),
    )
    for seed in range(9):
        text = like(history, "overall", seed)
        assert "racing games" in text and "headsets" in text and "mostly on the Wii" in text
        assert re.match(r"(?:They|The player|This player) ", text)
    assert "mostly on PC" in like(
        shelf(("Chess A", "PC", "game"), ("Chess B", "PC", "game")), "overall"
    )


def test_a_taste_for_music_tells_its_decade_its_sound_and_what_it_is_for() -> None:
    history = (
        replace(ALBUM, review="Funky basslines from 1978. I dance to it.", rating=5.0),
        ItemFacts("Other Day", ALBUM.categories, rating=5.0, review="Warm horns, 1977 at best."),
    )
    texts = {like(history, "overall", seed) for seed in range(9)}
    assert all("late-seventies soul" in text for text in texts)
    assert all("often to dance to" in text for text in texts)
    assert any("funky basslines" in text for text in texts)


def test_one_purchase_alone_is_told_as_such() -> None:
    texts = {like(HISTORY[:1], "long_term", seed) for seed in range(12)}
    assert any("one choice" in text or "single choice" in text for text in texts)
    assert not any("Time and again" in text for text in texts)


def test_of_long_reviews_no_more_is_read_for_a_taste_either() -> None:
    late = replace(ALBUM, review=f"{'It came on a Monday. ' * 200}Warm horns.", rating=5.0)
    assert "horns" not in like((late, late), "overall")
