"""Amazon's reviews and metadata of 2014, 2018 and 2023 come in as they were published."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from raw_files import Load, Write, events_of

from instructrec.data.readers import detect
from instructrec.data.readers.records import literal_record
from instructrec.data.values import parse_price
from instructrec.errors import DataError, UsageError


def lines(*records: object) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)


REVIEW_2014 = {
    "reviewerID": "A2SUAM1J3GNN3B",
    "asin": "0000013714",
    "reviewerName": "J. McDonald",
    "helpful": [2, 3],
    "reviewText": "I bought this for my husband.  It&#8217;s <br />fun &amp; loud.",
    "overall": 5.0,
    "summary": "Heavenly Highway Hymns",
    "unixReviewTime": 1252800000,
    "reviewTime": "09 13, 2009",
}
META_2014 = {
    "asin": "0000013714",
    "title": "Girls Ballet Tutu Zebra Hot Pink &amp; Black",
    "price": 3.17,
    "imUrl": "http://ecx.images-amazon.com/images/I/51fAmVkTbyL._SY300_.jpg",
    "related": {"also_bought": ["B00JHONN1S"]},
    "salesRank": {"Toys & Games": 211836},
    "brand": "Coxlures",
    "description": "It's a <b>tutu</b>",
    "categories": [["Sports & Outdoors", "Other Sports", "Dance"], ["Sports & Outdoors", "Girls"]],
}
REVIEW_2018 = {
    "image": ["https://images-na.ssl-images-amazon.com/images/I/71eG75FTJJL._SY88.jpg"],
    "overall": 5.0,
    "vote": "2",
    "verified": True,
    "reviewTime": "01 1, 2018",
    "reviewerID": "AUI6WTTT0QZYS",
    "asin": "5120053084",
    "style": {"Size:": " Large", "Color:": " Charcoal"},
    "reviewerName": "Abbey",
    "reviewText": "I now have 4 of the 5 available colors of this shirt... ",
    "summary": "Comfy, flattering, discreet--highly recommended!",
    "unixReviewTime": 1514764800,
}
META_2018 = {
    "category": ["Clothing, Shoes & Jewelry", "Men", "</span></span></span>", "Shirts"],
    "tech1": "",
    "description": ["Soft.", "Warm &amp; dry."],
    "fit": "",
    "title": "Slime Time Fall Fest [With CDROM]",
    "also_buy": [],
    "tech2": "",
    "brand": "Group Publishing",
    "feature": ["Product Dimensions:"],
    "rank": ["13,052,976inClothing"],
    "also_view": [],
    "main_cat": '<img src="x.png" alt="AMAZON FASHION" />',
    "similar_item": "",
    "date": "8.70 inches",
    "price": "$3.99 - $5.99",
    "asin": "5120053084",
}
REVIEW_2023 = {
    "rating": 4.0,
    "title": "Such a lovely scent",
    "text": "This spray is really nice.<br />It smells really good.",
    "images": [],
    "asin": "B00YQ6X8EO",
    "parent_asin": "B00YQ6X8EA",
    "user_id": "AGKHLEW2SOWHNMFQIJGBECAF7INQ",
    "timestamp": 1588687728923,
    "helpful_vote": 0,
    "verified_purchase": True,
}
META_2023 = {
    "main_category": "All Beauty",
    "title": "Howard LC0008 Leather Conditioner",
    "average_rating": 4.8,
    "rating_number": 10,
    "features": ["Cleans well", "Smells good"],
    "description": [],
    "price": None,
    "images": [],
    "videos": [],
    "store": "Howard Products",
    "categories": [],
    "details": {"Package Dimensions": "7.1 x 5.5"},
    "parent_asin": "B00YQ6X8EA",
    "bought_together": None,
}


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_2014_reads_its_metadata_of_python_literals(write: Write, load: Load, suffix: str) -> None:
    dataset = load(
        interactions=write(f"reviews.json{suffix}", lines(REVIEW_2014)),
        items=write(f"meta.json{suffix}", f"{META_2014!r}\n" + "{'asin': 'B1'}\n"),
    )
    assert dataset.catalogue.items.to_dicts() == [
        {
            "item_id": "0000013714",
            "title": "Girls Ballet Tutu Zebra Hot Pink & Black",
            "categories": ["Sports & Outdoors", "Other Sports", "Dance", "Girls"],
            "brand": "Coxlures",
            "price": 3.17,
            "currency": "USD",
            "description": "It's a tutu",
        }
    ]
    event = dataset.interactions.collect().to_dicts()[0]
    assert event["timestamp"] == 1252800000000
    assert event["rating"] == 5.0
    words = " ".join(event["review"].split())
    assert words == "I bought this for my husband. It’s fun & loud."
    assert event["review_title"] == "Heavenly Highway Hymns"
    assert dataset.clock == "ms"
    assert dataset.manifest["import"]["dropped"] == {"items": {"no title": 1}}
    formats = {table: facts["format"] for table, facts in _files(dataset.manifest).items()}
    assert formats == {"interactions": "amazon-2014", "items": "amazon-2014"}


def _files(manifest: dict) -> dict:
    return manifest["import"]["files"]


def test_2018_reads_price_strings_and_leaves_html_out(write: Write, load: Load) -> None:
    script = {**META_2018, "asin": "B2", "title": "var aPageStart = (new Date()).getTime();"}
    dataset = load(
        interactions=write(
            "reviews.json.gz",
            lines(
                REVIEW_2018,
                {**REVIEW_2018, "asin": "B2"},
                {**REVIEW_2018, "reviewerID": "A2", "reviewText": None},
            ),
        ),
        items=write("meta.json.gz", lines(META_2018, script)),
    )
    assert dataset.catalogue.items.to_dicts() == [
        {
            "item_id": "5120053084",
            "title": "Slime Time Fall Fest [With CDROM]",
            "categories": ["Clothing, Shoes & Jewelry", "Men", "Shirts"],
            "brand": "Group Publishing",
            "price": 3.99,
            "currency": "USD",
            "description": "Soft. Warm & dry.",
        }
    ]
    assert [row[0] for row in events_of(dataset)] == ["A2", "AUI6WTTT0QZYS"]
    assert dataset.manifest["import"]["dropped"]["interactions"] == {"its item has no title": 1}
    assert _files(dataset.manifest)["items"]["format"] == "amazon-2018"


def test_2023_reads_parents_stores_and_milliseconds(write: Write, load: Load) -> None:
    other = {**META_2023, "parent_asin": "B3", "categories": ["Beauty", "Hair"], "price": 12.5}
    dataset = load(
        interactions=write("reviews.jsonl", lines(REVIEW_2023)),
        items=write("meta.jsonl", lines(META_2023, other)),
    )
    first, second = dataset.catalogue.items.to_dicts()
    assert first["categories"] == ["All Beauty"]
    assert first["brand"] == "Howard Products"
    assert first["description"] == "Cleans well Smells good"
    assert second["categories"] == ["Beauty", "Hair"]
    assert (first["price"], first["currency"]) == (None, None)
    assert (second["price"], second["currency"]) == (12.5, "USD")
    assert not {"average_rating", "rating_number"} & set(first)
    event = dataset.interactions.collect().to_dicts()[0]
    assert event == {
        "user_id": "AGKHLEW2SOWHNMFQIJGBECAF7INQ",
        "item_id": "B00YQ6X8EA",
        "timestamp": 1588687728923,
        "rating": 4.0,
        "review": "This spray is really nice. It smells really good.",
        "review_title": "Such a lovely scent",
    }


@pytest.mark.parametrize(
    ("table", "record", "name"),
    [
        ("interactions", REVIEW_2014, "amazon-2014"),
        ("interactions", REVIEW_2018, "amazon-2018"),
        ("interactions", REVIEW_2023, "amazon-2023"),
        ("items", META_2014, "amazon-2014"),
        ("items", META_2018, "amazon-2018"),
        ("items", META_2023, "amazon-2023"),
        ("interactions", {"user_id": "u", "item_id": "i", "timestamp": 1}, "table"),
    ],
)
def test_the_edition_is_told_by_the_keys(
    write: Write, table: str, record: object, name: str
) -> None:
    assert detect(write("x.json", lines(record)), table) == name


def test_a_wrong_edition_is_one_clear_line(write: Write, load: Load) -> None:
    files = {
        "interactions": write("r.json", lines(REVIEW_2014)),
        "items": write("m.json", lines(META_2014)),
    }
    with pytest.raises(UsageError, match=r"holds no amazon-2023 interactions.*no 'user_id'"):
        load(**files, format="amazon-2023")
    with pytest.raises(UsageError, match="knows its columns"):
        load(**files, format="amazon-2014", columns="user_id=reviewerName")
    with pytest.raises(DataError, match="no JSON object"):
        load(interactions=write("r.csv", "a,b\n1,2\n"), format="amazon-2018")


def test_a_column_map_turns_amazon_records_into_a_table(write: Write, load: Load) -> None:
    dataset = load(
        interactions=write("r.json", lines(REVIEW_2018)),
        items=write("m.json", lines(META_2018)),
        columns="user_id=reviewerName",
    )
    assert [row[0] for row in events_of(dataset)] == ["Abbey"]


def test_titles_of_reviews_are_not_taken_for_titles_of_items(write: Write, load: Load) -> None:
    reviews = write("reviews.jsonl", lines(REVIEW_2023))
    for given_items in ({}, {"items": reviews}):
        with pytest.raises(UsageError, match="holds amazon-2023 interactions only"):
            load(interactions=reviews, **given_items)


def test_nothing_in_a_literal_is_run(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    assert literal_record(f"__import__('pathlib').Path({str(mark)!r}).touch()") is None
    assert literal_record(f"{{'a': open({str(mark)!r}, 'w')}}") is None
    assert not mark.exists()
    assert literal_record("{'a': [1, 'it\\'s']}") == {"a": [1, "it's"]}


@pytest.mark.parametrize(
    ("raw", "price", "currency"),
    [
        ("$1,299.00", 1299.0, "USD"),
        ("$3.99 - $5.99", 3.99, "USD"),
        ("from 12.99", 12.99, None),
        ("1.299,00 €", 1299.0, "EUR"),
        ("3,50 €", 3.5, "EUR"),
        ("£1,299", 1299.0, "GBP"),
        ("12.", 12.0, None),
        (7, 7.0, None),
        (None, None, None),
        ("", None, None),
        ("—", None, None),
        (True, None, None),
        (float("nan"), None, None),
        (".a-box-inner{background-color:#fff} #alohaBuyBoxWidget .a-price 12", None, None),
    ],
)
def test_prices_are_read_as_people_write_them(
    raw: object, price: float | None, currency: str | None
) -> None:
    assert parse_price(raw) == (price, currency)


@given(st.floats(0, 1e7).map(lambda value: round(value, 2)))
def test_a_price_written_the_american_way_comes_back(price: float) -> None:
    assert parse_price(f"${price:,.2f}") == (price, "USD")
