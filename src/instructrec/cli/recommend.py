"""`instructrec recommend`: answers from a run, for one request or for many users."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from instructrec.cli.app import JsonFlag, MemoryOption, check_choice, emit, new_app
from instructrec.cli.progress import make_progress
from instructrec.errors import DataError, UsageError

if TYPE_CHECKING:
    from instructrec.recommender import Recommender

app = new_app()


@app.command()
def recommend(
    run: Annotated[Path, typer.Argument(help="A run folder.", metavar="RUN")],
    user: Annotated[str | None, typer.Option(help="A user of the dataset, or a stranger.")] = None,
    want: Annotated[str, typer.Option(help="What they want now, in their own words.")] = "",
    preference: Annotated[str, typer.Option(help="What they like, in words.")] = "",
    history: Annotated[
        list[str] | None,
        typer.Option(help="A title or item id, oldest first; taken instead of the user's own."),
    ] = None,
    k: Annotated[int, typer.Option("--k", help="How many items.")] = 10,
    limit: Annotated[
        list[str] | None,
        typer.Option("--filter", help='A limit over any column, such as "price<=30".'),
    ] = None,
    task: Annotated[
        str, typer.Option(help="T3 rerank, T0 judge, T1 compare two, T2 name one of all.")
    ] = "T3",
    candidate: Annotated[
        list[str] | None, typer.Option(help="A title or item id to judge, compare or rerank.")
    ] = None,
    evidence: Annotated[
        str, typer.Option(help="all, or lm for the language model's likelihood alone.")
    ] = "all",
    time: Annotated[str, typer.Option(help="Context: when.")] = "",
    place: Annotated[str, typer.Option(help="Context: where.")] = "",
    device: Annotated[str, typer.Option(help="Context: on which device.")] = "",
    occasion: Annotated[str, typer.Option(help="Context: on what occasion.")] = "",
    owned: Annotated[
        bool, typer.Option("--owned", help="Items they have may be answered.")
    ] = False,
    users: Annotated[
        Path | None,
        typer.Option(help="Answer many: one user id a line, or a Parquet or CSV file (user_id)."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="With --users: the .parquet to write.")] = None,
    model_device: Annotated[
        str, typer.Option(help="Where the model computes: auto, cpu or cuda.")
    ] = "auto",
    memory: MemoryOption = None,
    max_history: Annotated[
        int | None,
        typer.Option(min=2, help="Items of a history that count; as in the corpus when left out."),
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Answer a request: ranked items with scores, the instruction, and what speaks for each.

    Example: `instructrec recommend runs/demo --want "a gift for my son who likes racing, under 30"`

    Many users: `instructrec recommend runs/demo --users users.txt --k 20 --out answers.parquet`
    """
    check_choice(evidence, ("all", "lm"), "kind of evidence")
    from instructrec.instructions.schema import Context
    from instructrec.protocols import Filters
    from instructrec.recommender import Recommender

    filters = Filters.parse(limit or ())
    load = partial(
        Recommender.load, run, device=model_device, memory=memory, max_history=max_history
    )
    if users is not None:
        asked = {"--user": user, "--want": want, "--history": history, "--candidate": candidate}
        _check_batch(asked, out)
        wanted = read_users(users)
        told = _answer_many(load(), wanted, k, filters, evidence, out)
        emit(told, f"{told['rows']:,} rows for {told['users']:,} users in {out}", as_json=json)
        return
    if out is not None:
        raise UsageError("--out goes with --users", "Leave it out, or add --users FILE")
    answer = load().recommend(
        user=user,
        history=history,
        preference=preference,
        wish=want,
        k=k,
        filters=filters,
        context=Context(time, place, device, occasion),
        evidence="lm" if evidence == "lm" else "all",
        task=task,
        candidates=candidate or (),
        owned=owned,
    )
    from instructrec.cli.answers import answer_view

    emit(answer.to_dict(), answer_view(answer), as_json=json)


def _check_batch(asked: dict[str, Any], out: Path | None) -> None:
    for name, value in asked.items():
        if value:
            raise UsageError(f"--users answers from histories alone, not {name}", f"Drop {name}")
    if out is None or out.suffix != ".parquet":
        raise UsageError("--users needs a file to write", "Add --out FILE.parquet")


def _answer_many(
    recommender: Recommender,
    users: list[str],
    k: int,
    filters: Any,
    evidence: str,
    out: Path | None,
) -> dict[str, Any]:
    frame = recommender.recommend_many(
        users,
        k,
        filters=filters,
        evidence="lm" if evidence == "lm" else "all",
        progress=make_progress(),
    )
    assert out is not None
    out.parent.mkdir(parents=True, exist_ok=True)
    part = out.with_name(out.name + ".part")
    frame.write_parquet(part, compression="zstd")
    part.replace(out)
    return {"out": str(out), "users": len(users), "k": k, "rows": frame.height}


def read_users(path: Path) -> list[str]:
    """User ids from a text file (one a line), or the user_id column of a Parquet or CSV file.

    Raises:
        DataError: The file cannot be read, has no user_id or names nobody.
    """
    import polars as pl

    try:
        if path.suffix in {".parquet", ".csv"}:
            read = pl.read_parquet if path.suffix == ".parquet" else pl.read_csv
            frame = read(path)
            if "user_id" not in frame.columns:
                raise DataError(f"{path} has no column 'user_id'", "Name the column of ids so")
            users = frame["user_id"].cast(pl.String).drop_nulls().to_list()
        else:
            lines = path.read_text(encoding="utf-8").splitlines()
            users = [line.strip() for line in lines if line.strip()]
    except FileNotFoundError:
        raise DataError(f"there is no file {path}", "Check the path") from None
    except (pl.exceptions.PolarsError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path} cannot be read ({' '.join(str(error).split())})",
            "Give one user id a line, or a Parquet or CSV file with user_id",
        ) from None
    if not users:
        raise DataError(f"{path} names no user", "Give one user id a line")
    return list(dict.fromkeys(users))
