"""The two-tower: a text encoder tuned on what is said and the items it was said of."""

from __future__ import annotations

import math
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

from instructrec.data.catalogue import Catalogue
from instructrec.errors import DataError, FolderError
from instructrec.folders import read_json, write_json
from instructrec.instructions.corpus import Corpus
from instructrec.protocols import SILENT, Progress, Rows
from instructrec.retrieval._tower_pairs import Pairs, gather_pairs
from instructrec.retrieval._tower_training import Updater
from instructrec.retrieval._training import METRIC, Trainer
from instructrec.retrieval.ann import ANN_FROM
from instructrec.retrieval.dense import Dense
from instructrec.retrieval.encoder import SentenceEncoder, Vectors
from instructrec.retrieval.settings import TowerConfig
from instructrec.retrieval.vectors import ItemVectors
from instructrec.training import EVERY_MINUTE, SavePoints, Store

NAME = "tower"
ENCODER = "encoder"
"""Sub-folder of the tuned encoder, itself in the sentence-transformers layout."""
ABOUT = "tower.json"
FEWEST = 32
"""Training pairs below which nothing is tuned."""
_SMALL_FILES = ("*.json", "*.txt", "*.model")
_REQUESTS = 256
_SURE = 1.96


class Tower:
    """A tuned encoder with the items' vectors by it, and how much better it is.

    Args:
        items: The vectors.
        encoder: The tuned encoder.
        about: What ``tower.json`` says.
    """

    def __init__(self, items: ItemVectors, encoder: SentenceEncoder, about: dict[str, Any]) -> None:
        self.items, self.encoder, self.about = items, encoder, about

    def retriever(self, catalogue: Catalogue) -> Dense:
        """The dense match by these vectors."""
        return Dense(catalogue, self.items, self.encoder, NAME)


def fit_tower(
    catalogue: Catalogue,
    corpus: Corpus,
    untuned: ItemVectors,
    encoder: SentenceEncoder,
    folder: Path,
    state: Path,
    *,
    config: TowerConfig | None = None,
    held_out: Collection[str] = (),
    ann_from: int = ANN_FROM,
    saves: SavePoints = EVERY_MINUTE,
    progress: Progress = SILENT,
) -> bool:
    """Tune an encoder on a corpus's training rows and write it, if it is better then.

    One encoder reads both sides. The weights of the best validation are compared with the untuned
    ones on validation pairs against the whole catalogue; only where the whole paired 95 % interval
    of the difference is above zero are they kept. ``tower.json`` says what came of it either way.

    Args:
        catalogue: The items.
        corpus: Train rows are learnt from, validation rows choose.
        untuned: The items' vectors by ``encoder``.
        encoder: Where tuning starts; it is not changed.
        folder: Where to write.
        state: Where an unfinished training is kept; removed by the caller.
        config: See `TowerConfig`.
        held_out: Users whose validation rows no choice may look at.
        ann_from: Catalogues of more items get an index over their vectors.
        saves: When the state is saved.
        progress: Told how far it is.

    Returns:
        Whether the tuned weights were kept.

    Raises:
        DataError: There are too few pairs to learn from or to validate on.
        ModelError: The loss is not a number any more.
    """
    config = config or TowerConfig()
    latin_only = encoder.latin_only
    train = gather_pairs(
        corpus, "train", catalogue, most=config.pairs, latin_only=latin_only, seed=config.seed
    )
    validation = gather_pairs(
        corpus,
        "validation",
        catalogue,
        most=2 * config.validation_pairs,
        latin_only=latin_only,
        without=held_out,
        seed=config.seed,
    )
    if len(train) < FEWEST or len(validation) < FEWEST:
        raise DataError(
            f"{corpus.folder} has {len(train)} training and {len(validation)} validation pairs of "
            f"words and items, and {FEWEST} of each are the least to learn from",
            "Build the corpus with intentions or preferences, or leave the tower out",
        )
    tuned = SentenceEncoder(encoder.folder, encoder.name, latin_only=latin_only)
    about = _train(tuned, train, validation, catalogue, config, state, saves, progress)
    folder.mkdir(parents=True, exist_ok=True)
    save_encoder(tuned, folder / ENCODER)
    reader = load_encoder(folder, latin_only=latin_only)
    items = ItemVectors.fit(catalogue, reader, progress)
    about |= {"encoder": encoder.name, "latin_only": latin_only}
    about |= _compare(validation, items.vectors, untuned.vectors, reader, encoder)
    if about["kept"]:
        items.save(folder, catalogue, ann_from=ann_from, progress=progress)
    else:
        shutil.rmtree(folder / ENCODER)
        progress.note("tuning the encoder did not help surely: the untuned one stays")
    write_json(folder / ABOUT, about)
    return bool(about["kept"])


def _train(
    tuned: SentenceEncoder,
    train: Pairs,
    validation: Pairs,
    catalogue: Catalogue,
    config: TowerConfig,
    state: Path,
    saves: SavePoints,
    progress: Progress,
) -> dict[str, Any]:
    """Take the encoder to its best weights, and tell how."""
    few = validation.take(np.arange(min(config.validation_pairs, len(validation))))
    updater = Updater(tuned, train, catalogue, config)
    items = _compared(few.rows, len(catalogue), config)

    def validate(net: Any) -> float:
        vectors = tuned.encode([catalogue.texts[row] for row in items.tolist()])
        asked = tuned.encode(few.texts, asked=True)
        places = np.searchsorted(items, few.rows)
        return float(_gains(asked[few.said], vectors, places).mean())

    plan, reached = Trainer(updater, Store(state), validate, saves=saves, progress=progress).run()
    return {
        "config": config.model_dump(),
        "pairs": {"train": len(train), "validation": len(validation)},
        "plan": plan.model_dump(),
        "curve": reached.curve,
        "validations": reached.validations,
        "best_step": reached.best["step"] if reached.best else reached.step,
    }


def _compared(rows: Rows, items: int, config: TowerConfig) -> Rows:
    """The targets and a sample of the others, ascending: what a validation compares with."""
    rng = np.random.default_rng((config.seed, 6))
    others = rng.permutation(items)[: config.validation_items]
    return np.union1d(rows, others)


def _gains(asked: Vectors, items: Vectors, targets: Rows) -> NDArray[np.float64]:
    """(pairs,) NDCG of each target among the items, ties against it."""
    ranks = np.empty(len(targets), dtype=np.int64)
    for start in range(0, len(targets), _REQUESTS):
        chunk = slice(start, start + _REQUESTS)
        scores = asked[chunk] @ items.T
        own = scores[np.arange(len(scores)), targets[chunk]]
        ranks[chunk] = (scores >= own[:, None]).sum(axis=1)
    return np.asarray(1.0 / np.log2(1.0 + ranks), dtype=np.float64)


def _compare(
    pairs: Pairs,
    tuned: Vectors,
    untuned: Vectors,
    reader: SentenceEncoder,
    encoder: SentenceEncoder,
) -> dict[str, Any]:
    """How much better the tuned encoder finds the targets in the whole catalogue."""
    ours = _gains(reader.encode(pairs.texts, asked=True)[pairs.said], tuned, pairs.rows)
    theirs = _gains(encoder.encode(pairs.texts, asked=True)[pairs.said], untuned, pairs.rows)
    gaps = ours - theirs
    half = _SURE * float(gaps.std(ddof=1)) / math.sqrt(len(gaps))
    mean = float(gaps.mean())
    return {
        METRIC: {"untuned": float(theirs.mean()), "tuned": float(ours.mean())},
        "difference": {"mean": mean, "low": mean - half, "high": mean + half},
        "kept": mean - half > 0,
    }


def save_encoder(encoder: SentenceEncoder, folder: Path) -> None:
    """Write an encoder as a folder in the layout it was read from, weights in safetensors."""
    source = encoder.folder
    for pattern in (*_SMALL_FILES, *(f"*/{name}" for name in _SMALL_FILES)):
        for path in sorted(source.glob(pattern)):
            if path.name == "pulled.json" or path.name.endswith(".index.json"):
                continue
            target = folder / path.relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
    layout, model = encoder.layout, encoder.model
    weights = dict(model.transformer.state_dict())
    _write(weights, folder / layout.transformer.relative_to(source) / "model.safetensors")
    for projection, layer in zip(layout.projections, model.projections, strict=True):
        linear = {f"linear.{name}": value for name, value in layer[0].state_dict().items()}
        _write(linear, folder / projection.weights.relative_to(source))


def _write(weights: dict[str, torch.Tensor], path: Path) -> None:
    kept = {name: value.detach().cpu().clone().contiguous() for name, value in weights.items()}
    save_file(kept, path, metadata={"format": "pt"})


def load_encoder(folder: Path, *, latin_only: bool) -> SentenceEncoder:
    """The tuned encoder of a folder that `fit_tower` wrote."""
    return SentenceEncoder(folder / ENCODER, NAME, latin_only=latin_only)


def copy_tower(
    source: Path,
    folder: Path,
    catalogue: Catalogue,
    *,
    ann_from: int = ANN_FROM,
    progress: Progress = SILENT,
) -> bool:
    """Take a tuned encoder over from another folder and read the items with it.

    Args:
        source: A folder that `fit_tower` wrote.
        folder: Where to write.
        catalogue: The items.
        ann_from: See `fit_tower`.
        progress: Told how far it is.

    Returns:
        Whether there was one.
    """
    about = read_json(source / ABOUT)
    folder.mkdir(parents=True, exist_ok=True)
    if about["kept"]:
        shutil.copytree(source / ENCODER, folder / ENCODER, dirs_exist_ok=True)
        reader = load_encoder(folder, latin_only=about["latin_only"])
        items = ItemVectors.fit(catalogue, reader, progress, source)
        items.save(folder, catalogue, ann_from=ann_from, progress=progress)
    write_json(folder / ABOUT, about)
    return bool(about["kept"])


def load_tower(folder: Path, catalogue: Catalogue, progress: Progress = SILENT) -> Tower | None:
    """Read what `fit_tower` wrote; none where tuning had not helped.

    An item that is new in the catalogue, or whose text has changed, is read by the tuned encoder.

    Raises:
        FolderError: A file is missing or damaged.
        ModelError: The encoder cannot be read.
    """
    if not (folder / ABOUT).is_file():
        raise FolderError(f"{folder / ABOUT} is missing", "Fit the retrievers again")
    about = read_json(folder / ABOUT)
    if not about["kept"]:
        return None
    reader = load_encoder(folder, latin_only=about["latin_only"])
    return Tower(ItemVectors.load(folder, catalogue, reader, progress), reader, about)
