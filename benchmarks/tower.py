"""What tuning the text encoder gains: untuned and tuned, by kind of request, on test rows.

    python benchmarks/tower.py --run RUN --out TOWER --scenarios P0,I1/I2,T3 P2,I0,T3

RUN is a folder with dataset/ and corpus/. The encoder is tuned on the corpus's training rows if
TOWER holds none yet; HR is among ten candidates, recall in the whole catalogue.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from instructrec import metrics
from instructrec.cli.progress import make_progress
from instructrec.data.dataset import Dataset
from instructrec.evaluation.significance import difference
from instructrec.evaluation.trials import CandidateList, make_trial
from instructrec.instructions.corpus import Corpus
from instructrec.instructions.schema import Scenario
from instructrec.protocols import Retriever
from instructrec.retrieval.dense import Dense
from instructrec.retrieval.encoder import find_encoder
from instructrec.retrieval.settings import TowerConfig
from instructrec.retrieval.tower import ABOUT, fit_tower, load_tower
from instructrec.retrieval.vectors import ItemVectors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--scenarios", nargs="+", default=["P0,I1/I2,T3", "P2,I0,T3"])
    parser.add_argument("--requests", type=int, default=2000, help="of each scenario, at most")
    parser.add_argument("--steps", type=int, default=None, help="updates; the usual when left out")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows = measure(options)
    if options.json:
        print(json.dumps(rows))
        return
    table = Table(*rows[0], title="HR of ten, recall in the whole catalogue")
    for row in rows:
        table.add_row(*(f"{v:.4f}" if isinstance(v, float) else str(v) for v in row.values()))
    Console().print(table)


def measure(options: argparse.Namespace) -> list[dict[str, Any]]:
    """A row for each scenario and encoder, the tuned one with its paired interval of HR@1."""
    dataset, corpus = Dataset(options.run / "dataset"), Corpus(options.run / "corpus")
    untuned, tuned = encoders(dataset, corpus, options)
    rows = []
    for scenario in (one for text in options.scenarios for one in Scenario.parse(text).singles()):
        trial = make_trial(
            dataset,
            corpus.protocol,
            scenario,
            corpus.texts,
            CandidateList(),
            limit=options.requests,
        )
        first = None
        for name, retriever in (("untuned", untuned), ("tuned", tuned)):
            if retriever is None:
                continue
            asked = trial.requests.instructions
            ranks = metrics.ranks(retriever.score(asked, trial.candidates))
            top = retriever.retrieve(asked, 100)
            hit = (ranks <= 1).astype(float)
            first = hit if first is None else first
            gain = difference(hit, first)
            rows.append(
                {
                    "scenario": str(scenario),
                    "encoder": name,
                    "requests": len(ranks),
                    "HR@1": float(hit.mean()),
                    "HR@5": float((ranks <= 5).mean()),
                    "recall@100": float((top == trial.requests.targets[:, None]).any(1).mean()),
                    "gain": f"{gain.mean:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}]",
                }
            )
    return rows


def encoders(
    dataset: Dataset, corpus: Corpus, options: argparse.Namespace
) -> tuple[Retriever, Retriever | None]:
    """The encoder as it is, and tuned; none where tuning did not help."""
    catalogue, reader = dataset.catalogue, find_encoder()
    if reader is None:
        raise SystemExit("minilm is not here: instructrec models pull minilm")
    items = ItemVectors.fit(catalogue, reader)
    folder = options.out / "tower"
    if not (folder / ABOUT).is_file():
        config = TowerConfig(steps=options.steps)
        state = options.out / "state"
        progress = make_progress()
        fit_tower(catalogue, corpus, items, reader, folder, state, config=config, progress=progress)
    tower = load_tower(folder, catalogue)
    return Dense(catalogue, items, reader), tower.retriever(catalogue) if tower else None


if __name__ == "__main__":
    main()
