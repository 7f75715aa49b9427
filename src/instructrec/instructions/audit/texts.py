"""Leaks in the words of a row: titles given away, texts of a later split, copies, silence."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from instructrec.instructions.audit.base import Finding, RowCheck, findings
from instructrec.instructions.corpus import Corpus
from instructrec.instructions.titles import NEAR_WORDS, WORDS, copied

_TOLD = ("preference", "intention")
LONG_TITLE = 3
"""Words from which on a title is looked for in a whole instruction: shorter ones are ordinary
words of the wording."""


class Titles(RowCheck):
    """The target's title in a preference or an intention, and in whole instructions.

    A near-copy (`instructrec.instructions.titles`) counts but for queries that somebody
    typed. Whole instructions are looked at where the answer is the target and no candidates are
    listed, for titles of `LONG_TITLE` words or more that the history does not name.
    """

    name = "title"
    asks = "no preference and no intention gives the target's title away, nor does an instruction"

    def look(self, split: str, rows: pl.DataFrame) -> Iterator[Finding]:
        """See `Check.look`."""
        for column in _TOLD:
            told = rows.filter(pl.col(column) != "").select(
                "row", pl.col(column).alias("text"), "item", typed=pl.col("query_id").is_not_null()
            )
            for row, text, title, typed in _suspects(told).iter_rows():
                how = copied(text, title)
                if how == "copy" or (how and not typed):
                    yield Finding(split, row, f"the {column} has a {how} of the title {title!r}")
        yield from findings(split, _instructions(rows))


def _words(column: str) -> pl.Expr:
    return pl.col(column).str.to_lowercase().str.extract_all(WORDS)


def _suspects(told: pl.DataFrame) -> pl.DataFrame:
    """Rows whose text has the whole title, or most of its words in any order."""
    table = told.with_columns(words=_words("text"), wanted=_words("item"))
    shared = pl.col("wanted").list.set_intersection("words").list.len()
    least = (
        pl.when(pl.col("wanted").list.len() < NEAR_WORDS).then(1.0).otherwise(0.5)
        * pl.col("wanted").list.unique().list.len()
    )
    return table.filter((pl.col("wanted").list.len() > 0) & (shared >= least)).select(told.columns)


def _instructions(rows: pl.DataFrame) -> pl.DataFrame:
    def plain(words: pl.Expr) -> pl.Expr:
        return pl.concat_str([pl.lit(" "), words.list.join(" "), pl.lit(" ")])

    history = pl.col("history").list.join(" | ").str.to_lowercase().str.extract_all(WORDS)
    asked = rows.filter(
        pl.col("asks").str.contains("item", literal=True), pl.col("candidates").list.len() == 0
    )
    table = asked.select(
        "row", "item", words=_words("instruction"), wanted=_words("item"), h=history
    )
    table = table.filter(pl.col("wanted").list.len() >= LONG_TITLE).with_columns(
        title=plain(pl.col("wanted"))
    )
    has = plain(pl.col("words")).str.contains(pl.col("title"), literal=True)
    is_history = plain(pl.col("h")).str.contains(pl.col("title"), literal=True)
    told = pl.format("the instruction names the target {}", pl.col("item"))
    return table.filter(has & ~is_history).select("row", reason=told)


class LaterTexts(RowCheck):
    """Texts made for a later split, such as from a test review, in an earlier one's rows.

    A text is known by its user and words; one that was also written for this split or an earlier
    one is none of a later.
    """

    name = "later text"
    asks = "no row uses a text of its user that was written for a later split"

    def __init__(self, corpus: Corpus) -> None:
        order = {"train": 0, "validation": 1, "test": 2}
        texts = corpus.scan("annotations").filter(pl.col("user_id").is_not_null())
        hashed = texts.select(
            _hash("user_id", "text").alias("hash"),
            level=pl.col("split").replace_strict(order, default=0, return_dtype=pl.Int8),
        )
        first = hashed.group_by("hash").agg(pl.col("level").min()).collect(engine="streaming")
        self._later: dict[str, NDArray[np.uint64]] = {
            split: np.sort(first.filter(pl.col("level") > level)["hash"].to_numpy())
            for split, level in order.items()
        }

    def look(self, split: str, rows: pl.DataFrame) -> Iterator[Finding]:
        """See `Check.look`."""
        later = self._later[split]
        if not len(later):
            return
        for column in _TOLD:
            told = rows.filter(pl.col(column) != "", pl.col("user_id").is_not_null())
            hashes = told.select(_hash("user_id", column).alias("hash"))["hash"].to_numpy()
            at = np.minimum(np.searchsorted(later, hashes), len(later) - 1)
            for row in told.filter(pl.Series(later[at] == hashes))["row"]:
                yield Finding(split, row, f"its {column} was written for a later split")


def _hash(*columns: str) -> pl.Expr:
    return pl.concat_str(columns, separator="\x1f").hash(0)


class Empty(RowCheck):
    """Rows with nothing to read or nothing to learn."""

    name = "empty"
    asks = "no instruction and no response is empty"

    def look(self, split: str, rows: pl.DataFrame) -> Iterator[Finding]:
        """See `Check.look`."""
        for column in ("instruction", "response"):
            blank = rows.filter(pl.col(column).fill_null("").str.strip_chars() == "")
            for row in blank["row"]:
                yield Finding(split, row, f"the {column} is empty")


class Duplicates:
    """Rows that occur twice: the same user or query, form, instruction and response, or number."""

    name = "duplicate"
    asks = "no row and no row number occurs twice in a split"

    def __init__(self) -> None:
        self._seen: dict[str, list[tuple[NDArray[np.uint64], NDArray[np.int64]]]] = defaultdict(
            list
        )

    def look(self, split: str, rows: pl.DataFrame) -> Iterator[Finding]:
        """See `Check.look`."""
        whose = [pl.col(name).fill_null("") for name in ("user_id", "query_id")]
        rest = ["scenario", "strategy", "asks", "instruction", "response"]
        key = pl.concat_str([*whose, *rest], separator="\x1f").hash(0)
        hashes = rows.select(key.alias("key"))["key"].to_numpy()
        self._seen[split].append((hashes, rows["row"].to_numpy()))
        return iter(())

    def close(self) -> Iterator[Finding]:
        """See `Check.close`."""
        for split, parts in self._seen.items():
            hashes, numbers = (np.concatenate(one) for one in zip(*parts, strict=True))
            for values, told in ((hashes, "an earlier row"), (numbers, "an earlier row number")):
                order = np.argsort(values, kind="stable")
                same = values[order][1:] == values[order][:-1]
                for row in np.sort(numbers[order[1:][same]]).tolist():
                    yield Finding(split, row, f"it repeats {told}")

    def facts(self) -> dict[str, Any]:
        """See `Check.facts`."""
        return {}
