"""Writes small raw files of the true formats and imports them."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest
from raw_files import Load, Write

from instructrec.data.dataset import Dataset
from instructrec.data.importing import ImportConfig, import_dataset


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes text or bytes to a file of a name, packed if it ends in .gz, and returns its path."""

    def _write(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        data = content.encode() if isinstance(content, str) else content
        path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        return path

    return _write


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Imports files, given as paths or settings of `ImportConfig`; all rows may be bad."""
    made = []

    def _load(**settings: Any) -> Dataset:
        made.append(tmp_path / f"dataset{len(made)}")
        config = ImportConfig(out=made[-1], **{"max_rejected": 1.0, **settings})
        return import_dataset(config)

    return _load
