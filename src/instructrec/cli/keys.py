"""`instructrec keys`: make, list and take back the API keys of a store."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from instructrec.cli.app import JsonFlag, check_choice, emit, new_app
from instructrec.cli.durations import parse_seconds
from instructrec.errors import UsageError

if TYPE_CHECKING:
    from instructrec.serving.store import Store

app = new_app("Make, list and take back the API keys of a server's store.")

Run = Annotated[Path, typer.Argument(help="The run that is served.", metavar="RUN")]
Database = Annotated[
    str | None, typer.Option(help="URL of the store, as for serve.", metavar="URL")
]


@app.command()
def add(
    run: Run,
    name: Annotated[str, typer.Option(help="Whose key it is.")],
    kind: Annotated[
        str,
        typer.Option(help="events: ask and write events; admin: everything."),
    ] = "events",
    expires: Annotated[
        str | None, typer.Option(help="How long it holds, such as 12h; for ever when left out.")
    ] = None,
    database: Database = None,
    json: JsonFlag = False,
) -> None:
    """Make a key and print it; it is kept as a hash and cannot be printed again.

    Example: `instructrec keys add runs/demo --name shop --kind events`
    """
    check_choice(kind, ("events", "admin"), "kind of key")
    store = _store(run, database)
    from instructrec.serving.store.store import now_ms

    until = None if expires is None else now_ms() + int(parse_seconds(expires) * 1000)
    key = store.add_key(name, "admin" if kind == "admin" else "events", until)
    emit({"key": key, "name": name, "kind": kind, "expires_at": until}, key, as_json=json)


@app.command("list")
def list_keys(run: Run, database: Database = None, json: JsonFlag = False) -> None:
    """List the keys without their secrets.

    Example: `instructrec keys list runs/demo`
    """
    found = _store(run, database).keys()
    lines = [
        f"{one['key_id']}  {one['kind']:<7} {_until(one['expires_at']):<17} {one['name']}"
        for one in found
    ]
    emit({"keys": found}, "\n".join(lines) or "There are no keys.", as_json=json)


@app.command()
def remove(
    run: Run,
    key_id: Annotated[str, typer.Argument(help="As list shows it.", metavar="ID")],
    database: Database = None,
    json: JsonFlag = False,
) -> None:
    """Take a key back; from now on it opens nothing.

    Example: `instructrec keys remove runs/demo 0a1b2c3d4e5f`
    """
    if not _store(run, database).remove_key(key_id):
        raise UsageError(f"there is no key {key_id}", "See instructrec keys list")
    emit({"removed": key_id}, f"Key {key_id} is taken back.", as_json=json)


def _until(expires_at: int | None) -> str:
    if expires_at is None:
        return "for ever"
    return f"{datetime.fromtimestamp(expires_at / 1000, UTC):%Y-%m-%d %H:%M}"


def _store(run: Path, database: str | None) -> Store:
    try:
        from instructrec.serving.settings import read_settings
        from instructrec.serving.store import Store
    except ImportError as error:
        raise UsageError(
            f"keys need packages that are not installed ({error.name})",
            "pip install 'instructrec[serve]'",
        ) from None
    if not (run / "model").is_dir():
        raise UsageError(f"{run} is no run", "Name the folder that is served")
    return Store(read_settings({"database": database}).store_url(run))
