"""Builds a Corpus from a Dataset: which rows, which values, and the leak rules."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from instructrec.data.catalogue import Catalogue
from instructrec.data.dataset import Dataset
from instructrec.data.splits import Protocol
from instructrec.errors import DataError
from instructrec.folders import Draft, new_folder
from instructrec.hashing import stable_hash, stable_share
from instructrec.instructions.annotate import annotate, names_title
from instructrec.instructions.annotations import (
    PREFERENCE_VIEWS,
    Annotations,
)
from instructrec.instructions.corpus import CORPUS_SCHEMA, Corpus, make_example, pool_of
from instructrec.instructions.requests import (
    MAX_HISTORY,
    preference_text,
    relevant_queries,
    user_profiles,
)
from instructrec.instructions.schema import Scenario
from instructrec.instructions.teachers.base import Teacher
from instructrec.instructions.templating import TemplateBank
from instructrec.negatives import sample_negatives
from instructrec.protocols import SILENT, Progress, Rows

BATCH = 8192


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


@dataclass(frozen=True)
class Form:
    """One kind of row: a scenario, a strategy and what is answered."""

    scenario: str
    strategy: str
    asks: str

    @property
    def kind(self) -> str:
        """The key of `CorpusConfig.rates`."""
        return self.scenario[-2:] if self.strategy == "direct" else self.strategy

    @property
    def axes(self) -> tuple[str, str]:
        """Preference and intention."""
        preference, intention, _ = self.scenario.split(",")
        return preference, intention


def forms_of(bank: TemplateBank, wanted: tuple[str, ...] | None = None) -> list[Form]:
    """Every form that a template covers, in a fixed order."""
    allowed = None if wanted is None else [Scenario.parse(text) for text in wanted]
    found = {
        Form(str(single), template.strategy, template.asks)
        for template in bank
        for scenario in template.scenarios
        for single in scenario.singles()
        if allowed is None or any(scenario_.covers(single) for scenario_ in allowed)
    }
    return sorted(found, key=lambda form: (form.scenario, form.strategy, form.asks))


def build_corpus(
    dataset: Dataset,
    teacher: Teacher | None,
    out: Path,
    config: CorpusConfig | None = None,
    *,
    annotations: pl.DataFrame | None = None,
    command: str = "instructrec corpus build",
    replace: bool = False,
    progress: Progress = SILENT,
) -> Corpus:
    """Write instruction data for a dataset.

    Leak rules: a training row knows only what lies before its training target; no preference and
    no intention contains the target's title; negatives and the order of candidates are seeded by
    user id. They are checked on every row as it is written.

    Args:
        dataset: A complete dataset.
        teacher: Who writes preferences and intentions; none when ``annotations`` are given.
        out: The folder to make, of kind ``corpus``.
        config: See `CorpusConfig`.
        annotations: Texts somebody already has, instead of a teacher's.
        command: What to write into the manifest.
        replace: Whether a complete folder at ``out`` gives way.
        progress: Told how far it is.

    Raises:
        FolderError: ``out`` is taken.
        UsageError: The dataset has no calendar and the protocol needs one.
        DataError: No training row can be made.

    Source: paper §3.1–3.3; PAPER.md §1–3.
    """
    config = config or CorpusConfig()
    settings = {**config.model_dump(mode="json"), "teacher": teacher.name if teacher else "given"}
    with new_folder(
        out,
        "corpus",
        command=command,
        settings=settings,
        seed=config.seed,
        inputs={"dataset": dataset.folder},
        replace=replace,
    ) as draft:
        fill_corpus(draft, dataset, teacher, config, annotations, progress)
    return Corpus(out)


def fill_corpus(
    draft: Draft,
    dataset: Dataset,
    teacher: Teacher | None,
    config: CorpusConfig,
    annotations: pl.DataFrame | None = None,
    progress: Progress = SILENT,
) -> None:
    """Write a corpus into a folder draft (see `build_corpus`)."""
    draft.facts |= {"protocol": config.protocol.value, "clock": dataset.clock}
    if annotations is None:
        if teacher is None:
            raise ValueError("either a teacher or annotations")
        made = annotate(
            dataset,
            config.protocol,
            teacher,
            max_history=config.max_history,
            seed=config.seed,
            progress=progress,
        )
        annotations = made.frame
        draft.facts["teacher"] = {
            "asked": made.asked,
            "empty": made.silent,
            "dropped_for_naming_the_title": made.leaked,
        }
    annotations.write_parquet(draft.path / "annotations.parquet", compression="zstd")
    draft.rows["annotations"] = annotations.height
    maker = _RowMaker(dataset, Annotations.of(annotations), config, TemplateBank.load(None))
    for split in ("train", "validation", "test"):
        rows = progress.track(maker.rows(split), f"writing {split} rows")
        draft.rows[split] = _write_rows(draft.path / f"{split}.parquet", iter(rows))
    if not draft.rows["train"]:
        raise DataError(
            f"no training row can be made from {dataset.folder}",
            "Import more interactions a user (three at least), or name other scenarios",
        )


def _write_rows(path: Path, rows: Iterator[dict[str, Any]]) -> int:
    schema = pl.DataFrame(schema=CORPUS_SCHEMA).to_arrow().schema
    count = 0
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        while batch := list(islice(rows, BATCH)):
            frame = pl.DataFrame(batch, schema=CORPUS_SCHEMA, orient="row")
            writer.write_table(frame.to_arrow())
            count += len(batch)
    return count


@dataclass(frozen=True, eq=False)
class _Want:
    """What one row is about: somebody, who had a history, is to get a target."""

    user_id: str | None
    query_id: str | None
    query: str
    query_kind: str
    history: NDArray[np.int64]
    target: int
    candidates: Rows
    split: str

    @property
    def key(self) -> str:
        """What draws are seeded by: user, else query."""
        return self.user_id or self.query_id or str(self.target)


class _RowMaker:
    """Makes the rows of a split, one at a time."""

    def __init__(
        self, dataset: Dataset, texts: Annotations, config: CorpusConfig, bank: TemplateBank
    ) -> None:
        self.catalogue: Catalogue = dataset.catalogue
        self.dataset, self.texts, self.config, self.bank = dataset, texts, config, bank
        self.profiles = user_profiles(dataset)
        self.split = dataset.split(config.protocol)
        self.forms = forms_of(bank, config.scenarios)
        self.count = 0

    def rows(self, split: str) -> Iterator[dict[str, Any]]:
        """The rows of a split; validation and test hold the evaluated form only (T3, direct)."""
        forms = self.forms
        if split != "train":
            forms = [form for form in forms if form.kind == "T3"]
        self.count = 0
        for want in self._wants(split):
            for form in forms:
                row = self._row(want, form)
                if row is not None:
                    yield row

    def _wants(self, split: str) -> Iterator[_Want]:
        targets = self.split.targets(split)
        foreign = self._foreign(split)
        seen = [np.concatenate([history, foreign]) for history in targets.histories]
        if foreign.size == 0:
            seen = targets.histories
        lists = self._lists(targets.rows, seen, targets.user_ids)
        for user_id, row, history, candidates in zip(
            targets.user_ids, targets.rows.tolist(), targets.histories, lists, strict=True
        ):
            recent = history[-(self.config.max_history - 1) :]
            yield _Want(user_id, None, "", "", recent, row, candidates, split)
        yield from self._query_wants(split, foreign)

    def _foreign(self, split: str) -> NDArray[np.int64]:
        """Rows that no text of this split may name: under the item split, held-out items."""
        if self.config.protocol is not Protocol.ITEMS or split != "train":
            return np.zeros(0, dtype=np.int64)
        held_out = self.split.items.filter(pl.col("split") != "train")["item_id"]
        return self.catalogue.rows(held_out.to_list())

    def _query_wants(self, split: str, foreign: NDArray[np.int64]) -> Iterator[_Want]:
        queries = self.dataset.queries
        by_item = self.config.protocol is Protocol.ITEMS
        if queries is None or (split != "train" and not by_item):
            return
        rows = relevant_queries(queries)
        if by_item:
            allowed = self.split.items.filter(pl.col("split") == split)
            rows = rows.join(allowed, on="item_id", how="semi", maintain_order="left")
        kinds = rows["kind"].to_list() if "kind" in rows.columns else ["I2"] * rows.height
        targets = self.catalogue.rows(rows["item_id"])
        lists = self._lists(targets, [foreign] * rows.height, rows["query_id"].to_list())
        nothing = np.zeros(0, dtype=np.int64)
        for query_id, text, kind, target, candidates in zip(
            rows["query_id"], rows["text"], kinds, targets.tolist(), lists, strict=True
        ):
            if not names_title(text, self.catalogue.titles[target]):
                yield _Want(None, query_id, text, kind, nothing, target, candidates, split)

    def _lists(self, targets: Rows, seen: list[NDArray[np.int64]], keys: list[str]) -> Rows:
        return sample_negatives(
            self.catalogue,
            targets,
            seen,
            keys,
            n=self.config.negatives,
            seed=self.config.seed,
        )

    def _row(self, want: _Want, form: Form) -> dict[str, Any] | None:
        seed = self.config.seed
        rate = self.config.rates.get(form.kind, 0.0)
        if want.split == "train" and stable_share(seed, want.key, *_parts(form)) >= rate:
            return None
        values = self._values(want, form)
        if values is None:
            return None
        values |= self._listed(want, form)
        values |= {
            "row": self.count,
            "scenario": form.scenario,
            "strategy": form.strategy,
            "asks": form.asks,
            "item": self.catalogue.titles[want.target],
            "user_id": want.user_id,
            "query_id": want.query_id,
            "item_id": self.catalogue.item_ids[want.target],
            "split": want.split,
            "seed": seed,
        }
        example = make_example(self.bank, values, 0)
        values["template"] = example.template
        values["instruction"] = example.rendered.text
        values["response"] = example.response
        self.count += 1
        return values

    def _values(self, want: _Want, form: Form) -> dict[str, Any] | None:
        """Preference and intention of a row; none when a text it needs does not exist."""
        preference, kind = form.axes
        history = want.history if "P1" in preference or "history" in form.asks else ()
        needs_text = "P2" in preference or "preference" in form.asks
        text = self._preference(want, form) if needs_text else ""
        needs_words = kind if kind != "I0" else ("I2" if "query" in form.asks else "I0")
        words = self._intention(want, form, needs_words) if needs_words != "I0" else ""
        if (needs_text and not text) or (needs_words != "I0" and not words):
            return None
        if "P1" in preference and not len(history):
            return None
        rows = [int(row) for row in history]
        return {
            "task": form.scenario[-2:],
            "history": [self.catalogue.titles[row] for row in rows],
            "history_ids": [self.catalogue.item_ids[row] for row in rows],
            "profile": self.profiles.get(want.user_id or "", "") if "P1" in preference else "",
            "preference": text,
            "intention": words,
            "intention_kind": needs_words,
            "context_time": "",
            "context_place": "",
            "context_device": "",
            "context_occasion": "",
        }

    def _preference(self, want: _Want, form: Form) -> str:
        if want.user_id is None:
            return ""
        if want.split != "train":
            return preference_text(self.texts, want.user_id, want.split)
        views = self.texts.preference(want.user_id, want.split)
        known = [views[view] for view in PREFERENCE_VIEWS if view in views]
        return _drawn(known, self.config.seed, want.key, form)

    def _intention(self, want: _Want, form: Form, kind: str) -> str:
        if want.query_id is not None:
            return want.query if kind == want.query_kind else ""
        user_id, item_id = want.user_id or "", self.catalogue.item_ids[want.target]
        if kind == "I2":
            return self.texts.specific(user_id, item_id)
        known = self.texts.vague(user_id, item_id)
        if want.split != "train":
            return known[0] if known else ""
        return _drawn(known, self.config.seed, want.key, form)

    def _listed(self, want: _Want, form: Form) -> dict[str, Any]:
        """Candidates, their order drawn by the row's key, and the answer a judge must give."""
        task = form.scenario[-2:] if form.strategy == "direct" else "T2"
        rows = [int(row) for row in want.candidates if row >= 0]
        draw = stable_hash(self.config.seed, "order", want.key, *_parts(form))
        answer = ""
        if task == "T0":
            chosen = rows[draw % 2 : draw % 2 + 1]
            answer = "No" if draw % 2 else "Yes"
        elif task == "T1":
            chosen = rows[:2] if draw % 2 else rows[1::-1]
            answer = self.catalogue.titles[want.target]
        elif task == "T3":
            chosen = [rows[at] for at in np.random.default_rng(draw).permutation(len(rows))]
        else:
            chosen = []
        return {
            "candidates": [self.catalogue.titles[row] for row in chosen],
            "candidate_ids": [self.catalogue.item_ids[row] for row in chosen],
            "answer": answer,
        }


def _parts(form: Form) -> tuple[str, str, str]:
    return form.scenario, form.strategy, form.asks


def _drawn(known: list[str], seed: int, key: str, form: Form) -> str:
    if not known:
        return ""
    return known[stable_hash(seed, "view", key, *_parts(form)) % len(known)]


def templates_of(bank: TemplateBank, scenario: Scenario) -> list[str]:
    """Ids of the templates a single scenario is asked by, direct ones."""
    asks = {"T0": "yes-no", "T1": "which"}.get(scenario.axes[2][0], "item")
    return [template.id for template in pool_of(bank, str(scenario), "direct", asks)]
