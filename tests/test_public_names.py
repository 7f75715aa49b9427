"""The public names: all there, each found where it lives, none imported before it is used."""

from __future__ import annotations

import subprocess
import sys

import pytest

import instructrec


@pytest.mark.parametrize("name", sorted(set(instructrec.__all__) - {"__version__"}))
def test_every_public_name_is_found_where_it_lives(name: str):
    assert getattr(instructrec, name).__name__ == name


def test_the_lists_of_public_names_agree():
    assert set(instructrec.__all__) - {"__version__"} == set(instructrec._HOMES)
    assert dir(instructrec) == sorted(instructrec.__all__)


def test_importing_the_package_imports_nothing_heavy():
    code = "import sys, instructrec; print([m for m in ('torch', 'polars') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'Nope'"):
        instructrec.Nope  # noqa: B018
