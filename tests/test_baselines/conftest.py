"""What tests of rivals share: a shop of colours, and shelves asked for by name."""

from __future__ import annotations

import polars as pl
import pytest
from colour_world import make_dataset

from instructrec.data.dataset import Dataset
from instructrec.data.splits import Protocol
from instructrec.evaluation.baselines import Material
from instructrec.instructions.annotations import ANNOTATION_SCHEMA, Annotations


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return make_dataset(tmp_path_factory.mktemp("colours") / "dataset")


@pytest.fixture(scope="session")
def texts(dataset: Dataset) -> Annotations:
    """Whoever wants an item asks for its colour."""
    rows = [
        (None, item, "intention", "specific", None, f"something {item[:-1]}")
        for item in dataset.catalogue.item_ids
    ]
    return Annotations.of(pl.DataFrame(rows, schema=ANNOTATION_SCHEMA, orient="row"))


@pytest.fixture(scope="session")
def material(dataset: Dataset, texts: Annotations) -> Material:
    return Material(dataset, Protocol.LEAVE_ONE_OUT, texts=texts)
