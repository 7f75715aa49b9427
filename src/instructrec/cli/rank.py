"""`instructrec rank`: titles by the likelihood a model gives them after an instruction."""

from __future__ import annotations

from typing import Annotated

import typer

from instructrec.cli.app import DeviceOption, JsonFlag, MemoryOption, emit, new_app
from instructrec.errors import UsageError

app = new_app()


@app.command()
def rank(
    model: Annotated[str, typer.Argument(help="A model folder or name.", metavar="MODEL")],
    instruction: Annotated[str, typer.Option(help="The whole text the model is given.")],
    candidate: Annotated[list[str], typer.Option(help="A title; give it several times.")],
    score: Annotated[
        str | None,
        typer.Option(help="sum, mean, pmi or constrained; what validated best when left out."),
    ] = None,
    device: DeviceOption = "auto",
    memory: MemoryOption = None,
    json: JsonFlag = False,
) -> None:
    """Rank titles by their likelihood after an instruction, best first.

    With `--json`: the token ids before the candidate (`prompt_ids`) and of each candidate
    (`token_ids`), so that anybody can recompute a `sum` with plain transformers.

    Example: `instructrec rank runs/demo/model --instruction "A gift for my son who likes racing."
    --candidate "Turbo Kart" --candidate "Garden Hose" --score sum`
    """
    from instructrec.ranking.scoring import RULES
    from instructrec.ranking.texts import rank_texts

    rule = None if score is None else next((name for name in RULES if name == score), None)
    if rule is None and score is not None:
        raise UsageError(f"there is no score {score!r}", f"Use one of {', '.join(RULES)}")
    answer = rank_texts(model, instruction, candidate, rule, device=device, memory=memory)
    lines = [f"{found['score']:10.3f}  {found['candidate']}" for found in answer["results"]]
    emit(answer, "\n".join(lines), as_json=json)
