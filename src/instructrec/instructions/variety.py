"""How varied texts are, by figures that two collections can be compared by."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from instructrec.errors import DataError, UsageError
from instructrec.instructions.corpus import Corpus
from instructrec.protocols import SILENT, Progress

SAMPLE = 4000
"""Texts that are looked at; distances and n-grams depend on how many, so it is stated."""
_COMPARED = 1000
"""Texts whose likeness to each other is measured."""
_FREQUENT = 100
"""Words of the reference that count as its small words, whatever is spoken of."""
_LONGEST = 64

_TOKEN = re.compile(r"[^\W_]+(?:['\u2019-][^\W_]+)*")
_SIGNS = {
    "lower_case": re.compile(r"\A[^A-Z]*\Z"),
    "full_stop": re.compile(r"[.!?]\s*\Z"),
    "first_person": re.compile(r"\b(?:i|i'm|im|i'd|i've|me|my|we|our)\b", re.IGNORECASE),
    "figure": re.compile(r"\d"),
    "question": re.compile(r"\?"),
    "negation": re.compile(r"\b(?:not|no|nothing|without|never)\b|n't\b|-free\b", re.IGNORECASE),
    "comparison": re.compile(r"\b(?:like|similar to|\w+er than|cheaper)\b", re.IGNORECASE),
}


@dataclass(frozen=True)
class Variety:
    """Figures of a collection of texts; those from ``words_mean`` on are of the sample.

    Attributes:
        texts: How many there are.
        sampled: How many were looked at.
        distinct_texts: Share of the sample that is not there a second time.
        words_mean: Words a text.
        words_p5: Their 5th percentile; likewise the median and the 95th.
        words_p50: See there.
        words_p95: See there.
        distinct_1: Different words among all words, of as many words as the smaller collection of
            a comparison has; 1 where none is repeated. Likewise pairs and triples.
        distinct_2: See there.
        distinct_3: See there.
        self_similarity: Of each of at most 1,000 texts the greatest Jaccard likeness, by pairs of
            words, to another one of them; the mean. 0 all different, 1 all there twice.
        lower_case: Share without a capital letter.
        full_stop: Share that ends in one, or in another such mark.
        first_person: Share that says I, my, we.
        figure: Share with a digit.
        question: Share with a question mark.
        negation: Share that rules something out.
        comparison: Share that compares.
    """

    texts: int
    sampled: int
    distinct_texts: float
    words_mean: float
    words_p5: float
    words_p50: float
    words_p95: float
    distinct_1: float
    distinct_2: float
    distinct_3: float
    self_similarity: float
    lower_case: float
    full_stop: float
    first_person: float
    figure: float
    question: float
    negation: float
    comparison: float


@dataclass(frozen=True)
class Distance:
    """How far two collections are from each other: Jensen-Shannon, base 2, 0 alike to 1.

    Both sides are cut to the same number of words and texts, since the distance of small samples
    of one and the same source is not 0: ``floor`` is what two halves of the reference have.

    Attributes:
        words: Of the words' shares.
        small_words: Of the shares of the reference's 100 most frequent words, all others as one:
            how things are said, whatever they are about.
        lengths: Of the numbers of words a text.
        floor_words: The same between two halves of the reference; likewise the others.
        floor_small_words: See there.
        floor_lengths: See there.
    """

    words: float
    small_words: float
    lengths: float
    floor_words: float
    floor_small_words: float
    floor_lengths: float


def measure(
    texts: Sequence[str], *, sample: int = SAMPLE, most_words: int | None = None, seed: int = 0
) -> Variety:
    """The figures of texts.

    Args:
        texts: Not empty.
        sample: At most so many are looked at, drawn by the seed.
        most_words: Words that n-grams are counted in; all of the sample's when left out.
        seed: Of the draw.
    """
    drawn = _drawn(texts, sample, seed)
    tokens = [words_of(text) for text in drawn]
    lengths = np.array([len(words) for words in tokens])
    low, middle, high = np.percentile(lengths, [5, 50, 95])
    signs = {name: _share(map(bool, map(sign.search, drawn))) for name, sign in _SIGNS.items()}
    return Variety(
        texts=len(texts),
        sampled=len(drawn),
        distinct_texts=round(len(set(drawn)) / len(drawn), 4),
        words_mean=round(float(lengths.mean()), 2),
        words_p5=float(low),
        words_p50=float(middle),
        words_p95=float(high),
        **{f"distinct_{n}": _distinct(tokens, n, most_words) for n in (1, 2, 3)},
        self_similarity=_self_similarity(tokens[:_COMPARED]),
        **signs,
    )


def compare(
    texts: Sequence[str], reference: Sequence[str], *, sample: int = SAMPLE, seed: int = 0
) -> tuple[Variety, Variety, Distance]:
    """The figures of texts and of a reference on samples of one size, and how far apart they are.

    Args:
        texts: Not empty.
        reference: At least four.
        sample: At most so many of each are looked at.
        seed: Of the draws.
    """
    size = min(sample, len(texts), len(reference))
    ours = [words_of(text) for text in _drawn(texts, size, seed)]
    theirs = [words_of(text) for text in _drawn(reference, size, seed)]
    most = min(sum(map(len, ours)), sum(map(len, theirs)))
    counted = Counter(word for words in theirs for word in words)
    frequent = [word for word, _ in sorted(counted.items(), key=lambda pair: (-pair[1], pair[0]))]
    small = frozenset(frequent[:_FREQUENT])
    floor = _distances(theirs[::2], theirs[1::2], small)
    distance = Distance(*_distances(ours, theirs, small), *floor)
    return (
        measure(texts, sample=size, most_words=most, seed=seed),
        measure(reference, sample=size, most_words=most, seed=seed),
        distance,
    )


def corpus_variety(
    corpus: Corpus,
    reference: Sequence[str] | None = None,
    *,
    sample: int = SAMPLE,
    seed: int = 0,
    progress: Progress = SILENT,
) -> dict[str, Any]:
    """The variety of a corpus's training rows, beside a reference where there is one.

    Each wish of a person for an item counts once, whatever the number of rows that ask by it.

    Args:
        corpus: A complete corpus.
        reference: Real requests.
        sample: At most so many texts of each kind are looked at, drawn by the seed.
        seed: Of the draws.
        progress: Told how far it is.

    Returns:
        Plain JSON values: ``shares``, of training rows by strategy, style, intention and task;
        ``texts``, figures by kind of text (`Variety`); with a reference ``reference`` and
        ``beside``, by kind of wish: ``ours``, ``theirs`` and ``distance`` (`Distance`).
    """
    counts, texts = _gathered(corpus, sample, seed, progress)
    told: dict[str, Any] = {
        "rows": corpus.size("train"),
        "shares": _shares(counts, corpus.size("train")),
        "texts": {
            kind: asdict(measure(found, sample=sample, seed=seed))
            for kind, found in texts.items()
            if found
        },
    }
    if reference is not None:
        told["beside"] = {}
        for kind in ("I1", "I2", "wishes"):
            if texts[kind]:
                ours, theirs, distance = compare(texts[kind], reference, sample=sample, seed=seed)
                told["beside"][kind] = {
                    "ours": asdict(ours),
                    "theirs": asdict(theirs),
                    "distance": asdict(distance),
                }
    return told


def read_texts(path: Path, column: str) -> list[str]:
    """The texts of a Parquet, CSV or JSON-lines file, empty ones left out.

    Raises:
        UsageError: There is no such file or column.
        DataError: It cannot be read, or has fewer than four texts.
    """
    readers: dict[str, Callable[[Path], pl.DataFrame]]
    readers = {".parquet": pl.read_parquet, ".csv": pl.read_csv, ".jsonl": pl.read_ndjson}
    reader = readers.get(path.suffix.lower())
    if not path.is_file():
        raise UsageError(f"there is no file {path}", "Check the path")
    if reader is None:
        raise UsageError(f"{path} is no {', '.join(readers)}", "Give one of these")
    try:
        frame = reader(path)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise DataError(
            f"{path} cannot be read ({' '.join(str(error).split())})", "Check the file"
        ) from None
    if column not in frame.columns:
        raise UsageError(
            f"{path} has no column {column!r}", f"Name one of {', '.join(frame.columns)}"
        )
    texts = [text.strip() for text in frame[column].cast(pl.String).drop_nulls() if text.strip()]
    if len(texts) < 4:
        raise DataError(f"{path} has {len(texts)} texts", "Compare with more")
    return texts


def words_of(text: str) -> list[str]:
    """A text's words in lower case."""
    return [word.replace("\u2019", "'") for word in _TOKEN.findall(text.lower())]


def _gathered(
    corpus: Corpus, sample: int, seed: int, progress: Progress
) -> tuple[dict[str, Counter[str]], dict[str, list[str]]]:
    """Rows by what they are, and a bounded number of texts by kind."""
    keys = {"strategy": "strategy", "intention": "intention_kind", "task": "task"}
    counts: dict[str, Counter[str]] = {name: Counter() for name in (*keys, "style")}
    kept = {kind: pl.DataFrame(schema=_KEPT) for kind in ("I1", "I2", "preference", "instruction")}
    rng = np.random.default_rng(seed)
    for frame in progress.track(corpus.stream("train"), "reading train rows"):
        for name, column in keys.items():
            counts[name].update(frame[column].to_list())
        drawn = frame.with_columns(pl.Series("draw", rng.random(frame.height)))
        asked = drawn.filter(pl.col("strategy") == "direct")
        if "style" in frame.columns:
            styles = asked.filter(pl.col("intention_kind") != "I0")["style"]
            counts["style"].update(one for how in styles for one in how.split("+"))
        for kind, column, rows in (
            ("I1", "intention", asked.filter(pl.col("intention_kind") == "I1")),
            ("I2", "intention", asked.filter(pl.col("intention_kind") == "I2")),
            ("preference", "preference", drawn.filter(pl.col("preference") != "")),
            ("instruction", "instruction", drawn),
        ):
            kept[kind] = _keep(kept[kind], rows, column, 2 * sample)
    texts = {kind: frame["text"].to_list() for kind, frame in kept.items()}
    wishes = pl.concat([kept["I1"], kept["I2"]]).sort("draw")
    return counts, {"wishes": wishes["text"].to_list()[: 2 * sample], **texts}


_KEPT = pl.Schema(
    {"user_id": pl.String(), "item_id": pl.String(), "text": pl.String(), "draw": pl.Float64()}
)


def _keep(kept: pl.DataFrame, rows: pl.DataFrame, column: str, most: int) -> pl.DataFrame:
    """The texts with the lowest draws, each once a user and item."""
    new = rows.select("user_id", "item_id", pl.col(column).alias("text"), "draw")
    both = pl.concat([kept, new]).sort("draw")
    return both.unique(["user_id", "item_id", "text"], keep="first", maintain_order=True).head(most)


def _shares(counts: Mapping[str, Counter[str]], rows: int) -> dict[str, dict[str, float]]:
    wishes = sum(counts["style"].values()) if counts["style"] else 0
    return {
        name: {
            key: round(count / (wishes if name == "style" else max(rows, 1)), 4)
            for key, count in sorted(found.items())
        }
        for name, found in counts.items()
        if found
    }


def _drawn(texts: Sequence[str], sample: int, seed: int) -> list[str]:
    if len(texts) <= sample:
        return list(texts)
    chosen = np.sort(np.random.default_rng(seed).choice(len(texts), sample, replace=False))
    return [texts[number] for number in chosen.tolist()]


def _share(found: Iterable[bool]) -> float:
    marks = list(found)
    return round(sum(marks) / len(marks), 4)


def _distinct(tokens: Sequence[list[str]], n: int, most_words: int | None) -> float:
    """Different n-grams among all, in the first ``most_words`` words."""
    seen: set[tuple[str, ...]] = set()
    total = words = 0
    for one in tokens:
        if most_words is not None and words >= most_words:
            break
        words += len(one)
        grams = list(zip(*(one[at:] for at in range(n)), strict=False))
        seen.update(grams)
        total += len(grams)
    return round(len(seen) / total, 4) if total else 0.0


def _self_similarity(tokens: Sequence[list[str]]) -> float:
    """The mean over texts of the greatest likeness to another; texts of one word are left out."""
    pairs = [set(pairwise(words)) for words in tokens]
    pairs = [found for found in pairs if found]
    if len(pairs) < 2:
        return 0.0
    numbers: dict[tuple[str, str], int] = {}
    for found in pairs:
        for pair in sorted(found):
            numbers.setdefault(pair, len(numbers))
    has = np.zeros((len(pairs), len(numbers)), dtype=np.float32)
    for row, found in enumerate(pairs):
        has[row, [numbers[pair] for pair in found]] = 1
    sizes = has.sum(axis=1)
    shared = has @ has.T
    likeness = shared / (sizes[:, None] + sizes[None, :] - shared)
    np.fill_diagonal(likeness, 0.0)
    return round(float(likeness.max(axis=1).mean()), 4)


def _distances(
    ours: Sequence[list[str]], theirs: Sequence[list[str]], small: frozenset[str]
) -> tuple[float, float, float]:
    """Of words, of small words and of lengths."""
    most = min(sum(map(len, ours)), sum(map(len, theirs)))
    cut = [[word for words in side for word in words][:most] for side in (ours, theirs)]
    plain = [Counter(side) for side in cut]
    only_small = [Counter(word if word in small else "\0" for word in side) for side in cut]
    number = min(len(ours), len(theirs))
    lengths = [
        Counter(str(min(len(words), _LONGEST)) for words in side[:number])
        for side in (ours, theirs)
    ]
    return _divergence(*plain), _divergence(*only_small), _divergence(*lengths)


def _divergence(first: Counter[str], second: Counter[str]) -> float:
    """The Jensen-Shannon divergence of two distributions, in bits."""
    names = sorted(first.keys() | second.keys())
    counts = np.array([[side[name] for name in names] for side in (first, second)], dtype=float)
    if not names or not counts.sum(axis=1).all():
        return 0.0
    shares = counts / counts.sum(axis=1, keepdims=True)
    middle = shares.mean(axis=0)
    return round(float(np.mean([_relative(side, middle) for side in shares])), 4)


def _relative(shares: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    there = shares > 0
    return float(np.sum(shares[there] * np.log2(shares[there] / other[there])))
