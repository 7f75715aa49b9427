"""What was said and the item it was said of, with the history before it: examples to learn from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from instructrec.data.sequences import Sequences
from instructrec.data.splits import Protocol
from instructrec.errors import UsageError
from instructrec.evaluation.baselines._texts import Bag, bag_of
from instructrec.evaluation.baselines.base import Material, UnavailableError
from instructrec.evaluation.baselines.learned import Asked
from instructrec.evaluation.baselines.settings import TextConfig
from instructrec.instructions.annotations import Annotations, names_title
from instructrec.instructions.requests import Requests, make_requests, preference_text
from instructrec.instructions.schema import Instruction, Scenario
from instructrec.protocols import Rows
from instructrec.retrieval._sequence_batches import latest
from instructrec.retrieval.dense import said_in

FEWEST = 32
"""Examples below which nothing is learnt."""
_SEARCHES: tuple[str, ...] = ("P0,I1,T3", "P0,I2,T3")
_SCENARIOS: tuple[str, ...] = ("P1,I1,T3", "P1,I2,T3", "P1+P2,I0,T3")


@dataclass(frozen=True, eq=False)
class Examples:
    """n examples.

    Attributes:
        rows: Catalogue rows that histories are cut out of.
        starts: (n,) first place of each history in ``rows``.
        stops: (n,) the place behind its last.
        targets: (n,) catalogue rows.
        said: (n,) numbers of ``bags``.
        bags: What is said, each text once.
    """

    rows: Rows
    starts: NDArray[np.int64]
    stops: NDArray[np.int64]
    targets: Rows
    said: NDArray[np.int64]
    bags: list[Bag]

    def __len__(self) -> int:
        return len(self.targets)

    def asked(self, numbers: NDArray[np.int64], longest: int) -> Asked:
        """Some of them as requests, histories cut to the latest items."""
        pairs = zip(self.starts[numbers].tolist(), self.stops[numbers].tolist(), strict=True)
        histories = [self.rows[start:stop] for start, stop in pairs]
        bags = [self.bags[number] for number in self.said[numbers].tolist()]
        return Asked(latest(histories, longest), bags)


def gather_examples(material: Material, config: TextConfig, name: str) -> Examples:
    """Every training interaction with each text that says what was wanted.

    The texts are the intentions for that user and item and, with the last interaction, the stated
    preference; none that names the item. Queries of training items come besides, without history.

    Raises:
        UnavailableError: There are no texts, or hardly any.
    """
    sequences = material.train
    numbers: dict[str, int] = {}
    lines: list[tuple[int, int, int, int]] = []
    found = [] if material.texts is None else _said_of(sequences, material, material.texts)
    for start, stop, row, text in found:
        lines.append((start, stop, row, numbers.setdefault(text, len(numbers))))
    for row, text in _searched(material):
        lines.append((0, 0, row, numbers.setdefault(text, len(numbers))))
    if len(lines) < FEWEST:
        raise UnavailableError(
            f"The row {name} is left out: there are {len(lines)} training texts that say what was "
            "wanted",
            "Build the corpus with intentions or preferences",
        )
    columns = np.array(lines, dtype=np.int64)
    bags = [bag_of(text, config.buckets) for text in numbers]
    starts, stops, rows, said = columns.T.copy()
    return Examples(sequences.rows, starts, stops, rows, said, bags)


def _said_of(
    sequences: Sequences, material: Material, texts: Annotations
) -> Iterator[tuple[int, int, int, str]]:
    """(start, stop, row, text) of every training interaction and each of its texts."""
    ids, titles = material.catalogue.item_ids, material.catalogue.titles
    for number, user in enumerate(sequences.user_ids):
        start, end = int(sequences.offsets[number]), int(sequences.offsets[number + 1])
        for place in range(start, end):
            row = int(sequences.rows[place])
            wishes = [*texts.vague(user, ids[row]), *texts.specifics(user, ids[row])]
            if place == end - 1:
                wishes.append(preference_text(texts, user, "train", titles[row]))
            for text in dict.fromkeys(wishes):
                if text and not names_title(text, titles[row]):
                    yield start, place, row, text


def _searched(material: Material) -> Iterator[tuple[int, str]]:
    """(row, text) of what the items of the item split's training part are searched by."""
    if material.dataset.queries is None and material.protocol is not Protocol.ITEMS:
        return
    for scenario in _SEARCHES:
        for requests in _requests(material, Protocol.ITEMS, "train", scenario):
            for row, one in zip(requests.targets.tolist(), requests.instructions, strict=True):
                yield row, said_in(one, latin_only=False)


def validation_requests(
    material: Material, *, history: bool
) -> tuple[list[Instruction], list[Rows], Rows]:
    """Validation requests in words: instructions, rows of the histories, rows of the targets.

    Args:
        material: Whose; users that are held out are not among them.
        history: Whether to ask as in personalised search, or as in product search.
    """
    kinds = _SCENARIOS if history else _SEARCHES
    if not history and material.protocol is not Protocol.ITEMS:
        kinds = (*kinds, "P2,I0,T3")
    instructions: list[Instruction] = []
    histories: list[Rows] = []
    targets: list[int] = []
    users = None
    if material.protocol is not Protocol.ITEMS or history:
        users = frozenset(material.validation.user_ids)
    for scenario in kinds:
        for found in _requests(material, material.protocol, "validation", scenario, users):
            instructions += found.instructions
            rows = [
                material.catalogue.rows(one.preference.history_ids) for one in found.instructions
            ]
            histories += rows
            targets += found.targets.tolist()
    return instructions, histories, np.array(targets, dtype=np.int64)


def _requests(
    material: Material,
    protocol: Protocol,
    split: str,
    scenario: str,
    users: frozenset[str] | None = None,
) -> Iterator[Requests]:
    """The requests of a scenario, nothing where there are none."""
    texts = material.texts or Annotations({}, {}, {})
    try:
        yield make_requests(
            material.dataset, protocol, split, Scenario.parse(scenario), texts, users=users
        )
    except UsageError:
        return
