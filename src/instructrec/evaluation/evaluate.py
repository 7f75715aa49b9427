"""Evaluates a run beside its rivals, or a model alone, into a report folder."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from instructrec.data.dataset import Dataset
from instructrec.data.splits import Protocol
from instructrec.errors import UsageError
from instructrec.evaluation.measure import Contestant, Outcome, answer, compare, row_of
from instructrec.evaluation.order import check_orders
from instructrec.evaluation.plan import Plan
from instructrec.evaluation.report import OrderCheck, Report, Spread, summarise
from instructrec.evaluation.trials import CandidateList, Trial, make_trial
from instructrec.evaluation.writing import write_report
from instructrec.folders import Draft, write_json
from instructrec.instructions.annotations import Annotations
from instructrec.instructions.requests import MAX_HISTORY
from instructrec.instructions.schema import Scenario
from instructrec.protocols import SILENT, Progress


@dataclass(frozen=True, eq=False)
class World:
    """What requests are made of.

    Attributes:
        dataset: Items, interactions, splits.
        protocol: How targets are set apart.
        texts: Preferences and intentions.
        max_history: Items a sequence has at most, target included.
    """

    dataset: Dataset
    protocol: Protocol
    texts: Annotations
    max_history: int = MAX_HISTORY


def gather(world: World, plan: Plan, progress: Progress = SILENT) -> tuple[list[Trial], list[str]]:
    """Make the trials of a plan.

    Returns:
        The trials, and a line about every scenario that no request can be made for.

    Raises:
        UsageError: No request can be made for any scenario.
    """
    trials: list[Trial] = []
    refused: dict[Scenario, UsageError] = {}
    for scenario in plan.singles():
        for source in plan.candidates:
            try:
                trials.append(_trial(world, plan, scenario, source))
            except UsageError as error:
                refused[scenario] = error
    if not trials:
        raise next(iter(refused.values()))
    notes = [f"Left out: {reason}." for reason in refused.values()]
    for note in notes:
        progress.note(note)
    return trials, notes


def _trial(world: World, plan: Plan, scenario: Scenario, source: CandidateList) -> Trial:
    return make_trial(
        world.dataset,
        world.protocol,
        scenario,
        world.texts,
        source,
        users=plan.users,
        limit=plan.limit,
        max_history=world.max_history,
        seed=plan.seed,
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
    between: Callable[[], None] = lambda: None,
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
        between: Called after each trial, to let go of what was remembered for it.
        progress: Told how far it is.
    """
    outcomes: list[Outcome] = []
    differences = []
    orders: list[OrderCheck] = []
    seconds: list[dict[str, Any]] = []
    for trial in trials:
        start, answers = time.perf_counter(), []
        for outcome in answer(
            trial, contestants, world.dataset.catalogue, draft.path / "rows", progress
        ):
            now = time.perf_counter()
            seconds.append({"row": outcome.slug, "seconds": now - start})
            start = now
            answers.append(outcome)
        differences += compare(answers, seed)
        outcomes += answers
        ours = [contestant for contestant in contestants if contestant.kind == "ours"]
        orders += check_orders(trial, ours, order_requests, seed, progress)
        between()
    rows = [row_of(outcome, seed) for outcome in outcomes]
    report = Report(
        summary=summarise(differences, rows),
        rows=tuple(rows),
        differences=tuple(differences),
        templates=tuple(spreads),
        orders=tuple(orders),
        notes=(*notes, *cautions(trials)),
        seed=seed,
    )
    write_report(draft, report, outcomes)
    write_json(draft.path / "log" / "seconds.json", seconds)
    draft.facts["protocol"] = world.protocol.value
    return report


def cautions(trials: Sequence[Trial]) -> list[str]:
    """What a reader must know of the way these figures were measured."""
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
    if any(trial.source.path is not None for trial in trials):
        found.append(
            "Candidates from a file: nothing was fitted or chosen on such lists; weights, rules "
            "and templates come from validation requests with uniform negatives."
        )
    return [*found, *_shortcomings(trials)]


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
