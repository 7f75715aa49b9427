"""What the target has to beat: uniform negatives seeded by key, or lists from a file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from numpy.typing import NDArray

from instructrec.data.catalogue import Catalogue
from instructrec.errors import DataError, UsageError
from instructrec.hashing import stable_hash
from instructrec.protocols import Rows, Scorer, Scores

if TYPE_CHECKING:
    from instructrec.instructions.schema import Instruction

TABLES = (".parquet", ".csv", ".tsv", ".jsonl", ".ndjson")
"""How the names of files end that `read_table` reads."""
_BLOCK = 2_000_000
"""Draws held in memory at a time."""
_MATCHED = 8
"""Items next to the target in order of popularity, for every negative that is drawn from them."""
_STEP = np.uint64(0x9E3779B97F4A7C15)


def sample_negatives(
    catalogue: Catalogue,
    targets: Rows,
    seen: Sequence[Rows],
    keys: Sequence[str],
    n: int = 9,
    seed: int = 0,
    *,
    barred: Rows | None = None,
) -> Rows:
    """Draw n items for each request, uniform over those neither seen nor the target.

    A request's draw depends on its key, its target, what it has seen, the catalogue and the seed,
    never on who else is asked for, the order of requests, the process or the machine.

    Args:
        catalogue: The items.
        targets: (requests,) rows of the targets.
        seen: Rows that each request must not be given; unsorted, repeats allowed.
        keys: What each draw is seeded by: user_id, else query_id, else item_id.
        n: Negatives a request.
        seed: Another seed gives other negatives.
        barred: Rows that no request may be given, without repeats.

    Returns:
        (requests, 1 + n) rows, column 0 the target; -1 at the end of a line where the catalogue
        has too few items left.

    Source: paper §4.1, "1 positive + 9 uniform random negatives".
    """
    items = len(catalogue)
    hashes = np.array([stable_hash("negatives", seed, key) for key in keys], dtype=np.uint64)
    result = np.full((len(keys), 1 + n), -1, dtype=np.int64)
    result[:, 0] = targets
    free = np.ones(items, dtype=np.bool_)
    if barred is not None:
        free[barred] = False
    lengths = np.array([len(rows) for rows in seen], dtype=np.int64) + np.count_nonzero(~free)
    # Drawing again and again ends quickly only where most of the catalogue is free.
    crowded = (lengths + 1 + n) * 2 > items
    for request in np.flatnonzero(crowded).tolist():
        own = hashes[request : request + 1]
        drawn = _draw_crowded(free, own, seen[request], int(targets[request]), n)
        result[request, 1 : 1 + len(drawn)] = drawn
    roomy = np.flatnonzero(~crowded)
    size = max(1, _BLOCK // (2 * n + 8))
    for start in range(0, len(roomy), size):
        chunk = roomy[start : start + size]
        avoid = [seen[request] for request in chunk.tolist()]
        result[chunk, 1:] = _draw(free, hashes[chunk], avoid, targets[chunk], n)
    return result


def matched_negatives(
    popularity: NDArray[np.int64],
    targets: Rows,
    seen: Sequence[Rows],
    keys: Sequence[str],
    n: int = 9,
    seed: int = 0,
) -> Rows:
    """Draw n items for each request that are about as popular as its target.

    Items stand in order of popularity, equals at random; the draw is uniform over the items of a
    short stretch in which the target is at a random place, without what the user has had.
    Popularity alone then comes out at chance, or below where equal counts tie, unlike with uniform
    negatives (docs/paper.md §7); only the few most popular targets have nothing above them.

    Args:
        popularity: (items,) interactions of each in training.
        targets: (requests,) rows of the targets.
        seen: Rows that each request must not be given.
        keys: What each draw is seeded by, as in `sample_negatives`.
        n: Negatives a request.
        seed: Another seed gives others.

    Returns:
        As `sample_negatives`.
    """
    items = len(popularity)
    shuffled = _stream(
        np.array([stable_hash("popularity", seed)], dtype=np.uint64),
        np.arange(items, dtype=np.uint64),
    )
    order = np.lexsort((shuffled, popularity))
    places = np.empty(items, dtype=np.int64)
    places[order] = np.arange(items)
    result = np.full((len(keys), 1 + n), -1, dtype=np.int64)
    result[:, 0] = targets
    for line, (key, target, avoid) in enumerate(zip(keys, targets.tolist(), seen, strict=True)):
        own = np.array([stable_hash("negatives", seed, key)], dtype=np.uint64)
        width = _MATCHED * n + len(avoid)
        # The target's own place in the window is drawn, or being in the middle would tell it.
        before = int(_stream(own, np.array([items], dtype=np.uint64))[0] % np.uint64(width + 1))
        start = max(0, min(int(places[target]) - before, items - width - 1))
        near = order[start : start + width + 1]
        near = np.sort(near[(near != target) & ~np.isin(near, avoid)])
        drawn = near[np.argsort(_stream(own, near.astype(np.uint64)), kind="stable")][:n]
        result[line, 1 : 1 + len(drawn)] = drawn
    return result


def _mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of SplitMix64: neighbouring inputs give unrelated outputs."""
    mixed = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def _stream(hashes: NDArray[np.uint64], numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Number i of the random stream of each hash; shapes broadcast."""
    return _mix(hashes + (numbers + np.uint64(1)) * _STEP)


def _draw(
    free: NDArray[np.bool_],
    hashes: NDArray[np.uint64],
    seen: Sequence[Rows],
    targets: Rows,
    n: int,
) -> Rows:
    """(requests, n): the first n free, allowed, distinct rows of each request's stream."""
    items = len(free)
    requests = np.arange(len(hashes))
    owners = np.concatenate([np.repeat(requests, [len(rows) for rows in seen]), requests])
    forbidden = np.concatenate([*seen, targets]).astype(np.int64)
    taken = np.unique(owners * items + forbidden)
    result = np.empty((len(hashes), n), dtype=np.int64)
    open_requests, width = requests, n + n // 4 + 4
    while len(open_requests):
        numbers = np.arange(width, dtype=np.uint64)
        draws = _stream(hashes[open_requests][:, None], numbers[None, :]) % np.uint64(items)
        rows = draws.astype(np.int64)
        allowed = free[rows] & ~_contains(taken, open_requests[:, None] * items + rows)
        allowed &= ~_repeated(rows)
        place = np.cumsum(allowed, axis=1)
        done = place[:, -1] >= n
        chosen = allowed[done] & (place[done] <= n)
        result[open_requests[done]] = rows[done][chosen].reshape(-1, n)
        open_requests, width = open_requests[~done], 2 * width
    return result


def _draw_crowded(
    free: NDArray[np.bool_], hashes: NDArray[np.uint64], seen: Rows, target: int, n: int
) -> NDArray[np.int64]:
    """At most n rows of one request, by ordering all that is allowed at random."""
    allowed = free.copy()
    allowed[seen] = False
    allowed[target] = False
    rows = np.flatnonzero(allowed)
    order = np.argsort(_stream(hashes, rows.astype(np.uint64)), kind="stable")
    return rows[order][:n].astype(np.int64)


def _contains(ordered: NDArray[np.int64], values: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether each value is in a sorted array that is not empty; shape of ``values``."""
    places = np.minimum(np.searchsorted(ordered, values), len(ordered) - 1)
    return np.asarray(ordered[places] == values)


def _repeated(rows: Rows) -> NDArray[np.bool_]:
    """Whether the same row stands earlier in its line; shape of ``rows``."""
    order = np.argsort(rows, axis=1, kind="stable")
    ordered = np.take_along_axis(rows, order, axis=1)
    again = np.zeros(rows.shape, dtype=np.bool_)
    np.put_along_axis(again, order[:, 1:], ordered[:, 1:] == ordered[:, :-1], axis=1)
    return again


@dataclass(frozen=True, eq=False)
class Listed:
    """Candidate lists read from a file.

    Attributes:
        candidates: (m, 1 + first) rows, column 0 the target, then the list, best first, -1 where
            it is shorter.
        requests: (m,) numbers of the requests that have a list with something in it, ascending.
        unknown: Item ids in the lists that the catalogue does not have; they were left out.
    """

    candidates: Rows
    requests: NDArray[np.int64]
    unknown: int


def from_candidates_file(
    path: Path,
    catalogue: Catalogue,
    user_ids: Sequence[str | None],
    targets: Rows,
    seen: Sequence[Rows] | None = None,
    *,
    first: int = 9,
    strategy: str | None = None,
    drop_history: bool = False,
) -> Listed:
    """Take each user's candidates from a file.

    The target is dropped from the list, then the first N are taken, then the target is added. A
    request whose list has nothing else that the catalogue knows is left out: it would be won by
    having no rival.

    Args:
        path: Parquet, CSV, TSV or JSON lines with user_id and candidates (best first: a list, or
            ids separated by spaces), perhaps strategy.
        catalogue: The items.
        user_ids: Whose requests these are.
        targets: (requests,) rows of the targets.
        seen: Rows of each user's history; needed for ``drop_history``.
        first: How many of each list are taken.
        strategy: Which lists, where the file has those of several strategies.
        drop_history: Whether items of the user's history are dropped from the list as well.

    Raises:
        DataError: The file cannot be read or lacks a column.
        UsageError: Several strategies and none chosen, a strategy that is not there, or no list
            for any of the requests.
    """
    lists = _read_lists(path, strategy)
    if drop_history and seen is None:
        raise ValueError("drop_history needs seen")
    chosen: list[int] = []
    candidates = np.full((len(user_ids), 1 + first), -1, dtype=np.int64)
    unknown = 0
    for number, user_id in enumerate(user_ids):
        rows = catalogue.rows(dict.fromkeys(lists.get(user_id or "", ())))
        unknown += int(np.count_nonzero(rows < 0))
        dropped = np.array([-1, targets[number]])
        if drop_history and seen is not None:
            dropped = np.concatenate([dropped, seen[number]])
        rows = rows[~np.isin(rows, dropped)][:first]
        if len(rows):
            line = candidates[len(chosen)]
            line[0], line[1 : 1 + len(rows)] = targets[number], rows
            chosen.append(number)
    if not chosen:
        raise UsageError(
            f"{path} has no candidates for any of the {len(user_ids)} requests",
            "Check that it holds the dataset's user ids and item ids",
        )
    return Listed(candidates[: len(chosen)], np.array(chosen, dtype=np.int64), unknown)


def _read_lists(path: Path, strategy: str | None) -> dict[str, list[str]]:
    frame = read_table(path)
    for column in ("user_id", "candidates"):
        if column not in frame.columns:
            raise DataError(
                f"{path} has no column {column!r} (it has {', '.join(frame.columns)})",
                "A candidates file has user_id and candidates, best first",
            )
    frame = _of_strategy(frame.drop_nulls("user_id"), path, strategy)
    users = frame["user_id"].cast(pl.String)
    if repeated := users.filter(users.is_duplicated()).head(1).to_list():
        raise DataError(f"{path} has several lists for user {repeated[0]!r}", "Keep one a user")
    return {
        user_id: _ids(value, path)
        for user_id, value in zip(users, frame["candidates"].to_list(), strict=True)
    }


def listed_users(path: Path, strategy: str | None = None) -> set[str]:
    """The users a candidates file has lists for.

    Raises:
        DataError: See `from_candidates_file`.
        UsageError: See `from_candidates_file`.
    """
    return set(_read_lists(path, strategy))


def read_table(path: Path) -> pl.DataFrame:
    """Read a Parquet, CSV, TSV or JSON lines file; columns of CSV and TSV are text.

    Raises:
        DataError: The file is absent or cannot be read.
        UsageError: Its name ends otherwise.
    """
    try:
        match path.suffix.casefold():
            case ".parquet":
                return pl.read_parquet(path)
            case ".csv" | ".tsv":
                separator = "\t" if path.suffix.casefold() == ".tsv" else ","
                return pl.read_csv(path, separator=separator, infer_schema=False)
            case ".jsonl" | ".ndjson":
                return pl.read_ndjson(path)
    except FileNotFoundError:
        raise DataError(f"there is no file {path}", "Check the path") from None
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(f"{path} cannot be read ({error})", "Check its format") from None
    raise UsageError(f"{path} is of no known format", "Name a .parquet, .csv, .tsv or .jsonl file")


def _of_strategy(frame: pl.DataFrame, path: Path, strategy: str | None) -> pl.DataFrame:
    if "strategy" not in frame.columns:
        if strategy is not None:
            raise UsageError(f"{path} has no column 'strategy'", "Leave --strategy out")
        return frame
    names = frame["strategy"].unique().sort().to_list()
    if strategy is None and len(names) > 1:
        raise UsageError(
            f"{path} has lists of several strategies", f"Add --strategy {' or '.join(names)}"
        )
    if strategy is not None and strategy not in names:
        raise UsageError(
            f"{path} has no lists of strategy {strategy!r}", f"Use one of {', '.join(names)}"
        )
    return frame if strategy is None else frame.filter(pl.col("strategy") == strategy)


def _ids(value: object, path: Path) -> list[str]:
    """A list of item ids from a list column, a JSON list, or ids separated by spaces."""
    if value is None:
        return []
    if isinstance(value, str):
        if not value.lstrip().startswith("["):
            return value.split()
        try:
            value = json.loads(value)
        except json.JSONDecodeError as error:
            raise DataError(
                f"{path} has candidates that are not a JSON list ({error})",
                "Separate the ids by spaces",
            ) from None
    if not isinstance(value, list):
        raise DataError(f"{path} has candidates that are not a list", "Separate the ids by spaces")
    return [str(item) for item in value]


def score_lists(
    scorer: Scorer, instructions: Sequence[Instruction], candidates: Rows, seed: int = 0
) -> Scores:
    """Score lists whose targets stand in column 0.

    A scorer that lists its candidates (``lists_candidates``) is handed them in random order, so
    that the target's place tells it nothing.

    Args:
        scorer: Whose scores.
        instructions: n requests.
        candidates: (n, candidates) rows.
        seed: Another seed gives another order.

    Returns:
        (n, candidates) scores in the order of ``candidates``.
    """
    if not getattr(scorer, "lists_candidates", False):
        return scorer.score(instructions, candidates)
    places = np.tile(np.arange(candidates.shape[1]), (len(candidates), 1))
    places = np.random.default_rng(seed).permuted(places, axis=1)
    found = scorer.score(instructions, np.take_along_axis(candidates, places, axis=1))
    scores = np.empty_like(found)
    np.put_along_axis(scores, places, found, axis=1)
    return scores
