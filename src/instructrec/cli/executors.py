"""Flags that say where a corpus is made."""

from __future__ import annotations

from typing import Annotated

import typer

ExecutorFlag = Annotated[
    str | None,
    typer.Option(
        help="Where the corpus is made: process (on this machine's cores, default), ray (a "
        "cluster) or none (in this process). Its bytes are the same.",
        metavar="process|ray|none",
    ),
]
WorkersFlag = Annotated[
    int | None,
    typer.Option(min=1, help="Partitions made at a time; as many as there are cores by default."),
]
AddressFlag = Annotated[
    str | None,
    typer.Option(
        help="The Ray cluster to work on; a local one is made for the work when left out.",
        metavar="HOST:PORT|auto",
    ),
]
