"""The Recommender: retrieval, then all evidence, then an explained answer."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from instructrec.answers import Recommendation, Recommended
from instructrec.asking import Asked, Understanding, longest_history
from instructrec.data.catalogue import Catalogue
from instructrec.data.dataset import Dataset
from instructrec.errors import FolderError, InstructRecError, WrongFolderError
from instructrec.folders import read_json
from instructrec.instructions.requests import MAX_HISTORY
from instructrec.instructions.schema import Context, Instruction, TaskForm
from instructrec.protocols import SILENT, Filters, Progress, Retriever, Rows, Scores
from instructrec.questions import (
    POOL,
    Evidence,
    Question,
    check_something_known,
    something_known,
)
from instructrec.ranking.fusion import RETRIEVAL, Fusion
from instructrec.reasons import Reasons
from instructrec.retrieval.hybrid import Hybrid
from instructrec.telling import ANSWER_SCHEMA, answer_table, told_to

if TYPE_CHECKING:
    from instructrec.ranking.ranker import Ranker

TYPICAL = 200
"""Items that a judged one is compared with."""
NAMED = 20
"""Items that the language model names of the whole catalogue for T2."""
AS_WRITTEN = (
    "minilm is not at work here: words are matched as they are written "
    "(instructrec models pull minilm, then build again)"
)
_FACTS = ("brand", "price", "currency", "categories", "url", "in_stock")
_STAGES = ("dataset", "model", "fusion.json", "retrievers-serving")

Evidences = dict[str, NDArray[np.float64]]
"""Piece → (candidates,) what it adds to each candidate's score."""


EVIDENCES: tuple[Evidence, ...] = ("all", "lm", "without_lm")


@dataclass
class _Open:
    """A request on its way to an answer.

    Attributes:
        question: As it was asked.
        form: Its task form.
        asked: As it was understood.
        rows: Its candidates.
        told: What each piece of evidence says of them.
    """

    question: Question
    form: TaskForm
    asked: Asked
    rows: Rows
    told: Evidences = field(default_factory=dict)

    @property
    def pool(self) -> int:
        """How many candidates retrieval hands to ranking."""
        return max(self.question.pool, self.question.k)


class Recommender:
    """Answers requests from a run.

    Args:
        dataset: Whose catalogue and histories.
        retrievers: Fitted on all rows, by name.
        lm: The language model (`instructrec.ranking.ranker.Ranker`).
        fusion_file: The run's fusion.json.
        max_history: Items of a sequence at most, one place kept for the answer, as in the corpus.

    Example:
        ``Recommender.load("runs/demo").recommend(wish="a gift for my son who likes racing")``
    """

    def __init__(
        self,
        dataset: Dataset,
        retrievers: Mapping[str, Retriever],
        lm: Ranker,
        fusion_file: Path,
        max_history: int = MAX_HISTORY,
    ) -> None:
        self.dataset = dataset
        self.catalogue: Catalogue = dataset.catalogue
        self.retrievers = dict(retrievers)
        self.lm = lm
        self.fusion = Fusion.load(fusion_file, {**self.retrievers, "lm": lm})
        self.fusion_file = fusion_file
        self.max_history = max_history
        self.understanding = Understanding(dataset, max_history)
        self._reasons = Reasons(self.catalogue, self.retrievers)
        found = [one for name, one in self.retrievers.items() if name != "popularity"]
        shares = read_json(fusion_file).get(RETRIEVAL)
        self._hybrid = Hybrid(found, self.retrievers.get("popularity"), shares)

    @classmethod
    def load(
        cls,
        run: Path | str,
        *,
        device: str = "auto",
        memory: float | None = None,
        max_history: int | None = None,
    ) -> Recommender:
        """Read a run folder.

        Args:
            run: Made by `build` or `demo`.
            device: Where the language model computes (see `instructrec.backbones.load`).
            memory: About how many MiB it may take beside its weights.
            max_history: Items of a sequence at most, one place kept for the answer, instead of as
                many as in the corpus; a prompt spells out no more than in training.

        Raises:
            FolderError: The run is absent or a stage of it is not finished.
            UsageError: There is no such device.
        """
        run = Path(run)
        if not run.is_dir():
            raise WrongFolderError(f"there is no run {run}", "Check the path")
        for name in _STAGES:
            if not (run / name).exists():
                raise FolderError(
                    f"{run} has no {name}: it is no run, or one that is not finished",
                    "Make it, or go on with it, by instructrec build or instructrec demo",
                )
        from instructrec.ranking.ranker import Ranker
        from instructrec.retrieval import load_retrievers

        dataset = Dataset(run / "dataset")
        retrievers = load_retrievers(run / "retrievers-serving", dataset.catalogue)
        ranker = Ranker.load(run / "model", dataset.catalogue, device=device, memory=memory)
        longest = max_history or longest_history(run / "corpus")
        return cls(dataset, retrievers, ranker, run / "fusion.json", longest)

    def without(self, *names: str) -> Recommender:
        """The same recommender without some retrievers, such as ``dense``."""
        kept = {name: found for name, found in self.retrievers.items() if name not in names}
        return Recommender(self.dataset, kept, self.lm, self.fusion_file, self.max_history)

    def recommend(
        self,
        *,
        user: str | None = None,
        history: Sequence[str] | None = None,
        preference: str = "",
        wish: str = "",
        k: int = 10,
        filters: Filters | None = None,
        context: Context | None = None,
        evidence: Evidence = "all",
        task: str = "T3",
        candidates: Sequence[str] = (),
        owned: bool = False,
    ) -> Recommendation:
        """Answer one request.

        Args:
            user: A user of the dataset; one that is not in it is welcome as a stranger (P0).
            history: Item ids or titles, oldest first, instead of the user's own history.
            preference: What the user likes, in words (P2).
            wish: What they want now, in words; limits said in it are kept as filters.
            k: How many items to answer.
            filters: Further limits.
            context: Circumstances.
            evidence: ``all``, or ``lm`` for the likelihood of the language model alone.
            task: ``T3`` reranks (the candidates given, else what retrieval finds), ``T0`` judges
                candidates, ``T1`` compares two, ``T2`` names one of the whole catalogue.
            candidates: Titles or item ids.
            owned: Whether items of the history may be answered.

        Raises:
            UsageError: The task or the number of candidates is wrong, an item is not in the
                catalogue, a filter names no column, or the language model alone is asked with
                nothing to go by.
        """
        question = Question(
            user=user,
            history=None if history is None else tuple(history),
            preference=preference,
            wish=wish,
            k=k,
            filters=filters,
            context=context,
            evidence=evidence,
            task=task,
            candidates=tuple(candidates),
            owned=owned,
        )
        (answer,) = self.answer([question])
        if isinstance(answer, InstructRecError):
            raise answer
        return answer

    def answer(self, questions: Sequence[Question]) -> list[Recommendation | InstructRecError]:
        """Answer requests together, as one batch of retrieval and of scoring.

        Args:
            questions: Any requests.

        Returns:
            For each its answer, as if it had been asked alone but for the times, which are those
            of all together; or what is wrong with it.
        """
        start = time.perf_counter()
        asked = [self._understood(question) for question in questions]
        right = [one for one in asked if isinstance(one, _Open)]
        understood = time.perf_counter()
        self._find_candidates(right)
        retrieved = time.perf_counter()
        self._tell([one for one in right if one.form is not TaskForm.MATCHING])
        self._reasons.read([one.asked.instruction for one in right])
        told = [self._closed(one) for one in asked]
        seconds = {
            "understand": round(understood - start, 4),
            "retrieve": round(retrieved - understood, 4),
            "rank": round(time.perf_counter() - retrieved, 4),
        }
        return [
            one if isinstance(one, InstructRecError) else replace(one, seconds=seconds)
            for one in told
        ]

    def _understood(self, question: Question) -> _Open | InstructRecError:
        try:
            form = question.form()
            asked = self.understanding.ask(
                user=question.user,
                history=question.history,
                recent=question.recent,
                preference=question.preference,
                wish=question.wish,
                context=question.context,
                filters=question.filters,
                owned=question.owned or bool(question.candidates),
            )
            given = self.understanding.rows(question.candidates)
            if question.evidence == "lm":
                check_something_known(asked.instruction)
        except InstructRecError as error:
            return error
        return _Open(question, form, asked, given)

    def _find_candidates(self, asked: Sequence[_Open]) -> None:
        """Give each request that names no candidates what retrieval finds."""
        seeking = [one for one in asked if not one.question.candidates]
        # An item's place in a list depends on the list's length, so equal lengths go together.
        for size in sorted({one.pool for one in seeking}):
            chosen = [one for one in seeking if one.pool == size]
            for one, rows in zip(chosen, self._pools([o.asked for o in chosen], size), strict=True):
                one.rows = rows[rows >= 0]

    def _tell(self, asked: Sequence[_Open]) -> None:
        """Score the candidates of all requests that go by the same evidence together."""
        for evidence in EVIDENCES:
            chosen = [one for one in asked if one.question.evidence == evidence and len(one.rows)]
            if not chosen:
                continue
            width = max(len(one.rows) for one in chosen)
            rows = np.full((len(chosen), width), -1, dtype=np.int64)
            for line, one in zip(rows, chosen, strict=True):
                line[: len(one.rows)] = one.rows
            told = self._explain([one.asked.instruction for one in chosen], rows, evidence)
            for place, one in enumerate(chosen):
                pieces = self._weighing(one.asked.instruction, evidence, told)
                one.told = {name: told[name][place, : len(one.rows)] for name in pieces}

    def _explain(
        self, instructions: Sequence[Instruction], rows: Rows, evidence: Evidence
    ) -> dict[str, NDArray[np.float64]]:
        if evidence == "lm":
            return {"lm": self.lm.score(instructions, rows).astype(np.float64)}
        return self._fused(evidence).explain(instructions, rows)

    def _weighing(
        self, instruction: Instruction, evidence: Evidence, told: Mapping[str, object]
    ) -> list[str]:
        """Names of the pieces that count for this request; others of its batch may have more."""
        if evidence == "lm":
            return ["lm"]
        counting = self._fused(evidence).counting(instruction)
        return [name for name in told if name in counting]

    def _fused(self, evidence: Evidence) -> Fusion:
        return self.quick if evidence == "without_lm" else self.fusion

    @cached_property
    def quick(self) -> Fusion:
        """All evidence but the language model's, by weights of its own."""
        return Fusion.load(self.fusion_file, self.retrievers, without_lm=True)

    def recommend_many(
        self,
        users: Sequence[str],
        k: int = 20,
        *,
        filters: Filters | None = None,
        evidence: Evidence = "all",
        pool: int = POOL,
        batch: int = 128,
        progress: Progress = SILENT,
    ) -> pl.DataFrame:
        """Answer many users at once, from their histories alone.

        Args:
            users: User ids; strangers get what most people take.
            k: Items a user gets.
            filters: Limits on all answers.
            evidence: See `recommend`.
            pool: Candidates that are ranked for each user.
            batch: Users at a time; bounds memory.
            progress: Told how far it is.

        Returns:
            user_id, rank (from 1), item_id, title, score; fewer than k rows of a user where fewer
            items are allowed.
        """
        parts = [pl.DataFrame(schema=ANSWER_SCHEMA)]
        starts = range(0, len(users), batch)
        for start in progress.track(starts, "answering users", len(starts)):
            chunk = users[start : start + batch]
            asked = [self.understanding.ask(user=user, filters=filters) for user in chunk]
            rows = self._pools(asked, max(pool, k))
            scores = self._scores([one.instruction for one in asked], rows, evidence)
            parts.append(answer_table(self.catalogue, chunk, rows, scores, k))
        return pl.concat(parts)

    def _scores(
        self, instructions: Sequence[Instruction], rows: Rows, evidence: Evidence
    ) -> Scores:
        if evidence != "lm":
            return self._fused(evidence).score(instructions, rows)
        # The language model cannot speak where nothing is known; popularity stands in there.
        is_told = np.array([something_known(one) for one in instructions], dtype=np.bool_)
        scores = np.empty(rows.shape, dtype=np.float32)
        for scorer, chosen in ((self.lm, is_told), (self.fusion, ~is_told)):
            numbers = np.flatnonzero(chosen).tolist()
            if numbers:
                asked = [instructions[number] for number in numbers]
                scores[numbers] = scorer.score(asked, rows[numbers])
        return scores

    def _pools(self, asked: Sequence[Asked], size: int) -> Rows:
        """(requests, size) candidates of all retrievers together, -1 where fewer are allowed."""
        instructions = [one.instruction for one in asked]
        return self._hybrid.retrieve(instructions, size, [one.filters for one in asked])

    def _closed(self, one: _Open | InstructRecError) -> Recommendation | InstructRecError:
        """The answer to a request whose candidates are scored, or what is wrong with it."""
        try:
            return one if isinstance(one, InstructRecError) else self._finished(one)
        except InstructRecError as error:
            return error

    def _finished(self, one: _Open) -> Recommendation:
        question, asked, rows = one.question, one.asked, one.rows
        form, evidence = one.form, question.evidence
        instruction = replace(asked.instruction, task=form)
        notes = asked.notes
        if instruction.intention.text and "dense" not in self.retrievers:
            notes = (*notes, AS_WRITTEN)
        text, parts = told_to(
            self.lm, self.catalogue.titles, asked.instruction, rows, form, alone=evidence == "lm"
        )
        answer = Recommendation(
            (),
            form.value,
            str(instruction.scenario),
            text,
            parts,
            asked.limits,
            notes=notes,
        )
        if not len(rows):
            limits = " and ".join(asked.limits) or "these limits"
            return replace(answer, notes=(*answer.notes, f"no item meets {limits}"))
        if form is TaskForm.MATCHING:
            one.rows = rows = self._matching(asked, rows, evidence)
            self._tell([one])
        most = question.k if form is TaskForm.RERANKING else len(rows)
        items = self._ranked(asked.instruction, rows, one.told, most)
        if form is TaskForm.POINTWISE:
            return self._judged(answer, asked, items, evidence)
        if form is TaskForm.PAIRWISE:
            pair = self._compared(asked.instruction, items, evidence)
            return replace(answer, items=pair, answer=pair[0].title)
        if form is TaskForm.MATCHING:
            return replace(answer, items=tuple(items[:1]), answer=items[0].title)
        return replace(answer, items=tuple(items))

    def _matching(self, asked: Asked, rows: Rows, evidence: Evidence) -> Rows:
        """T2: what the language model names of the whole catalogue; with what retrieval finds."""
        if evidence == "without_lm" or not something_known(asked.instruction):
            return rows
        allowed = asked.filters.mask(self.catalogue.items)
        named, _ = self.lm.find(asked.instruction, NAMED, allowed)
        return named if evidence == "lm" else np.union1d(rows, named)

    def _compared(
        self, instruction: Instruction, items: list[Recommended], evidence: Evidence
    ) -> tuple[Recommended, ...]:
        """T1: both items with the chance that each is the one, the likelier first."""
        if evidence == "lm":
            titles = [item.title for item in items]
            first = float(self.lm.compare([instruction], [titles])[0])
        else:
            first = float(1.0 / (1.0 + np.exp(items[1].score - items[0].score)))
        chances = (round(first, 4), round(1.0 - first, 4))
        pair = [
            replace(item, probability=chance) for item, chance in zip(items, chances, strict=True)
        ]
        return tuple(sorted(pair, key=lambda item: -(item.probability or 0.0)))

    def _ranked(
        self, instruction: Instruction, rows: Rows, told: Evidences, most: int
    ) -> list[Recommended]:
        """The best of ``rows``, so many at most, with reasons."""
        scores = sum(told.values(), np.zeros(len(rows)))
        order = np.lexsort((rows, -scores))[:most]
        becauses = self._reasons.because(instruction, rows[order])
        facts = self.facts(rows[order])
        return [
            Recommended(
                self.catalogue.item_ids[rows[at]],
                self.catalogue.titles[rows[at]],
                round(float(scores[at]), 5),
                facts[place],
                {name: round(float(values[at]), 5) for name, values in told.items()},
                becauses[place],
            )
            for place, at in enumerate(order.tolist())
        ]

    def facts(self, rows: Rows) -> list[dict[str, Any]]:
        """Brand, price and the like of items, as far as known."""
        items = self.catalogue.items
        wanted = [name for name in _FACTS if name in items.columns]
        found = items.select(wanted)[rows.tolist()].to_dicts() if wanted else [{}] * len(rows)
        return [
            {name: value for name, value in facts.items() if value is not None} for facts in found
        ]

    def _judged(
        self, answer: Recommendation, asked: Asked, items: list[Recommended], evidence: Evidence
    ) -> Recommendation:
        """T0: whether each item is right, and how likely."""
        rows = self.catalogue.rows([item.item_id for item in items])
        if evidence == "lm":
            titles = [item.title for item in items]
            chances = self.lm.judge([asked.instruction] * len(titles), titles)
        else:
            chances = self._over_typical(asked.instruction, rows, evidence)
        allowed = asked.filters.mask(self.catalogue.items)[rows]
        judged = [
            replace(item, probability=round(float(chance), 4) if meets else 0.0)
            for item, chance, meets in zip(items, chances, allowed, strict=True)
        ]
        judged.sort(key=lambda item: -(item.probability or 0.0))
        broken = [item.title for item, meets in zip(items, allowed, strict=True) if not meets]
        limits = " and ".join(asked.limits)
        return replace(
            answer,
            items=tuple(judged),
            answer="yes" if (judged[0].probability or 0.0) >= 0.5 else "no",
            notes=(*answer.notes, *(f"{title} does not meet {limits}" for title in broken)),
        )

    def _over_typical(
        self, instruction: Instruction, rows: Rows, evidence: Evidence
    ) -> NDArray[np.float64]:
        """(rows,) how likely each is chosen over a typical item of the catalogue."""
        count = min(TYPICAL, len(self.catalogue))
        drawn = np.random.default_rng(0).choice(len(self.catalogue), size=count, replace=False)
        together = np.concatenate([rows, np.sort(drawn)])[None, :]
        scores = self._fused(evidence).score([instruction], together)[0].astype(np.float64)
        level = np.logaddexp.reduce(scores[len(rows) :]) - np.log(count)
        return np.asarray(1.0 / (1.0 + np.exp(level - scores[: len(rows)])))
