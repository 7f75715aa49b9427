"""What the routes call: a recommender that takes up events, items and erasures at once."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl

from instructrec.answers import Recommendation
from instructrec.errors import InstructRecError
from instructrec.folders import MANIFEST, sha256
from instructrec.protocols import Filters
from instructrec.questions import Question
from instructrec.recommender import Recommender
from instructrec.reranking import Reranked, rerank
from instructrec.serving.batching import Batcher
from instructrec.serving.metrics import Metrics
from instructrec.serving.settings import ServeConfig
from instructrec.serving.store import Event, Store, Written
from instructrec.updating import with_items

ERASED = "this user was erased: answered as a stranger"


class Service:
    """A run in service.

    Args:
        run: The run folder.
        recommender: Loaded from it.
        store: What came since it was made.
        config: See `ServeConfig`.
    """

    def __init__(
        self, run: Path, recommender: Recommender, store: Store, config: ServeConfig
    ) -> None:
        self.run, self.store, self.config = run, store, config
        self.version = sha256(run / "model" / MANIFEST)[:12]
        self._changing = threading.Lock()
        changes = store.items()
        self.recommender = with_items(recommender, run, changes) if changes else recommender
        self.metrics = Metrics(lambda: self.batcher.waiting)
        self.batcher = Batcher(
            self,
            size=config.batch,
            wait=config.gather_ms / 1000,
            room=config.queue,
            observe=self.metrics.batch,
        )

    @classmethod
    def open(cls, run: Path, config: ServeConfig) -> Service:
        """Load a run and open its store.

        Raises:
            InstructRecError: The run or the store cannot be used.
        """
        recommender = Recommender.load(run, device=config.device)
        service = cls(run, recommender, Store(config.store_url(run)), config)
        service.warm()
        return service

    def warm(self) -> None:
        """Ask once of each kind, so that the first people do not wait for what is loaded late."""
        some = self.recommender.catalogue.titles[:3]
        pool = self.config.candidates
        kinds = (
            Question(wish=some[0], pool=pool),
            Question(history=tuple(some), pool=pool),
            Question(history=tuple(some), wish=some[0], pool=pool, evidence="without_lm"),
        )
        for question in kinds:
            self.answer([question])

    def close(self) -> None:
        """Answer what was accepted and close the store."""
        self.batcher.close()
        self.store.close()

    def answer(self, questions: Sequence[Question]) -> list[Recommendation | InstructRecError]:
        """See `instructrec.serving.batching.Engine`."""
        return self.recommender.answer(questions)

    def rerank(self, question: Question, documents: Sequence[str]) -> Reranked:
        """See `instructrec.serving.batching.Engine`."""
        return rerank(self.recommender, question, documents)

    def known(self, question: Question) -> tuple[Question, tuple[str, ...]]:
        """The question with what the store knows of its user, and what to say about that."""
        if question.user is None:
            return question, ()
        taken = self.store.taken(question.user)
        if taken.is_erased:
            return replace(question, user=None), (ERASED,)
        filters = question.filters or Filters()
        if taken.disliked and not question.candidates:
            filters = filters.excluding(taken.disliked)
        return replace(question, recent=taken.item_ids, filters=filters), ()

    def add_events(self, events: Sequence[Event]) -> Written:
        """Write events; the next request of their users knows them."""
        written = self.store.add_events(events)
        self.metrics.events.inc(len(written.accepted))
        return written

    def put_items(self, changes: Sequence[Mapping[str, Any]]) -> None:
        """Take changed items up; when this returns they are kept, and can be recommended.

        Raises:
            UsageError: See `instructrec.updating.with_items`; nothing was changed.
        """
        with self._changing:
            # Made first, because that is what refuses a change that cannot be.
            changed = with_items(self.recommender, self.run, changes)
            self.store.put_items(changes)
            self.recommender = changed

    def export(self, user_id: str) -> dict[str, Any] | None:
        """All that is known of a user; none for a stranger."""
        if self.store.taken(user_id).is_erased:
            return None
        kept = self.store.export(user_id)
        of_user = pl.col("user_id") == user_id
        dataset = self.recommender.dataset
        history = dataset.interactions.filter(of_user).collect().to_dicts()
        facts = dataset.users
        profile = [] if facts is None else facts.filter(of_user).to_dicts()
        if kept is None and not history and not profile:
            return None
        return {"user_id": user_id, "store": kept or {}, "dataset": history, "profile": profile}
