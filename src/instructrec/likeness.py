"""Items like one item: alike to read, or taken close to it by others."""

from __future__ import annotations

from typing import Any

import numpy as np

from instructrec.errors import UsageError
from instructrec.instructions.schema import Instruction, Preference
from instructrec.protocols import Filters
from instructrec.recommender import Recommender
from instructrec.retrieval.hybrid import Hybrid

BY_LIKENESS = ("similar", "shared", "neighbours")
"""The retrievers that tell what goes with an item."""


def similar_items(
    recommender: Recommender, item_id: str, k: int = 10, filters: Filters | None = None
) -> list[dict[str, Any]]:
    """Items like one, best first, itself left out.

    Args:
        recommender: Whose retrievers are asked.
        item_id: An item of the catalogue.
        k: How many at most.
        filters: Limits on them.

    Returns:
        ``item_id``, ``title``, ``score`` (summed reciprocal places) and ``facts`` of each.

    Raises:
        UsageError: There is no such item, or a filter names no column.
    """
    catalogue = recommender.catalogue
    if item_id not in catalogue.index:
        raise UsageError(f"the catalogue has no item {item_id!r}", "Give an item id")
    title = catalogue.titles[catalogue.index[item_id]]
    instruction = Instruction(Preference((title,), (item_id,)))
    asked = [one for name, one in recommender.retrievers.items() if name in BY_LIKENESS]
    allowed = (filters or Filters()).excluding([item_id])
    hybrid = Hybrid(asked)
    rows = hybrid.retrieve([instruction], k, [allowed])[0]
    rows = rows[rows >= 0]
    scores = hybrid.score([instruction], rows[None, :])[0]
    order = np.lexsort((rows, -scores))
    facts = recommender.facts(rows[order])
    return [
        {
            "item_id": catalogue.item_ids[rows[at]],
            "title": catalogue.titles[rows[at]],
            "score": round(float(scores[at]), 5),
            "facts": told,
        }
        for at, told in zip(order.tolist(), facts, strict=True)
    ]
