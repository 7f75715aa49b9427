"""The requests of one split and one scenario: what is asked of a recommender in evaluation."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from instructrec.data.dataset import Dataset
from instructrec.data.splits import Protocol, Targets
from instructrec.errors import UsageError
from instructrec.instructions.annotations import PREFERENCE_VIEWS, Annotations
from instructrec.instructions.schema import (
    Instruction,
    Intention,
    IntentionKind,
    Preference,
    Scenario,
    TaskForm,
)
from instructrec.instructions.titles import copied
from instructrec.instructions.wishes import Vocabulary, kind_of
from instructrec.protocols import Rows

MAX_HISTORY = 20
"""Items a sequence has at most, target included (paper §4.1)."""


@dataclass(frozen=True, eq=False)
class Requests:
    """n requests of one scenario with their targets.

    Attributes:
        scenario: A single scenario.
        split: ``train``, ``validation`` or ``test``.
        instructions: n requests; those of P0 know no user.
        targets: (n,) catalogue rows.
        seen: n arrays of catalogue rows: what the user had before, all of it.
        user_ids: n user ids, none where the request is nobody's.
        item_ids: n target item ids.
        keys: n strings that seed the negatives: user_id, else query_id, else item_id.
    """

    scenario: Scenario
    split: str
    instructions: list[Instruction]
    targets: Rows
    seen: list[NDArray[np.int64]]
    user_ids: list[str | None]
    item_ids: list[str]
    keys: list[str]

    def __len__(self) -> int:
        return len(self.instructions)

    def take(self, numbers: Sequence[int] | NDArray[np.int64]) -> Requests:
        """The requests with these numbers, in this order."""
        chosen = [int(number) for number in numbers]
        return Requests(
            self.scenario,
            self.split,
            [self.instructions[number] for number in chosen],
            self.targets[chosen],
            [self.seen[number] for number in chosen],
            [self.user_ids[number] for number in chosen],
            [self.item_ids[number] for number in chosen],
            [self.keys[number] for number in chosen],
        )


def make_requests(
    dataset: Dataset,
    protocol: Protocol | str,
    split: str,
    scenario: Scenario,
    annotations: pl.DataFrame | Annotations,
    *,
    max_history: int = MAX_HISTORY,
    limit: int | None = None,
    users: Collection[str] | None = None,
    seed: int = 0,
) -> Requests:
    """Gather the requests of a scenario; whoever lacks a needed text is left out.

    Preferences in words are the overall view, vague intentions what the reviewer wants. Under the
    item split a request without preference is made from each query of the split's items that is of
    the scenario's kind (see `relevant_queries`), or from each such item where there are none.

    Args:
        dataset: Where targets, titles and queries come from.
        protocol: How targets are set apart.
        split: ``train``, ``validation`` or ``test``.
        scenario: A single scenario.
        annotations: Texts of `instructrec.instructions.annotations.ANNOTATION_SCHEMA`.
        max_history: Items a sequence has at most, target included.
        limit: At most so many requests, drawn at random.
        users: Only these users' requests.
        seed: Seeds the draw of ``limit``.

    Raises:
        UsageError: The scenario has alternatives, or no request can be made for it.
    """
    if not scenario.is_single:
        raise UsageError(f"{scenario} has alternatives", "Take one of them at a time")
    protocol = Protocol.parse(protocol)
    if not isinstance(annotations, Annotations):
        annotations = Annotations.of(annotations)
    (preference,), (intention,), _ = scenario.axes
    if protocol is Protocol.ITEMS and preference == "P0":
        found = _of_items(dataset, split, scenario, annotations)
    else:
        targets = dataset.split(protocol).targets(split)
        found = _of_users(dataset, targets, split, scenario, annotations, max_history, users)
    if not len(found):
        raise UsageError(
            f"no {split} request can be made for {scenario} from {dataset.folder}",
            _what_lacks(preference, intention),
        )
    if limit is not None and limit < len(found):
        drawn = np.random.default_rng(seed).choice(len(found), size=limit, replace=False)
        found = found.take(np.sort(drawn))
    return found


def _what_lacks(preference: str, intention: str) -> str:
    if intention == IntentionKind.VAGUE:
        return "I1 needs reviews: import them, or give a teacher's texts"
    if intention == IntentionKind.SPECIFIC:
        return "I2 needs categories or queries: map them with --columns"
    if "P2" in preference:
        return "P2 needs preferences in the corpus: build it with a teacher"
    return "Every user has fewer than three interactions in it: loosen the filters of the import"


class _Gatherer:
    """Collects the columns of `Requests`."""

    def __init__(self) -> None:
        self.instructions: list[Instruction] = []
        self.targets: list[int] = []
        self.seen: list[NDArray[np.int64]] = []
        self.user_ids: list[str | None] = []
        self.item_ids: list[str] = []
        self.keys: list[str] = []

    def requests(self, scenario: Scenario, split: str) -> Requests:
        return Requests(
            scenario,
            split,
            self.instructions,
            np.array(self.targets, dtype=np.int64),
            self.seen,
            self.user_ids,
            self.item_ids,
            self.keys,
        )


def _of_users(
    dataset: Dataset,
    targets: Targets,
    split: str,
    scenario: Scenario,
    annotations: Annotations,
    max_history: int,
    users: Collection[str] | None,
) -> Requests:
    wanted = None if users is None else set(users)
    (form,), (kind,), (task,) = scenario.axes
    ids, titles = dataset.catalogue.item_ids, dataset.catalogue.titles
    profiles = user_profiles(dataset)
    found = _Gatherer()
    for user_id, row, history in zip(
        targets.user_ids, targets.rows.tolist(), targets.histories, strict=True
    ):
        if wanted is not None and user_id not in wanted:
            continue
        intention = intention_of(annotations, user_id, ids[row], IntentionKind(kind))
        text = preference_text(annotations, user_id, split, titles[row]) if "P2" in form else ""
        if intention is None or copied(intention.text, titles[row]):
            continue
        if "P2" in form and not text:
            continue
        recent = history[-(max_history - 1) :].tolist() if "P1" in form else []
        preference = Preference(
            tuple(titles[item] for item in recent),
            tuple(ids[item] for item in recent),
            profiles.get(user_id, "") if "P1" in form else "",
            text,
        )
        known = user_id if form != "P0" else None
        found.instructions.append(Instruction(preference, intention, TaskForm(task), user_id=known))
        found.targets.append(row)
        found.seen.append(history)
        found.user_ids.append(user_id)
        found.item_ids.append(ids[row])
        found.keys.append(user_id)
    return found.requests(scenario, split)


def _of_items(
    dataset: Dataset, split: str, scenario: Scenario, annotations: Annotations
) -> Requests:
    _, (kind,), (task,) = scenario.axes
    items = dataset.split(Protocol.ITEMS).items
    chosen = set(items.filter(pl.col("split") == split)["item_id"].to_list())
    nothing = np.zeros(0, dtype=np.int64)
    found = _Gatherer()
    for key, item_id, text in _asked(dataset, chosen, IntentionKind(kind), annotations):
        intention = Intention(text, IntentionKind(kind))
        found.instructions.append(Instruction(intention=intention, task=TaskForm(task)))
        found.targets.append(dataset.catalogue.index[item_id])
        found.seen.append(nothing)
        found.user_ids.append(None)
        found.item_ids.append(item_id)
        found.keys.append(key)
    return found.requests(scenario, split)


def _asked(
    dataset: Dataset, chosen: set[str], kind: IntentionKind, annotations: Annotations
) -> list[tuple[str, str, str]]:
    """(key, item_id, text) of everything that is asked for the chosen items."""
    queries = relevant_queries(dataset)
    rows = queries.filter(pl.col("kind") == kind.value, pl.col("item_id").is_in(sorted(chosen)))
    if not rows.is_empty():
        return list(rows.select("query_id", "item_id", "text").iter_rows())
    if kind is IntentionKind.VAGUE:
        first: dict[str, str] = {}
        for (_, item_id), views in sorted(annotations.intentions.items()):
            if item_id in chosen and "what_i_want" in views:
                first.setdefault(item_id, views["what_i_want"])
        return [(item_id, item_id, text) for item_id, text in sorted(first.items())]
    texts = ((item_id, annotations.specific(None, item_id)) for item_id in sorted(chosen))
    return [(item_id, item_id, text) for item_id, text in texts if text]


def relevant_queries(dataset: Dataset) -> pl.DataFrame:
    """Queries with their most relevant item, and whether they are vague or specific.

    Returns:
        query_id, text, item_id, kind; one row a query, in order of query_id, the first item by
        item_id among equally relevant ones. Empty where the dataset has no queries.
    """
    columns = ("query_id", "text", "item_id", "kind")
    if dataset.queries is None:
        return pl.DataFrame(schema=dict.fromkeys(columns, pl.String))
    relevant = dataset.queries.filter(pl.col("relevance").fill_null(1.0) > 0)
    ordered = relevant.sort("query_id", pl.col("relevance").neg(), "item_id", nulls_last=True)
    first = ordered.unique("query_id", keep="first", maintain_order=True)
    vocabulary = Vocabulary.of(dataset.catalogue)
    kinds = [kind_of(" ".join(text.split()), vocabulary).value for text in first["text"]]
    return first.with_columns(pl.Series("kind", kinds, dtype=pl.String)).select(columns)


def intention_of(
    annotations: Annotations, user_id: str, item_id: str, kind: IntentionKind
) -> Intention | None:
    """What a user wants who is about to take an item; none where no text says it."""
    if kind is IntentionKind.NONE:
        return Intention()
    if kind is IntentionKind.SPECIFIC:
        text = annotations.specific(user_id, item_id)
    else:
        text = next(iter(annotations.vague(user_id, item_id)), "")
    return Intention(text, kind) if text else None


def preference_text(annotations: Annotations, user_id: str, split: str, title: str) -> str:
    """The overall preference, else whichever view there is that does not name the target.

    Args:
        annotations: Where preferences are looked up.
        user_id: Whose.
        split: Of the request; it may know no preference of a later one.
        title: The target's. A preference is written without a look at it, but a title such as
            "Wii" may be what the history is about.

    Returns:
        ``""`` where there is none.
    """
    views = annotations.preference(user_id, split)
    texts = (views[view] for view in PREFERENCE_VIEWS if view in views)
    return next((text for text in texts if not copied(text, title)), "")


def user_profiles(dataset: Dataset) -> dict[str, str]:
    """Profile facts of each user as one phrase, from whatever columns the users table has."""
    if dataset.users is None:
        return {}
    profiles = {}
    for row in dataset.users.iter_rows(named=True):
        user_id = row.pop("user_id")
        facts = [f"{name.replace('_', ' ')}: {value}" for name, value in row.items() if value]
        if facts:
            profiles[user_id] = "; ".join(facts)
    return profiles
