"""The rows of a corpus: which there are, which values they hold, and the leak rules."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from instructrec.data.catalogue import Catalogue
from instructrec.data.dataset import Dataset
from instructrec.data.splits import Protocol
from instructrec.hashing import stable_hash
from instructrec.instructions.annotate import TEXT_KINDS, item_facts
from instructrec.instructions.annotations import PREFERENCE_VIEWS, Annotations, names_title
from instructrec.instructions.corpus import make_example
from instructrec.instructions.diversify import NO_DIVERSITY, DiversityRates, Varied, diversify
from instructrec.instructions.requests import (
    MAX_HISTORY,
    preference_text,
    relevant_queries,
    user_profiles,
)
from instructrec.instructions.schema import Scenario
from instructrec.instructions.teachers.base import ItemFacts
from instructrec.instructions.templating import TemplateBank
from instructrec.instructions.titles import copied
from instructrec.negatives import sample_negatives
from instructrec.protocols import Rows

PART = 1024
ROOM = 4096
"""Numbers that are kept for the rows of one want; there are fewer forms."""


class CorpusConfig(BaseModel):
    """What decides the rows of a corpus."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    protocol: Protocol = Protocol.LEAVE_ONE_OUT
    """How targets are set apart."""
    seed: int = 0
    """Seeds negatives (with the user id), the order of candidates and every draw."""
    max_history: int = Field(MAX_HISTORY, ge=2)
    """Items a sequence has at most, target included (paper §4.1)."""
    negatives: int = Field(9, ge=1)
    """Candidates beside the target (paper §4.1)."""
    part: int = Field(PART, ge=1)
    """Users, queries or items of a partition: what one file holds and one worker makes at a
    time."""
    scenarios: tuple[str, ...] | None = None
    """Only these scenarios, such as ``P1,I0,T3``; all that the data allow when left out."""
    rates: dict[str, float] = Field(
        default_factory=lambda: {
            "T0": 0.25,
            "T1": 0.25,
            "T2": 0.5,
            "T3": 1.0,
            "turned-around": 0.25,
            "relatedness": 0.25,
            "chain-of-thought": 0.25,
        }
    )
    """The share of users that get a row of each kind: by task form where the strategy is direct,
    else by strategy. The paper leaves the amounts open."""
    diversity: DiversityRates = NO_DIVERSITY
    """How often the wishes of training rows are varied in which way; not at all when nothing is
    said (docs/diversity.md tells what it costs and gains)."""


@dataclass(frozen=True)
class Form:
    """One kind of row: a scenario, a strategy and what is answered."""

    scenario: str
    strategy: str
    asks: str

    @cached_property
    def kind(self) -> str:
        """The key of `CorpusConfig.rates`."""
        return self.scenario[-2:] if self.strategy == "direct" else self.strategy

    @cached_property
    def task(self) -> str:
        """The task form."""
        return self.scenario[-2:]

    @cached_property
    def axes(self) -> tuple[str, str]:
        """Preference and intention."""
        preference, intention, _ = self.scenario.split(",")
        return preference, intention

    @cached_property
    def needs_history(self) -> bool:
        """Whether titles are asked by or answered."""
        return "P1" in self.axes[0] or "history" in self.asks

    @cached_property
    def needs_preference(self) -> bool:
        """Whether a stated preference is asked by or answered."""
        return "P2" in self.axes[0] or "preference" in self.asks

    @cached_property
    def needs_intention(self) -> str:
        """The kind of intention that is asked by or answered; a query is a specific one."""
        return self.axes[1] if self.axes[1] != "I0" or "query" not in self.asks else "I2"


def forms_of(bank: TemplateBank) -> list[Form]:
    """Every form that a template covers, in a fixed order."""
    found = {
        Form(str(single), template.strategy, template.asks)
        for template in bank
        for scenario in template.scenarios
        for single in scenario.singles()
    }
    return sorted(found, key=lambda form: (form.scenario, form.strategy, form.asks))


def chosen_forms(forms: Sequence[Form], scenarios: Sequence[str] | None) -> list[int]:
    """The numbers of the forms that some scenarios cover; of all where none is named."""
    if scenarios is None:
        return list(range(len(forms)))
    wanted = [Scenario.parse(text) for text in scenarios]
    singles = [Scenario.parse(form.scenario) for form in forms]
    return [at for at, one in enumerate(singles) if any(w.covers(one) for w in wanted)]


def text_kinds(config: CorpusConfig) -> tuple[str, ...]:
    """Those of P2, I1 and I2 that a row of a corpus can be asked by or answer."""
    return _text_kinds(config.scenarios, tuple(sorted(config.rates.items())))


@lru_cache(maxsize=16)
def _text_kinds(
    scenarios: tuple[str, ...] | None, rates: tuple[tuple[str, float], ...]
) -> tuple[str, ...]:
    forms = forms_of(TemplateBank.load(None))
    rate = dict(rates)
    # Validation and test rows are direct ones of T3 whatever the rates.
    used = [
        form
        for form in (forms[at] for at in chosen_forms(forms, scenarios))
        if form.kind == "T3" or rate.get(form.kind)
    ]
    needed = {form.needs_intention for form in used}
    needed |= {"P2" for form in used if form.needs_preference}
    return tuple(kind for kind in TEXT_KINDS if kind in needed)


@dataclass(frozen=True, eq=False)
class _Want:
    """What rows are about: somebody, who had a history, is to get a target.

    ``preferences`` and ``intentions`` (by kind) are the texts that a row may draw from.
    """

    user_id: str | None
    query_id: str | None
    history: list[int]
    target: int
    candidates: list[int]
    split: str
    preferences: list[str]
    intentions: dict[str, list[str]]

    @property
    def key(self) -> str:
        """What draws are seeded by: user, else query."""
        return self.user_id or self.query_id or ""

    def allows(self, form: Form) -> bool:
        """Whether all that a form needs is known."""
        return (
            (bool(self.history) or not form.needs_history)
            and (bool(self.preferences) or not form.needs_preference)
            and (form.needs_intention == "I0" or form.needs_intention in self.intentions)
        )


class _Draw(NamedTuple):
    """Three numbers in [0, 1) of one want and form: the row's presence, texts and order."""

    presence: float
    text: float
    order: float


class RowMaker:
    """Makes the rows of a part of a dataset, one at a time.

    A row depends on its own user or query, the catalogue and the settings, never on who else is
    in the part.

    Args:
        dataset: Those users or queries alone (see `Dataset.part`).
        texts: Theirs, and those of the items they take.
        config: See `CorpusConfig`.
        bank: What rows are worded by.
        start: The number of the part's first user or query among all.
    """

    def __init__(
        self,
        dataset: Dataset,
        texts: Annotations,
        config: CorpusConfig,
        bank: TemplateBank,
        start: int = 0,
    ) -> None:
        self.catalogue: Catalogue = dataset.catalogue
        self.dataset, self.texts, self.config, self.bank = dataset, texts, config, bank
        self.split = dataset.split(config.protocol)
        self.forms = forms_of(bank)
        self.numbers = {key: start + number for number, key in enumerate(_keys(dataset))}
        self.chosen = chosen_forms(self.forms, config.scenarios)

    @cached_property
    def profiles(self) -> dict[str, str]:
        """What is known of users beside their history."""
        return user_profiles(self.dataset)

    @cached_property
    def facts(self) -> dict[int, ItemFacts]:
        """What is known of the items that the part's users had, by catalogue row."""
        return item_facts(self.dataset, np.unique(self.dataset.sequences.rows))

    def rows(self, split: str) -> Iterator[dict[str, Any]]:
        """The rows of a split; validation and test hold the evaluated form only (T3, direct)."""
        rates = [self.config.rates.get(form.kind, 0.0) for form in self.forms]
        if split != "train":
            rates = [float(form.kind == "T3") for form in self.forms]
        chosen = [number for number in self.chosen if rates[number]]
        for want in self._wants(split):
            seed = stable_hash(self.config.seed, split, want.key)
            draws = np.random.default_rng(seed).random((len(self.forms), 3)).tolist()
            for number in chosen:
                form = self.forms[number]
                if want.allows(form) and draws[number][0] < rates[number]:
                    yield self._row(want, number, _Draw(*draws[number]))

    def _wants(self, split: str) -> Iterator[_Want]:
        targets = self.split.targets(split)
        foreign = self._foreign(split)
        lists = self._lists(targets.rows, targets.histories, targets.user_ids, foreign)
        for user_id, row, history, candidates in zip(
            targets.user_ids, targets.rows.tolist(), targets.histories, lists, strict=True
        ):
            recent = history[-(self.config.max_history - 1) :].tolist()
            preferences = self._preferences(user_id, row, split)
            intentions = self._intentions(user_id, row, split)
            yield _Want(user_id, None, recent, row, candidates, split, preferences, intentions)
        yield from self._query_wants(split, foreign)

    def _foreign(self, split: str) -> NDArray[np.int64]:
        """Rows that no text of this split may name: under the item split, held-out items."""
        if self.config.protocol is not Protocol.ITEMS or split != "train":
            return np.zeros(0, dtype=np.int64)
        held_out = self.split.items.filter(pl.col("split") != "train")["item_id"]
        return self.catalogue.rows(held_out.to_list())

    def _query_wants(self, split: str, foreign: NDArray[np.int64]) -> Iterator[_Want]:
        by_item = self.config.protocol is Protocol.ITEMS
        if split != "train" and not by_item:
            return
        # Whatever the protocol, queries are split by their items, so that some are left to fit on.
        allowed = self.dataset.split(Protocol.ITEMS).items.filter(pl.col("split") == split)
        rows = relevant_queries(self.dataset).join(
            allowed, on="item_id", how="semi", maintain_order="left"
        )
        targets = self.catalogue.rows(rows["item_id"])
        unseen = [np.zeros(0, dtype=np.int64)] * rows.height
        lists = self._lists(targets, unseen, rows["query_id"].to_list(), foreign)
        for query_id, text, kind, target, candidates in zip(
            rows["query_id"], rows["text"], rows["kind"], targets.tolist(), lists, strict=True
        ):
            if not names_title(text, self.catalogue.titles[target]):
                words = {kind: [text]}
                yield _Want(None, query_id, [], target, candidates, split, [], words)

    def _lists(
        self, targets: Rows, seen: Sequence[Rows], keys: list[str], barred: Rows
    ) -> Iterator[list[int]]:
        """The target and its negatives, a list a want."""
        drawn = sample_negatives(
            self.catalogue,
            targets,
            seen,
            keys,
            n=self.config.negatives,
            seed=self.config.seed,
            barred=barred,
        )
        return ([row for row in line if row >= 0] for line in drawn.tolist())

    def _preferences(self, user_id: str, target: int, split: str) -> list[str]:
        """Any view in training, the overall one in evaluation; none that names the target."""
        title = self.catalogue.titles[target]
        if split != "train":
            text = preference_text(self.texts, user_id, split, title)
            return [text] if text else []
        views = self.texts.preference(user_id, split)
        texts = (views[view] for view in PREFERENCE_VIEWS if view in views)
        return [text for text in texts if not copied(text, title)]

    def _intentions(self, user_id: str, target: int, split: str) -> dict[str, list[str]]:
        """All expressions of a wish in training, the first of a kind in evaluation."""
        item_id, title = self.catalogue.item_ids[target], self.catalogue.titles[target]
        vague = self.texts.vague(user_id, item_id)
        found = {"I1": vague, "I2": self.texts.specifics(user_id, item_id)}
        if split != "train":
            found = {"I1": vague[:1], "I2": [self.texts.specific(user_id, item_id)]}
        told = {
            kind: [text for text in texts if text and not copied(text, title)]
            for kind, texts in found.items()
        }
        return {kind: texts for kind, texts in told.items() if texts}

    def _row(self, want: _Want, number: int, draw: _Draw) -> dict[str, Any]:
        form = self.forms[number]
        ids, titles = self.catalogue.item_ids, self.catalogue.titles
        history = want.history if form.needs_history else []
        wish = self._wish(want, number, draw)
        values = {
            "row": self.numbers[want.key] * ROOM + number,
            "scenario": form.scenario,
            "strategy": form.strategy,
            "asks": form.asks,
            "task": form.task,
            "history": [titles[row] for row in history],
            "history_ids": [ids[row] for row in history],
            "profile": self.profiles.get(want.user_id or "", "") if history else "",
            "preference": _drawn(want.preferences, draw) if form.needs_preference else "",
            "intention": wish.text,
            "intention_kind": wish.kind,
            "style": wish.how,
            "context_time": "",
            "context_place": "",
            "context_device": "",
            "context_occasion": "",
            **self._listed(want, form, draw),
            "item": titles[want.target],
            "user_id": want.user_id,
            "query_id": want.query_id,
            "item_id": ids[want.target],
            "split": want.split,
            "seed": self.config.seed,
        }
        example = make_example(self.bank, values, 0)
        values["template"] = example.template
        values["instruction"] = example.rendered.text
        values["response"] = example.response
        return values

    def _wish(self, want: _Want, number: int, draw: _Draw) -> Varied:
        """A text the row is asked by or answers; varied where a training row is asked by it.

        What people typed themselves is left as it is.
        """
        form = self.forms[number]
        kind = form.needs_intention
        if kind == "I0":
            return Varied("", kind, "")
        text = _drawn(want.intentions[kind], draw)
        if want.split != "train" or form.strategy != "direct" or want.user_id is None:
            return Varied(text, kind)
        return diversify(
            text,
            kind,
            self.facts[want.target],
            [self.facts[row] for row in want.history],
            seed=stable_hash(self.config.seed, want.key, number),
            rates=self.config.diversity,
        )

    def _listed(self, want: _Want, form: Form, draw: _Draw) -> dict[str, Any]:
        """Candidates, their order drawn by the row's key, and the answer a judge must give."""
        rows = want.candidates
        task = form.task if form.strategy == "direct" else ""
        second = draw.order < 0.5
        answer = ""
        chosen: list[int] = []
        if task == "T0":
            chosen, answer = (rows[1:2], "No") if second else (rows[:1], "Yes")
        elif task == "T1":
            chosen, answer = rows[1::-1] if second else rows[:2], self.catalogue.titles[rows[0]]
        elif task == "T3":
            rng = np.random.default_rng(int(draw.order * 2**53))
            chosen = [rows[at] for at in rng.permutation(len(rows))]
        return {
            "candidates": [self.catalogue.titles[row] for row in chosen],
            "candidate_ids": [self.catalogue.item_ids[row] for row in chosen],
            "answer": answer,
        }


def _drawn(texts: list[str], draw: _Draw) -> str:
    return texts[int(draw.text * len(texts))]


def _keys(dataset: Dataset) -> list[str]:
    """The ids of the users of a part, then those of its queries, each once and in order."""
    users = dataset.interactions.select("user_id").collect()["user_id"]
    keys: list[str] = users.unique(maintain_order=True).to_list()
    if dataset.queries is not None:
        keys += dataset.queries["query_id"].unique(maintain_order=True).to_list()
    return keys
