"""Fixtures of the tests of instructions."""

from __future__ import annotations

import pytest
from shop_world import make_shop

from instructrec.data.dataset import Dataset


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """A shop with queries; read it, never write into it."""
    return make_shop(tmp_path_factory.mktemp("shop") / "d")
