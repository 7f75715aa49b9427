"""Fixtures that every test may use."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data beside the checkout; skips the test where there is none."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("needs the real data sets of ../shared/data, which are absent here")
    return folder


@pytest.fixture(scope="session")
def tiny_demo() -> dict[str, Any]:
    """Settings of a demo that takes seconds: everything is there, nothing is good."""
    return {
        "users": 120,
        "items": 100,
        "steps": 12,
        "test_users": 30,
        "fusion_users": 15,
        "spread_users": 0,
        "tuning": {
            "vocab_size": 800,
            "batch_tokens": 1024,
            "pieces": 1,
            "validations": 1,
            "validation_users": 11,
            "choice_users": 6,
        },
    }


@pytest.fixture(scope="session")
def tiny_run(tiny_demo: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run on a tiny marketplace, made once; read it, never write into it."""
    from instructrec.demo import DemoConfig, make_demo

    run = tmp_path_factory.mktemp("tiny") / "run"
    make_demo(run, DemoConfig.model_validate(tiny_demo))
    return run
