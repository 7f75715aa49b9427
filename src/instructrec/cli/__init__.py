"""The command line: thin commands over the library, one module a group."""

from __future__ import annotations

from instructrec.cli.app import main

__all__ = ["main"]
