"""What changes of a request do: another history, another wish, another wording, a limit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from instructrec import metrics
from instructrec.evaluation.findings import answers
from instructrec.evaluation.measure import Contestant, score_trial
from instructrec.evaluation.report import GROUPS, TRAP
from instructrec.evaluation.templates import with_templates
from instructrec.evaluation.trec import settled
from instructrec.evaluation.trials import Trial
from instructrec.evaluation.world import World
from instructrec.instructions.requests import Requests
from instructrec.instructions.schema import Instruction, Intention, IntentionKind, Preference
from instructrec.instructions.wishes import Vocabulary, parse_request
from instructrec.protocols import SILENT, Progress, Rows, Scores

if TYPE_CHECKING:
    from instructrec.ranking.ranker import Ranker

AS_ASKED = "as asked"
_PRICE = "price"


def probe(
    world: World,
    trial: Trial,
    contestants: Sequence[Contestant],
    requests: int,
    seed: int = 0,
    progress: Progress = SILENT,
) -> Iterator[pl.DataFrame]:
    """Ask a sample of requests again, changed in one respect at a time.

    Args:
        world: Whose texts and prices.
        trial: Requests with sampled candidates.
        contestants: Those of them are asked that read anything; the language model alone by other
            wordings.
        requests: How many, drawn at random; 0 leaves all out.
        seed: Seeds the draw and the changes.
        progress: Told how far it is.

    Yields:
        Lines of answers.parquet.

    Source: docs/paper.md §8 (language models often ignore the order of the history).
    """
    if not requests or trial.source.ranking != "sampled":
        return
    rng = np.random.default_rng(seed)
    size = min(requests, len(trial.requests))
    numbers = np.sort(rng.choice(len(trial.requests), size=size, replace=False))
    part = _take(trial, numbers)
    reading = [one for one in contestants if one.reads and one.takes_part(part)]
    asked = [one for one in reading if one.name not in (GROUPS, TRAP)]
    for name, changes in _changes(part.requests, rng).items():
        for contestant in progress.track(asked, f"another {name} in {trial.scenario}"):
            for group, changed in changes.items():
                scores = _scores(part, contestant, changed)
                ranks = metrics.ranks(scores).astype(np.int32)
                labels = _labels(name, part)
                yield answers(labels, contestant.name, group, part.requests.keys, rank=ranks)
    yield from _misled(world, part, asked)
    yield from _limits(world, part, asked)
    for contestant in asked:
        if (ranker := _asks(contestant)) is not None:
            yield from _wordings(ranker, part, contestant, progress)


def _take(trial: Trial, numbers: Rows) -> Trial:
    return replace(
        trial, requests=trial.requests.take(numbers), candidates=trial.candidates[numbers]
    )


def _labels(part: str, trial: Trial) -> tuple[str, str, str, str]:
    return part, str(trial.scenario), trial.protocol.value, trial.description


def _scores(trial: Trial, contestant: Contestant, changed: Sequence[Instruction]) -> Scores:
    asked = replace(trial, requests=replace(trial.requests, instructions=list(changed)))
    return settled(score_trial(asked, contestant), trial.candidates)


def _changes(
    requests: Requests, rng: np.random.Generator
) -> Mapping[str, Mapping[str, list[Instruction]]]:
    """Part → what is changed → the changed requests."""
    told = requests.instructions
    others = [told[at] for at in _others(len(told), rng)]
    found: dict[str, Mapping[str, list[Instruction]]] = {}
    if len(told) < 2:
        return found
    if told[0].preference.history:
        found["history"] = {
            AS_ASKED: told,
            "shuffled": [_reordered(one, rng.permutation(_length(one))) for one in told],
            "reversed": [_reordered(one, np.arange(_length(one))[::-1]) for one in told],
            "someone else's": [
                replace(one, preference=_of_another(one, other), user_id=other.user_id)
                for one, other in zip(told, others, strict=True)
            ],
        }
    if told[0].intention.text:
        pairs = list(zip(told, others, strict=True))
        found["wish"] = {
            AS_ASKED: told,
            "someone else's": [replace(one, intention=other.intention) for one, other in pairs],
            "contradictory": [
                _wishing(one, f"{one.intention.text} {other.intention.text}")
                for one, other in pairs
            ],
        }
        if told[0].preference.form != "P0":
            found["wish"] = {
                **found["wish"],
                "none": [replace(one, intention=Intention()) for one in told],
            }
    return found


def _others(requests: int, rng: np.random.Generator) -> list[int]:
    """For each request another one: a random cycle through all."""
    order = rng.permutation(requests)
    others = np.empty(requests, dtype=np.int64)
    others[order] = np.roll(order, 1)
    return [int(at) for at in others]


def _length(instruction: Instruction) -> int:
    return len(instruction.preference.history)


def _reordered(instruction: Instruction, order: np.ndarray) -> Instruction:
    old = instruction.preference
    history = tuple(old.history[at] for at in order)
    ids = tuple(old.history_ids[at] for at in order) if old.history_ids else ()
    return replace(instruction, preference=replace(old, history=history, history_ids=ids))


def _of_another(own: Instruction, other: Instruction) -> Preference:
    theirs = other.preference
    return replace(own.preference, history=theirs.history, history_ids=theirs.history_ids)


def _wishing(instruction: Instruction, text: str) -> Instruction:
    return replace(instruction, intention=replace(instruction.intention, text=text))


def _misled(
    world: World, trial: Trial, contestants: Sequence[Contestant]
) -> Iterator[pl.DataFrame]:
    """Whether the first negative comes first, with the own wish and with a wish for it."""
    (kind,) = trial.scenario.axes[1]
    if kind != IntentionKind.SPECIFIC:
        return
    ids = world.dataset.catalogue.item_ids
    texts = [world.texts.specific(None, ids[row]) for row in trial.candidates[:, 1].tolist()]
    own = [one.intention.text for one in trial.requests.instructions]
    there = [at for at, text in enumerate(texts) if text and text != own[at]]
    if not there:
        return
    part = _take(trial, np.array(there))
    told = part.requests.instructions
    wishes = {
        AS_ASKED: told,
        "a wish for it": [_wishing(one, texts[at]) for one, at in zip(told, there, strict=True)],
    }
    for contestant in contestants:
        for group, changed in wishes.items():
            scores = _scores(part, contestant, changed)
            first = scores[:, 1] > np.delete(scores, 1, axis=1).max(axis=1)
            labels = _labels("misled", part)
            yield answers(labels, contestant.name, group, part.requests.keys, label=first)


def _limits(
    world: World, trial: Trial, contestants: Sequence[Contestant]
) -> Iterator[pl.DataFrame]:
    """Whether the first keeps a price limit: unsaid, said in words, and kept as a filter."""
    items = world.dataset.catalogue.items
    if _PRICE not in items.columns or not trial.requests.instructions[0].intention.text:
        return
    prices = items[_PRICE].cast(pl.Float64).to_numpy()
    own = np.where(trial.candidates >= 0, prices[trial.candidates], np.nan)
    there = np.flatnonzero(np.isfinite(own).sum(axis=1) >= 2)
    if not len(there):
        return
    part = _take(trial, there)
    most = np.ceil(np.nanmedian(own[there], axis=1))
    keeps = own[there] <= most[:, None]
    told = part.requests.instructions
    said = [
        _wishing(one, f"{one.intention.text}, not more than {int(limit)} dollars")
        for one, limit in zip(told, most, strict=True)
    ]
    read = _kept(world, said, part.candidates)
    for contestant in contestants:
        scores = {"unsaid": _scores(part, contestant, told)}
        scores["said"] = _scores(part, contestant, said)
        scores["kept as a filter"] = np.where(read, scores["said"], -np.inf)
        for group, found in scores.items():
            holds = np.take_along_axis(keeps, found.argmax(axis=1)[:, None], axis=1)[:, 0]
            labels = _labels("limit", part)
            yield answers(labels, contestant.name, group, part.requests.keys, label=holds)


def _kept(world: World, said: Sequence[Instruction], rows: Rows) -> np.ndarray:
    """(n, candidates) what keeps the price limit that is read from the wish, as in use."""
    items = world.dataset.catalogue.items
    vocabulary = Vocabulary.of(world.dataset.catalogue)
    kept = rows >= 0
    for line, one in enumerate(said):
        _, filters = parse_request(one.intention.text, vocabulary)
        for condition in filters.conditions:
            if condition.column == _PRICE:
                holds = items.select(condition.expression(items.schema)).to_series().to_numpy()
                kept[line] &= holds[rows[line]]
    return kept


def _asks(contestant: Contestant) -> Ranker | None:
    from instructrec.evaluation.judging import ranker_of

    return ranker_of(contestant)


def _wordings(
    ranker: Ranker, trial: Trial, contestant: Contestant, progress: Progress
) -> Iterator[pl.DataFrame]:
    """Ranks by every template that covers the scenario, and whether the first stays."""
    used = ranker.template(trial.scenario)
    pool = ranker.bank.covering(trial.scenario, strategy="direct", asks="item")
    if used is None or len(pool) < 2:
        return
    firsts: np.ndarray | None = None
    rest = sorted(one.id for one in pool if one.id != used.id)
    keys = trial.requests.keys
    for name in progress.track([used.id, *rest], f"other wordings in {trial.scenario}"):
        asking = replace(contestant, scorer=with_templates(ranker, {str(trial.scenario): name}))
        scores = _scores(trial, asking, trial.requests.instructions)
        ranks = metrics.ranks(scores).astype(np.int32)
        yield answers(_labels("wording", trial), contestant.name, name, keys, rank=ranks)
        best = np.lexsort((trial.candidates, -scores), axis=1)[:, 0]
        firsts = best if firsts is None else firsts
        if name != used.id:
            labels = _labels("wording keeps the first", trial)
            yield answers(labels, contestant.name, name, keys, label=best == firsts)
