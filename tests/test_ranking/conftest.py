"""Fixtures of the ranking tests."""

from __future__ import annotations

import pytest

from instructrec.backbones import Backbone

from .world import backbone


@pytest.fixture(scope="session", params=["tiny-t5", "tiny-causal"])
def lm(request: pytest.FixtureRequest) -> Backbone:
    """A small backbone of each family."""
    return backbone(request.param)
