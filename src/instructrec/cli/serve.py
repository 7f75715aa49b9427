"""`instructrec serve`: a run over HTTP."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from instructrec.cli.app import JsonFlag, emit, new_app
from instructrec.errors import UsageError

app = new_app()

File = Path | None
Run = Annotated[Path, typer.Argument(help="A run folder.", metavar="RUN")]
Config = Annotated[File, typer.Option(help="A TOML file of settings.", metavar="FILE")]
Database = Annotated[
    str | None,
    typer.Option(help="URL of the store; SQLite in the run when left out.", metavar="URL"),
]
_MISSING = "serving needs packages that are not installed"
_CURE = "pip install 'instructrec[serve]'"


@app.command()
def serve(
    run: Run,
    host: Annotated[str | None, typer.Option(help="Where to listen (127.0.0.1).")] = None,
    port: Annotated[int | None, typer.Option(help="The port (8000); 0 for a free one.")] = None,
    database: Database = None,
    keys: Annotated[
        bool | None,
        typer.Option("--keys/--no-keys", help="Require API keys; always beyond the loopback."),
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="Where the model computes: auto, cpu or cuda.")
    ] = None,
    candidates: Annotated[
        int | None, typer.Option(help="Candidates that are ranked for a request (100).")
    ] = None,
    batch: Annotated[
        int | None, typer.Option(help="Requests that are scored together at most (16).")
    ] = None,
    queue: Annotated[
        int | None, typer.Option(help="Requests that may wait; past it 503 (64).")
    ] = None,
    deadline_ms: Annotated[
        int | None,
        typer.Option(help="After so long, an answer without the language model (1000)."),
    ] = None,
    config: Config = None,
    json: JsonFlag = False,
) -> None:
    """Serve a run over HTTP until it is stopped; requests in flight are finished first.

    Every setting may also stand in the environment (INSTRUCTREC_PORT=8080) or in a TOML file
    (port = 8080); flags go first. docs/serving.md lists them.

    Example: `instructrec serve runs/demo --port 8080`
    """
    started = time.monotonic()
    try:
        from instructrec.serving.running import open_app, serve_app
        from instructrec.serving.settings import read_settings
    except ImportError as error:
        raise UsageError(f"{_MISSING} ({error.name})", _CURE) from None
    flags = {
        "host": host,
        "port": port,
        "database": database,
        "keys": keys,
        "device": device,
        "candidates": candidates,
        "batch": batch,
        "queue": queue,
        "deadline_ms": deadline_ms,
    }
    settings = read_settings(flags, config)
    app = open_app(run, settings)

    def ready(address: str) -> None:
        told = {"address": address, "docs": f"{address}/docs", "keys": settings.needs_keys}
        told["seconds"] = round(time.monotonic() - started, 1)
        text = f"Serving {run} at {address} (documentation: {address}/docs). Ctrl-C stops it."
        emit(told, text, as_json=json)

    serve_app(app, settings, ready)
