"""Evaluates a run beside its rivals, or a model alone, into a report folder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import polars as pl

from instructrec.data.splits import Protocol
from instructrec.errors import UsageError
from instructrec.evaluation.costs import cost_of
from instructrec.evaluation.findings import ANSWERS, answers, by_group, findings_of
from instructrec.evaluation.measure import (
    PER_USER,
    Contestant,
    Outcome,
    answer,
    compare,
    corrected,
    per_user,
    row_of,
)
from instructrec.evaluation.memory import Shared
from instructrec.evaluation.order import check_orders
from instructrec.evaluation.plan import Plan
from instructrec.evaluation.probes import probe
from instructrec.evaluation.report import (
    RETRIEVAL,
    TRAP,
    Comparison,
    OrderCheck,
    Report,
    Spread,
    summarise,
)
from instructrec.evaluation.trap import trapped
from instructrec.evaluation.trials import CandidateList, Trial, make_trial
from instructrec.evaluation.world import World
from instructrec.evaluation.writing import Results, learning_curve, write_report
from instructrec.folders import Draft
from instructrec.instructions.schema import Scenario
from instructrec.protocols import SILENT, Progress

__all__ = ["World", "cautions", "gather", "measure", "validation_trial"]


def gather(world: World, plan: Plan, progress: Progress = SILENT) -> tuple[list[Trial], list[str]]:
    """Make the trials of a plan: its rankings (T3, and T2 with the whole catalogue).

    Returns:
        The trials, and a line about every scenario that no request can be made for.

    Raises:
        UsageError: No request can be made for any scenario.
    """
    trials: list[Trial] = []
    refused: dict[tuple[Scenario, str], UsageError] = {}
    for scenario, source, limit in plan.lists():
        try:
            trials.append(_trial(world, plan, scenario, source, limit))
        except UsageError as error:
            refused[scenario, error.what] = error
    if not trials and not plan.judged():
        raise next(iter(refused.values()))
    notes = [f"Left out: {reason}." for reason in refused.values()]
    for note in notes:
        progress.note(note)
    return trials, notes


def _trial(
    world: World, plan: Plan, scenario: Scenario, source: CandidateList, limit: int | None
) -> Trial:
    return make_trial(
        world.dataset,
        world.protocol,
        scenario,
        world.texts,
        source,
        users=plan.users,
        limit=limit,
        max_history=world.max_history,
        seed=plan.seed,
        retrievers=world.retrievers,
    )


def validation_trial(world: World, plan: Plan, scenario: Scenario) -> Trial | None:
    """Validation requests of a scenario for choices, without the users that a plan tests.

    Returns:
        The trial with uniform negatives, or none where no request can be made.
    """
    tested = plan.tested_users()
    users = None
    if tested:
        users = set(world.dataset.split(world.protocol).targets("validation").user_ids) - tested
    try:
        return make_trial(
            world.dataset,
            world.protocol,
            scenario,
            world.texts,
            CandidateList(),
            split="validation",
            users=users,
            limit=plan.spread_users,
            max_history=world.max_history,
            seed=plan.seed,
        )
    except UsageError:
        return None


def measure(
    draft: Draft,
    world: World,
    trials: Sequence[Trial],
    contestants: Sequence[Contestant],
    *,
    seed: int = 0,
    spreads: Sequence[Spread] = (),
    notes: Sequence[str] = (),
    order_requests: int = 0,
    probe_requests: int = 0,
    answered: Sequence[pl.DataFrame] = (),
    shared: Shared | None = None,
    model: Path | None = None,
    progress: Progress = SILENT,
) -> Report:
    """Have every contestant answer every trial and write the report.

    Args:
        draft: A folder of kind ``report``.
        world: Whose items.
        trials: What is asked.
        contestants: Who answers.
        seed: Of the bootstrap samples; the trials' own was theirs.
        spreads: What templates reached on validation.
        notes: What a reader must know.
        order_requests: Requests of each trial by which it is found out whether the order of the
            candidates matters to ours; 0 leaves that out.
        probe_requests: See `instructrec.evaluation.probes.probe`.
        answered: Lines of answers.parquet that are there already: judgements, comparisons.
        shared: What several contestants have in common.
        model: The folder of the model, whose learning curve is drawn.
        progress: Told how far it is.
    """
    shared = shared or Shared()
    outcomes: list[Outcome] = []
    differences: list[Comparison] = []
    orders: list[OrderCheck] = []
    told = list(answered)
    for trial in trials:
        field = [*contestants, *trapped(trial, shared.pieces)]
        folder, catalogue = draft.path / "rows", world.dataset.catalogue
        found = list(answer(trial, field, catalogue, folder, progress, shared.clock))
        differences += compare(found, seed)
        outcomes += found
        told += stage_one(trial)
        if trial.source.ranking == "sampled":
            ours = [contestant for contestant in contestants if contestant.kind == "ours"]
            orders += check_orders(trial, ours, order_requests, seed, progress)
            told += probe(world, trial, contestants, probe_requests, seed, progress)
        for memory in shared.memories:
            memory.forget()
    rows = [row_of(outcome, seed) for outcome in outcomes]
    users = [per_user(outcome, world.popularity) for outcome in outcomes]
    frame = pl.concat(told) if told else pl.DataFrame(schema=ANSWERS)
    results = pl.concat(users, how="diagonal") if users else pl.DataFrame(schema=PER_USER)
    report = Report(
        summary=summarise(differences, rows),
        rows=tuple(rows),
        differences=tuple(corrected(differences)),
        templates=tuple(spreads),
        orders=tuple(orders),
        findings=(*findings_of(frame, seed), *by_group(results, rows, seed)),
        notes=(*notes, *cautions(trials)),
        seed=seed,
    )
    costs = [cost_of(outcome) for outcome in outcomes]
    write_report(draft, report, Results(results, frame, costs, learning_curve(model)))
    draft.facts["protocol"] = world.protocol.value
    return report


def stage_one(trial: Trial) -> Iterator[pl.DataFrame]:
    """Whether retrieval found the targets, where candidates are what it found."""
    if trial.source.ranking == "two-stage":
        labels = ("stage 1", str(trial.scenario), trial.protocol.value, trial.description)
        yield answers(labels, trial.source.retriever, "", trial.requests.keys, label=trial.found)


def cautions(trials: Sequence[Trial]) -> list[str]:
    """What a reader must know of the way these figures were measured."""
    if not trials:
        return []
    kinds = {trial.scenario.axes[1][0] for trial in trials}
    found = []
    if trials[0].protocol is Protocol.LEAVE_ONE_OUT:
        found.append(
            "Leave-one-out: each user's last item is the target. Others' later interactions are in "
            "training, so that a trend can be known before it happened; the time split has none "
            "of that."
        )
        if any(trial.scenario.axes[0] == ("P0",) for trial in trials):
            found.append(
                "Search under leave-one-out: the items searched for were seen in training, with "
                "other people. The item split (--protocol items) searches for items that were not."
            )
    if trials[0].protocol is Protocol.ITEMS:
        found.append("Item split: no test item occurs in any training interaction or text.")
    if trials[0].protocol is Protocol.TIME:
        found.append("Time split: everything before a moment trains, what comes after it tests.")
    if "I1" in kinds or "I2" in kinds:
        found.append(
            "Intentions tell of the target by construction: I1 is made from the target's own "
            "review, I2 from its categories or the query it was found by. No intention contains "
            "the target's title."
        )
    return [*found, *_of_candidates(trials), *_shortcomings(trials)]


def _of_candidates(trials: Sequence[Trial]) -> Iterator[str]:
    """What a reader must know of where the candidates come from."""
    if any(trial.source.path is not None for trial in trials):
        yield (
            "Candidates from a file: nothing of ours was fitted or chosen on such lists; weights, "
            "rules and templates come from validation requests with uniform negatives."
        )
    if any(trial.source.draw == "hard" for trial in trials):
        yield (
            "Hard negatives are the first of a retriever, and the target is put in by hand where "
            "it was not found. That retriever, and whatever is like it, looks bad on such lists; "
            "compare only models that had no part in making them, and only like with like."
        )
    if any(trial.source.is_put_together for trial in trials):
        yield (
            f"The row `{TRAP}` is a mix of all evidence fitted on these very lists (two halves of "
            "the test requests, each scored by weights of the other). It learns to distrust the "
            "matcher that made the lists, which no recommender can do in use: never take its "
            "figure for a result. The honest form is retrieval, then reranking, nothing put in "
            "(retrieved:hybrid)."
        )
    if any(trial.source.ranking == "two-stage" for trial in trials):
        yield (
            "Two stages: the candidates are what retrieval found for the request, nothing put in; "
            f"where it did not find the target every metric is 0. `{RETRIEVAL}` is the order in "
            "which they were found, so that a difference to it is what reranking adds. Limits "
            "said in a wish are not kept as filters here, as they are in use."
        )
    if any(trial.source.draw == "popularity" for trial in trials):
        yield (
            "Popularity-matched negatives occur about as often in training as the target, so that "
            "popularity alone comes out at chance, or below where counts are equal: ties count "
            "against it."
        )


def _shortcomings(trials: Sequence[Trial]) -> Iterator[str]:
    """Lists that hold less than they should, which makes their requests easier."""
    for trial in trials:
        where = f"⟨{trial.scenario}⟩, {trial.description}"
        if trial.unknown:
            yield f"{where}: {trial.unknown:,} candidates are not in the catalogue; left out."
        if trial.short:
            yield (
                f"{where}: {trial.short:,} of {len(trial.requests):,} requests have fewer than "
                f"{trial.source.first} candidates beside the target, so they are easier."
            )
