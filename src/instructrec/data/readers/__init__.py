"""Readers of raw logs: one module a format, all streaming, all with the same face.

`open_reader` gives a `Reader` for one file of one table; its batches have the house's column
names (see `instructrec.data.dataset`) and the line that each row came from.
"""

from __future__ import annotations

from instructrec.data.readers.base import TABLES, Batch, Fault, Reader, ReadOptions, Table
from instructrec.data.readers.registry import FORMATS, detect, open_reader

__all__ = [
    "FORMATS",
    "TABLES",
    "Batch",
    "Fault",
    "ReadOptions",
    "Reader",
    "Table",
    "detect",
    "open_reader",
]
