"""MovieLens 100k, 1m and latest come in as they were published."""

from __future__ import annotations

import pytest
from raw_files import Load, Write, events_of

from instructrec.data.readers import detect
from instructrec.errors import UsageError

ITEM_100K = (
    "1|Toy Story (1995)|01-Jan-1995||http://us.imdb.com/M/title-exact?Toy%20Story%20(1995)|"
    "0|0|0|1|1|1|0|0|0|0|0|0|0|0|0|0|0|0|0\n"
    "2|Misérables, Les (1995)|01-Jan-1995||http://us.imdb.com/M/title-exact?x|"
    "0|0|0|0|0|0|0|0|1|0|0|0|1|0|0|0|0|0|0\n"
    '267|"unknown|||||1|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0\n'.replace("|||||1", "||||1")
)


def test_100k_reads_latin_1_and_genre_flags(write: Write, load: Load) -> None:
    dataset = load(
        interactions=write("u.data", "196\t1\t3\t881250949\n22\t2\t1\t878887116\n"),
        items=write("u.item", ITEM_100K.encode("latin-1")),
        users=write("u.user", "196|49|M|writer|55105\n22|25|F|other|94043\n"),
    )
    items = dataset.catalogue.items
    assert dataset.catalogue.titles == ["Toy Story (1995)", "Misérables, Les (1995)", '"unknown']
    assert items["categories"].to_list() == [
        ["Animation", "Children's", "Comedy"],
        ["Drama", "Musical"],
        [],
    ]
    assert items["year"].to_list() == [1995, 1995, None]
    assert items["url"][0].startswith("http://us.imdb.com")
    assert events_of(dataset) == [("196", "1", 881250949000), ("22", "2", 878887116000)]
    assert dataset.users is not None
    assert dataset.users.rows() == [("196", 49, "male", "writer"), ("22", 25, "female", "other")]


def test_1m_reads_double_colons_and_codes(write: Write, load: Load) -> None:
    dataset = load(
        interactions=write("ratings.dat", "1::1193::5::978300760\n1::661::3::978302109\n"),
        items=write(
            "movies.dat",
            '661::James and the Giant Peach: a "tale" (1996)::Animation|Children\'s\n'
            "1193::Cité des enfants perdus, La (1995)::Drama\n".encode("latin-1"),
        ),
        users=write("users.dat", "1::F::1::10::48067\n"),
    )
    assert dataset.catalogue.titles == [
        "Cité des enfants perdus, La (1995)",
        'James and the Giant Peach: a "tale" (1996)',
    ]
    assert dataset.catalogue.items["categories"].to_list() == [
        ["Drama"],
        ["Animation", "Children's"],
    ]
    assert events_of(dataset) == [("1", "1193", 978300760000), ("1", "661", 978302109000)]
    assert dataset.users is not None
    assert dataset.users.to_dicts() == [
        {"user_id": "1", "gender": "female", "age": "under 18", "occupation": "K-12 student"}
    ]


def test_latest_reads_quoted_titles(write: Write, load: Load) -> None:
    dataset = load(
        interactions=write(
            "ratings.csv", "userId,movieId,rating,timestamp\r\n1,1,4.0,964982703\r\n"
        ),
        items=write(
            "movies.csv",
            'movieId,title,genres\r\n1,"American President, The (1995)",Comedy|Drama\r\n'
            "2,Pro (2001),(no genres listed)\r\n",
        ),
    )
    assert dataset.catalogue.titles == ["American President, The (1995)", "Pro (2001)"]
    assert dataset.catalogue.items["categories"].to_list() == [["Comedy", "Drama"], None]
    assert events_of(dataset) == [("1", "1", 964982703000)]


@pytest.mark.parametrize(
    ("table", "line", "name"),
    [
        ("interactions", "196\t242\t3\t881250949\n", "movielens-100k"),
        ("interactions", "1::1193::5::978300760\n", "movielens-1m"),
        ("interactions", "1::122::3.5::838985046\n", "movielens-1m"),
        ("interactions", "userId,movieId,rating,timestamp\n1,1,1,1\n", "movielens-latest"),
        ("items", "1::Toy Story (1995)::Animation|Comedy\n", "movielens-1m"),
        ("items", "movieId,title,genres\n", "movielens-latest"),
        ("users", "1|24|M|technician|85711\n", "movielens-100k"),
        ("users", "1::F::1::10::48067\n", "movielens-1m"),
        ("interactions", "user_id,item_id,timestamp\n", "table"),
    ],
)
def test_the_set_is_told_by_the_first_line(write: Write, table: str, line: str, name: str) -> None:
    assert detect(write("x", line), table) == name


def test_what_a_set_does_not_have_is_said(write: Write, load: Load) -> None:
    ratings = write("ratings.csv", "userId,movieId,rating,timestamp\n1,1,4.0,964982703\n")
    movies = write("movies.csv", "movieId,title,genres\n1,Pro (2001),Drama\n")
    with pytest.raises(UsageError, match="movielens-latest has no users"):
        load(interactions=ratings, items=movies, users=ratings, format="movielens-latest")
    with pytest.raises(UsageError, match="holds no movielens-latest items"):
        load(interactions=ratings, items=ratings, format="movielens-latest")
